"""The engine, first in one thread, where all is deterministic, then with its pool, held by barriers."""

from __future__ import annotations

import contextvars
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future, as_completed, wait
from contextlib import contextmanager
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync.engine import BULK, STREAM, Engine, Job, SerialExecutor, Transfer, _Patience
from ctera_direct_sync.precedence import Precedence
from ctera_direct_sync.ranges import Piece
from ctera_direct_sync.scope import Cancelled, CancelScope
from ctera_direct_sync.types import Chunk, SignedURL

PATIENCE = 20


class CutOff(Exception):
    """What this suite's engines end the running work of a cancelled transfer with."""


def pieces(*lengths: int) -> Iterator[Piece]:
    """Whole blocks of these lengths; a piece's ``block`` is its position."""
    offset = 0
    for number, length in enumerate(lengths):
        yield Piece(number, Chunk(number + 1, offset, length, SignedURL("x")), 0, length)
        offset += length


def transfer(
    count: int, work: Callable[[Piece, CancelScope], Any], **options: Any
) -> Transfer[Any]:
    """A transfer of ``count`` blocks of one byte."""
    return Transfer(pieces(*[1] * count), work, **options)


def position(piece: Piece, scope: CancelScope) -> int:
    """Work that is done at once: where in the transfer it is."""
    return piece.block


def futures(engine: Engine, started: Transfer[Any]) -> list[Future]:
    """The futures of an unbounded transfer, which this starts."""
    engine.start(started)
    return [job.future for job in started.take_admitted()]


@contextmanager
def engine(max_workers: int = 4, **options: Any) -> Iterator[Engine]:
    """An engine, closed afterwards."""
    made = Engine(max_workers, cancelled_error=lambda piece: CutOff(piece.block), **options)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def serial() -> Iterator[Engine]:
    """An engine with one worker: the caller's own thread."""
    with engine(1, make_executor=SerialExecutor) as made:
        yield made


@pytest.fixture
def pooled() -> Iterator[Engine]:
    """An engine with threads."""
    with engine() as made:
        yield made


class Gate:
    """Work that waits to be let through, and counts who is inside."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.opened = threading.Event()
        self.lock = threading.Lock()
        self.active = 0
        self.most = 0
        self.begun: list[int] = []

    def __call__(self, piece: Piece, scope: CancelScope) -> int:
        with self.lock:
            self.begun.append(piece.block)
            self.active += 1
            self.most = max(self.most, self.active)
        self.inside.release()
        try:
            scope.attach(self.opened.set)
            assert self.opened.wait(PATIENCE)
            scope.detach()
        finally:
            with self.lock:
                self.active -= 1
        scope.check()
        return piece.block

    def await_inside(self, count: int) -> None:
        """Wait until ``count`` more have come in."""
        for _ in range(count):
            assert self.inside.acquire(timeout=PATIENCE)


# --- in one thread: order --------------------------------------------------------------------------------


def test_file_order(serial):
    """Pieces of one transfer are worked on from the first to the last."""
    done: list[int] = []
    started = transfer(5, lambda piece, scope: done.append(piece.block))
    assert all(future.done() for future in futures(serial, started))
    assert done == [0, 1, 2, 3, 4]


def test_earlier_pieces_before_later_ones(serial):
    """Of two equal transfers, the one that is less far goes first."""
    done: list[str] = []
    second = transfer(3, lambda piece, scope: done.append(f"b{piece.block}"))

    def work(piece: Piece, scope: CancelScope) -> None:
        done.append(f"a{piece.block}")
        if piece.block == 1:
            serial.start(second)

    serial.start(transfer(4, work))
    assert done == ["a0", "a1", "b0", "b1", "a2", "b2", "a3"]


def test_streams_before_bulk(serial):
    """A stream that begins while bulk work waits is done before any more of that."""
    done: list[str] = []
    stream = transfer(3, lambda piece, scope: done.append(f"s{piece.block}"), priority=STREAM)

    def work(piece: Piece, scope: CancelScope) -> None:
        done.append(f"b{piece.block}")
        if piece.block == 1:
            serial.start(stream)

    serial.start(transfer(4, work, priority=BULK))
    assert done == ["b0", "b1", "s0", "s1", "s2", "b2", "b3"]


def test_streams_before_bulk_with_workers_of_its_own(serial):
    """Calls with max_workers and calls without stand in one line."""
    done: list[str] = []
    stream = transfer(
        2, lambda piece, scope: done.append(f"s{piece.block}"), priority=STREAM, max_workers=1
    )

    def work(piece: Piece, scope: CancelScope) -> None:
        done.append(f"b{piece.block}")
        if not piece.block:
            serial.start(stream)

    serial.start(transfer(3, work, max_workers=1))
    assert done == ["b0", "s0", "s1", "b1", "b2"]


def test_nothing_to_do(serial):
    """A transfer without pieces ends at once, whichever way its jobs are taken."""
    for ordered in (True, False):
        empty = transfer(0, position, ordered=ordered)
        serial.start(empty)
        assert list(serial.in_order(empty)) == []
        assert list(serial.as_finished(empty)) == []


@pytest.mark.parametrize("ordered", [True, False])
def test_iteration(serial, ordered):
    """Every job comes out once, with its result."""
    started = transfer(7, position, ordered=ordered, memory=3)
    serial.start(started)
    jobs = serial.in_order(started) if ordered else serial.as_finished(started)
    assert [job.future.result() for job in jobs] == list(range(7))


def test_errors_are_results(serial):
    """What work raises is in its future alone; the other jobs go on."""

    def work(piece: Piece, scope: CancelScope) -> int:
        if piece.block == 1:
            raise KeyError("one")
        if piece.block == 2:
            raise SystemExit(3)
        return piece.block

    found = futures(serial, transfer(4, work))
    assert [type(future.exception()) for future in found] == [
        type(None), KeyError, SystemExit, type(None),
    ]  # fmt: skip


def test_context_of_the_caller(serial):
    """Work sees the context variables of the call that started it, and cannot change them."""
    variable: contextvars.ContextVar = contextvars.ContextVar("variable", default="unset")
    variable.set("the caller's")
    seen = []

    def work(piece: Piece, scope: CancelScope) -> None:
        seen.append(variable.get())
        variable.set("the worker's")

    started = transfer(2, work)
    variable.set("later")
    serial.start(started)
    assert seen == ["the caller's", "the caller's"]
    assert variable.get() == "later"


def test_notices(serial):
    """Each piece is told of when queued, when started, and when it failed."""
    told: list[tuple[str, int, str]] = []

    def work(piece: Piece, scope: CancelScope) -> None:
        if piece.block:
            raise KeyError("secret")

    notify = lambda name, piece, detail: told.append((name, piece.block, detail))  # noqa: E731
    serial.start(transfer(2, work, notify=notify))
    assert told == [
        ("queued", 0, ""),
        ("queued", 1, ""),
        ("started", 0, ""),
        ("started", 1, ""),
        ("failed", 1, "KeyError"),
    ]


# --- in one thread: memory -------------------------------------------------------------------------------


class Window:
    """Counts what a transfer holds, as somebody outside sees it."""

    def __init__(self, lengths: list[int], memory: int, factor: int, **options: Any) -> None:
        self.memory = memory
        self.factor = factor
        self.kept: dict[int, int] = {}
        self.worked: list[int] = []
        self.transfer: Transfer[int] = Transfer(
            pieces(*lengths),
            self.work,
            memory=memory,
            flight=lambda piece: factor * piece.length,
            **options,
        )

    def work(self, piece: Piece, scope: CancelScope) -> int:
        others = sum(self.kept.values())
        assert not self.kept or others + self.factor * piece.length <= self.memory
        self.kept[piece.block] = piece.length
        self.worked.append(piece.block)
        return piece.block

    def consumed(self, block: int) -> None:
        del self.kept[block]


@given(
    lengths=st.lists(st.integers(1, 20), max_size=40),
    memory=st.integers(1, 50),
    factor=st.integers(1, 3),
    workers=st.integers(1, 6),
    ordered=st.booleans(),
    own=st.booleans(),
)
def test_window_is_never_exceeded(lengths, memory, factor, workers, ordered, own):
    """In flight and waiting to be consumed, never more than ``memory``, but for a larger piece, alone."""
    window = Window(lengths, memory, factor, ordered=ordered, max_workers=workers if own else None)
    with engine(workers, make_executor=SerialExecutor) as serial:
        serial.start(window.transfer)
        taken = []
        jobs = serial.in_order if ordered else serial.as_finished
        for job in jobs(window.transfer):
            block = job.future.result()
            taken.append(block)
            window.consumed(block)
        assert sorted(taken) == list(range(len(lengths)))
        assert sorted(window.worked) == sorted(taken)
        if ordered:
            assert taken == sorted(taken)


def test_consuming_lets_the_next_in(serial):
    """Nothing past the window is begun until the lowest outstanding piece was consumed."""
    done: list[int] = []
    started = Transfer(pieces(4, 4, 4, 4), lambda piece, scope: done.append(piece.block), memory=8)
    serial.start(started)
    assert done == [0, 1]
    jobs = serial.in_order(started)
    next(jobs)
    assert done == [0, 1]
    next(jobs)
    assert done == [0, 1, 2]
    next(jobs)
    assert done == [0, 1, 2, 3]


def test_larger_than_memory_goes_alone(serial):
    """A piece that does not fit is begun when nothing else is held, and holds up what follows."""
    done: list[int] = []
    started = Transfer(pieces(2, 100, 2), lambda piece, scope: done.append(piece.block), memory=10)
    serial.start(started)
    seen = []
    for _ in serial.in_order(started):
        seen.append(list(done))
    assert seen == [[0], [0, 1], [0, 1, 2]]


def test_what_is_not_kept_is_free_at_once(serial):
    """Where results are not kept, memory is free as soon as the work is done."""
    done: list[int] = []
    started = Transfer(
        pieces(*[8] * 5),
        lambda piece, scope: done.append(piece.block),
        memory=8,
        kept=lambda piece: 0,
    )
    serial.start(started)
    assert done == [0, 1, 2, 3, 4]


def test_unbounded(serial):
    """Without a bound everything is begun at once."""
    assert len(futures(serial, Transfer(pieces(*[10**12] * 100), position))) == 100


def test_pieces_are_taken_lazily(serial):
    """A file of a million parts is not listed before there is room for them."""
    taken = []

    def endless() -> Iterator[Piece]:
        for piece in pieces(*[1] * 1_000_000):
            taken.append(piece.block)
            yield piece

    started = Transfer(endless(), position, memory=5)
    serial.start(started)
    assert len(taken) <= 7
    serial.cancel(started)


# --- in one thread: ending -------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False])
def test_cancel_ends_every_future(serial, ordered):
    """After cancel each future has ended, and no more work is begun."""
    done: list[int] = []

    def work(piece: Piece, scope: CancelScope) -> None:
        done.append(piece.block)
        if piece.block == 1:
            serial.cancel(started)
            scope.check()

    started = transfer(5, work, ordered=ordered)
    serial.start(started)
    jobs = list(started.admitted if ordered else serial.as_finished(started))
    assert done == [0, 1]
    assert all(job.future.done() for job in jobs)
    found = {job.position: job.future for job in jobs}
    assert len(found) == 5
    with pytest.raises(CutOff):
        found[1].result()
    for number in (2, 3, 4):
        assert found[number].cancelled()
        with pytest.raises(CancelledError):
            found[number].result()


def test_cancel_again(serial):
    """Cancelling a transfer that is cancelled, finished or never started does nothing."""
    finished, fresh = transfer(2, position), transfer(2, position)
    found = futures(serial, finished)
    for _ in range(2):
        serial.cancel(finished)
        serial.cancel(fresh)
    assert [future.result() for future in found] == [0, 1]


def test_leaving_an_iteration(serial):
    """What was begun and not consumed when the loop is left does not come back."""
    started = Transfer(pieces(*[1] * 10), position, memory=3)
    serial.start(started)
    for job in serial.in_order(started):
        if job.position == 1:
            break
    serial.cancel(started)
    assert started._next_piece is None
    assert not started._queue


def test_close(serial):
    """After close nothing can be started; closing again is fine."""
    serial.close()
    serial.close()
    with pytest.raises(ValueError, match="closed"):
        serial.start(transfer(1, position))


def test_no_executor_before_the_first_transfer():
    """An engine makes its pool when it is first used."""
    made: list[int] = []

    def make() -> Executor:
        made.append(1)
        return SerialExecutor()

    with engine(make_executor=make) as fresh:
        assert made == []
        fresh.start(transfer(1, position))
        fresh.start(transfer(1, position))
        assert made == [1]


class Refusing(SerialExecutor):
    """A pool that takes so many submissions and no more, as when no thread is to be had."""

    def __init__(self, taken: int) -> None:
        self.left = taken

    def submit(self, fn: Callable[..., Any], /, *args: Any, **keywords: Any) -> Future[Any]:
        if not self.left:
            raise RuntimeError("can't start new thread")
        self.left -= 1
        return super().submit(fn, *args, **keywords)


def test_no_more_threads():
    """Where the system gives no thread, every future ends, the first one with the reason."""
    with engine(make_executor=lambda: Refusing(0)) as refused:
        first, *others = futures(refused, transfer(4, position))
        assert isinstance(first.exception(timeout=0), RuntimeError)
        assert all(future.cancelled() for future in others)


# --- with threads ----------------------------------------------------------------------------------------


def test_futures_work_with_the_library(pooled):
    """as_completed and wait take the futures for what they are."""
    found = futures(pooled, transfer(50, position))
    assert {future.result() for future in as_completed(found, timeout=PATIENCE)} == set(range(50))
    done, left = wait(found, timeout=PATIENCE)
    assert (len(done), left) == (50, set())


@pytest.mark.parametrize("limit", [1, 2, 3, 8])
def test_max_workers_is_obeyed(pooled, limit):
    """A call's max_workers are all used, and never one more, whatever the engine's own number."""
    gate = Gate()
    found = futures(pooled, transfer(5 * limit, gate, max_workers=limit))
    gate.await_inside(limit)
    gate.opened.set()
    wait(found, timeout=PATIENCE)
    assert gate.most == limit
    assert len(gate.begun) == 5 * limit


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_engines_own_number_is_obeyed(limit):
    """Calls without max_workers share the engine's number."""
    gate = Gate()
    with engine(limit) as small:
        found = [*futures(small, transfer(20, gate)), *futures(small, transfer(20, gate))]
        gate.await_inside(limit)
        gate.opened.set()
        wait(found, timeout=PATIENCE)
    assert gate.most == limit


def test_calls_with_max_workers_do_not_share(pooled):
    """Two calls of three workers each have six at work."""
    gates = Gate(), Gate()
    found = [futures(pooled, transfer(9, gate, max_workers=3)) for gate in gates]
    for gate in gates:
        gate.await_inside(3)
    for gate in gates:
        gate.opened.set()
    wait([*found[0], *found[1]], timeout=PATIENCE)
    assert [gate.most for gate in gates] == [3, 3]


def test_stream_beside_a_thousand_bulk_jobs():
    """A stream that begins while bulk work fills the pool and waits runs next, from its first block on."""
    gate = Gate()
    with engine(2) as full:  # So few that the tuner has nothing to probe: it would let more bulk work in.
        bulk = futures(full, transfer(1000, gate))
        gate.await_inside(2)
        stream = futures(full, transfer(10, position, priority=STREAM))
        assert [future.result(PATIENCE) for future in stream] == list(range(10))
        assert len(gate.begun) == 2
        gate.opened.set()
        assert len({future.result(PATIENCE) for future in bulk}) == 1000


def test_stalled_calls_hold_up_no_other():
    """Calls that fill the engine's own number with stalled work leave room for a call at rest."""
    stalled = Gate()
    with engine(8) as made:
        for _ in range(made._tuner.limit):
            futures(made, transfer(4, stalled))
        stalled.await_inside(made._tuner.limit)
        (other,) = futures(made, transfer(1, position))
        assert other.result(PATIENCE) == 0
        stalled.opened.set()


def test_collector_amid_a_step(pooled):
    """A forgotten stream that the collector ends while the engine's lock is held is ended afterwards."""
    gate = Gate()
    forgotten = transfer(10, gate, max_workers=1)
    waiting = futures(pooled, forgotten)
    gate.await_inside(1)
    with pooled._lock:
        pooled.cancel(forgotten)
    assert not forgotten.scope.cancelled
    (other,) = futures(pooled, transfer(1, position))
    assert other.result(PATIENCE) == 0
    assert forgotten.scope.cancelled
    assert all(future.cancelled() for future in waiting[1:])


def test_bulk_does_not_starve(pooled):
    """Two at rest beside a slow stream: bulk work has the other places."""
    slow = Gate()
    stream = futures(pooled, transfer(3, slow, priority=STREAM, max_workers=1))
    slow.await_inside(1)
    bulk = futures(pooled, transfer(100, position))
    assert sum(future.result(PATIENCE) for future in bulk) == sum(range(100))
    slow.opened.set()
    wait(stream, timeout=PATIENCE)


def test_as_finished_is_not_in_order(pooled):
    """Jobs come out as they end, not as they began."""
    may_end = [threading.Event() for _ in range(3)]

    def work(piece: Piece, scope: CancelScope) -> int:
        assert may_end[piece.block].wait(PATIENCE)
        return piece.block

    started = transfer(3, work, ordered=False, max_workers=3)
    pooled.start(started)
    jobs = pooled.as_finished(started)
    taken = []
    for number in (2, 0, 1):
        may_end[number].set()
        taken.append(next(jobs).future.result())
    assert taken == [2, 0, 1]
    assert next(jobs, None) is None


def test_cancelled_queued_future_is_never_worked_on(pooled):
    """Future.cancel before its turn: the work is not called, as_completed and wait know of it."""
    gate = Gate()
    found = futures(pooled, transfer(6, gate, max_workers=1))
    gate.await_inside(1)
    assert found[3].cancel()
    assert not found[0].cancel()
    gate.opened.set()
    done, _ = wait(found, timeout=PATIENCE)
    assert len(done) == 6
    assert gate.begun == [0, 1, 2, 4, 5]
    assert found[3].cancelled()


@pytest.mark.parametrize("ordered", [True, False])
def test_consumed_before_its_worker_is_done_with_it(pooled, ordered, monkeypatch):
    """A consumer that is faster than the end of its job's bookkeeping gets all pieces none the less."""
    consumed = threading.Event()

    class Late(Transfer[int]):
        def _ended(self, job: Any) -> None:
            super()._ended(job)
            assert consumed.wait(PATIENCE)

    started = Late(
        pieces(4, 4, 4, 4), position, ordered=ordered, memory=8, max_workers=1,
        flight=lambda piece: 2 * piece.length,
    )  # fmt: skip
    consume = pooled.consume
    monkeypatch.setattr(pooled, "consume", lambda job: (consume(job), consumed.set()))
    pooled.start(started)
    jobs = pooled.in_order(started) if ordered else pooled.as_finished(started)
    assert [job.future.result() for job in jobs] == [0, 1, 2, 3]
    pooled.drain(started)
    assert started._held == 0


def test_claimed_under_the_lock(pooled, monkeypatch):
    """Between a look at whether a job was given up and its claim nobody can give it up."""
    unlocked = []

    class Watched(Job[int]):
        __slots__ = ()

        @property
        def claimed(self) -> bool:
            return Job.claimed.__get__(self)

        @claimed.setter
        def claimed(self, value: bool) -> None:
            if value and not pooled._is_inside():
                unlocked.append(self.position)
            Job.claimed.__set__(self, value)

    monkeypatch.setattr("ctera_direct_sync.engine.Job", Watched)
    wait(futures(pooled, transfer(20, position)))
    assert unlocked == []


class Clock:
    """Seconds that pass when told to, and who slept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def test_results_of_fast_jobs_gather(monkeypatch):
    """A consumer sleeps a moment where it waited for next to nothing before, and there is more to do."""
    clock = Clock()
    monkeypatch.setattr("ctera_direct_sync.engine.time", clock)
    busy, brief = transfer(16, position), transfer(15, position)
    busy._admit()
    brief._admit()
    patience = _Patience()

    def sleeps(seconds: float, started: Transfer[Any] = busy) -> int:
        def job_ends() -> str:
            clock.now += seconds
            return "ended"

        before = len(clock.slept)
        assert patience.wait(started, job_ends) == "ended"
        return len(clock.slept) - before

    assert [sleeps(0.0001), sleeps(0.0), sleeps(0.0001)] == [0, 1, 1]
    assert sleeps(0.0001, brief) == 0  # What is queued may not last so long: its workers would wait.
    assert [sleeps(0.004), sleeps(0.004), sleeps(0.0001), sleeps(0.0)] == [1, 0, 0, 1]
    assert clock.slept == pytest.approx([0.0016] * len(clock.slept))


@pytest.mark.parametrize(("queued", "seconds"), [(16, 0.0016), (40, 0.004), (50, 0.005), (900, 0.005)])
def test_how_long_they_gather(monkeypatch, queued, seconds):
    """The more is queued the longer, so that no worker is idle before, but never for long."""
    clock = Clock()
    monkeypatch.setattr("ctera_direct_sync.engine.time", clock)
    started = transfer(queued, position)
    started._admit()
    patience = _Patience()
    for _ in range(2):
        patience.wait(started, lambda: None)
    assert clock.slept == pytest.approx([seconds])


def test_cancelled_job_in_an_iteration(pooled):
    """A job that was cancelled before its turn comes out of as_finished so, and holds up nobody."""
    gate = Gate()
    started = transfer(4, gate, ordered=False, max_workers=1)
    pooled.start(started)
    gate.await_inside(1)
    assert started._queue[1].future.cancel()
    gate.opened.set()
    states = {job.position: job.future.cancelled() for job in pooled.as_finished(started)}
    assert states == {0: False, 1: False, 2: True, 3: False}


def test_cancel_cuts_off_what_runs(pooled):
    """Cancelling a transfer wakes its blocked workers, ends all its futures, and leaves others alone."""
    gate, other = Gate(), Gate()
    started = transfer(100, gate, max_workers=3)
    found = futures(pooled, started)
    others = futures(pooled, transfer(2, other, max_workers=2))
    gate.await_inside(3)
    other.await_inside(2)
    pooled.cancel(started)
    wait(found, timeout=PATIENCE)
    assert [type(future.exception()) for future in found[:3]] == [CutOff] * 3
    assert all(future.cancelled() for future in found[3:])
    assert not any(future.done() for future in others)
    other.opened.set()
    assert [future.result(PATIENCE) for future in others] == [0, 1]


def test_drain_waits_for_the_last_worker(pooled):
    """After cancel and drain no work of the transfer runs any more."""
    gate = Gate()
    started = transfer(10, gate, ordered=False, max_workers=2)
    pooled.start(started)
    gate.await_inside(2)
    pooled.cancel(started)
    pooled.drain(started)
    assert gate.active == 0


def threads() -> list[threading.Thread]:
    """The engine's threads."""
    return [each for each in threading.enumerate() if each.name.startswith("ctera-direct")]


def test_close_ends_everything(pooled):
    """Close cuts off what runs, ends every future, and waits for the threads."""
    gate = Gate()
    found = futures(pooled, transfer(50, gate, max_workers=5))
    gate.await_inside(5)
    assert len(threads()) == 5
    pooled.close()
    assert threads() == []
    assert all(future.done() for future in found)
    assert [type(future.exception()) for future in found[:5]] == [CutOff] * 5


@pytest.mark.parametrize("ordered", [True, False])
def test_close_while_the_consumer_rests(serial, ordered):
    """A consumer that comes back after close to a full window does not wait for what is past it."""
    started = Transfer(pieces(*[1] * 10), position, memory=2, ordered=ordered)
    serial.start(started)
    jobs = serial.in_order(started) if ordered else serial.as_finished(started)
    assert next(jobs).future.result() == 0
    serial.close()
    assert all(job.future.done() for job in jobs)
    assert started._next_piece is None


def test_no_thread_before_the_first_transfer(pooled):
    """An engine at rest has no thread."""
    assert threads() == []


def test_callback_that_closes(pooled):
    """A done callback may close the client: on a worker thread, without waiting for itself."""
    gate = Gate()
    closed = threading.Event()

    def close(future: Future) -> None:
        pooled.close()
        closed.set()

    found = futures(pooled, transfer(20, gate, max_workers=2))
    found[0].add_done_callback(close)
    gate.await_inside(2)
    gate.opened.set()
    assert closed.wait(PATIENCE)
    wait(found, timeout=PATIENCE)
    assert all(future.done() for future in found)


def test_callback_that_starts_more(pooled):
    """A done callback may begin another call, also where it is the only worker."""
    more: list[Future] = []
    begun = threading.Event()

    def start(future: Future) -> None:
        more.extend(futures(pooled, transfer(3, position, max_workers=1)))
        begun.set()

    (first,) = futures(pooled, transfer(1, position, max_workers=1))
    first.add_done_callback(start)
    assert begun.wait(PATIENCE)
    assert [future.result(PATIENCE) for future in more] == [0, 1, 2]


def test_close_from_many_threads(pooled):
    """Everybody may close, at once, and all return with nothing running."""
    gate = Gate()
    found = futures(pooled, transfer(20, gate))
    gate.await_inside(pooled._tuner.limit)
    line = threading.Barrier(4)

    def close() -> None:
        line.wait(PATIENCE)
        pooled.close()

    closers = [threading.Thread(target=close) for _ in range(4)]
    for each in closers:
        each.start()
    for each in closers:
        each.join(PATIENCE)
    assert all(future.done() for future in found)


def test_start_races_with_close():
    """A call that comes while the client is closed is refused, or all of its futures end."""
    for _ in range(30):
        with engine(2) as raced:
            line = threading.Barrier(3)
            ended: list[list[Future]] = []

            def start(raced=raced, line=line, ended=ended) -> None:
                line.wait(PATIENCE)
                try:
                    ended.append(futures(raced, transfer(10, position)))
                except ValueError:
                    ended.append([])

            starters = [threading.Thread(target=start) for _ in range(2)]
            for each in starters:
                each.start()
            line.wait(PATIENCE)
            raced.close()
            for each in starters:
                each.join(PATIENCE)
            for found in ended:
                _, left = wait(found, timeout=PATIENCE)
                assert not left


@pytest.mark.parametrize("ordered", [True, False])
def test_window_with_threads(pooled, ordered):
    """The bound holds as well while several threads work and the consumer is slower than they."""
    lock, held, most = threading.Lock(), 0, 0

    def work(piece: Piece, scope: CancelScope) -> int:
        nonlocal held, most
        with lock:
            held += 2 * piece.length
            most = max(most, held)
        with lock:
            held -= piece.length
        return piece.length

    lengths = [1, 7, 3, 10, 2, 2, 9, 4] * 25
    started = Transfer(
        pieces(*lengths), work, ordered=ordered, memory=40, flight=lambda piece: 2 * piece.length,
        max_workers=6,
    )  # fmt: skip
    pooled.start(started)
    total = 0
    for job in pooled.in_order(started) if ordered else pooled.as_finished(started):
        length = job.future.result()
        total += length
        with lock:
            held -= length
    assert total == sum(lengths)
    assert most <= 40


# --- with threads: precedence ----------------------------------------------------------------------------


class Bulk:
    """Two bulk jobs on one thread, the first of which ends when it is told to."""

    def __init__(self, made: Engine, order: list[str]) -> None:
        self.first_is_running = threading.Event()
        self.go_on = threading.Event()
        self.engine = made
        self.order = order
        self.futures = futures(made, transfer(2, self, max_workers=1))
        assert self.first_is_running.wait(PATIENCE)

    def __call__(self, piece: Piece, scope: CancelScope) -> None:
        self.order.append(f"bulk {piece.block}")
        if piece.block == 0:
            self.first_is_running.set()
            assert self.go_on.wait(PATIENCE)

    def meet_a_stream(self) -> None:
        """Announce a stream, and then let the first job end."""
        self.engine.make_way()
        self.go_on.set()


@contextmanager
def standing_back(
    monkeypatch: pytest.MonkeyPatch, step: float = PATIENCE, quick: float = PATIENCE
) -> Iterator[tuple[Engine, threading.Event]]:
    """An engine with steps of so many seconds, and what tells that a worker stands back."""
    monkeypatch.setattr("ctera_direct_sync.engine._QUICK", quick)
    stands_back = threading.Event()

    class Told(Precedence):
        def left(self) -> float:
            seconds = super().left()
            if seconds > 0:
                stands_back.set()
            return seconds

    with engine(make_precedence=lambda: Told(step)) as made:
        yield made, stands_back
        made.end_way()


def test_bulk_work_stands_back_for_a_stream_that_begins(monkeypatch):
    """From its announcement until its first block is delivered no bulk job begins."""
    order: list[str] = []
    with standing_back(monkeypatch) as (made, stands_back):
        bulk = Bulk(made, order)
        bulk.meet_a_stream()
        assert stands_back.wait(PATIENCE)
        stream = transfer(1, lambda piece, scope: order.append("stream"), priority=STREAM)
        made.start(stream)
        for _ in made.in_order(stream):
            wait(bulk.futures, PATIENCE)
        assert order == ["bulk 0", "stream", "bulk 1"]


def test_the_result_of_a_job_does_not_wait_for_that(monkeypatch):
    """Who waits for what a worker did has it, though the worker stands back."""
    with standing_back(monkeypatch) as (made, stands_back):
        bulk = Bulk(made, [])
        bulk.meet_a_stream()
        assert stands_back.wait(PATIENCE)
        assert bulk.futures[0].done()
        assert not bulk.futures[1].running()


def test_bulk_work_stands_back_for_a_moment_only(monkeypatch):
    """A stream that is announced and does not come, or has a slow storage, holds up nobody for long."""
    with standing_back(monkeypatch, step=0.001) as (made, _):
        bulk = Bulk(made, [])
        bulk.meet_a_stream()
        assert wait(bulk.futures, PATIENCE).not_done == set()


def test_slow_bulk_work_does_not_stand_back(monkeypatch):
    """Where jobs wait for the network, a stream has the machine to itself anyway."""
    with standing_back(monkeypatch, quick=0.0) as (made, stands_back):
        bulk = Bulk(made, [])
        bulk.meet_a_stream()
        assert wait(bulk.futures, PATIENCE).not_done == set()
        assert not stands_back.is_set()


def test_standing_back_does_not_begin_a_measurement_anew(monkeypatch):
    """Where streams begin all the time, bulk work finds its number of workers none the less."""
    begun_anew: list[bool] = []
    with standing_back(monkeypatch) as (made, stands_back):
        monkeypatch.setattr(made._tuner, "idle", lambda: begun_anew.append(True))
        bulk = Bulk(made, [])
        bulk.meet_a_stream()
        assert stands_back.wait(PATIENCE)
        made.end_way()
        assert wait(bulk.futures, PATIENCE).not_done == set()
    assert begun_anew == []


def test_a_stream_stands_back_for_none(monkeypatch):
    """One stream's workers go on while another begins."""
    with standing_back(monkeypatch) as (made, stands_back):
        started = transfer(3, position, priority=STREAM, max_workers=1)
        made.make_way()
        results = futures(made, started)
        assert wait(results, PATIENCE).not_done == set()
        assert not stands_back.is_set()


def test_close_while_a_worker_stands_back(monkeypatch):
    """It ends within the moment that it stands back for."""
    with standing_back(monkeypatch, step=1) as (made, stands_back):
        bulk = Bulk(made, [])
        bulk.meet_a_stream()
        assert stands_back.wait(PATIENCE)
        made.close()
        assert all(future.done() for future in bulk.futures)


# --- references ------------------------------------------------------------------------------------------


class Boom(Exception):
    """An error that can be watched."""


class Result:
    """A result that can be watched."""


@contextmanager
def no_collector() -> Iterator[None]:
    """Without the cyclic garbage collector: what is in a cycle stays."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_error_is_in_no_cycle(pooled):
    """An error, with its traceback and all that hangs on it, dies with its future."""

    def work(piece: Piece, scope: CancelScope) -> None:
        raise Boom

    with no_collector():
        found = futures(pooled, transfer(3, work))
        wait(found, timeout=PATIENCE)
        pooled.close()
        watched = [weakref.ref(future.exception()) for future in found]
        assert all(ref() is not None for ref in watched)
        del found
        assert [ref() for ref in watched] == [None] * 3


def test_cancelled_error_is_in_no_cycle(pooled):
    """So does the one that a cut-off future gets."""
    gate = Gate()
    with no_collector():
        found = futures(pooled, transfer(3, gate, max_workers=3))
        gate.await_inside(3)
        pooled.close()
        watched = [weakref.ref(future.exception()) for future in found]
        del found
        assert [ref() for ref in watched] == [None] * 3


def test_results_die_with_their_futures(pooled):
    """Neither the engine nor an idle thread keeps a result alive."""
    with no_collector():
        found = futures(pooled, transfer(8, lambda piece, scope: Result()))
        watched = [weakref.ref(future.result(PATIENCE)) for future in found]
        pooled.close()
        del found
        assert [ref() for ref in watched] == [None] * 8


@pytest.mark.parametrize("ordered", [True, False])
def test_iteration_lets_go(serial, ordered):
    """A result that the consumer has done with is gone before the next one is waited for."""
    watched: list[weakref.ref] = []
    alive: list[int] = []

    def work(piece: Piece, scope: CancelScope) -> Result:
        alive.append(sum(ref() is not None for ref in watched))
        result = Result()
        watched.append(weakref.ref(result))
        return result

    with no_collector():
        started = transfer(5, work, ordered=ordered, memory=1)
        serial.start(started)
        jobs = serial.in_order(started) if ordered else serial.as_finished(started)
        for job in jobs:
            assert isinstance(job.future.result(), Result)
            del job
    assert len(watched) == 5
    assert max(alive) <= 1


def test_dropped_transfer_is_collected(pooled):
    """A transfer that has ended is not kept by the engine."""
    started = transfer(3, position)
    wait(futures(pooled, started), timeout=PATIENCE)
    pooled.close()
    watched = weakref.ref(started)
    del started
    gc.collect()
    assert watched() is None


def test_cancelled_is_not_an_outcome(pooled):
    """Cancelled is how work unwinds; what a future shows is the engine's cancelled_error."""
    gate = Gate()
    started = transfer(1, gate)
    (future,) = futures(pooled, started)
    gate.await_inside(1)
    pooled.cancel(started)
    error = future.exception(PATIENCE)
    assert isinstance(error, CutOff)
    assert not isinstance(error, Cancelled)
