"""``aio.file_response`` without a server: statuses, time-outs, the body's end, and odd servers."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ctera_direct_sync import DirectIO, Metadata, StreamError, aio
from ctera_direct_sync.emulator import Emulator, faults
from tests.support.loops import run, until
from tests.support.streams import stream_pieces

from .test_aio import bridge_threads

pytest.importorskip("ctera_direct_sync.wsgi")

DATA = b"0123456789" * 5000


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """DATA in five blocks."""
    return portal.add(DATA, block_size=10_000)


def scope_of(method: str = "GET", **headers: str) -> dict[str, Any]:
    """A request as ASGI describes it."""
    pairs = [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, value in headers.items()
    ]
    return {"type": "http", "method": method, "headers": pairs, "path": "/"}


async def read(response: aio.Response) -> bytes:
    """The whole body."""
    return b"".join([data async for data in response.body])


def answer(client: DirectIO, file_id: Any, scope: dict[str, Any], **options: Any) -> Any:
    """Status, headers and body of a response that was read to its end."""

    async def ask() -> tuple[int, dict[str, str], bytes]:
        response = await aio.file_response(client, file_id, scope, **options)
        return response.status, dict(response.headers), await read(response)

    return run(ask())


def test_same_as_wsgi(client: DirectIO, file_id: int) -> None:
    """Status, headers and body are those of ``wsgi.file_response``."""
    from ctera_direct_sync import wsgi

    for headers in ({}, {"range": "bytes=5-9"}, {"range": "bytes=60000-"}, {"if_match": '"x"'}):
        environ = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
        twin = wsgi.file_response(client, file_id, environ, filename="a.pdf")
        found = answer(client, file_id, scope_of(**headers), filename="a.pdf")
        assert found == (twin.code, dict(twin.headers), b"".join(twin.body))


def test_header_that_comes_twice(client: DirectIO, file_id: int) -> None:
    """Values of a header that comes twice are joined, as RFC 9110, section 5.3, allows."""
    _, headers, _ = answer(client, file_id, scope_of())
    scope = scope_of(if_none_match='"x"')
    scope["headers"].append((b"If-None-Match", headers["ETag"].encode()))
    assert answer(client, file_id, scope)[0] == 304


@pytest.mark.parametrize("where", ["portal", "storage"])
def test_silence_is_504(
    client: DirectIO,
    portal: Emulator,
    file_id: int,
    caplog: pytest.LogCaptureFixture,
    where: str,
) -> None:
    """Silence before the first byte becomes 504 at the timeout, and its threads end."""
    caplog.set_level(logging.WARNING, "ctera_direct_sync.aio")
    portal.faults.add(where, times=None, action=faults.stall())
    status, _, body = answer(client, file_id, scope_of(), timeout=0.2)
    assert (status, b"in time" in body) == (504, True)
    assert "no byte came within 0.2 seconds (timeout=)" in caplog.text
    for thread in bridge_threads():
        thread.join(20)
    assert not bridge_threads()


@pytest.mark.parametrize("timeout", [0, -1, math.nan])
def test_timeout_that_cannot_be(client: DirectIO, file_id: int, timeout: float) -> None:
    """Zero, a negative number and NaN are ValueErrors."""
    with pytest.raises(ValueError, match="timeout="):
        answer(client, file_id, scope_of(), timeout=timeout)


def test_timeout_that_is_none(client: DirectIO, file_id: int) -> None:
    """Infinity is a timeout that never comes."""
    assert answer(client, file_id, scope_of(), timeout=math.inf)[2] == DATA


def test_cancelled_before_the_first_byte(client: DirectIO, portal: Emulator, file_id: int) -> None:
    """A request that is cancelled while it waits for the first byte leaves nothing behind."""
    held = portal.faults.add("storage", times=None, action=faults.stall())

    async def ask() -> None:
        task = asyncio.ensure_future(aio.file_response(client, file_id, scope_of()))
        await asyncio.to_thread(held.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not bridge_threads())

    run(ask())


@pytest.mark.parametrize(
    "pieces", [(DATA[:-1],), (DATA[:100], DATA[100:-1]), (DATA, b"x"), (b"x", DATA)]
)
def test_body_of_another_length_raises(
    client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch, pieces: tuple[bytes, ...]
) -> None:
    """A body never ends as if it were whole, and gives no byte past its Content-Length."""
    stream_pieces(client, monkeypatch, *pieces)
    got: list[bytes] = []

    async def ask() -> None:
        response = await aio.file_response(client, file_id, scope_of())
        async for data in response.body:
            got.append(data)

    with pytest.raises(StreamError):
        run(ask())
    assert len(b"".join(got)) <= len(DATA)


def test_stream_without_a_byte_is_a_status(
    client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that ends before its first block is 502, not an empty file."""
    stream_pieces(client, monkeypatch)
    assert answer(client, file_id, scope_of())[0] == 502


class _Visitor:
    """The two sides of a connection, as a server gives them to an application."""

    def __init__(self, receive: Callable[[], Any], fails_after: int = 1000) -> None:
        self.receive = receive
        self.sent: list[Any] = []
        self._fails_after = fails_after

    async def send(self, message: Any) -> None:
        """Keep a message, or fail as newer servers do."""
        if len(self.sent) >= self._fails_after:
            raise OSError("gone")
        self.sent.append(message)


async def _never() -> Any:
    await asyncio.get_running_loop().create_future()


async def _gone() -> Any:
    return {"type": "http.disconnect"}


def visit(client: DirectIO, file_id: int, visitor: _Visitor, method: str = "GET") -> None:
    """Answer a visitor."""

    async def serve() -> None:
        scope = scope_of(method)
        response = await aio.file_response(client, file_id, scope)
        await response(scope, visitor.receive, visitor.send)

    run(serve())


@pytest.mark.parametrize(("method", "body"), [("GET", DATA), ("HEAD", b"")])
def test_messages(client: DirectIO, file_id: int, method: str, body: bytes) -> None:
    """A response is one start, the body, and one end."""
    visitor = _Visitor(_never)
    visit(client, file_id, visitor, method)
    start, *parts = visitor.sent
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    assert dict(start["headers"])[b"content-length"] == b"50000"
    assert b"".join(part["body"] for part in parts) == body
    assert [part["more_body"] for part in parts] == [True] * (len(parts) - 1) + [False]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_send_that_fails(client: DirectIO, file_id: int, count: int) -> None:
    """A visitor of whom the server tells by an OSError is gone: nothing more is sent or raised."""
    visitor = _Visitor(_never, fails_after=count)
    visit(client, file_id, visitor)
    assert len(visitor.sent) == count
    for thread in bridge_threads():
        thread.join(20)


def test_visitor_who_is_gone(client: DirectIO, portal: Emulator, file_id: int) -> None:
    """A visitor who left ends the response, while the storage is silent, too."""
    held = portal.faults.add("storage", block=2, times=None, action=faults.stall())

    async def leave() -> Any:
        await asyncio.to_thread(held.wait)
        return await _gone()

    visitor = _Visitor(leave)
    visit(client, file_id, visitor)
    assert all(message.get("more_body", True) for message in visitor.sent)
    for thread in bridge_threads():
        thread.join(20)
    assert not bridge_threads()


def test_body_that_is_told_again_and_again(client: DirectIO, file_id: int) -> None:
    """Middleware that has read the body repeats it without a wait. Other tasks run all the same."""

    async def repeat() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    visitor = _Visitor(repeat)
    visit(client, file_id, visitor)
    assert b"".join(part["body"] for part in visitor.sent[1:]) == DATA


def test_large_block_lists_are_digested_off_the_loop(
    client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ETag is a digest of all blocks, which may be hundreds of thousands."""
    threads: list[int] = []
    digest = Metadata.fingerprint.fget

    def note(metadata: Metadata) -> str:
        threads.append(threading.get_ident())
        return digest(metadata)

    monkeypatch.setattr(Metadata, "fingerprint", property(note))
    assert answer(client, file_id, scope_of())[2] == DATA
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("version", ["2.3", "2.4"])
def test_error_midway_under_starlette(
    client: DirectIO, portal: Emulator, file_id: int, version: str
) -> None:
    """The server hears of the storage's error, and not of a visitor who left."""
    requests = pytest.importorskip("starlette.requests")
    portal.faults.add("storage", block=3, times=None, action=faults.status(404))
    visitor = _Visitor(_never)

    async def serve() -> None:
        scope = {**scope_of(), "asgi": {"spec_version": version}}
        request = requests.Request(scope)
        response = await aio.starlette_response(request, client, file_id)
        await response(scope, visitor.receive, visitor.send)

    with pytest.raises(StreamError, match="offset 20000"):
        run(serve())
    assert all(message.get("more_body", True) for message in visitor.sent)
