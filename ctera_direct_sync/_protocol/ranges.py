"""Find the pieces of blocks that cover a byte range. Pure: no I/O, no state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..types import ByteRange, Chunk

__all__ = ["PART_SIZE", "Piece", "clip", "covered", "piece_at", "pieces"]

#: Bytes of one HTTP range request to a plaintext object.
PART_SIZE = 8 * 1024 * 1024


class Piece(NamedTuple):
    """A part of the plaintext of one block, or all of it."""

    block: int
    """Index of the block in the block list."""
    chunk: Chunk
    """The block as listed."""
    start: int
    """Offset in the block of the first byte."""
    stop: int
    """Offset in the block of the byte past the last one."""

    @property
    def offset(self) -> int:
        """Offset in the file of the first byte."""
        return self.chunk.offset + self.start

    @property
    def length(self) -> int:
        """Length in bytes."""
        return self.stop - self.start

    @property
    def whole(self) -> bool:
        """Whether the piece is its whole block."""
        return self.start == 0 and self.stop == self.chunk.length


def clip(byte_range: ByteRange | None, size: int) -> tuple[int, int]:
    """Return the first byte of a range, and the one past its last.

    The two are equal if the range starts at or past the end of the file.

    Args:
        byte_range: The range, or None for the whole file.
        size: The size of the file in bytes.
    """
    if byte_range is None:
        return 0, size
    stop = size if byte_range.end is None else min(byte_range.end + 1, size)
    return (byte_range.start, stop) if byte_range.start < stop else (stop, stop)


def covered(chunks: Sequence[Chunk], start: int, stop: int) -> bool:
    """Return whether the listed blocks hold every byte from `start` to `stop` (excluded)."""
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
    part_size: int | None = None,
) -> Iterator[Piece]:
    """Yield the pieces that cover a range, in file order. None is empty.

    Args:
        chunks: The block list.
        start: The first byte of the range.
        stop: The byte past its last one.
        whole: Whether to yield whole blocks or parts. Otherwise they are trimmed to the range.
        part_size: Where to cut blocks: at its multiples. It is for objects of which any range can be
            fetched. None leaves the blocks as they are listed.
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
    """Return the index of the first block that ends past `offset`."""
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
    part_size: int | None = None,
) -> Piece | None:
    """Return the piece of those that `pieces` yields that begins at `offset`, or None."""
    if not start <= offset < stop:
        return None
    piece = next(pieces(chunks, offset, stop, part_size=part_size), None)
    if piece is None or piece.offset != offset:
        return None
    # It was cut as if the range began here. That is right only if a piece of the whole range begins here.
    begins = offset == start or piece.start % (part_size or piece.chunk.length) == 0
    return piece if begins else None
