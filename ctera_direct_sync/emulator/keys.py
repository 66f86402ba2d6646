"""Secrets: access key pairs, file keys, and the wrapping of file keys (PROTOCOL 2)."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets

from Crypto.Cipher import AES
from Crypto.Util.Padding import pad


def new_access_key_id() -> str:
    """Return a random access key ID."""
    return "EMU" + secrets.token_hex(10).upper()


def new_secret_access_key() -> str:
    """Return a random secret access key: 32 bytes in base64."""
    return base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def derive(secret: bytes, purpose: str, size: int) -> bytes:
    """Return bytes that only the secret and the purpose determine.

    Args:
        secret: The secret to derive from.
        purpose: What the bytes are for. Another purpose gives other bytes.
        size: How many bytes, at most 32.
    """
    return hmac.digest(secret, purpose.encode("utf-8"), "sha256")[:size]


def key_encryption_key(secret_access_key: str) -> bytes:
    """Return the 32 bytes that wrap file keys.

    Raises:
        ValueError: The secret access key is not base64.
    """
    try:
        decoded = base64.b64decode(secret_access_key, validate=True)
    except binascii.Error as error:
        raise ValueError("the secret access key must be base64") from error
    return decoded[:32].ljust(32, b"\0")


def wrap(file_key: bytes, secret_access_key: str) -> str:
    """Return `wrapped_key`: the quoted base64 of the file key under AES-256-ECB, in base64."""
    quoted = b'"' + base64.b64encode(file_key) + b'"'
    cipher = AES.new(key_encryption_key(secret_access_key), AES.MODE_ECB)
    return base64.b64encode(cipher.encrypt(pad(quoted, AES.block_size))).decode("ascii")
