"""Requests that are moved away from slow new connections, and what may be saved up: without sockets."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from ctera_direct_sync._base.cancellation import Cancelled, CancelScope, Race, RaceTrack
from ctera_direct_sync._net import hedging
from ctera_direct_sync._net.hedging import Budget
from ctera_direct_sync._net.latency import HostLatency

ORIGIN = "http://storage.test"
SOON_S = 20.0
SIZE = 1024 * 1024


class Body:
    """An answer under way."""

    is_waiting = False

    def __init__(self, received: int) -> None:
        self.received = received


def sample(ended_at: float, body_s: float) -> Any:
    """Return a request over a new connection."""
    return (ORIGIN, ended_at - body_s - 0.01, ended_at - body_s, ended_at, SIZE, True, False)


def make_host(*ended_at: float) -> HostLatency:
    """Return a host whose bodies took a tenth of a second and ended at some times."""
    host = HostLatency()
    for each in ended_at:
        host.count(each)
        host.add(sample(each, 0.1))
    return host


def make_race(received: int, waiting: float = math.inf, is_cold: bool = True) -> Race[Any]:
    """Return a race that was sent at second 10, and whose body began then."""
    call = CancelScope()
    call.waiting = waiting
    race: Race[Any] = Race(call, RaceTrack(), lambda twin, reason: None, 1)
    race.origin, race.sent_at, race.answered_at = ORIGIN, 10.0, 10.01
    race.body, race.size, race.is_cold = Body(received), SIZE, is_cold
    return race


def is_to_move(host: HostLatency, race: Race[Any], now: float, under_way: Any = ()) -> bool:
    """Return whether the watcher would move a request."""
    found = hedging._Limits(host, False, under_way, 4).judge(race, now)
    return found is not None and found.is_new


# --- which connection is slow ------------------------------------------------------------------------


def test_a_new_connection_that_is_slow() -> None:
    """It is slower by far than the bodies that ended meanwhile."""
    host = make_host(10.1, 10.15, 10.2)
    assert is_to_move(host, make_race(64 * 1024), 10.3)
    assert not is_to_move(host, make_race(SIZE * 7 // 8), 10.3)
    assert not is_to_move(host, make_race(64 * 1024), 10.09)


def test_an_old_connection_is_not_moved() -> None:
    """A slow request over a connection that was good gets a twin."""
    host = make_host(10.1, 10.15, 10.2)
    assert not is_to_move(host, make_race(64 * 1024, is_cold=False), 10.3)


def test_a_network_that_is_slow_as_a_whole() -> None:
    """Bodies that ended before say nothing about now."""
    host = make_host(9.0, 9.1, 9.2)
    assert not is_to_move(host, make_race(64 * 1024), 10.5)


def test_bodies_under_way_are_compared() -> None:
    """A large body need not end before it shows that its connection is good."""
    fast = [(0.2, 0.1 / SIZE)] * 3
    assert is_to_move(HostLatency(), make_race(64 * 1024), 10.3, fast)
    assert not is_to_move(HostLatency(), make_race(64 * 1024), 10.3, fast[:2])


def test_an_older_body_is_not_compared() -> None:
    """A connection begins slowly: a body that has come for long is faster by then."""
    old = [(2.0, 0.1 / SIZE)] * 3
    assert not is_to_move(HostLatency(), make_race(64 * 1024), 10.3, old)


def test_near_its_end_a_call_keeps_its_connections() -> None:
    """A move has to pay by further requests over the new connection."""
    host = make_host(10.1, 10.15, 10.2)
    assert is_to_move(host, make_race(64 * 1024, waiting=40), 10.3)
    assert not is_to_move(host, make_race(64 * 1024, waiting=0), 10.3)


# --- the move ----------------------------------------------------------------------------------------


def test_a_moved_request_is_sent_again_by_its_thread() -> None:
    """The call hears nothing of the first attempt."""
    race: Race[str] = Race(CancelScope(), RaceTrack(), lambda twin, reason: "twin", 1)
    asked: list[int] = []

    def ask(scope: Any) -> str:
        asked.append(threading.get_ident())
        scope.check()
        if len(asked) == 1:
            shut = threading.Event()
            scope.attach(shut.set)
            threading.Thread(target=race.move).start()
            assert shut.wait(SOON_S)
            scope.detach()
            scope.check()
        return "own"

    assert race.run(ask) == "own"
    assert asked == [threading.get_ident()] * 2
    assert race.moves == 1


def test_a_cancelled_call_is_not_sent_again() -> None:
    """A cancel ends the call, also amid a move."""
    call = CancelScope()
    race: Race[str] = Race(call, RaceTrack(), lambda twin, reason: "twin", 1)
    asked: list[int] = []

    def ask(scope: Any) -> str:
        asked.append(1)
        race.move()
        call.cancel()
        scope.check()
        return "own"

    with pytest.raises(Cancelled):
        race.run(ask)
    assert asked == [1]


# --- the budget --------------------------------------------------------------------------------------


def test_moves_are_granted_once_for_each_request_at_once() -> None:
    """More requests at once have more connections to try. Those before were granted theirs."""
    budget = Budget(0.05)
    budget.grant_moves(4)
    budget.grant_moves(4)
    assert budget.moves == 16
    budget.grant_moves(6)
    assert budget.moves == 24
    none = Budget(0.0)
    none.grant_moves(4)
    assert none.moves == 0


def test_what_twins_do_not_need_is_left_for_moves() -> None:
    """Twins and moves together are a share of the requests, once the grants are used."""
    budget = Budget(0.05)
    budget.grant_moves(4)
    budget.moves = 0.0
    for _ in range(100):
        budget.earn()
    assert budget.moves == pytest.approx(5.0)


def test_a_fast_link_saves_up_what_a_second_earns() -> None:
    """Before the first request is late, a thousand have ended."""
    budget = Budget(0.05)
    budget.pass_time(100.0)
    for _ in range(1000):
        budget.earn()
    budget.pass_time(100.0)
    for _ in range(1000):
        budget.earn()
    assert budget.tokens >= 50
    budget.pass_time(110.0)
    assert budget.tokens == pytest.approx(8.0)


def test_a_lost_request_is_rescued_without_budget() -> None:
    """One a second gets a twin, so that no call waits for the read timeout."""
    budget = Budget(0.05)
    budget.tokens = 0.0
    assert not budget.spend(True, False, 100.0)
    assert budget.spend(True, True, 100.0)
    assert not budget.spend(True, True, 100.9)
    assert budget.spend(True, True, 101.1)
