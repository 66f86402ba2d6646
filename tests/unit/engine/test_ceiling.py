"""A low bandwidth has few jobs at once, and a stream that begins need not wait for one of them."""

from __future__ import annotations

from ctera_direct_sync._base.bandwidth import Bandwidth
from ctera_direct_sync._engine.engine import BULK, STREAM
from ctera_direct_sync._engine.scheduler import Scheduler
from ctera_direct_sync._engine.transfer import Job, Transfer
from tests.support.engines import PATIENCE, Held, futures, open_engine, position, shared, transfer


def add(scheduler: Scheduler, count: int, **options: object) -> Transfer[int]:
    """Start a transfer of some blocks."""
    made = transfer(count, position, **options)
    made.admit()
    scheduler.add(made)
    return made


def take_all(scheduler: Scheduler) -> list[Job[int]]:
    """Take what may run."""
    jobs = []
    while scheduler.has_runnable():
        job = scheduler.take()
        assert job is not None
        jobs.append(job)
    assert scheduler.take() is None
    return jobs


def test_all_transfers_share_the_ceiling() -> None:
    """Transfers with max_workers of their own count, too."""
    scheduler = Scheduler(8)
    scheduler.ceiling = 3
    add(scheduler, 5)
    add(scheduler, 5, max_workers=4)
    assert len(take_all(scheduler)) == 3


def test_a_finished_job_makes_room() -> None:
    """The next job may run as soon as one has ended."""
    scheduler = Scheduler(8)
    scheduler.ceiling = 2
    add(scheduler, 5)
    first, _ = take_all(scheduler)
    scheduler.finish(first)
    assert [job.position for job in take_all(scheduler)] == [2]


def test_a_stream_that_begins_gets_one_more() -> None:
    """At the ceiling a stream may have its first block, and no second one."""
    scheduler = Scheduler(8)
    scheduler.ceiling = 2
    add(scheduler, 5, priority=BULK)
    take_all(scheduler)
    streams = [
        add(scheduler, 5, priority=STREAM),
        add(scheduler, 5, priority=STREAM, max_workers=4),
    ]
    jobs = take_all(scheduler)
    assert sorted(job.position for job in jobs) == [0, 0]
    assert {job.transfer for job in jobs} == set(streams)


def test_a_stream_behind_a_busy_one_gets_its_block() -> None:
    """A stream with max_workers of its own that is busy hides no other stream that waits."""
    scheduler = Scheduler(8)
    waiting = add(scheduler, 9, priority=STREAM, max_workers=1)
    for _ in range(4):
        job = scheduler.take()
        assert job is not None
        scheduler.finish(job)
    scheduler.ceiling = 2
    busy = add(scheduler, 9, priority=STREAM, max_workers=4)
    assert [job.transfer for job in take_all(scheduler)] == [busy, busy, waiting]


def test_stalled_reads_hold_up_no_other_call() -> None:
    """While the jobs that the ceiling allows do not end, a few other calls get a job each."""
    scheduler = Scheduler(32)
    scheduler.ceiling = 2
    add(scheduler, 5)
    take_all(scheduler)
    calls = [add(scheduler, 5, priority=BULK) for _ in range(10)]
    jobs = take_all(scheduler)
    assert [job.transfer for job in jobs] == calls[:6]
    scheduler.finish(jobs[0])
    assert [job.transfer for job in take_all(scheduler)] == [calls[6]]


def test_streams_keep_to_the_workers_of_the_client() -> None:
    """Streams without max_workers of their own do not exceed the client's."""
    scheduler = Scheduler(3)
    scheduler.ceiling = 2
    add(scheduler, 5, priority=BULK)
    take_all(scheduler)
    for _ in range(4):
        add(scheduler, 1, priority=STREAM)
    assert len(take_all(scheduler)) == 1


def test_without_a_ceiling_nothing_changes() -> None:
    """The workers alone bound the jobs once there is no limit any more."""
    scheduler = Scheduler(8)
    scheduler.ceiling = 1
    add(scheduler, 10)
    take_all(scheduler)
    scheduler.ceiling = None
    assert len(take_all(scheduler)) == 7


def test_an_engine_follows_the_bandwidth() -> None:
    """An engine runs as many jobs at once as fit the rate, and more once there is no limit."""
    bandwidth = Bandwidth(1000)
    held = Held()
    with open_engine(6, bandwidth=bandwidth) as engine:
        found = futures(engine, shared(8, held, max_workers=6))
        for _ in range(2):
            assert held.inside.acquire(timeout=PATIENCE)
        assert held.most == 2
        bandwidth.set(None)
        held.opened.set()
        assert [future.result(PATIENCE) for future in found] == list(range(8))
