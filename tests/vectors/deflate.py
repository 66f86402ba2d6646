"""gzip members whose DEFLATE breaks RFC 1951, built bit by bit; CRC-32 and length are right."""

from __future__ import annotations

import collections
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
END = 256

# A complete set of code length codes, by which any code lengths can be written (RFC 1951, 3.2.7).
_LENGTH_CODE_LENGTHS = [4] * 13 + [5] * 6
_LENGTH_CODE_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)

FIXED_LITERALS = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8
FIXED_DISTANCES = [5] * 32


class Invalid(NamedTuple):
    """A member, and what a lenient decoder makes of it; None: no decoder may accept it."""

    member: bytes
    plaintext: bytes | None


class _Bits:
    def __init__(self) -> None:
        self._value = self._size = 0

    def put(self, value: int, size: int) -> None:
        """Append a number, its lowest bit first."""
        self._value |= value << self._size
        self._size += size

    def put_code(self, code: int, size: int) -> None:
        """Append a Huffman code, its highest bit first."""
        for bit in range(size - 1, -1, -1):
            self.put(code >> bit & 1, 1)

    def done(self) -> bytes:
        return self._value.to_bytes((self._size + 7) // 8, "little")


def _codes(lengths: Sequence[int]) -> dict[int, tuple[int, int]]:
    """The canonical codes and sizes by symbol (RFC 1951, 3.2.2)."""
    counts = collections.Counter(filter(None, lengths))
    following, code = {}, 0
    for size in range(1, 16):
        following[size] = code
        code = code + counts[size] << 1
    made = {}
    for symbol, size in enumerate(lengths):
        if size:
            made[symbol] = following[size], size
            following[size] += 1
    return made


def lengths(count: int, **sizes: int) -> list[int]:
    """``count`` code lengths: ``s97=2`` gives symbol 97 a code of 2 bits, the others have none."""
    made = [0] * count
    for symbol, size in sizes.items():
        made[int(symbol[1:])] = size
    return made


def _begin(
    literals: Sequence[int], distances: Sequence[int], final_run: int | None = None
) -> _Bits:
    """A last block with dynamic codes. ``final_run``: write the last zeros as one run of that size."""
    bits, codes = _Bits(), _codes(_LENGTH_CODE_LENGTHS)
    bits.put(1, 1)
    bits.put(2, 2)
    bits.put(len(literals) - 257, 5)
    bits.put(len(distances) - 1, 5)
    bits.put(15, 4)
    for symbol in _LENGTH_CODE_ORDER:
        bits.put(_LENGTH_CODE_LENGTHS[symbol], 3)
    every = [*literals, *distances]
    if final_run is not None:
        while every and not every[-1]:
            every.pop()
    for size in every:
        bits.put_code(*codes[size])
    if final_run is not None:
        bits.put_code(*codes[18])
        bits.put(final_run - 11, 7)
    return bits


def _member(bits: _Bits, plaintext: bytes) -> bytes:
    return HEADER + bits.done() + struct.pack("<II", zlib.crc32(plaintext), len(plaintext))


def _dynamic(
    literals: Sequence[int],
    distances: Sequence[int],
    symbols: Iterable[tuple[int, int]],
    plaintext: bytes | None,
    final_run: int | None = None,
) -> Invalid:
    """``symbols``: codes and their sizes, as they are written behind the header."""
    bits = _begin(literals, distances, final_run)
    for code, size in symbols:
        bits.put_code(code, size)
    return Invalid(_member(bits, plaintext or b""), plaintext)


def _fixed(symbols: Iterable[tuple[int, int]], plaintext: bytes, history: bytes = b"") -> Invalid:
    """``history``: bytes that a stored block gives before the block with fixed codes."""
    bits = _Bits()
    if history:
        bits.put(0, 8)
        bits.put(len(history) | (len(history) ^ 0xFFFF) << 16, 32)
        bits.put(int.from_bytes(history, "little"), 8 * len(history))
    bits.put(1, 1)
    bits.put(1, 2)
    for code, size in symbols:
        bits.put_code(code, size)
    return Invalid(_member(bits, plaintext), plaintext)


def valid() -> Invalid:
    """A member of the same maker that keeps every rule, as a check of the maker."""
    # a, then three bytes from one byte back
    return _dynamic(
        lengths(258, s97=1, s256=2, s257=2),
        lengths(1, s0=1),
        [(0, 1), (3, 2), (0, 1), (2, 2)],
        b"aaaa",
    )


def invalid() -> dict[str, Invalid]:
    """Every kind by name."""
    literals = {"s97": 1, "s256": 2, "s257": 2}
    letter, end, match = (0, 1), (2, 2), (3, 2)
    fixed = _codes(FIXED_LITERALS)
    distances = _codes(FIXED_DISTANCES)
    return {
        "287 literal/length codes": _dynamic(
            lengths(287, **literals), lengths(1, s0=1), [letter, match, (0, 1), end], b"aaaa"
        ),
        "288 literal/length codes": _dynamic(
            lengths(288, **literals), lengths(1, s0=1), [letter, match, (0, 1), end], b"aaaa"
        ),
        "31 distance codes": _dynamic(
            lengths(258, **literals), lengths(31, s0=1), [letter, match, (0, 1), end], b"aaaa"
        ),
        "32 distance codes": _dynamic(
            lengths(258, **literals), lengths(32, s0=1), [letter, match, (0, 1), end], b"aaaa"
        ),
        "a run of lengths past the last": _dynamic(
            lengths(258, s97=1, s256=1), lengths(1), [letter, letter, (1, 1)], b"aa", 30
        ),
        "length code 286, fixed": _fixed(
            [fixed[97], fixed[286], distances[0], fixed[END]], b"a" * 259
        ),
        "length code 287, fixed": _fixed(
            [fixed[97], fixed[287], distances[0], fixed[END]], b"a" * 259
        ),
        "distance code 30, fixed": _fixed(
            [fixed[257], distances[30], (0, 14), fixed[END]], b"a" * 60_003, b"a" * 60_000
        ),
        "distance code 31, fixed": _fixed(
            [fixed[257], distances[31], (0, 14), fixed[END]], b"a" * 60_003, b"a" * 60_000
        ),
        "one distance code, and the other bit used": _dynamic(
            lengths(258, **literals), lengths(1, s0=1), [letter, match, (1, 1), end], b"aaaa"
        ),
        "no distance code, and one used": _dynamic(
            lengths(258, **literals), lengths(1), [letter, match, (0, 1), end], b"aaaa"
        ),
        "one literal/length code, and the other bit used": _dynamic(
            lengths(257, s256=1), lengths(1), [(1, 1)], b""
        ),
        "literal/length codes incomplete": _dynamic(
            lengths(258, s97=2, s256=2), lengths(1, s0=1), [(0, 2), (1, 2)], b"a"
        ),
        "distance codes incomplete": _dynamic(
            lengths(258, **literals), lengths(3, s0=2, s1=2), [letter, match, (0, 2), end], b"aaaa"
        ),
        "one distance code of two bits": _dynamic(
            lengths(258, **literals), lengths(1, s0=2), [letter, match, (0, 2), end], b"aaaa"
        ),
        "literal/length codes over-subscribed": _dynamic(
            lengths(258, s97=1, s98=1, s256=1), lengths(1, s0=1), [letter, (1, 1)], None
        ),
        "distance codes over-subscribed": _dynamic(
            lengths(258, **literals),
            lengths(3, s0=1, s1=1, s2=1),
            [letter, match, (0, 1), end],
            None,
        ),
        "no end of block": _dynamic(
            lengths(257, s97=1, s98=1), lengths(1, s0=1), [letter, letter], None
        ),
    }
