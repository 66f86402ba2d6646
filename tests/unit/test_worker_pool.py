"""The pool that works as long as anybody can wait for it."""

from __future__ import annotations

import contextlib
import queue
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable

import pytest

from ctera_direct_sync._base import worker_pool
from ctera_direct_sync._base.worker_pool import WorkerPool
from tests.support.interrupts import at_statement, interrupt


def test_task_right_before_shutdown_is_run() -> None:
    """A thread that found no task looks again, if the pool was open when it looked."""
    pool = WorkerPool(1)
    found: list[Future[Any]] = []

    class Tasks(queue.SimpleQueue):  # type: ignore[type-arg]
        """A queue that gets a task, and its pool a shutdown, right after it was found empty."""

        def get_nowait(self) -> Any:
            """Raise Empty."""
            if not found:
                found.append(pool.submit(int, "7"))
                pool.shutdown(wait=False)
                raise queue.Empty
            return super().get_nowait()

    pool._tasks = Tasks()
    pool.submit(int).result()
    pool.shutdown()
    assert found[0].result(timeout=20) == 7


def test_interrupt_at_any_statement_of_submit() -> None:
    """After a KeyboardInterrupt the pool still runs what it is given."""
    for number in range(1, 1000):
        pool = WorkerPool(1)
        with contextlib.suppress(KeyboardInterrupt), at_statement(number, interrupt) as statements:
            pool.submit(int)
        assert pool.submit(int, "7").result(timeout=20) == 7
        pool.shutdown()
        if statements.count < number:
            return
    pytest.fail("submit has more statements than this test strikes")


def test_interrupt_at_any_statement_of_shutdown() -> None:
    """A pool that was told to end has no thread left, although KeyboardInterrupt struck."""
    for number in range(1, 1000):
        pool = WorkerPool(1)
        pool.submit(int).result()
        with contextlib.suppress(KeyboardInterrupt), at_statement(number, interrupt) as statements:
            pool.shutdown(cancel_futures=True)
        if not pool._is_shut:
            pool.shutdown()  # The interrupt came before the first statement.
        for thread in pool._started:
            thread.join(timeout=20)
            assert not thread.is_alive(), f"after an interrupt at statement {number}"
        if statements.count < number:
            return
    pytest.fail("shutdown has more statements than this test strikes")


def test_end_of_the_program_waits_for_starting_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that takes its first step after the interpreter's end would crash the process."""
    monkeypatch.setattr(worker_pool, "_ending", [])
    begun, may_start = threading.Event(), threading.Event()
    order = []
    start = worker_pool.start_new_thread

    def start_late(function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        def run() -> None:
            begun.set()
            may_start.wait()
            order.append("start")
            function(*arguments)

        start(run, ())

    monkeypatch.setattr(worker_pool, "start_new_thread", start_late)
    pool = WorkerPool(2)
    result = pool.submit(int, "7")

    def end() -> None:
        worker_pool._wait_for_starts()
        order.append("end")

    ends = threading.Thread(target=end)
    begun.wait()
    ends.start()
    ends.join(0.05)
    may_start.set()
    ends.join()
    assert result.result(timeout=20) == 7 and order == ["start", "end"] and not worker_pool._starts
    pool.shutdown()


def test_no_thread_is_started_at_the_end_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the thread that ends the program may still ask for threads, as hooks at exit do."""
    monkeypatch.setattr(worker_pool, "_ending", [])
    pool = WorkerPool(2)
    worker_pool._wait_for_starts()
    with ThreadPoolExecutor(1) as other, pytest.raises(RuntimeError, match="program ends"):
        other.submit(pool.submit, int).result()
    assert pool.submit(pool.submit, int, "7").result().result() == 7
    pool.shutdown()
