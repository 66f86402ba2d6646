"""The headers by which a storage declares an object's checksum (PROTOCOL section 4)."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable
from typing import Any, Optional

from .bodies import PIECE, Body, pieces


def declare(body: Body, name: str, checksum_type: Optional[str] = None) -> str:
    """
    Return the value of the header of that (lower-case) name for a body.

    A COMPOSITE checksum is, as S3 has it, the checksum of the checksums of parts, with their
    number at the end: here of the one part that there is.
    """
    if name == "x-goog-hash":
        return f"crc32c={_base64(_digest(body, 'crc32c'))},md5={_base64(_digest(body, 'md5'))}"
    if name == "content-md5":
        return _base64(_digest(body, "md5"))
    algorithm = name[len("x-amz-checksum-") :]
    value = _digest(body, algorithm)
    if checksum_type == "COMPOSITE":
        update = _updater(algorithm)
        update(value)
        return f"{_base64(update(b''))}-1"
    return _base64(value)


def _digest(body: Body, algorithm: str) -> bytes:
    update = _updater(algorithm)
    for piece in pieces(body, 0, body.size, 4 * PIECE):
        update(bytes(piece))
    return update(b"")


def _updater(algorithm: str) -> Callable[[bytes], bytes]:
    """Return a function that takes more bytes and returns the digest so far."""
    if algorithm in ("md5", "sha1", "sha256"):
        return _hashing(hashlib.new(algorithm))
    if algorithm == "crc32":
        return _counting(zlib.crc32, 4)
    checksums = _awscrt()
    if algorithm == "crc32c":
        return _counting(checksums.crc32c, 4)
    return _counting(checksums.crc64nvme, 8)


def _hashing(digest: Any) -> Callable[[bytes], bytes]:
    def update(data: bytes) -> bytes:
        digest.update(data)
        return bytes(digest.digest())

    return update


def _counting(crc: Callable[[bytes, int], int], size: int) -> Callable[[bytes], bytes]:
    value = crc(b"", 0)

    def update(data: bytes) -> bytes:
        nonlocal value
        value = crc(data, value)
        return value.to_bytes(size, "big")

    return update


def _awscrt() -> Any:
    try:
        from awscrt import checksums  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise RuntimeError(
            "crc32c and crc64nvme need the package awscrt: "
            "pip install 'ctera-direct-sync[emulator]'"
        ) from error
    return checksums


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
