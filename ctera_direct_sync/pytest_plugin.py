"""
Fixtures for users' own tests: a portal with its object storage, and a client for it.

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

# The imports wait for a test that asks: pytest loads this module in every session.


@pytest.fixture
def ctera_portal() -> Iterator[Emulator]:
    """A portal and its object storage on loopback, empty, for one test."""
    from .emulator import Emulator

    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def ctera_client(ctera_portal: Emulator) -> Iterator[Any]:
    """A DirectIO client of that portal, closed after the test."""
    from .client import DirectIO

    with DirectIO(
        ctera_portal.url, ctera_portal.access_key_id, ctera_portal.secret_access_key
    ) as client:
        yield client
