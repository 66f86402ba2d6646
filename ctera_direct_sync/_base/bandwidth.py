"""The bandwidth that all block reads of one client share.

A reader reserves a slice of bytes, waits for as long as it is told, reads, and gives back what did not
come. Slices are small, so that each connection goes on all the time: a server cuts a connection that
stands still. The reader that is most urgent gets the largest slices: streams before bulk work, then the
block that was begun first.

`TokenBucket` is pure: it gets the time, and never waits.
"""

from __future__ import annotations

import bisect
import itertools
import math
from typing import Any, Callable

from ..settings import Timetable, minute_of_day, parse_bandwidth
from .cancellation import CancelScope
from .counters import Counters
from .sync import Lock, monotonic

__all__ = ["WAITED", "Bandwidth", "Share", "TokenBucket"]

WAITED = "waited"

#: How long the rate may go unused and still be used later. It is well below a second, so that each ten
#: seconds stay within 5% of the rate.
_BURST_S = 0.25
#: The slice of the most urgent reader, in seconds of the rate, and its largest size.
_SLICE_S = 0.05
_MAX_SLICE_BYTES = 1024 * 1024
#: All other readers together get this part of a slice, as long as the most urgent one reads.
_REST_SHARE = 1 / 8
#: The smallest slice, as a part of the rate, and its bounds. A read must be worth its system call.
_MIN_SLICE_S = 0.001
_LEAST_SLICE_BYTES = 512
_MAX_MIN_SLICE_BYTES = 16 * 1024
#: Waits that are shorter are left out: the bucket counts what is read too early.
_MIN_WAIT_S = 0.002
#: Each concurrent block read has this much of the rate on average, in bytes per second.
_RATE_PER_READ = 64 * 1024
#: One block is received while the next one is requested, however low the rate.
_MIN_READS = 2
#: The most seconds of debt that a new rate takes over, if it was not more before.
_MAX_INHERITED_S = 1.0
#: How often the timetable is looked up.
_LOOK_S = 1.0


class TokenBucket:
    """Bytes that may be read, by a rate that may change. Pure.

    It may go into debt: then the next taker waits until the debt is paid. So a reader never waits for
    its own bytes, but for those that were taken before.

    Args:
        rate: Bytes per second. None: no limit.
        now: The time in seconds.

    Attributes:
        rate: Bytes per second. None: no limit.
    """

    __slots__ = ("_balance", "_since", "rate")

    def __init__(self, rate: float | None, now: float) -> None:
        self.rate = rate
        # It begins empty, so that a change of the rate gives no burst.
        self._balance = 0.0
        self._since = now

    def set_rate(self, rate: float | None, now: float) -> None:
        """Use another rate from now on.

        What is saved or owed stays, as bytes. But no reader waits for bytes that a fast rate allowed for
        longer than it did before, or than a second: a server would cut a connection that stands still.
        """
        self._refill(now)
        if rate is None:
            self._balance = 0.0
        else:
            owed_s = 0.0 if self.rate is None else -self._balance / self.rate
            least = -rate * max(_MAX_INHERITED_S, owed_s)
            self._balance = max(least, min(self._balance, rate * _BURST_S))
        self.rate = rate

    def has_balance(self, now: float) -> bool:
        """Return whether bytes can be had without a wait, so that no reader has to stand back."""
        self._refill(now)
        return self.rate is None or self._balance > 0

    def take(self, size: int, now: float) -> float:
        """Take bytes. Return the seconds to wait before they are read."""
        self._refill(now)
        if self.rate is None:
            return 0.0
        delay = max(0.0, -self._balance / self.rate)
        self._balance -= size
        return delay

    def give_back(self, size: int) -> None:
        """Return bytes that were taken and not read."""
        if self.rate is not None:
            self._balance = min(self._balance + size, self.rate * _BURST_S)

    def _refill(self, now: float) -> None:
        if self.rate is not None:
            seconds = max(0.0, now - self._since)
            self._balance = min(self._balance + seconds * self.rate, self.rate * _BURST_S)
        self._since = now


class Bandwidth:
    """The limit of one client. Thread-safe.

    Args:
        value: As for `set`.
        clock: Returns the time in seconds.
        minute_of_day: Returns the minute of the day, by the local time.

    Attributes:
        timetable: The rates, or None without a limit. The reader of a block asks for this alone.
        counters: Counts the seconds that all readers have waited, under the name `WAITED`.
    """

    __slots__ = (
        "_bucket",
        "_clock",
        "_lock",
        "_looked_up",
        "_minute_of_day",
        "_next_look",
        "_numbers",
        "_readers",
        "counters",
        "timetable",
    )

    def __init__(
        self,
        value: Any = None,
        clock: Callable[[], float] = monotonic,
        minute_of_day: Callable[[], int] = minute_of_day,
    ) -> None:
        self._clock = clock
        self._minute_of_day = minute_of_day
        self._numbers = itertools.count()
        self.counters = Counters()
        self.timetable: Timetable | None = None
        self.set(value)
        self.start_over()

    def start_over(self) -> None:
        """Forget all readers: in a forked child, those are the parent's, and so is the lock."""
        self._lock = Lock()
        self.counters.clear()
        self._bucket = TokenBucket(None, self._clock())
        #: The timetable that the bucket's rate was taken from.
        self._looked_up: Timetable | None = None
        self._next_look = -math.inf
        #: The keys of those that read right now, the most urgent one first.
        self._readers: list[tuple[int, int]] = []

    def set(self, value: Any) -> None:
        """Change the limit. It holds from the next slice on; a block that is read without a limit ends so.

        Any thread may call it, also from a signal handler: it takes no lock.

        Args:
            value: None, bytes per second, or a timetable as text.

        Raises:
            ValueError: The value makes no sense.
        """
        self.timetable = parse_bandwidth(value)

    def max_reads(self) -> int | None:
        """Return how many blocks may be read at once, so that no connection stands still. None: any."""
        with self._lock:
            self._look_up(self._clock())
            rate = self._bucket.rate
        return None if rate is None else max(_MIN_READS, math.ceil(rate / _RATE_PER_READ))

    def open_share(self, priority: int) -> Share:
        """Return the share of one block.

        Args:
            priority: Lower goes first. Of two equal ones, the share that was opened first goes first.
        """
        return Share(self, (priority, next(self._numbers)))

    def enter(self, key: tuple[int, int]) -> None:
        """Count a reader from now on."""
        with self._lock:
            bisect.insort(self._readers, key)

    def leave(self, key: tuple[int, int]) -> None:
        """Count a reader no longer."""
        with self._lock:
            # In a forked child it is not there.
            if key in self._readers:
                self._readers.remove(key)

    def reserve(self, key: tuple[int, int], size: int) -> tuple[int, float]:
        """Take a slice.

        Args:
            key: The reader.
            size: The most bytes that it wants.

        Returns:
            How many bytes it may read, and the seconds to wait before it does.
        """
        with self._lock:
            now = self._clock()
            self._look_up(now)
            granted = min(size, self._slice_of(key, now))
            return granted, self._bucket.take(granted, now)

    def current_rate(self) -> float | None:
        """Return the rate that holds now, in bytes per second. None: no limit."""
        with self._lock:
            self._look_up(self._clock())
            return self._bucket.rate

    def give_back(self, size: int) -> None:
        """Return bytes of a slice that did not come."""
        with self._lock:
            self._bucket.give_back(size)

    def _slice_of(self, key: tuple[int, int], now: float) -> int:
        rate = self._bucket.rate
        if rate is None:
            return _MAX_SLICE_BYTES
        size = min(rate * _SLICE_S, _MAX_SLICE_BYTES)
        readers = self._readers
        if readers and readers[0] != key and not self._bucket.has_balance(now):
            least = min(rate * _MIN_SLICE_S, _MAX_MIN_SLICE_BYTES)
            size = max(size * _REST_SHARE / max(1, len(readers) - 1), least)
        return max(_LEAST_SLICE_BYTES, int(size))

    def _look_up(self, now: float) -> None:
        timetable = self.timetable
        if timetable is self._looked_up and now < self._next_look:
            return
        self._looked_up, self._next_look = timetable, now + _LOOK_S
        rate = None if timetable is None else timetable.rate_at(self._minute_of_day())
        if rate != self._bucket.rate:
            self._bucket.set_rate(rate, now)


class Share:
    """What one block may read of the bandwidth. It belongs to one thread.

    As a context manager it counts as a reader.

    Args:
        bandwidth: The limit.
        key: The reader's priority and number.

    Attributes:
        waited_s: The seconds that the block has waited for the bandwidth. They count for no timeout.
    """

    __slots__ = ("_bandwidth", "_key", "waited_s")

    def __init__(self, bandwidth: Bandwidth, key: tuple[int, int]) -> None:
        self._bandwidth = bandwidth
        self._key = key
        self.waited_s = 0.0

    def __enter__(self) -> Share:
        self._bandwidth.enter(self._key)
        return self

    def __exit__(self, *exception: object) -> None:
        self._bandwidth.leave(self._key)

    def wait_for(self, size: int, scope: CancelScope) -> int:
        """Wait for a slice, and return how many bytes may be read.

        Args:
            size: The most bytes that are wanted.
            scope: What may end the wait.

        Raises:
            Cancelled: The scope was cancelled.
        """
        granted, delay = self._bandwidth.reserve(self._key, size)
        if delay > _MIN_WAIT_S:
            began = monotonic()
            try:
                self._wait(delay, scope)
            except BaseException:
                self.give_back(granted)
                raise
            finally:
                waited_s = monotonic() - began
                self.waited_s += waited_s
                self._bandwidth.counters.add(WAITED, waited_s)
        return granted

    def _wait(self, delay: float, scope: CancelScope) -> None:
        """Wait, and look every second whether a new rate makes the wait shorter."""
        rate = self._bandwidth.current_rate() if delay > _LOOK_S else None
        while delay > 0:
            step = min(delay, _LOOK_S)
            scope.wait(step)
            delay -= step
            if delay > 0 and rate is not None:
                before, rate = rate, self._bandwidth.current_rate()
                if rate is None:
                    return
                delay *= min(1.0, before / rate)

    def give_back(self, size: int) -> None:
        """Return bytes of the last slice that did not come."""
        self._bandwidth.give_back(size)
