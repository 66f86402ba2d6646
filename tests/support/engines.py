"""Engines, transfers and work for tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Callable

from ctera_direct_sync import DirectIO
from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._core import core_of, make_cancelled_error
from ctera_direct_sync._engine.engine import Engine, Transfer
from ctera_direct_sync._protocol.ranges import Piece
from ctera_direct_sync.types import Chunk, SignedURL

#: Seconds that a test waits for what must happen.
PATIENCE = 20


class CutOff(Exception):
    """What the engines here end the running work of a cancelled transfer with."""


class FixedTuner:
    """Stands in for a `Tuner` whose number does not change.

    Args:
        limit: The number of jobs at once.
    """

    wants_start = False

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def completed(self, nbytes: int, seconds: float, now: float) -> bool:
        """Count nothing."""
        return False

    def idle(self) -> None:
        """Discard nothing."""


class _NothingToDo(Exception):
    pass


class InlineEngine(Engine):
    """An engine without threads: each call runs at once what may run, so all is deterministic."""

    def _start_over(self) -> None:
        super()._start_over()
        self._thread_starts.append(None)

    def _ring(self) -> None:
        try:
            self._run_jobs()
        except _NothingToDo:
            self._idle -= 1

    def _wait_for_mail(self) -> None:
        raise _NothingToDo

    def _wants_thread(self) -> bool:
        return False

    def close(self, wait: bool = True) -> None:
        """Close, with no thread to wait for."""
        super().close(wait=False)


def run_inline(client: DirectIO) -> DirectIO:
    """Make a client do its downloads on the calling thread, one after the other."""
    core_of(client).engine = InlineEngine(1, cancelled_error=make_cancelled_error)
    return client


#: Threads that were there when the test began, of file systems that other tests share, say.
_there_before: set[threading.Thread] = set()


def note_threads() -> None:
    """Leave the threads that there are out of what `engine_threads` tells."""
    _there_before.clear()
    _there_before.update(threading.enumerate())


def engine_threads() -> list[threading.Thread]:
    """The threads of engines that the test has started."""
    new = set(threading.enumerate()) - _there_before
    return [each for each in new if each.name.startswith("ctera-direct")]


def pieces(*lengths: int) -> Iterator[Piece]:
    """Whole blocks of these lengths; a piece's ``block`` is its position."""
    offset = 0
    for number, length in enumerate(lengths):
        yield Piece(number, Chunk(number + 1, offset, length, SignedURL("x")), 0, length)
        offset += length


def transfer(
    count: int, work: Callable[[Piece, CancelScope], Any], **options: Any
) -> Transfer[Any]:
    """A transfer of ``count`` blocks of one byte."""
    return Transfer(pieces(*[1] * count), work, **options)


def shared(count: int, work: Callable[[Piece, CancelScope], Any], **options: Any) -> Transfer[Any]:
    """The same, with futures for the user."""
    return transfer(count, work, shared=True, **options)


def position(piece: Piece, scope: CancelScope) -> int:
    """Work that is done at once: where in the transfer it is."""
    return piece.block


def futures(engine: Engine, started: Transfer[Any]) -> list[Future]:
    """The futures of an unbounded transfer, which this starts."""
    engine.start(started)
    return [job.future for job in started.take_admitted()]


@contextmanager
def open_engine(max_workers: int = 4, kind: type[Engine] = Engine, **options: Any) -> Iterator[Any]:
    """An engine, closed afterwards."""
    made = kind(max_workers, cancelled_error=lambda piece, file_id: CutOff(piece.block), **options)
    try:
        yield made
    finally:
        made.close()


class Held:
    """Work that waits to be let through, and counts who is inside."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.opened = threading.Event()
        self.lock = threading.Lock()
        self.active = 0
        self.most = 0
        self.begun: list[int] = []

    def __call__(self, piece: Piece, scope: CancelScope) -> int:
        with self.lock:
            self.begun.append(piece.block)
            self.active += 1
            self.most = max(self.most, self.active)
        self.inside.release()
        try:
            scope.attach(self.opened.set)
            assert self.opened.wait(PATIENCE)
            scope.detach()
        finally:
            with self.lock:
                self.active -= 1
        scope.check()
        return piece.block

    def await_inside(self, count: int) -> None:
        """Wait until ``count`` more have come in."""
        for _ in range(count):
            assert self.inside.acquire(timeout=PATIENCE)
