"""Mocks that are installed while other threads use the same session."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._net.interception import Interception
from ctera_direct_sync._net.routes import Route
from ctera_direct_sync._net.session import HTTPSession
from ctera_direct_sync._net.tls import TLS
from ctera_direct_sync.settings import Endpoint
from tests.support.net import Server, answer, serving

PATIENCE_S = 20


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers each request with one byte."""
    with serving(lambda connection, line, head: connection.sendall(answer(b"x"))) as found:
        yield found


def test_mock_that_comes_while_another_thread_plans_a_route(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A route that was planned before the mock came serves no request after it."""
    session = HTTPSession(Endpoint(timeout=10), TLS(True))
    planned, go_on = threading.Event(), threading.Event()
    plan = session._planner.plan

    def plan_slowly(origin: str, interception: Interception) -> Route:
        route = plan(origin, interception)
        planned.set()
        assert go_on.wait(PATIENCE_S)
        return route

    def fetch() -> None:
        with session.get(f"http://127.0.0.1:{server.port}/o", CancelScope()) as response:
            assert response.read(1) == b"x"

    seen: list[Any] = []
    send = requests.Session.send

    def watched(self: requests.Session, request: Any, **options: Any) -> Any:
        seen.append(request)
        return send(self, request, **options)

    with ThreadPoolExecutor(1) as thread:
        try:
            monkeypatch.setattr(session._planner, "plan", plan_slowly)
            first = thread.submit(fetch)
            assert planned.wait(PATIENCE_S)
            monkeypatch.setattr(session._planner, "plan", plan)
            monkeypatch.setattr(requests.Session, "send", watched)
            fetch()
        finally:
            go_on.set()
        first.result()
    fetch()
    session.close()
    assert len(seen) == 2
