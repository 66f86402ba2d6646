"""Encode a block: compress its plaintext, then encrypt it."""

from __future__ import annotations

import gzip
import struct

import cramjam
import lz4.frame  # type: ignore[import-untyped,unused-ignore]
from Crypto.Cipher import AES
from Crypto.Util.Padding import pad

from .keys import derive
from .options import FileOptions

_SNAPPY_JAVA_HEADER = b"\x82SNAPPY\x00" + struct.pack(">II", 1, 1)
_CBC_FORMAT = b"\x01"
_GCM_FORMAT = b"\x02"


def encode(plaintext: bytes, key: bytes, version: int, number: int, options: FileOptions) -> bytes:
    """Return the stored object of a block.

    IV and nonce are derived from the key, the file's version and the block's number. So the object is
    the same each time it is made, and no nonce is used twice under one key.

    Args:
        plaintext: The block's plaintext.
        key: The file's key.
        version: The number of the file's version.
        number: The number of the block, from 1 on.
        options: How the file is stored.
    """
    payload = compress(plaintext, options)
    if options.cipher is None:
        return payload
    if options.cipher == "AES-GCM":
        return seal_gcm(payload, key, derive(key, f"nonce/{version}/{number}", 12), number)
    return seal_cbc(payload, key, derive(key, f"iv/{version}/{number}", 16))


def compress(plaintext: bytes, options: FileOptions) -> bytes:
    """Return the plaintext compressed as the options say."""
    if options.compression == "SNAPPY":
        return snappy_java(plaintext, options.snappy_chunk)
    if options.compression == "SNAPPY-RAW":
        return bytes(cramjam.snappy.compress_raw(plaintext))
    if options.compression == "GZIP":
        return gzip_members(plaintext, options.gzip_members, options.gzip_level)
    if options.compression == "LZ4":
        return bytes(lz4.frame.compress(plaintext, **options.lz4))
    return plaintext


def snappy_java(plaintext: bytes, chunk_size: int) -> bytes:
    """Return a snappy-java stream: a header, then raw chunks behind their lengths (PROTOCOL 3)."""
    parts = [_SNAPPY_JAVA_HEADER]
    view = memoryview(plaintext)
    for start in range(0, len(view), chunk_size):
        chunk = bytes(cramjam.snappy.compress_raw(view[start : start + chunk_size]))
        parts += (struct.pack(">I", len(chunk)), chunk)
    return b"".join(parts)


def gzip_members(plaintext: bytes, members: int, level: int) -> bytes:
    """Return a gzip file with a number of members of about equal length (RFC 1952, section 2.2)."""
    size = max(1, -(-len(plaintext) // members))
    return b"".join(
        gzip.compress(plaintext[index * size : (index + 1) * size], level, mtime=0)
        for index in range(members)
    )


def seal_cbc(payload: bytes, key: bytes, iv: bytes) -> bytes:
    """Return format byte, IV and AES-CBC ciphertext with PKCS#7 padding (PROTOCOL 3)."""
    sealed = AES.new(key, AES.MODE_CBC, iv=iv).encrypt(pad(payload, AES.block_size))
    return b"".join((_CBC_FORMAT, iv, sealed))


def seal_gcm(payload: bytes, key: bytes, nonce: bytes, number: int) -> bytes:
    """Return format byte, nonce, AES-GCM ciphertext and tag. The AAD is the number (PROTOCOL 5)."""
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce, mac_len=16)
    cipher.update(struct.pack(">Q", number))
    sealed, tag = cipher.encrypt_and_digest(payload)
    return b"".join((_GCM_FORMAT, nonce, sealed, tag))
