"""What is counted of the requests of one client: by host, without a lock.

`HTTPSession` and `APISession` count on the thread of the request, in a `Tally` that only this thread
changes. They do so in their own code: a block passes few modules. `snapshot` adds up what all threads
have counted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Callable, NamedTuple

from .._base.sync import get_ident
from ..types import EndpointStats, HostStats, Quantiles

__all__ = ["Ended", "Meter", "Tally", "quantiles", "snapshot"]

#: Requests of each host whose times are kept.
_MAX_SAMPLES = 1000
#: Hosts that are told apart. A portal could list another one for each block.
_MAX_HOSTS = 64
_OTHER_HOSTS = "other hosts"
#: Threads that have tallies of their own. Further ones share tallies, and may lose a count there.
_MAX_TALLIES = 4096
#: A shorter body says nothing of the speed: it came together with the headers.
MIN_SPEED_BYTES = 16 * 1024


class Ended(NamedTuple):
    """A request that has ended, for `Meter.listener`."""

    endpoint: str
    """`"portal"` or `"storage"`."""
    origin: str
    """Scheme, host and port."""
    method: str
    """The method of the request."""
    status: int
    """The status of the answer. 0: there was none."""
    error: str
    """Why there is no whole answer, as `TransportError.kind` says. "": there is one."""
    first_byte_s: float
    """Seconds until the headers of the answer came. 0: there was no answer."""
    seconds: float
    """Seconds until the body was read."""
    received: int
    """Bytes of the body that came."""


#: Seconds until the headers came, seconds that the body took, and its bytes. The second is negative if the
#: speed of the body says nothing.
Sample = tuple[float, float, int]


class Tally:
    """What one thread has counted of the requests to one host. Only that thread changes it.

    Attributes:
        requests: Requests that were begun.
        active: Requests that have not ended.
        errors: Requests that got no whole answer, or one of status 400 or above.
        received: Bytes of bodies.
        origin: Scheme, host and port.
        samples: The last samples of the host. All threads append to it, which is atomic.
        meter: The meter that the tally belongs to.
    """

    __slots__ = (
        "active",
        "errors",
        "meter",
        "origin",
        "received",
        "requests",
        "samples",
    )

    def __init__(self, meter: Meter, origin: str, samples: deque[Sample]) -> None:
        self.requests = 0
        self.active = 0
        self.errors = 0
        self.received = 0
        self.origin = origin
        self.samples = samples
        self.meter = meter


class _Host:
    """The tallies of one host, and the samples that they share."""

    __slots__ = ("name", "origin", "samples", "tallies")

    def __init__(self, name: str, origin: str) -> None:
        self.name = name
        self.origin = origin
        self.samples: deque[Sample] = deque(maxlen=_MAX_SAMPLES)
        self.tallies: list[Tally] = []


class Meter:
    """Counts the requests to the portal or to the storage.

    Args:
        endpoint: `"portal"` or `"storage"`.

    Attributes:
        tallies: The tallies by thread and by origin as a URL spells it.
        listener: Called with each request that has ended, on its thread. None: there is no listener.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.tallies: dict[tuple[int, str], Tally] = {}
        self.listener: Callable[[Ended], object] | None = None
        self._hosts: dict[str, _Host] = {}

    def tally(self, origin: str) -> Tally:
        """Return the calling thread's tally of an origin, which is made at the first call."""
        key = get_ident(), origin
        found = self.tallies.get(key)
        if found is not None:
            return found
        host = self._host_of(origin)
        if host.name == _OTHER_HOSTS:
            key = key[0], host.origin
        if len(self.tallies) >= _MAX_TALLIES:
            key = 0, host.origin
        found = self.tallies.get(key)
        if found is None:
            made = Tally(self, host.origin, host.samples)
            found = self.tallies.setdefault(key, made)
            if found is made:
                host.tallies.append(made)
        return found

    def _host_of(self, origin: str) -> _Host:
        # The part before "@" may be a password.
        scheme, _, authority = origin.lower().partition("://")
        name = authority.rpartition("@")[2]
        shown = f"{scheme}://{name}"
        host = self._hosts.get(shown)
        if host is not None:
            return host
        if len(self._hosts) >= _MAX_HOSTS:
            name = shown = _OTHER_HOSTS
        return self._hosts.setdefault(shown, _Host(name, shown))

    @property
    def hosts(self) -> list[_Host]:
        """What was counted of each host."""
        return list(self._hosts.copy().values())


def snapshot(meters: Iterable[Meter], idle_connections: int = 0) -> EndpointStats:
    """Return what some meters have counted so far. The hosts of all are told apart by their names.

    Args:
        meters: The meters.
        idle_connections: Connections that are kept for the next requests.
    """
    by_name: dict[str, list[_Host]] = {}
    for meter in meters:
        for host in meter.hosts:
            by_name.setdefault(host.name, []).append(host)
    hosts = [_stats_of(name, found) for name, found in by_name.items()]
    active = sum(
        max(0, tally.active)
        for found in by_name.values()
        for host in found
        for tally in host.tallies.copy()
    )
    return EndpointStats(
        requests=sum(host.requests for host in hosts),
        errors=sum(host.errors for host in hosts),
        received=sum(host.received for host in hosts),
        connections=idle_connections + active,
        hosts=tuple(sorted(hosts, key=lambda host: -host.requests)),
    )


def _stats_of(name: str, hosts: list[_Host]) -> HostStats:
    tallies = [tally for host in hosts for tally in host.tallies.copy()]
    samples = [sample for host in hosts for sample in host.samples.copy()]
    return HostStats(
        host=name,
        requests=sum(each.requests for each in tallies),
        errors=sum(each.errors for each in tallies),
        received=sum(each.received for each in tallies),
        first_byte=quantiles(first_byte_s for first_byte_s, _, _ in samples),
        speed=quantiles(
            nbytes / body_s
            for _, body_s, nbytes in samples
            if body_s > 0 and nbytes >= MIN_SPEED_BYTES
        ),
    )


def quantiles(values: Iterable[float]) -> Quantiles:
    """Return quantiles of some numbers: each is one of them."""
    ordered = sorted(values)
    if not ordered:
        return Quantiles(None, None, None)
    last = len(ordered)
    p50, p90, p99 = (ordered[math.ceil(share * last) - 1] for share in (0.5, 0.9, 0.99))
    return Quantiles(p50, p90, p99)
