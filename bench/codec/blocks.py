"""The blocks that are decoded: text and random bytes, stored with every cipher and compression."""

from __future__ import annotations

import gzip
import os
import pathlib
import struct
from typing import NamedTuple

import cramjam
import lz4.frame
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY = bytes(range(32))
CORPUS = 16 << 20
JAVA_CHUNK = 32 << 10


class Combination(NamedTuple):
    """A way of storing a block, and what the listing calls it."""

    name: str
    cipher: str | None
    compression: str
    recipe: str


class Stored(NamedTuple):
    """One stored block."""

    object: bytes
    plain: bytes
    number: int


COMBINATIONS = (
    Combination("CBC + snappy stream", "AES-CBC", "SNAPPY", "snappy stream"),
    Combination("CBC + snappy raw", "AES-CBC", "SNAPPY", "snappy raw"),
    Combination("CBC + gzip", "AES-CBC", "GZIP", "gzip"),
    Combination("CBC", "AES-CBC", "NONE", "none"),
    Combination("GCM + LZ4", "AES-GCM", "LZ4", "lz4"),
    Combination("GCM + LZ4 checksum", "AES-GCM", "LZ4", "lz4 checksum"),
    Combination("LZ4", None, "LZ4", "lz4"),
    Combination("LZ4 checksum", None, "LZ4", "lz4 checksum"),
)


def text() -> bytes:
    """Source text: the running interpreter's standard library."""
    pieces, size = [], 0
    for path in sorted(pathlib.Path(os.__file__).parent.rglob("*.py")):
        if "site-packages" not in path.parts and size < CORPUS:
            pieces.append(path.read_bytes())
            size += len(pieces[-1])
    return b"".join(pieces)[:CORPUS]


def snappy_raw(data: bytes) -> bytes:
    """Return a raw Snappy block."""
    return bytes(cramjam.snappy.compress_raw(data))


def snappy_stream(data: bytes) -> bytes:
    """As snappy-java's SnappyOutputStream writes it."""
    out = [b"\x82SNAPPY\0" + struct.pack(">II", 1, 1)]
    for start in range(0, len(data), JAVA_CHUNK):
        chunk = snappy_raw(data[start : start + JAVA_CHUNK])
        out += (struct.pack(">I", len(chunk)), chunk)
    return b"".join(out)


RECIPES = {
    "none": bytes,
    "snappy raw": snappy_raw,
    "snappy stream": snappy_stream,
    "gzip": lambda data: gzip.compress(data, 6),
    "lz4": lambda data: lz4.frame.compress(data, block_size=5, block_linked=False),
    "lz4 checksum": lambda data: lz4.frame.compress(
        data, block_size=5, block_linked=False, content_checksum=True
    ),
}


def seal(cipher: str | None, number: int, payload: bytes) -> bytes:
    """The payload in its envelope (PROTOCOL, sections 3 and 5)."""
    if cipher is None:
        return payload
    if cipher == "AES-GCM":
        nonce = os.urandom(12)
        return b"\x02" + nonce + AESGCM(KEY).encrypt(nonce, payload, number.to_bytes(8, "big"))
    iv = os.urandom(16)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(KEY), modes.CBC(iv)).encryptor()
    padded = padder.update(payload) + padder.finalize()
    return b"\x01" + iv + encryptor.update(padded) + encryptor.finalize()


def store(combination: Combination, corpus: bytes, size: int) -> list[Stored]:
    """The corpus as stored blocks of ``size`` bytes of plaintext."""
    stored = []
    for number, start in enumerate(range(0, len(corpus), size), 1):
        plain = corpus[start : start + size]
        payload = RECIPES[combination.recipe](plain)
        stored.append(Stored(seal(combination.cipher, number, payload), plain, number))
    return stored
