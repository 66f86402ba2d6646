"""A signal that reaches the process while no system call of the main thread can notice it.

Python runs handlers on the main thread. If another thread receives the signal, or the main thread is
just about to wait for a lock, nothing wakes the main thread: it must look by itself.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from ctera_direct_sync import DirectIO, Namespace
from ctera_direct_sync._base.cancellation import CancelScope, SingleFlight
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.emulator.faults import Fault

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its threads get no signals")

#: Seconds after which the storage would answer, so that a failing test ends.
PATIENCE = 20


class Interrupted(Exception):
    """What the handler raises."""


@pytest.fixture
def handler() -> Iterator[None]:
    """A handler of SIGUSR1 that raises."""

    def interrupt(*_: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    yield
    signal.signal(signal.SIGUSR1, before)


def _exhaust(items: Any) -> None:
    for _ in items:
        pass


def _read(client: DirectIO, file_id: int) -> None:
    with client.open(file_id) as file:
        file.read()


CALLS: dict[str, Callable[[DirectIO, int, Path], Any]] = {
    "stream": lambda client, file_id, _: _exhaust(client.stream(file_id)),
    "iter_blocks": lambda client, file_id, _: _exhaust(client.iter_blocks(file_id)),
    "blocks": lambda client, file_id, _: client.blocks(file_id)[0].result(),
    "open": lambda client, file_id, _: _read(client, file_id),
    "download": lambda client, file_id, folder: client.download(file_id, folder / "file"),
    "download_many": lambda client, file_id, folder: client.download_many(
        [(file_id, "a")], folder, resume=False
    ),
}


@contextlib.contextmanager
def _signal_elsewhere(held: Fault | threading.Event) -> Iterator[list[str]]:
    """Signal another thread once a request is held, if any is due. Yield what went wrong."""
    failures: list[str] = []
    ended = threading.Event()

    def work() -> None:
        if isinstance(held, Fault) and not held.wait(1, timeout=PATIENCE):
            failures.append("no request came")
        # The main thread falls asleep meanwhile. If it has not, it notices the signal by itself.
        ended.wait(0.1)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        if not ended.wait(PATIENCE):
            failures.append("the main thread slept on")
            held.release() if isinstance(held, Fault) else held.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield failures
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("call", CALLS)
def test_block_reads(
    call: str, portal: Emulator, client: DirectIO, tmp_path: Path, handler: None
) -> None:
    """Each call that waits for blocks ends by what the handler raises."""
    file_id = portal.add(bytes(300_000), name="file", block_size=100_000)
    held = portal.faults.add("storage", times=None, action=faults.stall())
    with _signal_elsewhere(held) as failures, pytest.raises(Interrupted):
        CALLS[call](client, file_id, tmp_path)
    assert not failures


def test_shared_call(handler: None) -> None:
    """A caller that waits for the outcome of another thread's call."""
    flights: SingleFlight[int] = SingleFlight()
    begun, end = threading.Event(), threading.Event()

    def call() -> int:
        begun.set()
        end.wait(2 * PATIENCE)
        return 1

    found: list[int] = []
    leader = threading.Thread(target=lambda: found.append(flights.run("key", call, CancelScope())))
    leader.start()
    assert begun.wait(PATIENCE)
    with _signal_elsewhere(end) as failures, pytest.raises(Interrupted):
        flights.run("key", call, CancelScope())
    end.set()
    leader.join()
    assert not failures and found == [1]


def test_walk(handler: None) -> None:
    """A walk that waits for the listing of a folder."""
    with contextlib.ExitStack() as stack:
        portal = stack.enter_context(Emulator(tree={"My Files": {"a": {"b.txt": b"b"}}}))
        names = stack.enter_context(Namespace(portal.url, portal.username, portal.password))
        names.stat("/My Files")
        held = portal.faults.add("portal", times=None, action=faults.stall())
        with _signal_elsewhere(held) as failures, pytest.raises(Interrupted):
            _exhaust(names.walk("/My Files"))
        held.release()
        portal.faults.clear()
        assert not failures
