"""The pool that works as long as anybody can wait for it."""

from __future__ import annotations

import contextlib
import queue
from concurrent.futures import Future
from typing import Any

import pytest

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
    assert found[0].result(timeout=5) == 7


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
            thread.join(timeout=5)
            assert not thread.is_alive(), f"after an interrupt at statement {number}"
        if statements.count < number:
            return
    pytest.fail("shutdown has more statements than this test strikes")
