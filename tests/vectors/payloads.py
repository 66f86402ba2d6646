"""Compressed payloads, made by other implementations: cramjam, python-snappy, zlib, python-lz4."""

from __future__ import annotations

import gzip
import itertools
import struct
import zlib
from typing import Callable, NamedTuple

import cramjam
import lz4.frame
import snappy

SNAPPY_JAVA_HEADER = b"\x82SNAPPY\x00" + struct.pack(">II", 1, 1)


def snappy_raw(data: bytes) -> bytes:
    """One raw snappy block, by cramjam (Rust)."""
    return bytes(cramjam.snappy.compress_raw(data))


def snappy_chunks(*chunks: bytes) -> bytes:
    """Raw blocks, each behind its length, as a snappy-java stream holds them."""
    return b"".join(struct.pack(">I", len(chunk)) + chunk for chunk in chunks)


def snappy_stream(data: bytes, chunk: int = 32768) -> bytes:
    """A snappy-java stream; its writer cuts the plaintext every 32 KiB."""
    pieces = (data[start : start + chunk] for start in range(0, len(data), chunk))
    return SNAPPY_JAVA_HEADER + snappy_chunks(*map(snappy_raw, pieces))


def gzip_member(data: bytes, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    """One gzip member by zlib."""
    stream = zlib.compressobj(level, zlib.DEFLATED, 31, 8, strategy)
    return stream.compress(data) + stream.flush()


def gzip_members(data: bytes, size: int = 10007) -> bytes:
    """Several gzip members, an empty one first, by the standard library's gzip."""
    pieces = [b"", *(data[start : start + size] for start in range(0, len(data), size))]
    return b"".join(gzip.compress(piece, mtime=0) for piece in pieces)


def gzip_with_fields(data: bytes) -> bytes:
    """A gzip member with every optional header field: FEXTRA, FNAME, FCOMMENT, FHCRC."""
    header = b"\x1f\x8b\x08\x1f" + struct.pack("<IBB", 1, 0, 255)
    header += struct.pack("<H", 5) + b"\x00x\x00yz" + b"a name\x00" + b"a remark\x00"
    header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    return header + gzip_member(data)[10:]


def lz4_frame(data: bytes, **options: object) -> bytes:
    """One LZ4 frame by liblz4, through python-lz4."""
    return bytes(lz4.frame.compress(data, **{"store_size": False, **options}))


LZ4_OPTIONS = [
    {
        "block_size": block_size,
        "block_linked": linked,
        "block_checksum": block_checksum,
        "content_checksum": content_checksum,
        "store_size": store_size,
    }
    for block_size, linked, block_checksum, content_checksum, store_size in itertools.product(
        (
            lz4.frame.BLOCKSIZE_MAX64KB,
            lz4.frame.BLOCKSIZE_MAX256KB,
            lz4.frame.BLOCKSIZE_MAX1MB,
            lz4.frame.BLOCKSIZE_MAX4MB,
        ),
        (False, True),
        (False, True),
        (False, True),
        (False, True),
    )
]


class Recipe(NamedTuple):
    """A way to store a plaintext: the ``compression`` to decode with, and the payload's maker.

    ``checked``: the payload has a checksum over all of the plaintext.
    """

    compression: str | None
    make: Callable[[bytes], bytes]
    checked: bool = False


RECIPES: dict[str, Recipe] = {
    "none": Recipe("NONE", bytes),
    "snappy raw, cramjam": Recipe("SNAPPY", snappy_raw),
    "snappy raw, python-snappy": Recipe(None, lambda data: bytes(snappy.compress(data))),
    "snappy stream": Recipe("SNAPPY", snappy_stream),
    "snappy stream, chunks of 1000": Recipe("GZIP", lambda data: snappy_stream(data, 1000)),
    "snappy stream, two in a row": Recipe(
        "SNAPPY",
        lambda data: snappy_stream(data[: len(data) // 2]) + snappy_stream(data[len(data) // 2 :]),
    ),
    "gzip": Recipe("GZIP", gzip_member, checked=True),
    "gzip, best": Recipe(None, lambda data: gzip_member(data, 9), checked=True),
    "gzip, stored": Recipe("SNAPPY", lambda data: gzip_member(data, 0), checked=True),
    "gzip, fixed codes": Recipe(
        "GZIP", lambda data: gzip_member(data, 6, zlib.Z_FIXED), checked=True
    ),
    "gzip, Huffman only": Recipe(
        "GZIP", lambda data: gzip_member(data, 6, zlib.Z_HUFFMAN_ONLY), checked=True
    ),
    "gzip, runs": Recipe("GZIP", lambda data: gzip_member(data, 6, zlib.Z_RLE), checked=True),
    "gzip, members": Recipe("GZIP", gzip_members, checked=True),
    "gzip, all header fields": Recipe("GZIP", gzip_with_fields, checked=True),
    "gzip, cramjam": Recipe("GZIP", lambda data: bytes(cramjam.gzip.compress(data)), checked=True),
    "lz4, plain": Recipe("LZ4", lz4_frame),
    "lz4, linked": Recipe("LZ4", lambda data: lz4_frame(data, block_linked=True)),
    "lz4, content checksum": Recipe(
        "LZ4", lambda data: lz4_frame(data, content_checksum=True), checked=True
    ),
    "lz4, all": Recipe(
        "LZ4",
        lambda data: lz4_frame(
            data, content_checksum=True, block_checksum=True, store_size=True, block_linked=True
        ),
        checked=True,
    ),
    "lz4, high compression": Recipe("LZ4", lambda data: lz4_frame(data, compression_level=9)),
    "lz4, cramjam": Recipe("LZ4", lambda data: bytes(cramjam.lz4.compress(data)), checked=True),
}
