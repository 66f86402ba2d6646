"""From a byte range to the pieces of blocks that cover it. Pure: no I/O, no state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

from ..types import ByteRange, Chunk

__all__ = ["PART_SIZE", "Piece", "clip", "covered", "piece_at", "pieces"]

#: Bytes of one HTTP range request to a plaintext object (DESIGN, failure policy).
PART_SIZE = 8 * 1024 * 1024


class Piece(NamedTuple):
    """Bytes ``start`` to ``stop`` (excluded) of the plaintext of the list's element ``block``."""

    block: int
    chunk: Chunk
    start: int
    stop: int

    @property
    def offset(self) -> int:
        """Offset of the piece in the file."""
        return self.chunk.offset + self.start

    @property
    def length(self) -> int:
        """Bytes in the piece."""
        return self.stop - self.start

    @property
    def whole(self) -> bool:
        """Whether the piece is all of its block."""
        return self.start == 0 and self.stop == self.chunk.length


def clip(byte_range: Optional[ByteRange], size: int) -> tuple[int, int]:
    """First byte and the one past the last that ``byte_range`` means in a file of ``size`` bytes.

    The two are equal where the range starts at or past the end of the file.
    """
    if byte_range is None:
        return 0, size
    stop = size if byte_range.end is None else min(byte_range.end + 1, size)
    return (byte_range.start, stop) if byte_range.start < stop else (stop, stop)


def covered(chunks: Sequence[Chunk], start: int, stop: int) -> bool:
    """Whether the listed blocks hold every byte from ``start`` to ``stop`` (excluded)."""
    if start == stop:
        return True
    if not chunks:
        return False
    last = chunks[-1]
    return chunks[0].offset <= start and stop <= last.offset + last.length


def pieces(
    chunks: Sequence[Chunk],
    start: int,
    stop: int,
    *,
    whole: bool = False,
    part_size: Optional[int] = None,
) -> Iterator[Piece]:
    """The pieces that cover bytes ``start`` to ``stop`` (excluded), in file order, none empty.

    ``part_size``: blocks are cut at multiples of it, for objects of which any range can be fetched.
    ``whole``: blocks, or parts of them, are entire, not trimmed to the range.
    """
    for index in range(_first(chunks, start), len(chunks)):
        chunk = chunks[index]
        if chunk.offset >= stop or start >= stop:
            return
        if not chunk.length:
            continue
        low = max(0, start - chunk.offset)
        high = min(chunk.length, stop - chunk.offset)
        step = part_size or chunk.length
        if whole:
            low -= low % step
            high = min(chunk.length, high + -high % step)
        while low < high:
            cut = min(high, low - low % step + step)
            yield Piece(index, chunk, low, cut)
            low = cut


def _first(chunks: Sequence[Chunk], offset: int) -> int:
    """Index of the first block that ends past ``offset``."""
    low, high = 0, len(chunks)
    while low < high:
        middle = (low + high) // 2
        chunk = chunks[middle]
        if chunk.offset + chunk.length <= offset:
            low = middle + 1
        else:
            high = middle
    return low


def piece_at(
    chunks: Sequence[Chunk],
    start: int,
    stop: int,
    offset: int,
    *,
    part_size: Optional[int] = None,
) -> Optional[Piece]:
    """Return the one of :func:`pieces` that begins at ``offset``; None where none does."""
    if not start <= offset < stop:
        return None
    piece = next(pieces(chunks, offset, stop, part_size=part_size), None)
    if piece is None or piece.offset != offset:
        return None
    # Cut as if the range began here: right only where a piece of the whole range begins, too.
    begins = offset == start or piece.start % (part_size or piece.chunk.length) == 0
    return piece if begins else None
