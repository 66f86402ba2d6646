"""The same answer gives the same result on the fast route and on requests' own, directly or by a proxy."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._net.errors import TransportError
from ctera_direct_sync._net.session import HTTPSession
from ctera_direct_sync._net.tls import TLS
from ctera_direct_sync.settings import Endpoint
from tests.support.net import always, proxy_handler, serving
from tests.support.sessions import hooked

LIMIT = 1000
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

#: What came, and what it is: a fault's kind, or status and body.
ANSWERS: dict[str, tuple[bytes, object]] = {
    "length": (OK + b"Content-Length: 5\r\n\r\n12345", (200, b"12345")),
    "close": (OK + b"\r\n12345", (200, b"12345")),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n12345", (200, b"12345")),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n12345", (200, b"12345")),
    "chunked": (CHUNKED + b"5\r\n12345\r\n0\r\n\r\n", (200, b"12345")),
    "chunk extension": (CHUNKED + b"5;a=b\r\n12345\r\n0\r\n\r\n", (200, b"12345")),
    "trailers": (CHUNKED + b"5\r\n12345\r\n0\r\nX: y\r\n\r\n", (200, b"12345")),
    "TE in capitals": (
        OK + b"Transfer-Encoding: Chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n", (200, b"12345")),
    "interim": (
        b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Go\r\n\r\n" + OK
        + b"Content-Length: 5\r\n\r\n12345", (200, b"12345")),
    "150 headers": (
        OK + b"".join(b"X-%d: y\r\n" % n for n in range(150)) + b"Content-Length: 5\r\n\r\n12345",
        (200, b"12345")),
    "206": (
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-4/9\r\nContent-Length: 5\r\n\r\n12345",
        (206, b"12345")),
    "204 with a length": (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", (204, b"")),
    "surplus": (OK + b"Content-Length: 5\r\n\r\n12345HTTP/1.1 500 No\r\n\r\n", (200, b"12345")),
    "empty header": (OK + b"X:\r\nContent-Length: 5\r\n\r\n12345", (200, b"12345")),
    "space before the length": (OK + b"Content-Length:    5  \r\n\r\n12345", (200, b"12345")),
    "two equal lengths": (
        OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n12345", "protocol"),
    "lengths in a list": (OK + b"Content-Length: 5, 5\r\n\r\n12345", "protocol"),
    "two lengths": (OK + b"Content-Length: 5\r\nContent-Length: 4\r\n\r\n12345", "protocol"),
    "length with a sign": (OK + b"Content-Length: +5\r\n\r\n12345", "protocol"),
    "negative length": (OK + b"Content-Length: -5\r\n\r\n12345", "protocol"),
    "length in hex": (OK + b"Content-Length: 0x5\r\n\r\n12345", "protocol"),
    "length with an underscore": (OK + b"Content-Length: 1_0\r\n\r\n1234567890", "protocol"),
    "empty length": (OK + b"Content-Length:\r\n\r\n12345", "protocol"),
    "length beyond all": (OK + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n12345", "protocol"),
    "folded header": (OK + b"X: a\r\n b\r\nContent-Length: 5\r\n\r\n12345", "protocol"),
    "folded first": (OK + b" X: a\r\nContent-Length: 5\r\n\r\n12345", "protocol"),
    "no colon": (OK + b"Nonsense\r\nContent-Length: 5\r\n\r\n12345", "protocol"),
    "space before the colon": (OK + b"X : a\r\nContent-Length: 5\r\n\r\n12345", "protocol"),
    "zero byte": (OK + b"X: a\x00b\r\nContent-Length: 5\r\n\r\n12345", "protocol"),
    "bare CR": (OK + b"X: a\rb\r\nContent-Length: 5\r\n\r\n12345", "protocol"),
    "length and chunked": (
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n",
        "protocol"),
    "gzip, chunked": (
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n", "protocol"),
    "HTTP/2.0": (b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\n12345", "protocol"),
    "status of two digits": (b"HTTP/1.1 99 OK\r\nContent-Length: 5\r\n\r\n12345", "protocol"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "protocol"),
    "endless header": (OK + b"X: " + b"x" * 90_000, "protocol"),
    "cut amid the headers": (OK + b"X: x\r\n", "protocol"),
    "nothing": (b"", "connection"),
    "cut": (OK + b"Content-Length: 10\r\n\r\n12345", "short"),
    "chunked, cut": (CHUNKED + b"5\r\n123", "short"),
    "chunked, cut between": (CHUNKED + b"5\r\n12345\r\n", "short"),
    "long": (OK + b"Content-Length: 1001\r\n\r\n", "long"),
    "chunk size with a sign": (CHUNKED + b"+5\r\n12345\r\n0\r\n\r\n", "protocol"),
    "chunk size as in C": (CHUNKED + b"0x5\r\n12345\r\n0\r\n\r\n", "protocol"),
    "chunk size with an underscore": (CHUNKED + b"0_5\r\n12345\r\n0\r\n\r\n", "protocol"),
    "no chunk size": (CHUNKED + b"lots\r\n12345\r\n0\r\n\r\n", "protocol"),
    "chunk longer than its size": (CHUNKED + b"5\r\n123456\r\n0\r\n\r\n", "protocol"),
}  # fmt: skip


@pytest.mark.parametrize("route", ["fast", "session", "proxy", "session and proxy"])
@pytest.mark.parametrize("case", ANSWERS)
def test_answer(monkeypatch: pytest.MonkeyPatch, route: str, case: str) -> None:
    """Whatever is legal and used is taken, whatever is not is refused, however it came."""
    reply, expected = ANSWERS[case]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(always(reply)))
        if "proxy" in route:
            proxy = stack.enter_context(serving(proxy_handler()))
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        session = hooked() if "session" in route else None
        client = HTTPSession(Endpoint(timeout=10), TLS(True), session=session)
        stack.callback(client.close)
        result: Any
        try:
            with client.get(f"http://127.0.0.1:{server.port}/o", CancelScope()) as response:
                result = response.status, bytes(response.read(LIMIT))
        except TransportError as fault:
            result = fault.kind
    assert result == expected


@pytest.mark.parametrize("route", ["fast", "session"])
def test_headers(route: str) -> None:
    """Names in lower case, equal ones joined, bytes beyond ASCII as Latin-1, in all routes alike."""
    reply = OK + b"X-A: 1\r\nx-a: 2\r\nETag: \xe4\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    with serving(always(reply)) as server:
        session = hooked() if route == "session" else None
        client = HTTPSession(Endpoint(timeout=10), TLS(True), session=session)
        with client.get(f"http://127.0.0.1:{server.port}/o", CancelScope()) as response:
            found = response.headers["x-a"], response.headers["etag"]
        client.close()
    assert found == ("1, 2", "\xe4")
    assert session is None or session.cookies.get_dict() == {"a": "b"}


def test_connection_of_a_session_is_kept() -> None:
    """A session's connection serves the next request, where the answer allows it."""
    reply = OK + b"Content-Length: 5\r\n\r\n12345"
    with serving(lambda connection, line, head: connection.sendall(reply)) as server:
        client = HTTPSession(Endpoint(timeout=10), TLS(True), session=hooked())
        for _ in range(3):
            with client.get(f"http://127.0.0.1:{server.port}/o", CancelScope()) as response:
                assert response.read(LIMIT) == b"12345"
        client.close()
        assert server.connections == 1
