"""The storage: one piece of a block, from its pre-signed URL to verified plaintext.

Read `Storage.fetch` first. It is a block's whole way through this package: `_Fetch.attempt` fetches,
verifies and decodes, and `retry_call` retries.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, NoReturn, TypeVar, Union

from .. import codec
from .._base.bandwidth import Bandwidth, Share
from .._base.buffers import BufferPool, PooledBuffer
from .._base.cancellation import CancelScope, Race, RaceTrack, Twin
from .._base.observer import Observer
from .._base.retry import FailedAttempt, Recovery, RetryPolicy, retry_call
from .._base.round_trips import RoundTrips
from .._net.content_coding import describe_codings, removable_codings, remove_codings
from .._net.errors import TransportError
from .._net.session import MAX_REDIRECTS, REDIRECTS, Response, SessionPool
from .._net.urls import redirect_target
from ..exceptions import (
    BlockError,
    BlockInfo,
    BlockValidationException,
    DecompressBlockError,
    DecryptBlockError,
    DownloadError,
)
from ..types import Block, Chunk, SignedURL
from .answers import (
    Part,
    WrongSize,
    failure_of_status,
    failure_of_transport,
    is_html,
    page_instead,
    read_part,
    unusable_coding,
)
from .block_list import RenewableBlockList
from .checksums import (
    AZURE_DOMAIN,
    AZURE_PREFIX,
    DIGEST_HEADERS,
    Mismatch,
    azure_host,
    split_azure_prefix,
    verify,
)
from .ranges import Piece

__all__ = ["Fetched", "Storage"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

#: How much longer than its plaintext a stored object may be: no compressor in use needs half of it.
_OBJECT_SLACK_BYTES = 64 * 1024
#: Bytes that one stored byte can become: deflate's 258 bytes in two bits are the most of all formats.
_MAX_INFLATION = 1032
#: What a second request for the same tells its events to.
_SILENT = Observer()
#: Block numbers are below this: AES-GCM authenticates them as 64 bits.
_NUMBERS = 1 << 64


class Fetched(NamedTuple):
    """The plaintext of a piece."""

    data: bytes | memoryview
    """The bytes."""
    crc32c: int | None
    """Their CRC32C, or None if the caller gave no buffer."""


#: A stored object as it came, the headers of the answer, and its Content-Encoding, or "" if that is missing
#: or "identity". A plain tuple: each block makes one.
_Stored = tuple[Union[bytes, memoryview], Mapping[str, str], str]


class Storage:
    """Fetches pieces of blocks. Thread-safe: `sessions` has one for each thread.

    An open file keeps its storage, also in a forked child. Therefore the child gives the same storage
    new sessions, and does not make another one: closing the client closes the sessions that are used.

    Attributes:
        bandwidth: What all block reads of the client share.
        hedging: Asks for what comes late a second time.
        round_trips: Where each response is noted.
        buffers: Memory for stored objects, and for callers that pass a buffer to `fetch`.
        owner: An object that lives as long as the storage: the client, whose end would end the work.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        checksums: frozenset[str],
        observer: Observer,
        *,
        bandwidth: Bandwidth | None = None,
        hedging: RaceTrack | None = None,
        round_trips: RoundTrips | None = None,
        owner: object = None,
    ) -> None:
        self.sessions: SessionPool
        self.bandwidth = bandwidth or Bandwidth()
        self.hedging = hedging or RaceTrack()
        self.round_trips = round_trips or RoundTrips()
        self.policy = policy
        self.checksums = checksums
        self.observer = observer
        self.owner = owner
        self.buffers = BufferPool()

    def connect(self, sessions: SessionPool) -> None:
        """Use `sessions` from now on: before the first call, and in a forked child."""
        self.sessions = sessions

    def fetch(
        self,
        block_list: RenewableBlockList,
        piece: Piece,
        scope: CancelScope,
        buffer: PooledBuffer | None = None,
    ) -> Fetched:
        """Return the verified plaintext of a piece.

        The request is retried by the policy. Expired URLs are renewed.

        Args:
            block_list: The file.
            piece: The bytes to fetch.
            scope: The cancel scope of the caller.
            buffer: Memory for the plaintext. The result may lie in it, and is valid as long as it is.
                Without it the result is new bytes.

        Raises:
            BlockError: The piece could not be fetched or decoded. Subclasses say why.
            DirectIOAPIError: The URLs had to be renewed, and the portal refused.
            Cancelled: The scope was cancelled.
        """
        fetch = _Fetch(self, block_list, piece, scope, buffer)
        if self.bandwidth.timetable is not None:
            fetch.share = self.bandwidth.open_share(scope.priority)
        fetched = retry_call(
            self.policy, fetch.attempt, scope=scope, on_retry=fetch.tell_retry, renew=fetch.renew
        )
        self.sessions.count_delivered(len(fetched.data))
        return fetched

    def fetch_block(
        self, block_list: RenewableBlockList, file_id: int, piece: Piece, scope: CancelScope
    ) -> Block:
        """Return a piece as a block for the user.

        Args:
            block_list: The file.
            file_id: The ID to show in the block.
            piece: The bytes to fetch.
            scope: The cancel scope of the caller.

        Raises:
            Exception: What `fetch` raises.
        """
        data = bytes(self.fetch(block_list, piece, scope).data)
        chunk = piece.chunk
        return Block(file_id, chunk.number, chunk.offset + piece.start, len(data), data)


class _Fetch:
    """The fetching of one piece, with all its attempts. It belongs to one thread."""

    __slots__ = (
        "_block_list",
        "_buffer",
        "_chunk",
        "_metadata",
        "_observer",
        "_piece",
        "_scope",
        "_storage",
        "share",
    )

    def __init__(
        self,
        storage: Storage,
        block_list: RenewableBlockList,
        piece: Piece,
        scope: CancelScope,
        buffer: PooledBuffer | None,
    ) -> None:
        self._storage = storage
        self._observer = storage.observer
        self._block_list = block_list
        self._piece = piece
        self._scope = scope
        self._buffer = buffer
        #: What the piece may use of the bandwidth. None: it is not limited.
        self.share: Share | None = None
        self._use_newest_list()

    def _use_newest_list(self) -> None:
        self._metadata = metadata = self._block_list.metadata
        self._chunk = metadata.chunks[self._piece.block]

    @property
    def _block(self) -> BlockInfo:
        """The block, for errors. Few blocks need it, so it is made at each use."""
        chunk = self._chunk
        return BlockInfo(self._metadata.file_id, chunk.number, chunk.offset, chunk.length)

    # --- attempts ------------------------------------------------------------------------------------

    def attempt(self, number: int) -> Fetched:
        """Fetch, verify and decode once. Raise `FailedAttempt` if that fails."""
        if self._metadata is not self._block_list.metadata:
            self._use_newest_list()
        piece, chunk = self._piece, self._chunk
        try:
            if self._block_list.plaintext and piece.stop - piece.start != chunk.length:
                fetched = self._hedge(self._fetch_part_again, piece.length, self._fetch_part)
            else:
                with self._storage.buffers.acquire() as memory:
                    body, headers, coding = self._hedge(
                        self._fetch_object_again, chunk.length, self._fetch_object, memory
                    )
                    if coding:
                        fetched = self._decode_labelled(body, headers, coding)
                    else:
                        fetched = self._decode(body, headers)
            self._block_list.unproven = 0
            return fetched
        except FailedAttempt as caught:
            failure = caught
        except TransportError as caught:
            failure = failure_of_transport(caught, chunk.url, self._block)
        except (MemoryError, OverflowError):
            failure = FailedAttempt(_too_large(self._block, chunk))
        try:
            # An object may be gone because the file changed: the portal knows.
            if failure.error.errno == errno.ENOENT and not self._block_list.check_unchanged(
                self._metadata, self._scope
            ):
                self._raise_changed()
            if self.share is not None:
                failure.waited_s = self.share.waited_s
            raise failure
        finally:
            del failure  # Its traceback leads to this frame.

    def renew(self, failure: FailedAttempt) -> bool:
        """Renew the block list after the storage refused a URL. Return False if that would not help."""
        if self._block_list.changed:
            self._raise_changed()
        if not self._block_list.can_renew(self._metadata):
            return False
        self.tell_retry(failure, 0, 0.0)
        if not self._block_list.renew(self._metadata, self._scope):
            self._raise_changed()
        return True

    def tell_retry(self, failure: FailedAttempt, number: int, delay: float) -> None:
        """Log that another attempt follows after `delay` seconds, and tell the observer."""
        _log.warning(
            "file %s block %d: %s; trying again in %.2f s",
            self._metadata.file_id,
            self._chunk.number,
            failure.error.strerror,
            delay,
        )
        self._emit("retried", 0, type(failure.error).__name__)

    def _emit(self, name: str, nbytes: int, detail: str = "") -> None:
        self._observer.emit(name, self._metadata.file_id, self._chunk, nbytes, detail)

    def _raise_changed(self) -> NoReturn:
        raise DownloadError(
            "The file changed on the portal while it was being read: start again from its beginning",
            self._block,
            errno=errno.ESTALE,
        )

    # --- the object, or a part of it -----------------------------------------------------------------

    def _fetch_object(self, memory: PooledBuffer, scope: CancelScope) -> _Stored:
        """Fetch a whole stored object.

        The object comes without Azure's prefix unless it is labelled with a coding.
        """
        chunk = self._chunk
        limit = self._object_limit()
        with self._open(scope) as response:
            if response.status != 200:
                raise failure_of_status(response, self._block)
            headers = response.headers
            coding = describe_codings(headers) if "content-encoding" in headers else ""
            if coding:
                limit += limit // 64 + 1024  # What deflate may add, RFC 1951, section 3.2.4.
            body = response.read(limit, memory)
        self._storage.round_trips.append(response.times)
        if self._observer.active:
            self._emit("received", len(body))
        if _log.isEnabledFor(logging.DEBUG):
            began, _, ended = response.times
            _log.debug(
                "file %s block %d: %d bytes in %.3f s",
                self._metadata.file_id,
                chunk.number,
                len(body),
                ended - began,
            )
        names = self._verify(body, headers)
        # Most storages declare nothing and are not Azure: this spares each block a few calls.
        if not coding and AZURE_DOMAIN in str.lower(chunk.url):
            body, prefixed = _without_prefix(body, chunk)
            names += prefixed
        for name in names:
            self._emit("verified", len(body), name)
        return body, headers, coding

    def _object_limit(self) -> int:
        """Return how many bytes a stored object may have, by the length of its plaintext."""
        length = self._chunk.length
        if self._block_list.plaintext:
            return length + AZURE_PREFIX
        return 2 * length + AZURE_PREFIX + _OBJECT_SLACK_BYTES

    def _fetch_part(self, scope: CancelScope) -> Fetched:
        """Fetch a byte range of a plaintext object (RFC 9110, section 14).

        All parts of an object come from one version of it.
        """
        block_list, piece, chunk = self._block_list, self._piece, self._chunk
        shift = AZURE_PREFIX if piece.block in block_list.prefixed else 0
        first, last = piece.start + shift, piece.stop - 1 + shift
        headers = {"Range": f"bytes={first}-{last}"}
        known = block_list.etags.get(piece.block)
        if known is not None:
            headers["If-Match"] = known
        with self._open(scope, headers) as response:
            if response.status == 412:
                self._raise_changed()
            if response.status not in (200, 206):
                raise failure_of_status(response, self._block)
            self._check_version(response)
            part = Part(first, piece.length, chunk.length + shift)
            try:
                body = read_part(response, part, self._block, self._buffer)
            except WrongSize as caught:
                # The MD5 in front of an object shows in its size. To learn of it costs no attempt.
                if shift or caught.size != part.size + AZURE_PREFIX or not azure_host(chunk.url):
                    raise
                block_list.prefixed.add(piece.block)
                body = None
            else:
                self._check_type(response)
        if body is None:
            return self._fetch_part(scope)
        self._storage.round_trips.append(response.times)
        if self._observer.active:
            self._emit("received", len(body))
        return Fetched(body, None if self._buffer is None else codec.crc32c(body))

    def _open(self, scope: CancelScope, headers: Mapping[str, str] | None = None) -> Response:
        """Return the response to a GET of the block's URL.

        Redirects are followed: the request carries no credentials.
        """
        sessions, url = self._storage.sessions, self._chunk.url
        for _ in range(MAX_REDIRECTS + 1):
            response = sessions.get(url, scope, headers, self.share)
            if response.status not in REDIRECTS:
                if self._observer.active:
                    self._emit("first-byte", response.length or 0)
                return response
            with response:
                location = response.headers.get("location")
                url = SignedURL(redirect_target(url, response.status, location))
        raise FailedAttempt(DownloadError("The storage redirects in a circle", self._block))

    def _check_version(self, response: Response) -> None:
        """Hold all parts of an object to the first one's ETag. A weak ETag proves nothing."""
        etag = response.headers.get("etag", "")
        if not etag or etag.startswith("W/"):
            return
        if self._block_list.etags.setdefault(self._piece.block, etag) != etag:
            self._raise_changed()

    def _check_type(self, response: Response) -> None:
        """Refuse a web page of just the object's length, if earlier parts were not from a page."""
        html = is_html(response.headers)
        known = self._block_list.html.setdefault(self._piece.block, html)
        if known != html and response.status == 200 and html:
            raise FailedAttempt(page_instead(self._block), Recovery.RETRY)

    def _verify(self, body: bytes | memoryview, headers: Mapping[str, str]) -> list[str]:
        """Return the names of the digests that the storage declares, after verifying them."""
        checksums = self._storage.checksums
        if DIGEST_HEADERS.isdisjoint(headers) and "etag" not in checksums:
            return []
        try:
            return verify(body, headers, checksums)
        except Mismatch as caught:
            text = f"The object was damaged on its way: its {caught}"
        raise FailedAttempt(DownloadError(text, self._block), Recovery.RETRY)

    # --- a second request ----------------------------------------------------------------------------

    def _hedge(
        self, ask_again: Callable[[Twin, str], T], cost: int, ask: Callable[..., T], *arguments: Any
    ) -> T:
        """Return what `ask` returns, or `ask_again` if that is sooner.

        Args:
            ask_again: Asks for the same in memory of its own.
            cost: The bytes of that memory.
            ask: Asks. Its last argument is the scope of the request.
            *arguments: Its other arguments.
        """
        hedging = self._storage.hedging
        if not hedging.enabled:
            return ask(*arguments, self._scope)
        race = Race(self._scope, hedging, ask_again, cost)
        try:
            result = race.run(ask, *arguments)
        finally:
            # They were sent again, whatever came of it.
            for _ in range(race.moves):
                self._emit("hedged", 0, "a slow connection")
        if self._observer.active and race.is_lost:
            self._emit("received", self._piece.length, "by a second request")
        return result

    def _fetch_object_again(self, twin: Twin, reason: str) -> _Stored:
        """Fetch the stored object on a thread of the hedging. No other memory is used."""
        return self._make_twin(twin, reason)._fetch_object(PooledBuffer(bytearray()), twin)

    def _fetch_part_again(self, twin: Twin, reason: str) -> Fetched:
        """Fetch the part on a thread of the hedging."""
        made = self._make_twin(twin, reason)
        made._buffer = None if self._buffer is None else PooledBuffer(bytearray())
        return made._fetch_part(twin)

    def _make_twin(self, twin: Twin, reason: str) -> _Fetch:
        """Return the same fetching for another thread, which tells of nothing but its begin."""
        self._emit("hedged", 0, reason)
        made = _Fetch(self._storage, self._block_list, self._piece, twin, None)
        made._metadata, made._chunk = self._metadata, self._chunk
        made._observer = _SILENT
        if self.share is not None:
            made.share = self._storage.bandwidth.open_share(twin.priority)
        return made

    # --- plaintext -----------------------------------------------------------------------------------

    def _decode(self, body: bytes | memoryview, headers: Mapping[str, str]) -> Fetched:
        """Return the plaintext of an object."""
        buffer, piece = self._buffer, self._piece
        length = self._chunk.length
        if length > _OBJECT_SLACK_BYTES + _MAX_INFLATION * len(body):
            # Said before memory is set aside for a length that the wire made up.
            text = f"The stored object of {len(body)} bytes cannot hold a block of {length}"
            raise self._undecodable(headers, BlockValidationException(text, self._block))
        # In borrowed memory the object may be decrypted in place.
        overwrite = isinstance(body, memoryview) and not body.readonly
        data: bytes | memoryview
        crc32c: int | None = None
        try:
            if buffer is None:
                data, _ = codec.decode_stored(
                    body,
                    self._block_list.options,
                    length=length,
                    number=self._chunk.number,
                    overwrite_input=overwrite,
                    checksum=False,
                )
            else:
                data = buffer.view(length)
                crc32c = codec.decode_stored_into(
                    body,
                    data,
                    self._block_list.options,
                    number=self._chunk.number,
                    overwrite_input=overwrite,
                )
        except (DecryptBlockError, DecompressBlockError, BlockValidationException) as caught:
            error = type(caught)(str(caught.strerror), self._block, errno=caught.errno)
        else:
            if self._observer.active:
                self._emit("decoded", len(data))
            if piece.stop - piece.start != length:
                data = data[piece.start : piece.stop]
                crc32c = None if buffer is None else codec.crc32c(data)
            return Fetched(data, crc32c)
        raise self._undecodable(headers, error)

    def _undecodable(self, headers: Mapping[str, str], error: BlockError) -> FailedAttempt:
        """Return the failure for an object that is not the block."""
        if is_html(headers):
            error = page_instead(self._block)
        return FailedAttempt(error, Recovery.REFETCH)

    def _decode_labelled(
        self, stored: bytes | memoryview, headers: Mapping[str, str], coding: str
    ) -> Fetched:
        """Return the plaintext of an object that is labelled with a Content-Encoding.

        The label may be the object's metadata, or a coding of the answer. The reading that gives the
        listed block is the right one. If both do, and the blocks differ, neither is certain.
        """
        piece, chunk = self._piece, self._chunk
        readings = [bytes(stored)]
        removable = removable_codings(headers)
        if removable:
            with contextlib.suppress(TransportError):
                readings.append(remove_codings(readings[0], removable, self._object_limit()))
        found: set[bytes] = set()
        what = ""
        for reading in readings:
            body, _ = _without_prefix(reading, chunk)
            try:
                data, _ = codec.decode_stored(
                    body,
                    self._block_list.options,
                    length=chunk.length,
                    number=chunk.number,
                    checksum=False,
                )
                found.add(data)
            except (DecryptBlockError, DecompressBlockError, BlockValidationException) as error:
                what = what or str(error.strerror)
        if len(found) == 1:
            data = found.pop()[piece.start : piece.stop]
            if self._observer.active:
                self._emit("decoded", len(data))
            return Fetched(data, None if self._buffer is None else codec.crc32c(data))
        what = "it decodes in two ways" if found else what
        raise self._undecodable(headers, unusable_coding(coding, self._block, what))


def _too_large(block: BlockInfo, chunk: Chunk) -> DownloadError:
    """Return the error for a number of a block that fits nowhere: its length or its position."""
    if not 0 <= chunk.number < _NUMBERS:
        # Only a program that makes its own Metadata can come to this.
        text = f"{chunk.number} is not a block number: take the block list from DirectIO.metadata()"
        return DownloadError(text, block, errno=errno.EINVAL)
    text = (
        f"A block of {chunk.length} bytes does not fit into memory: stream() and iter_blocks() take "
        "large plaintext objects in parts"
    )
    return DownloadError(text, block, errno=errno.ENOMEM)


def _without_prefix(body: bytes | memoryview, chunk: Chunk) -> tuple[bytes | memoryview, list[str]]:
    """Return an object without Azure's prefix, and the names of the digests that this verified."""
    host = azure_host(chunk.url)
    if host is None:
        return body, []
    body, prefixed = split_azure_prefix(body, host)
    return body, ["azure-md5"] if prefixed else []
