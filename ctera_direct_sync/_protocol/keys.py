"""Unwrap the key of a file (PROTOCOL, section 2). Pure."""

from __future__ import annotations

import base64
import binascii
import re
import traceback

from .. import codec
from ..exceptions import DecryptBlockError, DecryptKeyError
from ..types import FileKey

__all__ = ["unwrap"]

_BLOCK_BYTES = 16
_KEY_SIZES = (16, 24, 32)

#: A longer wrapped key is refused. A key of 32 bytes takes 64 characters; the rest is for line breaks
#: and padding. Without a bound a portal could cost a client seconds of CPU time.
_MAX_WRAPPED_CHARACTERS = 1024
_MAX_WRAPPED_BYTES = 256

#: The decrypted text: base64, perhaps quoted, then padding. Old portals pad with other control
#: characters than PKCS#7, so anything below a space counts as padding.
_TEXT = re.compile(rb'["\s]*([A-Za-z0-9+/]+={0,2})["\s]*[\x00-\x20]*\Z')


def unwrap(wrapped_key: str, secret_access_key: str | None, file_id: int) -> FileKey:
    """Return the file key, 16, 24 or 32 bytes.

    Args:
        wrapped_key: The key as the portal sends it.
        secret_access_key: The secret of the key's owner, or None if the client has a bearer token.
        file_id: The file, for errors.

    Raises:
        DecryptKeyError: The secret is missing, malformed, or belongs to another key.
            The traceback holds neither the secret nor a key.
    """
    try:
        key, refusal = _unwrap(wrapped_key, secret_access_key)
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        del wrapped_key, secret_access_key
    if key is None:
        raise DecryptKeyError(refusal, file_id)
    return key


def _unwrap(wrapped_key: str, secret: str | None) -> tuple[FileKey | None, str]:
    """Return the file key, or None and the reason."""
    if secret is None:
        return None, (
            "The file is encrypted and a bearer token cannot decrypt it: give access_key_id and "
            "secret_access_key"
        )
    kek = _key_encryption_key(secret)
    if kek is None:
        return None, "The secret access key is not base64: copy it again from the portal, whole"
    wrapped = None if len(wrapped_key) > _MAX_WRAPPED_CHARACTERS else _b64decode(wrapped_key)
    if not wrapped or len(wrapped) % _BLOCK_BYTES or len(wrapped) > _MAX_WRAPPED_BYTES:
        return None, (
            "The portal sent a wrapped key that is malformed (not base64, not whole AES blocks, or "
            "longer than a file key can be)"
        )
    text, refusal = _decrypt(wrapped, kek)
    if refusal is not None:
        return None, refusal
    return _parse(text), (
        "The secret access key does not fit this file: check that it belongs to the access key ID "
        "and to this portal"
    )


def _key_encryption_key(secret: str) -> FileKey | None:
    raw = _b64decode(secret)
    return FileKey(raw[:32].ljust(32, b"\0")) if raw else None


def _b64decode(text: str) -> FileKey | None:
    """Return the bytes of base64 text, or None. Line breaks and missing padding are accepted."""
    try:
        packed = "".join(text.split())
        return FileKey(base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True))
    except (binascii.Error, ValueError):
        return None


def _decrypt(wrapped: FileKey, kek: FileKey) -> tuple[FileKey, str | None]:
    """Return the content of `wrapped`, or the reason why the cryptographic library refused."""
    try:
        return FileKey(codec.decrypt_ecb(wrapped, key=kek)), None
    except DecryptBlockError as refusal:
        return FileKey(), str(refusal.strerror)


def _parse(text: bytes) -> FileKey | None:
    match = _TEXT.match(text)
    if match is None:
        return None
    key = _b64decode(match.group(1).decode("ascii"))
    return key if key is not None and len(key) in _KEY_SIZES else None
