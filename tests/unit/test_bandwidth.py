"""The bandwidth limit alone, in virtual time: how much may be read, and by whom."""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctera_direct_sync._base.bandwidth import Bandwidth, Share, TokenBucket
from ctera_direct_sync._base.cancellation import Cancelled, CancelScope
from ctera_direct_sync._net.errors import TransportError
from ctera_direct_sync._net.paced import PacedBody

STREAM, BULK = 0, 1
WINDOW_S = 10.0
KB, MB, GB = 1000, 1000**2, 1000**3


class Link:
    """Readers that share a bandwidth, in virtual time.

    Attributes:
        now: The time in seconds.
        reads: Time, reader and bytes of each read.
    """

    def __init__(self, value: Any) -> None:
        self.now = 1000.0
        self.minute = 0
        self.bandwidth = Bandwidth(value, lambda: self.now, lambda: self.minute)
        self.reads: list[tuple[float, int, int]] = []
        self._queue: list[tuple[float, int, Iterator[float]]] = []
        self._numbers = itertools.count()

    def add(self, priority: int = BULK, speed: float | None = None, after: float = 0.0) -> int:
        """Add a reader without an end, whose network gives `speed` bytes per second. Return its number."""
        number = next(self._numbers)
        key = (priority, number)

        def read() -> Iterator[float]:
            yield after
            self.bandwidth.enter(key)
            while True:
                granted, delay = self.bandwidth.reserve(key, 1 << 40)
                yield delay
                if speed is not None:
                    yield granted / speed
                self.reads.append((self.now, number, granted))

        heapq.heappush(self._queue, (self.now, number, read()))
        return number

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self.now, number, reader = heapq.heappop(self._queue)
            heapq.heappush(self._queue, (self.now + next(reader), number, reader))
        self.now = end

    def total(self, number: int | None = None) -> int:
        """Return the bytes of one reader, or of all."""
        return sum(size for _, each, size in self.reads if number in (None, each))

    def windows(self) -> Iterator[int]:
        """Yield the bytes of each window that begins with a read and has passed."""
        times = [time for time, _, _ in self.reads]
        sums = [0, *itertools.accumulate(size for _, _, size in self.reads)]
        for index, time in enumerate(times):
            if time + WINDOW_S <= self.now:
                yield sums[bisect.bisect_right(times, time + WINDOW_S)] - sums[index]


@pytest.mark.parametrize("readers", [1, 2, 7, 32])
@pytest.mark.parametrize("rate", [64 * KB, MB, 20 * MB, GB])
def test_each_ten_seconds_have_the_rate(rate: int, readers: int) -> None:
    """Readers that are always ready get the rate in any ten seconds, within 5%."""
    link = Link(rate)
    for _ in range(readers):
        link.add()
    link.run(21)
    found = list(link.windows())
    assert 0.95 * rate * WINDOW_S <= min(found)
    assert max(found) <= 1.05 * rate * WINDOW_S


@settings(max_examples=60)
@given(
    rate=st.sampled_from([64 * KB, 300 * KB, 5 * MB]),
    readers=st.lists(
        st.tuples(
            st.sampled_from([STREAM, BULK]),
            st.sampled_from([None, 1 * KB, 50 * KB, 2 * MB]),
            st.sampled_from([0.0, 0.5, 3.0, 11.0]),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_no_ten_seconds_exceed_the_rate(rate: int, readers: list[Any]) -> None:
    """Ten seconds never have over 5% too much, whenever readers come, and however slow they are."""
    link = Link(rate)
    for priority, speed, after in readers:
        link.add(priority, speed, after)
    link.run(24)
    assert max(link.windows(), default=0) <= 1.05 * rate * WINDOW_S


def test_an_idle_time_saves_less_than_a_second() -> None:
    """After an hour without a read, the first moment gives no more than the bytes of a second."""
    link = Link(MB)
    link.run(3600)
    link.add()
    link.run(0.001)
    assert link.total() <= MB


def test_a_stream_gets_most_of_the_rate() -> None:
    """A stream that begins beside bulk downloads gets most of the bandwidth, although it comes last."""
    link = Link(MB)
    bulk = [link.add() for _ in range(8)]
    link.run(5)
    stream = link.add(STREAM)
    before = link.total()
    link.run(10)
    assert link.total(stream) > 0.8 * (link.total() - before)
    assert all(link.total(number) > 0 for number in bulk)


def test_the_earlier_block_goes_first() -> None:
    """Of equal readers, the one that came first gets most of the bandwidth."""
    link = Link(MB)
    first, second = link.add(), link.add()
    link.run(10)
    assert link.total(first) > 5 * link.total(second)


def test_no_reader_stands_still() -> None:
    """Each reader reads again within a fraction of a second: servers cut connections that stand still."""
    link = Link(64 * KB)
    number = link.bandwidth.max_reads()
    assert number is not None
    for _ in range(number):
        link.add()
    link.run(20)
    for each in range(number):
        times = [time for time, reader, _ in link.reads if reader == each]
        assert max(b - a for a, b in zip(times, times[1:])) < 0.5


def test_slow_networks_do_not_hold_the_rate_back() -> None:
    """Two readers whose networks hardly give anything leave the bandwidth to the third one."""
    link = Link(MB)
    link.add(STREAM, speed=KB)
    link.add(BULK, speed=KB)
    third = link.add()
    link.run(20)
    assert link.total(third) > 0.9 * 20 * MB


@pytest.mark.parametrize(("value", "rate"), [(2 * MB, 2 * MB), (100 * KB, 100 * KB)])
def test_a_new_rate_holds_at_once(value: Any, rate: int) -> None:
    """After an assignment the next ten seconds have the new rate."""
    link = Link(MB)
    for _ in range(4):
        link.add()
    link.run(10)
    before = link.total()
    link.bandwidth.set(value)
    link.run(10)
    assert link.total() - before == pytest.approx(rate * 10, rel=0.05)


def test_many_assignments_give_no_bursts() -> None:
    """A program that assigns the rate all the time gets no more than the rate."""
    link = Link(MB)
    link.add()
    for _ in range(1000):
        link.bandwidth.set(MB)
        link.run(0.01)
    assert link.total() == pytest.approx(10 * MB, rel=0.05)


def test_a_timetable_is_followed() -> None:
    """A rate begins at its minute, also while a block is read."""
    link = Link("08:00,1M 19:00,2M")
    link.minute = 8 * 60
    link.add()
    link.run(10)
    link.minute = 19 * 60
    before = link.total()
    link.run(10)
    assert link.total() - before == pytest.approx(20 * MB, rel=0.1)


def test_off_hours_have_no_limit() -> None:
    """While a timetable says off, nothing waits, and any number of blocks may be read."""
    link = Link("08:00,1M 19:00,off")
    assert link.bandwidth.reserve((BULK, 0), 1 << 30) == (1 << 20, 0.0)
    assert link.bandwidth.max_reads() is None


@pytest.mark.parametrize(
    ("value", "reads"), [(None, None), (1000, 2), (64 * KB, 2), (MB, 16), (GB, 15259)]
)
def test_the_number_of_reads_fits_the_rate(value: Any, reads: int | None) -> None:
    """Each concurrent read has 64 KiB/s, and there are two of them at least."""
    assert Bandwidth(value).max_reads() == reads


def test_a_child_starts_over() -> None:
    """A forked child forgets the readers and the lock of its parent, and keeps the rate."""
    bandwidth = Bandwidth(MB)
    share = bandwidth.open_share(BULK)
    with share:
        bandwidth._lock.acquire()
        bandwidth.start_over()
        assert bandwidth.max_reads() == 16
        assert not bandwidth._readers


def test_a_cancel_ends_a_wait() -> None:
    """A share whose scope is cancelled waits no longer."""
    scope = CancelScope()
    with Bandwidth(1000).open_share(BULK) as share:
        assert share.wait_for(10**6, scope) == 512
        scope.cancel()
        with pytest.raises(Cancelled):
            share.wait_for(10**6, scope)


def test_waits_are_told() -> None:
    """A share tells how long its block has waited, so that this counts for no timeout."""
    bandwidth = Bandwidth(20_000)
    share: Share = bandwidth.open_share(BULK)
    with share:
        share.wait_for(1000, CancelScope())
        assert share.waited_s == 0
        share.wait_for(1000, CancelScope())
    assert share.waited_s > 0.03


def test_what_did_not_come_is_given_back() -> None:
    """Bytes that were reserved and not read are there for the next reader."""
    bucket = TokenBucket(1000.0, 0.0)
    assert bucket.take(500, 0.0) == 0
    bucket.give_back(400)
    assert bucket.take(1, 0.0) == pytest.approx(0.1)


def test_a_cancelled_wait_gives_its_bytes_back() -> None:
    """A slice that is never read makes no other reader wait."""
    bandwidth = Bandwidth(10_000, clock=lambda: 0.0)
    scope = CancelScope()
    with bandwidth.open_share(BULK) as share:
        share.wait_for(512, scope)
        scope.cancel()
        with pytest.raises(Cancelled):
            share.wait_for(512, scope)
    assert bandwidth._bucket.take(1, 0.0) == pytest.approx(512 / 10_000)


def test_a_failed_read_gives_its_bytes_back() -> None:
    """A connection that breaks costs the other readers no time."""

    class Broken:
        """A response whose connection breaks."""

        def read_some(self, size: int, buffer: Any = None) -> bytes:
            """Fail."""
            raise TransportError("reset", "gone")

        def close(self) -> None:
            """Do nothing."""

    bandwidth = Bandwidth(10_000, clock=lambda: 0.0)
    with pytest.raises(TransportError):
        PacedBody(Broken(), bandwidth.open_share(BULK), None, CancelScope()).read(500)
    assert bandwidth._bucket.take(1, 0.0) == 0


def test_lower_rate_holds_nobody_up_for_what_a_high_one_allowed() -> None:
    """A socket that stands still for minutes is cut by its server."""
    bucket = TokenBucket(100e6, 0.0)
    bucket.take(1_000_000, 0.0)
    bucket.set_rate(1000, 0.0)
    assert bucket.take(512, 0.0) == pytest.approx(1.0)


@pytest.mark.parametrize(("changed", "steps"), [(None, 1), (200_000, 1), (1000, 11)])
def test_new_rate_reaches_a_reader_that_waits(
    monkeypatch: pytest.MonkeyPatch, changed: int | None, steps: int
) -> None:
    """A limit that is lifted or raised ends a wait within a second; a lower one makes it no longer."""
    now = 0.0
    limit = Bandwidth(2000, clock=lambda: now)
    waits: list[float] = []

    class Scope(CancelScope):
        """A scope whose waits pass at once."""

        def wait(self, seconds: float) -> None:
            """Let the time pass, and change the limit in the first second."""
            nonlocal now
            now += seconds
            waits.append(seconds)
            if len(waits) == 1:
                limit.set(changed)

    share = limit.open_share(0)
    assert limit.current_rate() == 2000
    limit._bucket.take(22_000, now)
    share.wait_for(512, Scope())
    assert len([wait for wait in waits if wait > 0.2]) == steps
