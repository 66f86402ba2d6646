"""The order in which an engine runs jobs, on one thread, where all is deterministic."""

from __future__ import annotations

import contextvars

import pytest

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._engine.engine import BULK, STREAM
from ctera_direct_sync._engine.iteration import as_completed as completed
from ctera_direct_sync._engine.iteration import in_order
from ctera_direct_sync._protocol.ranges import Piece
from tests.support.engines import (
    futures,
    position,
    shared,
    transfer,
)


def test_file_order(serial):
    """Pieces of one transfer are worked on from the first to the last."""
    done: list[int] = []
    started = transfer(5, lambda piece, scope: done.append(piece.block))
    assert all(future.done() for future in futures(serial, started))
    assert done == [0, 1, 2, 3, 4]


def test_earlier_pieces_before_later_ones(serial):
    """Of two equal transfers, the one that is less far goes first."""
    done: list[str] = []
    second = transfer(3, lambda piece, scope: done.append(f"b{piece.block}"))

    def work(piece: Piece, scope: CancelScope) -> None:
        done.append(f"a{piece.block}")
        if piece.block == 1:
            serial.start(second)

    serial.start(transfer(4, work))
    assert done == ["a0", "a1", "b0", "b1", "a2", "b2", "a3"]


def test_streams_before_bulk(serial):
    """A stream that begins while bulk work waits is done before any more of that."""
    done: list[str] = []
    stream = transfer(3, lambda piece, scope: done.append(f"s{piece.block}"), priority=STREAM)

    def work(piece: Piece, scope: CancelScope) -> None:
        done.append(f"b{piece.block}")
        if piece.block == 1:
            serial.start(stream)

    serial.start(transfer(4, work, priority=BULK))
    assert done == ["b0", "b1", "s0", "s1", "s2", "b2", "b3"]


def test_streams_before_bulk_with_workers_of_its_own(serial):
    """Calls with max_workers and calls without stand in one line."""
    done: list[str] = []
    stream = transfer(
        2, lambda piece, scope: done.append(f"s{piece.block}"), priority=STREAM, max_workers=1
    )

    def work(piece: Piece, scope: CancelScope) -> None:
        done.append(f"b{piece.block}")
        if not piece.block:
            serial.start(stream)

    serial.start(transfer(3, work, max_workers=1))
    assert done == ["b0", "s0", "s1", "b1", "b2"]


def test_nothing_to_do(serial):
    """A transfer without pieces ends at once, whichever way its jobs are taken."""
    for ordered in (True, False):
        empty = transfer(0, position, ordered=ordered)
        serial.start(empty)
        assert list((in_order if ordered else completed)(serial, empty)) == []


@pytest.mark.parametrize("ordered", [True, False])
def test_iteration(serial, ordered):
    """Every job comes out once, with its result."""
    started = transfer(7, position, ordered=ordered, memory=3)
    serial.start(started)
    jobs = in_order(serial, started) if ordered else completed(serial, started)
    assert [job.future.result() for job in jobs] == list(range(7))


def test_errors_are_results(serial):
    """What work raises is in its future alone; the other jobs go on."""

    def work(piece: Piece, scope: CancelScope) -> int:
        if piece.block == 1:
            raise KeyError("one")
        if piece.block == 2:
            raise SystemExit(3)
        return piece.block

    found = futures(serial, shared(4, work))
    assert [type(future.exception()) for future in found] == [
        type(None), KeyError, SystemExit, type(None),
    ]  # fmt: skip


def test_context_of_the_caller(serial):
    """Work sees the context variables of the call that started it, and cannot change them."""
    variable: contextvars.ContextVar = contextvars.ContextVar("variable", default="unset")
    variable.set("the caller's")
    seen = []

    def work(piece: Piece, scope: CancelScope) -> None:
        seen.append(variable.get())
        variable.set("the worker's")

    started = transfer(2, work)
    variable.set("later")
    serial.start(started)
    assert seen == ["the caller's", "the caller's"]
    assert variable.get() == "later"


def test_notices(serial):
    """Each piece is told of when queued, when started, and when it failed."""
    told: list[tuple[str, int, str]] = []

    def work(piece: Piece, scope: CancelScope) -> None:
        if piece.block:
            raise KeyError("secret")

    notify = lambda name, piece, detail: told.append((name, piece.block, detail))  # noqa: E731
    serial.start(transfer(2, work, notify=notify))
    assert told == [
        ("queued", 0, ""),
        ("queued", 1, ""),
        ("started", 0, ""),
        ("started", 1, ""),
        ("failed", 1, "KeyError"),
    ]
