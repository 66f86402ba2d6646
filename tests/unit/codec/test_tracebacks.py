"""After a failure the codec's frames hold no key, no plaintext, and no memory of an earlier block."""

from __future__ import annotations

import array
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Callable

import pytest

import ctera_direct_sync
from tests.vectors import payloads
from tests.vectors.envelopes import KEY, cbc, gcm
from tests.vectors.plaintexts import plaintext

PACKAGE = str(Path(ctera_direct_sync.__file__).parent)
DATA = plaintext("text", 100_000)
MEMBER, FRAME = payloads.gzip_member(DATA), payloads.lz4_frame(DATA, content_checksum=True)
STREAM = payloads.snappy_stream(DATA)
GCM = {"cipher": "AES-GCM", "number": 3}

FAILURES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "an envelope cut": (cbc(STREAM)[:-1], {}),
    "padding": (cbc(STREAM)[:-16], {}),
    "a tag": (gcm(STREAM, 4), GCM),
    "a snappy chunk amid others": (cbc(STREAM[:-9]), {}),
    "gzip's checksum": (cbc(MEMBER[:-8] + bytes(8)), {}),
    "an LZ4 checksum": (gcm(FRAME[:-1], 3), {**GCM, "compression": "LZ4"}),
    "an LZ4 dictionary": (cbc(FRAME[:4] + b"\x61" + FRAME[5:]), {"compression": "LZ4"}),
    "a longer block": (cbc(STREAM + STREAM[16:]), {}),
    "a shorter block": (cbc(payloads.snappy_stream(DATA[:-1])), {}),
    "plaintext of another length": (cbc(DATA[:-1]), {"compression": "NONE"}),
    "a key of another length": (cbc(STREAM), {"key": KEY[:-1]}),
    "an unknown cipher": (cbc(STREAM), {"cipher": "DES"}),
    "a number that is missing": (gcm(STREAM, 3), {"cipher": "AES-GCM"}),
}


def held(error: BaseException) -> Iterator[tuple[str, object]]:
    """The local variables that are not empty in this package's frames, by function and name."""
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if code.co_filename.startswith(PACKAGE):
            for name, value in step.tb_frame.f_locals.items():
                yield f"{code.co_name}.{name}", value
        step = step.tb_next


def buffers(error: BaseException) -> list[str]:
    """Where the frames hold any bytes at all, whatever these are."""
    return [name for name, value in held(error) if _size(value)]


def _size(value: object) -> int:
    if isinstance(value, (tuple, list)):
        return sum(map(_size, value))
    try:
        return memoryview(value).nbytes  # type: ignore[arg-type]
    except (TypeError, ValueError):  # Not a buffer, or a memoryview that was released.
        return 0


def calls(
    codec: ModuleType, stored: bytes, arguments: dict[str, Any]
) -> Iterator[Callable[[], Any]]:
    """Each public way to decode the object, into memory of the codec's and of the caller's."""
    for kind in (bytes, bytearray, memoryview):
        yield lambda kind=kind: codec.decode(kind(stored), length=len(DATA), **arguments)
        yield lambda kind=kind: codec.decode_bytes(kind(stored), length=len(DATA), **arguments)
        out = bytearray(len(DATA))
        yield lambda kind=kind, out=out: codec.decode_into(kind(stored), out, **arguments)
    spoiled = bytearray(stored)
    yield lambda: codec.decode(spoiled, length=len(DATA), overwrite_input=True, **arguments)


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_holds_no_bytes(codec: ModuleType, name: str) -> None:
    """Keys, objects and plaintext are gone from each frame of the traceback."""
    stored, arguments = FAILURES[name]
    for call in calls(codec, stored, {"key": KEY, **arguments}):
        codec.decode(cbc(STREAM), key=KEY, length=len(DATA))  # What freed memory may still hold.
        with pytest.raises((OSError, ValueError)) as caught:
            call()
        assert list(held(caught.value)), "no frame was looked at"
        assert buffers(caught.value) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interruption_holds_no_bytes(
    codec: ModuleType, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a signal handler raises amid a decode finds its way out without them, too."""

    def interrupt(data: object, key: object) -> None:
        raise error

    def decode(object: bytes, options: Any, **_: Any) -> tuple[bytes, int]:
        data = bytearray(DATA)
        interrupt(data, options.key)
        return bytes(data), 0

    monkeypatch.setattr(codec._backend, "decode", decode)
    with pytest.raises(error) as caught:
        codec.decode(cbc(STREAM), key=KEY, length=len(DATA))
    assert buffers(caught.value) == []


def test_a_key_that_is_not_bytes(codec: ModuleType) -> None:
    """Keys in other buffers are let go in the same way."""
    for key in (bytearray(KEY), memoryview(KEY), array.array("B", KEY)):
        with pytest.raises(OSError, match="padding") as caught:
            codec.decode(cbc(STREAM)[:-16], key=key, length=len(DATA))
        assert buffers(caught.value) == []


def test_a_failing_unwrapping_holds_no_bytes(codec: ModuleType) -> None:
    """The key-encryption key is gone from the frames of a refused call."""
    for data, key in ((bytes(48), KEY[:-1]), (bytes(47), KEY)):
        with pytest.raises(ValueError, match="16") as caught:
            codec.decrypt_ecb(data, key=key)
        assert buffers(caught.value) == []


def test_the_callers_own_frames_stay_as_they_are(codec: ModuleType) -> None:
    """Only this package's frames are emptied: those of the program are its own business."""

    def program(precious: str) -> None:
        codec.decode(b"", key=KEY, length=len(precious))

    with pytest.raises(OSError, match="encrypted block") as caught:
        program("still here")
    assert caught.value.__traceback__ is not None
    frame = caught.value.__traceback__.tb_next
    assert frame is not None
    assert frame.tb_frame.f_locals["precious"] == "still here"
