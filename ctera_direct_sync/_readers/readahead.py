"""How far to read ahead of a reader, judged by the blocks that it comes to."""

from __future__ import annotations

from typing import NamedTuple

from .._protocol.ranges import Piece
from .block_cache import BlockCache

__all__ = ["ReadRequest", "ReadaheadWindow"]


class ReadRequest(NamedTuple):
    """The bytes that one read wants.

    Attributes:
        start: The offset of the first byte.
        stop: The offset past the last byte; `start` if the read takes what one block has.
        is_sequential: Whether the read begins about where an earlier one ended.
    """

    start: int
    stop: int
    is_sequential: bool


class ReadaheadWindow:
    """The window that is fetched ahead of a reader.

    It doubles while the reader goes from block to block, and closes when it jumps.

    Args:
        cache: The cache of the reader's file.
        max_bytes: The largest size of the window.

    Attributes:
        nbytes: The size of the window.
    """

    def __init__(self, cache: BlockCache, max_bytes: int) -> None:
        self.nbytes = 0
        self._cache = cache
        self._max_bytes = max_bytes
        self._last: Piece | None = None

    def enter(self, piece: Piece, request: ReadRequest) -> None:
        """Set the size of the window for a piece that the reader comes to.

        Args:
            piece: The piece.
            request: The read that needs it.
        """
        last, self._last = self._last, piece
        if last is not None and piece.offset == last.offset + last.length:
            # The blocks of one large read that was a jump tell nothing about the next read.
            if request.is_sequential or not request.start <= piece.offset < request.stop:
                self.nbytes = min(self._max_bytes, max(2 * self.nbytes, piece.length))
        elif piece.offset in self._cache.unread:
            self._cache.cancel_ahead(before=piece.offset)
        elif last is None or piece.offset != last.offset:
            self.nbytes = 0
            self._cache.cancel_ahead()
