"""A seeded model of the traffic on a simulated network.

The model reads no clock and opens no socket. Each call gets the time, in seconds, and returns times.
So a relay can follow it in real time, and a test can follow it in virtual time.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

#: Bytes from the client to the server.
UP = "up"
#: Bytes from the server to the client.
DOWN = "down"

#: A piece is what a slow connection carries in this time, so that its bytes come all the time.
_PIECE_S = 0.025
_MIN_PIECE_BYTES = 4 * 1024
_MAX_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True)
class NetworkProfile:
    """How a network treats its connections.

    Attributes:
        name: What the profile is called.
        bandwidth: What all connections share in each direction, in bytes per second. None: no limit.
        latency: The delay of one direction, in seconds. A round trip takes twice as long.
        jitter: The largest delay that is added at random, in seconds.
        connection_rate: What one connection can carry, in bytes per second. None: no limit.
        slow_connections: The share of connections that are slow, from 0 to 1.
        slow_requests: The share of requests that are slow, from 0 to 1.
        slow_factor: How many times slower they are, in rate and in latency.
        dead_requests: The share of requests that get no answer, from 0 to 1.
        stall_share: The share of pieces that are held up, from 0 to 1.
        stall: How long such a piece is held up, in seconds.
        congestion_share: The share of periods that are congested, from 0 to 1.
        congestion_period: How long one period lasts, in seconds.
        congestion_factor: What is left of the bandwidth in a congested period, above 0.
    """

    name: str
    bandwidth: float | None = None
    latency: float = 0.0
    jitter: float = 0.0
    connection_rate: float | None = None
    slow_connections: float = 0.0
    slow_requests: float = 0.0
    slow_factor: float = 1.0
    dead_requests: float = 0.0
    stall_share: float = 0.0
    stall: float = 0.0
    congestion_share: float = 0.0
    congestion_period: float = 1.0
    congestion_factor: float = 1.0


def as_network(network: str | NetworkProfile | Network) -> Network:
    """Return the network that a profile, its name or a network itself stands for.

    Raises:
        ValueError: There is no profile of this name.
    """
    if isinstance(network, Network):
        return network
    if isinstance(network, str):
        if network not in PROFILES:
            raise ValueError(f"no network is called {network!r}: use one of {', '.join(PROFILES)}")
        network = PROFILES[network]
    return Network(network)


_MB = 1e6
#: The named profiles.
PROFILES = {
    profile.name: profile
    for profile in (
        NetworkProfile("lan"),
        NetworkProfile("office", bandwidth=12.5 * _MB, latency=0.005, jitter=0.002),
        NetworkProfile("long", latency=0.05),
        NetworkProfile("slow", bandwidth=0.25 * _MB, latency=0.02),
        NetworkProfile(
            "shaky",
            bandwidth=12.5 * _MB,
            latency=0.02,
            jitter=0.02,
            stall_share=0.002,
            stall=1.0,
            congestion_share=0.3,
            congestion_factor=0.1,
        ),
        NetworkProfile(
            "one-slow-node",
            latency=0.005,
            connection_rate=20 * _MB,
            slow_requests=0.05,
            slow_factor=10,
        ),
        NetworkProfile(
            "capped", latency=0.005, connection_rate=8 * _MB, slow_connections=0.7, slow_factor=8
        ),
        NetworkProfile("dead-get", latency=0.005, dead_requests=0.02),
        NetworkProfile(
            "light", bandwidth=50 * _MB, latency=0.01, congestion_share=0.1, congestion_factor=0.5
        ),
        NetworkProfile(
            "heavy", bandwidth=50 * _MB, latency=0.01, congestion_share=0.7, congestion_factor=0.2
        ),
        NetworkProfile(
            "bursty",
            bandwidth=50 * _MB,
            latency=0.01,
            congestion_share=0.3,
            congestion_period=0.25,
            congestion_factor=0.05,
        ),
    )
}


class Network:
    """The link that all connections of a profile share.

    Args:
        profile: How the network treats its connections.
        seed: What decides on everything random. Equal calls with an equal seed give equal times.

    Attributes:
        profile: How the network treats its connections.
    """

    def __init__(self, profile: NetworkProfile, seed: int = 0) -> None:
        self.profile = profile
        self._seed = seed
        self._random = random.Random(seed)
        self._free_at = {UP: 0.0, DOWN: 0.0}

    def connect(self) -> Connection:
        """Return a new connection over the link."""
        return Connection(self, self._draw(self.profile.slow_connections))

    def _draw(self, share: float) -> bool:
        return share > 0 and self._random.random() < share

    def _get_bandwidth(self, now: float) -> float:
        profile = self.profile
        bandwidth = math.inf if profile.bandwidth is None else profile.bandwidth
        if profile.congestion_share:
            # The state of a period depends on its number alone, not on who asks for it.
            period = int(now // profile.congestion_period)
            draw = random.Random(f"{self._seed}:{period}").random()
            if draw < profile.congestion_share:
                bandwidth *= profile.congestion_factor
        return bandwidth

    def _cross(self, size: int, direction: str, now: float) -> float:
        start = max(now, self._free_at[direction])
        self._free_at[direction] = start + size / self._get_bandwidth(start)
        return self._free_at[direction]


class Connection:
    """One connection over a link.

    The first bytes up after bytes down start a request. So the model needs not read the bytes, which
    may be encrypted. A TLS handshake counts as a request too.

    Attributes:
        requests: The number of requests that were started.
    """

    def __init__(self, network: Network, slow: bool) -> None:
        self._network = network
        self._slow = slow
        self._slow_request = False
        self._dead = False
        self._last = DOWN
        self._ready_at = {UP: 0.0, DOWN: 0.0}
        self._arrived_at = {UP: 0.0, DOWN: 0.0}
        self.requests = 0

    @property
    def _factor(self) -> float:
        """How many times slower the present request is."""
        is_slow = self._slow or self._slow_request
        return self._network.profile.slow_factor if is_slow else 1.0

    def ready_at(self, direction: str) -> float:
        """Return when the connection can take the next piece."""
        return self._ready_at[direction]

    def piece_size(self) -> int:
        """Return how many bytes should be sent at once, in either direction."""
        rate = self._network.profile.connection_rate
        if rate is None:
            return _MAX_PIECE_BYTES
        size = int(_PIECE_S * rate / self._factor)
        return min(_MAX_PIECE_BYTES, max(_MIN_PIECE_BYTES, size))

    def delay(self, direction: str) -> float:
        """Return how long an end of the stream is under way, in seconds; infinity if it never arrives."""
        if self._dead and direction == DOWN:
            return math.inf
        profile = self._network.profile
        return profile.latency * (profile.slow_factor if self._slow else 1.0)

    def send(self, size: int, direction: str, now: float) -> float:
        """Send a piece, and return when its last byte arrives.

        Args:
            size: The length of the piece, in bytes.
            direction: `UP` or `DOWN`.
            now: The time, in seconds. It is not earlier than `ready_at`.

        Returns:
            The time of arrival, in seconds; infinity if the piece never arrives.
        """
        network, profile = self._network, self._network.profile
        if direction == UP and self._last == DOWN:
            self.requests += 1
            self._slow_request = network._draw(profile.slow_requests)
            self._dead = self._dead or network._draw(profile.dead_requests)
        self._last = direction
        if self._dead and direction == DOWN:
            return math.inf
        factor = self._factor
        sent = network._cross(size, direction, now)
        if profile.connection_rate is not None:
            sent = max(sent, now + size * factor / profile.connection_rate)
        self._ready_at[direction] = sent
        delay = profile.latency * factor
        if profile.jitter:
            delay += network._random.uniform(0, profile.jitter)
        if network._draw(profile.stall_share):
            delay += profile.stall
        # TCP keeps the order: a piece that is held up holds up the next ones.
        arrival = max(sent + delay, self._arrived_at[direction])
        self._arrived_at[direction] = arrival
        return arrival
