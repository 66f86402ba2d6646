"""A file as an HTTP response, for web applications: Range, conditions, errors, disconnects.

`file_response` is for WSGI (PEP 3333). `flask_response` and `django_response` return the same as
responses of their frameworks. werkzeug parses the headers of the requests: install the extra `web`.
"""

from __future__ import annotations

import errno
import logging
import mimetypes
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from ._base.cancellation import Cancelled
from ._core import core_of
from ._lookup import label_of
from ._readers.stream import Streamer
from ._wsgi.deadline import Deadline
from ._wsgi.request import UNSATISFIABLE, match, none_match, wanted_range
from .client import DirectIO
from .exceptions import (
    AccessDeniedError,
    BlockListTimeout,
    BlocksNotFoundError,
    DirectIOAPIError,
    DirectIOError,
    DownloadTimeout,
    IsAFolderError,
    NamespaceTimeout,
    NotFoundError,
    PathNotFoundError,
    StreamError,
    UnAuthorized,
)
from .types import Block, FileRef, Metadata

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

DEFAULT_TIMEOUT_S = 25.0
"""Seconds to wait for the first byte if a call does not give `timeout`.

gunicorn kills a worker that was silent for 30 seconds, and other servers and proxies wait for 60. The
answer comes before either.
"""

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

#: The text for the visitor. The whole error goes to the application's log.
_APOLOGIES = {
    403: "The file may not be read.",
    404: "There is no such file.",
    502: "The file's storage cannot deliver it.",
    504: "The file's storage did not answer in time.",
}


class Response(NamedTuple):
    """A WSGI response: what `start_response` takes, and what the application returns."""

    status: str
    """The status line without the protocol, such as `206 Partial Content`."""
    headers: list[tuple[str, str]]
    """The names and values of the headers."""
    body: Iterable[bytes]
    """The pieces of the body. If it has a `close()`, the server must call that."""

    @property
    def code(self) -> int:
        """The status as a number."""
        return int(self.status[:3])


FileResponse = Response
"""The former name of `Response`."""


def file_response(
    client: DirectIO,
    file_id: FileRef,
    environ: Mapping[str, Any],
    *,
    filename: str | None = None,
    content_type: str | None = None,
    timeout: float | None = None,
) -> Response:
    """Return the response to a request for a file (RFC 9110: GET, HEAD, Range, conditions).

    The function fetches the first block before it returns. If that fails, the error becomes a status
    (404, 403, 504 or 502), and its reason is logged. A later error, or an end that comes too early, is
    raised by the iterator of the body. The server then closes the connection, so the visitor notices.

    Args:
        client: The client to download with.
        file_id: The file's ID, its path on the portal, or its `Entry`.
        environ: The request, as WSGI describes it.
        filename: The name that a browser saves the file under (Content-Disposition, RFC 6266). None:
            the last part of the path, if the file is named by a path or `Entry`.
        content_type: The Content-Type. By default it is chosen by the filename's extension alone.
        timeout: Seconds to wait for the first byte of the file. After that the answer is 504. None:
            `DEFAULT_TIMEOUT_S`. `math.inf` leaves it to the client's settings, which always decide
            about later silence.

    Returns:
        The response. The `close()` of its body, which WSGI servers call, stops the downloads.

    Raises:
        TypeError: `file_id` does not name a file.
        ValueError: `content_type` cannot be a header, `timeout` is not a positive number, the path
            has parts such as `..`, or the client is closed.

    Example:
        >>> def application(environ, start_response):
        ...     response = file_response(client, 12345, environ, filename="report.pdf")
        ...     start_response(response.status, response.headers)
        ...     return response.body
    """
    seconds = _check_timeout(timeout)
    if content_type is not None:
        _check_value("content_type", content_type)
    method = environ.get("REQUEST_METHOD", "GET")
    if method not in ("GET", "HEAD"):
        return _plain(405, "Only GET and HEAD are possible.", [("Allow", "GET, HEAD")])
    file = label_of(file_id)
    if filename is None and isinstance(file, str):
        filename = file.rstrip("/").rpartition("/")[2]
    deadline = Deadline(seconds)
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
    # A path may hold line breaks, which would begin another line of the log.
    _log.warning("file %r: answered %d: %s", file, status, reason)
    return _plain(status, _APOLOGIES[status], [], method == "HEAD")


def _check_timeout(timeout: float | None) -> float:
    seconds = DEFAULT_TIMEOUT_S if timeout is None else float(timeout)
    if not seconds > 0:
        raise ValueError(f"timeout={timeout!r}: not a positive number of seconds")
    return seconds


def _list(client: DirectIO, file_id: FileRef, deadline: Deadline) -> Metadata:
    """Return the block list of a file. Raise what `DirectIO.metadata` does, also when the time is up."""
    core = core_of(client)
    with core.scope() as scope:
        deadline.cancel_by(scope.cancel)
        try:
            return core.block_list(file_id, scope)
        except Cancelled:
            pass
    raise DirectIOAPIError(
        "The wait for the portal's answer was cut off", label_of(file_id), errno=errno.ECANCELED
    )


def _respond(
    client: DirectIO,
    metadata: Metadata,
    environ: Mapping[str, Any],
    method: str,
    filename: str | None,
    content_type: str | None,
    deadline: Deadline,
) -> Response:
    etag = metadata.fingerprint[:32]
    headers = [("ETag", f'"{etag}"'), ("Accept-Ranges", "bytes")]
    # In the order of RFC 9110, section 13.2.2. Conditions on dates do not apply: no date is known.
    if not match(environ, etag):
        return _plain(412, "The file has changed.", headers, method == "HEAD")
    if none_match(environ, etag):
        return _response(304, headers, [])
    wanted = wanted_range(environ, method, etag, metadata.size)
    if wanted is UNSATISFIABLE:
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


class _Body(Iterator[bytes]):
    """The bytes of a range. The iteration ends without an error only after exactly `length` bytes.

    For a WSGI server, the end of the iteration is the end of the body. PEP 3333 lets it go on with the
    next request after a body that is too short. So an early end raises here.
    """

    def __init__(self, streamer: Streamer, file_id: int, start: int, length: int) -> None:
        self._streamer = streamer
        self._blocks = streamer.start()
        self._first: Block | None = None
        self._file_id = file_id
        self._offset = start
        self._left = length
        self._failed = False

    def fetch_first(self, deadline: Deadline) -> None:
        """Wait for the first block, so that an error until then can become a status."""
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
        """Stop the downloads. WSGI servers call this after each response, complete or not."""
        self._first = None
        self._streamer.stop()


# --- what is answered -----------------------------------------------------------------------------


#: Headers that keep middleware from compressing a part of a file, whose positions count. Django and
#: Flask-Compress look for a Content-Encoding, Apache and other proxies for no-transform.
_UNTRANSFORMED = [("Content-Encoding", "identity"), ("Cache-Control", "no-transform")]


def _describe(filename: str | None, content_type: str | None) -> list[tuple[str, str]]:
    if content_type is None:
        content_type = _guess_type(filename or "")
    headers = [("Content-Type", content_type), ("X-Content-Type-Options", "nosniff")]
    if filename is not None:
        headers.append(("Content-Disposition", _attachment(filename)))
    return headers


_EXTENSIONS = re.compile(r"(?:\.[A-Za-z0-9_+-]{1,16}){1,2}\Z")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")


def _guess_type(filename: str) -> str:
    """Return the media type of a name's extension.

    `mimetypes` reads a name as a URL: of `data:TYPE,x.pdf` it returns TYPE, whatever that is. So it gets
    the extension alone, or two extensions such as `.tar.gz`.
    """
    extensions = _EXTENSIONS.search(filename)
    guessed, encoding = mimetypes.guess_type(f"name{extensions[0]}" if extensions else "name")
    # A .tar.gz is sent as such, not as a tar that the browser should unpack.
    if guessed is None or encoding is not None or not _MEDIA_TYPE.fullmatch(guessed):
        return "application/octet-stream"
    return guessed


#: Line breaks and other control characters, and marks that turn the direction of what follows: with one
#: of those "fdp.exe" can look like "exe.pdf".
_MISLEADING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def _attachment(filename: str) -> str:
    """Return the header for a file name: plain for old clients, and if it differs as RFC 8187 says."""
    filename = _MISLEADING.sub("_", filename)
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
    if isinstance(cause, (NotFoundError, BlocksNotFoundError, PathNotFoundError, IsAFolderError)):
        return 404
    if isinstance(cause, (UnAuthorized, AccessDeniedError)):
        return 403
    if isinstance(cause, (BlockListTimeout, DownloadTimeout, NamespaceTimeout)):
        return 504
    return 502


def _plain(code: int, text: str, headers: list[tuple[str, str]], head: bool = False) -> Response:
    body = f"{text}\n".encode()
    described = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    return _response(code, headers + described, [] if head else [body])


def _response(code: int, headers: list[tuple[str, str]], body: Iterable[bytes]) -> Response:
    """Return a response. Raise ValueError if PEP 3333 does not allow one of its headers."""
    for name, value in headers:
        _check_value(name, value)
    return Response(f"{code} {_PHRASES[code]}", headers, body)


_UNSENDABLE = re.compile("[^ -~\x80-\xff]")


def _check_value(name: str, value: str) -> None:
    """Raise ValueError for a value that would end its header, or that is not Latin-1."""
    if _UNSENDABLE.search(value):
        raise ValueError(f"{name} {value!r} cannot be a header: it holds a line break or the like")


# --- frameworks -----------------------------------------------------------------------------------


def flask_response(
    client: DirectIO,
    file_id: FileRef,
    *,
    filename: str | None = None,
    content_type: str | None = None,
    timeout: float | None = None,
) -> flask.Response:
    """Return the response to Flask's current request for a file.

    Args:
        client: The client to download with.
        file_id: As for `file_response`.
        filename: As for `file_response`.
        content_type: As for `file_response`.
        timeout: As for `file_response`.

    Returns:
        What `file_response` returns, as a `flask.Response`.

    Raises:
        TypeError: As for `file_response`.
        ValueError: As for `file_response`.

    Example:
        >>> @app.get("/report")
        ... def report():
        ...     return flask_response(client, 12345, filename="report.pdf")
    """
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
    file_id: FileRef,
    *,
    filename: str | None = None,
    content_type: str | None = None,
    timeout: float | None = None,
) -> StreamingHttpResponse:
    """Return the response to a Django request for a file.

    Args:
        request: The request.
        client: The client to download with.
        file_id: As for `file_response`.
        filename: As for `file_response`.
        content_type: As for `file_response`.
        timeout: As for `file_response`.

    Returns:
        What `file_response` returns, as a `StreamingHttpResponse`.

    Raises:
        TypeError: As for `file_response`.
        ValueError: As for `file_response`.

    Example:
        >>> def report(request):
        ...     return django_response(request, client, 12345, filename="report.pdf")
    """
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
