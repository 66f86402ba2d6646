"""Judge the answers of a storage: failures, and parts of objects before a byte of them is used.

A server may answer a range request by 206 with the part, or by 200 with the whole object (RFC 9110,
section 15.3.7). Both are judged by their range, type, coding and length. The length is declared, or the
body is counted to its end.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import NamedTuple

from .._base.buffers import PooledBuffer
from .._base.retry import FailedAttempt, Recovery, is_transient, retry_after
from .._net.content_coding import CodingError, Decoder, describe_codings, removable_codings
from .._net.errors import TransportError, proxy_advice, tls_advice
from .._net.session import Response
from .._net.urls import origin_of
from ..exceptions import (
    BlockError,
    BlockInfo,
    BlockValidationException,
    DownloadConnectionError,
    DownloadError,
    DownloadTimeout,
)

__all__ = [
    "Part",
    "WrongSize",
    "failure_of_status",
    "failure_of_transport",
    "is_html",
    "page_instead",
    "read_part",
    "unusable_coding",
]

MIB = 1024 * 1024

#: Statuses of a storage for a URL that has expired.
_REFUSED = frozenset({400, 401, 403})

#: If their length is not declared, or they are coded, objects up to this size are read to their end for
#: each part. Reading a larger one would take longer than any reader wants to wait.
_MAX_COUNTED_BYTES = 256 * MIB
_STEP_BYTES = MIB
_MAX_SHOWN = 60


class WrongSize(FailedAttempt):
    """The stored object does not have the listed size.

    Attributes:
        size: Its length in bytes.
    """

    def __init__(self, size: int, error: BlockError, recovery: Recovery) -> None:
        super().__init__(error, recovery)
        self.size = size


class Part(NamedTuple):
    """The bytes of a stored object that were asked for."""

    first: int
    """Offset of the first byte in the object."""
    length: int
    """Length in bytes."""
    size: int
    """Size of the whole object in bytes, as listed."""


def is_html(headers: Mapping[str, str]) -> bool:
    """Return whether an answer with these headers says that it is a web page."""
    return "html" in headers.get("content-type", "").lower()


def page_instead(block: BlockInfo) -> DownloadError:
    """Return the error for a web page instead of a block, from a captive portal or a proxy."""
    text = "The storage answered an HTML page instead of the block: does a proxy ask to sign in?"
    return DownloadError(text, block)


def unusable_coding(coding: str, block: BlockInfo, what: str = "") -> DownloadError:
    """Return the error for an answer that is not the object, neither with its coding nor without.

    Args:
        coding: The Content-Encoding.
        block: The block.
        what: More about it, if anything.
    """
    text = (
        f"The storage's answer under Content-Encoding {coding!r} is not the object as listed"
        f"{what and ': '}{what}"
    )
    return DownloadError(text, block)


# --- no object ---


def failure_of_status(response: Response, block: BlockInfo) -> FailedAttempt:
    """Return the failure for a status that does not come with the object."""
    status = response.status
    if status in _REFUSED:
        text = (
            f"The storage refuses the block's URL, even newly listed (HTTP {status}): check the "
            "storage node's credentials and clock on the portal"
        )
        return FailedAttempt(DownloadError(text, block, errno=errno.EACCES), Recovery.RELIST)
    if is_transient(status):
        text = f"The storage is busy or failing (HTTP {status}): try again later"
        return FailedAttempt(
            DownloadError(text, block), Recovery.RETRY, retry_after(response.headers)
        )
    if status == 404:
        text = (
            "The storage has no such object (HTTP 404): the file may have been deleted or changed"
        )
        return FailedAttempt(DownloadError(text, block, errno=errno.ENOENT))
    if status == 416:
        text = "The stored object is shorter than the portal lists it (HTTP 416)"
        return FailedAttempt(DownloadError(text, block))
    return FailedAttempt(DownloadError(f"The storage answered HTTP {status}, not the block", block))


def failure_of_transport(error: TransportError, url: str, block: BlockInfo) -> FailedAttempt:
    """Return the failure for a request that got no response, or no whole one."""
    if error.kind == "long":
        text = f"The stored object cannot be the block: {error.reason}"
        return FailedAttempt(BlockValidationException(text, block), Recovery.REFETCH)
    return FailedAttempt(
        _no_answer(error, url, block), Recovery.RETRY if error.transient else Recovery.NONE
    )


def _no_answer(error: TransportError, url: str, block: BlockInfo) -> BlockError:
    if error.proxy:
        advice = proxy_advice(error, "settings.storage.ssl")
        text = f"The storage at {origin_of(url)} was not reached: {error.reason}{advice}"
        kind = DownloadTimeout if error.kind == "timeout" else DownloadConnectionError
        return kind(text, block)
    if error.kind == "timeout":
        text = f"The storage was silent ({error.reason}): raise settings.storage.timeout"
        return DownloadTimeout(text, block)
    if error.kind == "slow":
        text = (
            f"The storage was slower than settings.storage.min_speed ({error.reason}): lower it, or "
            "check the network"
        )
        return DownloadTimeout(text, block)
    if error.kind == "url":
        text = f"The block's URL cannot be fetched: {error.reason}"
        return DownloadError(text, block, errno=errno.EINVAL)
    origin = origin_of(url)
    if error.kind == "tls":
        text = (
            f"No secure connection to the storage at {origin}: {error.reason}"
            f"{tls_advice(error, 'settings.storage.ssl')}"
        )
        return DownloadConnectionError(text, block)
    if error.kind == "connection":
        text = f"No answer from the storage at {origin}: {error.reason}"
        return DownloadConnectionError(text, block)
    return DownloadError(
        f"The answer of the storage at {origin} is unusable: {error.reason}", block
    )


# --- a part of an object ---


def read_part(
    response: Response, part: Part, block: BlockInfo, buffer: PooledBuffer | None = None
) -> bytes | memoryview:
    """Return the bytes of a part. The body is read no further than necessary.

    Args:
        response: The answer, of status 200 or 206.
        part: What was asked for.
        block: The block, for errors.
        buffer: Memory for the result.

    Raises:
        WrongSize: The object has another size than `part` says.
        FailedAttempt: The answer is not the part.
        TransportError: The body is cut short.
    """
    if response.status == 206:
        return _read_partial(response, part, block, buffer)
    return _read_whole(response, part, block)


# --- 206: the part ---------------------------------------------------------------------------------------


def _read_partial(
    response: Response, part: Part, block: BlockInfo, buffer: PooledBuffer | None
) -> bytes | memoryview:
    total = _content_range(response, part, block)
    if total is not None and total != part.size:
        raise _not_as_listed(response, total, part, block)
    codings = removable_codings(response.headers)
    if codings and total is None:
        # Without the size nothing tells the object's metadata from a coding.
        raise FailedAttempt(
            unusable_coding(describe_codings(response.headers), block), Recovery.RETRY
        )
    declared = response.length
    if declared is not None and declared != part.length:
        raise _other_length(response, str(declared), part, block)
    body: bytes | memoryview
    if declared is not None:
        body = response.read(part.length, buffer)
    else:
        body = response.read_window(0, part.length + 1)
        if len(body) > part.length:
            raise _other_length(response, f"over {part.length}", part, block)
        if len(body) < part.length:
            raise _ended_early(len(body), part)
    # RFC 9110, section 14.2: a range is one of the coded bytes, so these are the object's own. But some
    # proxies code the part itself. Where both readings fit, neither is certain.
    if codings and _inflated_size(body, codings, part.length) == part.length:
        raise FailedAttempt(_ambiguous(response, block), Recovery.RETRY)
    return body


def _content_range(response: Response, part: Part, block: BlockInfo) -> int | None:
    """Return the object's size if a 206 tells it, after checking that its range was asked for."""
    if response.headers.get("content-type", "").lower().lstrip().startswith("multipart/"):
        text = "The storage answered several ranges (multipart/byteranges), where one was asked for"
        raise FailedAttempt(DownloadError(text, block), Recovery.RETRY)
    value = response.headers.get("content-range", "")
    unit, _, rest = value.partition(" ")
    span, _, total = rest.strip().partition("/")
    asked = f"{part.first}-{part.first + part.length - 1}"
    known = total.isascii() and total.isdigit() and len(total) < 20
    if unit.lower() != "bytes" or span != asked or not (known or total == "*"):
        text = (
            f"The storage answered another range than asked for: bytes {asked} were wanted, and "
            f"Content-Range is {value[:_MAX_SHOWN]!r}"
        )
        raise FailedAttempt(DownloadError(text, block), Recovery.RETRY)
    return int(total) if known else None


def _other_length(response: Response, came: str, part: Part, block: BlockInfo) -> FailedAttempt:
    what = f"{came} bytes came, where {part.length} were asked for"
    coding = describe_codings(response.headers)
    if coding:
        return FailedAttempt(unusable_coding(coding, block, what), Recovery.RETRY)
    return FailedAttempt(
        DownloadError(f"The storage answered a part of another length: {what}", block),
        Recovery.RETRY,
    )


def _ended_early(count: int, part: Part) -> TransportError:
    return TransportError("short", f"the part ended after {count} of {part.length} bytes")


# --- 200: the whole object -------------------------------------------------------------------------------


def _read_whole(response: Response, part: Part, block: BlockInfo) -> bytes | memoryview:
    codings = removable_codings(response.headers)
    declared = response.length
    if declared is None or codings:
        if part.size > _MAX_COUNTED_BYTES:
            page = is_html(response.headers)
            error = page_instead(block) if page else _too_large_to_count(response, part, block)
            raise FailedAttempt(error, Recovery.RETRY)
        return _read_counted(response, part, block, codings)
    if declared != part.size:
        raise _not_as_listed(response, declared, part, block)
    data = response.read_window(part.first, part.length)
    if len(data) != part.length:
        raise _ended_early(len(data), part)
    return data


class _Window:
    """Counts a body that comes in pieces, and keeps the bytes of one part."""

    def __init__(self, part: Part) -> None:
        self._start, self._stop = part.first, part.first + part.length
        self._kept: list[bytes] = []
        self.count = 0

    def feed(self, data: bytes | memoryview) -> None:
        low, high = max(0, self._start - self.count), min(len(data), self._stop - self.count)
        if low < high:
            self._kept.append(bytes(data[low:high]))
        self.count += len(data)

    def data(self) -> bytes:
        return b"".join(self._kept)


def _read_counted(
    response: Response, part: Part, block: BlockInfo, codings: tuple[str, ...]
) -> bytes:
    """Return the part out of a whole object. It is read to its end: only that tells its length.

    A label such as gzip may be metadata of the object or a coding of the answer. Both are tried, and
    the one that gives the listed size is right.
    """
    raw, plain = _Window(part), _Window(part) if codings else None
    decoder = Decoder(codings)
    # What deflate adds to bytes that it cannot compress (RFC 1951, section 3.2.4), generously.
    limit = part.size + (part.size // 64 + 1024 if codings else 0)
    complete = False
    while not complete:
        data = response.read_window(0, _STEP_BYTES)
        complete = not data
        raw.feed(data)
        if plain is not None and not _fed(plain, decoder, data, part.size):
            plain = None
        if raw.count > (part.size if plain is None else limit):
            break
    declared = response.length
    if complete and declared is not None and raw.count != declared:
        raise TransportError("short", f"the body ended after {raw.count} of {declared} bytes")
    found = [raw.data()] if raw.count == part.size else []
    if plain is not None and plain.count == part.size and decoder.complete:
        found.append(plain.data())
    if len(found) == 1:
        return found[0]
    if found:
        raise FailedAttempt(_ambiguous(response, block), Recovery.RETRY)
    raise _not_as_listed(response, raw.count, part, block)


def _fed(window: _Window, decoder: Decoder, data: bytes | memoryview, size: int) -> bool:
    """Remove the codings from `data`. Return False once the result exceeds `size`, or is damaged."""
    try:
        for piece in decoder.feed(data):
            window.feed(piece)
            if window.count > size:
                return False
    except CodingError:
        return False
    return True


def _inflated_size(body: bytes | memoryview, codings: tuple[str, ...], limit: int) -> int:
    """Return the size of `body` without its codings, or -1 if that cannot be `limit` bytes."""
    window, decoder = _Window(Part(0, 0, limit)), Decoder(codings)
    if not _fed(window, decoder, body, limit) or not decoder.complete:
        return -1
    return window.count


def _not_as_listed(response: Response, size: int, part: Part, block: BlockInfo) -> WrongSize:
    """Return the failure for an object of `size` bytes, or of more if its end was not reached."""
    coding = describe_codings(response.headers)
    if is_html(response.headers):
        return WrongSize(size, page_instead(block), Recovery.RETRY)
    if coding:
        what = f"{size} bytes came, but the portal lists {part.size}"
        return WrongSize(size, unusable_coding(coding, block, what), Recovery.RETRY)
    if size < part.size and response.length is None:
        text = f"The storage's answer ended after {size} of the object's {part.size} bytes"
        return WrongSize(size, DownloadError(text, block), Recovery.RETRY)
    text = f"The stored object is {size} bytes, but the portal lists {part.size}"
    return WrongSize(size, BlockValidationException(text, block), Recovery.REFETCH)


def _ambiguous(response: Response, block: BlockInfo) -> DownloadError:
    what = "the bytes fit its length both as they came and with the coding taken off"
    return unusable_coding(describe_codings(response.headers), block, what)


def _too_large_to_count(response: Response, part: Part, block: BlockInfo) -> DownloadError:
    coding = describe_codings(response.headers)
    how = f"under Content-Encoding {coding!r}" if coding else "without a length"
    text = (
        f"The storage answers a range with the whole object of {part.size} bytes, {how}: over "
        f"{_MAX_COUNTED_BYTES // MIB} MiB this needs a storage, or a proxy, that serves ranges"
    )
    return DownloadError(text, block)
