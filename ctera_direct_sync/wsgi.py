"""A file as an HTTP response, for web applications: Range, conditions, errors, disconnects.

:func:`file_response` speaks WSGI (PEP 3333). :func:`flask_response` and :func:`django_response` put
what it returns into their frameworks' own responses. werkzeug parses the request's headers (install
the extra ``web``).
"""

from __future__ import annotations

import errno
import logging
import math
import mimetypes
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Optional
from urllib.parse import quote

try:
    from werkzeug.http import parse_etags, parse_if_range_header, parse_range_header, unquote_etag
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "werkzeug reads the requests' headers here: pip install 'ctera-direct-sync[web]'",
        name=_missing.name,
    ) from None

from ._base.cancellation import Cancelled
from ._core import core_of
from ._readers.stream import Streamer
from .client import DirectIO
from .exceptions import (
    BlockListTimeout,
    BlocksNotFoundError,
    DirectIOAPIError,
    DirectIOError,
    DownloadTimeout,
    NotFoundError,
    StreamError,
    UnAuthorized,
)
from .types import Block, ByteRange, Metadata

if TYPE_CHECKING:
    import flask
    from django.http import HttpRequest, StreamingHttpResponse

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "FileResponse",
    "Response",
    "django_response",
    "file_response",
    "flask_response",
]

_log = logging.getLogger(__name__)

#: Seconds until the first byte, unless ``timeout=`` says otherwise. gunicorn kills a worker that has
#: been silent for 30 seconds, and other servers and proxies wait for 60: an answer comes before either.
DEFAULT_TIMEOUT_S = 25.0

_PHRASES = {
    200: "OK",
    206: "Partial Content",
    304: "Not Modified",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    412: "Precondition Failed",
    416: "Range Not Satisfiable",
    502: "Bad Gateway",
    504: "Gateway Timeout",
}

#: What a visitor is told; the whole error goes to the log of the application.
_APOLOGIES = {
    403: "The file may not be read.",
    404: "There is no such file.",
    502: "The file's storage cannot deliver it.",
    504: "The file's storage did not answer in time.",
}


class Response(NamedTuple):
    """A WSGI response: what ``start_response`` takes, and what the application returns."""

    status: str
    """The status line without the protocol, such as ``206 Partial Content``."""
    headers: list[tuple[str, str]]
    """The names and values of the headers."""
    body: Iterable[bytes]
    """The body's pieces. The server must call its ``close()``, where it has one."""

    @property
    def code(self) -> int:
        """Return the status as a number."""
        return int(self.status[:3])


#: The former name of :class:`Response`.
FileResponse = Response


def file_response(
    client: DirectIO,
    file_id: int,
    environ: Mapping[str, Any],
    *,
    filename: Optional[str] = None,
    content_type: Optional[str] = None,
    timeout: Optional[float] = None,
) -> Response:
    """Return the answer to the request ``environ`` for a file (RFC 9110: GET, HEAD, Range, conditions).

    The first block is fetched before this returns. An error up to there becomes a status: 404, 403,
    504 or 502, and its reason is logged. After that, an error or an end that comes too early raises
    from the body's iterator. The server then closes the connection, so the visitor notices.

    Args:
        client: The client to download with.
        file_id: The file's ID.
        environ: The request, as WSGI describes it.
        filename: The name that a browser saves the file under (Content-Disposition, RFC 6266).
        content_type: The Content-Type. By default it is chosen by the filename's extension alone.
        timeout: Seconds until the first byte of the file; then the answer is 504. By default
            :data:`DEFAULT_TIMEOUT_S`; ``math.inf`` leaves it to the client's settings. Later
            silence is up to the client's settings in any case.

    Returns:
        The response. The ``close()`` of its body, which WSGI servers call, stops the downloads.

    Raises:
        ValueError: ``content_type`` cannot be a header, ``timeout`` is not a positive number, or the
            client is closed.
    """
    seconds = _check_timeout(timeout)
    if content_type is not None:
        _check_value("content_type", content_type)
    method = environ.get("REQUEST_METHOD", "GET")
    if method not in ("GET", "HEAD"):
        return _plain(405, "Only GET and HEAD are possible.", [("Allow", "GET, HEAD")])
    deadline = _Deadline(seconds)
    try:
        metadata = _list(client, file_id, deadline)
        return _respond(client, metadata, environ, method, filename, content_type, deadline)
    except DirectIOError as error:
        # As text: a handler that keeps the record must not keep what the traceback holds.
        status, reason = _status_of(error), str(error)
    finally:
        deadline.end()
    if deadline.passed:
        status, reason = 504, f"no byte came within {seconds:g} seconds (timeout=): {reason}"
    _log.warning("file %s: answered %d: %s", file_id, status, reason)
    return _plain(status, _APOLOGIES[status], [], method == "HEAD")


def _check_timeout(timeout: Optional[float]) -> float:
    seconds = DEFAULT_TIMEOUT_S if timeout is None else float(timeout)
    if not seconds > 0:
        raise ValueError(f"timeout={timeout!r}: not a positive number of seconds")
    return seconds


def _list(client: DirectIO, file_id: int, deadline: _Deadline) -> Metadata:
    """Return the file's block list. What ``client.metadata`` raises, also when the time is up."""
    core = core_of(client)
    with core.scope() as scope:
        deadline.cancel_by(scope.cancel)
        try:
            return core.block_list(file_id, scope)
        except Cancelled:
            pass
    raise DirectIOAPIError(
        "The wait for the portal's answer was cut off", file_id, errno=errno.ECANCELED
    )


def _respond(
    client: DirectIO,
    metadata: Metadata,
    environ: Mapping[str, Any],
    method: str,
    filename: Optional[str],
    content_type: Optional[str],
    deadline: _Deadline,
) -> Response:
    etag = metadata.fingerprint[:32]
    headers = [("ETag", f'"{etag}"'), ("Accept-Ranges", "bytes")]
    # In the order of RFC 9110, section 13.2.2. Conditions on dates do not apply: no date is known.
    if not _match(environ, etag):
        return _plain(412, "The file has changed.", headers, method == "HEAD")
    if _none_match(environ, etag):
        return _response(304, headers, [])
    wanted = _wanted_range(environ, method, etag, metadata.size)
    if wanted is _UNSATISFIABLE:
        headers.append(("Content-Range", f"bytes */{metadata.size}"))
        return _plain(416, "The file has no such bytes.", headers)
    headers += _describe(filename, content_type)
    code, start, length = 200, 0, metadata.size
    if wanted is not None:
        assert wanted.end is not None
        code, start, length = 206, wanted.start, wanted.end - wanted.start + 1
        span = f"{wanted.start}-{wanted.end}"
        headers.append(("Content-Range", f"bytes {span}/{metadata.size}"))
        headers += _UNTRANSFORMED
    headers.append(("Content-Length", str(length)))
    if method == "HEAD" or not length:
        return _response(code, headers, [])
    body = _Body(core_of(client).streamer(metadata, wanted), metadata.file_id, start, length)
    body.fetch_first(deadline)
    return _response(code, headers, body)


class _Deadline:
    """Cancels what is waited for, once some seconds have passed, unless :meth:`meet` came first."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._lock = threading.Lock()
        self._met = False
        self._cancel: Optional[Callable[[], object]] = None
        self._timer: Optional[threading.Timer] = None
        if math.isfinite(seconds):
            self._timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), self._pass)
            self._timer.daemon = True
            self._timer.name = "ctera-direct-timeout"
            try:
                self._timer.start()
            except RuntimeError:  # The process has as many threads as it may have.
                self._timer = None
                _log.warning("no thread could be started: a response waits without a timeout")

    def cancel_by(self, cancel: Callable[[], object]) -> None:
        """Call ``cancel`` when the time is up; at once where it is up already."""
        with self._lock:
            self._cancel = cancel
            passed = self.passed
        if passed:
            cancel()

    def _pass(self) -> None:
        with self._lock:
            if self._met:
                return
            self.passed = True
            cancel = self._cancel
        if cancel is not None:
            cancel()

    def meet(self) -> bool:
        """Return whether the time was not yet up; from now on, nothing is cancelled."""
        with self._lock:
            self._met = not self.passed
            return self._met

    def end(self) -> None:
        """Stop the clock."""
        self.meet()
        if self._timer is not None:
            self._timer.cancel()


class _Body(Iterator[bytes]):
    """The bytes of a range; ends normally only after exactly ``length`` of them.

    A WSGI server takes the end of the iteration for the end of the body. PEP 3333 lets it go on with
    the next request after a body that is too short, so an early end is an exception here.
    """

    def __init__(self, streamer: Streamer, file_id: int, start: int, length: int) -> None:
        self._streamer = streamer
        self._blocks = streamer.start()
        self._first: Optional[Block] = None
        self._file_id = file_id
        self._offset = start
        self._left = length
        self._failed = False

    def fetch_first(self, deadline: _Deadline) -> None:
        """Wait for the first block, so that what goes wrong until then can become a status."""
        deadline.cancel_by(self._streamer.stop)
        self._first = next(self._blocks, None)
        if self._first is None or not deadline.meet():
            self.close()
            raise self._ended()

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        block, self._first = self._first, None
        if block is None:
            block = next(self._blocks, None)
        if block is None and not self._left and not self._failed:
            raise StopIteration
        if block is None or len(block.data) > self._left:
            self._failed = True
            raise self._ended()
        self._left -= len(block.data)
        self._offset += len(block.data)
        return block.data

    def _ended(self) -> StreamError:
        text = (
            f"The response ended at offset {self._offset} of the file, where its Content-Length leaves "
            f"{self._left} bytes: it was closed, or the client was"
        )
        return StreamError(text, self._file_id, self._offset, errno=errno.ECANCELED)

    def close(self) -> None:
        """Stop the downloads. WSGI servers call this however the response ended."""
        self._first = None
        self._streamer.stop()


# --- what the request asks for --------------------------------------------------------------------


#: Stands for a range that lies past the end of the file.
_UNSATISFIABLE = ByteRange(0, 0)

#: A suffix of no bytes is valid, and cannot be satisfied (RFC 9110, section 14.1.2). werkzeug 3.0 reads
#: it as the whole file, and 3.1 as malformed.
_LAST_ZERO_BYTES = re.compile(r"\s*bytes\s*=\s*-0+\s*", re.IGNORECASE)


def _match(environ: Mapping[str, Any], etag: str) -> bool:
    """If-Match, compared strongly (RFC 9110, section 13.1.1); True without one."""
    value = environ.get("HTTP_IF_MATCH")
    return not value or parse_etags(value).contains(etag)


def _none_match(environ: Mapping[str, Any], etag: str) -> bool:
    """If-None-Match, compared weakly (RFC 9110, section 13.1.2)."""
    value = environ.get("HTTP_IF_NONE_MATCH")
    return bool(value) and parse_etags(value).contains_weak(etag)


def _wanted_range(
    environ: Mapping[str, Any], method: str, etag: str, size: int
) -> Optional[ByteRange]:
    """The one range to send; None for the whole file, which is right for any other Range header.

    RFC 9110, section 14.2: a Range that is malformed, of another unit, of several ranges, or not of
    the representation that If-Range names, may be ignored.
    """
    header = environ.get("HTTP_RANGE")
    # An empty file has no range that could be asked for. nginx answers 200.
    if not header or method != "GET" or not size or not _if_range(environ, etag):
        return None
    if _LAST_ZERO_BYTES.fullmatch(header):
        return _UNSATISFIABLE
    ranges = parse_range_header(header)
    if ranges is None or ranges.units != "bytes" or len(ranges.ranges) != 1:
        return None
    start, stop = ranges.ranges[0]
    if start < 0:  # The last bytes, all of them where the file has fewer.
        start = max(0, size + start)
    stop = size if stop is None else min(stop, size)
    return ByteRange(start, stop - 1) if start < stop else _UNSATISFIABLE


def _if_range(environ: Mapping[str, Any], etag: str) -> bool:
    """If-Range, compared strongly (RFC 9110, section 13.1.5); True without one."""
    value = environ.get("HTTP_IF_RANGE")
    if not value:
        return True
    named = parse_if_range_header(value).etag
    return named == etag and not unquote_etag(value)[1]


# --- what is answered -----------------------------------------------------------------------------


#: What keeps middleware from compressing a part of the file, whose positions count. Django and
#: Flask-Compress look for a Content-Encoding, Apache and other proxies for no-transform.
_UNTRANSFORMED = [("Content-Encoding", "identity"), ("Cache-Control", "no-transform")]


def _describe(filename: Optional[str], content_type: Optional[str]) -> list[tuple[str, str]]:
    if content_type is None:
        content_type = _guess_type(filename or "")
    headers = [("Content-Type", content_type), ("X-Content-Type-Options", "nosniff")]
    if filename is not None:
        headers.append(("Content-Disposition", _attachment(filename)))
    return headers


_EXTENSIONS = re.compile(r"(?:\.[A-Za-z0-9_+-]{1,16}){1,2}\Z")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")


def _guess_type(filename: str) -> str:
    """Return the media type that the extension stands for.

    ``mimetypes`` takes a name for a URL: of ``data:TYPE,x.pdf`` it returns TYPE, as it stands. So it
    is given the extension alone, two of them for the likes of ``.tar.gz``.
    """
    extensions = _EXTENSIONS.search(filename)
    guessed, encoding = mimetypes.guess_type(f"name{extensions[0]}" if extensions else "name")
    # A .tar.gz is sent as what it is, not as a tar that the browser should unpack.
    if guessed is None or encoding is not None or not _MEDIA_TYPE.fullmatch(guessed):
        return "application/octet-stream"
    return guessed


def _attachment(filename: str) -> str:
    """RFC 6266: a plain name for old clients, and where it differs the real one by RFC 8187."""
    plain = "".join(
        letter if " " <= letter <= "~" and letter not in '"\\%/' else "_" for letter in filename
    )
    disposition = f'attachment; filename="{plain}"'
    if plain != filename:
        encoded = quote(filename, safe="", errors="replace")  # A name may hold lone surrogates.
        disposition += f"; filename*=UTF-8''{encoded}"
    return disposition


def _status_of(error: DirectIOError) -> int:
    cause = error.__cause__ if isinstance(error, StreamError) else error
    if isinstance(cause, (NotFoundError, BlocksNotFoundError)):
        return 404
    if isinstance(cause, UnAuthorized):
        return 403
    if isinstance(cause, (BlockListTimeout, DownloadTimeout)):
        return 504
    return 502


def _plain(code: int, text: str, headers: list[tuple[str, str]], head: bool = False) -> Response:
    body = f"{text}\n".encode()
    described = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    return _response(code, headers + described, [] if head else [body])


def _response(code: int, headers: list[tuple[str, str]], body: Iterable[bytes]) -> Response:
    """Return a response whose headers are what PEP 3333 takes; ValueError for any other."""
    for name, value in headers:
        _check_value(name, value)
    return Response(f"{code} {_PHRASES[code]}", headers, body)


_UNSENDABLE = re.compile("[^ -~\x80-\xff]")


def _check_value(name: str, value: str) -> None:
    """Raise ValueError for a value that would end its header, or that latin-1 does not have."""
    if _UNSENDABLE.search(value):
        raise ValueError(f"{name} {value!r} cannot be a header: it holds a line break or the like")


# --- frameworks -----------------------------------------------------------------------------------


def flask_response(
    client: DirectIO,
    file_id: int,
    *,
    filename: Optional[str] = None,
    content_type: Optional[str] = None,
    timeout: Optional[float] = None,
) -> flask.Response:
    """Return :func:`file_response` to Flask's current request, as a ``flask.Response``."""
    import flask

    answer = file_response(
        client,
        file_id,
        flask.request.environ,
        filename=filename,
        content_type=content_type,
        timeout=timeout,
    )
    response = flask.Response(status=answer.status, direct_passthrough=True)
    response.headers.clear()
    response.headers.extend(answer.headers)
    response.response = answer.body
    return response


def django_response(
    request: HttpRequest,
    client: DirectIO,
    file_id: int,
    *,
    filename: Optional[str] = None,
    content_type: Optional[str] = None,
    timeout: Optional[float] = None,
) -> StreamingHttpResponse:
    """Return :func:`file_response` to a Django request, as a ``StreamingHttpResponse``."""
    from django.http import StreamingHttpResponse

    answer = file_response(
        client,
        file_id,
        request.META,
        filename=filename,
        content_type=content_type,
        timeout=timeout,
    )
    response = StreamingHttpResponse(answer.body, status=answer.code)
    del response["Content-Type"]
    for name, value in answer.headers:
        response[name] = value
    return response
