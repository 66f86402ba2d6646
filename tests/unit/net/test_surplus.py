"""A connection serves another request only if its last answer ended exactly where its bytes do."""

from __future__ import annotations

import socket
from collections.abc import Iterable

import pytest
import requests

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._net.errors import TransportError
from ctera_direct_sync._net.response import WireResponse, render_request_head
from ctera_direct_sync._net.session import HTTPSession
from ctera_direct_sync._net.tls import TLS
from ctera_direct_sync.settings import Endpoint
from tests.support.net import serving
from tests.support.sessions import hooked

HEAD = b"HTTP/1.1 200 OK\r\n"
LENGTH = HEAD + b"Content-Length: 5\r\n\r\n12345"
EMPTY = HEAD + b"Content-Length: 0\r\n\r\n"
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n"
TRAILERS = CHUNKS[:-2] + b"X: y\r\nZ:\r\n\r\n"
LINE_ENDS = HEAD + b"Content-Length: 6\r\n\r\n\r\n\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + LENGTH
ANSWERS = [LENGTH, EMPTY, CHUNKS, TRAILERS, LINE_ENDS, NO_CONTENT, INTERIM]


def is_kept(segments: Iterable[bytes]) -> bool:
    """Return whether a connection is kept after an answer that comes in segments."""
    kept: list[bool] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:

        class Sock:
            """A socket that receives the segments one by one."""

            def __init__(self) -> None:
                self._left = iter(segments)
                self._started = False

            def sendall(self, data: bytes) -> None:
                pass

            def recv(self, size: int) -> bytes:
                theirs.sendall(next(self._left))
                return ours.recv(size)

            def recv_into(self, memory: memoryview) -> int:
                theirs.sendall(next(self._left))
                return ours.recv_into(memory)

        response = WireResponse(Sock(), "/", render_request_head("a", 80, 80, {}), kept.append)
        while response.read(3):
            pass
        response.close()
    return kept[0]


@pytest.mark.parametrize("answer", ANSWERS)
def test_connection_is_kept_after_a_whole_answer(answer: bytes) -> None:
    """An answer in one segment, and cut into two at each of its bytes, leaves the connection usable."""
    assert is_kept([answer])
    for at in range(1, len(answer)):
        assert is_kept([answer[:at], answer[at:]]), at
    assert is_kept([answer[at : at + 1] for at in range(len(answer))])


@pytest.mark.parametrize("surplus", [b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"x", LENGTH])
@pytest.mark.parametrize("answer", ANSWERS)
def test_connection_is_not_kept_with_a_surplus(answer: bytes, surplus: bytes) -> None:
    """Bytes that come along with the end of an answer end the connection: empty lines as well.

    llhttp skips line ends between two answers without a word.
    """
    assert not is_kept([answer + surplus])
    # The body of a declared length is read up to its end. The pool sees what follows.
    end = len(answer) if b"chunked" in answer else answer.index(b"\r\n\r\n", len(answer) // 2 - 5)
    for at in range(1, end):
        assert not is_kept([answer[:at], answer[at:] + surplus]), at


def test_connection_is_not_kept_after_chunks_of_http_1_0() -> None:
    """RFC 9112, section 6.1: chunks in an HTTP/1.0 answer are faulty framing."""
    chunks = CHUNKS.replace(b"1.1", b"1.0").replace(b"\r\n", b"\r\nConnection: keep-alive\r\n", 1)
    assert not is_kept([chunks])
    assert is_kept(
        [LENGTH.replace(b"1.1", b"1.0").replace(b"\r\n", b"\r\nConnection: keep-alive\r\n", 1)]
    )


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_connection_is_not_kept_after_close_and_keep_alive(version: bytes) -> None:
    """RFC 9112, section 9.3: "close" wins, whatever else the Connection header says."""
    fields = b"\r\nConnection: close, keep-alive\r\n"
    assert not is_kept([LENGTH.replace(b"1.1", version).replace(b"\r\n", fields, 1)])


@pytest.mark.parametrize("answer", [LENGTH, CHUNKS, TRAILERS, LINE_ENDS, INTERIM])
def test_connection_of_a_session_is_not_kept_with_a_surplus(answer: bytes) -> None:
    """On requests' route, bytes that were read ahead count as well."""

    def handle(connection: socket.socket, line: str, head: bytes) -> None:
        connection.sendall(answer + (LENGTH if line.startswith("GET /surplus") else b""))

    with serving(handle) as server:
        client = HTTPSession(Endpoint(timeout=10), TLS(True), session=hooked())
        connections = []
        for path in ("plain", "surplus", "plain", "plain"):
            with client.get(f"http://127.0.0.1:{server.port}/{path}", CancelScope()) as response:
                response.read(1000)
            connections.append(server.connections)
        client.close()
    assert connections == [1, 1, 2, 2]


@pytest.mark.parametrize("session", [None, hooked()])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 5\r\n\r\n12345",
        b"HTTP/1.1 199 Wait\r\nContent-Length: 5\r\n\r\nwrong" + LENGTH,
        b"HTTP/1.1 199 Wait\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + LENGTH,
        CHUNKS[:-2] + b"\0: y\r\n\r\n",
        CHUNKS[:-2] + b"no colon\r\n\r\n",
        CHUNKS[:-2] + b"X: y\n\r\n",
        CHUNKS.replace(b"5\r\n1", b"5 \r\n1"),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\n+1\r\n6\r\n0\r\n\r\n",
        CHUNKS[:-2] + b"X: y\r\n" * 40_000,
        CHUNKS[:-2] + b"X: " + b"y" * 200_000,
    ],
    ids=[
        "101",
        "interim",
        "interim chunks",
        "trailer",
        "no colon",
        "bare LF",
        "space",
        "end of a chunk",
        "trailers",
        "long trailer",
    ],
)
def test_malformed_answer(session: requests.Session | None, answer: bytes) -> None:
    """What is not HTTP is refused on both routes, also in trailers and between chunks."""

    def handle(connection: socket.socket, line: str, head: bytes) -> None:
        connection.sendall(answer)

    with serving(handle) as server:
        client = HTTPSession(Endpoint(timeout=10), TLS(True), session=session)
        with (
            pytest.raises(TransportError) as caught,
            client.get(f"http://127.0.0.1:{server.port}/", CancelScope()) as response,
        ):
            response.read(1000)
        client.close()
    assert caught.value.kind == "protocol"
