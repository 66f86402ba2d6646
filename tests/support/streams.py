"""Streams that give other bytes than those that are due."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ctera_direct_sync import Block, DirectIO
from ctera_direct_sync._core import core_of

__all__ = ["GivenStreamer", "stream_blocks", "stream_pieces"]


class GivenStreamer:
    """Stands for a streamer that ends early without an error, or gives too much.

    Args:
        blocks: The blocks that it gives.

    Attributes:
        stopped: Whether `stop` was called.
    """

    def __init__(self, blocks: list[Block]) -> None:
        self._blocks = blocks
        self.stopped = False

    def start(self) -> Iterator[Block]:
        """Return an iterator over the blocks."""
        return iter(self._blocks)

    def stop(self) -> None:
        """Note it."""
        self.stopped = True


def stream_blocks(
    client: DirectIO, monkeypatch: pytest.MonkeyPatch, blocks: list[Block]
) -> GivenStreamer:
    """Have a client stream these blocks, whatever the file holds."""
    streamer = GivenStreamer(blocks)
    monkeypatch.setattr(core_of(client), "streamer", lambda *_: streamer)
    return streamer


def stream_pieces(
    client: DirectIO, monkeypatch: pytest.MonkeyPatch, *pieces: bytes
) -> GivenStreamer:
    """Have a client stream these bytes as blocks, whatever the file holds."""
    blocks: list[Block] = []
    offset = 0
    for number, piece in enumerate(pieces, 1):
        blocks.append(Block(1, number, offset, len(piece), piece))
        offset += len(piece)
    return stream_blocks(client, monkeypatch, blocks)
