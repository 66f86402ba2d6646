"""Sessions of requests, as users give them to a client."""

from __future__ import annotations

import pytest
import requests

__all__ = ["ROUTES", "hooked"]


def hooked() -> requests.Session:
    """Return a session that is not plain, so that its requests go through requests."""
    session = requests.Session()
    session.hooks["response"].append(lambda response, **_: response)
    return session


#: Runs a test on the fast route, and on that of requests.
ROUTES = pytest.mark.parametrize("session", [None, hooked], ids=["fast", "requests"])
