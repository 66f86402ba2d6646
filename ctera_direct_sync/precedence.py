"""For how long bulk work stands back when a stream begins. Pure, the clock injected.

A stream's first block is asked of the portal, then of the storage, and passes from thread to thread
on its way: a dozen turns at the processors and at the interpreter's lock. Beside workers that want
both all the time it waits for each of them.
"""

from __future__ import annotations

import time
from typing import Callable

__all__ = ["Precedence"]

#: Seconds for each of a stream's first two steps, its listing and its first block: enough where bulk
#: work is what would hold them up. Where the network is, nothing is gained by waiting for them longer.
_STEP = 0.005


class Precedence:
    """Who goes first: a stream that begins, for a moment, then bulk work for at least as long.

    ``step``: seconds that each :meth:`begin` lasts; two may follow each other. Not thread-safe: the
    engine calls it under its lock.
    """

    def __init__(self, step: float = _STEP, clock: Callable[[], float] = time.monotonic) -> None:
        self.step = step
        self._clock = clock
        self._since = self._until = clock()

    def begin(self) -> None:
        """A stream takes its next step towards its first block; unless it is bulk work's turn."""
        now = self._clock()
        if now < self._until:
            self._until = min(now + self.step, self._since + 2 * self.step)
        elif now - self._until >= self._until - self._since:
            self._since, self._until = now, now + self.step

    def end(self) -> None:
        """The stream's first block is there."""
        self._until = min(self._until, max(self._since, self._clock()))

    def left(self) -> float:
        """Seconds for which bulk work still stands back; 0 or less: for none."""
        return self._until - self._clock()
