"""Any answer at all, over a pair of sockets: a response, or a fault, and never what no server sent."""

from __future__ import annotations

import http.client
import io
import itertools
import random
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctera_direct_sync._base.buffers import PooledBuffer
from ctera_direct_sync._net.errors import TransportError
from ctera_direct_sync._net.response import WireResponse, render_request_head

LIMIT = 5000

names = st.sampled_from(
    ["Content-Length", "Transfer-Encoding", "Connection", "ETag", "Upgrade", "x-a", "X-A"]
)
values = st.sampled_from(
    [
        "0",
        "5",
        "12",
        "-1",
        "5, 5",
        "chunked",
        "gzip, chunked",
        "close",
        "keep-alive",
        "h2c",
        "",
        "\xe4",
    ]
)
heads = st.builds(
    lambda version, status, fields: b"".join(
        [
            f"HTTP/{version} {status} Reason\r\n".encode(),
            *(f"{name}: {value}\r\n".encode("latin-1") for name, value in fields),
            b"\r\n",
        ]
    ),
    st.sampled_from(["1.0", "1.1"]),
    st.sampled_from([100, 200, 200, 200, 204, 206, 304, 403, 503]),
    st.lists(st.tuples(names, values), max_size=4),
)
bodies = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"12345", b"5\r\n12345\r\n0\r\n\r\n", b"5;x=y\r\n12345\r\n0\r\nT: x\r\n\r\n", b"5\r\n123"]
    ),
)
answers = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda first, head, body: first + head + body, st.one_of(st.just(b""), heads), heads, bodies
    ),
)


class Outcome:
    """What came of an answer: the fault's kind, or status, headers and body."""

    def __init__(self, answer: bytes, size: int = LIMIT, loan: PooledBuffer | None = None) -> None:
        self.fault = ""
        self.reusable: list[bool] = []
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(answer)
            theirs.shutdown(socket.SHUT_WR)
            try:
                response = WireResponse(
                    ours, "/", render_request_head("a", 80, 80, {}), self.reusable.append
                )
            except TransportError as fault:
                self.fault = fault.kind
                return
            self.status, self.headers, self.length = (
                response.status, response.headers, response.length
            )  # fmt: skip
            try:
                parts = [bytes(response.read(size, loan))]
                while parts[-1] and len(parts) * size < LIMIT:
                    parts.append(bytes(response.read(size, loan)))
                self.body = b"".join(parts)
            except TransportError as fault:
                self.fault = fault.kind
            finally:
                response.close()


def by_http_client(answer: bytes) -> tuple[int, bytes] | None:
    """The standard library's reading of the same answer; None where it refuses it."""

    class Sock:
        def makefile(self, mode: str) -> io.BufferedReader:
            return io.BufferedReader(io.BytesIO(answer))  # type: ignore[arg-type]

    response = http.client.HTTPResponse(Sock(), method="GET")  # type: ignore[arg-type]
    try:
        response.begin()
        return response.status, response.read()
    except (http.client.HTTPException, ValueError, OSError):
        return None


@settings(max_examples=1000)
@given(answers)
def test_any_answer(answer):
    """What is accepted, the standard library reads alike; nothing else comes out than a fault."""
    outcome = Outcome(answer)
    if outcome.fault:
        assert outcome.fault in ("connection", "protocol", "short")
        return
    if outcome.length is not None and len(outcome.body) < outcome.length:
        return  # The caller's to judge: it knows both numbers.
    theirs = by_http_client(answer)
    if answer.startswith((b"HTTP/1.0 10", b"HTTP/1.1 10")):
        return  # It knows no interim response but 100, and no headers of that one.
    if outcome.status in (204, 304):
        assert outcome.body == b""
        return
    assert theirs == (outcome.status, outcome.body)


@given(answers, st.integers(1, 20), st.booleans())
def test_any_way_to_take_it(answer, size, lend):
    """A body is the same in pieces as at once, in lent memory as in new."""
    whole, pieces = (
        Outcome(answer),
        Outcome(answer, size, PooledBuffer(bytearray()) if lend else None),
    )
    if whole.fault or pieces.fault:
        # In pieces the malformed end of a body may not be reached.
        assert whole.fault in (pieces.fault, *("short", "protocol") * (not pieces.fault))
        return
    assert (whole.status, whole.headers) == (pieces.status, pieces.headers)
    assert pieces.body == whole.body


@pytest.mark.parametrize(
    ("host", "port", "default", "line"),
    [
        ("a.example.com", 443, 443, b"Host: a.example.com\r\n"),
        ("a.example.com", 8443, 443, b"Host: a.example.com:8443\r\n"),
        ("::1", 80, 80, b"Host: [::1]\r\n"),
        ("::1", 8080, 80, b"Host: [::1]:8080\r\n"),
    ],
)
def test_host(host, port, default, line):
    """The Host header leaves out the scheme's own port, which signatures leave out too."""
    assert line in render_request_head(host, port, default, {"Accept": "*/*"})


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nX: b", "a\r"])
def test_header_that_is_none(value):
    """A header that would smuggle in another is refused."""
    with pytest.raises(ValueError, match="Invalid header"):
        render_request_head("a", 80, 80, {"X-Token": value})


@pytest.mark.parametrize("lend", ["never", "always", "in turns"])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("step", [1000, 30_000, 70_000])
def test_body_in_steps(framing, step, lend):
    """A body longer than any read of the socket is read on where the last step stopped, not after."""
    body = random.Random(1).randbytes(200_000)
    head, coded = {
        "length": (b"Content-Length: %d\r\n" % len(body), body),
        "chunked": (
            b"Transfer-Encoding: chunked\r\n",
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
        ),
        "close": (b"", body),
    }[framing]
    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(theirs.sendall, b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + coded)
        sent.add_done_callback(lambda _: theirs.shutdown(socket.SHUT_WR))
        response = WireResponse(
            ours, "/", render_request_head("a", 80, 80, {}), lambda reusable: None
        )
        got = b""
        for count in itertools.count():
            lends = lend == "always" or (lend == "in turns" and count % 2)
            part = bytes(response.read(step, PooledBuffer(bytearray()) if lends else None))
            if not part:
                break
            got += part
            assert body.startswith(got), f"wrong from {len(got) - len(part)} on"
        response.close()
        assert got == body


class _Decrypting(socket.socket):
    """A socket that has bytes at hand, as TLS has when it decrypted more than was read.

    It is not an SSLSocket, as none is whose class gevent replaced after this module was imported.
    """

    def pending(self) -> int:
        """Return how many bytes were decrypted and not read."""
        return 5


@pytest.mark.parametrize(("kind", "reusable"), [(socket.socket, True), (_Decrypting, False)])
def test_connection_with_more_than_the_response_is_not_used_again(kind, reusable):
    """What came after the response would be taken for the answer to the next request."""
    ended: list[bool] = []
    plain, theirs = socket.socketpair()
    with kind(fileno=plain.detach()) as ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345")
        response = WireResponse(ours, "/", render_request_head("a", 80, 80, {}), ended.append)
        assert bytes(response.read(LIMIT, None)) == b"12345"
        response.close()
    assert ended == [reusable]
