"""A file as an HTTP response, for web applications: Range, conditions, errors, disconnects.

`file_response` is for WSGI (PEP 3333). `flask_response` and `django_response` return the same as
responses of their frameworks. `ctera_direct_sync.aio` has the same for ASGI. werkzeug parses the headers
of the requests: install the extra `web`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ._core import core_of
from ._lookup import label_of
from ._readers.stream import Streamer
from ._web.answer import (
    DEFAULT_TIMEOUT_S,
    PHRASES,
    Answer,
    BodyCount,
    answer_file,
    apologize,
    check_timeout,
    check_value,
    explain_silence,
    name_of,
    refuse_method,
    status_of,
)
from ._web.deadline import Deadline
from .client import DirectIO
from .exceptions import DirectIOError
from .types import Block, FileRef

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
    seconds = check_timeout(timeout, DEFAULT_TIMEOUT_S)
    if content_type is not None:
        check_value("content_type", content_type)
    method = environ.get("REQUEST_METHOD", "GET")
    refusal = refuse_method(method)
    if refusal is not None:
        return _respond(refusal)
    file = label_of(file_id)
    filename = name_of(filename, file)
    core = core_of(client)
    deadline = Deadline(seconds)
    try:
        metadata = core.list_cancellable(file_id, deadline.cancel_by)
        answer = answer_file(metadata, environ, method, filename, content_type)
        if not answer.length:
            return _respond(answer)
        body = _Body(core.streamer(metadata, answer.wanted), metadata.file_id, answer)
        body.fetch_first(deadline)
        return _respond(answer, body)
    except DirectIOError as error:
        # As text: a handler that keeps the record must not keep what the traceback holds.
        status, reason = status_of(error), str(error)
    finally:
        deadline.end()
    if deadline.passed:
        status, reason = 504, explain_silence(seconds, reason)
    # A path may hold line breaks, which would begin another line of the log.
    _log.warning("file %r: answered %d: %s", file, status, reason)
    return _respond(apologize(status, method))


def _respond(answer: Answer, body: Iterable[bytes] | None = None) -> Response:
    if body is None:
        body = [answer.text] if answer.text else []
    return Response(f"{answer.code} {PHRASES[answer.code]}", answer.headers, body)


class _Body(Iterator[bytes]):
    """The bytes of a range. The iteration ends without an error only after exactly the bytes due."""

    def __init__(self, streamer: Streamer, file_id: int, answer: Answer) -> None:
        self._streamer = streamer
        self._blocks = streamer.start()
        self._first: Block | None = None
        self._count = BodyCount(file_id, answer.start, answer.length)

    def fetch_first(self, deadline: Deadline) -> None:
        """Wait for the first block, so that an error until then can become a status."""
        deadline.cancel_by(self._streamer.stop)
        self._first = next(self._blocks, None)
        if self._first is None or not deadline.meet():
            self.close()
            raise self._count.ended()

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        block, self._first = self._first, None
        if block is None:
            block = next(self._blocks, None)
        if not self._count.take(block):
            raise StopIteration
        assert block is not None
        return block.data

    def close(self) -> None:
        """Stop the downloads. WSGI servers call this after each response, complete or not."""
        self._first = None
        self._streamer.stop()


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
    from ._web.django import make_response

    answer = file_response(
        client,
        file_id,
        request.META,
        filename=filename,
        content_type=content_type,
        timeout=timeout,
    )
    return make_response(answer.code, answer.headers, answer.body)
