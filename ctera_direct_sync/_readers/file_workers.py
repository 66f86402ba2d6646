"""Threads that download files, as many at once as the engine's model of the link says.

A small file costs little processor time, and long waits for two answers. The interpreter runs one thread
at a time. So the number that suffices is the time that a file takes while few are under way, divided by
the processor time that it costs: that is what the model tries.
"""

from __future__ import annotations

import contextvars
import errno
import os
from collections import deque
from typing import Callable, Union

from .._base.cancellation import Cancelled
from .._base.descriptors import max_descriptors
from .._base.sync import Lock, monotonic, process_time
from .._base.worker_pool import WorkerPool
from .._engine.tuner import Tuner
from ..exceptions import (
    BlockListConnectionError,
    BlockListTimeout,
    DirectIOAPIError,
    DirectIOError,
    DownloadConnectionError,
    DownloadTimeout,
)

__all__ = ["FileWorkers", "Outcome", "Task", "is_out_of_descriptors", "most_files"]

#: The bytes that were downloaded, the error that ended the download, or None if nothing was downloaded.
Outcome = Union[int, BaseException, None]
Task = Callable[[], Outcome]

#: Errors that a busy portal or storage causes, and not the file.
_OVERLOAD = (
    BlockListConnectionError, BlockListTimeout, DownloadConnectionError, DownloadTimeout,
)  # fmt: skip


#: The number to start with. Without latency, more threads only compete for the interpreter's lock.
_INITIAL_FILES = 8
#: The number that large files get, whose blocks already keep the link busy.
_FEW_FILES = 4
_MOST_FILES = 128
#: A file costs as much as this many bytes of other files, when progress is measured.
_BYTES_PER_FILE = 512 * 1024
#: Descriptors that a file may need: folders, part file, journal, and two connections.
_DESCRIPTORS_PER_FILE = 10
#: Descriptors in use where the system does not tell.
_USUAL_DESCRIPTORS = 64

_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
#: Causes of an error that are looked at.
_MAX_CAUSES = 8


def most_files() -> int:
    """Return the most files at once for which this process has descriptors left."""
    free = max_descriptors() - _used_descriptors()
    return max(1, min(_MOST_FILES, free // _DESCRIPTORS_PER_FILE))


def _used_descriptors() -> int:
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return _USUAL_DESCRIPTORS


def is_out_of_descriptors(error: BaseException | None) -> bool:
    """Return whether an error came of a lack of descriptors, which other files give back."""
    for _ in range(_MAX_CAUSES):
        if error is None:
            break
        if getattr(error, "errno", None) in _OUT_OF_DESCRIPTORS:
            return True
        error = error.__cause__
    return False


class FileWorkers:
    """Runs downloads on threads of its own, in the context of the thread that made it.

    The thread that submits takes no lock, so an interrupt can strike it anywhere. At worst the workers
    are then one fewer.

    Args:
        max_files: The most downloads at once. None: found by measuring.
        prefix: What the names of the threads begin with.

    Attributes:
        maximum: The most downloads that there may ever be at once.
    """

    def __init__(self, max_files: int | None, prefix: str) -> None:
        self.maximum = most_files() if max_files is None else max_files
        self._tuner = (
            Tuner(
                self.maximum,
                _INITIAL_FILES,
                minimum=_FEW_FILES,
                bytes_per_job=_BYTES_PER_FILE,
            )
            if max_files is None
            else None
        )
        self._process = os.getpid()
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

    def is_child(self) -> bool:
        """Return whether this process is a forked child of the one that made the threads."""
        return os.getpid() != self._process

    def check_process(self) -> None:
        """Raise an error in a forked child, where no thread works for the tasks: a hook may fork amid them.

        Raises:
            DirectIOError: This process is not the one that made the threads.
        """
        if self.is_child():
            raise DirectIOError(
                "The call was begun before this process was forked, so start it anew here",
                errno=errno.ECANCELED,
            )

    def note_overload(self) -> None:
        """Have fewer downloads at once, if their number is found. A task calls this on its thread."""
        if self._tuner is not None:
            with self._lock:
                self._tuner.overloaded(monotonic())

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
            began = monotonic()
            if self._tuner is not None and self._tuner.wants_start:
                with self._lock:
                    self._tuner.start(began, process_time())
            outcome = self._context.copy().run(task)
            del task
            if self._tuner is not None and not self._adapt(began, outcome):
                return

    def _take_token(self) -> bool:
        try:
            self._tokens.pop()
        except IndexError:
            return False
        return True

    def _adapt(self, began: float, outcome: Outcome) -> bool:
        """Tell the tuner of a task that has ended. Return whether this thread goes on."""
        tuner = self._tuner
        assert tuner is not None
        with self._lock:
            now = monotonic()
            if isinstance(outcome, BaseException):
                if _is_overload(outcome):
                    tuner.overloaded(now)
            elif not self._tasks:
                tuner.idle()
            elif outcome is not None and tuner.completed(outcome, now - began, now):
                tuner.measure(now, process_time())
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
    if is_out_of_descriptors(error):
        return True
    if isinstance(error, Cancelled) or getattr(error, "errno", None) == errno.ECANCELED:
        return False
    # The portal's "busy or failing" is of the class itself.
    return isinstance(error, _OVERLOAD) or type(error) is DirectIOAPIError
