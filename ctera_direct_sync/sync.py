"""The synchronisation primitives that the package uses, in one place.

Modules take their locks, queues, threads and clocks from here.
A test can then run the same code under a scheduler of its own.
"""

from __future__ import annotations

from _thread import RLock as RLock
from _thread import start_new_thread as start_new_thread
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Lock, Thread, get_ident, local
from time import monotonic, perf_counter, sleep

__all__ = [
    "CancelledError",
    "Empty",
    "Executor",
    "Future",
    "Lock",
    "RLock",
    "SimpleQueue",
    "Thread",
    "ThreadPoolExecutor",
    "get_ident",
    "local",
    "monotonic",
    "perf_counter",
    "sleep",
    "start_new_thread",
]
