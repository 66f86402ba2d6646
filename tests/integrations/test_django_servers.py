"""A Django site with CteraStorage under gunicorn's forks, and under uvicorn."""

from __future__ import annotations

import random
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from ctera_direct_sync.emulator import Emulator, SyntheticSource
from tests.support.file_systems import variables_of
from tests.support.servers import Site, gunicorn, listening_process, python

pytest.importorskip("ctera_direct_sync.wsgi")
pytest.importorskip("django")
pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
MIB = 1024 * 1024
DATA = SyntheticSource(3 * MIB, seed=9).read(0, 3 * MIB)
NAME = "films/a ü.mp4"
SERVERS = ("gunicorn", "gunicorn gevent", "uvicorn")
UVICORN = python("uvicorn", "--port", "0", "django_site:asgi_application")


@pytest.fixture
def variables(portal: Emulator) -> dict[str, str]:
    """A portal with a file, and the environment of a site that uses it."""
    portal.tree.create(f"/My Files/media/{NAME}", DATA)
    return variables_of(portal)


def command(server: str, variables: dict[str, str]) -> list[str]:
    """How a server is started; gunicorn forks two workers after the storage was used."""
    for module in server.split():
        pytest.importorskip(module)
    if server == "uvicorn":
        return UVICORN
    variables["PRELOADED_NAME"] = NAME
    kind = ["gevent"] if "gevent" in server else ["gthread", "--threads", "4"]
    return gunicorn("--preload", "--workers", "2", "--worker-class", *kind, "django_site")


@pytest.fixture(params=SERVERS)
def site(request: pytest.FixtureRequest, variables: dict[str, str]) -> Iterator[Site]:
    """Each server."""
    with listening_process(command(request.param, variables), HERE, variables) as site:
        yield site


def test_links(site: Site) -> None:
    """Every worker makes links, and serves those of the others, with ranges."""
    base = site.url
    workers = set()
    with requests.Session() as visitor:
        visitor.trust_env = False
        for _ in range(12):
            made = requests.get(f"{base}/link", params={"name": NAME}, timeout=60)
            pid, size, url = made.text.split(" ", 2)
            workers.add(pid)
            assert int(size) == len(DATA)
            part = visitor.get(base + url, headers={"Range": "bytes=1000-1009"}, timeout=60)
            assert (part.status_code, part.content) == (206, DATA[1000:1010])
        assert visitor.get(base + url, timeout=60).content == DATA
        assert visitor.get(base + url.replace("films", "film"), timeout=60).status_code == 403
        past = visitor.get(base + url, headers={"Range": f"bytes={len(DATA)}-"}, timeout=60)
        assert past.status_code == 416
    assert workers


def test_visitors_at_once(site: Site) -> None:
    """Each of eight visitors at a time gets a range of their own."""
    made = requests.get(f"{site.url}/link", params={"name": NAME}, timeout=60)
    url = site.url + made.text.split(" ", 2)[2]

    def visit(number: int) -> bool:
        start = number * 123_457
        part = requests.get(url, headers={"Range": f"bytes={start}-{start + 500_000}"}, timeout=60)
        return part.status_code == 206 and part.content == DATA[start : start + 500_001]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(visit, range(16)))


@pytest.mark.nightly
@pytest.mark.parametrize("server", SERVERS)
def test_end_amid_visitors(server: str, variables: dict[str, str]) -> None:
    """A server ends soon after SIGTERM, while visitors get parts of files, or leave."""
    over = threading.Event()
    wrong: list[object] = []

    def visit(base: str, url: str, number: int) -> None:
        dice = random.Random(number)
        while not over.is_set():
            start = dice.randrange(len(DATA))
            wanted = DATA[start : start + dice.choice((1, 1000, 500_000))]
            try:
                if dice.random() < 0.2:
                    address = ("127.0.0.1", int(base.rpartition(":")[2]))
                    with socket.create_connection(address, timeout=60) as visitor:
                        visitor.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                        visitor.recv(dice.choice((1, 100_000)))
                    continue
                header = {"Range": f"bytes={start}-{start + len(wanted) - 1}"}
                part = requests.get(base + url, headers=header, timeout=60)
                if (part.status_code, part.content) != (206, wanted):
                    wrong.append((part.status_code, start, len(part.content)))
            except OSError as error:
                if not over.is_set():
                    wrong.append(error)

    line = command(server, variables)
    with ThreadPoolExecutor(8) as pool, listening_process(line, HERE, variables) as site:
        made = requests.get(f"{site.url}/link", params={"name": NAME}, timeout=60)
        url = made.text.split(" ", 2)[2]
        for number in range(8):
            pool.submit(visit, site.url, url, number)
        try:
            over.wait(15)
        finally:
            over.set()
    assert wrong == []


def test_disconnect_by_asgi(portal: Emulator, variables: dict[str, str]) -> None:
    """Under ASGI a visitor who leaves ends the downloads: most of the file is never asked for."""
    pytest.importorskip("uvicorn")
    import django

    if django.VERSION < (5, 0):
        pytest.skip("Django 4.2 notices a visitor who leaves only when it sends")
    portal.tree.create("/My Files/media/large.bin", SyntheticSource(400 * MIB, kind="random"))
    with listening_process(UVICORN, HERE, variables) as site:
        base = site.url
        made = requests.get(f"{base}/link", params={"name": "large.bin"}, timeout=60)
        url = made.text.split(" ", 2)[2]
        visitor = socket.create_connection(("127.0.0.1", site.port), timeout=60)
        visitor.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert re.match(rb"HTTP/1.1 200", visitor.recv(10_000))
        visitor.close()
        # The next answer comes from the same loop; the one that ended asks for nothing more.
        for _ in range(3):
            part = requests.get(base + url, headers={"Range": "bytes=5-9"}, timeout=60)
            assert part.content == SyntheticSource(400 * MIB, kind="random").read(5, 5)
    assert sum(each.sent for each in portal.log.records(where="storage")) < 140 * MIB
