"""Threads that download files, as many at once as a tuner says."""

from __future__ import annotations

import contextvars
import errno
from collections import deque
from typing import Callable, Union

from .._base.cancellation import Cancelled
from .._base.sync import Lock, perf_counter
from .._base.worker_pool import WorkerPool
from ..exceptions import (
    BlockListConnectionError,
    BlockListTimeout,
    DirectIOAPIError,
    DownloadConnectionError,
    DownloadTimeout,
)
from .file_tuner import FileTuner, most_files

__all__ = ["FileWorkers", "Outcome", "Task"]

#: The bytes that were downloaded, the error that ended the download, or None if nothing was downloaded.
Outcome = Union[int, BaseException, None]
Task = Callable[[], Outcome]

#: Errors that a busy portal or storage causes, and not the file.
_OVERLOAD = (
    BlockListConnectionError, BlockListTimeout, DownloadConnectionError, DownloadTimeout,
)  # fmt: skip


class FileWorkers:
    """Runs downloads on threads of its own, in the context of the thread that made it.

    The thread that submits takes no lock, so an interrupt can strike it anywhere. At worst the workers
    are then one fewer.

    Args:
        max_files: The most downloads at once. None: found by measuring.
        memory: The bytes that all downloads may hold together, where their number is found.
        prefix: What the names of the threads begin with.

    Attributes:
        maximum: The most downloads that there may ever be at once.
    """

    def __init__(self, max_files: int | None, memory: int, prefix: str) -> None:
        self.maximum = most_files() if max_files is None else max_files
        self._tuner = FileTuner(self.maximum, memory) if max_files is None else None
        self._pool = WorkerPool(self.maximum, prefix)
        self._tasks: deque[Task] = deque()
        self._context = contextvars.copy_context()
        # One token for each thread that may begin. The thread that takes one starts another.
        first = self.maximum if self._tuner is None else self._tuner.limit
        self._tokens: deque[None] = deque([None] * first)
        # Only the workers take it. It guards the tuner and the number of threads.
        self._lock = Lock()
        self._allowed = first

    def submit(self, task: Task) -> None:
        """Run a task on a thread, in its turn.

        Args:
            task: Downloads a file. It raises nothing.

        Raises:
            RuntimeError: The system gives no thread.
        """
        self._tasks.append(task)
        self._start_one()

    def shutdown(self) -> None:
        """Drop the tasks that have not begun, and wait for the threads."""
        self._tasks.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start_one(self) -> None:
        try:
            self._tokens.pop()
        except IndexError:
            return
        try:
            self._pool.submit(self._run)
        except RuntimeError:
            self._tokens.append(None)
            raise

    # --- on the threads --------------------------------------------------------------------------

    def _run(self) -> None:
        """Run tasks until there is none, or until fewer threads are wanted."""
        while True:
            try:
                task = self._tasks.popleft()
            except IndexError:
                # The token comes first: a task that is submitted right now finds it, or is found here.
                self._tokens.append(None)
                if not self._tasks or not self._take_token():
                    return
                continue
            began = perf_counter()
            outcome = self._context.copy().run(task)
            del task
            if self._tuner is not None and not self._adapt(perf_counter() - began, outcome):
                return

    def _take_token(self) -> bool:
        try:
            self._tokens.pop()
        except IndexError:
            return False
        return True

    def _adapt(self, seconds: float, outcome: Outcome) -> bool:
        """Tell the tuner of a task that has ended. Return whether this thread goes on."""
        tuner = self._tuner
        assert tuner is not None
        with self._lock:
            if isinstance(outcome, BaseException):
                if _is_overload(outcome):
                    tuner.overloaded()
            elif not self._tasks:
                tuner.idle()
            elif outcome is not None:
                tuner.completed(seconds, outcome)
            missing = tuner.limit - self._allowed
            if missing < 0:
                self._allowed -= 1
                return False
            self._allowed += missing
        for _ in range(missing):
            self._tokens.append(None)
            if self._tasks:
                self._start_if_possible()
        return True

    def _start_if_possible(self) -> None:
        try:
            self._start_one()
        except RuntimeError:
            # The system gives no more threads, or the pool is being shut down. This thread goes on.
            return


def _is_overload(error: BaseException) -> bool:
    if isinstance(error, Cancelled) or getattr(error, "errno", None) == errno.ECANCELED:
        return False
    # The portal's "busy or failing" is of the class itself.
    return isinstance(error, _OVERLOAD) or type(error) is DirectIOAPIError
