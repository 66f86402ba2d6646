"""Cancelling one call never touches the request that a thread or a connection serves next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from ctera_direct_sync._base.cancellation import Cancelled, CancelScope
from ctera_direct_sync._net.session import HTTPSession
from ctera_direct_sync._net.tls import TLS
from ctera_direct_sync.settings import Endpoint
from tests.support.net import SOCKS, Server

PATIENCE = 20
BODY = b"x" * 1000


class TwoAnswers:
    """Answers at once, but for ``/slow``: half of its body waits until it is let go."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __call__(self, connection: Any, line: str, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        connection.sendall(BODY[:500])
        if "/slow" in line:
            assert self.go_on.wait(PATIENCE)
        connection.sendall(BODY[500:])


@pytest.fixture
def answers() -> TwoAnswers:
    """What the server answers."""
    return TwoAnswers()


@pytest.fixture
def server(answers: TwoAnswers) -> Iterator[Server]:
    """A server on loopback."""
    made = Server(answers)
    try:
        yield made
    finally:
        answers.go_on.set()
        made.close()


@pytest.fixture(params=["fast", "session"])
def client(request: pytest.FixtureRequest) -> Iterator[HTTPSession]:
    """An HTTP on each route."""
    session = None
    if request.param == "session":
        session = requests.Session()
        session.hooks["response"] = [lambda response, **_: None]
    made = HTTPSession(Endpoint(timeout=(5, PATIENCE)), TLS(True), session=session)
    try:
        yield made
    finally:
        made.close()


def test_cancel_after_the_connection_went_on(
    client: HTTPSession, server: Server, answers: TwoAnswers
) -> None:
    """A connection whose body was read serves another call, which the first one's end leaves alone."""
    url = f"http://127.0.0.1:{server.port}"
    first, second = CancelScope(), CancelScope()
    with client.get(f"{url}/quick", first) as response:
        assert bytes(response.read(len(BODY))) == BODY
    with client.get(f"{url}/slow", second) as response:
        first.cancel()
        answers.go_on.set()
        assert bytes(response.read(len(BODY))) == BODY
    assert server.connections == 1


def test_cancel_before_the_response_is_left(server: Server, answers: TwoAnswers) -> None:
    """By a session the connection is free once its body was read, also while the response is held."""
    session = requests.Session()
    session.hooks["response"] = [lambda response, **_: None]
    client = HTTPSession(Endpoint(timeout=(5, PATIENCE)), TLS(True), session=session)
    url = f"http://127.0.0.1:{server.port}"
    first, second = CancelScope(), CancelScope()
    try:
        with client.get(f"{url}/quick", first) as held:
            assert bytes(held.read(len(BODY))) == BODY
            with client.get(f"{url}/slow", second) as response:
                first.cancel()
                answers.go_on.set()
                assert bytes(response.read(len(BODY))) == BODY
        assert server.connections == 1
    finally:
        client.close()


def test_connection_that_was_shut_is_not_kept(client: HTTPSession, server: Server) -> None:
    """Where the scope's end came amid the request, the next one gets a connection of its own."""
    url = f"http://127.0.0.1:{server.port}"
    scope = CancelScope()
    with pytest.raises(Cancelled), client.get(f"{url}/slow", scope) as response:
        scope.cancel()
        response.read(len(BODY))
    with client.get(f"{url}/quick", CancelScope()) as response:
        assert bytes(response.read(len(BODY))) == BODY
    assert server.connections == 2


def test_abort_that_comes_late_is_not_called() -> None:
    """A canceller that has taken note of a thread does not wake it after it has detached."""
    scope = CancelScope()
    calls: list[str] = []
    attachment = scope.attach(lambda: calls.append("aborted"))
    assert scope.detach()
    attachment.abort()
    assert calls == []


def test_detaching_waits_for_an_abort_under_way() -> None:
    """What the thread was blocked on is left alone only once the abort has ended, and it is told so."""
    scope = CancelScope()
    begun, go_on = threading.Event(), threading.Event()
    ended: list[str] = []

    def abort() -> None:
        begun.set()
        assert go_on.wait(PATIENCE)
        ended.append("aborted")

    attachment = scope.attach(abort)
    canceller = threading.Thread(target=scope.cancel)
    canceller.start()
    assert begun.wait(PATIENCE)
    go_on.set()
    assert not attachment.detach()
    assert ended == ["aborted"]
    canceller.join(PATIENCE)


def test_cancel_after_the_body_through_a_socks_proxy(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection through a SOCKS proxy leaves the scope at the end of its body, as any other."""
    pytest.importorskip("socks", reason="requests needs PySocks for this")
    proxy = SOCKS()
    monkeypatch.setenv("ALL_PROXY", f"socks5://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", "")
    client = HTTPSession(Endpoint(timeout=(5, PATIENCE)), TLS(True))
    try:
        for _ in range(2):
            scope = CancelScope()
            with client.get(f"http://127.0.0.1:{server.port}/quick", scope) as response:
                assert response.read(len(BODY)) == BODY
                # From now on, another call may be using the connection.
                scope.cancel()
    finally:
        client.close()
        proxy.close()
    assert server.connections == 1
