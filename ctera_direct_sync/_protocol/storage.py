"""The storage's side: one piece of a block from its pre-signed URL to verified plaintext.

Read :meth:`Storage.fetch` first: it is a block's whole way, and the one place where a failure is
judged (DESIGN, failure policy).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, NoReturn, Optional, Union

from .. import codec
from .._base.buffers import BufferPool, PooledBuffer
from .._base.cancellation import CancelScope
from .._base.observer import Observer
from .._base.retry import TRANSIENT_STATUSES, RetryPolicy
from .._net.content_coding import described, removable_codings, take_off
from .._net.errors import TransportError, proxy_advice, tls_advice
from .._net.session import (
    HTTP,
    MAX_REDIRECTS,
    REDIRECTS,
    Response,
    retry_after,
)
from .._net.urls import origin_of, redirect_target
from ..exceptions import (
    BlockError,
    BlockInfo,
    BlockValidationException,
    DecompressBlockError,
    DecryptBlockError,
    DirectIOError,
    DownloadConnectionError,
    DownloadError,
    DownloadTimeout,
    NotFoundError,
)
from ..types import Chunk, Metadata, SignedURL
from .answers import Failure as _Failure
from .answers import Part, WrongSize, is_html, page_instead, read_part, unusable_coding
from .checksums import AZURE_PREFIX, Mismatch, azure_host, split_azure_prefix, verify
from .portal import RenewableBlockList
from .ranges import Piece

__all__ = ["Fetched", "Storage"]

_log = logging.getLogger(__name__)

_REFUSED = frozenset({400, 401, 403})
#: Listings that one block may cost in a row before its refusal is final.
_MAX_RENEWALS = 3
#: Seconds after which a file whose new URLs were refused as well is listed once more.
_RENEWAL_REST = 10.0
#: What a stored object may be longer than its plaintext: no compressor in use needs half of it.
_OBJECT_SLACK = 64 * 1024
#: Bytes that one stored byte can become: deflate's 258 bytes in two bits are the most of all formats.
_MAX_INFLATION = 1032


class Fetched(NamedTuple):
    """A piece's plaintext and its CRC32C, which is None where nobody asked for it."""

    data: Union[bytes, memoryview]
    crc32c: Optional[int]


class _Stored(NamedTuple):
    """A stored object as it came: its bytes, its Content-Encoding if that is more than "identity"."""

    body: Union[bytes, memoryview]
    coding: str
    removable: tuple[str, ...]
    html: bool


class Storage:
    """Fetches pieces of blocks. Thread-safe: each thread asks ``http`` for its own session."""

    def __init__(
        self,
        http: Callable[[], HTTP],
        renew: Callable[[RenewableBlockList, Metadata, CancelScope], bool],
        policy: RetryPolicy,
        checksums: frozenset[str],
        observer: Observer,
    ) -> None:
        self._http = http
        self._renew = renew
        self._policy = policy
        self._checksums = checksums
        self._observer = observer
        self.buffers = BufferPool()

    def fetch(
        self,
        listing: RenewableBlockList,
        piece: Piece,
        scope: CancelScope,
        buffer: Optional[PooledBuffer] = None,
    ) -> Fetched:
        """The piece's plaintext, verified; retried, and listed again, as the failure policy has it.

        With ``buffer``, as a download has it, the data may lie in its memory, valid as long as that is,
        and has a CRC32C; else it is new bytes, without.
        BlockError and its subclasses; DirectIOAPIError where the file had to be listed again and the
        portal refused; Cancelled once the scope is.
        """
        attempts = self._policy.start()
        renewals = 0
        refetched = False
        while True:
            metadata = listing.metadata
            try:
                fetched = self._attempt(metadata, listing, piece, scope, buffer)
            except _Failure as caught:
                failure = caught
            else:
                listing.unproven = 0
                return fetched
            if failure.cure == "verify":
                self._check_unchanged(listing, metadata, piece, scope)
                raise failure.error
            if failure.cure == "relist" and listing.changed:
                _changed(metadata, piece)
            if (
                failure.cure == "relist"
                and renewals < _MAX_RENEWALS
                and _may_renew(listing, metadata)
            ):
                renewals += 1
                self._tell_retry(metadata, piece, failure, 0.0)
                if not self._renew(listing, metadata, scope):
                    _changed(metadata, piece)
                continue
            if failure.cure == "refetch" and refetched:
                raise failure.error
            delay = attempts.next_delay(failure.retry_after) if failure.cure else None
            if delay is None or failure.cure == "relist":
                raise failure.error
            refetched = refetched or failure.cure == "refetch"
            self._tell_retry(metadata, piece, failure, delay)
            scope.wait(delay)

    def _check_unchanged(
        self, listing: RenewableBlockList, metadata: Metadata, piece: Piece, scope: CancelScope
    ) -> None:
        """Raise DownloadError (ESTALE) if an object is gone because the file changed.

        Raises:
            NotFoundError: The portal says that the file is gone.
        """
        if not listing.changed and _may_renew(listing, metadata):
            try:
                self._renew(listing, metadata, scope)
            except NotFoundError:
                raise
            except DirectIOError:
                pass  # The portal cannot tell, so the storage's own answer is the one to report.
        if listing.changed:
            _changed(metadata, piece)

    def _attempt(
        self,
        metadata: Metadata,
        listing: RenewableBlockList,
        piece: Piece,
        scope: CancelScope,
        buffer: Optional[PooledBuffer],
    ) -> Fetched:
        """One try: GET, verify what the storage declares, decode. _Failure where it fails."""
        file_id, chunk = metadata.file_id, metadata.chunks[piece.block]
        block = BlockInfo(file_id, chunk.number, chunk.offset, chunk.length)
        try:
            if not piece.whole and metadata.plaintext:
                return self._get_part(listing, chunk, piece, block, scope, buffer)
            with self.buffers.acquire() as memory:
                stored = self._get_object(metadata, chunk, block, scope, memory)
                if stored.coding:
                    return self._decode_labelled(metadata, piece, block, stored, buffer)
                return self._decode(metadata, piece, block, stored.body, stored.html, buffer)
        except TransportError as caught:
            failure = _from_fault(caught, chunk.url, block)
        except (MemoryError, OverflowError):
            text = (
                f"A block of {chunk.length} bytes does not fit into memory: stream() and iter_blocks() "
                "take large plaintext objects in parts"
            )
            failure = _Failure(DownloadError(text, block, errno=errno.ENOMEM))
        raise failure

    # --- the object, or a part of it -----------------------------------------------------------------

    def _get_object(
        self,
        metadata: Metadata,
        chunk: Chunk,
        block: BlockInfo,
        scope: CancelScope,
        memory: PooledBuffer,
    ) -> _Stored:
        """A whole stored object, without Azure's prefix unless it is labelled with a coding."""
        limit = _object_limit(metadata, chunk)
        started = time.perf_counter()
        with self._open(metadata.file_id, chunk, block, scope) as response:
            if response.status != 200:
                raise _from_status(response, block)
            headers = response.headers
            coding = described(headers) if "content-encoding" in headers else ""
            if coding:
                limit += limit // 64 + 1024  # What deflate may add, RFC 1951, section 3.2.4.
            body = response.read(limit, memory)
            html = is_html(response)
        if self._observer.active:
            self._observer.emit("received", metadata.file_id, chunk, len(body))
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "file %s block %d: %d bytes in %.3f s",
                metadata.file_id,
                chunk.number,
                len(body),
                time.perf_counter() - started,
            )
        names = self._verify(body, headers, block)
        if not coding:
            body, prefixed = _without_prefix(body, chunk)
            names += prefixed
        for name in names:
            self._observer.emit("verified", metadata.file_id, chunk, len(body), name)
        return _Stored(body, coding, removable_codings(headers) if coding else (), html)

    def _get_part(
        self,
        listing: RenewableBlockList,
        chunk: Chunk,
        piece: Piece,
        block: BlockInfo,
        scope: CancelScope,
        buffer: Optional[PooledBuffer],
    ) -> Fetched:
        """A byte range of a plaintext object (RFC 9110, section 14), all parts of one version of it."""
        file_id = listing.metadata.file_id
        shift = AZURE_PREFIX if piece.block in listing.prefixed else 0
        first, last = piece.start + shift, piece.stop - 1 + shift
        headers = {"Range": f"bytes={first}-{last}"}
        known = listing.etags.get(piece.block)
        if known is not None:
            headers["If-Match"] = known
        with self._open(file_id, chunk, block, scope, headers) as response:
            if response.status == 412:
                _changed(listing.metadata, piece)
            if response.status not in (200, 206):
                raise _from_status(response, block)
            self._check_version(listing, piece, response)
            part = Part(first, piece.length, chunk.length + shift)
            try:
                body = read_part(response, part, block, buffer)
            except WrongSize as caught:
                # The MD5 in front of an object shows in its size. To learn of it costs no attempt.
                if shift or caught.size != part.size + AZURE_PREFIX or not azure_host(chunk.url):
                    raise
                listing.prefixed.add(piece.block)
                body = None
            else:
                self._check_type(listing, piece, response, block)
        if body is None:
            return self._get_part(listing, chunk, piece, block, scope, buffer)
        if self._observer.active:
            self._observer.emit("received", file_id, chunk, len(body))
        return Fetched(body, None if buffer is None else codec.crc32c(body))

    def _open(
        self,
        file_id: int,
        chunk: Chunk,
        block: BlockInfo,
        scope: CancelScope,
        headers: Optional[Mapping[str, str]] = None,
    ) -> Response:
        """The response to a GET of the block's URL, redirects followed: no credentials are at stake."""
        http, url = self._http(), chunk.url
        for _ in range(MAX_REDIRECTS + 1):
            response = http.get(url, scope, headers)
            if response.status not in REDIRECTS:
                if self._observer.active:
                    self._observer.emit("first-byte", file_id, chunk, response.length or 0)
                return response
            with response:
                location = response.headers.get("location")
                url = SignedURL(redirect_target(url, response.status, location))
        raise _Failure(DownloadError("The storage redirects in a circle", block))

    def _check_version(self, listing: RenewableBlockList, piece: Piece, response: Response) -> None:
        """Hold all parts of an object to the first one's ETag; a weak one proves nothing."""
        etag = response.headers.get("etag", "")
        if (
            etag
            and not etag.startswith("W/")
            and listing.etags.setdefault(piece.block, etag) != etag
        ):
            _changed(listing.metadata, piece)

    def _check_type(
        self, listing: RenewableBlockList, piece: Piece, response: Response, block: BlockInfo
    ) -> None:
        """Raise _Failure for a web page of just the object's length, in place of what is not a page."""
        html = is_html(response)
        if listing.html.setdefault(piece.block, html) != html and response.status == 200 and html:
            raise _Failure(page_instead(block), "wait")

    def _verify(
        self, body: Union[bytes, memoryview], headers: Mapping[str, str], block: BlockInfo
    ) -> list[str]:
        try:
            return verify(body, headers, self._checksums)
        except Mismatch as caught:
            text = f"The object was damaged on its way: its {caught}"
        raise _Failure(DownloadError(text, block), "wait")

    # --- plaintext -----------------------------------------------------------------------------------

    def _decode(
        self,
        metadata: Metadata,
        piece: Piece,
        block: BlockInfo,
        stored: Union[bytes, memoryview],
        html: bool,
        buffer: Optional[PooledBuffer],
    ) -> Fetched:
        failure: BlockError
        length = piece.chunk.length
        data: Union[bytes, memoryview]
        crc32c: Optional[int]
        if length > _OBJECT_SLACK + _MAX_INFLATION * len(stored):
            # Said before memory is set aside for a length that the wire made up.
            text = f"The stored object of {len(stored)} bytes cannot hold a block of {length}"
            failure = BlockValidationException(text, block)
            raise _Failure(page_instead(block) if html else failure, "refetch")
        options = _codec_options(metadata, piece)
        # In borrowed memory the object is ours to decrypt in place.
        options["overwrite_input"] = isinstance(stored, memoryview)
        try:
            if buffer is None:
                data, crc32c = codec.decode_bytes(stored, length=length, **options), None
            else:
                data = buffer.view(length)
                crc32c = codec.decode_into(stored, data, **options)
        except (DecryptBlockError, DecompressBlockError, BlockValidationException) as error:
            failure = type(error)(str(error.strerror), block, errno=error.errno)
        else:
            if self._observer.active:
                self._observer.emit("decoded", metadata.file_id, piece.chunk, len(data))
            if piece.whole:
                return Fetched(data, crc32c)
            data = data[piece.start : piece.stop]
            return Fetched(data, None if buffer is None else codec.crc32c(data))
        if html:
            failure = page_instead(block)
        raise _Failure(failure, "refetch")

    def _decode_labelled(
        self,
        metadata: Metadata,
        piece: Piece,
        block: BlockInfo,
        stored: _Stored,
        buffer: Optional[PooledBuffer],
    ) -> Fetched:
        """The plaintext of an object that is labelled with a Content-Encoding.

        The label may be the object's metadata, or a coding of the answer. The reading that gives the
        listed block is the right one; where both give one, and not the same, neither is certain.
        """
        readings = [bytes(stored.body)]
        if stored.removable:
            with contextlib.suppress(TransportError):
                limit = _object_limit(metadata, piece.chunk)
                readings.append(take_off(readings[0], stored.removable, limit))
        found: set[bytes] = set()
        what = ""
        for reading in readings:
            body, _ = _without_prefix(reading, piece.chunk)
            try:
                options = _codec_options(metadata, piece)
                found.add(codec.decode_bytes(body, length=piece.chunk.length, **options))
            except (DecryptBlockError, DecompressBlockError, BlockValidationException) as error:
                what = what or str(error.strerror)
        if len(found) == 1:
            data = found.pop()[piece.start : piece.stop]
            if self._observer.active:
                self._observer.emit("decoded", metadata.file_id, piece.chunk, len(data))
            return Fetched(data, None if buffer is None else codec.crc32c(data))
        if stored.html:
            raise _Failure(page_instead(block), "refetch")
        what = "it decodes in two ways" if found else what
        raise _Failure(unusable_coding(stored.coding, block, what), "refetch")

    def _tell_retry(
        self, metadata: Metadata, piece: Piece, failure: _Failure, delay: float
    ) -> None:
        _log.warning(
            "file %s block %d: %s; trying again in %.2f s",
            metadata.file_id,
            piece.chunk.number,
            failure.error.strerror,
            delay,
        )
        self._observer.emit(
            "retried", metadata.file_id, piece.chunk, 0, type(failure.error).__name__
        )


# --- judging answers -----------------------------------------------------------------------------------


def _may_renew(listing: RenewableBlockList, refused: Metadata) -> bool:
    """Whether listing again may help: not for every block of a storage that refuses all of them."""
    if listing.metadata is not refused or listing.unproven < _MAX_RENEWALS:
        return True
    return time.monotonic() - listing.renewed > _RENEWAL_REST


def _from_status(response: Response, block: BlockInfo) -> _Failure:
    status = response.status
    if status in _REFUSED:
        text = (
            f"The storage refuses the block's URL, even newly listed (HTTP {status}): check the "
            "storage node's credentials and clock on the portal"
        )
        return _Failure(DownloadError(text, block, errno=errno.EACCES), "relist")
    if status in TRANSIENT_STATUSES or status >= 500:
        text = f"The storage is busy or failing (HTTP {status}): try again later"
        return _Failure(DownloadError(text, block), "wait", retry_after(response.headers))
    if status == 404:
        text = (
            "The storage has no such object (HTTP 404): the file may have been deleted or changed"
        )
        return _Failure(DownloadError(text, block, errno=errno.ENOENT), "verify")
    if status == 416:
        text = "The stored object is shorter than the portal lists it (HTTP 416)"
        return _Failure(DownloadError(text, block))
    return _Failure(DownloadError(f"The storage answered HTTP {status}, not the block", block))


def _from_fault(fault: TransportError, url: str, block: BlockInfo) -> _Failure:
    if fault.kind == "long":
        text = f"The stored object cannot be the block: {fault.reason}"
        return _Failure(BlockValidationException(text, block), "refetch")
    return _Failure(_no_answer(fault, url, block), "wait" if fault.transient else "")


def _no_answer(fault: TransportError, url: str, block: BlockInfo) -> BlockError:
    if fault.proxy:
        advice = proxy_advice(fault, "settings.storage.ssl")
        text = f"The storage at {origin_of(url)} was not reached: {fault.reason}{advice}"
        kind = DownloadTimeout if fault.kind == "timeout" else DownloadConnectionError
        return kind(text, block)
    if fault.kind == "timeout":
        text = f"The storage was silent ({fault.reason}): raise settings.storage.timeout"
        return DownloadTimeout(text, block)
    if fault.kind == "url":
        text = f"The block's URL cannot be fetched: {fault.reason}"
        return DownloadError(text, block, errno=errno.EINVAL)
    origin = origin_of(url)
    if fault.kind == "tls":
        text = (
            f"No secure connection to the storage at {origin}: {fault.reason}"
            f"{tls_advice(fault, 'settings.storage.ssl')}"
        )
        return DownloadConnectionError(text, block)
    if fault.kind == "connection":
        text = f"No answer from the storage at {origin}: {fault.reason}"
        return DownloadConnectionError(text, block)
    return DownloadError(
        f"The answer of the storage at {origin} is unusable: {fault.reason}", block
    )


def _object_limit(metadata: Metadata, chunk: Chunk) -> int:
    """Bytes that a stored object may have at most, by the length of its plaintext."""
    limit = chunk.length + AZURE_PREFIX
    return limit if metadata.plaintext else limit + chunk.length + _OBJECT_SLACK


def _codec_options(metadata: Metadata, piece: Piece) -> dict[str, Any]:
    return {
        "key": metadata.encryption_key,
        "cipher": metadata.cipher,
        "compression": metadata.compression,
        "number": piece.chunk.number,
    }


def _without_prefix(
    body: Union[bytes, memoryview], chunk: Chunk
) -> tuple[Union[bytes, memoryview], list[str]]:
    """An object without Azure's prefix, and the names of the digests that this verified."""
    host = azure_host(chunk.url)
    if host is None:
        return body, []
    body, prefixed = split_azure_prefix(body, host)
    return body, ["azure-md5"] if prefixed else []


def _changed(metadata: Metadata, piece: Piece) -> NoReturn:
    chunk = piece.chunk
    raise DownloadError(
        "The file changed on the portal while it was being read: start again from its beginning",
        BlockInfo(metadata.file_id, chunk.number, chunk.offset, chunk.length),
        errno=errno.ESTALE,
    )
