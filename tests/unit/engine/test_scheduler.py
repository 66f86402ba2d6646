"""The scheduler alone, without a thread: whatever happens in whatever order, its accounts are right."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from ctera_direct_sync._base.sync import Empty
from ctera_direct_sync._engine.scheduler import Scheduler
from ctera_direct_sync._engine.transfer import BULK, STREAM, Job, State, Transfer
from ctera_direct_sync._protocol.ranges import Piece
from tests.support.engines import pieces, position, transfer

#: One job in so many goes by age. A transfer that may run waits for that many takes, for each that was
#: there before it, and for those that are put behind it once.
EVERY = 8


class _Call:
    """A transfer as its consumer sees it, and what the test has seen of it."""

    def __init__(self, made: Transfer[Any], lengths: list[int], factor: int) -> None:
        self.transfer = made
        self.lengths = lengths
        self.factor = factor
        self.taken: list[int] = []
        self.running: list[Job[Any]] = []
        self.finished: list[Job[Any]] = []
        self.consumed: set[int] = set()
        self.dropped: list[int] = []
        self.waited = 0
        self.ends = 0

    def hear(self) -> None:
        """Count the END markers that came."""
        while True:
            try:
                self.ends += self.transfer.results.get_nowait() is None
            except Empty:
                return

    def held(self) -> int:
        """Bytes of jobs that run, or whose results were not consumed."""
        working = [job for job in self.running if job.position not in self.consumed]
        kept = [job for job in self.finished if job.position not in self.consumed]
        queued = sum(self.factor * job.piece.length for job in self.transfer.queue)
        return (
            queued
            + sum(self.factor * job.piece.length for job in working)
            + sum(job.piece.length for job in kept)
        )


class Histories(RuleBasedStateMachine):
    """Transfers that start, run, are consumed and are cancelled in any order."""

    calls = Bundle("calls")
    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(4)
        self.all: list[_Call] = []

    @rule(
        target=calls,
        lengths=st.lists(st.integers(1, 9), max_size=12),
        memory=st.none() | st.integers(1, 40),
        factor=st.integers(1, 3),
        priority=st.sampled_from([STREAM, BULK]),
        max_workers=st.none() | st.integers(1, 3),
        ordered=st.booleans(),
    )
    def start(
        self,
        lengths: list[int],
        memory: int | None,
        factor: int,
        priority: int,
        max_workers: int | None,
        ordered: bool,
    ) -> _Call:
        """Begin a transfer."""
        made: Transfer[Any] = Transfer(
            pieces(*lengths),
            position,
            ordered=ordered,
            memory=memory,
            priority=priority,
            max_workers=max_workers,
            working_bytes=lambda piece: factor * piece.length,
        )
        made.admit()
        self.scheduler.add(made)
        call = _Call(made, lengths, factor)
        self.all.append(call)
        return call

    @rule(target=jobs, limit=st.integers(1, 4))
    def take(self, limit: int) -> Any:
        """Take a job, while so many workers serve best."""
        self.scheduler.limit = limit
        may_run = self.scheduler.has_runnable()
        waiting = [call for call in self.all if call.transfer.entry is not None]
        job = self.scheduler.take()
        assert (job is not None) == may_run
        if job is None:
            return multiple()
        (call,) = (call for call in self.all if call.transfer is job.transfer)
        for each in waiting:
            each.waited += 1
        call.waited = 0
        call.taken.append(job.position)
        call.running.append(job)
        return call, job

    @rule(item=jobs)
    def finish(self, item: tuple[_Call, Job[Any]]) -> None:
        """A thread has done a job."""
        call, job = item
        if job in call.running:
            call.running.remove(job)
            call.finished.append(job)
            self.scheduler.finish(job)

    @rule(item=jobs)
    def consume(self, item: tuple[_Call, Job[Any]]) -> None:
        """The consumer lets a result go, also before its thread has accounted for it."""
        call, job = item
        if job.position not in call.consumed:
            call.consumed.add(job.position)
            self.scheduler.consume(job)

    @rule(call=calls)
    def cancel(self, call: _Call) -> None:
        """The consumer has enough."""
        call.dropped += [job.position for job in self.scheduler.cancel(call.transfer)]

    @invariant()
    def every_piece_once_and_in_order(self) -> None:
        """Jobs are taken in file order, none twice, and dropped ones never."""
        for call in self.all:
            assert call.taken == list(range(len(call.taken)))
            assert not set(call.taken) & set(call.dropped)

    @invariant()
    def memory_is_kept(self) -> None:
        """No transfer holds more than its memory, but for one larger piece, alone."""
        for call in self.all:
            memory = call.transfer._memory
            if memory is None or call.transfer.state is State.CANCELLED:
                continue
            assert call.transfer.charged_bytes == call.held()
            # A job that was consumed amid its work is the consumer's, and costs nothing any more.
            working = [job for job in call.running if job.position not in call.consumed]
            alone = len(working) + len(call.transfer.queue) <= 1
            assert call.held() <= memory or alone

    @invariant()
    def workers_are_kept(self) -> None:
        """A call's own max_workers, and the client's for all others, are never exceeded."""
        shared = 0
        for call in self.all:
            if call.transfer.max_workers is None:
                shared += len(call.running)
            else:
                assert len(call.running) <= call.transfer.max_workers
            assert call.transfer.running == len(call.running)
        assert self.scheduler.running == shared <= self.scheduler.max_workers

    @invariant()
    def the_end_is_told_once(self) -> None:
        """END comes with the last piece, or with the cancelling, and opens the gate after all work."""
        for call in self.all:
            call.hear()
            complete = len(call.finished) == len(call.lengths)
            cancelled = call.transfer.state is State.CANCELLED
            assert call.ends == (complete or cancelled), call.transfer.state
            assert (call.transfer.state is State.COMPLETE) == (complete and not cancelled)
            over = complete or (cancelled and not call.running)
            assert call.transfer.ended.is_open == over
            assert (call.transfer in self.scheduler.transfers) == (not complete and not cancelled)

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        """A transfer that may run gets a job before each other one got two by age."""
        for call in self.all:
            if call.transfer.entry is None:
                call.waited = 0
            heap = getattr(call.transfer.entry, "heap", None)
            if heap is self.scheduler._capped:
                assert call.waited <= EVERY * (2 * len(self.all) + 1)

    @invariant()
    def void_entries_go(self) -> None:
        """No heap grows with the number of jobs that were run."""
        most = 256 + 2 * len(self.all) + 1
        for heap in self.scheduler._heaps:
            assert max(len(heap.by_urgency), len(heap.by_age)) <= most

    def teardown(self) -> None:
        """Left alone, all that was begun comes to its end, and all memory is free."""
        self.scheduler.limit = 4
        while True:
            job = self.scheduler.take()
            for call in self.all:
                if job is not None and call.transfer is job.transfer:
                    call.taken.append(job.position)
                    call.running.append(job)
                for each in list(call.running):
                    call.running.remove(each)
                    call.finished.append(each)
                    self.scheduler.finish(each)
                for each in call.finished:
                    if each.position not in call.consumed:
                        call.consumed.add(each.position)
                        self.scheduler.consume(each)
            if job is None and not self.scheduler.has_runnable():
                break
        assert not self.scheduler.transfers
        assert self.scheduler.running == 0
        for call in self.all:
            assert call.transfer.ended.is_open
            if call.transfer.state is State.COMPLETE:
                assert call.taken == list(range(len(call.lengths)))
                assert call.transfer.charged_bytes == 0


Histories.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestHistories = Histories.TestCase


# --- shares ----------------------------------------------------------------------------------------------


def started(scheduler: Scheduler, count: int, **options: Any) -> Transfer[Any]:
    """Start a transfer of so many pieces."""
    made = transfer(count, position, **options)
    made.admit()
    scheduler.add(made)
    return made


def run(scheduler: Scheduler, workers: int, takes: int, refill: Any) -> Counter[int]:
    """Keep so many workers busy, each job as long as any other. Count the jobs of each transfer."""
    under_way: list[Job[Any]] = []
    counts: Counter[int] = Counter()
    for _ in range(takes):
        while len(under_way) < workers:
            job = scheduler.take()
            if job is None:
                break
            counts[id(job.transfer)] += 1
            under_way.append(job)
        job = under_way.pop(0)
        scheduler.finish(job)
        scheduler.consume(job)
        refill(job.transfer)
    return counts


@pytest.mark.parametrize(("others", "priority"), [(64, BULK), (48, STREAM)])
def test_large_call_gets_its_share(others: int, priority: int) -> None:
    """A call of 4,000 pieces beside many that begin anew all the time gets a part of each round."""
    scheduler = Scheduler(32)
    scheduler.limit = 4
    large = started(scheduler, 4000, memory=250)
    small = {
        id(made): made for made in (started(scheduler, 2, priority=priority) for _ in range(others))
    }

    def refill(made: Transfer[Any]) -> None:
        if made.state is State.COMPLETE and small.pop(id(made), None) is not None:
            another = started(scheduler, 2, priority=priority)
            small[id(another)] = another

    takes = 8000
    counts = run(scheduler, 32, takes, refill)
    fair = takes / EVERY / (2 * others + 1)
    assert counts[id(large)] >= fair / 2
    assert large.state is State.ACTIVE


@pytest.mark.parametrize("priority", [STREAM, BULK])
def test_stalled_call_holds_up_no_other(priority: int) -> None:
    """The one that has waited longest may not run: the next one by age goes in its place."""
    scheduler = Scheduler(8)
    scheduler.limit = 1
    stalled = started(scheduler, 10, priority=priority)
    assert scheduler.take() is not None
    waiting = started(scheduler, 10, priority=BULK)
    for _ in range(10 * EVERY):
        started(scheduler, 1, priority=STREAM)
        job = scheduler.take()
        assert job is not None and job.transfer is not stalled
        scheduler.finish(job)
    assert waiting.queue[0].position > 0


def test_streams_share_the_clients_workers() -> None:
    """Forty streams run max_workers jobs at once; a call's own max_workers are in addition."""
    scheduler = Scheduler(4)
    for _ in range(40):
        started(scheduler, 5, priority=STREAM)
    own = started(scheduler, 9, priority=BULK, max_workers=3)
    under_way = list(iter(scheduler.take, None))
    assert sum(job.transfer is own for job in under_way) == 3
    assert len(under_way) == 4 + 3


# --- what is kept, and what fails ------------------------------------------------------------------------


def test_ended_transfers_are_not_kept() -> None:
    """Nothing of the scheduler keeps a transfer alive that is complete or cancelled."""
    scheduler = Scheduler(4)
    stays = started(scheduler, 100)
    watched = []
    for number in range(20):
        made = started(scheduler, 3, priority=STREAM)
        watched.append(weakref.ref(made))
        jobs = [scheduler.take() for _ in range(number % 4)]
        for job in jobs:
            assert job is not None
            scheduler.finish(job)
        scheduler.cancel(made)
        del made, jobs
        job = None
    gc.collect()
    assert [ref() for ref in watched] == [None] * 20
    assert stays.state is State.ACTIVE


@pytest.mark.parametrize("where", ["pieces", "working_bytes", "result_bytes"])
def test_pieces_that_cannot_be_had_end_their_transfer(where: str) -> None:
    """What is raised amid the listing of pieces ends that transfer, after the jobs that it has."""

    def fail(piece: Piece) -> int:
        if piece.block == 2:
            raise MemoryError
        return 1

    def listed() -> Iterator[Piece]:
        for piece in pieces(1, 1, 1, 1):
            if where == "pieces":
                fail(piece)
            yield piece

    scheduler = Scheduler(1)
    made: Transfer[Any] = Transfer(
        listed(), position, memory=1, **({} if where == "pieces" else {where: fail})
    )
    made.admit()
    scheduler.add(made)
    other = started(scheduler, 1)
    done = []
    while (job := scheduler.take()) is not None:
        done.append((job.transfer, job.position))
        scheduler.finish(job)
        scheduler.consume(job)
    assert sorted(number for each, number in done if each is made) == [0, 1]
    assert (other, 0) in done
    assert made.state is State.CANCELLED
    assert isinstance(made.failure, MemoryError)
    assert made.ended.is_open
