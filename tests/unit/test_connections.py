"""Who counts the time that a read may take: the kernel where it can, else Python."""

from __future__ import annotations

import contextlib
import errno
import pathlib
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from ctera_direct_sync._base.buffers import PooledBuffer
from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._net.errors import TransportError
from ctera_direct_sync._net.linux import HAS_KERNEL_TIMEOUTS
from ctera_direct_sync._net.pool import Pool
from ctera_direct_sync._net.session import _MAX_IDLE_S, _MAX_ORIGINS, HTTPSession
from ctera_direct_sync._net.tls import TLS
from ctera_direct_sync.emulator.tls import Certificates
from ctera_direct_sync.settings import Endpoint
from tests.support.net import Server, answer, serving

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
SHORT = 0.05
needs_kernel = pytest.mark.skipif(not HAS_KERNEL_TIMEOUTS, reason="Python counts on this system")


class Listener:
    """Answers each request with the same bytes, and then says nothing more until it is closed."""

    def __init__(self, reply: bytes, context: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._reply = reply
        self._context = context
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self._socket.getsockname()[1]}/object"

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                with connection:
                    while connection.recv(65536):
                        connection.sendall(self._reply)

    def close(self) -> None:
        """The peers that are connected by now must have gone."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@contextlib.contextmanager
def listening(reply: bytes, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """The URL of a :class:`Listener`."""
    listener = Listener(reply, context)
    try:
        yield listener.url
    finally:
        listener.close()


@contextlib.contextmanager
def opened(timeout: float, bundle: bool | str = True) -> Iterator[HTTPSession]:
    """An HTTP with that read timeout."""
    client = HTTPSession(Endpoint(timeout=(5, timeout)), TLS(bundle))
    try:
        yield client
    finally:
        client.close()


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("reply", [b"", HEAD[:20], HEAD, HEAD + bytes(5000)])
@pytest.mark.parametrize("lend", [False, True])
def test_silence_ends(reply: bytes, secure: bool, lend: bool) -> None:
    """A server that stops before or amid its answer is a timeout, on a bare socket and over TLS."""
    certificates = Certificates("127.0.0.1")
    with contextlib.ExitStack() as stack:
        stack.callback(certificates.remove)
        url = stack.enter_context(listening(reply, certificates.context if secure else None))
        client = stack.enter_context(opened(SHORT, certificates.bundle))
        caught = stack.enter_context(pytest.raises(TransportError))
        with client.get(url, CancelScope()) as response:
            response.read(200_000, PooledBuffer(bytearray()) if lend else None)
    assert (caught.value.kind, caught.value.errno) == ("timeout", errno.ETIMEDOUT)


def in_worker(call: Callable[[], None]) -> None:
    """Run a part of a test on a thread that is not the main one, where the kernel may count."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(call).result()


def connection_of(client: HTTPSession, url: str) -> object:
    """The one connection that a client has, not in use."""
    pool = client._routes[url.rpartition("/")[0]].pool
    assert isinstance(pool, Pool)
    return pool.pool.queue[-1]


def counted(sock: socket.socket) -> tuple[int, int]:
    """Seconds and microseconds that the kernel counts on a socket."""
    seconds, micros = struct.unpack(
        "ll", sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
    )
    return seconds, micros


@needs_kernel
@pytest.mark.parametrize(("timeout", "expected"), [(5, (5, 0)), (2.5, (2, 500_000)), (1e300, None)])
def test_the_kernel_counts(timeout: float, expected: tuple[int, int] | None) -> None:
    """A bare socket is a blocking one, with its read timeout in the kernel."""
    with (
        listening(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as url,
        opened(timeout) as client,
    ):
        in_worker(lambda: fetch(client, url))
        sock = connection_of(client, url).sock  # type: ignore[attr-defined]
        assert sock.gettimeout() is None
        if expected is not None:
            assert counted(sock) == expected


def fetch(client: HTTPSession, url: str) -> None:
    """GET an empty body."""
    with client.get(url, CancelScope()) as response:
        assert response.read(0) == b""


@needs_kernel
def test_less_than_the_kernel_counts() -> None:
    """A timeout under a microsecond is not taken for none."""
    with listening(b"") as url, opened(1e-9) as client, pytest.raises(TransportError) as caught:
        in_worker(lambda: fetch(client, url))
    assert caught.value.kind == "timeout"


@needs_kernel
def test_urllib3_counts_by_itself() -> None:
    """A connection that urllib3 uses next has no timeout but urllib3's, and gets ours back after that."""
    with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as url, opened(5) as client:
        for _ in range(2):
            in_worker(lambda: fetch(client, url))
            connection = connection_of(client, url)
            sock = connection.sock  # type: ignore[attr-defined]
            assert counted(sock) == (5, 0)
            pool = client._routes[url.rpartition("/")[0]].pool
            assert pool is not None
            assert pool.urlopen("GET", "/object", timeout=None).status == 200
            assert connection_of(client, url) is connection
            assert connection.sock is sock  # type: ignore[attr-defined]
            assert counted(sock) == (0, 0)
        assert pool.urlopen("GET", "/object", timeout=7).status == 200
        in_worker(lambda: fetch(client, url))
        assert sock.gettimeout() is None
        assert counted(sock) == (5, 0)


def test_sockets_that_never_block() -> None:
    """gevent's sockets do not block, so no kernel would count: the timeout holds all the same."""
    pytest.importorskip("gevent")
    program = pathlib.Path(__file__).parent / "programs" / "wait_by_gevent.py"
    with listening(HEAD) as url:
        done = subprocess.run(
            [sys.executable, str(program), url], capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["timeout", "timeout"]


# --- signals -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no interval timers")
@pytest.mark.parametrize("reply", [b"", HEAD])
def test_signals_do_not_prolong_a_read(reply: bytes) -> None:
    """A read that signals interrupt again and again ends within its timeout all the same."""
    ticks: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: ticks.append(number))
    try:
        with listening(reply) as url, opened(0.5) as client:
            signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
            started = time.monotonic()
            with (
                pytest.raises(TransportError) as caught,
                client.get(url, CancelScope()) as response,
            ):
                response.read(200_000)
            elapsed = time.monotonic() - started
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert caught.value.kind == "timeout"
    assert len(ticks) > 3 and elapsed < 20


# --- unused connections ----------------------------------------------------------------------------------


@contextlib.contextmanager
def origins(count: int) -> Iterator[list[Server]]:
    """Several servers that answer any number of requests."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                serving(lambda connection, line, head: connection.sendall(answer(b"x")))
            )
            for _ in range(count)
        ]


def ask(client: HTTPSession, server: Server) -> None:
    """GET one byte."""
    with client.get(f"http://127.0.0.1:{server.port}/o", CancelScope()) as response:
        assert response.read(1) == b"x"


def connected(client: HTTPSession) -> int:
    """How many connections a client keeps."""
    manager = client._session.get_adapter("http://a").poolmanager  # type: ignore[attr-defined]
    # Its container's own: asking it for one would make that the one used last.
    pools = list(manager.pools._container.values())
    kept = [connection for pool in pools for connection in pool.pool.queue]
    return sum(connection is not None and connection.sock is not None for connection in kept)


@pytest.mark.parametrize("session", [None, requests.Session])
def test_connections_to_the_last_origins_are_kept(session: type | None) -> None:
    """A session keeps connections to some origins, those that were asked last, not to all."""
    client = HTTPSession(Endpoint(timeout=10), TLS(True), session=session() if session else None)
    with origins(_MAX_ORIGINS + 3) as servers:
        for server in servers:
            ask(client, server)
        assert connected(client) == len(client._routes) == _MAX_ORIGINS
        ask(client, servers[-1])
        assert servers[-1].connections == 1
        ask(client, servers[0])
        assert servers[0].connections == 2
        assert connected(client) == _MAX_ORIGINS
        client.close()


def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is no longer asked loses its connection while others are asked."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    client = HTTPSession(Endpoint(timeout=10), TLS(True))
    with origins(2) as (left, asked):
        ask(client, left)
        ask(client, asked)
        assert connected(client) == 2
        now[0] += _MAX_IDLE_S + 1
        ask(client, asked)
        assert connected(client) == 1
        assert asked.connections == 1
        client.close()
