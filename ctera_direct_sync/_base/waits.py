"""Waits without a timeout that still let signal handlers run.

Python runs signal handlers on the main thread alone. If another thread receives the signal, nothing wakes
a main thread that waits for a lock. Linux gives a process's signal to any thread that starts a thread at
that moment, and on Windows Ctrl-C wakes no lock at all. So these waits return to Python each second.
"""

from __future__ import annotations

from typing import TypeVar

from .sync import Empty, Lock, SimpleQueue, Thread

__all__ = ["STEP_S", "acquire", "get", "join"]

T = TypeVar("T")

#: How long one wait lasts. A handler runs that much late at most.
STEP_S = 1.0


def get(queue: SimpleQueue[T]) -> T:
    """Wait for the next item of a queue, and return it.

    `SimpleQueue.get` may exceed its timeout (see `Gate`). Then it waits as it would without one: the
    item still comes.
    """
    while True:
        try:
            return queue.get(timeout=STEP_S)
        except Empty:
            continue


def acquire(lock: Lock) -> None:
    """Wait for a lock, and hold it."""
    while not lock.acquire(timeout=STEP_S):
        pass


def join(thread: Thread) -> None:
    """Wait for the end of a thread."""
    while thread.is_alive():
        thread.join(STEP_S)
