"""Whatever other implementations write comes back, in every envelope, at every size."""

from __future__ import annotations

import importlib
import zlib
from types import ModuleType
from typing import Any

import pytest

from tests.vectors import hostile, payloads
from tests.vectors.envelopes import KEY, cbc, gcm
from tests.vectors.outcomes import outcome
from tests.vectors.plaintexts import KINDS, SIZES, plaintext
from tests.vectors.snappy_elements import Program

WAYS = [(kind, size) for kind in KINDS for size in SIZES]


def check(codec: ModuleType, stored: bytes, data: bytes, **arguments: Any) -> None:
    """All calls give ``data``, and its CRC32C where that is asked for."""
    block = codec.decode(stored, length=len(data), **arguments)
    assert type(block.data) is bytes
    assert block.data == data
    assert block.crc32c == codec.crc32c(data)
    alone = codec.decode_bytes(stored, length=len(data), **arguments)
    assert type(alone) is bytes
    assert alone == data
    out = bytearray(b"\xa5") * len(data)
    assert codec.decode_into(stored, out, **arguments) == block.crc32c
    assert out == data


@pytest.mark.parametrize("name", payloads.RECIPES)
def test_every_format_size_and_envelope(codec: ModuleType, name: str) -> None:
    """Each payload decodes bare, in AES-CBC and in AES-GCM, the three taking turns."""
    recipe = payloads.RECIPES[name]
    for index, (kind, size) in enumerate(WAYS):
        data = plaintext(kind, size)
        payload = recipe.make(data)
        turn = index % 3
        if turn == 0:
            check(codec, payload, data, compression=recipe.compression)
        elif turn == 1:
            stored = cbc(payload, seed=index)
            check(codec, stored, data, compression=recipe.compression, key=KEY)
        else:
            check(
                codec,
                gcm(payload, index),
                data,
                compression=recipe.compression,
                key=KEY,
                cipher="AES-GCM",
                number=index,
            )


@pytest.mark.parametrize("size", [0, 1, 65536, 200_000, 300_000])
def test_lz4_frames_of_every_shape(codec: ModuleType, size: int) -> None:
    """Every combination of block size, linked blocks, block and content checksum, content size."""
    data = plaintext("text", size)
    for options in payloads.LZ4_OPTIONS:
        check(codec, payloads.lz4_frame(data, **options), data, compression="LZ4")


def test_lz4_frames_of_large_blocks(codec: ModuleType) -> None:
    """Blocks of 1 and 4 MiB are used to the full, and linked across."""
    data = plaintext("text", 5 * 2**20 + 17)
    for options in payloads.LZ4_OPTIONS:
        if options["block_size"] >= 6 and options["content_checksum"]:
            check(codec, payloads.lz4_frame(data, **options), data, compression="LZ4")


def test_snappy_copies_of_every_offset_and_length(codec: ModuleType) -> None:
    """Overlapping copies repeat, in all three kinds of element, at short offsets, all lengths."""
    program = Program()
    program.literal(plaintext("random", 100))
    for offset in range(1, 101):
        for length in range(1, 65):
            if 4 <= length <= 11:
                program.copy(offset, length, 1)
            program.copy(offset, length, 2)
            program.copy(offset, length, 4)
        program.literal(bytes([offset]))
    check(codec, program.block, bytes(program.plaintext))


def test_snappy_copies_from_far_behind(codec: ModuleType) -> None:
    """Offsets up to 11, 16 and more bits, and back to the very first byte."""
    program = Program()
    program.literal(plaintext("random", 70_000))
    for offset in (2047, 2046, 1024, 256, 255):
        program.copy(offset, 4, 1)
        program.copy(offset, 11, 1)
    for offset in (65535, 65534, 32768, 2048):
        program.copy(offset, 64, 2)
        program.copy(offset, 1, 4)
    for offset in (65536, 69_999, len(program.plaintext)):
        program.copy(offset, 60, 4)
    check(codec, program.block, bytes(program.plaintext))


def test_snappy_copies_that_end_with_the_block(codec: ModuleType) -> None:
    """A last copy of any length and short offset stays within the plaintext's end."""
    for offset in (1, 2, 3, 7, 8, 9, 15, 16, 17, 20):
        for length in range(1, 65):
            program = Program()
            program.literal(plaintext("random", 20))
            program.copy(offset, length, 2)
            check(codec, program.block, bytes(program.plaintext))


@pytest.mark.parametrize("length", [1, 59, 60, 61, 62, 255, 256, 257, 65535, 65536, 65537, 2**17])
def test_snappy_literals_of_every_width(codec: ModuleType, length: int) -> None:
    """A literal's length may stand in the tag or in more bytes than it needs."""
    data = plaintext("random", length)
    narrowest = 0 if length <= 60 else ((length - 1).bit_length() + 7) // 8
    for width in range(narrowest, 5):
        program = Program()
        program.literal(b"before")
        program.literal(data, width)
        program.literal(b"behind")
        check(codec, program.block, bytes(program.plaintext))


def test_snappy_preamble_wider_than_it_needs(codec: ModuleType) -> None:
    """A preamble of up to five bytes may end in groups of zero, as libsnappy reads it."""
    block = payloads.snappy_raw(b"abc")
    for stretched in (b"\x83\x00", b"\x83\x80\x00", b"\x83\x80\x80\x80\x00"):
        check(codec, stretched + block[1:], b"abc")


def test_first_bytes_tell_whatever_the_listing_says(codec: ModuleType) -> None:
    """SNAPPY, GZIP and no word at all mean the same."""
    data = plaintext("text", 5000)
    for make in (payloads.snappy_raw, payloads.snappy_stream, payloads.gzip_member):
        for compression in ("SNAPPY", "GZIP", None):
            check(codec, make(data), data, compression=compression)


def test_no_compression_is_taken_at_its_word(codec: ModuleType) -> None:
    """A file that happens to be gzip, snappy or LZ4 itself stays as it is under NONE."""
    for make in (payloads.gzip_member, payloads.snappy_stream, payloads.lz4_frame):
        data = make(b"a file of the user's")
        check(codec, data, data, compression="NONE")
        check(codec, cbc(data), data, compression="NONE", key=KEY)


@pytest.mark.parametrize("name", [name for name in payloads.RECIPES if name.startswith("gzip")])
def test_gzip_by_zlib_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where isal is not installed the portable codec inflates with zlib, and does the same."""
    codec = importlib.import_module("ctera_direct_sync.codec")
    portable = importlib.import_module("ctera_direct_sync.codec.portable")
    monkeypatch.setattr(codec, "_backend", portable)
    monkeypatch.setattr(portable, "zlib", zlib)  # as codec/packages.py leaves it without isal
    for kind, size in WAYS[::3]:
        data = plaintext(kind, size)
        check(codec, payloads.RECIPES[name].make(data), data)
    for case in hostile.cases().values():
        if case.compression == "GZIP":
            found = outcome(codec.decode, case.payload, length=case.length)
            assert found.error == case.error


def test_ten_thousand_empty_members(codec: ModuleType) -> None:
    """Members and chunks without plaintext cost time in proportion, and decode to nothing."""
    check(codec, payloads.gzip_member(b"") * 10_000, b"")
    chunks = payloads.snappy_chunks(*[b"\0"] * 10_000)
    check(codec, payloads.SNAPPY_JAVA_HEADER + chunks, b"")
    headers = payloads.SNAPPY_JAVA_HEADER * 10_000
    check(codec, headers, b"")
    for frame in (payloads.lz4_frame(b""), b"\x50\x2a\x4d\x18" + bytes(4)):
        check(codec, frame * 10_000, b"", compression="LZ4")


def test_zero_padding_of_megabytes(codec: ModuleType) -> None:
    """Zero padding behind gzip is looked through once, however long it is."""
    check(codec, payloads.gzip_member(b"padded") + bytes(4 << 20), b"padded")
