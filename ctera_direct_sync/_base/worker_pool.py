"""A thread pool that works as long as any thread of the process can wait for its results.

The standard pool refuses work once the main thread has ended, although a live thread may still wait
for a result. It also starts threads under locks that a signal handler or the collector can find held
by the very thread that they run on.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import logging
import os
from collections import deque
from typing import Any, Callable

from .cancellation import Gate
from .sync import (
    Empty,
    Future,
    SimpleQueue,
    Thread,
    ThreadPoolExecutor,
    get_ident,
    is_patched_late,
    monotonic,
    sleep,
    start_new_thread,
)

__all__ = ["WorkerPool", "log_error", "on_worker_thread"]

#: How often `shutdown` looks whether a greenlet in the place of a thread has ended.
_JOIN_STEP_S = 0.01

#: How long `shutdown` waits for a thread that a caller is starting.
_MAX_LAUNCH_S = 1.0

#: How long the end of the program waits for threads that are being started.
_MAX_EXIT_S = 2.0

#: The idents of the threads that run a pool's work.
_workers: set[int] = set()

#: One gate for each thread that is being started: it opens once that thread runs.
_starts: dict[Gate, None] = {}

#: The ident of the thread that ends the program, once it does.
_ending: list[int] = []

_Task = tuple["Future[Any]", Callable[[], Any]]


def on_worker_thread() -> bool:
    """Return whether a pool of this module runs the calling thread."""
    return get_ident() in _workers


def log_error(log: logging.Logger, text: str, *arguments: object) -> None:
    """Log the exception that is being handled. What a log handler raises ends no worker thread.

    Args:
        log: The logger.
        text: The message.
        *arguments: Its arguments.
    """
    if not on_worker_thread():
        log.exception(text, *arguments)
        return
    with contextlib.suppress(BaseException):
        log.exception(text, *arguments)


class WorkerPool(ThreadPoolExecutor):
    """A `ThreadPoolExecutor` of daemon threads, for callers that may be interrupted anywhere.

    Three things differ from the standard pool.

    - It accepts work until `shutdown`, also after the main thread has ended.
    - Its threads do not keep the interpreter alive.
      Callers that wait for a result do, unless they are daemons themselves.
    - `submit` takes no lock.
      A signal handler, the garbage collector or an exception can come at any point of it.
      At worst the pool then has one thread more than it needs.

    Args:
        max_workers: The most threads that the pool may have.
        thread_name_prefix: What the names of its threads begin with.
    """

    def __init__(self, max_workers: int, thread_name_prefix: str = "ctera-direct") -> None:
        super().__init__(max_workers, thread_name_prefix)
        self._limit = max_workers
        self._prefix = thread_name_prefix
        self._numbers = itertools.count()
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        # One token for each idle thread. The caller that takes a token may queue one task.
        self._idle: deque[None] = deque()
        # One entry for each thread that was asked for, whether it runs already or not.
        self._requests: list[None] = []
        self._started: list[Thread] = []
        # The idents of those that have not ended.
        self._running: set[int] = set()
        # One gate for each bare thread: it opens once the bare thread has started a real one.
        self._launches: deque[Gate] = deque()
        self._is_shut = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function on a thread of the pool.

        Args:
            fn: The function.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments.

        Returns:
            The future of its result.

        Raises:
            RuntimeError: The pool was shut down, or the system gives no thread and none is there.
        """
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[Any] = Future()
        task = (future, functools.partial(fn, *args, **kwargs))
        try:
            self._idle.pop()
        except IndexError:
            if len(self._requests) < self._limit:
                try:
                    self._start(task)
                except (RuntimeError, MemoryError):
                    if not (self._started or self._running):
                        # Other callers may have counted on this thread.
                        self._refuse_queued()
                        raise
                else:
                    return future
        self._tasks.put(task)
        if not self._requests:
            # The thread that this task was for could not be started meanwhile.
            self._refuse_queued()
        return future

    def _refuse_queued(self) -> None:
        """Resolve the futures of tasks that no thread will run."""
        while not (self._requests or self._started or self._running):
            try:
                task = self._tasks.get_nowait()
            except Empty:
                return
            if task is not None and task[0].set_running_or_notify_cancel():
                task[0].set_exception(RuntimeError("can't start new thread"))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more work, and end the threads once they have done what they have.

        Args:
            wait: Whether to wait for the threads. A thread of the pool never waits for itself.
            cancel_futures: Whether to cancel the work that no thread has begun.
        """
        try:
            self._is_shut = True
            if cancel_futures:
                self._cancel_tasks()
            self._tasks.put(None)
        except BaseException:
            # An interrupt must not leave threads that wait for ever. A second end does no harm.
            self._tasks.put(None)
            raise
        if not wait:
            return
        for launch in list(self._launches):
            launch.wait_for(_MAX_LAUNCH_S)
        # The list may still grow: a thread notes the one that it started before it ends itself.
        for thread in self._started:
            if thread.ident not in (None, get_ident()):
                self._join(thread)

    def _cancel_tasks(self) -> None:
        """Cancel the work that no thread has begun."""
        while True:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                return
            if task is not None:
                task[0].cancel()

    def _join(self, thread: Thread) -> None:
        if not is_patched_late():
            thread.join()
            return
        while thread.ident in self._running:
            sleep(_JOIN_STEP_S)

    def start_thread(self, fn: Callable[[], object]) -> None:
        """Run a function on a new thread.

        Args:
            fn: The function, called without arguments.

        Raises:
            RuntimeError: The system gives no thread, or the pool was shut down.
        """
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self._start((Future(), fn))

    def _start(self, task: _Task) -> None:
        """Start a thread that begins with `task`.

        `Thread.start` waits for its thread under a lock that an interrupt can leave locked.
        So only worker threads call it, which Python never interrupts. For any other caller a bare
        thread does.
        """
        try:
            self._requests.append(None)
            self._request(task)
        except BaseException:
            # An interrupt may have come before the entry was made. To take out another thread's entry
            # allows for one thread too many.
            with contextlib.suppress(IndexError):
                self._requests.pop()
            raise

    def _request(self, task: _Task) -> None:
        start = Gate()
        try:
            # The gate comes first: the end of the program waits for it, or is seen here.
            _starts[start] = None
            if _ending and get_ident() not in _ending:
                raise RuntimeError("can't start new thread as the program ends")
            if on_worker_thread():
                self._start_thread(task)
                _open(start)
            else:
                self._launches.append(start)
                start_new_thread(self._launch, (task, start))
        except BaseException:
            _open(start)
            raise

    def _start_thread(self, task: _Task) -> None:
        thread = Thread(
            target=self._run,
            args=(task,),
            name=f"{self._prefix}_{next(self._numbers)}",
            daemon=True,
        )
        thread.start()
        self._started.append(thread)

    def _launch(self, task: _Task, launch: Gate) -> None:
        """Start a thread from a bare one, or do its work where the system gives no second thread."""
        try:
            self._start_thread(task)
        except (RuntimeError, MemoryError):
            _open(launch)
            self._run(task)
        finally:
            _open(launch)

    def _run(self, task: _Task | None) -> None:
        ident = get_ident()
        _workers.add(ident)
        self._running.add(ident)
        try:
            while task is not None:
                _perform(*task)
                del task  # An idle thread keeps no result alive.
                # Read first: a task and then the shutdown may come after the queue was found empty.
                is_shut = self._is_shut
                try:
                    task = self._tasks.get_nowait()
                except Empty:
                    if is_shut:
                        return
                    self._idle.append(None)
                    task = self._tasks.get()
            # The end is for all threads, also for those that start right now.
            self._tasks.put(None)
        finally:
            self._running.discard(ident)
            _workers.discard(ident)


def _perform(future: Future[Any], call: Callable[[], Any]) -> None:
    """Run one task and resolve its future."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - into the future, as executors do
        future.set_exception(error)
        del future, call
    else:
        future.set_result(result)


def _open(start: Gate) -> None:
    """Note that a thread runs, or will not come."""
    _starts.pop(start, None)
    start.open()


@atexit.register
def _wait_for_starts() -> None:
    """As the program ends: wait for threads that are being started, and start no more.

    A new thread that takes its first step after the end of the interpreter crashes the process:
    `_PyThreadState_Init` follows pointers that are freed then (seen with Python 3.9). The hook is
    registered by the import, so it runs after the hooks of those that use this module.
    """
    _ending.append(get_ident())
    deadline = monotonic() + _MAX_EXIT_S
    for start in list(_starts):
        start.wait_for(max(0.0, deadline - monotonic()))


if hasattr(os, "register_at_fork"):
    # The threads that the parent was starting are not in the child.
    os.register_at_fork(after_in_child=_starts.clear)
