"""How many downloads at once: found by measuring, not by configuring. Pure, the clock injected.

More workers than a fast link needs cost throughput (they fight for the interpreter), fewer than a slow
one needs leave it idle. So the number climbs while throughput follows, steps back when it does not,
and is probed again now and then, since links change.
"""

from __future__ import annotations

import os
import time
from typing import Callable, Optional

__all__ = ["WorkerTuner"]

_MINIMUM = 2
#: Seconds and completions (per worker) that make one measurement.
_MIN_SECONDS = 0.05
_ROUNDS = 3
#: What doubling the workers must gain to be kept, and what halving them may lose.
_GAIN = 1.10
_LOSS = 0.97
#: A gain that needs no second look.
_CLEAR = 1.5
#: Measurements between two probes once settled; probes that fail make it longer, up to the maximum.
_REST = 12
_MAX_REST = 200
#: Workers that spend more of their time computing than this hardly wait for the link: the first probe,
#: which costs a short download more than it can gain, comes after a rest.
_BUSY = 0.4


def _initial() -> int:
    """A worker a processor, which a fast link keeps busy: a slow one asks for more soon enough.

    No more than four: beyond, what they do under the interpreter's lock is the limit.
    """
    return min(4, max(_MINIMUM, os.cpu_count() or 1))


class WorkerTuner:
    """The number of concurrent downloads, ``limit``, between 2 and ``maximum``.

    Two, so that one can receive while the other decodes; one only where that is the maximum.

    ``clock`` and ``cpu`` count seconds: of the wall, and of the process's computing.

    Not thread-safe: the engine calls it under its lock.
    """

    def __init__(
        self,
        maximum: int,
        initial: Optional[int] = None,
        clock: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._maximum = maximum
        self._clock = clock
        self._cpu = cpu
        self.limit = min(maximum, initial or _initial())
        self._settled_limit = self.limit
        self._settled_rate = 0.0
        self._candidate: Optional[tuple[int, float]] = None
        self._up = True
        self._rest = _REST
        self._patience = _REST
        self._probed = False
        self._since_cpu = 0.0
        self._restart()

    def idle(self) -> None:
        """There is not enough work for ``limit`` workers: what is being measured would mislead."""
        self._restart()

    def completed(self, nbytes: int) -> None:
        """A download of ``nbytes`` ended while all workers were busy."""
        self._count += 1
        self._bytes += nbytes
        if self._count < _ROUNDS * self.limit:
            return
        seconds = self._clock() - self._since
        if seconds < _MIN_SECONDS:
            return
        if not self._probed and self._cpu() - self._since_cpu < _BUSY * seconds * self.limit:
            self._rest = 0
        self._judge(self._bytes / seconds)
        self._restart()

    def _restart(self) -> None:
        self._count = self._bytes = 0
        self._since = self._clock()
        if not self._probed:
            self._since_cpu = self._cpu()

    def _judge(self, rate: float) -> None:
        if self.limit == self._settled_limit:
            # The newest rate at the settled number is what a probe has to beat.
            self._settled_rate = rate
            candidate, self._candidate = self._candidate, None
            if candidate is not None:
                self._decide(*candidate)
            else:
                self._rest -= 1
                if self._rest <= 0:
                    self._probe()
        elif self._up and rate > self._settled_rate * _GAIN and rate < self._settled_rate * _CLEAR:
            # On a busy machine a gain like this comes by chance: measure what it is a gain over again.
            self._candidate = (self.limit, rate)
            self.limit = self._settled_limit
        else:
            self._decide(self.limit, rate)

    def _decide(self, limit: int, rate: float) -> None:
        """Settle at ``limit`` and probe on in the same direction, or turn around for a while."""
        if rate > self._settled_rate * (_GAIN if self._up else _LOSS):
            self._settled_limit, self._settled_rate = limit, rate
            self._patience = _REST
            self._probe()
        else:
            self.limit = self._settled_limit
            self._up = not self._up
            self._rest = self._patience
            self._patience = min(2 * self._patience, _MAX_REST)

    def _probe(self) -> None:
        """Try twice or half as many; at either end of the scale only one of them is left."""
        if self._up and self._settled_limit == self._maximum:
            self._up = False
        elif not self._up and self._settled_limit <= _MINIMUM:
            self._up = True
        self._probed = True
        step = self._settled_limit * 2 if self._up else self._settled_limit // 2
        self.limit = min(self._maximum, max(_MINIMUM, step))
