"""What must not be moved: requests whose thread is busy, and bodies that only small ones outrun."""

from __future__ import annotations

import math
import weakref
from typing import Any

import pytest

from ctera_direct_sync._base.cancellation import Cancelled, CancelScope, Race, RequestScope
from ctera_direct_sync._net import hedging
from ctera_direct_sync._net.hedging import Hedging
from ctera_direct_sync._net.latency import HostLatency
from ctera_direct_sync._net.session import HTTPSession
from ctera_direct_sync._net.tls import TLS
from ctera_direct_sync.settings import Endpoint
from tests.support.net import answer, serving

ORIGIN = "http://storage.test"
SIZE = 1024 * 1024
NOW = 10.3


class Body:
    """An answer under way."""

    is_waiting = False

    def __init__(self, received: int) -> None:
        self.received = received


def sample(ended_at: float, body_s: float, nbytes: int = SIZE) -> Any:
    """Return a request over a new connection."""
    return (ORIGIN, ended_at - body_s - 0.01, ended_at - body_s, ended_at, nbytes, True, False)


def make_race(track: Hedging, received: int) -> Race[Any]:
    """Return a race that was sent at second 10 over a new connection."""
    call = CancelScope()
    call.waiting = math.inf
    race: Race[Any] = Race(call, track, lambda twin, reason: None, 1)
    race.origin, race.sent_at, race.answered_at = ORIGIN, 10.0, 10.01
    race.body, race.size, race.is_cold = Body(received), SIZE, True
    track.races[id(race)] = weakref.ref(race)
    return race


def test_a_request_that_is_cut_is_not_moved_again() -> None:
    """Its thread may be busy, in a listener of the user say. Each move is counted and paid for once."""
    track = Hedging(0.05, SIZE)
    races = [make_race(track, received) for received in (1, SIZE - 1, SIZE - 1, SIZE - 1, SIZE - 1)]
    for number in range(12):
        track.samples.append(sample(10.2 + number / 1000, 0.1))
    track._look(NOW, 0.0)
    track._look(NOW + 0.005, 0.0)
    assert [race.moves for race in races] == [1, 0, 0, 0, 0]
    assert track.moved == 1
    assert track.twins == 0


def test_small_bodies_say_nothing_about_a_large_one() -> None:
    """A body that fits into the buffers of the sockets comes at once, whatever its connection is like."""
    small = 40 * 1024
    race = make_race(Hedging(0.05, SIZE), SIZE // 4)
    for nbytes, is_slow in ((small, False), (SIZE, True)):
        host = HostLatency()
        for ended_at in (10.1, 10.15, 10.2):
            host.count(ended_at)
            host.add(sample(ended_at, nbytes * 1e-9, nbytes))
        found = hedging._Limits(host, False, (), 4).judge(race, NOW)
        assert (found is not None and found.is_new) == is_slow


def test_a_moved_request_has_no_excuse() -> None:
    """The process may have been suspended before. The next request began after that."""
    track = Hedging(0.05, SIZE)
    race = make_race(track, 1)
    asked: list[float] = []

    def ask(scope: Any) -> None:
        asked.append(scope.excused_s)
        if len(asked) == 1:
            scope.excused_s = 3600.0
            race.move()
            raise Cancelled

    race.run(ask)
    assert asked == [0.0, 0.0]


def test_a_kept_connection_is_not_new_after_a_redirect() -> None:
    """The redirect came over a new one. What it leads to comes over a connection that works."""
    scope = RequestScope(CancelScope(), Hedging(0.05, SIZE))
    session = HTTPSession(Endpoint(timeout=10), TLS(True))
    with serving(lambda connection, line, head: connection.sendall(answer(b"x"))) as server:
        found = []
        for _ in range(2):
            with session.get(f"http://127.0.0.1:{server.port}/o", scope) as response:
                assert response.read(1) == b"x"
            found.append(scope.is_cold)
        session.close()
    assert found == [True, False]


def test_a_dead_host_is_not_asked_for_rescues(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without budget it is asked once. Only an answer tells that one more request may be answered."""
    track = Hedging(0.05, SIZE)
    race = make_race(track, 0)
    race.answered_at, race.body = 0.0, None
    for number in range(100):
        track.samples.append((*sample(9.0 + number / 1000, 0.01)[:-2], False, False))
    track._look(10.1, 0.0)
    track._budget.tokens = 0.0
    sent: list[Any] = []
    monkeypatch.setattr(track, "_send", lambda race, reason: sent.append(race))
    for now in (12.0, 13.5, 15.0):
        track._look(now, 0.0)
    assert sent == [race]
    track.samples.append(sample(15.5, 0.01))
    track._look(16.0, 0.0)
    assert sent == [race, race]
