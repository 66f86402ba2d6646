"""The fast route over real sockets: answers, connections, and what is sent."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import ssl
import threading
import traceback
from collections.abc import Iterator

import pytest
import requests
import urllib3
from urllib3 import exceptions as u3
from urllib3.util import SKIP_HEADER

from ctera_direct_sync._base.buffers import PooledBuffer
from ctera_direct_sync._base.cancellation import Cancelled, CancelScope
from ctera_direct_sync._net.errors import TransportError, to_transport_error
from ctera_direct_sync._net.pool import pool_classes
from ctera_direct_sync._net.response import WireResponse
from ctera_direct_sync._net.session import HTTPSession
from ctera_direct_sync._net.tls import TLS
from ctera_direct_sync.emulator.tls import Certificates
from ctera_direct_sync.settings import Endpoint
from tests.support.wire import LIMIT, PATH, assert_hidden

# --- real failures ---------------------------------------------------------------------------------------


@pytest.fixture
def quiet_port() -> Iterator[int]:
    """A port without a listener: bound, so that no other program can listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def answering() -> Iterator:
    """A function that starts a server which reads a request and answers with given bytes."""
    servers: list[tuple[socket.socket, threading.Thread]] = []

    def start(reply: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                got = b""
                while b"\r\n\r\n" not in got:
                    got += connection.recv(65536)
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        servers.append((listener, thread))
        return listener.getsockname()[1]

    yield start
    for listener, thread in servers:
        thread.join()
        listener.close()


@pytest.fixture
def http_client() -> Iterator[HTTPSession]:
    """An HTTP over a session of its own."""
    opened = HTTPSession(Endpoint(timeout=5), TLS(True))
    yield opened
    opened.close()


def test_real_urllib3_error(quiet_port):
    """urllib3's own error of a refused connection quotes the signature; ours does not."""
    with urllib3.HTTPConnectionPool("127.0.0.1", quiet_port) as pool, pytest.raises(
        u3.MaxRetryError, match="c0ffee"
    ) as caught:  # fmt: skip
        pool.urlopen("GET", PATH, retries=urllib3.Retry(0))
    fault = to_transport_error(caught.value)
    assert (fault.kind, fault.errno) == ("connection", errno.ECONNREFUSED)
    assert_hidden(fault)


def test_real_requests_error(quiet_port):
    """So with requests, which wraps that once more."""
    with requests.Session() as session, pytest.raises(
        requests.ConnectionError, match="c0ffee"
    ) as caught:  # fmt: skip
        session.get(f"http://127.0.0.1:{quiet_port}{PATH}")
    fault = to_transport_error(caught.value)
    assert (fault.kind, fault.errno) == ("connection", errno.ECONNREFUSED)
    assert_hidden(fault)


def test_refused(http_client, quiet_port):
    """A refused connection raises with nothing of the URL's query reachable from the fault."""
    with pytest.raises(TransportError) as caught:
        http_client.get(f"http://127.0.0.1:{quiet_port}{PATH}", CancelScope())
    assert (caught.value.kind, caught.value.errno) == ("connection", errno.ECONNREFUSED)
    assert_hidden(caught.value)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"", "connection"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "protocol"),
        (b"HTTP/1.1 abc\r\n\r\n", "protocol"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "protocol"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 90_000, "protocol"),
        (b"HTTP/1.1 200 OK\r\nX: x\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nX: x\r\n folded\r\n\r\n", "protocol"),
    ],
)
def test_answer_that_is_no_http(http_client, answering, reply, kind):
    """An answer that is none is a fault before there is a response."""
    port = answering(reply)
    with pytest.raises(TransportError) as caught:
        http_client.get(f"http://127.0.0.1:{port}{PATH}", CancelScope())
    assert caught.value.kind == kind
    assert_hidden(caught.value)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"Content-Length: 10\r\n\r\n12345", "short"),
        (b"Content-Length: 10001\r\n\r\n", "long"),
        (b"Connection: close\r\n\r\n" + bytes(LIMIT + 1), "long"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n", "short"),
        (b"Transfer-Encoding: chunked\r\n\r\nlots\r\n12345\r\n", "protocol"),
    ],
)
def test_body_that_is_wrong(http_client, answering, reply, kind):
    """A body that is cut or too long is a fault of its kind."""
    port = answering(b"HTTP/1.1 200 OK\r\n" + reply)
    with pytest.raises(TransportError) as caught, http_client.get(
        f"http://127.0.0.1:{port}{PATH}", CancelScope()
    ) as response:  # fmt: skip
        response.read(LIMIT)
    assert caught.value.kind == kind
    assert_hidden(caught.value)


@pytest.mark.parametrize(
    "reply",
    [
        b"Content-Length: 5\r\n\r\n12345",
        b"Connection: close\r\n\r\n12345",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n12\r\n3\r\n345\r\n0\r\n\r\n",
    ],
)
def test_body(http_client, answering, reply):
    """A body comes whole in each way of marking its end."""
    port = answering(b"HTTP/1.1 200 OK\r\n" + reply)
    with http_client.get(f"http://127.0.0.1:{port}{PATH}", CancelScope()) as response:
        assert response.status == 200
        assert response.read(5) == b"12345"


@pytest.mark.parametrize(
    "text", ["", "-1", "5x", "\xb2", "1.0", " ", "5, 5", "5\r\nContent-Length: 6", "9" * 40]
)
def test_content_length_that_makes_no_sense(answering, http_client, text):
    """Where a body ends cannot be known then: nothing of it is used (RFC 9112, section 6.3)."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {text}\r\nConnection: close\r\n\r\n12345"
    port = answering(head.encode("latin-1"))
    with pytest.raises(TransportError) as caught:
        http_client.get(f"http://127.0.0.1:{port}{PATH}", CancelScope())
    assert caught.value.kind == "protocol"


@pytest.mark.parametrize(
    "upgrade", [b"", b"Upgrade: h2,h2c\r\nConnection: Upgrade, Keep-Alive\r\n"]
)
@pytest.mark.parametrize(
    "interim", [b"", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX: 0\r\n\r\n"]
)
def test_headers(answering, http_client, interim, upgrade):
    """Names in lower case, equal ones joined; interim responses and an offer to upgrade do no harm."""
    port = answering(
        interim
        + b"HTTP/1.1 200 OK\r\n"
        + upgrade
        + b"X-Goog-Hash: crc32c=a\r\nx-goog-hash: md5=b\r\n"
        b"ETag: \xe4\r\nContent-Length: 5\r\n\r\n12345"
    )
    with http_client.get(f"http://127.0.0.1:{port}{PATH}", CancelScope()) as response:
        assert response.headers["x-goog-hash"] == "crc32c=a, md5=b"
        assert response.headers["etag"] == "\xe4"
        assert "x" not in response.headers
        assert response.read(5) == b"12345"


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_a_body(answering, http_client, status):
    """No body follows these, whatever they declare (RFC 9110, section 6.4.1)."""
    port = answering(b"HTTP/1.1 %d .\r\nETag: x\r\n\r\n" % status)
    with http_client.get(f"http://127.0.0.1:{port}{PATH}", CancelScope()) as response:
        assert (response.status, response.read(LIMIT)) == (status, b"")


@pytest.mark.parametrize("size", [0, 1, 15_000, 40_000, 2_500_000])
@pytest.mark.parametrize("lend", [False, True])
def test_body_larger_than_what_came_with_its_head(answering, http_client, size, lend):
    """It matters neither whether the first read of the socket has it all nor where it goes."""
    body = random.Random(size).randbytes(size)
    port = answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body)
    loan = PooledBuffer(bytearray()) if lend else None
    with http_client.get(f"http://127.0.0.1:{port}{PATH}", CancelScope()) as response:
        assert response.read(size, loan) == body


def _line(file) -> bytes:
    try:
        return file.readline()
    except ConnectionError:
        return b""


@pytest.fixture
def serving() -> Iterator:
    """A function that starts a server with an answer for each request; it tells who asked."""
    servers: list[tuple[socket.socket, threading.Thread]] = []

    def start(*replies: bytes) -> tuple[int, list[int]]:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(10)
        askers: list[int] = []

        def serve() -> None:
            left = list(replies)
            while left:
                connection, address = listener.accept()
                with connection, connection.makefile("rb") as file:
                    while left and _line(file):
                        while file.readline() not in (b"\r\n", b""):
                            pass
                        askers.append(address[1])
                        with contextlib.suppress(ConnectionError):  # Not all of it is wanted.
                            connection.sendall(left.pop(0))

        thread = threading.Thread(target=serve)
        thread.start()
        servers.append((listener, thread))
        return listener.getsockname()[1], askers

    yield start
    for listener, thread in servers:
        thread.join()
        listener.close()


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345", True),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\nT: x\r\n\r\n",
            True,
        ),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n12345", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n12345", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345HTTP/1.1 500 No\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345 and more", False),
    ],
)
def test_connection_is_kept(serving, http_client, reply, kept):
    """A connection serves the next request, unless the answer says or shows that it cannot."""
    port, askers = serving(reply, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    for size in (5, 0):
        with http_client.get(f"http://127.0.0.1:{port}{PATH}", CancelScope()) as response:
            assert response.read(LIMIT) == b"12345"[:size]
    assert len(set(askers)) == (1 if kept else 2)


@pytest.mark.parametrize("size", [5000, 20_000, 100_000])
@pytest.mark.parametrize("lend", [False, True])
@pytest.mark.parametrize("secure", [False, True])
def test_answer_that_nobody_asked_for(size, lend, secure):
    """What comes after a response is not taken for the next one, however much of it TLS has read ahead."""

    def reply(letter: bytes, size: int) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + letter * size

    certificates = Certificates("127.0.0.1")
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)
    sent = threading.Semaphore(0)

    def serve() -> None:
        with contextlib.ExitStack() as stack:
            for answer in (reply(b"a", size) + reply(b"!", 1), reply(b"b", size)):
                try:
                    connection, _ = listener.accept()
                except socket.timeout:
                    return  # No connection came: the first connection was used again.
                if secure:
                    connection = certificates.context.wrap_socket(connection, server_side=True)
                stack.enter_context(connection)
                connection.recv(65536)
                connection.sendall(answer)
                sent.release()
            done.wait(30)

    done = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    client = HTTPSession(Endpoint(timeout=5), TLS(certificates.bundle))
    url = f"{'https' if secure else 'http'}://127.0.0.1:{listener.getsockname()[1]}{PATH}"
    got = b""
    try:
        for _ in range(2):
            with client.get(url, CancelScope()) as response:
                got += bytes(response.read(size, PooledBuffer(bytearray()) if lend else None))[-1:]
            assert sent.acquire(timeout=30)  # All of it is here, or in this machine's buffers.
    finally:
        done.set()
        client.close()
        thread.join()
        listener.close()
        certificates.remove()
    assert got == b"ab"


def test_connection_with_a_body_unread_is_not_kept(serving, http_client):
    """What was not read would be taken for the next answer."""
    port, askers = serving(
        b"HTTP/1.1 503 No\r\nContent-Length: 90000\r\n\r\n" + bytes(90_000),
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    )
    with http_client.get(f"http://127.0.0.1:{port}{PATH}", CancelScope()) as response:
        assert response.status == 503
    with http_client.get(f"http://127.0.0.1:{port}{PATH}", CancelScope()) as response:
        assert response.status == 200
    assert len(set(askers)) == 2


def test_parts_of_a_chunked_body(serving, http_client):
    """A body of chunks is read on where the last read stopped."""
    port, _ = serving(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n5\r\n56789\r\n0\r\n\r\n"
    )
    with http_client.get(f"http://127.0.0.1:{port}{PATH}", CancelScope()) as response:
        assert response.read_window(2, 3) == b"345"
        assert response.read_window(1, LIMIT) == b"789"


def test_cancelled_before(http_client, quiet_port):
    """A cancelled scope makes no request."""
    scope = CancelScope()
    scope.cancel()
    with pytest.raises(Cancelled):
        http_client.get(f"http://127.0.0.1:{quiet_port}{PATH}", scope)


def test_ca_bundle_that_is_not_there(tmp_path):
    """A CA bundle that does not exist is an error when the client is made."""
    with pytest.raises(FileNotFoundError, match="there is no CA bundle"):
        TLS(str(tmp_path / "ca.pem"))


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_ca_bundle_of_the_environment(variable, monkeypatch, tmp_path):
    """The environment's CA bundle is used where the settings leave it at True."""
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    monkeypatch.setenv(variable, str(bundle))
    assert TLS(True).verify == str(bundle)
    assert TLS(False).verify is False


def test_no_verification():
    """ssl=False verifies nothing, and only that does."""
    assert TLS(False).context.verify_mode == ssl.CERT_NONE
    context = TLS(True).context
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


# --- what is sent ----------------------------------------------------------------------------------------


def sent_by(headers: dict) -> list[str]:
    """The request's lines, of a session with these headers."""
    lines: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as file:
            while line := file.readline().strip():
                lines.append(line.decode("latin-1"))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    session = requests.Session()
    session.headers.update(headers)
    thread = threading.Thread(target=serve)
    thread.start()
    opened = HTTPSession(Endpoint(timeout=5), TLS(True), session=session)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}{PATH}"
    with opened.get(url, CancelScope(), {"Range": "bytes=0-1"}) as response:
        assert response.read(0) == b""
    thread.join()
    opened.close()
    listener.close()
    return lines


def test_headers_of_a_session():
    """A session's own Host goes out once, what it leaves out stays out, and ours are not sent twice."""
    lines = sent_by(
        {
            "Host": "storage.example",
            "User-Agent": SKIP_HEADER,
            "accept-encoding": "br",
            "range": "bytes=5-6",
            "X-None": None,
            "X-Bytes": b"x\xe4",
        },
    )
    assert lines[0] == f"GET {PATH} HTTP/1.1"
    names = [line.partition(":")[0].lower() for line in lines[1:]]
    assert len(names) == len(set(names))
    assert "Host: storage.example" in lines and "X-Bytes: x\xe4" in lines
    assert "Accept-Encoding: identity" in lines and "Range: bytes=0-1" in lines
    assert not {"user-agent", "x-none"} & set(names)


def test_dot_at_the_end_of_a_host():
    """A fully qualified name is asked for without its dot, as it is signed."""
    with pool_classes()["http"]("storage.example.", 8080) as pool:
        assert b"\r\nHost: storage.example:8080\r\n" in pool.render_head({})


def test_session_whose_threads_wait_for_a_connection():
    """A pool that makes threads wait is left to requests."""
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_block=True))
    with session:
        client = HTTPSession(Endpoint(timeout=5), TLS(True), session=session)
        assert client._find_route(client._routes, "http://a").pool is None


@pytest.mark.parametrize("callback", ["on_header", "on_headers_complete", "on_message_complete"])
def test_interrupt_in_a_callback(answering, http_client, monkeypatch, callback):
    """Ctrl-C is not taken for a malformed answer, nor lost."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(WireResponse, callback, interrupt)
    port = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(KeyboardInterrupt):
        http_client.get(f"http://127.0.0.1:{port}{PATH}", CancelScope())


def test_fault_keeps_no_request(answering, http_client):
    """A fault's traceback does not lead to the frames that hold the request's target and headers."""
    port = answering(b"")
    with pytest.raises(TransportError) as caught:
        http_client.get(f"http://127.0.0.1:{port}{PATH}", CancelScope())
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names == ["test_fault_keeps_no_request", "get"]


@pytest.mark.parametrize(
    ("coding", "kind"), [("gzip, chunked", "protocol"), ("br", "protocol"), ("identity", "")]
)
def test_transfer_coding(answering, http_client, coding, kind):
    """A coding that is not taken off again is refused, where its bytes would pass for the object's."""
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n"
    port = answering(head.encode() + b"5\r\n12345\r\n0\r\n\r\n")
    try:
        with http_client.get(f"http://127.0.0.1:{port}{PATH}", CancelScope()) as response:
            assert response.read(LIMIT) == b"5\r\n12345\r\n0\r\n\r\n"
    except TransportError as fault:
        assert fault.kind == kind
    else:
        assert not kind
