"""What an engine keeps alive, and what it lets go."""

from __future__ import annotations

import gc
import traceback
import weakref
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager

import pytest

from ctera_direct_sync._base.cancellation import Cancelled, CancelScope
from ctera_direct_sync._engine.iteration import as_completed as completed
from ctera_direct_sync._engine.iteration import in_order
from ctera_direct_sync._protocol.ranges import Piece
from tests.support.engines import (
    PATIENCE,
    CutOff,
    Held,
    futures,
    position,
    shared,
    transfer,
)


class Boom(Exception):
    """An error that can be watched."""


class Result:
    """A result that can be watched."""


@contextmanager
def no_collector() -> Iterator[None]:
    """Without the cyclic garbage collector: what is in a cycle stays."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_error_is_in_no_cycle(pooled):
    """An error, with its traceback and all that hangs on it, dies with its future."""

    def work(piece: Piece, scope: CancelScope) -> None:
        raise Boom

    with no_collector():
        found = futures(pooled, shared(3, work))
        wait(found, timeout=PATIENCE)
        pooled.close()
        watched = [weakref.ref(future.exception()) for future in found]
        assert all(ref() is not None for ref in watched)
        del found
        assert [ref() for ref in watched] == [None] * 3


def test_error_shows_no_local_of_the_work(pooled):
    """The traceback of an error says where it was raised, and holds no block and no key from there."""

    def work(piece: Piece, scope: CancelScope) -> None:
        block = Result()
        watched.append(weakref.ref(block))
        raise SystemExit

    with no_collector():
        watched: list[weakref.ref] = []
        (future,) = futures(pooled, shared(1, work))
        error = future.exception(PATIENCE)
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert names[-1] == "work"
        assert watched[0]() is None


def test_cancelled_error_is_in_no_cycle(pooled):
    """So does the one that a cut-off future gets."""
    gate = Held()
    with no_collector():
        found = futures(pooled, shared(3, gate, max_workers=3))
        gate.await_inside(3)
        pooled.close()
        watched = [weakref.ref(future.exception()) for future in found]
        del found
        assert [ref() for ref in watched] == [None] * 3


def test_results_die_with_their_futures(pooled):
    """Neither the engine nor an idle thread keeps a result alive."""
    with no_collector():
        found = futures(pooled, shared(8, lambda piece, scope: Result()))
        watched = [weakref.ref(future.result(PATIENCE)) for future in found]
        pooled.close()
        del found
        assert [ref() for ref in watched] == [None] * 8


@pytest.mark.parametrize("ordered", [True, False])
def test_iteration_lets_go(serial, ordered):
    """A result that the consumer has done with is gone before the next one is waited for."""
    watched: list[weakref.ref] = []
    alive: list[int] = []

    def work(piece: Piece, scope: CancelScope) -> Result:
        alive.append(sum(ref() is not None for ref in watched))
        result = Result()
        watched.append(weakref.ref(result))
        return result

    with no_collector():
        started = transfer(5, work, ordered=ordered, memory=1)
        serial.start(started)
        jobs = in_order(serial, started) if ordered else completed(serial, started)
        for job in jobs:
            assert isinstance(job.future.result(), Result)
            del job
    assert len(watched) == 5
    assert max(alive) <= 1


def test_dropped_transfer_is_collected(pooled):
    """A transfer that has ended is not kept by the engine."""
    started = shared(3, position)
    wait(futures(pooled, started), timeout=PATIENCE)
    pooled.close()
    watched = weakref.ref(started)
    del started
    gc.collect()
    assert watched() is None


def test_cancelled_is_not_an_outcome(pooled):
    """Cancelled is how work unwinds; what a future shows is the engine's cancelled_error."""
    gate = Held()
    started = shared(1, gate)
    (future,) = futures(pooled, started)
    gate.await_inside(1)
    pooled.cancel(started)
    error = future.exception(PATIENCE)
    assert isinstance(error, CutOff)
    assert not isinstance(error, Cancelled)
