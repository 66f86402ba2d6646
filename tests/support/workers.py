"""Workers that download blocks over a simulated network, in virtual time and without a client."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any

from ctera_direct_sync._engine.tuner import Tuner
from ctera_direct_sync.emulator.network import DOWN, UP, Connection, Network, NetworkProfile

__all__ = ["Workers"]

_PIECE_BYTES = 128 * 1024
_REQUEST_BYTES = 400
#: A request without an answer gets a twin on another connection after this time.
_HEDGE_S = 0.3


class Workers:
    """As many workers as a tuner says, or as are given, that are never out of work.

    Args:
        profile: The network.
        fixed: The number of workers. None: the tuner's.
        block: The bytes of a block.
        cpu: The processor time of a block, which one worker at a time has.
        seed: The network's seed.
        maximum: The most workers.
        latency: Seconds that a server takes for each answer.

    Attributes:
        now: The virtual time.
        done: Blocks so far.
        most: The most workers at once.
        area: The number of workers, summed up over the time.
    """

    def __init__(
        self,
        profile: NetworkProfile,
        fixed: int | None = None,
        *,
        block: int = 512 * 1024,
        cpu: float = 0.0006,
        seed: int = 3,
        maximum: int = 128,
        latency: float = 0.0,
    ) -> None:
        self.network = Network(profile, seed)
        self.tuner = Tuner(maximum, 2, minimum=2, processors=2)
        self.now = self.area = 0.0
        self.done = self.most = 0
        self._fixed = fixed
        self._block = block
        self._cpu = cpu
        self._latency = latency
        self._used = self._processor_free_at = 0.0
        self._running = 0
        self._idle: list[Connection] = []
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        self._wait_s = self._body_s = 0.0

    def run(self, seconds: float) -> float:
        """Let time pass. Return the bytes per second."""
        until, before = self.now + seconds, self.done
        self._fill()
        while self._events and self._events[0][0] <= until:
            now, _, call, arguments = heapq.heappop(self._events)
            self.area += self._running * (now - self.now)
            self.now = now
            call(*arguments)
        self.now = until
        return (self.done - before) * self._block / seconds

    def _at(self, time: float, call: Callable[..., None], *arguments: Any) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, call, arguments))

    def _limit(self) -> int:
        return self._fixed or self.tuner.limit

    def _fill(self) -> None:
        while self._running < self._limit():
            self._running += 1
            self.most = max(self.most, self._running)
            if self._fixed is None and self.tuner.wants_start:
                self.tuner.start(self.now, self._used)
            if self._idle:
                self._request(self._idle.pop(), self.now)
            else:
                self._connect(self.now)

    def _connect(self, began: float) -> None:
        round_trip = 2 * self.network.profile.latency
        self._at(self.now + round_trip, self._request, self.network.connect(), began)

    def _request(self, connection: Connection, began: float) -> None:
        arrival = connection.send(_REQUEST_BYTES, UP, max(self.now, connection.ready_at(UP)))
        answer = arrival + self._latency
        self._at(answer, self._receive, connection, began, None, self._block)

    def _receive(
        self, connection: Connection, began: float, answered: float | None, left: int
    ) -> None:
        size = min(_PIECE_BYTES, left)
        start = max(self.now, connection.ready_at(DOWN))
        arrival = connection.send(size, DOWN, start)
        if arrival == math.inf:
            self._at(self.now + _HEDGE_S, self._connect, began)
        elif left > size:
            ready = max(self.now, connection.ready_at(DOWN))
            self._at(ready, self._receive, connection, began, answered or arrival, left - size)
        else:
            self._at(arrival, self._decode, connection, began, answered or arrival)

    def _decode(self, connection: Connection, began: float, answered: float) -> None:
        self._wait_s += answered - began
        self._body_s += self.now - answered
        self._used += self._cpu
        self._processor_free_at = max(self._processor_free_at, self.now) + self._cpu
        self._at(self._processor_free_at, self._end, connection, began)

    def _end(self, connection: Connection, began: float) -> None:
        tuner = self.tuner
        if self._fixed is None and self._running >= tuner.limit:
            if tuner.completed(self._block, self.now - began, self.now):
                whole = self._wait_s + self._body_s
                share = self._body_s / whole if whole else None
                self._wait_s = self._body_s = 0.0
                tuner.measure(self.now, self._used, share)
        elif self._fixed is None:
            tuner.idle()
        self._running -= 1
        self.done += 1
        self._idle.append(connection)
        self._fill()
