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
