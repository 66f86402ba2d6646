"""Real signals at many moments of many calls: a handler that closes the client, and one that raises."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, as_completed
from typing import Any

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync.emulator import Emulator, SyntheticSource
from ctera_direct_sync.exceptions import DirectIOError

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals"),
    # Python drops what a handler raises amid a finalizer, and says so.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SIZE = 60_000
DATA = SyntheticSource(SIZE, seed=5).read(0, SIZE)
#: Signals come at this step after the beginning of a call, and later by as much each time.
STEP_S = 0.0002


class SoftLimit(BaseException):
    """What a task's time limit raises, as Celery's does."""


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of 120 tiny blocks."""
    return portal.add(DATA, block_size=500)


def stream(client: DirectIO, file_id: int) -> bytes:
    """In order."""
    return b"".join(block.data for block in client.stream(file_id))


def iter_blocks(client: DirectIO, file_id: int) -> bytes:
    """In no order."""
    found = {block.offset: block.data for block in client.iter_blocks(file_id)}
    return b"".join(found[offset] for offset in sorted(found))


def opened(client: DirectIO, file_id: int) -> bytes:
    """By reads of an open file."""
    with client.open(file_id) as file:
        parts = []
        while part := file.read(3000):
            parts.append(part)
        return b"".join(parts)


def blocks(client: DirectIO, file_id: int) -> bytes:
    """By futures, in file order."""
    return b"".join(future.result().data for future in client.blocks(file_id))


def futures(client: DirectIO, file_id: int) -> bytes:
    """By futures, as they complete."""
    found = [future.result() for future in as_completed(client.blocks(file_id))]
    return b"".join(block.data for block in sorted(found, key=lambda block: block.offset))


def download(client: DirectIO, file_id: int) -> bytes:
    """To a path."""
    path = os.path.join(os.environ["TMPDIR"], "target")
    try:
        client.download(file_id, path)
        with open(path, "rb") as file:
            return file.read()
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


@contextlib.contextmanager
def struck_by(handler: Callable[[], object]) -> Iterator[Callable[[float], Any]]:
    """Give a context manager in which `handler` runs, on this thread, after a number of seconds.

    The system's timer is not used: the limit of this test's own time has that.
    """
    armed: list[bool] = []
    main = threading.get_ident()

    def handle(*_: object) -> None:
        if armed:
            armed.clear()
            handler()

    @contextlib.contextmanager
    def after(seconds: float) -> Iterator[None]:
        over = threading.Event()

        def send() -> None:
            if not over.wait(seconds):
                signal.pthread_kill(main, signal.SIGUSR1)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        armed.append(True)
        try:
            yield
        finally:
            armed.clear()
            over.set()
            sender.join()

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        yield after
    finally:
        signal.signal(signal.SIGUSR1, before)


def engine_threads() -> list[str]:
    """The threads of clients."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("ctera-direct")]


@pytest.mark.parametrize("call", [stream, iter_blocks, opened, blocks, download])
def test_close_in_a_handler(
    make_client: Callable[..., DirectIO], file_id: int, call: Callable[[DirectIO, int], bytes]
) -> None:
    """close() in a handler returns at every moment; the call is whole, or says why it is not."""
    ends: dict[str, int] = {"whole": 0, "cut": 0}
    current: list[DirectIO] = []
    with struck_by(lambda: current[0].close()) as after:
        for number in range(1, 31):
            current[:] = [make_client(max_workers=4)]
            try:
                with after(10 * STEP_S * number):
                    assert call(current[0], file_id) == DATA
                ends["whole"] += 1
            except CancelledError:
                ends["cut"] += 1
            except DirectIOError as error:
                assert error.errno == errno.ECANCELED, error
                assert "report" not in str(error)
                ends["cut"] += 1
            except ValueError as error:  # The client, or its open file, was closed before the step.
                assert "closed" in str(error)
                ends["cut"] += 1
            current[0].close()
            assert engine_threads() == []
    assert ends["cut"]


@pytest.mark.parametrize("call", [stream, iter_blocks, opened, blocks, futures, download])
def test_handler_that_raises(
    client: DirectIO, file_id: int, call: Callable[[DirectIO, int], bytes]
) -> None:
    """After fifty interrupted calls the same client works, close() returns, no thread stays."""

    def strike() -> None:
        raise SoftLimit

    struck = 0
    with struck_by(strike) as after:
        for number in range(50):
            try:
                with after(2 * STEP_S * (1 + number)):
                    assert call(client, file_id) == DATA
            except SoftLimit:
                struck += 1
    assert struck
    done: list[Any] = []
    worker = threading.Thread(
        target=lambda: done.extend(call(client, file_id) == DATA for call in (stream, blocks)),
        daemon=True,
    )
    worker.start()
    worker.join(20)
    assert done == [True, True]
    closing = threading.Thread(target=client.close, daemon=True)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()
    assert engine_threads() == []
