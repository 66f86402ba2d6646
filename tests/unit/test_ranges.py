"""From byte ranges to pieces, against a model that takes every byte by itself."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ctera_direct_sync._protocol.ranges import PART_SIZE, Piece, clip, covered, pieces
from ctera_direct_sync.types import ByteRange, Chunk, SignedURL

URL = SignedURL("https://storage.example.com/1")

LENGTHS = st.lists(st.integers(0, 12), max_size=8)
RANGES = st.none() | st.builds(
    lambda start, length: ByteRange(start, None if length is None else start + length),
    st.integers(0, 60),
    st.none() | st.integers(0, 60),
)


def listed(lengths: list[int], base: int = 0) -> list[Chunk]:
    """Blocks of these lengths, one after the other from ``base``."""
    offsets = accumulate(lengths, initial=base)
    return [
        Chunk(number, offset, length, URL)
        for number, (offset, length) in enumerate(zip(offsets, lengths), 1)
    ]


def bytes_of(piece: Piece) -> range:
    """Offsets in the file of a piece's bytes."""
    return range(piece.offset, piece.offset + piece.length)


@given(RANGES, st.integers(0, 60))
def test_clip(byte_range, size):
    """The clipped range is what slicing a file of that size would give."""
    start, stop = clip(byte_range, size)
    file = list(range(size))
    if byte_range is None:
        wanted = file
    else:
        wanted = file[byte_range.start : None if byte_range.eof else byte_range.end + 1]
    assert file[start:stop] == wanted
    assert 0 <= start <= stop <= size


@given(LENGTHS, RANGES, st.integers(0, 5), st.none() | st.integers(1, 7))
@example([4, 4, 4], ByteRange(4, 7), 0, None)
@example([4, 4, 4], ByteRange(3, 4), 0, None)
@example([4, 0, 4], ByteRange(4, 4), 0, None)
@example([0, 0], None, 0, 1)
@example([10], ByteRange(3, 8), 0, 4)
def test_trimmed_pieces(lengths, byte_range, base, part_size):
    """Trimmed pieces hold each byte of the range that is listed once, in order, and no other."""
    chunks = listed(lengths, base)
    size = base + sum(lengths)
    start, stop = clip(byte_range, size)
    found = list(pieces(chunks, start, stop, part_size=part_size))
    assert [at for piece in found for at in bytes_of(piece)] == [
        at for at in range(start, stop) if at >= base
    ]
    for piece in found:
        assert piece.length > 0
        assert piece.chunk is chunks[piece.block]
        assert 0 <= piece.start < piece.stop <= piece.chunk.length
        if part_size is not None:
            assert piece.start // part_size == (piece.stop - 1) // part_size


@given(LENGTHS, RANGES, st.integers(0, 5), st.none() | st.integers(1, 7))
@example([4, 4, 4], ByteRange(4, 7), 0, None)
@example([10, 10], ByteRange(3, 13), 0, 4)
def test_whole_pieces(lengths, byte_range, base, part_size):
    """Whole pieces are the entire blocks or parts that the range touches, each once, in order."""
    chunks = listed(lengths, base)
    start, stop = clip(byte_range, base + sum(lengths))
    expected = []
    for index, chunk in enumerate(chunks):
        step = part_size or max(chunk.length, 1)
        for low in range(0, chunk.length, step):
            high = min(low + step, chunk.length)
            if chunk.offset + low < stop and chunk.offset + high > start and start < stop:
                expected.append((index, low, high))
    found = list(pieces(chunks, start, stop, whole=True, part_size=part_size))
    assert [(piece.block, piece.start, piece.stop) for piece in found] == expected


@pytest.mark.parametrize("part_size", [None, 3])
@pytest.mark.parametrize("whole", [False, True])
def test_empty_range(part_size, whole):
    """A range of nothing has no pieces, wherever it lies."""
    chunks = listed([4, 0, 4])
    for at in range(10):
        assert list(pieces(chunks, at, at, whole=whole, part_size=part_size)) == []


def test_one_byte():
    """One byte is one piece of one byte of the block that holds it."""
    chunks = listed([4, 0, 5])
    for at in range(9):
        (piece,) = pieces(chunks, at, at + 1)
        assert (piece.offset, piece.length) == (at, 1)
        assert piece.chunk.number == (1 if at < 4 else 3)


def test_whole_property():
    """A piece is whole only if it begins and ends with its block."""
    chunk = Chunk(1, 0, 10, URL)
    assert Piece(0, chunk, 0, 10).whole
    assert not Piece(0, chunk, 0, 9).whole
    assert not Piece(0, chunk, 1, 10).whole


def test_pieces_are_lazy():
    """A huge object's parts are not listed ahead: 100 GB are taken one by one."""
    chunks = listed([100 * 1000**3])
    parts = pieces(chunks, 0, chunks[0].length, part_size=PART_SIZE)
    assert next(parts) == Piece(0, chunks[0], 0, PART_SIZE)
    assert next(parts).start == PART_SIZE


@given(LENGTHS, st.integers(0, 5), st.integers(0, 60), st.integers(0, 60))
def test_covered(lengths, base, start, length):
    """A range is covered exactly if each of its bytes is in some block."""
    chunks = listed(lengths, base)
    held = {at for chunk in chunks for at in range(chunk.offset, chunk.offset + chunk.length)}
    assert covered(chunks, start, start + length) is set(range(start, start + length)).issubset(
        held
    )
