"""Iterating over the jobs of a started transfer, in file order or as they end."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Callable, TypeVar

from .._base import waits
from .._base.cancellation import Cancelled
from .._base.sync import Empty, perf_counter, sleep
from .engine import STREAM, Engine, Job, Transfer
from .transfer import State

__all__ = ["as_completed", "in_order"]

T = TypeVar("T")

#: A consumer that waited less than this for a job is served by fast workers.
_FAST_WAIT_S = 0.0005
#: How long it then sleeps for each queued job: less than any job takes, so no worker runs dry.
_BATCH_DELAY_PER_QUEUED_JOB_S = 0.0001
#: The longest of these sleeps, and the number of queued jobs below which there is none.
_MAX_BATCH_DELAY_S = 0.005
_MIN_BATCHED_JOBS = 16


class _WakeupBatcher:
    """Lets one wake-up of a consumer pick up several results.

    A consumer that is woken takes the interpreter's lock from the very worker that woke it. For one
    block in several milliseconds that is nothing. For thousands a second it costs the workers a tenth
    of their time. So if the consumer waited less than `_FAST_WAIT_S` for the last job, it sleeps
    before it takes the next ones.
    """

    def __init__(self) -> None:
        self._is_fast = False

    def wait(self, transfer: Transfer[Any], wait: Callable[..., T], *arguments: Any) -> T:
        """Return what `wait(*arguments)` returns, after a sleep that leaves no worker idle."""
        queued = len(transfer.queue)
        if self._is_fast and queued >= _MIN_BATCHED_JOBS:
            sleep(min(_MAX_BATCH_DELAY_S, _BATCH_DELAY_PER_QUEUED_JOB_S * queued))
        began = perf_counter()
        result = wait(*arguments)
        self._is_fast = perf_counter() - began < _FAST_WAIT_S
        return result


def in_order(engine: Engine, transfer: Transfer[T]) -> Generator[Job[T], None, None]:
    """Iterate over the jobs of an ordered transfer, each once it has ended.

    Args:
        engine: The engine that the transfer was started on.
        transfer: The transfer.

    Yields:
        The jobs in file order. Each is consumed at the next step.

    Raises:
        Cancelled: The transfer was cancelled, or the engine was closed.
        RuntimeError: The engine has failed.
    """
    batcher = _WakeupBatcher()
    while True:
        engine.check_usable(transfer)
        job = waits.get(transfer.results)
        if job is None:
            break
        if not job.future.done():
            batcher.wait(transfer, job.future.wait)
        if job.position == 0 and transfer.priority == STREAM:
            engine.close_stream_window()
        yield job
        engine.consume(job)
        del job
    _check_complete(engine, transfer)


def as_completed(engine: Engine, transfer: Transfer[T]) -> Generator[Job[T], None, None]:
    """Iterate over the jobs of an unordered transfer as they end.

    Args:
        engine: The engine that the transfer was started on.
        transfer: The transfer.

    Yields:
        The jobs. Each is consumed at the next step.

    Raises:
        Cancelled: The transfer was cancelled, or the engine was closed.
        RuntimeError: The engine has failed.
    """
    batcher = _WakeupBatcher()
    while True:
        engine.check_usable(transfer)
        job: Job[T] | None
        try:
            job = transfer.results.get_nowait()
        except Empty:
            job = batcher.wait(transfer, waits.get, transfer.results)
        if job is None:
            break
        yield job
        engine.consume(job)
        del job  # While waiting for the next, the last one's result must be gone.
    _check_complete(engine, transfer)


def _check_complete(engine: Engine, transfer: Transfer[Any]) -> None:
    """Raise unless all pieces were worked on."""
    if transfer.state is not State.COMPLETE:
        engine.check_usable(transfer)
        if transfer.failure is not None:
            raise transfer.failure
        raise Cancelled
