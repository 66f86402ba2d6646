"""What goes in and out: any contiguous buffer, untouched and let go; clear errors for all else."""

from __future__ import annotations

import array
import mmap
from pathlib import Path
from types import ModuleType
from typing import Any, Callable

import pytest

from ctera_direct_sync.exceptions import BlockError
from tests.vectors import payloads
from tests.vectors.envelopes import KEY, cbc, gcm
from tests.vectors.plaintexts import plaintext

DATA = plaintext("text", 5000)
STORED = cbc(payloads.snappy_stream(DATA))
KINDS: list[Callable[[bytes], Any]] = [
    bytes,
    bytearray,
    memoryview,
    lambda data: memoryview(bytearray(b"--" + data + b"--"))[2:-2],
    lambda data: array.array("B", data),
    lambda data: memoryview(data).cast("B", (1, len(data))),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("overwrite_input", [False, True])
def test_any_buffer_in(
    codec: ModuleType, kind: Callable[[bytes], Any], overwrite_input: bool
) -> None:
    """Objects come in any contiguous buffer and are only read, unless they may be spoiled."""
    cases = [
        (STORED, {"key": KEY}),
        (gcm(payloads.gzip_member(DATA), 4), {"key": KEY, "cipher": "AES-GCM", "number": 4}),
        (payloads.lz4_frame(DATA), {"compression": "LZ4"}),
        (DATA, {"compression": "NONE"}),
    ]
    for stored, arguments in cases:
        given = kind(stored)
        block = codec.decode(given, length=len(DATA), overwrite_input=overwrite_input, **arguments)
        assert block.data == DATA
        if not overwrite_input:
            assert bytes(given) == stored
            assert codec.decode_bytes(given, length=len(DATA), **arguments) == DATA


def test_a_read_only_buffer_is_never_spoiled(codec: ModuleType) -> None:
    """``overwrite_input=True`` on bytes, or a read-only view of a bytearray, changes nothing in them."""
    for given in (bytes(STORED), memoryview(bytearray(STORED)).toreadonly()):
        block = codec.decode(given, key=KEY, length=len(DATA), overwrite_input=True)
        assert block.data == DATA
        assert bytes(given) == STORED


def test_items_wider_than_a_byte(codec: ModuleType) -> None:
    """Buffers count in bytes, whatever their items are."""
    data = plaintext("random", 4000)
    given = array.array("I", data)
    assert codec.decode(given, compression="NONE", length=4000).data == data
    out = array.array("Q", bytes(4000))
    assert codec.decode_into(given, out, compression="NONE") == codec.crc32c(data)
    assert out.tobytes() == data
    assert codec.crc32c(given) == codec.crc32c(data)
    assert codec.crc64nvme(given) == codec.crc64nvme(data)


@pytest.mark.parametrize("good", [True, False])
def test_mmap_in_and_out(codec: ModuleType, tmp_path: Path, good: bool) -> None:
    """Mapped files work both ways and can be closed at once, even while an exception is kept."""
    source, target = tmp_path / "object", tmp_path / "plaintext"
    source.write_bytes(STORED if good else STORED[:-16])
    target.write_bytes(bytes(len(DATA)))
    kept = None
    with source.open("rb") as infile, target.open("r+b") as outfile:
        given = mmap.mmap(infile.fileno(), 0, access=mmap.ACCESS_READ)
        out = mmap.mmap(outfile.fileno(), 0)
        try:
            codec.decode(given, key=KEY, length=len(DATA))
            codec.decode_into(given, out, key=KEY)
        except BlockError as error:
            kept = error
        given.close()
        out.close()
    assert (kept is None) is good
    if good:
        assert target.read_bytes() == DATA


def test_a_bytearray_is_free_again_after_a_failure(codec: ModuleType) -> None:
    """No kept exception pins a caller's buffer: it can be resized right away."""
    given, out = bytearray(STORED[:-1]), bytearray(len(DATA))
    with pytest.raises(BlockError) as caught:
        codec.decode_into(given, out, key=KEY)
    given.clear()
    out.clear()
    assert caught.value.__traceback__ is not None


def test_out_is_filled_exactly(codec: ModuleType) -> None:
    """Not a byte before or behind the window that was given is touched."""
    for size in (0, 1, 15, 16, 17, 4999, 32768, 40_000):
        data = plaintext("text", size)
        for stored, compression in (
            (payloads.snappy_raw(data), "SNAPPY"),
            (payloads.snappy_stream(data), "SNAPPY"),
            (payloads.gzip_members(data), "GZIP"),
            (payloads.lz4_frame(data), "LZ4"),
            (data, "NONE"),
        ):
            arena = bytearray(b"\xa5" * (size + 128))
            with memoryview(arena)[64 : 64 + size] as out:
                codec.decode_into(stored, out, compression=compression)
            assert arena == b"\xa5" * 64 + data + b"\xa5" * 64


@pytest.mark.parametrize("wrong", ["text", None, 5, [1, 2], object(), memoryview(b"abcdef")[::2]])
def test_what_is_no_contiguous_buffer(codec: ModuleType, wrong: Any) -> None:
    """Text, numbers, lists and views with gaps are a TypeError that names the argument."""
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("object", lambda: codec.decode(wrong, length=1)),
        ("object", lambda: codec.decode_bytes(wrong, length=1)),
        ("object", lambda: codec.decode_into(wrong, bytearray(1))),
        ("out", lambda: codec.decode_into(b"x", wrong)),
        ("data", lambda: codec.crc32c(wrong)),
        ("data", lambda: codec.crc64nvme(wrong)),
    ]
    if wrong is not None:
        calls.append(("key", lambda: codec.decode(STORED, key=wrong, length=1)))
    for name, call in calls:
        with pytest.raises(TypeError, match=f"^{name} must be"):
            call()


@pytest.mark.parametrize("wrong", [b"12345", memoryview(b"12345")])
def test_out_must_be_writable(codec: ModuleType, wrong: Any) -> None:
    """Read-only output is a TypeError, and stays as it is."""
    with pytest.raises(TypeError, match="read-only"):
        codec.decode_into(b"54321", wrong, compression="NONE")
    assert wrong == b"12345"


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (ValueError, {"cipher": "AES-CTR"}),
        (ValueError, {"cipher": ""}),
        (TypeError, {"cipher": None}),
        (TypeError, {"cipher": b"AES-CBC"}),
        (ValueError, {"compression": "ZSTD"}),
        (ValueError, {"compression": "snappy"}),
        (TypeError, {"compression": 1}),
        (TypeError, {"compression": ["SNAPPY"]}),
        (ValueError, {"key": b""}),
        (ValueError, {"key": bytes(15)}),
        (ValueError, {"key": bytes(17)}),
        (ValueError, {"key": bytes(33)}),
        (ValueError, {"length": -1}),
        (ValueError, {"length": 2**63}),
        (TypeError, {"length": 1.0}),
        (TypeError, {"length": None}),
        (TypeError, {"length": "1"}),
        (ValueError, {"key": bytes(16), "cipher": "AES-GCM"}),
        (ValueError, {"key": bytes(16), "cipher": "AES-GCM", "number": -1}),
        (ValueError, {"key": bytes(16), "cipher": "AES-GCM", "number": 2**64}),
        (ValueError, {"number": -1}),
        (TypeError, {"number": 1.0}),
        (TypeError, {"number": "1"}),
    ],
)
def test_wrong_arguments(
    codec: ModuleType, error: type[Exception], arguments: dict[str, Any]
) -> None:
    """Each is refused before anything is decoded, as a mistake of the caller's."""
    for decode in (codec.decode, codec.decode_bytes):
        with pytest.raises(error) as caught:
            decode(b"\x01\x00a", **{"length": 1, **arguments})
        assert not isinstance(caught.value, OSError)


def test_a_wrong_key_is_not_shown(codec: ModuleType) -> None:
    """The message speaks of the key's length and never of its bytes."""
    with pytest.raises(ValueError, match="16, 24 or 32") as caught:
        codec.decode(STORED, key=b"do not show this one", length=5)
    assert "show this" not in str(caught.value)


def test_unencrypted_objects_need_no_cipher(codec: ModuleType) -> None:
    """Without a key the cipher is not looked at beyond its name, and no number is needed."""
    assert codec.decode(b"x", compression="NONE", cipher="AES-GCM", length=1).data == b"x"


def test_a_block_does_not_print_its_data(codec: ModuleType) -> None:
    """The repr of a result is a line, not megabytes."""
    block = codec.decode(DATA, compression="NONE", length=len(DATA))
    assert repr(block) == f"DecodedBlock(length=5000, crc32c={block.crc32c:#010x})"
    assert block == (DATA, block.crc32c)
