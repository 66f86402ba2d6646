"""A connection that threads of both kinds use: the main one, where Python counts, and a worker."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._net import pool
from ctera_direct_sync._net.linux import HAS_KERNEL_TIMEOUTS, set_kernel_timeout
from ctera_direct_sync._net.session import HTTPSession
from ctera_direct_sync._net.tls import TLS
from ctera_direct_sync.settings import Endpoint
from tests.support.net import Server, answer, serving

TIMEOUT_S = 5.0


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers each request with one byte."""
    with serving(lambda connection, line, head: connection.sendall(answer(b"x"))) as found:
        yield found


@pytest.mark.skipif(not HAS_KERNEL_TIMEOUTS, reason="Python counts on this system")
def test_each_thread_gets_the_timeout_counted_its_way(server: Server) -> None:
    """The kernel counts for a worker. Python counts for the main thread, also on a worker's connection."""
    session = HTTPSession(Endpoint(timeout=TIMEOUT_S), TLS(True))
    origin = f"http://127.0.0.1:{server.port}"

    def fetch() -> tuple[object, float]:
        with session.get(f"{origin}/o", CancelScope()) as response:
            assert response.read(1) == b"x"
        made = session._routes[origin].pool
        assert made is not None and made.pool is not None
        sock = made.pool.queue[-1].sock
        value = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
        seconds, micros = struct.unpack("ll", value)
        return sock.gettimeout(), seconds + micros / 1e6

    with ThreadPoolExecutor(1) as worker:
        assert worker.submit(fetch).result() == (None, TIMEOUT_S)
        assert fetch() == (TIMEOUT_S, 0)
        assert fetch() == (TIMEOUT_S, 0)
        assert worker.submit(fetch).result() == (None, TIMEOUT_S)
    session.close()
    assert server.connections == 1


@pytest.mark.skipif(not HAS_KERNEL_TIMEOUTS, reason="Python counts on this system")
def test_a_connection_that_workers_share_is_set_up_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The portal's connections go from worker to worker: each costs a turn at the interpreter's lock."""
    calls = []

    def count(sock: socket.socket, timeout_s: float | None) -> None:
        calls.append(timeout_s)
        set_kernel_timeout(sock, timeout_s)

    monkeypatch.setattr(pool, "set_kernel_timeout", count)
    session = HTTPSession(Endpoint(timeout=TIMEOUT_S), TLS(True))

    def fetch() -> bytes:
        with session.get(f"http://127.0.0.1:{server.port}/o", CancelScope()) as response:
            return bytes(response.read(1))

    for _ in range(3):
        with ThreadPoolExecutor(1) as worker:
            assert worker.submit(fetch).result() == b"x"
    session.close()
    assert server.connections == 1
    assert calls == [TIMEOUT_S]
