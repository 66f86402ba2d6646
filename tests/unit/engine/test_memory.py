"""The memory that a transfer may hold, on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._engine.engine import Transfer
from ctera_direct_sync._engine.iteration import as_completed as completed
from ctera_direct_sync._engine.iteration import in_order
from ctera_direct_sync._protocol.ranges import Piece
from tests.support.engines import (
    InlineEngine,
    futures,
    open_engine,
    pieces,
    position,
)


class Window:
    """Counts what a transfer holds, as somebody outside sees it."""

    def __init__(self, lengths: list[int], memory: int, factor: int, **options: Any) -> None:
        self.memory = memory
        self.factor = factor
        self.kept: dict[int, int] = {}
        self.worked: list[int] = []
        self.transfer: Transfer[int] = Transfer(
            pieces(*lengths),
            self.work,
            memory=memory,
            working_bytes=lambda piece: factor * piece.length,
            **options,
        )

    def work(self, piece: Piece, scope: CancelScope) -> int:
        others = sum(self.kept.values())
        assert not self.kept or others + self.factor * piece.length <= self.memory
        self.kept[piece.block] = piece.length
        self.worked.append(piece.block)
        return piece.block

    def consumed(self, block: int) -> None:
        del self.kept[block]


@given(
    lengths=st.lists(st.integers(1, 20), max_size=40),
    memory=st.integers(1, 50),
    factor=st.integers(1, 3),
    workers=st.integers(1, 6),
    ordered=st.booleans(),
    own=st.booleans(),
)
def test_window_is_never_exceeded(lengths, memory, factor, workers, ordered, own):
    """In flight and waiting to be consumed, never more than ``memory``, but for a larger piece, alone."""
    window = Window(lengths, memory, factor, ordered=ordered, max_workers=workers if own else None)
    with open_engine(workers, InlineEngine) as serial:
        serial.start(window.transfer)
        taken = []
        jobs = in_order if ordered else completed
        for job in jobs(serial, window.transfer):
            block = job.future.result()
            taken.append(block)
            window.consumed(block)
        assert sorted(taken) == list(range(len(lengths)))
        assert sorted(window.worked) == sorted(taken)
        if ordered:
            assert taken == sorted(taken)


def test_consuming_lets_the_next_in(serial):
    """Nothing past the window is begun until the lowest outstanding piece was consumed."""
    done: list[int] = []
    started = Transfer(pieces(4, 4, 4, 4), lambda piece, scope: done.append(piece.block), memory=8)
    serial.start(started)
    assert done == [0, 1]
    jobs = in_order(serial, started)
    next(jobs)
    assert done == [0, 1]
    next(jobs)
    assert done == [0, 1, 2]
    next(jobs)
    assert done == [0, 1, 2, 3]


def test_larger_than_memory_goes_alone(serial):
    """A piece that does not fit is begun when nothing else is held, and holds up what follows."""
    done: list[int] = []
    started = Transfer(pieces(2, 100, 2), lambda piece, scope: done.append(piece.block), memory=10)
    serial.start(started)
    seen = []
    for _ in in_order(serial, started):
        seen.append(list(done))
    assert seen == [[0], [0, 1], [0, 1, 2]]


def test_what_is_not_kept_is_free_at_once(serial):
    """Where results are not kept, memory is free as soon as the work is done."""
    done: list[int] = []
    started = Transfer(
        pieces(*[8] * 5),
        lambda piece, scope: done.append(piece.block),
        memory=8,
        result_bytes=lambda piece: 0,
    )
    serial.start(started)
    assert done == [0, 1, 2, 3, 4]


def test_unbounded(serial):
    """Without a bound everything is begun at once."""
    assert len(futures(serial, Transfer(pieces(*[10**12] * 100), position))) == 100


def test_pieces_are_taken_lazily(serial):
    """A file of a million parts is not listed before there is room for them."""
    taken = []

    def endless() -> Iterator[Piece]:
        for piece in pieces(*[1] * 1_000_000):
            taken.append(piece.block)
            yield piece

    started = Transfer(endless(), position, memory=5)
    serial.start(started)
    assert len(taken) <= 7
    serial.cancel(started)


@pytest.mark.parametrize("ordered", [True, False])
def test_few_jobs_are_made_ahead(ordered: bool) -> None:
    """However many pieces fit into the memory, no more jobs are queued than there may be threads."""
    queued: list[int] = []

    def work(piece: Piece, scope: CancelScope) -> int:
        queued.append(len(made.queue))
        return piece.block

    made: Transfer[int] = Transfer(pieces(*[1] * 3000), work, memory=9000, ordered=ordered)
    with open_engine(1, InlineEngine) as engine:
        engine.start(made)
        consume = in_order if ordered else completed
        assert [job.future.result() for job in consume(engine, made)] == list(range(3000))
    assert max(queued) < 1024
