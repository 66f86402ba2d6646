"""Many paths in one call: what they cost, and how the call ends early."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctera_direct_sync import DirectIO, DirectIOError, Namespace, NamespaceError, Settings
from ctera_direct_sync._base import waits
from ctera_direct_sync.emulator import Emulator, faults

COUNT = 2000
ITEMS = [(f"/My Files/many/{n:04}", f"{n:04}") for n in range(COUNT)]

# On Windows, os.kill with SIGINT ends the process.
sends_a_signal = pytest.mark.skipif(os.name != "posix", reason="sends a signal")


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with a folder of 2,000 empty files."""
    with Emulator(tree={"many": {f"{n:04}": b"" for n in range(COUNT)}}) as emulator:
        yield emulator


@pytest.fixture
def client(portal: Emulator, quick: Settings) -> Iterator[DirectIO]:
    """A client that looks paths up with the account of the portal's user."""
    account = portal.username, portal.password
    keys = portal.access_key_id, portal.secret_access_key
    with (
        Namespace(portal.url, *account, settings=quick) as names,
        DirectIO(portal.url, *keys, settings=quick, namespace=names) as client,
    ):
        yield client


@pytest.fixture
def no_collector() -> Iterator[None]:
    """No collection: Python drops an interrupt that strikes a callback of the collector."""
    gc.disable()
    yield
    gc.enable()


def listings(portal: Emulator) -> list[tuple[str, str, int]]:
    """Return path, depth and first position of each request for entries."""
    return [(r.root, r.depth, r.start) for r in portal.requests if r.call == "fetchResources"]


def test_the_paths_of_a_folder_cost_one_listing(
    portal: Emulator, client: DirectIO, tmp_path: Path
) -> None:
    """2,000 paths of one folder are found by one listing of it, page by page, and by nothing else."""
    results = client.download_many(ITEMS, tmp_path, resume=False)
    assert [result.error for result in results if not result.ok] == []
    assert len(os.listdir(tmp_path)) >= COUNT
    asked = listings(portal)
    # Pages of 1,000 that overlap by one entry.
    assert asked == [("/My Files/many", "1", start) for start in (0, 999, 1998)]


def test_nothing_of_a_listing_is_kept(portal: Emulator, client: DirectIO, tmp_path: Path) -> None:
    """The next call lists again, so that it finds what was overwritten meanwhile."""
    some = ITEMS[:5]
    client.download_many(some, tmp_path, resume=False)
    portal.tree.overwrite(str(some[2][0]), b"new")
    client.download_many(some, tmp_path, resume=False)
    assert (tmp_path / some[2][1]).read_bytes() == b"new"
    assert len(listings(portal)) == 2


def test_a_listing_that_fails_is_not_the_end_of_its_files(
    portal: Emulator, client: DirectIO, tmp_path: Path
) -> None:
    """Where the folder cannot be listed, each of its paths is looked up by itself."""

    def edit(answer: dict) -> dict:
        items = answer["items"]
        return {**answer, "items": [{**item, "name": "..", "href": None} for item in items]}

    portal.faults.add("portal", call="fetchResources", times=None, action=faults.answer(edit))
    results = client.download_many(ITEMS[:4], tmp_path, resume=False)
    assert [result.error for result in results if not result.ok] == []


@pytest.mark.parametrize("by", ["client", "namespace"])
def test_closing_ends_a_listing(
    by: str, portal: Emulator, client: DirectIO, tmp_path: Path
) -> None:
    """Closing the client or its Namespace during the listing fails each item, and at once."""
    fault = portal.faults.add("portal", call="fetchResources", times=None, action=faults.stall())
    results = []
    thread = threading.Thread(
        target=lambda: results.extend(client.download_many(ITEMS, tmp_path, max_files=8))
    )
    thread.start()
    assert fault.entered.wait(30)
    names = client._core.namespace
    (client if by == "client" else names).close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(results) == COUNT
    errors = [result.error for result in results]
    assert all(isinstance(error, (DirectIOError, ValueError)) for error in errors)
    assert errors[0].errno == errno.ECANCELED
    assert [each for each in os.listdir(tmp_path) if not each.startswith(".")] == []


def is_main_thread_blocked() -> bool:
    """Whether the main thread waits for bytes of a socket, or for the threads of a batch."""
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    return frame.f_code.co_name == "readinto" or frame.f_code is waits.get.__code__


@contextlib.contextmanager
def interrupted_at_lookup(portal: Emulator) -> Iterator[None]:
    """Press Ctrl-C once the portal is asked for entries, and expect that it ends the block.

    The main thread is blocked by then. An interrupt amid a step of the standard library may leave a socket
    to the collector.
    """
    fault = portal.faults.add("portal", call="fetchResources", times=None, action=faults.stall())

    def interrupt() -> None:
        assert fault.entered.wait(30)
        never = threading.Event()
        while not is_main_thread_blocked():
            never.wait(0.001)  # It lets the main thread run: a busy loop would hold it up.
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    thread.join(30)


@sends_a_signal
def test_interrupt_ends_a_listing(
    no_collector: None, portal: Emulator, client: DirectIO, tmp_path: Path
) -> None:
    """Ctrl-C during the listing ends the call at once."""
    with interrupted_at_lookup(portal):
        client.download_many(ITEMS, tmp_path)
    assert [each for each in os.listdir(tmp_path) if not each.startswith(".")] == []


@sends_a_signal
def test_interrupt_ends_a_lookup(no_collector: None, portal: Emulator, client: DirectIO) -> None:
    """Ctrl-C while a single path is looked up ends the call at once."""
    with interrupted_at_lookup(portal):
        client.metadata(ITEMS[0][0])
    portal.faults.clear()
    assert client.metadata(ITEMS[0][0]).size == 0


def test_a_lookup_without_a_right_names_the_path(
    portal: Emulator, client: DirectIO, tmp_path: Path
) -> None:
    """Each item of a folder that may not be listed fails with its own path."""
    portal.tree.deny("/My Files/many")
    results = client.download_many(ITEMS[:5], tmp_path, resume=False)
    assert [result.error.filename for result in results] == [path for path, _ in ITEMS[:5]]
    assert all(isinstance(result.error, NamespaceError) for result in results)
