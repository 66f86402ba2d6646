"""The synchronisation primitives that the package uses, in one place.

Modules take their locks, queues, threads and clocks from here.
A test can then run the same code under a scheduler of its own.

What waits, and what starts or tells threads apart, is looked up at each use. gevent may patch the
standard library after this module was imported, as it does for `gunicorn --preload -k gevent`. A lock or
queue that is made from then on is gevent's, and lets other greenlets run while a thread waits for it.
"""

from __future__ import annotations

import _thread
import queue
import threading
import time
from _thread import RLock as RLock
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from queue import Empty
from threading import TIMEOUT_MAX, Thread
from time import monotonic, perf_counter, process_time
from typing import TYPE_CHECKING, Any, Callable

__all__ = [
    "CancelledError",
    "Empty",
    "Executor",
    "Future",
    "Lock",
    "RLock",
    "SimpleQueue",
    "TIMEOUT_MAX",
    "Thread",
    "ThreadPoolExecutor",
    "current_thread",
    "get_ident",
    "is_patched_late",
    "monotonic",
    "perf_counter",
    "process_time",
    "sleep",
    "start_new_thread",
]

if TYPE_CHECKING:
    from queue import SimpleQueue
    from threading import Lock
else:

    def Lock() -> Any:
        """Return a new `threading.Lock`."""
        return threading.Lock()

    def SimpleQueue() -> Any:
        """Return a new `queue.SimpleQueue`."""
        return queue.SimpleQueue()


_start_at_import = _thread.start_new_thread


def is_patched_late() -> bool:
    """Return whether gevent patched the standard library after this module was imported.

    `Thread.join` then waits for ever: the thread's end is told by a lock that nothing opens.
    """
    return _thread.start_new_thread is not _start_at_import


def get_ident() -> int:
    """Return the number of the calling thread."""
    return threading.get_ident()


def current_thread() -> Thread:
    """Return the calling thread."""
    return threading.current_thread()


def sleep(seconds: float) -> None:
    """Suspend the calling thread."""
    time.sleep(seconds)


def start_new_thread(function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    """Start a bare thread, without the handshake of `threading.Thread.start`."""
    _thread.start_new_thread(function, arguments)
