"""What the recent requests to each host took. Pure: it gets samples, and reads no clock.

Only the watcher of `hedging` uses these objects, so they need no lock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence

from .._base.cancellation import Failure, Sample

__all__ = ["MIN_BODY_BYTES", "MIN_SAMPLES", "HostLatency", "LatencyTable", "Quantiles"]

#: Fewer samples tell nothing.
MIN_SAMPLES = 8
#: After so many samples each of them counts half, so that a change of the network shows soon.
_HALVING = 256
#: The buckets of a histogram: four for each doubling, from 50 microseconds to 14 minutes.
_LEAST = 50e-6
_PER_DOUBLING = 4
_BUCKETS = 96
#: A shorter body tells nothing about the speed of its connection.
MIN_BODY_BYTES = 32 * 1024
#: Speeds are kept as seconds for this many bytes, which fit into the buckets.
_PACE_BYTES = 1024 * 1024
#: The last bodies, and the last ones over new connections, that a new connection is compared with.
_MAX_RECENT = 32
_MAX_NEW = 16
#: Fewer of them tell nothing. The faster quarter counts, since slow connections are what is looked for.
_MIN_RECENT = 3
_FAST_SHARE = 0.25
#: A body is not compared if it is smaller by this factor: it may fit into the buffers of the sockets.
_MAX_SIZE_RATIO = 4
#: A host fails as a whole if more than this share of its requests fails.
_FAILING_SHARE = 0.2
_MIN_FAILURES = 3.0
#: A host that was not asked for so long is forgotten: its network may be another one.
_MAX_AGE_S = 600.0
_MAX_HOSTS = 64


class Quantiles:
    """A histogram of times that forgets. Its memory does not depend on the number of samples.

    Attributes:
        weight: The samples, older ones counted in part.
    """

    __slots__ = ("_buckets", "weight")

    def __init__(self) -> None:
        self._buckets = [0.0] * _BUCKETS
        self.weight = 0.0

    def add(self, seconds: float) -> None:
        """Take note of a time."""
        place = int(math.log2(max(seconds, _LEAST) / _LEAST) * _PER_DOUBLING)
        self._buckets[min(place, _BUCKETS - 1)] += 1.0
        self.weight += 1.0
        if self.weight >= _HALVING:
            self._buckets = [count / 2 for count in self._buckets]
            self.weight /= 2

    def at(self, share: float) -> float:
        """Return the time that a share of the samples did not exceed, infinity without enough of them.

        Args:
            share: From 0 to 1.
        """
        if self.weight < MIN_SAMPLES:
            return math.inf
        rest = share * self.weight
        for place, count in enumerate(self._buckets):
            if count >= rest and count:
                return float(_LEAST * 2.0 ** ((place + rest / count) / _PER_DOUBLING))
            rest -= count
        return float(_LEAST * 2.0 ** (_BUCKETS / _PER_DOUBLING))


class HostLatency:
    """What is known about one host.

    Attributes:
        first_byte: Seconds from a request to the head of its answer.
        cold_first_byte: The same of the first requests of connections. Where a proxy connects to the host
            only then, they take a round trip more.
        blocked_until: Until when the host asked for no request.
        answered_since: When the newest request was begun that was answered.
        hedged_at: When it last got a twin.
        touched_at: When it last got a sample.
    """

    __slots__ = (
        "_failures",
        "_new",
        "_pace",
        "_recent",
        "_requests",
        "answered_since",
        "blocked_until",
        "cold_first_byte",
        "first_byte",
        "hedged_at",
        "touched_at",
    )

    def __init__(self) -> None:
        self.first_byte = Quantiles()
        self.cold_first_byte = Quantiles()
        self._pace = Quantiles()
        # When the last bodies ended, their bytes, and their seconds per byte.
        self._recent: deque[tuple[float, int, float]] = deque(maxlen=_MAX_RECENT)
        self._new: deque[tuple[int, float]] = deque(maxlen=_MAX_NEW)
        self._requests = 0.0
        self._failures = 0.0
        self.answered_since = self.blocked_until = self.touched_at = 0.0
        self.hedged_at = -math.inf

    def count(self, now: float) -> None:
        """Count a request that has ended at `now`."""
        self.touched_at = now
        self._requests += 1.0
        if self._requests >= _HALVING:
            self._requests /= 2
            self._failures /= 2

    def add(self, sample: Sample) -> None:
        """Take note of how long a request took."""
        _, sent_at, answered_at, ended_at, nbytes, is_cold, _ = sample
        self.answered_since = max(self.answered_since, sent_at)
        self.add_wait(answered_at - sent_at, is_cold)
        if nbytes >= MIN_BODY_BYTES:
            body_s = ended_at - answered_at
            self._pace.add(body_s * _PACE_BYTES / nbytes)
            self._recent.append((ended_at, nbytes, body_s / nbytes))
            if is_cold:
                self._new.append((nbytes, body_s / nbytes))

    def add_wait(self, seconds: float, is_cold: bool) -> None:
        """Take note of how long a request waited for the head of its answer, if only so far."""
        if is_cold:
            self.cold_first_byte.add(seconds)
        # The first request of a connection is slower than the others. But a server may keep none open.
        if not is_cold or self.first_byte.weight < MIN_SAMPLES:
            self.first_byte.add(seconds)

    def add_failure(self, failure: Failure, now: float) -> None:
        """Take note of a request that failed."""
        self._failures += 1.0
        self.blocked_until = max(self.blocked_until, now + failure.blocked_s)

    def pace(self, share: float) -> float:
        """Return the seconds per byte that a share of the bodies did not exceed."""
        return self._pace.at(share) / _PACE_BYTES

    def pace_since(self, time: float, others: Sequence[float], size: int) -> float:
        """Return the seconds per byte that a good connection takes now.

        The bodies that ended since `time`, or those under way, say how fast the network is. Those that came
        over new connections say how fast a connection begins: the pace is not faster than that.

        Args:
            time: By the clock of the samples.
            others: The seconds per byte of bodies that began at about the same time and are under way.
            size: The bytes of the body that is compared with them. Far smaller ones do not count.

        Returns:
            Infinity if it is not known.
        """
        least = size / _MAX_SIZE_RATIO
        new = [pace for nbytes, pace in self._new if nbytes >= least]
        if len(new) < _MIN_RECENT:
            return _fast_one(others)
        recent = [
            pace for ended_at, nbytes, pace in self._recent if ended_at > time and nbytes >= least
        ]
        return max(min(_fast_one(recent), _fast_one(others)), _fast_one(new))

    def is_failing(self, now: float) -> bool:
        """Return whether the host fails as a whole, or asked for no request."""
        if now < self.blocked_until:
            return True
        return self._failures >= max(_MIN_FAILURES, _FAILING_SHARE * self._requests)


def _fast_one(paces: Collection[float]) -> float:
    """Return a pace of the faster quarter, infinity if there are too few."""
    return sorted(paces)[int(_FAST_SHARE * len(paces))] if len(paces) >= _MIN_RECENT else math.inf


class LatencyTable:
    """The hosts of one client, of which it forgets those that were not asked for long."""

    def __init__(self) -> None:
        self.hosts: dict[str, HostLatency] = {}

    def note(self, origin: str, now: float) -> HostLatency:
        """Count a request that has ended at `now`, and return its host."""
        host = self.hosts.get(origin)
        if host is None or now - host.touched_at > _MAX_AGE_S:
            self.hosts[origin] = host = HostLatency()
            if len(self.hosts) > _MAX_HOSTS:
                others = [each for each in self.hosts if each != origin]
                del self.hosts[min(others, key=lambda each: self.hosts[each].touched_at)]
        host.count(now)
        return host
