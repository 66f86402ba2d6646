"""Gives every input of the fuzz corpora to both codec backends: the same bytes, or both refuse.

    python csrc/fuzz/differential.py [FOLDER ...]

A FOLDER holds one corpus per target, as ``csrc/fuzz`` and, after ``make fuzz``, ``csrc/build/corpus`` do
(both are the default). Exits 1 when the backends differ anywhere.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator

from ctera_direct_sync.codec import native, portable
from ctera_direct_sync.codec.options import DecodeOptions
from ctera_direct_sync.exceptions import BlockError

HERE = pathlib.Path(__file__).resolve().parent
KEY = b"the key is not what is fuzzed..\0"
LENGTH_MAX = 1 << 18
STREAM_HEADER = b"\x82SNAPPY\0\0\0\0\1\0\0\0\1"
GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def payload(target: str, data: bytes) -> tuple[str, int, bytes] | None:
    """Compression, length and payload of one input; as fuzz.h reads it."""
    if len(data) < 6:
        return None
    length = int.from_bytes(data[:3], "little") % LENGTH_MAX
    if target == "decode":
        compression = ("NONE", "SNAPPY", "LZ4", "NONE")[data[0] >> 2 & 3]
        return compression, int.from_bytes(data[2:5], "little") % LENGTH_MAX, data[5:]
    if target == "snappy_raw":
        preamble = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14])
        return "SNAPPY", length, preamble + data[3:]
    if target == "snappy_stream":
        return "SNAPPY", length, STREAM_HEADER + data[3:]
    if target == "gzip":
        return "SNAPPY", length, GZIP_HEADER[: 2 if data[2] & 0x80 else 10] + data[3:]
    frame = bytearray(b"\x04\x22\x4d\x18" + data[3:])
    end = 6 + (8 if frame[4] & 8 else 0) + (4 if frame[4] & 1 else 0)
    if end < len(frame):
        frame[end] = xxh32(frame[4:end]) >> 8 & 0xFF
    return "LZ4", length, bytes(frame)


def xxh32(data: bytes) -> int:
    """XXH32 of less than 16 bytes, with which a frame's descriptor is checked."""
    primes = (0, 2654435761, 2246822519, 3266489917, 668265263, 374761393)
    state = primes[5] + len(data)
    words = len(data) // 4 * 4
    for at in range(0, words, 4):
        state = (
            rotated(state + int.from_bytes(data[at : at + 4], "little") * primes[3], 17) * primes[4]
        )
    for byte in data[words:]:
        state = rotated(state + byte * primes[5], 11) * primes[1]
    state &= 0xFFFFFFFF
    state = (state ^ state >> 15) * primes[2] & 0xFFFFFFFF
    state = (state ^ state >> 13) * primes[3] & 0xFFFFFFFF
    return state ^ state >> 16


def rotated(value: int, bits: int) -> int:
    """Return a 32-bit value that is rotated to the left."""
    value &= 0xFFFFFFFF
    return value << bits | value >> 32 - bits


def outcome(backend, stored: bytes, compression: str, length: int) -> bytes | None:  # type: ignore[no-untyped-def]
    """The plaintext, or None where the backend refuses."""
    try:
        options = DecodeOptions.create(None, "AES-CBC", compression)
        data: bytes = backend.decode(stored, options, length=length, number=1)[0]
    except BlockError:
        return None
    return data


def inputs(folders: list[pathlib.Path]) -> Iterator[tuple[str, pathlib.Path]]:
    """Yield the target and the path of each input below the folders."""
    for folder in folders:
        for target in ("decode", "snappy_raw", "snappy_stream", "gzip", "lz4"):
            for place in (folder / target, folder / target / "corpus"):
                for path in sorted(place.glob("*")):
                    if path.is_file() and path.suffix != ".c":
                        yield target, path


def main() -> int:
    """Compare the backends on all inputs. Return the exit code."""
    folders = [pathlib.Path(name) for name in sys.argv[1:]] or [HERE, HERE.parent / "build/corpus"]
    count = accepted = differing = 0
    for target, path in inputs(folders):
        case = payload(target, path.read_bytes())
        if case is None:
            continue
        compression, length, stored = case
        ours = outcome(native, stored, compression, length)
        count += 1
        accepted += ours is not None
        if ours != outcome(portable, stored, compression, length):
            differing += 1
            print(
                f"{path}: the backends differ (native {'accepts' if ours is not None else 'refuses'})"
            )
    print(f"{count} inputs, {accepted} accepted, {differing} differ")
    return 1 if differing or not count else 0


if __name__ == "__main__":
    sys.exit(main())
