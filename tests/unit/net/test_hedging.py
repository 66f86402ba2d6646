"""What is late, what may be sent twice, and which connection is given up: without sockets."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ctera_direct_sync._base.cancellation import (
    Cancelled,
    CancelScope,
    Failure,
    Race,
    RaceTrack,
    RequestScope,
)
from ctera_direct_sync._net import hedging, session
from ctera_direct_sync._net.hedging import Budget, Hedging
from ctera_direct_sync._net.latency import HostLatency, LatencyTable, Quantiles
from ctera_direct_sync._net.meter import Meter
from ctera_direct_sync._net.session import Response
from ctera_direct_sync._net.urls import origin_of
from ctera_direct_sync.types import SignedURL

ORIGIN = "http://storage.test"
KIB = 1024
CALL = CancelScope()


def sample(
    first_byte_s: float, body_s: float = 0.0, nbytes: int = 0, *, is_cold: bool = False
) -> Any:
    """Return a request that was begun at second 0."""
    return (ORIGIN, 0.0, first_byte_s, first_byte_s + body_s, nbytes, is_cold, False)


def host_of(first_byte_s: float, body_s: float = 0.0, nbytes: int = 0) -> HostLatency:
    """Return a host all of whose requests took the same."""
    host = HostLatency()
    for _ in range(20):
        host.count(0.0)
        host.add(sample(first_byte_s, body_s, nbytes))
    return host


# --- quantiles -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1e-3, 0.05, 0.3, 2.0, 100.0])
def test_a_quantile_is_near_the_samples(seconds: float) -> None:
    """A bucket is a fifth wide, so a quantile is wrong by that much at most."""
    times = Quantiles()
    for _ in range(50):
        times.add(seconds)
    assert seconds / 1.2 < times.at(0.5) < seconds * 1.2


def test_quantiles_tell_slow_samples_from_fast_ones() -> None:
    """Of ten samples, the ninth is fast and the tenth slow."""
    times = Quantiles()
    for number in range(100):
        times.add(1.0 if number % 10 == 9 else 0.01)
    assert times.at(0.85) < 0.02
    assert times.at(0.95) > 0.5


def test_few_samples_tell_nothing() -> None:
    """Before eight samples nothing is late."""
    times = Quantiles()
    for _ in range(7):
        times.add(0.01)
    assert times.at(0.5) == math.inf
    times.add(0.01)
    assert times.at(0.5) < 1


def test_quantiles_forget() -> None:
    """After some hundred samples, those before count little."""
    times = Quantiles()
    for _ in range(1000):
        times.add(0.01)
    for _ in range(500):
        times.add(1.0)
    assert times.at(0.5) > 0.5
    assert times.weight < 256


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 1e9])
def test_odd_times_find_a_bucket(seconds: float) -> None:
    """A clock that stood still, or a week, is counted as well."""
    times = Quantiles()
    for _ in range(8):
        times.add(seconds)
    assert 0 < times.at(0.5) < 1e4


def test_a_new_connection_is_not_typical() -> None:
    """The first request of a connection counts only as long as nothing else is known."""
    host = HostLatency()
    for _ in range(10):
        host.add(sample(5.0, is_cold=True))
    assert host.first_byte.weight == 8
    for _ in range(100):
        host.add(sample(0.01))
    assert host.first_byte.at(0.9) < 0.02


def test_the_number_of_hosts_is_bounded() -> None:
    """A file whose blocks name a thousand hosts costs no memory for each of them."""
    table = LatencyTable()
    for number in range(1000):
        table.note(f"http://{number}.test", float(number))
    assert len(table.hosts) == 64
    assert "http://999.test" in table.hosts


def test_a_host_is_forgotten() -> None:
    """Ten minutes later the network may be another one."""
    table = LatencyTable()
    table.note(ORIGIN, 0.0).add(sample(1.0))
    assert table.note(ORIGIN, 500.0).first_byte.weight == 1
    assert table.note(ORIGIN, 1200.0).first_byte.weight == 0


def test_a_failing_host() -> None:
    """A host fails as a whole if a fifth of its requests fail, or for as long as it asks for."""
    host = host_of(0.01)
    for _ in range(3):
        host.count(0.0)
        host.add_failure(Failure(ORIGIN, 0.0, False), 0.0)
    assert not host.is_failing(0.0)
    for _ in range(3):
        host.count(0.0)
        host.add_failure(Failure(ORIGIN, 0.0, False), 0.0)
    assert host.is_failing(0.0)
    other = host_of(0.01)
    other.add_failure(Failure(ORIGIN, 30.0, False), 100.0)
    assert other.is_failing(129.0)
    assert not other.is_failing(131.0)


# --- the budget ------------------------------------------------------------------------------------------


def test_the_budget_is_a_share() -> None:
    """A thousand requests earn fifty twins, and a rest saves up eight."""
    budget = Budget(0.05)
    sent = 0
    for _ in range(1000):
        budget.earn()
        if budget.tokens >= 1.0:
            budget.tokens -= 1.0
            sent += 1
    assert 50 <= sent <= 58
    for _ in range(1000):
        budget.earn()
    budget.pass_time(10.0)
    assert budget.tokens == pytest.approx(8.0)
    assert Budget(0.0).tokens == 0.0


def test_what_ended_between_two_looks_is_not_lost() -> None:
    """Of five hundred requests at once, one in forty is dead: there is a twin for each."""
    budget = Budget(0.05)
    for _ in range(500):
        budget.earn()
    budget.pass_time(0.1)
    assert 20.0 < budget.tokens <= 25.0
    budget.pass_time(3.0)
    assert budget.tokens == pytest.approx(8.0)


@pytest.mark.parametrize("per_second", [50, 400, 2000])
def test_moves_are_earned_at_any_rate(per_second: int) -> None:
    """What may not be saved up for twins is for moves, however many requests end between two looks."""
    budget, now = Budget(0.05), 100.0
    budget.grant_moves(8)
    budget.moves = 0.0
    for _ in range(200):
        now += 0.1
        for _ in range(per_second // 10):
            budget.earn()
        budget.pass_time(now)
    assert 20.0 < budget.moves <= 32.0


# --- what is late ----------------------------------------------------------------------------------------


class Body:
    """An answer under way."""

    is_waiting = False

    def __init__(self, received: int) -> None:
        self.received = received


def make_race(sent_at: float, answered_at: float = 0.0, body: Body | None = None) -> Race[Any]:
    """Return a race whose first request is under way."""
    race: Race[Any] = Race(CALL, RaceTrack(), lambda twin, reason: None, 1)
    race.origin, race.sent_at, race.answered_at = ORIGIN, sent_at, answered_at
    if body is not None:
        race.body, race.size = body, 1024 * KIB
    return race


def judge(host: HostLatency, race: Race[Any], now: float, idle: bool = False) -> str:
    """Return why a request is late, or ""."""
    found = hedging._Limits(host, idle).judge(race, now)
    return "" if found is None else found.reason


def test_an_answer_that_does_not_come() -> None:
    """A request is late after 1.5 times the usual time, and 300 ms."""
    assert judge(host_of(0.01), make_race(10.0), 10.29) == ""
    assert judge(host_of(0.01), make_race(10.0), 10.31) == "no answer"
    assert judge(host_of(1.0), make_race(10.0), 11.2) == ""
    assert judge(host_of(1.0), make_race(10.0), 12.0) == "no answer"
    assert judge(HostLatency(), make_race(10.0), 1000.0) == ""
    assert judge(host_of(0.01), make_race(0.0), 1000.0) == "", "it is not under way"


def test_the_first_answer_of_a_connection() -> None:
    """Where first answers take longer, as behind a proxy that connects only then, they get that time."""
    host = host_of(0.25)
    for _ in range(8):
        host.add(sample(0.5, is_cold=True))
    race = make_race(10.0)
    assert judge(host, race, 10.5) == "no answer"
    race.is_cold = True
    assert judge(host, race, 10.7) == ""
    assert judge(host, race, 11.0) == "no answer"
    race.is_cold = False
    assert host.first_byte.at(0.9) < 0.3, "the others are judged as before"


def test_many_new_connections_are_dead() -> None:
    """If every other new connection is dead, the wait for each one's twin does not grow without end."""
    host = host_of(0.02)
    for _ in range(200):
        host.add(sample(0.02, is_cold=True))
        limit_s = hedging._Limits(host, False)._cold_limit_s
        host.add_wait(limit_s, is_cold=True)
    assert limit_s < 1.5
    race = make_race(10.0)
    race.is_cold = True
    assert judge(host, race, 11.5) == "no answer"


def test_a_twin_that_would_come_too_late() -> None:
    """A slow body that is nearly whole gets no twin, which would take longer than the rest of it."""
    host, body = host_of(0.2, 0.1, 1024 * KIB), Body(64 * KIB)
    race = make_race(10.0, 10.1, body)
    host.answered_since = 10.05
    assert judge(host, race, 11.1) == "a slow connection"
    body.received = 800 * KIB
    assert judge(host, race, 11.1) == ""
    body.received = 700 * KIB
    assert judge(host, race, 11.1) == "a slow connection", (
        "half a second more, and a twin takes a third"
    )


def test_an_end_that_trickles() -> None:
    """A body that came fast gets a twin if its last bytes trickle: its mean speed says nothing of them."""
    host, body = host_of(0.02, 0.1, 1024 * KIB), Body(1023 * KIB)
    race = make_race(10.0, 10.02, body)
    reasons = []
    for step in range(1, 21):
        body.received += 10
        reasons.append(judge(host, race, 10.0 + step / 5))
    assert reasons[3] == "", "it may come to its end before a twin does"
    assert reasons[-1] == "slow"


def test_a_body_that_stops() -> None:
    """A body whose next byte does not come is late, and one that goes on is not."""
    host, body = host_of(0.01), Body(100)
    race = make_race(10.0, 10.1, body)
    assert judge(host, race, 10.2) == ""
    body.received = 200
    assert judge(host, race, 10.6) == ""
    assert judge(host, race, 10.8) == ""
    assert judge(host, race, 11.0) == "no further bytes"


def test_a_body_that_waits_for_the_bandwidth() -> None:
    """A wait of our own is not late, and the bytes after it have their time."""
    host, body = host_of(0.01), Body(100)
    race = make_race(10.0, 10.1, body)
    body.is_waiting = True
    assert judge(host, race, 20.0) == ""
    body.is_waiting = False
    assert judge(host, race, 20.1) == ""
    assert judge(host, race, 20.5) == "no further bytes"


def test_a_body_that_is_slow() -> None:
    """A body that comes all the time is late after 1.5 times what such a body takes."""
    host, body = host_of(0.01, 1.0, 1024 * KIB), Body(1)
    race = make_race(10.0, 10.1, body)
    reasons = []
    for step in range(1, 21):
        body.received += 1
        reasons.append(judge(host, race, 10.1 + step / 10))
    # A bucket of the quantiles is a fifth wide.
    assert set(reasons[:12]) == {""}
    assert reasons[-1] == "slow"


def test_a_connection_that_is_slow() -> None:
    """A body at a quarter of the speed of the others is late at once, if a later one came before it."""
    host = host_of(0.01, 0.1, 1024 * KIB)
    race = make_race(10.0, 10.1, Body(64 * KIB))
    race.size = 64 * 1024 * KIB
    assert judge(host, race, 10.45) == ""
    host.answered_since = 10.05
    assert judge(host, race, 10.46) == "a slow connection"


def test_the_last_requests_of_a_call() -> None:
    """With idle workers, the last requests are late after 200 ms."""
    race = make_race(10.0)
    race.call = CancelScope()
    assert judge(host_of(0.01), race, 10.25, idle=True) == ""
    race.call.is_last = True
    assert judge(host_of(0.01), race, 10.25, idle=False) == ""
    assert judge(host_of(0.01), race, 10.25, idle=True) == "the last ones"
    assert judge(host_of(0.3), race, 10.25, idle=True) == ""


def test_the_last_body_under_a_limit_of_the_bandwidth() -> None:
    """A body that our own limit makes slow is not late, also while its reader does not wait."""
    body = Body(0)
    race = make_race(10.0, 10.01, body)
    race.call = CancelScope()
    race.call.is_last = True
    race.size, race.is_limited = 0, True
    host = host_of(0.01)
    for step in range(1, 50):
        body.received += 1
        assert judge(host, race, 10.0 + step / 10, idle=True) == ""
    race.is_limited = False
    assert judge(host, race, 15.0, idle=True) == "the last ones"


def test_a_process_that_was_suspended() -> None:
    """The time in which the process did not run makes nothing late."""
    race = make_race(10.0)
    hedging._excuse(race, 100.0)
    assert judge(host_of(0.01), race, 110.2) == ""
    assert judge(host_of(0.01), race, 110.4) == "no answer"


# --- scopes ----------------------------------------------------------------------------------------------


def test_a_cut_ends_one_request() -> None:
    """A cut wakes its own request alone, and does not cancel the call."""
    call, track = CancelScope(), RaceTrack()
    scope, woken = RequestScope(call, track), []
    scope.attach(lambda: woken.append(1))
    scope.cut()
    assert woken == [1]
    assert not call.cancelled
    assert not scope.detach()
    with pytest.raises(Cancelled):
        scope.check()
    with pytest.raises(Cancelled):
        scope.attach(lambda: None)
    with pytest.raises(Cancelled):
        scope.wait(1.0)
    other = RequestScope(call, track)
    other.check()
    call.cancel()
    with pytest.raises(Cancelled):
        other.check()


def test_the_origin_of_a_signed_url() -> None:
    """What tells hosts apart has no part of a signature."""
    origin = origin_of(SignedURL("https://bucket.test:8443/a/b?sig=secret"))
    assert (type(origin), origin) == (str, "https://bucket.test:8443")


@pytest.mark.parametrize(
    "rest",
    ["?sig=a/secret", "?sig=secret", "#/secret", ""],
    ids=["slash", "query", "fragment", "none"],
)
def test_the_origin_of_a_url_without_a_path(rest: str) -> None:
    """The origin ends before a query, too."""
    assert origin_of(SignedURL(f"http://bucket.test:8443{rest}")) == "http://bucket.test:8443"


# --- connections -----------------------------------------------------------------------------------------


class Answer:
    """Stands in for a response that was read to its end."""

    status, headers = 200, {}
    length = received = 1024 * KIB

    def __init__(self) -> None:
        self.retired = False

    def retire(self) -> None:
        """Note the call."""
        self.retired = True


@pytest.mark.parametrize(
    ("body_s", "others", "limit_s", "retired"),
    [
        (1.0, 100, 0.5, True),
        (0.4, 100, 0.5, False),
        (1.0, 3, 0.5, False),
        (1.0, 100, None, False),
        (0.09, 100, 0.01, False),
    ],
)
def test_a_slow_connection_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
    body_s: float,
    others: int,
    limit_s: float | None,
    retired: bool,
) -> None:
    """It is slower than the others by far, and was overtaken by them."""
    now = 100.0
    monkeypatch.setattr(session, "monotonic", lambda: now)
    track = Hedging(0.05, 1)
    if limit_s is not None:
        track.pace_limits[ORIGIN] = limit_s / Answer.length
    scope = RequestScope(CALL, track)
    scope.origin, scope.sent_at, scope.ticket = ORIGIN, 99.9, next(track.tickets)
    wire = Answer()
    tally = Meter("storage").tally("https://host")
    response = Response(wire, scope, scope, tally, 99.9)  # type: ignore[arg-type]
    for _ in range(others):
        next(track.tickets)
    response._read_at = now + body_s
    response._note_end(False)
    assert wire.retired == retired
    assert track.retired == retired
    assert len(track.samples) == 1
