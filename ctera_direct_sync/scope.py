"""Cancellation, and sharing one answer among all who wait for it."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Callable, Generic, TypeVar

__all__ = ["CancelScope", "Cancelled", "SingleFlight"]

T = TypeVar("T")


class Cancelled(Exception):
    """The work's scope was cancelled: unwind, deliver nothing. Never reaches the caller."""


class CancelScope:
    """What one call started and one :meth:`cancel` ends.

    A thread that is about to block says how to wake it (:meth:`attach`): cancelling shuts the sockets
    that threads are blocked on, and ends their waits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._aborts: dict[int, Callable[[], object]] = {}
        #: Whether :meth:`cancel` was called.
        self.cancelled = False

    def cancel(self) -> None:
        """Wake every attached thread; from now on each check raises. Any thread, any number of times."""
        self.cancelled = True
        self._ended.set()
        with self._lock:
            aborts = list(self._aborts.values())
            self._aborts.clear()
        for abort in aborts:
            abort()

    def check(self) -> None:
        """Raise Cancelled if the scope was cancelled."""
        if self.cancelled:
            raise Cancelled

    def attach(self, abort: Callable[[], object]) -> None:
        """``abort`` wakes the calling thread until it says :meth:`detach`; it replaces an earlier one."""
        with self._lock:
            self._aborts[threading.get_ident()] = abort
        # Checked after registering: a cancel in between either saw the entry or is seen here.
        if self.cancelled:
            self.detach()
            raise Cancelled

    def detach(self) -> None:
        """The calling thread is no longer blocked on anything that could be aborted."""
        with self._lock:
            self._aborts.pop(threading.get_ident(), None)

    def wait(self, seconds: float) -> None:
        """Sleep, or raise Cancelled as soon as the scope is cancelled."""
        if self._ended.wait(seconds):
            raise Cancelled


class SingleFlight(Generic[T]):
    """At most one call in flight per key; whoever asks meanwhile gets its outcome."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[object, Future[T]] = {}

    def run(self, key: object, call: Callable[[], T], scope: CancelScope) -> T:
        """``call()``, or the outcome of the one under way. Raises what that call raised."""
        while True:
            with self._lock:
                flight = self._flights.get(key)
                leader = flight is None
                if flight is None:
                    flight = self._flights[key] = Future()
            if leader:
                return self._lead(key, call, flight)
            self._await(flight, scope)
            error = flight.exception()
            if isinstance(error, Cancelled):
                continue  # The leader gave up for reasons of its own.
            if error is not None:
                raise error
            return flight.result()

    def _lead(self, key: object, call: Callable[[], T], flight: Future[T]) -> T:
        try:
            result = call()
        except BaseException as error:
            self._land(key)
            flight.set_exception(error if isinstance(error, Exception) else Cancelled())
            raise
        self._land(key)
        flight.set_result(result)
        return result

    def _land(self, key: object) -> None:
        with self._lock:
            del self._flights[key]

    @staticmethod
    def _await(flight: Future[T], scope: CancelScope) -> None:
        landed = threading.Event()
        flight.add_done_callback(lambda _: landed.set())
        scope.attach(landed.set)
        try:
            landed.wait()
        finally:
            scope.detach()
        scope.check()
