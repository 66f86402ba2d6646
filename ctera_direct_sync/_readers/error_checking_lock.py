"""A lock for code that a signal handler or the garbage collector may interrupt.

A plain lock deadlocks if a signal handler, or a finalizer that the collector runs, wants it while the
interrupted code of the same thread holds it. POSIX calls the remedy an error-checking mutex: the second
attempt of one thread is an error.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import Any, Callable, TypeVar

from .._base.sync import Lock

__all__ = ["ErrorCheckingLock"]

_Result = TypeVar("_Result")


class ErrorCheckingLock:
    """A lock that runs calls one at a time, and refuses a call from within another one.

    The owner is not stored: an interrupt could strike between taking the lock and storing it. The
    calling thread's own frames tell whether a call is under way there.

    Args:
        refusal: The message of the RuntimeError for a nested call.
    """

    def __init__(self, refusal: str) -> None:
        self._lock = Lock()
        self._refusal = refusal
        self._deferred: deque[Callable[[], object]] = deque()

    def run(self, call: Callable[..., _Result], *arguments: Any) -> _Result:
        """Return what `call(*arguments)` returns, called under the lock.

        Args:
            call: The call. It may be interrupted by any exception at any point.
            *arguments: Its arguments.

        Returns:
            Its result.

        Raises:
            RuntimeError: This thread is running a call of this lock already.
        """
        # A lock that is free is not held by this thread, and most are free.
        if self._lock.locked() and self._is_running_here():
            raise RuntimeError(self._refusal)
        # Only `with` gives the lock back whatever instruction an interrupt strikes at.
        with self._lock:
            if self._deferred:
                self._run_deferred()
            result = call(*arguments)
        if self._deferred:
            self._try_deferred()
        return result

    def defer(self, call: Callable[[], object]) -> None:
        """Run a call under the lock soon: now if the lock is free, else as its holder is done.

        Finalizers and signal handlers may use this. The lock is never waited for if this thread may
        hold it.

        Args:
            call: The call. It may run twice if an exception interrupts it.
        """
        self._deferred.append(call)
        self._try_deferred()

    def _try_deferred(self) -> None:
        # The holder looks at the deque after it has released the lock. So a call that is appended
        # while the lock is taken is not forgotten.
        while self._deferred and not self._lock.locked():
            with self._lock:
                self._run_deferred()

    def _run_deferred(self) -> None:
        while self._deferred:
            # It stays in the deque until it is done: an interrupt must not lose it.
            self._deferred[0]()
            self._deferred.popleft()

    def _is_running_here(self) -> bool:
        """Return whether this thread is in another call or deferred call of this lock."""
        codes = (ErrorCheckingLock.run.__code__, ErrorCheckingLock._try_deferred.__code__)
        # The first two frames are this one and the one of the call that asks.
        frame = sys._getframe(2)
        while frame is not None:
            if frame.f_code in codes and frame.f_locals.get("self") is self:
                return True
            frame = frame.f_back  # type: ignore[assignment]
        return False
