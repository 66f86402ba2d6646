"""Payloads that no honest writer makes, each with what PROTOCOL 3 and ctera_codec.h say of it."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import lz4.block

from tests.vectors import payloads, snappy_elements
from tests.vectors.plaintexts import plaintext

DATA = plaintext("text", 300)
CORRUPT, LENGTH = "DecompressBlockError", "BlockValidationException"


class Case(NamedTuple):
    """A payload, how to decode it, and the name of the exception, None where it decodes to DATA."""

    payload: bytes
    compression: str
    length: int
    error: str | None


def cases() -> dict[str, Case]:
    """Every hostile payload by name."""
    snappy = {
        f"snappy: {name}": Case(block, "SNAPPY", length, CORRUPT)
        for name, (block, length) in snappy_elements.hostile_blocks().items()
    }
    return {**snappy, **_lengths(), **_streams(), **_gzip(), **_lz4()}


def _lengths() -> dict[str, Case]:
    """Honest payloads, and a length that is not theirs."""
    made = {}
    for name, recipe in payloads.RECIPES.items():
        payload = recipe.make(DATA)
        for length in (0, 1, 299, 301, 2**16, 2**32 - 1, 2**32 + 300):
            case = Case(payload, recipe.compression or "SNAPPY", length, LENGTH)
            made[f"{name}, asked for {length}"] = case
    return made


def _streams() -> dict[str, Case]:
    header, raw = payloads.SNAPPY_JAVA_HEADER, payloads.snappy_raw(DATA)
    first, second = payloads.snappy_raw(DATA[:100]), payloads.snappy_raw(DATA[100:])
    chunks = payloads.snappy_chunks

    def versions(version: int, compatible: int) -> bytes:
        return header[:8] + struct.pack(">II", version, compatible) + chunks(raw)

    made = {
        "two chunks": (header + chunks(first, second), None),
        "newer version, still compatible": (versions(2, 1), None),
        "version 0": (versions(0, 1), CORRUPT),
        "made for later readers, readable": (versions(2, 2), None),
        "made for later readers, not readable": (versions(2, 2)[:-1], CORRUPT),
        "made for later readers, then for all": (
            versions(1, 2**32 - 1)[: 16 + 4 + len(raw)] + header,
            None,
        ),
        "made for later readers, header again cut": (versions(2, 2) + header[:9], CORRUPT),
        "made for later readers, a chunk too few": (versions(2, 2)[:16] + chunks(first), LENGTH),
        "made for later readers, a chunk too many": (versions(2, 2) + chunks(raw), LENGTH),
        "header alone": (header, LENGTH),
        "header cut": (header[:15], CORRUPT),
        "magic alone": (header[:8], CORRUPT),
        "header again": (header + chunks(first) + header + chunks(second), None),
        "header again and again": (header * 5 + chunks(first) + header * 3 + chunks(second), None),
        "header again at the end": (header + chunks(raw) + header, None),
        "header again, cut": (header + chunks(raw) + header[:9], CORRUPT),
        "header again, version 0": (
            header + chunks(raw) + header[:8] + struct.pack(">II", 0, 0),
            CORRUPT,
        ),
        "a chunk of nothing": (header + chunks(b"", raw), CORRUPT),
        "a chunk of nothing last": (header + chunks(raw, b""), CORRUPT),
        "chunks with an empty plaintext": (
            header + chunks(b"\0", first, b"\0", second, b"\0"),
            None,
        ),
        "chunks swapped in length": (header + chunks(second, first)[:-1], CORRUPT),
        "chunk longer than the payload": (header + struct.pack(">I", len(raw) + 1) + raw, CORRUPT),
        "chunk of 4 GiB": (header + struct.pack(">I", 2**32 - 1) + raw, CORRUPT),
        "chunk of 2 GiB": (header + struct.pack(">I", 2**31) + raw, CORRUPT),
        "chunk shorter than its elements": (
            header + struct.pack(">I", len(raw) - 1) + raw,
            CORRUPT,
        ),
        "a length too many": (header + chunks(raw) + b"\0\0\0\1", CORRUPT),
        "a cut length too many": (header + chunks(raw) + b"\0\0\0", CORRUPT),
        "a chunk too many": (header + chunks(raw, raw), LENGTH),
        "a chunk too few": (header + chunks(first), LENGTH),
        "chunk announces 4 GiB": (
            header + chunks(first, snappy_elements.varint(2**32 - 1) + second[2:]),
            LENGTH,
        ),
        "chunk announces too little": (
            header + chunks(snappy_elements.varint(299) + raw[2:]),
            CORRUPT,
        ),
        "chunk copies from the chunk before": (
            header
            + chunks(
                first,
                snappy_elements.varint(200)
                + snappy_elements.literal(DATA[100:290])
                + snappy_elements.copy(191, 10, 2),
            ),
            CORRUPT,
        ),
    }
    return {
        f"snappy stream: {name}": Case(payload, "SNAPPY", 300, error)
        for name, (payload, error) in made.items()
    }


def _gzip() -> dict[str, Case]:
    member = payloads.gzip_member(DATA)
    first, second = payloads.gzip_member(DATA[:100]), payloads.gzip_member(DATA[100:])
    deflated, empty = member[10:-8], payloads.gzip_member(b"")

    def header(flags: int, method: int = 8) -> bytes:
        return b"\x1f\x8b" + bytes([method, flags]) + bytes(6)

    def flip(index: int) -> bytes:
        return member[:index] + bytes([member[index] ^ 1]) + member[index + 1 :]

    def endless(flag: int) -> bytes:
        return header(flag) + b"never ends" * 5

    checked = header(2) + struct.pack("<H", zlib.crc32(header(2)) & 0xFFFF)
    made = {
        "two members": (first + second, None),
        "empty members between": (empty + first + empty * 3 + second + empty, None),
        "text flag": (header(1) + member[10:], None),
        "header checksum": (checked + member[10:], None),
        "header checksum wrong": (checked[:-1] + b"\xff" + member[10:], CORRUPT),
        "magic alone": (member[:2], CORRUPT),
        "header alone": (member[:10], CORRUPT),
        "method 7": (header(0, 7) + member[10:], CORRUPT),
        "reserved flag 32": (header(32) + member[10:], CORRUPT),
        "reserved flag 64": (header(64) + member[10:], CORRUPT),
        "reserved flag 128": (header(128) + member[10:], CORRUPT),
        "extra field past the end": (header(4) + b"\xff\xff" + member[10:], CORRUPT),
        "extra field's length cut": (header(4) + b"\x01", CORRUPT),
        "name without end": (endless(8), CORRUPT),
        "remark without end": (endless(16), CORRUPT),
        "a zero byte behind": (member + b"\0", None),
        "zero padding behind": (member + bytes(512), None),
        "zero padding behind two members": (first + second + bytes(5000), None),
        "zero padding that ends in a one": (member + bytes(511) + b"\1", CORRUPT),
        "zero padding that begins with a one": (member + b"\1" + bytes(511), CORRUPT),
        "zero padding, then a member": (first + bytes(8) + second, CORRUPT),
        "zero padding in place of a trailer": (member[:-8] + bytes(512), CORRUPT),
        "zero padding in place of half a trailer": (member[:-4] + bytes(512), CORRUPT),
        "zero padding in place of a member": (first + bytes(len(second)), LENGTH),
        "zero padding alone behind the header": (member[:10] + bytes(512), CORRUPT),
        "one byte of magic behind": (member + b"\x1f", CORRUPT),
        "magic behind": (member + b"\x1f\x8b", CORRUPT),
        "half a member behind": (member + empty[:12], CORRUPT),
        "words behind": (member + b"trailing garbage", CORRUPT),
        "deflate data behind": (member + deflated, CORRUPT),
        "checksum wrong": (flip(-8), CORRUPT),
        "checksum wrong, top byte": (flip(-5), CORRUPT),
        "size wrong": (flip(-4), CORRUPT),
        "size wrong, top byte": (flip(-1), CORRUPT),
        "first member's checksum wrong": (first[:-8] + bytes(4) + first[-4:] + second, CORRUPT),
        "trailer cut": (member[:-1], CORRUPT),
        "no trailer": (member[:-8], CORRUPT),
        "trailer alone": (member[:10] + member[-8:], CORRUPT),
        "a member too many": (member + first, LENGTH),
        "a member too few": (first, LENGTH),
        "block of type 3": (header(0) + b"\x07" + deflated[1:] + member[-8:], CORRUPT),
        "stored block whose length lies": (
            header(0) + b"\x01\x05\x00\x05\x00hello" + bytes(8),
            CORRUPT,
        ),
        "distance before the start": (header(0) + b"\x4b\x04\x82\x00\x00" + bytes(8), CORRUPT),
        "a bomb": (payloads.gzip_member(bytes(50_000_000), 9), LENGTH),
    }
    return {
        f"gzip: {name}": Case(payload, "GZIP", 300, error)
        for name, (payload, error) in made.items()
    }


def _lz4() -> dict[str, Case]:
    frame = payloads.lz4_frame
    plain, full = frame(DATA), frame(DATA, content_checksum=True, block_checksum=True)
    sized = frame(DATA, store_size=True)
    halves = frame(DATA[:150]), frame(DATA[150:])
    block = lz4.block.compress(DATA, store_size=False)
    descriptor = b"\x60\x40"  # version 01, independent blocks; blocks of 64 KiB

    def build(*blocks: bytes, descriptor: bytes = descriptor, tail: bytes = bytes(4)) -> bytes:
        check = bytes([_xxh32(descriptor) >> 8 & 0xFF])
        return b"\x04\x22\x4d\x18" + descriptor + check + b"".join(blocks) + tail

    def packed(data: bytes, announced: int | None = None) -> bytes:
        return struct.pack("<I", len(data) if announced is None else announced) + data

    def stored(data: bytes) -> bytes:
        return struct.pack("<I", len(data) | 1 << 31) + data

    def flip(data: bytes, index: int) -> bytes:
        return data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]

    def declared(size: int, *blocks: bytes) -> bytes:
        return build(*blocks, descriptor=b"\x68\x40" + struct.pack("<Q", size))

    def skippable(data: bytes, last: int = 0) -> bytes:
        return bytes([0x50 | last]) + b"\x2a\x4d\x18" + packed(data)

    checked = {"content_checksum": True, "block_checksum": True, "store_size": True}
    tail_checked = frame(DATA[150:], block_linked=True, **checked)
    made = {
        "built by hand": (build(packed(block)), None),
        "a stored block": (build(stored(DATA)), None),
        "blocks of both kinds": (
            build(stored(DATA[:10]), packed(lz4.block.compress(DATA[10:], store_size=False))),
            None,
        ),
        "no end mark": (plain[:-4], CORRUPT),
        "end mark cut": (plain[:-1], CORRUPT),
        "no block": (build(), LENGTH),
        "no content checksum": (full[:-4], CORRUPT),
        "content checksum wrong": (flip(full, -1), CORRUPT),
        "block checksum wrong": (flip(full, -9), CORRUPT),
        "header checksum wrong": (flip(plain, 6), CORRUPT),
        "descriptor cut": (plain[:6], CORRUPT),
        "magic alone": (plain[:4], CORRUPT),
        "nothing": (b"", CORRUPT),
        "another magic": (b"\x05" + plain[1:], CORRUPT),
        "legacy frame": (b"\x02\x21\x4c\x18" + packed(block), CORRUPT),
        "legacy frame behind": (plain + b"\x02\x21\x4c\x18" + packed(block), CORRUPT),
        "skippable frame alone": (skippable(b"skip"), LENGTH),
        "skippable frame first": (skippable(b"skip") + plain, None),
        "skippable frame behind": (plain + skippable(b"skip"), None),
        "skippable frames of every magic": (
            b"".join(skippable(b"skip", last) + frame(b"") for last in range(16)) + plain,
            None,
        ),
        "skippable frame of nothing": (skippable(b"") * 3 + plain + skippable(b""), None),
        "skippable frame that holds a frame": (skippable(plain) + plain, None),
        "skippable frame, cut": (plain + skippable(b"skip")[:-1], CORRUPT),
        "skippable frame, size cut": (plain + skippable(b"")[:-1], CORRUPT),
        "skippable frame of 4 GiB": (skippable(b"")[:4] + b"\xff" * 4 + plain, CORRUPT),
        "a magic next to the skippable ones": (b"\x60\x2a\x4d\x18" + packed(b"no"), CORRUPT),
        "two frames": (halves[0] + halves[1], None),
        "two frames with all checksums": (frame(DATA[:150], **checked) + tail_checked, None),
        "second frame's content checksum wrong": (halves[0] + flip(tail_checked, -1), CORRUPT),
        "second frame's header checksum wrong": (halves[0] + flip(halves[1], 6), CORRUPT),
        "second frame cut": (halves[0] + halves[1][:-1], CORRUPT),
        "second frame's magic cut": (halves[0] + halves[1][:3], CORRUPT),
        "second frame of another version": (
            halves[0] + build(packed(block), descriptor=b"\xa0\x40"),
            CORRUPT,
        ),
        "a frame too many": (plain + halves[0], LENGTH),
        "a frame too few": (halves[0], LENGTH),
        "second frame declares one more": (
            halves[0] + declared(151, stored(DATA[150:])),
            LENGTH,
        ),
        "second frame declares one less": (
            halves[0] + declared(149, stored(DATA[150:])),
            CORRUPT,
        ),
        "second frame declares what it has": (halves[0] + declared(150, stored(DATA[150:])), None),
        "second frame copies from the first": (
            build(stored(DATA[:150]), descriptor=b"\x40\x40")
            + build(packed(b"\x1fa\x64\x00" + bytes([125]) + b"\x50efghi"), descriptor=b"\x40\x40"),
            CORRUPT,
        ),
        "an empty frame behind": (plain + frame(b""), None),
        "empty frames on both sides": (frame(b"") * 20 + plain + frame(b"") * 20, None),
        "a zero byte behind": (plain + b"\0", CORRUPT),
        "version 00": (build(packed(block), descriptor=b"\x20\x40"), CORRUPT),
        "version 10": (build(packed(block), descriptor=b"\xa0\x40"), CORRUPT),
        "reserved flag": (build(packed(block), descriptor=b"\x62\x40"), CORRUPT),
        "dictionary": (build(packed(block), descriptor=b"\x61\x40\x01\x00\x00\x00"), CORRUPT),
        "reserved block bits": (build(packed(block), descriptor=b"\x60\x41"), CORRUPT),
        "reserved top bit": (build(packed(block), descriptor=b"\x60\xc0"), CORRUPT),
        "block size 3": (build(packed(block), descriptor=b"\x60\x30"), CORRUPT),
        "block size 0": (build(packed(block), descriptor=b"\x60\x00"), CORRUPT),
        "content size, right": (sized, None),
        "content size one more": (declared(301, packed(block)), LENGTH),
        "content size one less": (declared(299, packed(block)), CORRUPT),
        "content size 0": (declared(0, packed(block)), CORRUPT),
        "content size of 16 EiB": (declared(2**64 - 1, packed(block)), LENGTH),
        "content size and no block": (declared(300), CORRUPT),
        "block past the end": (build(packed(block, len(block) + 100)), CORRUPT),
        "block over the block size": (build(packed(block, 65537)), CORRUPT),
        "block of 2 GiB": (build(packed(block, 2**31 - 1)), CORRUPT),
        "a block too many": (build(packed(block), stored(b"x")), LENGTH),
        "a block too few": (build(stored(DATA[:-1])), LENGTH),
        "offset 0, of which liblz4 makes zeros": (
            build(packed(b"\x44abcd\x00\x00" + b"\x50efghi")),
            LENGTH,
        ),
        "offset before the start": (build(packed(b"\x44abcd\x05\x00" + b"\x50efghi")), CORRUPT),
        "literals past the end": (build(packed(b"\xf0\xff\xff\xff")), CORRUPT),
        "independent block with an offset into the one before": (
            build(stored(DATA[:150]), packed(b"\x10a\x64\x00\x50efghi")),
            CORRUPT,
        ),
    }
    return {
        f"lz4: {name}": Case(payload, "LZ4", 300, error) for name, (payload, error) in made.items()
    }


def _xxh32(data: bytes) -> int:
    """XXH32 with seed 0 of fewer than 16 bytes: all that a frame descriptor's check byte needs."""
    primes = 2654435761, 2246822519, 3266489917, 668265263, 374761393
    mask = 0xFFFFFFFF

    def rotate(value: int, count: int) -> int:
        return (value << count | value >> 32 - count) & mask

    digest = primes[4] + len(data) & mask
    words = len(data) // 4 * 4
    for (word,) in struct.iter_unpack("<I", data[:words]):
        digest = rotate(digest + word * primes[2] & mask, 17) * primes[3] & mask
    for byte in data[words:]:
        digest = rotate(digest + byte * primes[4] & mask, 11) * primes[0] & mask
    digest = (digest ^ digest >> 15) * primes[1] & mask
    digest = (digest ^ digest >> 13) * primes[2] & mask
    return digest ^ digest >> 16
