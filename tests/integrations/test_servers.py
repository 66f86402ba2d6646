"""Flask and Django applications under real servers: gunicorn (sync, gthread) and waitress."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from tests.support.servers import Site, gunicorn, listening_process, python
from tests.support.visits import check_body_cut_short, check_visit

pytest.importorskip("ctera_direct_sync.wsgi")
pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
MIB = 1024 * 1024
DATA = SyntheticSource(3 * MIB, seed=9).read(0, 3 * MIB)
SERVERS = ("gunicorn sync", "gunicorn gthread", "waitress")


def command(server: str, framework: str) -> list[str]:
    """How a server is started; each chooses its port itself."""
    if server == "waitress":
        return python("web_apps.py", framework)
    kind = server.partition(" ")[2]
    threads = "4" if kind == "gthread" else "1"
    app = f"web_apps:{framework}_app()"
    return gunicorn("--worker-class", kind, "--threads", threads, app)


def started(server: str, framework: str, portal: Emulator) -> Iterator[Site]:
    """A server over the applications of ``web_apps.py``."""
    variables = {
        "CTERA_DIRECT_URL": portal.url,
        "CTERA_DIRECT_ACCESS_KEY_ID": portal.access_key_id,
        "CTERA_DIRECT_SECRET_ACCESS_KEY": portal.secret_access_key,
    }
    with listening_process(command(server, framework), HERE, variables) as site:
        yield site


@pytest.fixture(scope="module")
def shared_portal() -> Iterator[Emulator]:
    """One portal for all servers."""
    with Emulator() as portal:
        yield portal


@pytest.fixture(scope="module", params=[f"{s}, {f}" for s in SERVERS for f in ("flask", "django")])
def site(request: pytest.FixtureRequest, shared_portal: Emulator) -> Iterator[Site]:
    """Each server with each framework."""
    server, framework = request.param.split(", ")
    pytest.importorskip(server.split()[0])
    pytest.importorskip(framework)
    yield from started(server, framework, shared_portal)


@pytest.fixture(autouse=True)
def _fresh(shared_portal: Emulator) -> Iterator[None]:
    """No faults and no records of another test."""
    shared_portal.faults.clear()
    shared_portal.log.clear()
    yield
    shared_portal.faults.clear()


def test_a_visit(shared_portal: Emulator, site: Site) -> None:
    """GET, HEAD, ranges, conditions and an unknown file, over a connection that is kept."""
    file_id = shared_portal.add(DATA, block_size=300_000)
    # Django's CSRF check comes first.
    assert check_visit(site.url, file_id, DATA) in (403, 405)


def test_many_visitors(shared_portal: Emulator, site: Site) -> None:
    """Eight at a time, each with a range of its own."""
    file_id = shared_portal.add(DATA, block_size=100_000)
    url = f"{site.url}/{file_id}/x.bin"

    def visit(n: int) -> bool:
        start = n * 123_457
        answer = requests.get(
            url, headers={"Range": f"bytes={start}-{start + 500_000}"}, timeout=60
        )
        return answer.content == DATA[start : start + 500_001]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(visit, range(16)))


def test_error_midway_ends_the_connection(shared_portal: Emulator, site: Site) -> None:
    """A visitor sees that the body is shorter than its length."""
    file_id = shared_portal.add(DATA, block_size=500_000)
    shared_portal.faults.add("storage", block=4, times=None, action=faults.status(404))
    check_body_cut_short(site.url, file_id)


def test_disconnect_stops_the_downloads(shared_portal: Emulator, site: Site) -> None:
    """A visitor who leaves early ends the downloads: most of the file is never asked for."""
    blocks = 400
    file_id = shared_portal.add(SyntheticSource(blocks * MIB, kind="random"), native=True)
    while not site.printed.empty():
        site.printed.get()
    visitor = socket.create_connection(("127.0.0.1", site.port), timeout=60)
    visitor.sendall(f"GET /{file_id}/x.bin HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert visitor.recv(10_000).startswith(b"HTTP/1.1 200")
    # With unread bytes waiting, close() resets the connection.
    visitor.close()
    site.wait_for("closed")
    sent = sum(each.sent for each in shared_portal.log.records(where="storage"))
    # What the sockets, the server's buffer (waitress: 16 MiB) and the stream's window can hold.
    assert sent < blocks * MIB // 3
    # The server goes on.
    answer = requests.get(f"{site.url}/{file_id}/x.bin", headers={"Range": "bytes=5-9"}, timeout=60)
    assert answer.content == SyntheticSource(blocks * MIB, kind="random").read(5, 5)
