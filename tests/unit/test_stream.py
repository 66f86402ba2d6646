"""Streams over an engine and work of the test's own."""

from __future__ import annotations

import errno
import itertools
import threading
import weakref
from typing import Any, Callable

import pytest

from ctera_direct_sync._base.observer import Observer
from ctera_direct_sync._engine.engine import Engine, Transfer
from ctera_direct_sync._protocol.ranges import pieces
from ctera_direct_sync._readers.stream import Streamer, iterate
from ctera_direct_sync.exceptions import DirectIOError
from ctera_direct_sync.types import Chunk, SignedURL

PATIENCE = 20
LENGTH, COUNT = 100, 5


class Block:
    """As much of a block as a stream looks at; it can be weakly referred to."""

    def __init__(self, piece: Any) -> None:
        self.file_id = 1
        self.offset = piece.offset
        self.length = piece.length


class FakeSource:
    """A file of five blocks, with memory for one."""

    def __init__(self, engine: Engine, work: Callable[..., Any]) -> None:
        self.engine = engine
        self.observer = Observer()
        self.file_id = 1
        self.block = work

    def pieces(self, start: int, stop: int, **_: Any) -> Any:
        url = SignedURL("http://storage/")
        chunks = [Chunk(n + 1, n * LENGTH, LENGTH, url) for n in range(COUNT)]
        return pieces(chunks, start, stop)

    def transfer(self, wanted: Any, work: Any, **options: Any) -> Any:
        return Transfer(wanted, work, memory=LENGTH, **options)


def stream(source: Any) -> Any:
    """Blocks in order."""
    return Streamer(source, 0, COUNT * LENGTH).start()


def unordered(source: Any) -> Any:
    """Blocks as they come."""
    return iterate(source, 0, COUNT * LENGTH)


@pytest.mark.parametrize("way", [stream, unordered])
def test_a_block_that_was_dropped_is_gone(way):
    """While a stream waits for a block, nothing of it holds the one before: its memory counts as free."""
    gone: list[threading.Event] = []

    def work(piece: Any, scope: Any) -> Block:
        if gone:
            assert gone[-1].wait(PATIENCE)
        block = Block(piece)
        gone.append(threading.Event())
        weakref.finalize(block, gone[-1].set)
        return block

    engine = Engine(4)
    try:
        offsets = []
        for block in way(FakeSource(engine, work)):
            offsets.append(block.offset)
            del block
        assert offsets == [n * LENGTH for n in range(COUNT)]
    finally:
        engine.close()


@pytest.mark.parametrize("way", [stream, unordered])
def test_a_transfer_that_ends_early_is_an_error(way):
    """However the engine's accounts came to be wrong, what is not whole does not look as if it were."""
    engine = Engine(4)

    class Miscounted(FakeSource):
        def transfer(self, wanted: Any, work: Any, **options: Any) -> Any:
            return super().transfer(itertools.islice(wanted, COUNT - 1), work, **options)

    try:
        with pytest.raises(DirectIOError, match="please report") as caught:
            for block in way(Miscounted(engine, lambda piece, scope: Block(piece))):
                del block
        assert caught.value.errno == errno.EIO
    finally:
        engine.close()
