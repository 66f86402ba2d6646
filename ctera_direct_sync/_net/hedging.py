"""Hedged requests: what comes late is asked for a second time, and the first whole answer wins.

Dean and Barroso call it so (The Tail at Scale, 2013). A watcher looks at the requests of a client every
now and then. One that is later than its host's recent requests gets a twin: another thread asks for the
same over another connection. `Race` decides who wins, and cuts the other one.

The watcher alone decides, and alone keeps the quantiles and the budget. A request tells it how it went by
appending to a deque. So hedging costs a request two operations of containers, and no lock.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from .._base.cancellation import Gate, Race, RaceTrack, RequestScope, Twin
from .._base.retry import FailedAttempt
from .._base.sync import Lock, SimpleQueue, monotonic
from .._base.worker_pool import WorkerPool, on_worker_thread
from .errors import TransportError
from .latency import MIN_BODY_BYTES, MIN_SAMPLES, HostLatency, LatencyTable

__all__ = ["Budget", "Hedging"]

_log = logging.getLogger(__name__)

#: No request is late before.
_FLOOR_S = 0.3
#: A request is late after this multiple of the time that nine of ten recent ones did not take.
#: Of requests whose times spread widely (log-normal, sigma 0.8), 4% take longer.
_MULTIPLE = 1.5
_QUANTILE = 0.9
_MEDIAN = 0.5
#: The last requests of a call are late after the simple time, and this floor.
_LAST_FLOOR_S = 0.2
#: The first answer of a connection is late after this multiple of the limit for the others, at the latest.
_COLD_FACTOR = 4.0
#: A request is taken for lost after this multiple of that time, and this floor.
_LOST_FACTOR = 10.0
_LOST_FLOOR_S = 1.0
#: Of so many requests at once, or more, one that is late has been overtaken by a later one. Otherwise the
#: host is slow as a whole.
_MIN_RIVALS = 4
#: The requests whose share of twins may be saved up, for when several are late together.
_BURST_REQUESTS = 160
_MIN_BURST = 2.0
_RECENT_S = 1.0
#: Without anything saved up, a request that is taken for lost gets a twin so often.
_RESCUE_S = 1.0
#: Twins at once, each on a thread of its own, and how often one request may get a new one.
_MAX_TWINS = 8
_MAX_TWINS_PER_RACE = 3
#: How often the watcher looks at what is late already, or has a new connection.
_PERIOD_S = 0.05
#: Otherwise it looks when the first request will be late, within these bounds.
_MIN_PERIOD_S, _MAX_PERIOD_S = 0.01, 0.1
#: A request that is late and got no twin is looked at often for so long: the budget may allow one soon.
_URGENT_S = 5.0
#: The process was suspended, or starved, if the watcher wakes so much later than it should. Then the
#: requests are not to blame.
_MAX_OVERSLEEP_S = 0.15
#: A connection is not used again if it was slower by this factor than the faster quarter.
_SLOW_FACTOR = 4.0
_FAST_QUANTILE = 0.25
#: A body is not spared a twin after this multiple of the usual time, however little of it is missing.
_TRICKLE_FACTOR = 6.0
#: A new connection is given up amid its first body if it is that much slower than those that were good
#: meanwhile. Before this time of the body it is not judged.
_TRIAL_S = 0.1
_MIN_TRIAL_BODY_S = 0.05
#: The share of new connections that are taken for good ones.
_GOOD_SHARE = 0.25
#: How often one request may be moved, and how many moves there are for each request at once.
_MAX_MOVES_PER_RACE = 12
_MOVES_PER_RIVAL = 4
#: More samples between two looks are thinned out.
_MAX_SAMPLES_PER_LOOK = 128
#: How much the most requests at once are forgotten at each look: a call may need fewer later.
_PEAK_DECAY = 0.98


class Budget:
    """A token bucket: how many twins may still be sent. Pure.

    Args:
        share: Twins per request, from 0 to 1.

    Attributes:
        tokens: Twins that may be sent now.
        moves: Requests that may be moved to another connection now.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._least_burst = self._max_tokens = max(_MIN_BURST, share * _BURST_REQUESTS)
        #: About the requests of the last second, and until when they are counted.
        self._recent, self._counted_at = 0.0, 0.0
        self._rescued_at = -math.inf
        self._max_moves = 0.0
        self.tokens = self._max_tokens if share else 0.0
        self.moves = 0.0

    def earn(self) -> None:
        """Count a request. What is too much for twins may be used for moves."""
        self._recent += 1.0
        # Between two looks hundreds may have ended. Their share is not lost.
        self._max_tokens = max(self._max_tokens, self._share * self._recent)
        tokens = self.tokens + self._share
        self.tokens = min(tokens, self._max_tokens)
        self.moves = min(self.moves + tokens - self.tokens, self._max_moves)

    def pass_time(self, now: float) -> None:
        """Note the time: what was earned in the last second may be saved up.

        On a fast link hundreds of requests end before one of them is late.
        """
        self._recent *= math.exp(min(0.0, (self._counted_at - now) / _RECENT_S))
        self._counted_at = now
        self._max_tokens = max(self._least_burst, self._share * self._recent)
        rest = max(0.0, self.tokens - self._max_tokens)
        self.tokens -= rest
        self.moves = min(self.moves + rest, self._max_moves)

    def grant_moves(self, rivals: int) -> None:
        """Allow moves for the connections of so many requests at once, unless they were allowed before."""
        most = float(_MOVES_PER_RIVAL * rivals)
        if self._share and most > self._max_moves:
            self.moves += most - self._max_moves
            self._max_moves = most

    def spend(self, urgent: bool, is_lost: bool, now: float) -> bool:
        """Return whether a twin may be sent now, and count it.

        Args:
            urgent: Whether the request is late, and not only one of the last ones.
            is_lost: Whether it will hardly be answered.
            now: The time in seconds.
        """
        if self.tokens >= (1.0 if urgent else 2.0):
            self.tokens -= 1.0
            return True
        # Otherwise the call would wait for the read timeout.
        if is_lost and now >= self._rescued_at + _RESCUE_S:
            self._rescued_at = now
            return True
        return False


#: Reasons of a request of which nothing comes.
_SILENT = frozenset({"no answer", "no further bytes"})


class _Late:
    """A request that is late, why, and since when it is waited for."""

    __slots__ = ("is_new", "race", "reason", "since", "urgent")

    def __init__(
        self, race: Race[Any], reason: str, since: float, urgent: bool, is_new: bool = False
    ) -> None:
        self.race = race
        # Whether its connection is a new one, which another one may replace.
        self.is_new = is_new
        self.reason = reason
        self.since = since
        self.urgent = urgent


class _Parts:
    """What the watcher waits by, and the threads. gevent may patch the standard library before."""

    def __init__(self) -> None:
        self.closed = Gate()
        self.bell: SimpleQueue[None] = SimpleQueue()
        # The watcher has a pool of its own. In that of the twins, its thread would look like one that
        # takes a twin that the system gives no thread for.
        self.watcher = WorkerPool(1)
        self.pool = WorkerPool(_MAX_TWINS)


class Hedging(RaceTrack):
    """The hedging of one client. Thread-safe.

    It has no thread before there are enough samples to tell what is late, or some requests at once.

    Args:
        share: Twins per request, from 0 to 1. 0: no requests are hedged.
        max_bytes: The memory that all twins together may use. One twin may always run.

    Attributes:
        twins: How many twins were sent.
        wins: How many of them were faster than the first request.
        moved: How many requests were sent again over another connection, since theirs was slow.
    """

    losses = (TransportError, FailedAttempt)

    def __init__(self, share: float, max_bytes: int) -> None:
        self._share = share
        self._max_bytes = max_bytes
        self.enabled = share > 0
        super().__init__()

    def start_over(self) -> None:
        """Forget the parent's threads, requests and locks in a forked child."""
        # A hook may have forked amid a request, which goes on here: no thread works for its twin.
        for reference in getattr(self, "races", {}).copy().values():
            race = reference()
            if race is not None and race.twin is not None:
                race.twin.end()
        super().start_over()
        self.latencies = LatencyTable()
        self._budget = Budget(self._share)
        self._parts: list[_Parts] = []
        self._is_closed = False
        self._running: dict[int, int] = {}
        self._peak = 0.0
        self.twins = self.wins = self.moved = 0
        self._count_lock = Lock()

    def start(self) -> None:
        """Start the watcher once there are samples, or some requests at once."""
        is_needed = len(self.samples) >= MIN_SAMPLES or len(self.races) >= _MIN_RIVALS
        if not is_needed or self._is_closed or not self.enabled:
            return
        if self._parts:
            return  # Another thread starts it, or an interrupt struck that one: then nothing is hedged.
        made = _Parts()
        self._parts.append(made)
        if self._parts[0] is not made:
            return  # Another thread starts it.
        self.is_asleep = False
        self.bells.append(made.bell)
        try:
            made.watcher.start_thread(self._watch)
        except (RuntimeError, MemoryError):
            # The system gives no thread. Then nothing is hedged.
            _log.debug("no thread for hedging")
            return
        if self._is_closed:
            self.close(wait=False)

    def close(self, wait: bool = True) -> None:
        """End the watcher and the twins. The calls that race were cancelled.

        Args:
            wait: Whether to wait for the threads. A call on a worker thread never waits.
        """
        self._is_closed = True
        for parts in self._parts[:1]:
            parts.closed.open()
            parts.bell.put(None)
            for reference in self.races.copy().values():
                race = reference()
                if race is not None and race.twin is not None:
                    race.twin.cut()
            parts.watcher.shutdown(wait=wait and not on_worker_thread())
            parts.pool.shutdown(wait=wait and not on_worker_thread())

    # --- the watcher -------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Look for late requests until the client is closed: the life of one thread."""
        parts = self._parts[0]
        period = _PERIOD_S
        while not parts.closed.is_open:
            if not self.races:
                # First this, then the races. A request does it the other way round.
                self.is_asleep = True
                if not self.races and not parts.closed.is_open:
                    parts.bell.get()
                self.is_asleep = False
                period = _PERIOD_S
            due = monotonic() + period
            if parts.closed.wait_for(period):
                return
            now = monotonic()
            try:
                period = self._look(now, now - due)
            except Exception:  # noqa: BLE001 - no download depends on the watcher
                _log.exception("looking for late requests failed: please report this")
                return

    def _look(self, now: float, overslept_s: float) -> float:
        """Send twins for what is late. Return the seconds until the next look."""
        self._read_samples(now)
        self._budget.pass_time(now)
        races = self._list_races()
        self._peak = max(float(len(races)), self._peak * _PEAK_DECAY)
        # A call whose last requests are under way leaves workers idle, unless other calls use them.
        has_idle_workers = len(races) <= 0.75 * self._peak
        by_origin: dict[str, list[Race[Any]]] = {}
        for race in races:
            if overslept_s > _MAX_OVERSLEEP_S:
                _excuse(race, overslept_s)
            origin = _leader(race).origin
            if origin:
                by_origin.setdefault(origin, []).append(race)
        next_s = _MAX_PERIOD_S
        for origin, rivals in by_origin.items():
            self._budget.grant_moves(len(rivals))
            host = self.latencies.hosts.get(origin)
            if host is None:
                host = HostLatency()
            limits = _Limits(host, has_idle_workers, _paces_under_way(rivals, now), len(rivals))
            late = [found for race in rivals if (found := limits.judge(race, now)) is not None]
            next_s = min(next_s, limits.next_s)
            if any(now - each.since < _URGENT_S for each in late):
                next_s = min(next_s, _PERIOD_S)
            self._answer(host, late, len(rivals), now)
        return max(next_s, _MIN_PERIOD_S)

    def _read_samples(self, now: float) -> None:
        origins = set()
        # A fast host answers thousands of times between two looks. Some of them tell as much as all.
        stride = 1 + len(self.samples) // _MAX_SAMPLES_PER_LOOK
        number = 0
        while self.samples:
            sample = self.samples.popleft()
            if not sample[-1]:
                self._budget.earn()
            number += 1
            if number % stride == 0:
                origin = sample[0]
                self.latencies.note(origin, now).add(sample)
                origins.add(origin)
        while self.failures:
            failure = self.failures.popleft()
            if not failure.is_twin:
                self._budget.earn()
            self.latencies.note(failure.origin, now).add_failure(failure, now)
        for origin in origins & self.latencies.hosts.keys():
            pace = self.latencies.hosts[origin].pace(_FAST_QUANTILE)
            self.pace_limits[origin] = pace * _SLOW_FACTOR
        for origin in self.pace_limits.keys() - self.latencies.hosts.keys():
            del self.pace_limits[origin]

    def _list_races(self) -> list[Race[Any]]:
        races = []
        for key, reference in self.races.copy().items():
            race = reference()
            if race is None:
                self.races.pop(key, None)  # An interrupt came before it could do so itself.
            elif not race.is_over:
                races.append(race)
        return races

    def _answer(self, host: HostLatency, late: list[_Late], count: int, now: float) -> None:
        """Send twins for the late requests to one host, as far as that makes sense."""
        is_failing = host.is_failing(now)
        # What is very late will hardly come. Of the others, the newest one has the longest wait before it.
        lost_s = _LOST_FACTOR * max(_FLOOR_S, host.first_byte.at(_QUANTILE))
        late.sort(key=lambda each: (not each.urgent, now - each.since < lost_s, -each.since))
        for each in late:
            race, twin = each.race, each.race.twin
            if race.has_failed:
                # The retry policy takes over.
                if twin is not None:
                    twin.cut()
                continue
            if race.is_cut:
                continue  # Its thread has not noticed yet: it may be in a listener of the user.
            scope = _leader(race)
            if each.is_new and count >= _MIN_RIVALS and not is_failing and self._may_move(race):
                self._budget.moves -= 1.0
                self.moved += 1
                race.move()
                continue
            is_slow = count >= _MIN_RIVALS and host.answered_since <= scope.sent_at
            if is_slow or is_failing or not self._may_send(race):
                continue
            is_lost = each.reason in _SILENT and now - each.since >= max(
                _LOST_FLOOR_S, _LOST_FACTOR * host.first_byte.at(_QUANTILE)
            )
            # A host that has answered nothing since may be dead as a whole.
            is_alive = host.answered_since > min(scope.sent_at, host.hedged_at)
            if not self._budget.spend(each.urgent, is_lost and is_alive, now):
                continue
            host.hedged_at = now
            if not scope.answered_at:
                # The quantiles must not be those of the fast requests alone.
                host.add_wait(now - scope.sent_at, scope.is_cold)
            self._send(race, each.reason)

    def _may_move(self, race: Race[Any]) -> bool:
        is_alone = race.twin is None or race.twin.has_ended
        return is_alone and self._budget.moves >= 1.0 and race.moves < _MAX_MOVES_PER_RACE

    def _may_send(self, race: Race[Any]) -> bool:
        if len(self._running) >= _MAX_TWINS or race.twins >= _MAX_TWINS_PER_RACE:
            return False
        used = sum(self._running.copy().values())
        return not used or used + race.cost <= self._max_bytes

    def _send(self, race: Race[Any], reason: str) -> None:
        """Start a twin, in the place of an earlier one."""
        twin, before = Twin(race.call, self), race.twin
        race.twin = twin
        if before is not None:
            before.cut()
        if race.is_over or race.has_failed:
            twin.end()
            return
        race.twins += 1
        self._running[id(twin)] = race.cost
        # Counted first: the twin may win before this thread goes on, and the user then asks for the number.
        self.twins += 1
        try:
            self._parts[0].pool.submit(self._run_twin, race, twin, reason)
        except (RuntimeError, MemoryError):
            self.twins -= 1
            self._running.pop(id(twin), None)
            twin.end()
            return
        _log.debug("%s: a request is late (%s): asking again", race.origin, reason)

    # --- twins -------------------------------------------------------------------------------------------

    def _run_twin(self, race: Race[Any], twin: Twin, reason: str) -> None:
        """Ask again: the work of a thread of the pool."""
        try:
            if not twin.begin():
                return  # The first request has failed, and its thread did not wait.
            if not race.is_over and not self._is_closed:
                # A copy: the twin before may not have left the context yet.
                result = race.context.copy().run(race.ask_again, twin, reason)
                if race.claim(twin, result):
                    with self._count_lock:
                        self.wins += 1
                del result
        except BaseException as error:  # noqa: BLE001 - the first request goes on
            _log.debug("a second request failed: %s", type(error).__name__)
        finally:
            self._running.pop(id(twin), None)
            twin.end()


class _Limits:
    """From when on a request to one host is late.

    Args:
        host: The host.
        has_idle_workers: Whether the last requests of a call may be judged more strictly.
        under_way: For how many seconds bodies have been coming, and their seconds per byte.
        rivals: How many requests are under way.

    Attributes:
        next_s: When the next look is due, in seconds from now.
    """

    def __init__(
        self,
        host: HostLatency,
        has_idle_workers: bool,
        under_way: Sequence[tuple[float, float]] = (),
        rivals: int = 1,
    ) -> None:
        self._rivals = rivals
        self._host = host
        self._under_way = under_way
        self._first_byte_s = host.first_byte.at(_QUANTILE)
        self._pace = host.pace(_QUANTILE)
        self._usual_pace = host.pace(_MEDIAN)
        self._fast_pace = host.pace(_FAST_QUANTILE)
        self._answered_since = host.answered_since
        self._has_idle_workers = has_idle_workers
        self._limit_s = self._cold_limit_s = max(_FLOOR_S, _MULTIPLE * self._first_byte_s)
        cold_s = host.cold_first_byte.at(_QUANTILE)
        if math.isfinite(cold_s):
            # Waits that ended by a twin are counted, too. Where many new connections are dead, those alone
            # would raise the limit by half each time.
            cold_limit_s = min(_MULTIPLE * cold_s, _COLD_FACTOR * self._limit_s)
            self._cold_limit_s = max(self._limit_s, cold_limit_s)
        self.next_s = math.inf

    def judge(self, race: Race[Any], now: float) -> _Late | None:
        """Return why a request, or its twin, is late. None: it is not."""
        scope = _leader(race)
        sent_at, answered_at, body = scope.sent_at, scope.answered_at, scope.body
        if not sent_at:
            return None
        now -= scope.excused_s
        reason, waited_s, limit_s = "", now - sent_at, self._limit_s
        if not answered_at:
            if scope.is_cold:
                limit_s = self._cold_limit_s
            if waited_s > limit_s:
                reason = "no answer"
        elif body is None or body.is_waiting:
            scope.progress = -1, now
            return None
        elif (
            scope.is_cold and scope is race and self._is_bad(scope, body, sent_at, answered_at, now)
        ):
            return _Late(race, "a slow connection", answered_at, urgent=True, is_new=True)
        else:
            reason, waited_s, limit_s = self._judge_body(scope, body, now)
            if scope.is_cold:
                self.next_s = min(self.next_s, _PERIOD_S)
        if reason:
            return _Late(race, reason, now - waited_s, urgent=True)
        is_last = race.call.is_last and self._has_idle_workers and race.twin is None
        if is_last and not scope.is_limited:
            size = scope.size or race.cost
            usual_s = self._first_byte_s + (self._pace * size if math.isfinite(self._pace) else 0.0)
            waited_s, limit_s = now - sent_at, max(_LAST_FLOOR_S, usual_s)
            if waited_s > limit_s:
                return _Late(race, "the last ones", sent_at, urgent=False)
        self.next_s = min(self.next_s, limit_s - waited_s)
        return None

    def _is_bad(
        self, scope: RequestScope, body: Any, sent_at: float, answered_at: float, now: float
    ) -> bool:
        """Return whether a new connection is so slow that another one will bring the body sooner."""
        # The thread of the request may end it, or send the next one, meanwhile.
        received, size = body.received, scope.size
        took_s, body_s = now - sent_at, now - answered_at
        if took_s < _TRIAL_S or body_s < _MIN_TRIAL_BODY_S or received < 0 or not size:
            return False
        others = [pace for age_s, pace in self._under_way if age_s < 2 * body_s]
        pace = self._host.pace_since(answered_at, others, size)
        # Before enough answers are known, its own one is taken for a usual one.
        first_byte_s = min(self._first_byte_s, answered_at - sent_at)
        usual_s = first_byte_s + pace * max(received, MIN_BODY_BYTES)
        if took_s <= _SLOW_FACTOR * usual_s:
            return False
        whole_s, good_s = body_s * size / max(received, 1), first_byte_s + pace * size
        if whole_s - body_s <= first_byte_s + good_s:
            return False
        # What was received is lost, and the next connection may be slow as well. It has to pay by the
        # further requests over that connection.
        further = scope.call.waiting / max(self._rivals, 1)
        return bool(_GOOD_SHARE * further * (whole_s - good_s) > took_s)

    def _judge_body(self, scope: RequestScope, body: Any, now: float) -> tuple[str, float, float]:
        """Return why a body is late or "", how long it has been waited for, and from when on it is."""
        received = body.received
        before, since = scope.progress
        # Where the bytes are not counted, those of a small body come at once.
        is_unknown = received < 0 and not 0 < scope.size < MIN_BODY_BYTES
        if received != before or is_unknown:
            scope.progress = received, now
            since = now
        if now - since > self._limit_s:
            return "no further bytes", now - since, self._limit_s
        size = scope.size
        took_s = now - scope.answered_at
        if size and received >= 0 and not self._may_win(received, size, took_s):
            return "", now - since, self._limit_s
        if (
            size
            and received >= MIN_BODY_BYTES
            and took_s > max(_FLOOR_S, received * self._fast_pace * _SLOW_FACTOR)
            and self._answered_since > scope.sent_at
        ):
            return "a slow connection", took_s, _FLOOR_S
        usual_s = self._pace * size
        if size and math.isfinite(usual_s):
            limit_s = max(_FLOOR_S, _MULTIPLE * usual_s)
            return ("slow" if took_s > limit_s else ""), took_s, limit_s
        return "", now - since, self._limit_s

    def _may_win(self, received: int, size: int, took_s: float) -> bool:
        """Return whether a twin that takes the usual time is whole before a body that goes on as so far."""
        usual_s = self._host.first_byte.at(_MEDIAN) + self._usual_pace * size
        # A body that takes this long does not go on as before: it came fast, and trickles now.
        if not math.isfinite(usual_s) or took_s > _TRICKLE_FACTOR * max(_FLOOR_S, usual_s):
            return True
        return took_s * (size - received) / max(received, 1) > usual_s


def _paces_under_way(races: Sequence[Race[Any]], now: float) -> list[tuple[float, float]]:
    """Return for how many seconds bodies have been coming, and their seconds per byte."""
    found = []
    for race in races:
        body, age_s = race.body, now - race.answered_at
        if body is not None and age_s >= _MIN_TRIAL_BODY_S and race.size:
            received = body.received
            if received > 0:
                found.append((age_s, age_s / received))
    return found


def _leader(race: Race[Any]) -> RequestScope:
    """Return the request of a race that was sent last and goes on."""
    twin = race.twin
    return race if twin is None or twin.has_ended else twin


def _excuse(race: Race[Any], seconds: float) -> None:
    """Do not count a time in which this process did not run."""
    for scope in (race, race.twin):
        if scope is not None and scope.sent_at:
            scope.excused_s += seconds
