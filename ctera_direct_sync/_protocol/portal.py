"""The portal's side: a file's block list, asked for, read, and renewed when its URLs expire."""

from __future__ import annotations

import errno
import json
import logging
import re
import time
from typing import Any, Optional, Union

from .._base.cancellation import CancelScope, SingleFlight
from .._base.retry import TRANSIENT_STATUSES, RetryPolicy
from .._net.content_coding import removable_codings, take_off
from .._net.errors import TransportError, proxy_advice, tls_advice
from .._net.session import HTTP, MAX_REDIRECTS, REDIRECTS, Response, retry_after
from .._net.urls import origin_of, redirect_target
from ..exceptions import (
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
from ..types import Chunk, Cipher, Metadata, SignedURL, Token
from .keys import unwrap

__all__ = ["Portal", "RenewableBlockList", "parse_listing"]

_log = logging.getLogger(__name__)

MIB = 1024 * 1024

#: A longer answer is refused: 256 MiB hold the list of 600,000 blocks with URLs of 400 characters.
_MAX_ANSWER_BYTES = 256 * MIB
#: Values of JSON that an answer may hold, by its commas: a block has two. Each may become some 300 bytes
#: of Python objects, so that without this bound 256 MiB of short values would become 10 GB.
_MAX_VALUES = 4_000_000
#: Of an answer that is not a block list: the bytes looked at for the message, and what of them is shown.
_BEGINNING_BYTES = 512
_MAX_WORDS = 4
#: A word that is shown: too short for a key, and without what separates the parts of a query.
_PLAIN_WORD = re.compile(r"(?:[A-Za-z!/{}\[\]\"':,._-]{1,20}|[0-9]{1,3})\Z")
_TAG = re.compile(r"<[^>]*>?")
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,40}")

#: Blocks that must be decoded whole are held in memory: a longer one is a malformed list.
_ENCODED_BLOCK_LIMIT = 1024 * MIB

_MAX_OFFSET = 2**63 - 1

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
        self._secrets = (bearer, secret_access_key)
        self._http = http
        self._policy = policy
        self._renewals: SingleFlight[Metadata] = SingleFlight()

    def list(self, file_id: int, scope: CancelScope) -> Metadata:
        """Return the file's block list (PROTOCOL section 1), its key unwrapped.

        Answers that may be an accident are asked for again, as the retry policy says: a busy or failing
        portal, truncated JSON, a proxy's page.

        Raises:
            DirectIOAPIError: The portal gave no block list; subclasses say why.
            DecryptKeyError: The file's key cannot be unwrapped.
        """
        attempts = self._policy.start()
        while True:
            failure: Union[_Failure, DirectIOError]
            try:
                return self._attempt(file_id, scope)
            except (_Failure, DirectIOError) as caught:
                failure = caught
            if isinstance(failure, DirectIOError):
                # Without the frames that hold what came: tracebacks may show their locals.
                raise failure.with_traceback(None)
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

    def renew(self, listing: RenewableBlockList, stale: Metadata, scope: CancelScope) -> bool:
        """Replace a listing's expired ``stale`` block list, once however many threads ask.

        False where the file is another now, so that its new blocks do not fit what was read before.
        """

        def relist() -> Metadata:
            # Another thread of the same call may have landed between the check below and this.
            if listing.latest is stale:
                listing.adopt(stale, self.list(stale.file_id, scope))
            return listing.latest

        if listing.latest is stale:
            _log.info("file %s: its URLs are refused, listing it again", stale.file_id)
            # Other calls for the same file wait for this answer, and compare it with their own lists.
            listing.adopt(stale, self._renewals.run(stale.file_id, relist, scope))
        return not listing.changed

    def close(self) -> None:
        """Close the connections to the portal."""
        self._http.close()

    def _attempt(self, file_id: int, scope: CancelScope) -> Metadata:
        """Ask once. _Failure where another attempt makes sense."""
        url = SignedURL(f"{self._endpoint}{file_id}")
        for _ in range(MAX_REDIRECTS + 1):
            try:
                with self._http.get(url, scope, self._headers) as response:
                    _log.debug("listing file %s: %d", file_id, response.status)
                    if response.status == 200:
                        return self._read(file_id, _Answer(response))
                    if response.status not in REDIRECTS:
                        raise self._refusal(file_id, response)
                    status = response.status
                    given = response.headers.get("location")
                    location = None if given is None else SignedURL(given)
                    del given
            except TransportError as caught:
                fault = caught
                break
            url = _same_origin(file_id, url, status, location)
        else:
            raise DirectIOAPIError("The portal redirects in a circle: check its URL", file_id)
        raise _unreachable(file_id, origin_of(url), fault)

    def _read(self, file_id: int, answer: _Answer) -> Metadata:
        """Return the block list that a 200 holds."""
        problem: Optional[BaseException] = None
        reason = ""
        try:
            return _parse(file_id, answer.take_document(file_id), self._secret)
        except _Malformed as caught:
            reason = str(caught)
        except MemoryError:
            text = "The file's block list is larger than the memory at hand"
            problem = DirectIOAPIError(text, file_id, errno=errno.ENOMEM)
        except BaseException as caught:  # noqa: BLE001 - json's frames hold the whole answer
            problem = caught.with_traceback(None)
        if problem is not None:
            raise problem
        text = f"The portal's answer is not a block list: {reason} ({self._what_came(answer)})"
        raise _Failure(DirectIOAPIError(f"{text}: check the portal's URL", file_id))

    def _refusal(self, file_id: int, response: Response) -> Exception:
        """Return the exception for a status that is neither 200 nor a redirect."""
        status = response.status
        if status in _REFUSALS:
            cls, text = _REFUSALS[status]
            return cls(text, file_id)
        answer = _Answer(response, _BEGINNING_BYTES)
        came = self._what_came(answer)
        if status == 500:
            text = (
                f"The portal rejects the request ({came}): check the file ID and that Direct IO is "
                "enabled there"
            )
            return _Failure(InvalidRequest(text, file_id), retry_after(response.headers))
        if status in TRANSIENT_STATUSES or status > 500:
            text = f"The portal is busy or failing ({came}): try again later"
            return _Failure(DirectIOAPIError(text, file_id), retry_after(response.headers))
        text = f"The portal did not answer with a block list ({came}): check its URL"
        return DirectIOAPIError(text, file_id)

    def _what_came(self, answer: _Answer) -> str:
        """Return status, type and first words of an answer, without anything secret."""
        parts = [f"HTTP {answer.status}"]
        media_type = _MEDIA_TYPE.match(answer.content_type.strip().lower())
        if media_type is not None:
            parts.append(media_type.group())
        if any(secret and secret in answer.beginning for secret in self._secrets):
            return ", ".join(parts)
        words = _TAG.sub(" ", answer.beginning).split()[:_MAX_WORDS]
        if words:
            shown = " ".join(word if _PLAIN_WORD.match(word) else "..." for word in words)
            parts.append(f"it begins with {shown!r}")
        return ", ".join(parts)


class _Answer:
    """What the portal answered. A plain object, so that its repr shows nothing of the content."""

    def __init__(self, response: Response, limit: Optional[int] = None) -> None:
        """Read the body: all of it, or its first ``limit`` bytes where its length is declared."""
        self.status = response.status
        self.content_type = response.headers.get("content-type", "")
        if limit is None:
            self._body = _without_coding(response.read(_MAX_ANSWER_BYTES), response)
        else:
            # An undeclared body may never end, and its words are not worth a wait.
            size = min(limit, response.length or 0)
            self._body = bytes(response.read_window(0, size)) if size else b""
        self.beginning = self._body[:_BEGINNING_BYTES].decode("ascii", "replace")

    def take_document(self, file_id: int) -> Any:
        """Return the JSON that the body holds, and let go of the body.

        Raises:
            _Malformed: The body is not JSON.
            DirectIOAPIError: The body holds more values than fit into memory.
        """
        if self._body.count(b",") > _MAX_VALUES:
            raise DirectIOAPIError(
                f"The portal's block list holds more than {_MAX_VALUES:,} values: the file has more "
                "blocks than this client can hold in memory",
                file_id,
            )
        try:
            return json.loads(self._take_body())
        except (ValueError, RecursionError):
            pass
        raise _Malformed("it is an HTML page" if self._is_page() else "it is not valid JSON")

    def _is_page(self) -> bool:
        return self.beginning.lstrip().startswith("<")

    def _take_body(self) -> bytes:
        body, self._body = self._body, b""
        return body


def _without_coding(body: Union[bytes, memoryview], response: Response) -> bytes:
    """Return the body of a listing without gzip or deflate; any other label is only a label."""
    codings = removable_codings(response.headers)
    if not codings or bytes(body[:64]).lstrip().startswith(b"{"):
        return bytes(body)
    return take_off(body, codings, _MAX_ANSWER_BYTES)


class _Malformed(Exception):
    """An answer has not the shape of a block list; the text says what is wrong."""


class _Failure(Exception):
    """An attempt failed in a way that waiting may cure; ``error`` is for when it does not."""

    def __init__(self, error: DirectIOAPIError, retry_after: Optional[float] = None) -> None:
        super().__init__(error.strerror)
        self.error = error
        self.retry_after = retry_after


def _unreachable(file_id: int, origin: str, fault: TransportError) -> Exception:
    """The exception for a request to the portal that got no usable answer."""
    error = _no_answer(file_id, origin, fault)
    return _Failure(error) if fault.transient else error


def _no_answer(file_id: int, origin: str, fault: TransportError) -> DirectIOAPIError:
    if fault.proxy:
        advice = proxy_advice(fault, "settings.api.ssl")
        text = f"The portal at {origin} was not reached: {fault.reason}{advice}"
        kind = BlockListTimeout if fault.kind == "timeout" else BlockListConnectionError
        return kind(text, file_id)
    if fault.kind == "timeout":
        text = f"The portal did not answer in time ({fault.reason}): raise settings.api.timeout"
        return BlockListTimeout(text, file_id)
    if fault.kind == "tls":
        text = (
            f"No secure connection to the portal at {origin}: {fault.reason}"
            f"{tls_advice(fault, 'settings.api.ssl')}"
        )
        return BlockListConnectionError(text, file_id)
    if fault.kind == "url":
        return BlockListConnectionError(f"The portal's URL cannot be used: {fault.reason}", file_id)
    if fault.kind == "long":
        return DirectIOAPIError(f"The portal's answer is not a block list: {fault.reason}", file_id)
    text = f"No answer from the portal at {origin}: {fault.reason}. Check its URL and the network"
    return BlockListConnectionError(text, file_id)


def _same_origin(file_id: int, url: str, status: int, location: Optional[str]) -> SignedURL:
    """Where a redirect goes. Only to the same origin do the credentials follow."""
    problem = None
    try:
        target = SignedURL(redirect_target(url, status, location))
        if origin_of(target) != origin_of(url):
            problem = (
                f"The portal redirects to {origin_of(target)}: if that is right, use it as baseurl"
            )
    except TransportError as fault:
        problem = f"The portal's answer cannot be followed: {fault.reason}. Check the portal's URL"
    if problem is not None:
        raise DirectIOAPIError(problem, file_id)
    return target


class RenewableBlockList:
    """A block list that can be renewed: what the blocks of one call are fetched by.

    ``metadata`` is the newest; ``etags`` the ETag of each object that is read in parts, by block
    index; ``html`` whether each of these is a web page; ``prefixed`` the indexes of those found to begin
    with Azure's MD5 prefix. ``latest`` is what the portal listed last, and ``changed`` is set once those
    are other blocks than at first. ``unproven`` counts the renewals since the storage last accepted a
    URL, and ``renewed`` is when the last of them was, by the monotonic clock.
    """

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata
        self.latest = metadata
        self.unproven = 0
        self.renewed = 0.0
        self.etags: dict[int, str] = {}
        self.html: dict[int, bool] = {}
        self.prefixed: set[int] = set()
        self.changed = False

    def adopt(self, stale: Metadata, fresh: Metadata) -> None:
        """Take ``fresh`` in place of ``stale``, or note that the file changed. Safe to repeat."""
        if self.latest is not stale or fresh is stale:
            return
        if fresh.fingerprint == stale.fingerprint:
            self.metadata = fresh
            self.unproven += 1
            self.renewed = time.monotonic()
        else:
            self.changed = True
        # Set last: a thread that sees it must see the rest as well.
        self.latest = fresh


# --- reading the answer --------------------------------------------------------------------------------


def parse_listing(file_id: int, document: Any, secret_access_key: Optional[str] = None) -> Metadata:
    """Return the Metadata that the portal's JSON describes (PROTOCOL section 1). Pure.

    Raises:
        BlocksNotFoundError: The list is empty, and the file is not.
        DecryptKeyError: The file's key cannot be unwrapped.
        DirectIOAPIError: A member is wrong, which the text names.
    """
    try:
        return _parse(file_id, document, secret_access_key)
    except _Malformed as caught:
        text = f"The portal's answer is not a block list: {caught}"
    raise DirectIOAPIError(text, file_id)


def _parse(file_id: int, document: Any, secret_access_key: Optional[str]) -> Metadata:
    """:func:`parse_listing`, but _Malformed where the answer has another shape."""
    if not isinstance(document, dict):
        raise _Malformed("the answer is not an object")
    wrapped_key, cipher = _encryption(document, file_id)
    compression = _one_of(
        file_id, "compression_type", document.get("compression_type"),
        (None, "SNAPPY", "GZIP", "NONE", "LZ4"),
    )  # fmt: skip
    start, file_size = _actual_range(document.get("actual_blocks_range"))
    raw = document.get("chunks")
    if raw is not None and not isinstance(raw, list):
        raise _Malformed("'chunks' is not a list")
    if not raw and file_size != 0:
        raise BlocksNotFoundError(
            "The portal lists no blocks for the file: it may be empty, or not yet uploaded", file_id
        )
    plaintext = wrapped_key is None and compression == "NONE"
    chunks = _chunks(raw or [], start, None if plaintext else _ENCODED_BLOCK_LIMIT)
    end = chunks[-1].offset + chunks[-1].length if chunks else start
    if file_size is not None and file_size < end:
        raise _Malformed(f"its blocks end at {end}, past the file's size, {file_size}")
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


def _encryption(document: dict[str, Any], file_id: int) -> tuple[Optional[str], Cipher]:
    """The wrapped key, None where the data is not encrypted, and the cipher."""
    info = document.get("encrypt_info")
    if "encrypt_info" not in document and "wrapped_key" in document:
        info = {"data_encrypted": True, "wrapped_key": document["wrapped_key"]}  # Before 8.3.
    if not isinstance(info, dict) or not isinstance(info.get("data_encrypted"), bool):
        raise _Malformed("'encrypt_info.data_encrypted' is not a boolean")
    cipher = _one_of(
        file_id, "encrypt_info.cipher", info.get("cipher"), (None, "AES-CBC", "AES-GCM")
    )
    if not info["data_encrypted"]:
        return None, cipher or "AES-CBC"
    if not isinstance(info.get("wrapped_key"), str):
        raise _Malformed("'wrapped_key' is not a string")
    return Token(info["wrapped_key"]), cipher or "AES-CBC"


def _one_of(file_id: int, name: str, value: Any, known: tuple[Any, ...]) -> Any:
    if value is None or (isinstance(value, str) and value in known):
        return value
    text = f"The portal says {name} {str(value)[:40]!r}, which this version cannot read: upgrade it"
    raise DirectIOAPIError(text, file_id)


def _actual_range(value: Any) -> tuple[int, Optional[int]]:
    """Offset of the first listed block and the file's size, None where it is not told."""
    if value is None:
        return 0, None
    if not isinstance(value, dict):
        raise _Malformed("'actual_blocks_range' is not an object")
    size = value.get("file_size")
    if size is not None and not _is_length(size):
        raise _Malformed("'actual_blocks_range.file_size' is not a length")
    text = value.get("range", "0-")
    start = text.partition("-")[0] if isinstance(text, str) else ""
    if not (start.isascii() and start.isdigit() and len(start) < 20):
        raise _Malformed("'actual_blocks_range.range' does not begin with an offset")
    return int(start), size


def _chunks(raw: list[Any], start: int, limit: Optional[int]) -> list[Chunk]:
    chunks, offset = [], start
    for number, item in enumerate(raw, 1):
        length: Any = item.get("len") if isinstance(item, dict) else None
        if not _is_length(length) or offset + length > _MAX_OFFSET:
            raise _Malformed(f"'len' of block {number} is not a length")
        if limit is not None and length > limit:
            raise _Malformed(f"block {number} is of {length} bytes, more than can be decoded")
        url = item.get("url")
        if not isinstance(url, str) or not url:
            raise _Malformed(f"'url' of block {number} is not a string")
        chunks.append(Chunk(number, offset, length, SignedURL(url)))
        offset += length
    return chunks


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_OFFSET
