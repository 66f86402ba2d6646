"""Plaintexts, the same in every run: text-like, random, and zeros that compress to nothing."""

from __future__ import annotations

import functools
import random

KINDS = ("text", "random", "zeros")

# Around the edges of AES blocks, snappy-java's chunks, LZ4's blocks and 16-bit offsets.
SIZES = (
    *(0, 1, 2, 15, 16, 17, 63, 64, 65, 255, 256),
    *(32767, 32768, 32769, 65535, 65536, 65537),
    *(2**20 - 1, 2**20, 2**20 + 1),
)

_WORDS = (
    b"block", b"stream", b"offset", b"portal", b"storage", b"return", b"length", b"key", b"nonce",
    b"the", b"of", b"a", b"and", b"to", b"if", b"not", b"(", b")", b";", b"\n    ", b"= ", b"0x",
)  # fmt: skip


@functools.lru_cache(maxsize=64)
def plaintext(kind: str, size: int, seed: int = 0) -> bytes:
    """``size`` bytes of ``kind`` (one of KINDS)."""
    if kind == "zeros":
        return bytes(size)
    source = random.Random(f"{kind} {seed}")
    if kind == "random":
        return source.randbytes(size)
    words: list[bytes] = []
    total = 0
    while total < size:
        word = source.choice(_WORDS) + (b" " if source.random() < 0.8 else source.randbytes(1))
        words.append(word)
        total += len(word)
    return b"".join(words)[:size]
