"""Encrypted envelopes around a payload (PROTOCOL sections 3 and 5), by pycryptodome."""

from __future__ import annotations

import random

from Crypto.Cipher import AES

KEY = bytes(range(100, 132))
OTHER_KEY = bytes(range(200, 232))


def pkcs7(payload: bytes) -> bytes:
    """``payload`` padded to whole AES blocks (RFC 5652, section 6.3)."""
    size = 16 - len(payload) % 16
    return payload + bytes([size]) * size


def cbc_blocks(
    blocks: bytes, key: bytes = KEY, iv: bytes = bytes(range(16)), first: int = 0
) -> bytes:
    """Format byte, IV, AES-CBC of whole ``blocks`` that carry their padding, right or wrong."""
    return bytes([first]) + iv + AES.new(key, AES.MODE_CBC, iv=iv).encrypt(blocks)


def cbc(payload: bytes, key: bytes = KEY, seed: int = 0) -> bytes:
    """What portals store today."""
    return cbc_blocks(pkcs7(payload), key, random.Random(seed).randbytes(16), first=seed & 0xFF)


def gcm(
    payload: bytes,
    number: int,
    key: bytes = KEY,
    nonce: bytes | None = None,
    first: int = 2,
) -> bytes:
    """The authenticated profile: format byte, nonce, ciphertext, tag over the block number."""
    nonce = random.Random(number).randbytes(12) if nonce is None else nonce
    aead = AES.new(key, AES.MODE_GCM, nonce=nonce, mac_len=16)
    aead.update(number.to_bytes(8, "big"))
    ciphertext, tag = aead.encrypt_and_digest(payload)
    return bytes([first]) + nonce + ciphertext + tag
