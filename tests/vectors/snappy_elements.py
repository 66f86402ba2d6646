"""Raw snappy blocks put together element by element, and a model that says what they mean.

Written from the format description (google/snappy, format_description.txt), for what no compressor
writes: copies of every kind and offset, literals with a length wider than it needs, and lies.
"""

from __future__ import annotations


def varint(value: int, size: int = 0) -> bytes:
    """Little-endian base 128, stretched to ``size`` bytes where that is longer than needed."""
    groups = [value & 0x7F]
    while value > 0x7F or len(groups) < size:
        value >>= 7
        groups.append(value & 0x7F)
    return bytes(group | 0x80 for group in groups[:-1]) + bytes(groups[-1:])


def literal_tag(length: int, width: int | None = None) -> bytes:
    """Tag of a literal of ``length`` bytes, its length in the tag (width 0) or in 1 to 4 bytes."""
    if width is None:
        width = 0 if length <= 60 else ((length - 1).bit_length() + 7) // 8
    if width == 0:
        return bytes([(length - 1) << 2])
    return bytes([(59 + width) << 2]) + (length - 1).to_bytes(width, "little")


def literal(data: bytes, width: int | None = None) -> bytes:
    """A literal element."""
    return literal_tag(len(data), width) + data


def copy(offset: int, length: int, kind: int) -> bytes:
    """A copy element with an offset of ``kind`` 1 (11 bits), 2 (16 bits) or 4 (32 bits)."""
    if kind == 1:
        return bytes([1 | (length - 4) << 2 | offset >> 8 << 5, offset & 0xFF])
    tag = 2 if kind == 2 else 3
    return bytes([tag | (length - 1) << 2]) + offset.to_bytes(kind, "little")


class Program:
    """A valid block that grows element by element together with its plaintext."""

    def __init__(self) -> None:
        self.elements = bytearray()
        self.plaintext = bytearray()

    def literal(self, data: bytes, width: int | None = None) -> None:
        self.elements += literal(data, width)
        self.plaintext += data

    def copy(self, offset: int, length: int, kind: int) -> None:
        self.elements += copy(offset, length, kind)
        for _ in range(length):
            self.plaintext.append(self.plaintext[-offset])

    @property
    def block(self) -> bytes:
        return varint(len(self.plaintext)) + bytes(self.elements)


def hostile_blocks() -> dict[str, tuple[bytes, int]]:
    """Raw blocks that lie, each with the plaintext length to ask for. None may decode."""
    ten = literal(b"0123456789")
    return {
        "nothing at all": (b"", 0),
        "nothing, length asked for": (b"", 10),
        "preamble unfinished": (b"\x8a", 10),
        "preamble of five bytes unfinished": (b"\x8a\x80\x80\x80\x80", 10),
        "preamble of six bytes": (varint(10, 6) + ten, 10),
        "preamble over 32 bits": (varint(10 | 1 << 32) + ten, 10),
        "preamble over 35 bits": (b"\x8a\x80\x80\x80\x80\x01" + ten, 10),
        "preamble alone": (varint(10), 10),
        "copy before any literal": (varint(10) + copy(1, 10, 2), 10),
        "copy of offset 0, 11 bits": (varint(14) + ten + copy(0, 4, 1), 14),
        "copy of offset 0, 16 bits": (varint(14) + ten + copy(0, 4, 2), 14),
        "copy of offset 0, 32 bits": (varint(14) + ten + copy(0, 4, 4), 14),
        "copy from before the start, 11 bits": (varint(14) + ten + copy(11, 4, 1), 14),
        "copy from before the start, 16 bits": (varint(14) + ten + copy(65535, 4, 2), 14),
        "copy from before the start, 32 bits": (varint(14) + ten + copy(2**32 - 1, 4, 4), 14),
        "copy from 2 GiB before": (varint(14) + ten + copy(2**31, 4, 4), 14),
        "copy past the end of the plaintext": (varint(14) + ten + copy(5, 5, 2), 14),
        "copy of 64 bytes past the end": (varint(11) + ten + copy(1, 64, 2), 11),
        "copy cut, 11 bits": (varint(14) + ten + copy(1, 4, 1)[:1], 14),
        "copy cut, 16 bits": (varint(14) + ten + copy(1, 4, 2)[:2], 14),
        "copy cut, 32 bits": (varint(14) + ten + copy(1, 4, 4)[:4], 14),
        "literal past the end of the plaintext": (varint(9) + ten, 9),
        "literal cut": (varint(10) + ten[:-1], 10),
        "literal tag alone": (varint(10) + ten[:1], 10),
        "literal length cut, 8 bits": (varint(10) + literal_tag(10, 1)[:1], 10),
        "literal length cut, 32 bits": (varint(10) + literal_tag(10, 4)[:3], 10),
        "literal of 4 GiB": (varint(10) + literal_tag(2**32, 4) + b"0123456789", 10),
        "literal of 2 GiB": (varint(10) + literal_tag(2**31, 4) + b"0123456789", 10),
        "literal of 16 MiB": (varint(10) + literal_tag(2**24, 3) + b"0123456789", 10),
        "elements end early": (varint(11) + ten, 11),
        "an element too many": (varint(10) + ten + literal(b"x"), 10),
        "a byte too many": (varint(10) + ten + b"\x00", 10),
        "a copy too many": (varint(10) + ten + copy(1, 4, 1), 10),
        "elements of nothing": (varint(0) + b"\x00", 0),
        "64 KiB announced and asked for": (varint(65536) + ten, 65536),
    }
