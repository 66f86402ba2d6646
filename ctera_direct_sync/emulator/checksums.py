"""The headers in which a storage declares the checksum of an object (PROTOCOL 4)."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable
from typing import Any

from .bodies import PIECE_SIZE_BYTES, Body, iter_pieces
from .options import ChecksumType

#: Takes more bytes, and returns the digest of all bytes so far.
_Update = Callable[[bytes], bytes]


def declare(body: Body, name: str, checksum_type: ChecksumType | None = None) -> str:
    """Return the value of a checksum header.

    S3 computes a COMPOSITE checksum from the checksums of an upload's parts, and appends their number.
    Here an object has one part.

    Args:
        body: The stored object.
        name: The name of the header, in lower case.
        checksum_type: What `x-amz-checksum-type` says.

    Raises:
        RuntimeError: The checksum needs the package awscrt, which is missing.
    """
    if name == "x-goog-hash":
        return f"crc32c={_base64(_digest(body, 'crc32c'))},md5={_base64(_digest(body, 'md5'))}"
    if name == "content-md5":
        return _base64(_digest(body, "md5"))
    algorithm = name[len("x-amz-checksum-") :]
    value = _digest(body, algorithm)
    if checksum_type == "COMPOSITE":
        return f"{_base64(_new_update(algorithm)(value))}-1"
    return _base64(value)


def _digest(body: Body, algorithm: str) -> bytes:
    update = _new_update(algorithm)
    for piece in iter_pieces(body, 0, body.size, 4 * PIECE_SIZE_BYTES):
        update(bytes(piece))
    return update(b"")


def _new_update(algorithm: str) -> _Update:
    if algorithm in ("md5", "sha1", "sha256"):
        return _hash_update(hashlib.new(algorithm))
    if algorithm == "crc32":
        return _crc_update(zlib.crc32, 4)
    checksums = _awscrt()
    if algorithm == "crc32c":
        return _crc_update(checksums.crc32c, 4)
    return _crc_update(checksums.crc64nvme, 8)


def _hash_update(digest: Any) -> _Update:
    def update(data: bytes) -> bytes:
        digest.update(data)
        return bytes(digest.digest())

    return update


def _crc_update(crc: Callable[[bytes, int], int], size: int) -> _Update:
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
