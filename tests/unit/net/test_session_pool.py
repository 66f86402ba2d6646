"""The sessions of the worker threads."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._net.session import SessionPool
from ctera_direct_sync._net.tls import TLS
from ctera_direct_sync.settings import Endpoint
from tests.support.net import Server, answer, serving

ENDPOINT = Endpoint(timeout=10)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers each request with one byte."""
    with serving(lambda connection, line, head: connection.sendall(answer(b"x"))) as found:
        yield found


def ask(pool: SessionPool, server: Server) -> None:
    """GET the byte."""
    with pool.get(f"http://127.0.0.1:{server.port}/o", CancelScope()) as response:
        assert response.read(1) == b"x"


def test_each_thread_has_a_session(server: Server) -> None:
    """A session and its connection serve all requests of one thread, and of no other."""
    made: list[requests.Session] = []

    def make() -> requests.Session:
        made.append(requests.Session())
        return made[-1]

    pool = SessionPool(ENDPOINT, TLS(True), make)
    barrier = threading.Barrier(3)

    def work(_: int) -> None:
        barrier.wait()
        for _ in range(4):
            ask(pool, server)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(work, range(3)))
    pool.close()
    assert len(made) == server.connections == 3


_PATCHED_LATE = """
import sys, warnings
import requests
from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._net.session import SessionPool
from ctera_direct_sync._net.tls import TLS
from ctera_direct_sync.settings import Endpoint
made = []
def make():
    made.append(requests.Session())
    return made[-1]
pool = SessionPool(Endpoint(timeout=10), TLS(True), make)
warnings.simplefilter("ignore")
from gevent import monkey
monkey.patch_all()
import gevent
def ask():
    with pool.get(sys.argv[1], CancelScope()) as response:
        gevent.sleep(0)
        response.read(1)
gevent.joinall([gevent.spawn(ask) for _ in range(3)], raise_error=True)
pool.close()
print(len(made))
"""


def test_each_greenlet_has_a_session(server: Server) -> None:
    """So it is also where gevent patches the standard library after the client was made."""
    pytest.importorskip("gevent")
    done = subprocess.run(
        [sys.executable, "-c", _PATCHED_LATE, f"http://127.0.0.1:{server.port}/o"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "3\n", done.stderr


def test_close_closes_the_sessions_of_all_threads(server: Server) -> None:
    """Closing the pool closes the sessions that other threads made."""
    closed: list[object] = []

    class Session(requests.Session):
        def close(self) -> None:
            closed.append(self)
            super().close()

    pool = SessionPool(ENDPOINT, TLS(True), Session)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(ask, pool, server).result()
    ask(pool, server)
    pool.close()
    assert len(closed) == 2


def test_factory_of_something_else() -> None:
    """A factory that makes no session is a TypeError, which says what it must return."""
    pool = SessionPool(ENDPOINT, TLS(True), object)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"must return a requests\.Session"):
        pool.get("http://127.0.0.1:1/o", CancelScope())
