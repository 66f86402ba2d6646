"""Verify the digests that a storage declares for an object (PROTOCOL, section 4). Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Callable, NamedTuple
from urllib.parse import urlsplit

from .. import codec
from ..settings import CHECKSUMS

Buffer = Any  # bytes, or a view of them

__all__ = [
    "AZURE_DOMAIN",
    "AZURE_PREFIX",
    "DIGEST_HEADERS",
    "Declared",
    "Mismatch",
    "azure_host",
    "declared",
    "split_azure_prefix",
    "verify",
]

_AMZ_PREFIX = "x-amz-checksum-"
#: The headers that declare digests, an ETag aside. If there are none, there is nothing to parse.
DIGEST_HEADERS = frozenset(
    {"x-goog-hash", "content-md5", *(_AMZ_PREFIX + name for name in CHECKSUMS)}
)
AZURE_DOMAIN = ".core.windows.net"
_MD5_BYTES = 16
#: Length of the MD5 digest that some portals put in front of objects on Azure.
AZURE_PREFIX = _MD5_BYTES


def _big_endian(function: Callable[[Buffer], int], size: int) -> Callable[[Buffer], bytes]:
    return lambda body: function(body).to_bytes(size, "big")


def _md5(body: Buffer) -> bytes:
    return hashlib.md5(body, usedforsecurity=False).digest()


def _sha1(body: Buffer) -> bytes:
    return hashlib.sha1(body, usedforsecurity=False).digest()


_COMPUTE: dict[str, Callable[[Buffer], bytes]] = {
    "crc32c": _big_endian(codec.crc32c, 4),
    "crc32": _big_endian(zlib.crc32, 4),
    "crc64nvme": _big_endian(codec.crc64nvme, 8),
    "md5": _md5,
    "sha1": _sha1,
    "sha256": lambda body: hashlib.sha256(body).digest(),
    "etag": _md5,
}
_SIZES = {name: len(compute(b"")) for name, compute in _COMPUTE.items()}


class Declared(NamedTuple):
    """A digest that a response carries."""

    name: str
    """The algorithm."""
    value: bytes
    """What the digest of the body should be."""


class Mismatch(Exception):
    """The body does not have a digest that the storage declared. The text names both values."""


def declared(headers: Mapping[str, str], wanted: Collection[str]) -> Iterator[Declared]:
    """Yield the digests that a response declares.

    They are in `x-goog-hash` (crc32c, md5), `Content-MD5`, and `x-amz-checksum-*`, unless those are of
    parts (`x-amz-checksum-type: COMPOSITE`). If etag is wanted, an ETag in the form of an MD5 counts.

    Args:
        headers: The headers, with names in lower case.
        wanted: The algorithms to look for.
    """
    for item in headers.get("x-goog-hash", "").split(","):
        name, _, text = item.strip().partition("=")
        yield from _if_wanted(name, _base64(text), wanted)
    yield from _if_wanted("md5", _base64(headers.get("content-md5", "")), wanted)
    if headers.get("x-amz-checksum-type", "").upper() != "COMPOSITE":
        for name in _COMPUTE:
            text = headers.get(_AMZ_PREFIX + name, "")
            # A checksum of checksums is marked by the number of parts: "<base64>-<parts>".
            yield from _if_wanted(name, _base64(text), wanted)
    yield from _if_wanted("etag", _hexadecimal(headers.get("etag", "").strip('"')), wanted)


def verify(
    body: bytes | memoryview, headers: Mapping[str, str], wanted: Collection[str]
) -> list[str]:
    """Return the names of the declared digests, after verifying that `body` has them.

    Args:
        body: The object as received.
        headers: The headers of the response, with names in lower case.
        wanted: The algorithms to verify.

    Raises:
        Mismatch: The body has another digest.
    """
    verified: list[str] = []
    for name, expected in declared(headers, wanted):
        if name in verified:
            continue
        actual = _COMPUTE[name](body)
        if actual != expected:
            raise Mismatch(f"{name} is {actual.hex()}, but the storage declares {expected.hex()}")
        verified.append(name)
    return verified


def azure_host(url: str) -> str | None:
    """Return the host of a URL if it is one of Azure's, else None. Most other URLs are not even parsed."""
    # The plain method: a signed URL's own makes a copy that hides itself.
    if AZURE_DOMAIN not in str.lower(url):
        return None
    host = urlsplit(url).hostname
    return host if _is_azure(host) else None


def _is_azure(host: str | None) -> bool:
    return host is not None and host.lower().endswith(AZURE_DOMAIN)


def split_azure_prefix(
    body: bytes | memoryview, host: str | None
) -> tuple[bytes | memoryview, bool]:
    """Remove the MD5 digest that some portals put in front of an object on Azure (PROTOCOL, section 3).

    Args:
        body: The object.
        host: Where it came from. Objects from hosts other than Azure's are left alone.

    Returns:
        The object, and whether it had the digest, which verifies the rest.
    """
    if not _is_azure(host) or len(body) < AZURE_PREFIX:
        return body, False
    rest = memoryview(body)[AZURE_PREFIX:]
    if hashlib.md5(rest, usedforsecurity=False).digest() != body[:AZURE_PREFIX]:
        return body, False
    return rest, True


def _if_wanted(name: str, value: bytes | None, wanted: Collection[str]) -> Iterator[Declared]:
    # A value of another size is not a digest: the header says something else.
    if value is not None and name in wanted and len(value) == _SIZES[name]:
        yield Declared(name, value)


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.strip(), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _hexadecimal(text: str) -> bytes | None:
    if len(text) != 2 * _MD5_BYTES:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
