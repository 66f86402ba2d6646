"""Finds the number of concurrent downloads by measuring throughput. Pure: the clocks are injected.

More workers than a fast link needs cost throughput, since they compete for the interpreter's lock. Fewer
workers than a slow link needs leave it idle. So the number climbs while throughput follows, and steps
back when it does not. It is probed again from time to time, since links change.
"""

from __future__ import annotations

import os
from typing import Callable

from .._base.sync import perf_counter, process_time

__all__ = ["WorkerTuner"]

_MIN_WORKERS = 2
#: One measurement takes at least this long, and this many completed downloads per worker.
_MIN_MEASUREMENT_S = 0.05
_DOWNLOADS_PER_WORKER = 3
#: Twice as many workers stay if throughput grows by more than this factor.
_MIN_GAIN = 1.10
#: Half as many workers stay if throughput falls by less than this factor.
_MAX_LOSS = 0.97
#: A gain above this factor is accepted without a second measurement.
_CLEAR_GAIN = 1.5
#: Measurements between two probes once the number has settled. A failed probe doubles it.
_REST_MEASUREMENTS = 12
_MAX_REST_MEASUREMENTS = 200
#: Workers that compute for more than this share of their time hardly wait for the link. The first probe
#: then comes after a rest, since it would cost a short download more than it can gain.
_BUSY_SHARE = 0.4
#: Above this number the interpreter's lock limits a fast link, so no client starts with more workers.
_MAX_INITIAL_WORKERS = 4


def _initial_workers() -> int:
    """Return one worker per processor. That keeps a fast link busy; probes find out about a slow one."""
    return min(_MAX_INITIAL_WORKERS, max(_MIN_WORKERS, os.cpu_count() or 1))


class WorkerTuner:
    """The number of concurrent downloads that serves best.

    The minimum is two workers, so that one receives while the other decodes. It is one if the maximum
    is one. Not thread-safe: the engine calls it under its lock.

    Args:
        maximum: The most workers.
        initial: The number to start with. None: one per processor, at most four.
        clock: Returns the time in seconds.
        cpu: Returns the processor time of this process in seconds.

    Attributes:
        limit: The number of workers to use now.
    """

    def __init__(
        self,
        maximum: int,
        initial: int | None = None,
        clock: Callable[[], float] = perf_counter,
        cpu: Callable[[], float] = process_time,
    ) -> None:
        self._maximum = maximum
        self._clock = clock
        self._cpu = cpu
        self.limit = min(maximum, initial or _initial_workers())
        self._settled_limit = self.limit
        self._settled_rate = 0.0
        #: Workers and throughput of a probe that is to be confirmed.
        self._candidate: tuple[int, float] | None = None
        self._up = True
        #: Measurements until the next probe.
        self._rest = _REST_MEASUREMENTS
        #: The rest after the next failed probe.
        self._next_rest = _REST_MEASUREMENTS
        self._has_probed = False
        self._cpu_since = 0.0
        self._restart()

    def idle(self) -> None:
        """Discard the current measurement: there is not enough work for `limit` workers."""
        self._restart()

    def completed(self, nbytes: int) -> None:
        """Count a download that ended while all workers were busy.

        Args:
            nbytes: Its size in bytes.
        """
        self._count += 1
        self._bytes += nbytes
        if self._count < _DOWNLOADS_PER_WORKER * self.limit:
            return
        seconds = self._clock() - self._since
        if seconds < _MIN_MEASUREMENT_S:
            return
        if (
            not self._has_probed
            and self._cpu() - self._cpu_since < _BUSY_SHARE * seconds * self.limit
        ):
            self._rest = 0
        self._judge(self._bytes / seconds)
        self._restart()

    def _restart(self) -> None:
        self._count = self._bytes = 0
        self._since = self._clock()
        if not self._has_probed:
            self._cpu_since = self._cpu()

    def _judge(self, rate: float) -> None:
        if self.limit == self._settled_limit:
            # A probe has to beat the latest throughput of the settled number.
            self._settled_rate = rate
            candidate, self._candidate = self._candidate, None
            if candidate is not None:
                self._decide(*candidate)
            else:
                self._rest -= 1
                if self._rest <= 0:
                    self._probe()
        elif (
            self._up
            and rate > self._settled_rate * _MIN_GAIN
            and rate < self._settled_rate * _CLEAR_GAIN
        ):
            # On a busy machine a gain like this can come by chance. Measure the settled number again first.
            self._candidate = (self.limit, rate)
            self.limit = self._settled_limit
        else:
            self._decide(self.limit, rate)

    def _decide(self, limit: int, rate: float) -> None:
        """Settle at `limit` and probe further in the same direction, or turn around after a rest."""
        if rate > self._settled_rate * (_MIN_GAIN if self._up else _MAX_LOSS):
            self._settled_limit, self._settled_rate = limit, rate
            self._next_rest = _REST_MEASUREMENTS
            self._probe()
        else:
            self.limit = self._settled_limit
            self._up = not self._up
            self._rest = self._next_rest
            self._next_rest = min(2 * self._next_rest, _MAX_REST_MEASUREMENTS)

    def _probe(self) -> None:
        """Try twice or half as many workers. At either end of the scale only one direction is left."""
        if self._up and self._settled_limit == self._maximum:
            self._up = False
        elif not self._up and self._settled_limit <= _MIN_WORKERS:
            self._up = True
        self._has_probed = True
        step = self._settled_limit * 2 if self._up else self._settled_limit // 2
        self.limit = min(self._maximum, max(_MIN_WORKERS, step))
