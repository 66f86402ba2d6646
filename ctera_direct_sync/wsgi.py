"""A file as an HTTP response, for web applications: Range, conditions, errors, disconnects.

:func:`file_response` speaks WSGI (PEP 3333); :func:`flask_response` and :func:`django_response` put what
it gives into their frameworks' own responses. Headers are read by werkzeug (the extra ``web``).
"""

from __future__ import annotations

import logging
import mimetypes
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Optional
from urllib.parse import quote

try:
    from werkzeug.http import parse_etags, parse_if_range_header, parse_range_header, unquote_etag
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "werkzeug reads the requests' headers here: pip install 'ctera-direct-sync[web]'",
        name=_missing.name,
    ) from None

from .client import DirectIO
from .exceptions import (
    BlockListTimeout,
    BlocksNotFoundError,
    DirectIOError,
    DownloadTimeout,
    NotFoundError,
    StreamError,
    UnAuthorized,
)
from .stream import Streamer
from .types import Block, ByteRange, Metadata

if TYPE_CHECKING:
    from django.http import HttpRequest, StreamingHttpResponse
    from flask import Response

__all__ = ["FileResponse", "django_response", "file_response", "flask_response"]

_log = logging.getLogger(__name__)

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


class FileResponse(NamedTuple):
    """A WSGI response: the status line, the headers, the body to iterate over and to ``close()``."""

    status: str
    headers: list[tuple[str, str]]
    body: Iterable[bytes]

    @property
    def code(self) -> int:
        """The status as a number."""
        return int(self.status[:3])


def file_response(
    client: DirectIO,
    file_id: int,
    environ: Mapping[str, Any],
    *,
    filename: Optional[str] = None,
    content_type: Optional[str] = None,
) -> FileResponse:
    """The answer to the request ``environ`` for a file (RFC 9110: GET, HEAD, Range, conditions).

    ``filename``: what a browser saves it as (Content-Disposition: attachment, RFC 6266);
    ``content_type``: by default told from the filename. The first block is fetched before this
    returns, so an error up to there is a status: 404, 403, 504 or 502, logged with its reason. A later
    one ends the body early, which clients notice by Content-Length. The body's ``close()``, which WSGI
    servers call when the visitor goes away, stops the downloads.
    """
    method = environ.get("REQUEST_METHOD", "GET")
    if method not in ("GET", "HEAD"):
        return _plain(405, "Only GET and HEAD are possible.", [("Allow", "GET, HEAD")])
    try:
        metadata = client.metadata(file_id)
        return _respond(client, metadata, environ, method, filename, content_type)
    except DirectIOError as error:
        status = _status_of(error)
        # As text: a handler that keeps the record must not keep what the traceback holds.
        _log.warning("file %s: answered %d: %s", file_id, status, str(error))
        return _plain(status, _APOLOGIES[status], [], method == "HEAD")


def _respond(
    client: DirectIO,
    metadata: Metadata,
    environ: Mapping[str, Any],
    method: str,
    filename: Optional[str],
    content_type: Optional[str],
) -> FileResponse:
    etag = metadata.fingerprint[:32]
    headers = [("ETag", f'"{etag}"'), ("Accept-Ranges", "bytes")]
    # In the order of RFC 9110, section 13.2.2. Conditions on dates do not apply: no date is known.
    if not _match(environ, etag):
        return _plain(412, "The file has changed.", headers, method == "HEAD")
    if _none_match(environ, etag):
        return FileResponse(_line(304), headers, [])
    wanted = _wanted_range(environ, method, etag, metadata.size)
    if wanted is _UNSATISFIABLE:
        headers.append(("Content-Range", f"bytes */{metadata.size}"))
        return _plain(416, "The file has no such bytes.", headers)
    headers += _describe(filename, content_type)
    code, length = 200, metadata.size
    if wanted is not None:
        assert wanted.end is not None
        code, length = 206, wanted.end - wanted.start + 1
        span = f"{wanted.start}-{wanted.end}"
        headers.append(("Content-Range", f"bytes {span}/{metadata.size}"))
    headers.append(("Content-Length", str(length)))
    if method == "HEAD":
        return FileResponse(_line(code), headers, [])
    return FileResponse(_line(code), headers, _Body(client._streamer(metadata, wanted)))


class _Body(Iterator[bytes]):
    """The file's bytes, the first block fetched at once; ``close()`` ends the downloads."""

    def __init__(self, streamer: Streamer) -> None:
        self._streamer = streamer
        self._blocks = streamer.start()
        self._first: Optional[Block] = next(self._blocks, None)

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        block, self._first = self._first, None
        return (next(self._blocks) if block is None else block).data

    def close(self) -> None:
        """Stop. WSGI servers call it however the response ended."""
        self._first = None
        self._streamer.stop()


# --- what the request asks for --------------------------------------------------------------------


#: Stands for a range that lies past the end of the file.
_UNSATISFIABLE = ByteRange(0, 0)


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
    if not header or method != "GET" or not _if_range(environ, etag):
        return None
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


def _describe(filename: Optional[str], content_type: Optional[str]) -> list[tuple[str, str]]:
    if content_type is None:
        guessed, encoding = mimetypes.guess_type(filename or "")
        # A .tar.gz is sent as what it is, not as a tar that the browser should unpack.
        content_type = guessed if guessed and not encoding else "application/octet-stream"
    headers = [("Content-Type", content_type), ("X-Content-Type-Options", "nosniff")]
    if filename is not None:
        headers.append(("Content-Disposition", _attachment(filename)))
    return headers


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


def _plain(
    code: int, text: str, headers: list[tuple[str, str]], head: bool = False
) -> FileResponse:
    body = f"{text}\n".encode()
    described = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    return FileResponse(_line(code), headers + described, [] if head else [body])


def _line(code: int) -> str:
    return f"{code} {_PHRASES[code]}"


# --- frameworks -----------------------------------------------------------------------------------


def flask_response(
    client: DirectIO,
    file_id: int,
    *,
    filename: Optional[str] = None,
    content_type: Optional[str] = None,
) -> Response:
    """:func:`file_response` to Flask's current request, as a ``flask.Response``."""
    import flask

    answer = file_response(
        client, file_id, flask.request.environ, filename=filename, content_type=content_type
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
) -> StreamingHttpResponse:
    """:func:`file_response` to a Django request, as a ``StreamingHttpResponse``."""
    from django.http import StreamingHttpResponse

    answer = file_response(
        client, file_id, request.META, filename=filename, content_type=content_type
    )
    response = StreamingHttpResponse(answer.body, status=answer.code)
    del response["Content-Type"]
    for name, value in answer.headers:
        response[name] = value
    return response
