"""The client for `asyncio`: asynchronous iterators, downloads, and responses of ASGI applications.

The client's threads do the work, and the event loop is never blocked. `stream` and `iter_blocks` return
asynchronous iterators, `download` is a coroutine. `file_response` answers requests to an ASGI application.
`starlette_response` and `django_response` return the same as responses of their frameworks. These three
need werkzeug, which parses the headers of the requests: install the extra `web`.

::

    async for block in aio.stream(client, 12345):
        await send(block.data)
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ._aio.blocks import BlockIterator, BlockSource
from ._aio.body import Body
from ._aio.bridge import Stopper, run_on_thread
from ._aio.download import Progress, Target, run_download
from ._core import core_of
from ._lookup import label_of
from .client import DirectIO
from .exceptions import DirectIOError
from .types import Block, ByteRange, Download, FileRef, Metadata

if TYPE_CHECKING:
    from django.http import HttpRequest, StreamingHttpResponse
    from starlette.requests import Request
    from starlette.responses import StreamingResponse

    from ._web.answer import Answer

__all__ = [
    "Response",
    "django_response",
    "download",
    "file_response",
    "iter_blocks",
    "starlette_response",
    "stream",
]

_log = logging.getLogger(__name__)

_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


# --- blocks and files -------------------------------------------------------------------------------


def stream(
    client: DirectIO,
    file: FileRef,
    byte_range: ByteRange | None = None,
    max_workers: int | None = None,
) -> AsyncIterator[Block]:
    """Iterate over the blocks of a file in order, trimmed to the range.

    The downloads keep to the consumer's pace. Beside `Settings.memory`, the iterator holds a MiB of blocks,
    or one block if that is larger. Nothing is sent before the first step, which lists the file.

    Leaving the loop stops the downloads, and so does a cancellation of the task. To wait until nothing of
    the iteration runs any more, call `aclose()`, for example by `contextlib.aclosing`.

    Args:
        client: The client to download with.
        file: The file's ID, its path on the portal, or its `Entry`.
        byte_range: The range to deliver. None: the whole file.
        max_workers: The most concurrent downloads of this call. None leaves it to the client.

    Returns:
        The iterator, for one task at a time. Its first step raises as `DirectIO.metadata` does. It raises
        `StreamError` if it cannot go on, also after `aclose()` or a cancelled wait. It ends without an
        error only after every byte was delivered.

    Raises:
        TypeError: `byte_range` is not a `ByteRange`.
        ValueError: `max_workers` is below 1.

    Example:
        >>> async for block in aio.stream(client, 12345, ByteRange(1024)):
        ...     await handle(block.data)
    """
    return _iterate(client, file, byte_range, max_workers, in_order=True)


def iter_blocks(
    client: DirectIO,
    file: FileRef,
    byte_range: ByteRange | None = None,
    max_workers: int | None = None,
) -> AsyncIterator[Block]:
    """Iterate over the whole blocks of a file as they complete, in no order.

    All else is as for `stream`.

    Args:
        client: The client to download with.
        file: The file's ID, its path on the portal, or its `Entry`.
        byte_range: The range that the blocks must cover. None: the whole file.
        max_workers: The most concurrent downloads of this call. None leaves it to the client.

    Returns:
        The iterator. It raises `BlockError` if a block could not be downloaded or decoded, and otherwise
        as that of `stream`, with a DirectIOError in place of a StreamError.

    Raises:
        TypeError: `byte_range` is not a `ByteRange`.
        ValueError: `max_workers` is below 1.

    Example:
        >>> async for block in aio.iter_blocks(client, 12345):
        ...     os.pwrite(fd, block.data, block.offset)
    """
    return _iterate(client, file, byte_range, max_workers, in_order=False)


def _iterate(
    client: DirectIO,
    file: FileRef | Metadata,
    byte_range: ByteRange | None,
    max_workers: int | None = None,
    *,
    in_order: bool,
) -> BlockIterator:
    core = core_of(client)
    core.check_call(byte_range, max_workers)
    return BlockIterator(BlockSource(core, file, byte_range, max_workers, in_order))


async def download(
    client: DirectIO,
    file: FileRef,
    target: Target,
    *,
    byte_range: ByteRange | None = None,
    resume: bool = False,
    progress: Progress | bool | None = None,
    max_workers: int | None = None,
) -> Download:
    """Download a file, or a range of it, to a path or a writable binary file.

    The download to a path is atomic, as that of `DirectIO.download`. If the task is cancelled, the download
    ends, and its part file is removed unless `resume` is set. The cancellation goes on once nothing is
    written any more. A second cancellation does not wait for that.

    Args:
        client: The client to download with.
        file: The file's ID, its path on the portal, or its `Entry`.
        target: A path, or a file object that is open for writing bytes. A thread writes to it.
        byte_range: The range to write. None: the whole file.
        resume: Whether an interrupted download keeps its progress, and continues from there in the next
            call with `resume=True`.
        progress: A function that is called with the bytes done and the bytes in all, on the event loop's
            thread. What it raises ends the download. True: a progress bar of tqdm.
        max_workers: The most concurrent downloads of this call. None leaves it to the client.

    Returns:
        Path, size, checksum and duration.

    Raises:
        DirectIOError: As `DirectIO.download` raises.
        OSError: The target cannot be written.
        TypeError: `byte_range` is not a `ByteRange`.
        ValueError: The client is closed, or `max_workers` is below 1.

    Example:
        >>> done = await aio.download(client, 12345, "report.pdf", resume=True)
        >>> done.size
        10485760
    """
    core = core_of(client)
    core.check_call(byte_range, max_workers)
    return await run_download(
        core,
        file,
        target,
        byte_range=byte_range,
        resume=resume,
        progress=progress,
        max_workers=max_workers,
    )


# --- responses --------------------------------------------------------------------------------------


class Response(NamedTuple):
    """An ASGI response: an application that sends it, for ``await response(scope, receive, send)``."""

    status: int
    """The status."""
    headers: list[tuple[str, str]]
    """The names and values of the headers."""
    body: AsyncIterator[bytes]
    """The pieces of the body. Call its `aclose()`, or its `close()`, if you send it yourself."""

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send
    ) -> None:
        """Send the response. A visitor who leaves ends the downloads.

        Args:
            scope: The connection, as ASGI describes it.
            receive: Returns the next message of the visitor.
            send: Sends a message.

        Raises:
            DirectIOError: The body could not be read to its end. The server then closes the connection,
                so the visitor notices.
        """
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_await_disconnect(receive))
        try:
            done, _ = await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await _close(self.body)
        for task in done:
            task.result()

    async def _send(self, send: _Send) -> None:
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in self.headers
        ]
        start = {"type": "http.response.start", "status": self.status, "headers": headers}
        if not await _offer(send, start):
            return
        async for data in self.body:
            part = {"type": "http.response.body", "body": data, "more_body": True}
            if not await _offer(send, part):
                return
        await _offer(send, {"type": "http.response.body", "body": b"", "more_body": False})


async def _offer(send: _Send, message: MutableMapping[str, Any]) -> bool:
    """Send a message. Return False if the visitor is gone, which newer servers say by an OSError."""
    try:
        await send(message)
    except OSError:
        return False
    return True


async def _await_disconnect(receive: _Receive) -> None:
    is_complete = False
    while (message := await receive())["type"] != "http.disconnect":
        if is_complete:
            # Middleware that has read the body gives it again and again, and tells of no disconnect. A
            # loop over that would never let other tasks run.
            await asyncio.get_running_loop().create_future()
        is_complete = not message.get("more_body", False)


async def _close(body: AsyncIterator[bytes]) -> None:
    aclose = getattr(body, "aclose", None)
    if aclose is not None:
        await aclose()


async def file_response(
    client: DirectIO,
    file: FileRef,
    scope: Mapping[str, Any],
    *,
    filename: str | None = None,
    content_type: str | None = None,
    timeout: float | None = None,
) -> Response:
    """Return the response to a request for a file (RFC 9110: GET, HEAD, Range, conditions).

    The first block is fetched before the function returns. If that fails, the error becomes a status
    (404, 403, 504 or 502), and its reason is logged. A later error, or an end that comes too early, is
    raised by the iterator of the body. The server then closes the connection, so the visitor notices.

    Args:
        client: The client to download with.
        file: The file's ID, its path on the portal, or its `Entry`.
        scope: The request, as ASGI describes it.
        filename: The name that a browser saves the file under (Content-Disposition, RFC 6266). None:
            the last part of the path, if the file is named by a path or `Entry`.
        content_type: The Content-Type. By default it is chosen by the filename's extension alone.
        timeout: Seconds to wait for the first byte of the file. After that the answer is 504. None:
            `wsgi.DEFAULT_TIMEOUT_S`. `math.inf` leaves it to the client's settings, which always decide
            about later silence.

    Returns:
        The response, which sends itself.

    Raises:
        TypeError: `file` does not name a file.
        ValueError: `content_type` cannot be a header, `timeout` is not a positive number, the path
            has parts such as `..`, or the client is closed.

    Example:
        >>> async def application(scope, receive, send):
        ...     response = await file_response(client, 12345, scope, filename="report.pdf")
        ...     await response(scope, receive, send)
    """
    return await _respond(
        client,
        file,
        scope["method"],
        _environ_of(scope),
        filename=filename,
        content_type=content_type,
        timeout=timeout,
    )


async def _respond(
    client: DirectIO,
    file: FileRef,
    method: str,
    environ: Mapping[str, Any],
    *,
    filename: str | None,
    content_type: str | None,
    timeout: float | None,
) -> Response:
    # Streams and downloads do without werkzeug, which this imports.
    from ._web import answer as web

    seconds = web.check_timeout(timeout, web.DEFAULT_TIMEOUT_S)
    if content_type is not None:
        web.check_value("content_type", content_type)
    refusal = web.refuse_method(method)
    if refusal is not None:
        return Response(refusal.code, refusal.headers, Body(refusal.text))
    label = label_of(file)
    filename = web.name_of(filename, label)

    async def begin() -> Response:
        metadata, answer = await _list(
            client,
            file,
            # The ETag is a digest of all blocks. A file may have hundreds of thousands of them, for
            # which the loop must not wait.
            lambda listed: web.answer_file(listed, environ, method, filename, content_type),
        )
        if not answer.length:
            return Response(answer.code, answer.headers, Body(answer.text))
        blocks = _iterate(client, metadata, answer.wanted, in_order=True)
        count = web.BodyCount(metadata.file_id, answer.start, answer.length)
        body = Body(b"", blocks, count)
        await body.fetch_first()
        return Response(answer.code, answer.headers, body)

    try:
        return await asyncio.wait_for(begin(), seconds if math.isfinite(seconds) else None)
    except DirectIOError as error:
        # As text: a handler that keeps the record must not keep what the traceback holds.
        status, reason = web.status_of(error), str(error)
    except asyncio.TimeoutError:
        status, reason = 504, web.explain_silence(seconds, "the wait was cut off")
    # A path may hold line breaks, which would begin another line of the log.
    _log.warning("file %r: answered %d: %s", label, status, reason)
    apology = web.apologize(status, method)
    return Response(apology.code, apology.headers, Body(apology.text))


async def _list(
    client: DirectIO, file: FileRef, answer: Callable[[Metadata], Answer]
) -> tuple[Metadata, Answer]:
    """List a file, and answer the request for it, on a thread."""
    core, stopper = core_of(client), Stopper()

    def work() -> tuple[Metadata, Answer]:
        metadata = core.list_cancellable(file, stopper.cancel_by)
        return metadata, answer(metadata)

    return await run_on_thread(work, stopper.stop)


def _environ_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of a request as WSGI names them. Values of equal names are joined by commas."""
    environ: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


async def starlette_response(
    request: Request,
    client: DirectIO,
    file: FileRef,
    *,
    filename: str | None = None,
    content_type: str | None = None,
    timeout: float | None = None,
) -> StreamingResponse:
    """Return the response to a request of Starlette or FastAPI for a file.

    Args:
        request: The request.
        client: The client to download with.
        file: As for `file_response`.
        filename: As for `file_response`.
        content_type: As for `file_response`.
        timeout: As for `file_response`.

    Returns:
        What `file_response` returns, as a `StreamingResponse`.

    Raises:
        TypeError: As for `file_response`.
        ValueError: As for `file_response`.

    Example:
        >>> @app.get("/report")
        ... async def report(request: Request):
        ...     return await starlette_response(request, client, 12345, filename="report.pdf")
    """
    from ._aio.starlette import make_response

    answer = await file_response(
        client,
        file,
        request.scope,
        filename=filename,
        content_type=content_type,
        timeout=timeout,
    )
    return make_response(answer.status, answer.headers, answer.body)


async def django_response(
    request: HttpRequest,
    client: DirectIO,
    file: FileRef,
    *,
    filename: str | None = None,
    content_type: str | None = None,
    timeout: float | None = None,
) -> StreamingHttpResponse:
    """Return the response to a Django request for a file, from an asynchronous view under ASGI.

    It needs Django 4.2 or later. From Django 5.0 on, a visitor who leaves ends the downloads at once.

    Args:
        request: The request.
        client: The client to download with.
        file: As for `file_response`.
        filename: As for `file_response`.
        content_type: As for `file_response`.
        timeout: As for `file_response`.

    Returns:
        What `file_response` returns, as a `StreamingHttpResponse`.

    Raises:
        TypeError: As for `file_response`.
        ValueError: As for `file_response`.

    Example:
        >>> async def report(request):
        ...     return await django_response(request, client, 12345, filename="report.pdf")
    """
    from ._web.django import make_response

    answer = await _respond(
        client,
        file,
        request.method or "GET",
        request.META,
        filename=filename,
        content_type=content_type,
        timeout=timeout,
    )
    return make_response(answer.status, answer.headers, answer.body)
