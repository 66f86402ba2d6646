"""What the tests of the integrations share: what was asked of the storage, and clients of one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ctera_direct_sync import DirectIO, Settings
from ctera_direct_sync.emulator import Emulator
from tests.support.engines import run_inline


class Fetched:
    """The blocks that the storage was asked for, by number, in the order of the requests."""

    def __init__(self, portal: Emulator) -> None:
        self._portal = portal

    def __call__(self, file_id: int | None = None) -> list[int]:
        """The numbers; of one file, or of all."""
        wanted = {} if file_id is None else {"file_id": file_id}
        return [each.block for each in self._portal.log.records(where="storage", **wanted)]

    def since(self, work: Callable[[], object]) -> list[int]:
        """The numbers that ``work`` asked for."""
        before = len(self())
        work()
        return self()[before:]


@pytest.fixture
def fetched(portal: Emulator) -> Fetched:
    """``fetched()``: the numbers of the blocks that were asked for so far."""
    return Fetched(portal)


@pytest.fixture
def make_serial_client(make_client: Callable[..., DirectIO]) -> Callable[..., DirectIO]:
    """As ``make_client``; what is begun ends before the call returns, so that requests have an order."""

    def make(**settings: object) -> DirectIO:
        client = make_client(**settings)
        run_inline(client)
        return client

    return make


@pytest.fixture
def serial_client(make_serial_client: Callable[..., DirectIO]) -> DirectIO:
    """A client whose requests have an order."""
    return make_serial_client()


# --- fsspec ----------------------------------------------------------------------------------------------


@pytest.fixture
def options(portal: Emulator, quick: Settings) -> Iterator[dict[str, Any]]:
    """``storage_options`` for ``portal``; what was made with them is closed after the test."""
    filesystem = pytest.importorskip("ctera_direct_sync.filesystem")
    from ctera_direct_sync._fsspec.instances import portal_clients
    from ctera_direct_sync._fsspec.sightings import sightings_of

    # An earlier portal may have had this port, and a file system of it may still be alive somewhere.
    sightings_of(portal.url).names.clear()
    yield {
        "baseurl": portal.url,
        "access_key_id": portal.access_key_id,
        "secret_access_key": portal.secret_access_key,
    }
    filesystem.CteraFileSystem.clear_instance_cache()
    for client in list(portal_clients.values()):
        client.close()


@pytest.fixture
def fs(options: dict[str, Any], quick: Settings) -> Any:
    """The file system of ``portal``, quick to fail."""
    import ctera_direct_sync.filesystem

    return ctera_direct_sync.filesystem.CteraFileSystem(**options, settings=quick)


@pytest.fixture
def environment(portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The portal and its keys in environment variables, here and for programs that are started."""
    variables = {
        "CTERA_DIRECT_URL": portal.url,
        "CTERA_DIRECT_ACCESS_KEY_ID": portal.access_key_id,
        "CTERA_DIRECT_SECRET_ACCESS_KEY": portal.secret_access_key,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables
