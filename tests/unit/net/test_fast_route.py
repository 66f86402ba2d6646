"""What a request on the fast route passes through."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import FrameType

import pytest
import requests

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._net.current import current_request
from ctera_direct_sync._net.session import HTTPSession
from ctera_direct_sync._net.tls import TLS
from ctera_direct_sync.settings import Endpoint
from tests.support.net import Server, answer, serving

PACKAGE = "ctera_direct_sync._net."


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers each request with one byte."""
    with serving(lambda connection, line, head: connection.sendall(answer(b"x"))) as found:
        yield found


def fetch(session: HTTPSession, url: str) -> None:
    """GET the byte."""
    with session.get(url, CancelScope()) as response:
        assert response.read(1) == b"x"


def test_modules_on_the_way_of_a_request(server: Server) -> None:
    """A request over a kept connection runs code of three modules: no thin layer adds to its cost."""
    session = HTTPSession(Endpoint(timeout=10), TLS(True))
    url = f"http://127.0.0.1:{server.port}/o?signature=a%2Fb"
    fetch(session, url)
    passed: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        name = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith(PACKAGE):
            passed.add(name[len(PACKAGE) :])

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        fetch(session, url)
    finally:
        sys.setprofile(before)
    session.close()
    assert passed == {"session", "pool", "response"}


def test_request_of_a_session_is_current_while_it_is_sent(server: Server) -> None:
    """Connections of `requests` find the scope and the URL of a request, only while it is sent."""
    found: list[object] = []
    user_session = requests.Session()
    user_session.hooks["response"] = [lambda response, **_: found.append(current_request.get())]
    session = HTTPSession(Endpoint(timeout=10), TLS(True), session=user_session)
    scope = CancelScope()
    with session.get(f"http://127.0.0.1:{server.port}/o?a=%7E", scope) as response:
        assert response.read(1) == b"x"
    session.close()
    assert found == [(scope, f"http://127.0.0.1:{server.port}", "/o?a=%7E")]
    assert current_request.get() is None
    assert "%7E" not in repr(found)


def test_import_without_the_c_api_of_ctypes() -> None:
    """The network works on a Python whose ctypes does not know CPython's own library, as PyPy's."""
    program = (
        "import ctypes\n"
        "del ctypes.PyDLL, ctypes.pythonapi\n"
        "from ctera_direct_sync._net import session\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
