"""Writes the seed corpora: small honest payloads of other implementations, in each target's input shape.

Needs cramjam and lz4 from PyPI. Run from any folder: python csrc/fuzz/make_corpus.py
"""

from __future__ import annotations

import gzip
import pathlib
import random
import struct

import cramjam
import lz4.frame

HERE = pathlib.Path(__file__).parent
SOURCE = random.Random(1)
WORDS = b"block offset length return size stream the a of if == 0 1 2 \n".split(b" ")
TEXT = b" ".join(SOURCE.choice(WORDS) for _ in range(1000))
PLAINTEXTS = (
    b"",
    b"x",
    b"abc" * 30,
    TEXT[:200],
    TEXT[:3000],
    SOURCE.randbytes(100),
    bytes(2000) + TEXT[:100],
)
SKIPPABLE = struct.pack("<II", 0x184D2A53, 5) + b"skip!"
STREAM_HEADER = b"\x82SNAPPY\0" + struct.pack(">II", 1, 1)


def raw(data: bytes) -> bytes:
    """Return a raw Snappy block."""
    return bytes(cramjam.snappy.compress_raw(data))


def raw_elements(data: bytes) -> bytes:
    """A raw block without its preamble."""
    block = raw(data)
    return block[next(i for i, byte in enumerate(block) if byte < 0x80) + 1 :]


def chunks(data: bytes, size: int) -> bytes:
    """Return the chunks of a snappy-java stream."""
    pieces = [raw(data[i : i + size]) for i in range(0, len(data), size)]
    return b"".join(struct.pack(">I", len(piece)) + piece for piece in pieces)


def frame(data: bytes, options: int) -> bytes:
    """Return an LZ4 frame with the options of a bit mask."""
    return lz4.frame.compress(
        data,
        block_linked=bool(options & 1),
        content_checksum=bool(options & 2),
        block_checksum=bool(options & 4),
        store_size=bool(options & 8),
    )


def write(target: str, name: str, data: bytes) -> None:
    """Write one seed of a target."""
    folder = HERE / target / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def length(data: bytes, flag: int = 0) -> bytes:
    """Return the prefix that tells a target the length and a flag."""
    return (len(data) | flag << 16).to_bytes(3, "little")


def main() -> None:
    """Write the seeds of all targets."""
    for index, data in enumerate(PLAINTEXTS):
        deflated = gzip.compress(data, mtime=0)
        write("snappy_raw", f"seed-{index}", length(data) + raw_elements(data))
        write("snappy_stream", f"seed-{index}", length(data) + chunks(data, 700))
        write("gzip", f"seed-{index}", length(data) + deflated[10:])
        write("gzip", f"seed-{index}-members", length(data * 2, 0x80) + deflated[2:] + deflated)
        for options in (0, 15, 2 + index):
            write("lz4", f"seed-{index}-{options}", length(data) + frame(data, options)[4:])
        write("gzip", f"seed-{index}-padding", length(data) + deflated[10:] + bytes(40))
        frames = frame(data, index) + SKIPPABLE + frame(data, 15 - index) + SKIPPABLE
        write("lz4", f"seed-{index}-frames", length(data * 2) + frames[4:])
        newer = STREAM_HEADER[:-1] + b"\2"
        write("snappy_stream", f"seed-{index}-newer", length(data) + newer + chunks(data, 700))
        payloads = {
            0: (data, 0),
            1: (raw(data), 1),
            2: (STREAM_HEADER + chunks(data, 700), 1),
            3: (deflated, 1),
            4: (frame(data, 11), 2),
        }
        for kind, (payload, compression) in payloads.items():
            flags = 0x80 | (1 + (index + kind) % 2) | compression << 2 | (index % 3) << 4
            write("decode", f"seed-{index}-{kind}", bytes([flags, index]) + length(data) + payload)


if __name__ == "__main__":
    main()
