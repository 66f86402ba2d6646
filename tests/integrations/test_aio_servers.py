"""ASGI applications under uvicorn: ranges, errors, visitors who leave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from ctera_direct_sync import DirectIO
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from tests.support.visits import check_body_cut_short, check_visit

from . import asgi_apps
from .test_aio import bridge_threads

pytest.importorskip("ctera_direct_sync.wsgi")
uvicorn = pytest.importorskip("uvicorn")

MIB = 1024 * 1024
DATA = SyntheticSource(3 * MIB, seed=9).read(0, 3 * MIB)

APPS = {
    "bare": (asgi_apps.bare_app, None),
    "starlette": (asgi_apps.starlette_app, "starlette"),
    "fastapi": (asgi_apps.fastapi_app, "fastapi"),
}


class _Watched:
    """An application that tells how many of its requests are being answered."""

    def __init__(self, app: asgi_apps.App) -> None:
        self._app = app
        self._changed = threading.Condition()
        self._active = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self._changed:
            self._active += 1
        try:
            await self._app(scope, receive, send)
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def is_idle(self) -> bool:
        """Wait until no request is being answered."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._active, 20)


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """uvicorn in a thread, on a port that the kernel chooses; its URL."""
    # Without a lifespan: the applications here have nothing to begin.
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", loop="asyncio")
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    started = threading.Event()

    async def serve() -> None:
        task = asyncio.ensure_future(server.serve(sockets=[listener]))
        while not server.started and not task.done():
            await asyncio.sleep(0.001)
        started.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(60)  # On a busy machine, uvicorn imports its protocols for seconds.
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(params=list(APPS))
def app(request: pytest.FixtureRequest, make_client: Callable[..., DirectIO]) -> _Watched:
    """Each application, over a client that holds 4 MiB for each response."""
    make, module = APPS[request.param]
    if module is not None:
        pytest.importorskip(module)
    return _Watched(make(make_client(memory=4 * MIB)))


@pytest.fixture
def site(app: _Watched) -> Iterator[str]:
    """The URL of the application."""
    with serving(app) as url:
        yield url


def test_a_visit(portal: Emulator, site: str) -> None:
    """GET, HEAD, ranges, conditions and an unknown file, over a connection that is kept."""
    file_id = portal.add(DATA, block_size=300_000)
    assert check_visit(site, file_id, DATA) == 405


def test_error_midway_ends_the_connection(portal: Emulator, site: str) -> None:
    """A visitor sees that the body is shorter than its length."""
    file_id = portal.add(DATA, block_size=500_000)
    portal.faults.add("storage", block=4, times=None, action=faults.status(404))
    check_body_cut_short(site, file_id)


def test_disconnect_stops_the_downloads(portal: Emulator, app: _Watched, site: str) -> None:
    """A visitor who leaves early ends the downloads: most of the file is never asked for."""
    blocks = 400
    file_id = portal.add(SyntheticSource(blocks * MIB, kind="random"), native=True)
    visitor = socket.create_connection(("127.0.0.1", int(site.rpartition(":")[2])), timeout=60)
    visitor.sendall(f"GET /{file_id}/x.bin HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert visitor.recv(10_000).startswith(b"HTTP/1.1 200")
    # With unread bytes waiting, close() resets the connection.
    visitor.close()
    assert app.is_idle()
    for thread in bridge_threads():
        thread.join(20)
    assert not bridge_threads()
    assert sum(each.sent for each in portal.log.records(where="storage")) < blocks * MIB // 3
    # The server goes on.
    answer = requests.get(f"{site}/{file_id}/x.bin", headers={"Range": "bytes=5-9"}, timeout=60)
    assert answer.content == SyntheticSource(blocks * MIB, kind="random").read(5, 5)


def test_disconnect_amid_silence(portal: Emulator, make_client: Callable[..., DirectIO]) -> None:
    """A visitor who leaves while the storage is silent ends the wait at once."""
    app = _Watched(asgi_apps.bare_app(make_client()))
    file_id = portal.add(DATA, block_size=500_000)
    held = portal.faults.add("storage", block=3, times=None, action=faults.stall())
    with serving(app) as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        visitor = socket.create_connection(address, timeout=60)
        visitor.sendall(f"GET /{file_id}/x.bin HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        got = b""
        while len(got) < 1_000_000:
            got += visitor.recv(1_000_000)
        assert held.wait()
        visitor.close()
        assert app.is_idle()


def test_plain_stream_of_fastapi(portal: Emulator, make_client: Callable[..., DirectIO]) -> None:
    """FastAPI's own StreamingResponse sends a stream, and ends its downloads if the visitor leaves."""
    pytest.importorskip("fastapi")
    app = _Watched(asgi_apps.fastapi_app(make_client(memory=4 * MIB)))
    file_id = portal.add(DATA, block_size=300_000)
    large = portal.add(SyntheticSource(400 * MIB, kind="random"), native=True)
    with serving(app) as url:
        assert requests.get(f"{url}/plain/{file_id}", timeout=60).content == DATA
        visitor = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60)
        visitor.sendall(f"GET /plain/{large} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert visitor.recv(10_000).startswith(b"HTTP/1.1 200")
        visitor.close()
        assert app.is_idle()
        for thread in bridge_threads():
            thread.join(20)
    assert sum(each.sent for each in portal.log.records(where="storage", file_id=large)) < 140 * MIB
