"""Cancellation, and sharing one answer among all callers that wait for it.

Any thread may be interrupted at any point: by a signal handler that closes the client, by an exception
out of one, or by the garbage collector that ends a forgotten iteration. Therefore nothing here holds a
lock that another step could wait for. Each step is one atomic operation of a built-in container.
"""

from __future__ import annotations

import contextlib
import copy
from collections import deque
from typing import Callable, Generic, TypeVar

from .sync import TIMEOUT_MAX, Lock, SimpleQueue, get_ident
from .waits import STEP_S, get

__all__ = ["Attachment", "CancelScope", "Cancelled", "Gate", "SingleFlight"]

T = TypeVar("T")

#: How long a thread waits for the end of an abort that another thread has begun.
#: An abort takes microseconds, unless a signal handler interrupts it and waits for this very thread.
_MAX_ABORT_S = 1.0


class Cancelled(Exception):
    """The scope of the work was cancelled: unwind, and deliver nothing. It never reaches the caller."""


class Gate:
    """A door that opens once and stays open.

    `threading.Event` does the same by a condition, whose lock an interrupt can leave locked. A
    `SimpleQueue` will not do, either: if the system holds its `get` up for longer than the timeout, it
    waits for ever (CPython before 3.13: the remaining time becomes negative, which means no limit).
    """

    __slots__ = ("_latch", "is_open")

    def __init__(self) -> None:
        # Locked until the gate opens. From then on each thread that gets it gives it back.
        self._latch = Lock()
        self._latch.acquire()
        #: Whether `open` was called.
        self.is_open = False

    def open(self) -> None:
        """Let all waiting threads pass, now and later. It may be called again."""
        self.is_open = True
        self._unlatch()

    def _unlatch(self) -> None:
        # Two threads may open at once: the second finds it open.
        with contextlib.suppress(RuntimeError):
            self._latch.release()

    def wait(self) -> None:
        """Block until the gate is open."""
        # By steps, also because an interrupt may have lost the release that was to end the wait.
        while not self.wait_for(STEP_S):
            pass

    def wait_for(self, seconds: float) -> bool:
        """Block until the gate is open, at most for `seconds`. Return whether it is open."""
        if not self.is_open:
            try:
                self._latch.acquire(timeout=min(seconds, TIMEOUT_MAX))
            finally:
                # The latch is for the next thread that waits, also where an interrupt ends this one.
                if self.is_open:
                    self._unlatch()
        return self.is_open


#: The claim of the thread itself. Any other is a canceller's.
_THREAD = None


class Attachment:
    """What wakes one blocked thread. The thread and the canceller both claim it; the first one wins."""

    __slots__ = ("_abort", "_claims")

    def __init__(self, abort: Callable[[], object]) -> None:
        self._abort = abort
        # A canceller's claim is a gate, which opens once the abort is over. Only a canceller makes
        # one: each request has an attachment, and hardly any is aborted.
        self._claims: list[Gate | None] = []

    def abort(self) -> None:
        """Wake the thread, unless it has detached."""
        self._claims.append(Gate())
        claim = self._claims[0]
        if claim is _THREAD:
            return
        # Each canceller does it, also where another one has begun: that one may have been interrupted
        # by this very call, and would go on only after it.
        try:
            self._abort()
        finally:
            claim.open()

    def detach(self) -> bool:
        """Return True if `abort` never wakes the thread, False once it has done so."""
        self._claims.append(_THREAD)
        claim = self._claims[0]
        if claim is _THREAD:
            return True
        claim.wait_for(_MAX_ABORT_S)
        return False


class CancelScope:
    """The work of one call, which one `cancel` ends.

    A thread that is about to block says how to wake it (`attach`). Cancelling shuts the sockets that
    threads are blocked on, and ends their waits.

    Attributes:
        cancelled: Whether `cancel` was called.
        priority: How urgent the work is among all that waits for bandwidth: lower goes first.
    """

    priority = 1

    def __init__(self) -> None:
        self._attachments: dict[int, Attachment] = {}
        self._ended = Gate()
        self.cancelled = False

    def cancel(self) -> None:
        """Wake every attached thread. From now on each check raises.

        Any thread may call it, any number of times, also from a signal handler or a finalizer.
        """
        self.cancelled = True
        self._ended.open()
        for attachment in self._attachments.copy().values():
            attachment.abort()

    def check(self) -> None:
        """Raise Cancelled if the scope was cancelled."""
        if self.cancelled:
            raise Cancelled

    def attach(self, abort: Callable[[], object]) -> Attachment:
        """Register what wakes the calling thread until `detach`.

        Args:
            abort: Called by `cancel` on another thread. It replaces an earlier one of this thread.

        Returns:
            The registration.

        Raises:
            Cancelled: The scope was cancelled. Nothing is registered then.
        """
        ident = get_ident()
        attachment = self._attachments.pop(ident, None)
        if attachment is not None:
            attachment.detach()
        attachment = self._attachments[ident] = Attachment(abort)
        # Checked after registering: a cancel in between either saw the entry or is seen here.
        if self.cancelled:
            self.detach()
            raise Cancelled
        return attachment

    def detach(self) -> bool:
        """Forget what `attach` registered: the calling thread is no longer blocked.

        Returns:
            False if `cancel` has called the abort. What the thread was blocked on is of no more use.
        """
        attachment = self._attachments.pop(get_ident(), None)
        return attachment is None or attachment.detach()

    def wait(self, seconds: float) -> None:
        """Sleep, or raise Cancelled as soon as the scope is cancelled."""
        if self._ended.wait_for(seconds):
            raise Cancelled


class _Flight(Generic[T]):
    """One call under way, and the queues of those that wait for its end."""

    __slots__ = ("error", "landed", "result", "waiting")

    def __init__(self) -> None:
        self.result: T | None = None
        # What the others get where an interrupt ends the call.
        self.error: BaseException | None = Cancelled()
        self.landed = False
        self.waiting: deque[SimpleQueue[None]] = deque()

    def land(self) -> None:
        """Wake all that wait."""
        self.landed = True
        for queue in list(self.waiting):
            queue.put(None)


class SingleFlight(Generic[T]):
    """Makes at most one call per key at a time. Callers that ask meanwhile share its outcome."""

    def __init__(self) -> None:
        self._flights: dict[object, _Flight[T]] = {}

    def run(self, key: object, call: Callable[[], T], scope: CancelScope) -> T:
        """Return what `call` returns, or the outcome of the call that is under way for `key`.

        Args:
            key: What is asked for.
            call: Asks for it.
            scope: The scope of the caller, which ends its waiting.

        Returns:
            The result of the call.

        Raises:
            Cancelled: The caller's scope was cancelled.
            Exception: What the call raised. Each caller gets an object of its own.
        """
        while True:
            own: _Flight[T] = _Flight()
            # An interrupt may come at any statement, also at one of the first clean-up.
            try:
                try:
                    flight = self._flights.setdefault(key, own)
                    if flight is own:
                        return self._lead(call, flight)
                finally:
                    self._end(key, own)
            finally:
                self._end(key, own)
            self._await(flight, scope)
            error = flight.error
            if isinstance(error, Cancelled):
                continue  # The leader gave up for reasons of its own.
            if error is not None:
                raise _copy_of(error)
            return flight.result  # type: ignore[return-value]

    def _end(self, key: object, own: _Flight[T]) -> None:
        """Let the next caller lead, and wake those that wait for this one. It may be called again."""
        if self._flights.get(key) is own:
            self._flights.pop(key, None)
        own.land()

    @staticmethod
    def _lead(call: Callable[[], T], flight: _Flight[T]) -> T:
        try:
            result = flight.result = call()
            flight.error = None
        except Exception as error:
            flight.error = _copy_of(error)
            raise
        return result

    @staticmethod
    def _await(flight: _Flight[T], scope: CancelScope) -> None:
        queue: SimpleQueue[None] = SimpleQueue()
        flight.waiting.append(queue)
        # Checked after registering: the leader either saw the queue or has landed.
        if not flight.landed:
            scope.attach(lambda: queue.put(None))
            try:
                get(queue)
            finally:
                scope.detach()
        scope.check()


def _copy_of(error: BaseException) -> BaseException:
    """Return an equal exception without traceback: raising one object twice makes its traceback grow."""
    try:
        return copy.copy(error).with_traceback(None)
    except Exception:  # noqa: BLE001 - some classes cannot be copied
        return error
