"""Two sites in one process of Apache's mod_wsgi: the library in two interpreters."""

from __future__ import annotations

import http.client
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from tests.support.apache import Apache, apache, reason_to_skip

pytest.importorskip("ctera_direct_sync.wsgi")

#: Small: the second interpreter decompresses snappy in Python.
SIZE = 600_000
DATA = SyntheticSource(SIZE, seed=4).read(0, SIZE)

_CLIENT = """
import logging, os
logging.basicConfig(level=logging.WARNING)
os.environ["CTERA_DIRECT_CODEC"] = {codec!r}
from ctera_direct_sync import DirectIO, codec
client = DirectIO({url!r}, {key!r}, {secret!r})
def identity(environ):
    return [
        ("X-Group", environ["mod_wsgi.application_group"]),
        ("X-Process", str(os.getpid())),
        ("X-Codec", codec.backend),
    ]
"""

PLAIN = """
from ctera_direct_sync.wsgi import file_response
def application(environ, start_response):
    answer = file_response(client, int(environ["PATH_INFO"][1:]), environ, filename="a.txt")
    start_response(answer.status, [*answer.headers, *identity(environ)])
    return answer.body
"""

DJANGO = """
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path
from ctera_direct_sync.wsgi import django_response
def serve(request, file_id):
    response = django_response(request, client, file_id, filename="a.txt")
    for name, value in identity(request.META):
        response[name] = value
    return response
class Site:
    urlpatterns = [path("<int:file_id>", serve)]
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=Site, SECRET_KEY="of a test")
application = get_wsgi_application()
"""


def reason() -> str | None:
    """Why these tests cannot run, or None."""
    return reason_to_skip() if sys.platform == "linux" else "Debian's mod_wsgi is wanted"


pytestmark = [pytest.mark.slow, pytest.mark.skipif(reason() is not None, reason=str(reason()))]


@pytest.fixture(scope="module")
def shared_portal() -> Iterator[Emulator]:
    """One portal for all sites."""
    with Emulator() as portal:
        yield portal


@pytest.fixture(scope="module", params=["plain native", "django native", "plain portable"])
def server(request: pytest.FixtureRequest, shared_portal: Emulator) -> Iterator[Apache]:
    """Apache with the sites /first and /second."""
    kind, codec = request.param.split()
    if kind == "django":
        pytest.importorskip("django")
    keys = {"key": shared_portal.access_key_id, "secret": shared_portal.secret_access_key}
    source = _CLIENT.format(codec=codec, url=shared_portal.url, **keys)
    source += {"plain": PLAIN, "django": DJANGO}[kind]
    with apache({"first": source, "second": source}) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_faults(shared_portal: Emulator) -> Iterator[None]:
    yield
    shared_portal.faults.clear()


def visit(server: Apache, path: str, **headers: str) -> tuple[Any, bytes]:
    """A response and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_two_sites_serve(server: Apache, shared_portal: Emulator) -> None:
    """Both sites serve the whole file and a range, in one process, each in its own interpreter."""
    file_id = shared_portal.add(DATA, block_size=50_000)
    seen = []
    for _ in range(2):
        for site in ("first", "second"):
            response, body = visit(server, f"/{site}/{file_id}", Range="bytes=49990-300010")
            assert response.status == 206, server.log()
            assert body == DATA[49_990:300_011]
            assert response.headers["Content-Range"] == f"bytes 49990-300010/{SIZE}"
            assert response.headers["X-Group"] == site
            seen.append((response.headers["X-Process"], response.headers["X-Codec"]))
            response, body = visit(server, f"/{site}/{file_id}")
            assert (response.status, body) == (200, DATA)
    assert len(set(seen)) == 1


def test_part_is_not_deflated(server: Apache, shared_portal: Emulator) -> None:
    """Apache's mod_deflate leaves a 206 alone, and a visitor who asks for gzip gets the bytes."""
    file_id = shared_portal.add(DATA, block_size=50_000)
    headers = {"Range": "bytes=5-10004", "Accept-Encoding": "gzip"}
    response, body = visit(server, f"/first/{file_id}", **headers)
    assert (response.status, body) == (206, DATA[5:10_005])


def test_error_midway_cuts_the_connection(server: Apache, shared_portal: Emulator) -> None:
    """A visitor sees that a body is shorter than its length."""
    file_id = shared_portal.add(DATA, block_size=50_000)
    shared_portal.faults.add("storage", file_id, block=9, times=None, action=faults.status(404))
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        visit(server, f"/first/{file_id}")


def test_fallbacks_are_said_once(
    server: Apache, shared_portal: Emulator, request: pytest.FixtureRequest
) -> None:
    """Each library that cannot be loaded twice is named once, by the second interpreter."""
    file_id = shared_portal.add(b"data")
    for site in ("first", "second", "first", "second"):
        assert visit(server, f"/{site}/{file_id}")[1] == b"data"
    # By the module that says it and how it begins: another interpreter may say it of its own packages.
    said = re.findall(r"WARNING:(ctera_direct_sync\.\S+?:.*?cannot be loaded)", server.log())
    assert said
    assert len(said) == len(set(said)), server.log()
    if "portable" in request.node.name:
        assert any("package cramjam" in line for line in said), server.log()
