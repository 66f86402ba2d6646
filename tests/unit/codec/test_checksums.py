"""CRC32C and CRC-64/NVME against published values, and the sum of two pieces."""

from __future__ import annotations

import random
from types import ModuleType

import pytest

from ctera_direct_sync.codec import packages
from tests.vectors.plaintexts import plaintext


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (
            bytes.fromhex(
                "01c00000000000000000000000000000140000000000040000000014000000"
                "1828000000000000000200000000000000"
            ),
            0xD9963A56,
        ),
    ],
)
def test_crc32c_of_rfc_3720(codec: ModuleType, data: bytes, crc: int) -> None:
    """The examples of RFC 3720, B.4, and the check value of the CRC catalogue."""
    assert codec.crc32c(data) == crc


def test_crc64nvme_check_value(codec: ModuleType) -> None:
    """The check value of the CRC catalogue, and nothing of nothing."""
    assert codec.crc64nvme(b"123456789") == 0xAE8B14860A799888
    assert codec.crc64nvme(b"") == 0


@pytest.mark.parametrize("name", ["crc32c", "crc64nvme"])
def test_taken_up_at_every_place(codec: ModuleType, name: str) -> None:
    """A checksum may be computed in two pieces cut anywhere, at any alignment."""
    checksum = getattr(codec, name)
    data = plaintext("random", 300)
    whole = checksum(data)
    for cut in range(len(data) + 1):
        assert checksum(data[cut:], checksum(data[:cut])) == whole
        assert checksum(memoryview(data)[cut:], checksum(bytearray(data[:cut]))) == whole


def test_the_table_agrees(codec: ModuleType) -> None:
    """The fallback in Python gives what the fast CRC-64/NVME gives, at sizes around its strides."""
    for size in (0, 1, 7, 8, 9, 127, 128, 129, 1023, 4096, 10_001):
        data = plaintext("random", size)
        assert codec.crc64nvme(data) == packages._crc64nvme_by_table(data, 0)
        assert codec.crc64nvme(data, 77) == packages._crc64nvme_by_table(data, 77)


def test_large_buffers(codec: ModuleType) -> None:
    """Sizes around the strides of fast implementations agree with their pieces' sum."""
    data = plaintext("random", 2**20 + 1)
    for size in (4095, 4096, 4097, 65535, 2**18, 2**18 + 1, 2**20 - 1, 2**20, 2**20 + 1):
        pieces = 0
        for start in range(0, size, 997):
            pieces = codec.crc32c(data[start : min(start + 997, size)], pieces)
        assert codec.crc32c(memoryview(data)[:size]) == pieces


def test_combine_is_concatenation(codec: ModuleType) -> None:
    """The CRC of two pieces in a row follows from theirs and the second one's length."""
    source = random.Random(3)
    for _ in range(200):
        first = source.randbytes(source.choice((0, 1, 2, 100, source.randrange(5000))))
        second = source.randbytes(source.choice((0, 1, 2, 100, source.randrange(5000))))
        combined = codec.crc32c_combine(codec.crc32c(first), codec.crc32c(second), len(second))
        assert combined == codec.crc32c(first + second)


def test_combine_of_huge_pieces(codec: ModuleType) -> None:
    """Lengths up to 2^63: doubling a run of zeros over and over agrees with one step."""
    zeros = bytes(1 << 16)
    crc, total = codec.crc32c(zeros), len(zeros)
    start = codec.crc32c(b"begin")
    for _ in range(46):
        crc, total = codec.crc32c_combine(crc, crc, total), 2 * total
        halves = codec.crc32c_combine(start, crc, total)
        assert codec.crc32c_combine(halves, crc, total) == codec.crc32c_combine(
            start, codec.crc32c_combine(crc, crc, total), 2 * total
        )
    assert total == 1 << 62


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("crc32c", (b"", -1)),
        ("crc32c", (b"", 1 << 32)),
        ("crc64nvme", (b"", -1)),
        ("crc64nvme", (b"", 1 << 64)),
        ("crc32c_combine", (-1, 0, 0)),
        ("crc32c_combine", (0, 1 << 32, 0)),
        ("crc32c_combine", (0, 0, -1)),
        ("crc32c_combine", (0, 0, 1 << 64)),
    ],
)
def test_values_out_of_range(codec: ModuleType, name: str, arguments: tuple[int, ...]) -> None:
    """What cannot be a checksum or a length is a ValueError."""
    with pytest.raises(ValueError, match=r"2\^|length2"):
        getattr(codec, name)(*arguments)
