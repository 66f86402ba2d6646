"""For how long bulk work yields when a stream begins. Pure, the clock injected.

A stream's first block is asked of the portal, then of the storage, and passes from thread to thread
on its way: a dozen turns at the processors and at the interpreter's lock. Beside workers that want
both all the time it waits for each of them.
"""

from __future__ import annotations

from typing import Callable

from .._base.cancellation import Gate
from .._base.sync import monotonic

__all__ = ["StreamStartWindow"]

#: Time for each of a stream's first two steps, its listing and its first block. It is enough where
#: bulk work is what would delay them. Where the network is, waiting longer gains nothing.
_STEP_S = 0.005


class StreamStartWindow:
    """The time during which bulk work yields to a stream that begins.

    Bulk work then has its turn for at least as long. The state is a hint about timing alone. Several
    threads may change it at once: the worst outcome is one window that is too short.

    Args:
        step: Seconds that each `open` lasts. Two may follow each other.
        clock: Returns the time in seconds.
    """

    def __init__(self, step: float = _STEP_S, clock: Callable[[], float] = monotonic) -> None:
        self.step = step
        self._clock = clock
        self._since = self._until = clock()
        self._closed: Gate | None = None

    def open(self) -> None:
        """Let a stream take its next step towards its first block, unless it is bulk work's turn."""
        now = self._clock()
        if now < self._until:
            self._until = min(now + self.step, self._since + 2 * self.step)
        elif now - self._until >= self._until - self._since:
            self._closed = Gate()
            self._since, self._until = now, now + self.step

    def close(self) -> None:
        """Note that the stream's first block is there."""
        self._until = min(self._until, max(self._since, self._clock()))
        if self._closed is not None:
            self._closed.open()

    def remaining(self) -> float:
        """Return the seconds for which bulk work still yields. 0 or less: it need not."""
        return self._until - self._clock()

    def wait(self, seconds: float) -> None:
        """Block until `seconds` have passed or the window is closed."""
        if self._closed is not None:
            self._closed.wait_for(seconds)
