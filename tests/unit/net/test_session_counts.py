"""Requests that end before they are sent are counted as ended."""

from __future__ import annotations

import pytest

from ctera_direct_sync._base.cancellation import Cancelled, CancelScope, RaceTrack, RequestScope
from ctera_direct_sync._net.session import HTTPSession
from ctera_direct_sync._net.tls import TLS
from ctera_direct_sync.settings import Endpoint
from tests.support.net import answer, serving


def test_a_request_that_is_cut_as_it_gets_its_connection() -> None:
    """It ends there, and is no longer under way: its connection counts no more."""
    session = HTTPSession(Endpoint(timeout=10), TLS(True))
    scope = RequestScope(CancelScope(), RaceTrack())
    call_attach = scope.call.attach

    def attach(abort: object) -> object:
        scope.is_cut = True
        return call_attach(abort)  # type: ignore[arg-type]

    with serving(lambda connection, line, head: connection.sendall(answer(b"x"))) as server:
        url = f"http://127.0.0.1:{server.port}/o"
        with session.get(url, scope) as response:
            assert response.read(1) == b"x"
        scope.call.attach = attach  # type: ignore[method-assign, assignment]
        with pytest.raises(Cancelled):
            session.get(url, scope)
        session.close()
    (tally,) = session._meter.tallies.values()
    assert (tally.requests, tally.active, tally.errors) == (2, 0, 0)
