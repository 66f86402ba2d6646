"""The portal's side: a file's block list, asked for, read, and renewed when its URLs expire."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import Any, Optional
from urllib.parse import urljoin

from .exceptions import (
    BlockListConnectionError,
    BlockListTimeout,
    BlocksNotFoundError,
    DirectIOAPIError,
    DirectIOError,
    InvalidRequest,
    NotFoundError,
    UnAuthorized,
    UnprocessableContent,
)
from .faults import HTTPFault
from .http import HTTP, MAX_REDIRECTS, REDIRECTS, decoded, retry_after
from .keys import unwrap
from .retry import RetryPolicy
from .scope import CancelScope, SingleFlight
from .types import Chunk, Metadata, SignedURL, Token
from .urls import origin_of

__all__ = ["Listing", "Portal", "parse_listing"]

_log = logging.getLogger(__name__)

MIB = 1024 * 1024

#: A longer answer is no block list: 256 MiB hold that of a file of hundreds of gigabytes.
_ANSWER_LIMIT = 256 * MIB

#: Blocks that must be decoded whole are held in memory: a longer one is a malformed list.
_ENCODED_BLOCK_LIMIT = 1024 * MIB

_MAX_OFFSET = 2**63 - 1
_BUSY = frozenset({408, 429, 502, 503, 504})

_REFUSALS: dict[int, tuple[type[DirectIOAPIError], str]] = {
    400: (NotFoundError, "The portal knows no such file: check the file ID and the portal's URL"),
    401: (
        UnAuthorized,
        "The portal refuses the credentials: check the access key ID or bearer token",
    ),
    403: (
        UnAuthorized,
        "The portal refuses access: check that the key's owner may read the file",
    ),
    422: (
        UnprocessableContent,
        "Not all blocks of the file are on storage nodes in direct mode: ask the portal's "
        "administrator, or download the file through the portal",
    ),
    500: (
        InvalidRequest,
        "The portal rejects the request: check the file ID and that Direct IO is enabled there",
    ),
}


class Portal:
    """Lists files for one set of credentials. Thread-safe, as the HTTP that it is given."""

    def __init__(
        self,
        baseurl: str,
        bearer: Token,
        secret_access_key: Optional[Token],
        http: HTTP,
        policy: RetryPolicy,
    ) -> None:
        self._endpoint = baseurl.rstrip("/") + "/directio/"
        self._headers = {
            "Authorization": Token(f"Bearer {bearer}"),
            "Accept": "application/json",
        }
        self._secret = secret_access_key
        self._http = http
        self._policy = policy
        self._renewals: SingleFlight[Metadata] = SingleFlight()

    def list(self, file_id: int, scope: CancelScope) -> Metadata:
        """The file's block list (PROTOCOL section 1), its key unwrapped.

        DirectIOAPIError and its subclasses, or DecryptKeyError, as the portal's answer has it.
        """
        attempts = self._policy.start()
        while True:
            try:
                return self._read(file_id, self._ask(file_id, scope))
            except _Busy as busy:
                failure = busy
            delay = attempts.next_delay(failure.retry_after)
            if delay is None:
                raise failure.error
            _log.warning(
                "listing file %s: %s; attempt %d in %.2f s",
                file_id,
                failure.error.strerror,
                attempts.made,
                delay,
            )
            scope.wait(delay)

    def renew(self, listing: Listing, stale: Metadata, scope: CancelScope) -> bool:
        """Replace a listing's expired ``stale`` block list, once however many threads ask.

        False where the file is another now, so that its new blocks do not fit what was read before.
        """

        def relist() -> Metadata:
            if listing.metadata is stale:
                listing.adopt(stale, self.list(stale.file_id, scope))
            return listing.metadata

        if listing.metadata is stale and not listing.changed:
            _log.info("file %s: its URLs are refused, listing it again", stale.file_id)
            fresh = self._renewals.run(stale.file_id, relist, scope)
            listing.adopt(stale, fresh)
        return not listing.changed

    def _read(self, file_id: int, body: bytes) -> Metadata:
        """The block list that ``body`` is. What :func:`parse_listing` raises."""
        try:
            return parse_listing(file_id, _load(file_id, body), self._secret)
        except DirectIOError as caught:
            # Without the frames that hold the answer, URLs and all: tracebacks may show their locals.
            failure = caught.with_traceback(None)
        del body
        raise failure

    def close(self) -> None:
        """Close the connections to the portal."""
        self._http.close()

    def _ask(self, file_id: int, scope: CancelScope) -> bytes:
        """The body of a 200 answer. _Busy where another attempt makes sense."""
        url = SignedURL(f"{self._endpoint}{file_id}")
        for _ in range(MAX_REDIRECTS + 1):
            try:
                with self._http.get(url, scope, self._headers) as response:
                    _log.debug("listing file %s: %d", file_id, response.status)
                    if response.status == 200:
                        body = response.read(_ANSWER_LIMIT)
                        return bytes(decoded(body, response.headers, _ANSWER_LIMIT))
                    status, headers = response.status, response.headers
            except HTTPFault as caught:
                fault = caught
                break
            if status not in REDIRECTS:
                raise _refusal(file_id, status, headers)
            url = _same_origin(file_id, url, headers.get("location", ""))
        else:
            raise DirectIOAPIError("The portal redirects in a circle: check its URL", file_id)
        raise _unreachable(file_id, origin_of(url), fault)


class _Busy(Exception):
    """An attempt failed in a way that waiting may cure; ``error`` is for when it does not."""

    def __init__(self, error: DirectIOAPIError, retry_after: Optional[float] = None) -> None:
        super().__init__(error.strerror)
        self.error = error
        self.retry_after = retry_after


def _refusal(file_id: int, status: int, headers: Mapping[str, str]) -> Exception:
    if status in _REFUSALS:
        cls, text = _REFUSALS[status]
        return cls(text, file_id)
    if status in _BUSY:
        text = f"The portal is busy (HTTP {status}): try again later"
        return _Busy(DirectIOAPIError(text, file_id), retry_after(headers))
    text = f"The portal answered HTTP {status}, not a block list: check its URL"
    return DirectIOAPIError(text, file_id)


def _unreachable(file_id: int, origin: str, fault: HTTPFault) -> Exception:
    """The exception for a request to the portal that got no usable answer."""
    error = _no_answer(file_id, origin, fault)
    return _Busy(error) if fault.transient else error


def _no_answer(file_id: int, origin: str, fault: HTTPFault) -> DirectIOAPIError:
    if fault.kind == "timeout":
        text = f"The portal did not answer in time ({fault.reason}): raise settings.api.timeout"
        return BlockListTimeout(text, file_id)
    if fault.kind == "tls":
        text = (
            f"The portal at {origin} cannot be trusted: {fault.reason}. Set settings.api.ssl to the "
            "path of its CA bundle (REQUESTS_CA_BUNDLE, or -k on the command line to trust it blindly)"
        )
        return BlockListConnectionError(text, file_id)
    if fault.kind == "url":
        return BlockListConnectionError(f"The portal's URL cannot be used: {fault.reason}", file_id)
    if fault.kind == "long":
        return DirectIOAPIError(f"The portal's answer is no block list: {fault.reason}", file_id)
    text = f"No answer from the portal at {origin}: {fault.reason}. Check its URL and the network"
    return BlockListConnectionError(text, file_id)


def _same_origin(file_id: int, url: str, location: str) -> SignedURL:
    """Where a redirect goes. Only to the same origin do the credentials follow."""
    target = SignedURL(urljoin(url, location))
    problem = None
    try:
        if origin_of(target) != origin_of(url):
            problem = (
                f"The portal redirects to {origin_of(target)}: if that is right, use it as baseurl"
            )
    except HTTPFault:
        problem = "The portal redirects to something that is no URL"
    if problem is not None:
        raise DirectIOAPIError(problem, file_id)
    return target


class Listing:
    """A block list that can be renewed: what the blocks of one call are fetched by.

    ``metadata`` is the newest; ``etags`` the ETag of each object that is read in parts, by block
    index; ``prefixed`` the indexes of those found to begin with Azure's MD5 prefix; ``changed`` is set
    once the portal lists other blocks than at first; ``unproven`` counts the renewals since the storage
    last accepted a URL, and ``renewed`` is when the last of them was, by the monotonic clock.
    """

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata
        self.unproven = 0
        self.renewed = 0.0
        self.etags: dict[int, str] = {}
        self.prefixed: set[int] = set()
        self.changed = False

    def adopt(self, stale: Metadata, fresh: Metadata) -> None:
        """Take ``fresh`` in place of ``stale``, or note that the file changed. Safe to repeat."""
        if self.metadata is stale and fresh is not stale:
            if fresh.fingerprint == stale.fingerprint:
                self.metadata = fresh
                self.unproven += 1
                self.renewed = time.monotonic()
            else:
                self.changed = True


# --- reading the answer --------------------------------------------------------------------------------


def _load(file_id: int, body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        pass
    kind = "an HTML page" if body.lstrip()[:1] == b"<" else "not valid JSON"
    raise DirectIOAPIError(
        f"The portal answered {kind} instead of a block list: check its URL", file_id
    )


def parse_listing(file_id: int, document: Any, secret_access_key: Optional[str] = None) -> Metadata:
    """Metadata from the portal's JSON (PROTOCOL section 1). Pure.

    BlocksNotFoundError, DecryptKeyError, or DirectIOAPIError that names the member that is wrong.
    """
    if not isinstance(document, dict):
        raise _malformed(file_id, "the answer is no object")
    wrapped_key, cipher = _encryption(file_id, document)
    compression = _one_of(
        file_id, "compression_type", document.get("compression_type"),
        (None, "SNAPPY", "GZIP", "NONE", "LZ4"),
    )  # fmt: skip
    start, file_size = _actual_range(file_id, document.get("actual_blocks_range"))
    raw = document.get("chunks")
    if raw is not None and not isinstance(raw, list):
        raise _malformed(file_id, "'chunks' is no list")
    if not raw and file_size != 0:
        raise BlocksNotFoundError(
            "The portal lists no blocks for the file: it may be empty, or not yet uploaded", file_id
        )
    plaintext = wrapped_key is None and compression == "NONE"
    chunks = _chunks(file_id, raw or [], start, None if plaintext else _ENCODED_BLOCK_LIMIT)
    end = chunks[-1].offset + chunks[-1].length if chunks else start
    if file_size is not None and file_size < end:
        raise _malformed(file_id, f"its blocks end at {end}, past the file's size, {file_size}")
    return Metadata(
        file_id,
        end if file_size is None else file_size,
        chunks,
        encryption_key=(
            None if wrapped_key is None else unwrap(wrapped_key, secret_access_key, file_id)
        ),
        cipher=cipher,
        compressed=compression != "NONE",
        compression_library=compression,
    )


def _encryption(file_id: int, document: dict[str, Any]) -> tuple[Optional[str], str]:
    """The wrapped key, None where the data is not encrypted, and the cipher."""
    info = document.get("encrypt_info")
    if "encrypt_info" not in document and "wrapped_key" in document:
        info = {"data_encrypted": True, "wrapped_key": document["wrapped_key"]}  # Before 8.3.
    if not isinstance(info, dict) or not isinstance(info.get("data_encrypted"), bool):
        raise _malformed(file_id, "'encrypt_info.data_encrypted' is no boolean")
    cipher = _one_of(
        file_id, "encrypt_info.cipher", info.get("cipher"), (None, "AES-CBC", "AES-GCM")
    )
    if not info["data_encrypted"]:
        return None, cipher or "AES-CBC"
    if not isinstance(info.get("wrapped_key"), str):
        raise _malformed(file_id, "'wrapped_key' is no string")
    return Token(info["wrapped_key"]), cipher or "AES-CBC"


def _one_of(file_id: int, name: str, value: Any, known: tuple[Any, ...]) -> Any:
    if value is None or (isinstance(value, str) and value in known):
        return value
    text = f"The portal says {name} {str(value)[:40]!r}, which this version cannot read: upgrade it"
    raise DirectIOAPIError(text, file_id)


def _actual_range(file_id: int, value: Any) -> tuple[int, Optional[int]]:
    """Offset of the first listed block and the file's size, None where it is not told."""
    if value is None:
        return 0, None
    if not isinstance(value, dict):
        raise _malformed(file_id, "'actual_blocks_range' is no object")
    size = value.get("file_size")
    if size is not None and not _is_length(size):
        raise _malformed(file_id, "'actual_blocks_range.file_size' is no length")
    text = value.get("range", "0-")
    start = text.partition("-")[0] if isinstance(text, str) else ""
    if not (start.isascii() and start.isdigit() and len(start) < 20):
        raise _malformed(file_id, "'actual_blocks_range.range' does not begin with an offset")
    return int(start), size


def _chunks(file_id: int, raw: list[Any], start: int, limit: Optional[int]) -> list[Chunk]:
    chunks, offset = [], start
    for number, item in enumerate(raw, 1):
        length: Any = item.get("len") if isinstance(item, dict) else None
        if not _is_length(length) or offset + length > _MAX_OFFSET:
            raise _malformed(file_id, f"'len' of block {number} is no length")
        if limit is not None and length > limit:
            raise _malformed(
                file_id, f"block {number} is of {length} bytes, more than can be decoded"
            )
        url = item.get("url")
        if not isinstance(url, str) or not url:
            raise _malformed(file_id, f"'url' of block {number} is no string")
        chunks.append(Chunk(number, offset, length, SignedURL(url)))
        offset += length
    return chunks


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_OFFSET


def _malformed(file_id: int, what: str) -> DirectIOAPIError:
    return DirectIOAPIError(f"The portal's answer is not a block list: {what}", file_id)
