"""The engine with its threads, held by barriers."""

from __future__ import annotations

import threading
from concurrent.futures import Future, as_completed, wait
from typing import Any

import pytest

from ctera_direct_sync._base.cancellation import Cancelled, CancelScope
from ctera_direct_sync._engine import iteration
from ctera_direct_sync._engine.engine import STREAM, Transfer
from ctera_direct_sync._engine.iteration import _WakeupBatcher, in_order
from ctera_direct_sync._engine.iteration import as_completed as completed
from ctera_direct_sync._protocol.ranges import Piece
from tests.support.engines import (
    PATIENCE,
    CutOff,
    FixedTuner,
    Held,
    engine_threads,
    futures,
    open_engine,
    pieces,
    position,
    shared,
    transfer,
)


def test_futures_work_with_the_library(pooled):
    """as_completed and wait take the futures for what they are."""
    found = futures(pooled, shared(50, position))
    assert {future.result() for future in as_completed(found, timeout=PATIENCE)} == set(range(50))
    done, left = wait(found, timeout=PATIENCE)
    assert (len(done), left) == (50, set())


@pytest.mark.parametrize("limit", [1, 2, 3, 8])
def test_max_workers_is_obeyed(pooled, limit):
    """A call's max_workers are all used, and never one more, whatever the engine's own number."""
    gate = Held()
    found = futures(pooled, shared(5 * limit, gate, max_workers=limit))
    gate.await_inside(limit)
    gate.opened.set()
    wait(found, timeout=PATIENCE)
    assert gate.most == limit
    assert len(gate.begun) == 5 * limit


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_engines_own_number_is_obeyed(limit):
    """Calls without max_workers share the engine's number."""
    gate = Held()
    with open_engine(limit) as small:
        small._tuner = FixedTuner(limit)
        found = [*futures(small, shared(20, gate)), *futures(small, shared(20, gate))]
        gate.await_inside(limit)
        gate.opened.set()
        wait(found, timeout=PATIENCE)
    assert gate.most == limit


def test_calls_with_max_workers_do_not_share(pooled):
    """Two calls of three workers each have six at work."""
    gates = Held(), Held()
    found = [futures(pooled, shared(9, gate, max_workers=3)) for gate in gates]
    for gate in gates:
        gate.await_inside(3)
    for gate in gates:
        gate.opened.set()
    wait([*found[0], *found[1]], timeout=PATIENCE)
    assert [gate.most for gate in gates] == [3, 3]


def test_stream_beside_a_thousand_bulk_jobs():
    """A stream that begins while bulk work fills the pool and waits runs next, from its first block on."""
    gate = Held()
    with open_engine(3) as full:
        full._tuner = FixedTuner(2)
        bulk = futures(full, shared(1000, gate))
        gate.await_inside(2)
        stream = futures(full, shared(10, position, priority=STREAM))
        assert [future.result(PATIENCE) for future in stream] == list(range(10))
        assert len(gate.begun) == 2
        gate.opened.set()
        assert len({future.result(PATIENCE) for future in bulk}) == 1000


def test_stalled_calls_hold_up_no_other():
    """Calls that fill the engine's own number with stalled work leave room for a call at rest."""
    stalled = Held()
    with open_engine(8) as made:
        for _ in range(made._tuner.limit):
            futures(made, shared(4, stalled))
        stalled.await_inside(made._tuner.limit)
        (other,) = futures(made, shared(1, position))
        assert other.result(PATIENCE) == 0
        stalled.opened.set()


def test_bulk_does_not_starve(pooled):
    """Two at rest beside a slow stream: bulk work has the other places."""
    slow = Held()
    stream = futures(pooled, shared(3, slow, priority=STREAM, max_workers=1))
    slow.await_inside(1)
    bulk = futures(pooled, shared(100, position))
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
    jobs = completed(pooled, started)
    taken = []
    for number in (2, 0, 1):
        may_end[number].set()
        taken.append(next(jobs).future.result())
    assert taken == [2, 0, 1]
    assert next(jobs, None) is None


def test_cancelled_queued_future_is_never_worked_on(pooled):
    """Future.cancel before its turn: the work is not called, as_completed and wait know of it."""
    gate = Held()
    found = futures(pooled, shared(6, gate, max_workers=1))
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
        def finish(self, job: Any) -> None:
            assert consumed.wait(PATIENCE)
            super().finish(job)

    started = Late(
        pieces(4, 4, 4, 4), position, ordered=ordered, memory=8, max_workers=1,
        working_bytes=lambda piece: 2 * piece.length,
    )  # fmt: skip
    consume = pooled.consume
    monkeypatch.setattr(pooled, "consume", lambda job: (consume(job), consumed.set()))
    pooled.start(started)
    jobs = in_order(pooled, started) if ordered else completed(pooled, started)
    assert [job.future.result() for job in jobs] == [0, 1, 2, 3]
    pooled.drain(started)


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
    monkeypatch.setattr(iteration, "perf_counter", clock.perf_counter)
    monkeypatch.setattr(iteration, "sleep", clock.sleep)
    busy, brief = transfer(16, position), transfer(15, position)
    busy.admit()
    brief.admit()
    batcher = _WakeupBatcher()

    def sleeps(seconds: float, started: Transfer[Any] = busy) -> int:
        def job_ends() -> str:
            clock.now += seconds
            return "ended"

        before = len(clock.slept)
        assert batcher.wait(started, job_ends) == "ended"
        return len(clock.slept) - before

    assert [sleeps(0.0001), sleeps(0.0), sleeps(0.0001)] == [0, 1, 1]
    assert (
        sleeps(0.0001, brief) == 0
    )  # What is queued may not last so long: its workers would wait.
    assert [sleeps(0.004), sleeps(0.004), sleeps(0.0001), sleeps(0.0)] == [1, 0, 0, 1]
    assert clock.slept == pytest.approx([0.0016] * len(clock.slept))


@pytest.mark.parametrize(
    ("queued", "seconds"), [(16, 0.0016), (40, 0.004), (50, 0.005), (900, 0.005)]
)
def test_how_long_they_gather(monkeypatch, queued, seconds):
    """The more is queued the longer, so that no worker is idle before, but never for long."""
    clock = Clock()
    monkeypatch.setattr(iteration, "perf_counter", clock.perf_counter)
    monkeypatch.setattr(iteration, "sleep", clock.sleep)
    started = transfer(queued, position)
    started.admit()
    batcher = _WakeupBatcher()
    for _ in range(2):
        batcher.wait(started, lambda: None)
    assert clock.slept == pytest.approx([seconds])


def test_cancelled_job_in_an_iteration(pooled):
    """A job that was cancelled before its turn comes out of as_finished so, and holds up no other."""
    gate = Held()
    started = transfer(4, gate, ordered=False, max_workers=1)
    pooled.start(started)
    gate.await_inside(1)
    assert started.queue[1].future.cancel()
    gate.opened.set()
    states = {job.position: job.future.cancelled() for job in completed(pooled, started)}
    assert states == {0: False, 1: False, 2: True, 3: False}


def test_cancel_cuts_off_what_runs(pooled):
    """Cancelling a transfer wakes its blocked workers, ends all its futures, and leaves others alone."""
    gate, other = Held(), Held()
    started = shared(100, gate, max_workers=3)
    found = futures(pooled, started)
    others = futures(pooled, shared(2, other, max_workers=2))
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
    gate = Held()
    started = transfer(10, gate, ordered=False, max_workers=2)
    pooled.start(started)
    gate.await_inside(2)
    pooled.cancel(started)
    pooled.drain(started)
    assert gate.active == 0


def test_close_ends_everything(pooled):
    """Close cuts off what runs, ends every future, and waits for the threads."""
    gate = Held()
    found = futures(pooled, shared(50, gate, max_workers=5))
    gate.await_inside(5)
    assert len(engine_threads()) == 6  # One more is idle, for what comes next.
    pooled.close()
    assert engine_threads() == []
    assert all(future.done() for future in found)
    assert [type(future.exception()) for future in found[:5]] == [CutOff] * 5


@pytest.mark.parametrize("ordered", [True, False])
def test_close_while_the_consumer_rests(serial, ordered):
    """A consumer that comes back to a full window after close gets an error: bytes are missing."""
    started = Transfer(pieces(*[1] * 10), position, memory=2, ordered=ordered)
    serial.start(started)
    jobs = in_order(serial, started) if ordered else completed(serial, started)
    assert next(jobs).future.result() == 0
    serial.close()
    with pytest.raises(Cancelled):
        next(jobs)


def test_no_thread_before_the_first_transfer(pooled):
    """An engine at rest has no thread."""
    assert engine_threads() == []


def test_callback_that_closes(pooled):
    """A done callback may close the client: on a worker thread, without waiting for itself."""
    gate = Held()
    closed = threading.Event()

    def close(future: Future) -> None:
        pooled.close()
        closed.set()

    found = futures(pooled, shared(20, gate, max_workers=2))
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
        more.extend(futures(pooled, shared(3, position, max_workers=1)))
        begun.set()

    (first,) = futures(pooled, shared(1, position, max_workers=1))
    first.add_done_callback(start)
    assert begun.wait(PATIENCE)
    assert [future.result(PATIENCE) for future in more] == [0, 1, 2]


def test_close_from_many_threads(pooled):
    """Everybody may close, at once, and all return with nothing running."""
    gate = Held()
    found = futures(pooled, shared(20, gate))
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
        with open_engine(2) as raced:
            line = threading.Barrier(3)
            ended: list[list[Future]] = []

            def start(raced=raced, line=line, ended=ended) -> None:
                line.wait(PATIENCE)
                try:
                    ended.append(futures(raced, shared(10, position)))
                except ValueError:
                    ended.append([])

            starters = [threading.Thread(target=start) for _ in range(2)]
            for each in starters:
                each.start()
            line.wait(PATIENCE)
            raced.close()
            for each in starters:
                each.join(PATIENCE)
            assert len(ended) == 2
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
        pieces(*lengths), work, ordered=ordered, memory=40, working_bytes=lambda piece: 2 * piece.length,
        max_workers=6,
    )  # fmt: skip
    pooled.start(started)
    total = 0
    for job in in_order(pooled, started) if ordered else completed(pooled, started):
        length = job.future.result()
        total += length
        with lock:
            held -= length
    assert total == sum(lengths)
    assert most <= 40
