"""The number of files at once, found on simulated links whose time is the test's own."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections import Counter
from typing import Callable

import pytest

from ctera_direct_sync._base import descriptors
from ctera_direct_sync._engine.tuner import Tuner
from ctera_direct_sync._readers import file_workers
from ctera_direct_sync._readers.file_workers import FileWorkers, Outcome, most_files
from ctera_direct_sync.exceptions import BlockListTimeout, DirectIOError, NotFoundError

MIB = 1024 * 1024


class Link:
    """A portal and a storage that are asked all the time, for files of one size.

    A file takes its latency at least. All files share one interpreter and one line.
    """

    def __init__(
        self,
        latency: float,
        *,
        cpu: float = 0.002,
        size: int = 20_000,
        bandwidth: float = 1e9,
        maximum: int = 128,
        noise: float = 0.0,
    ) -> None:
        self.latency, self.cpu, self.size = latency, cpu, size
        self.bandwidth = bandwidth
        self.noise = noise
        self.chance = random.Random(1)
        self.now = self.used = 0.0
        self.files = 0
        self.spent: Counter[int] = Counter()
        self.tuner = Tuner(
            maximum,
            file_workers._INITIAL_FILES,
            minimum=file_workers._FEW_FILES,
            bytes_per_job=file_workers._BYTES_PER_FILE,
        )
        self.tuner.start(0.0, 0.0)

    def rate(self, files: int) -> float:
        """Files a second with a number of files at once."""
        return min(files / self.latency, 1 / self.cpu, self.bandwidth / self.size)

    def run(self, seconds: float) -> float:
        """Download for a while. Return the files a second."""
        end, before = self.now + seconds, self.files
        while self.now < end:
            files = self.tuner.limit
            rate = self.rate(files) * (1 + self.noise * (2 * self.chance.random() - 1))
            self.now += 1 / rate
            self.used += self.cpu
            self.files += 1
            if self.tuner.completed(self.size, files / rate, self.now):
                self.tuner.measure(self.now, self.used)
            self.spent[files] += 1 / rate
        return (self.files - before) / seconds

    def shares(self, seconds: float) -> dict[int, float]:
        """Download for a while. Return the share of the time that each number of files had."""
        self.spent.clear()
        self.run(seconds)
        return {files: spent / seconds for files, spent in self.spent.items()}


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("latency", [0.03, 0.06, 0.15])
def test_link_with_latency_is_filled(latency: float, noise: float) -> None:
    """Within two seconds so many files are under way that the interpreter is never idle."""
    link = Link(latency, noise=noise)
    link.run(2)
    assert link.run(5) > 0.9 / link.cpu
    assert link.tuner.limit < 3 * latency / link.cpu


def test_link_without_latency_keeps_the_first_number() -> None:
    """More threads would only compete for the interpreter."""
    link = Link(0.001)
    link.run(10)
    assert link.tuner.limit <= 12


def test_full_line_is_not_given_more_files() -> None:
    """What brings no more bytes a second is taken back."""
    link = Link(0.05, size=MIB // 2, bandwidth=20 * MIB)
    link.run(30)
    shares = link.shares(30)
    assert sum(share for files, share in shares.items() if files <= 8) > 0.8


def test_latency_that_grows_is_followed() -> None:
    """A link whose answers take longer gets more files."""
    link = Link(0.03)
    link.run(5)
    before = link.tuner.limit
    link.latency = 0.2
    link.run(30)
    assert link.tuner.limit > before


def test_maximum_is_kept() -> None:
    """The number never exceeds what the descriptors allow."""
    link = Link(1.0, maximum=20)
    link.run(60)
    assert link.tuner.limit == 20


def test_overload_halves_and_is_forgotten() -> None:
    """A portal that fails requests gets fewer at once, for a while."""
    link = Link(0.06)
    link.run(5)
    before = link.tuner.limit
    link.tuner.overloaded(link.now)
    assert link.tuner.limit == before // 2
    link.run(1)
    assert link.tuner.limit <= before // 2
    link.run(60)
    assert link.tuner.limit >= before * 0.7


def test_repeated_overload_leaves_one() -> None:
    """The number never reaches zero."""
    link = Link(0.06)
    for _ in range(20):
        link.tuner.overloaded(link.now)
    assert link.tuner.limit == 1


# --- descriptors ---------------------------------------------------------------------------------


def test_descriptors_bound_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process has open is no longer there for files."""
    used = len(os.listdir("/dev/fd"))
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda kind: (used + 100, used + 100))
    assert 9 <= most_files() <= 11


def test_no_free_descriptor_leaves_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is at its limit downloads one file at a time."""
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda kind: (8, 8))
    assert most_files() == 1


def test_lack_of_descriptors_is_found_in_causes() -> None:
    """The connection that cannot be opened is the cause of another error."""
    error = DirectIOError("no connection", 1)
    assert not file_workers.is_out_of_descriptors(error)
    error.__cause__ = OSError(errno.EMFILE, "too many open files")
    assert file_workers.is_out_of_descriptors(error)
    assert file_workers._is_overload(error)


# --- the threads ---------------------------------------------------------------------------------


def run_all(max_files: int | None, count: int, task: Callable[[], Outcome]) -> None:
    """Run a task many times, and wait for all of them."""
    done = threading.Semaphore(0)

    def counted() -> Outcome:
        try:
            return task()
        finally:
            done.release()

    workers = FileWorkers(max_files, "test-files")
    try:
        for _ in range(count):
            workers.submit(counted)
        for _ in range(count):
            assert done.acquire(timeout=30)
    finally:
        workers.shutdown()
    assert not any(each.name.startswith("test-files") for each in threading.enumerate())


def test_given_number_is_the_most_at_once() -> None:
    """A number that the user gave is kept exactly."""
    barrier = threading.Barrier(3)
    under_way: list[None] = []
    most: list[int] = []

    def task() -> Outcome:
        under_way.append(None)
        most.append(len(under_way))
        barrier.wait(30)
        under_way.pop()
        barrier.wait(30)
        return 1

    run_all(3, 9, task)
    assert max(most) == 3


def test_overload_leaves_fewer_threads_and_all_tasks_run() -> None:
    """Threads that are not wanted end, and the others do their work."""
    ran: list[None] = []

    def task() -> Outcome:
        ran.append(None)
        return BlockListTimeout("no answer", 1)

    run_all(None, 200, task)
    assert len(ran) == 200


@pytest.mark.parametrize("outcome", [None, 20_000, NotFoundError("none", 1)])
def test_all_tasks_run(outcome: Outcome) -> None:
    """Whatever becomes of a file, the next one is begun."""
    ran: list[None] = []

    def task() -> Outcome:
        ran.append(None)
        return outcome

    run_all(None, 500, task)
    assert len(ran) == 500


def test_shutdown_drops_what_has_not_begun() -> None:
    """The end waits for the tasks under way alone."""
    begun, go = threading.Semaphore(0), threading.Event()
    ran: list[None] = []

    def task() -> Outcome:
        ran.append(None)
        begun.release()
        go.wait(30)
        return 1

    workers = FileWorkers(2, "test-files")
    for _ in range(10):
        workers.submit(task)
    assert begun.acquire(timeout=30) and begun.acquire(timeout=30)
    ender = threading.Thread(target=workers.shutdown)
    ender.start()
    while workers._tasks:
        pass
    go.set()
    ender.join(30)
    assert not ender.is_alive() and len(ran) == 2
