"""Fixtures for users' own tests: a portal with its object storage, and a client for it.

pytest finds them by the package's entry point::

    def test_report(ctera_portal, ctera_client):
        file_id = ctera_portal.add(b'a,b', name='report.csv')
        assert b''.join(block.data for block in ctera_client.stream(file_id)) == b'a,b'
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .emulator import Emulator

# pytest loads this module in every session, so the costly imports are in the fixtures.


@pytest.fixture
def ctera_portal() -> Iterator[Emulator]:
    """Start an empty portal and its object storage on loopback, for one test."""
    from .emulator import Emulator

    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def ctera_client(ctera_portal: Emulator) -> Iterator[Any]:
    """Make a `DirectIO` client of that portal, and close it after the test."""
    from .client import DirectIO

    with DirectIO(
        ctera_portal.url, ctera_portal.access_key_id, ctera_portal.secret_access_key
    ) as client:
        yield client
