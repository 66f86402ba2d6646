"""Cancellation, and sharing one answer among all callers that wait for it.

Any thread may be interrupted at any point: by a signal handler that closes the client, by an exception
out of one, or by the garbage collector that ends a forgotten iteration. Therefore nothing here holds a
lock that another step could wait for. Each step is one atomic operation of a built-in container.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import itertools
import weakref
from collections import deque
from typing import Any, Callable, Generic, NamedTuple, Protocol, TypeVar

from .sync import TIMEOUT_MAX, Lock, SimpleQueue, get_ident, monotonic
from .waits import STEP_S, get

__all__ = [
    "Attachment",
    "CancelScope",
    "Cancelled",
    "Failure",
    "Gate",
    "Race",
    "RaceTrack",
    "RequestScope",
    "Sample",
    "SingleFlight",
    "Twin",
]

T = TypeVar("T")

#: How long a request waits, at most, before it looks whether it was cut.
_CUT_STEP_S = 0.05

#: The samples that are kept until the watcher reads them.
_MAX_SAMPLES = 2048

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
        is_last: Whether all of the work has begun, so that nothing of it waits for a thread.
        waiting: How many pieces of the work wait for a thread. Infinity: too many to be counted.
    """

    priority = 1
    is_last = False
    waiting = 0.0

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


# --- races -----------------------------------------------------------------------------------------------


#: How one request went: its origin, when it was begun, when the head of its answer was there, when its body
#: had ended, the bytes of that (0: they tell nothing), whether it went over a new connection, and whether
#: it was a second request. A plain tuple: each request makes one.
Sample = tuple[str, float, float, float, int, bool, bool]


class Failure(NamedTuple):
    """A request that failed because of the server or the network."""

    origin: str
    """Scheme, host and port of its URL."""
    blocked_s: float
    """Seconds for which the server asked for no further request."""
    is_twin: bool
    """Whether it was a second request for the same."""


class _Body(Protocol):
    """An answer whose body is being read."""

    @property
    def received(self) -> int:
        """The bytes so far, or -1 if they are not counted."""

    @property
    def is_waiting(self) -> bool:
        """Whether the reader waits for its share of the bandwidth."""


class RaceTrack:
    """What all races of a client share. Each step is one atomic operation, so no lock is needed.

    Attributes:
        races: Those under way. A forgotten one is dropped by the watcher.
        samples: How requests went, for the watcher.
        failures: Requests that failed, for the same.
        pace_limits: Seconds per byte by origin, above which a connection is not used again.
        tickets: A number for each request.
        losses: What a request may raise so that its twin goes on. Anything else ends the race.
        is_asleep: Whether the watcher waits to be woken.
        enabled: Whether requests race at all.
        retired: How many connections were given up because they were slow.
    """

    losses: tuple[type[Exception], ...] = ()
    enabled = False

    def __init__(self) -> None:
        self.start_over()

    def start_over(self) -> None:
        """Forget everything, as a forked child must."""
        self.races: dict[int, weakref.ref[Race[Any]]] = {}
        self.samples: deque[Sample] = deque(maxlen=_MAX_SAMPLES)
        self.failures: deque[Failure] = deque(maxlen=_MAX_SAMPLES)
        self.pace_limits: dict[str, float] = {}
        self.tickets = itertools.count()
        self.is_asleep = True
        self.retired = 0
        #: Wakes the watcher. Empty before there is one.
        self.bells: list[SimpleQueue[None]] = []

    def wake(self) -> None:
        """Wake the watcher: there is a race."""
        if self.bells:
            self.bells[0].put(None)
        else:
            self.start()

    def start(self) -> None:
        """Start the watcher, if there is reason to."""


class RequestScope(CancelScope):
    """The scope of one request among those that ask for the same. It can be cut alone.

    Its sockets register with the scope of the call, so a cancel of the call shuts them as well.

    Args:
        call: The scope of the call.
        track: Where samples go.

    Attributes:
        is_cut: Whether another request has won.
        origin: Scheme, host and port of where the request goes; "" before it begins.
        sent_at: When the request was begun. 0: it is not under way.
        answered_at: When the head of the answer was there. 0: not yet.
        body: The answer whose body is being read, or None.
        size: The declared bytes of that body if its speed tells about the network. 0: it does not.
        ticket: What `RaceTrack.tickets` gave for the begin.
        progress: The bytes that the watcher saw, and when it saw more than before.
        excused_s: Seconds in which this process did not run.
        is_cold: Whether it goes over a new connection.
        is_limited: Whether the client's own limit of the bandwidth says how long the body takes.
        is_twin: Whether it is a second request for the same.
    """

    # Each block has such an object. Values of the class cost less to make.
    _attachment: Attachment | None = None
    is_cut = False
    origin = ""
    sent_at = answered_at = 0.0
    body: _Body | None = None
    size = ticket = 0
    progress = -1, 0.0
    excused_s = 0.0
    is_cold = False
    is_limited = False
    is_twin = False

    def __init__(self, call: CancelScope, track: RaceTrack) -> None:
        # Not the parent class's: the scope of the call has all that it would make.
        self.call = call
        self.track = track

    @property
    def priority(self) -> int:  # type: ignore[override]
        """How urgent the call is."""
        return self.call.priority

    @property
    def cancelled(self) -> bool:  # type: ignore[override]
        """Whether the call was cancelled, or this request was cut."""
        return self.is_cut or self.call.cancelled

    def cut(self) -> None:
        """End this request alone. Any thread may call it."""
        self.is_cut = True
        current = self._attachment
        if current is not None:
            current.abort()

    def cancel(self) -> None:
        """Cancel the call."""
        self.call.cancel()

    def check(self) -> None:
        """Raise Cancelled if the call was cancelled or this request was cut."""
        if self.is_cut or self.call.cancelled:
            raise Cancelled

    def attach(self, abort: Callable[[], object]) -> Attachment:
        """Register what wakes the calling thread, as `CancelScope.attach`."""
        attachment = self._attachment = self.call.attach(abort)
        # Checked after registering: a cut in between either saw the attachment or is seen here.
        if self.is_cut:
            self.detach()
            raise Cancelled
        return attachment

    def detach(self) -> bool:
        """Forget what `attach` registered, as `CancelScope.detach`."""
        return self.call.detach()

    def wait(self, seconds: float) -> None:
        """Sleep, or raise Cancelled soon after the request was cut."""
        self.check()
        while seconds > _CUT_STEP_S:
            self.call.wait(_CUT_STEP_S)
            self.check()
            seconds -= _CUT_STEP_S
        self.call.wait(seconds)


class Twin(RequestScope):
    """The scope of a second request for the same.

    Attributes:
        ended: Open once no thread works for the twin, or the call was cancelled.
        has_ended: Whether no thread works for it.
        began: When it was begun.
    """

    is_twin = True

    def __init__(self, call: CancelScope, track: RaceTrack) -> None:
        super().__init__(call, track)
        self.ended = Gate()
        self.has_ended = False
        self.began = monotonic()
        # The first claim decides whether the twin runs: its thread's True, or the race's False.
        self._claims: list[bool] = []

    def begin(self) -> bool:
        """Claim the twin for the calling thread. Return False if it was withdrawn."""
        self._claims.append(True)
        return self._claims[0]

    def withdraw(self) -> bool:
        """Keep the twin from beginning. Return False if it has begun."""
        self._claims.append(False)
        return not self._claims[0]

    def end(self) -> None:
        """Note that no thread works for the twin."""
        self.has_ended = True
        self.ended.open()


class Race(RequestScope, Generic[T]):
    """A request whose twin, if it gets one, may win. It is the scope of the first of the two.

    The first that ends well claims the race, and the other one is cut. The thread of the first request
    delivers the result of either. It alone fails the call, once neither request goes on.

    Args:
        call: The scope of the call.
        track: What the races of the client share.
        ask_again: Asks for the same, in memory of its own. It runs on another thread. Its arguments are
            the scope of the twin and why there is one.
        cost: The bytes of that memory.

    Attributes:
        twin: The scope of the present twin, or None.
        twins: How many twins there were.
        moves: How often the first request was moved to another connection.
        has_failed: Whether the first request failed, and its thread waits for the twin.
        context: The context variables of the call.
    """

    twin: Twin | None = None
    twins = moves = 0
    has_failed = False
    #: Whether the watcher has cut the first request so that its thread asks again.
    _is_moving = False

    def __init__(
        self,
        call: CancelScope,
        track: RaceTrack,
        ask_again: Callable[[Twin, str], T],
        cost: int,
    ) -> None:
        # The parent class's is not called, as each block comes here.
        self.call = call
        self.track = track
        self.ask_again = ask_again
        self.cost = cost
        self.context = contextvars.copy_context()
        # The first claim wins. The twin comes with its result, the thread of the race without.
        self._claims: list[tuple[Twin, T] | None] = []

    @property
    def is_over(self) -> bool:
        """Whether it is decided who won, or that neither did."""
        return bool(self._claims)

    @property
    def is_lost(self) -> bool:
        """Whether a twin has won."""
        return bool(self._claims) and self._claims[0] is not None

    def run(self, ask: Callable[..., T], *arguments: Any) -> T:
        """Run the first request, and return the result of the one that wins.

        Args:
            ask: Makes the request.
            *arguments: Its arguments, before the last one: the scope of the request.

        Raises:
            Cancelled: The call was cancelled.
            Exception: What the first request raised, if no twin ended well.
        """
        track, key = self.track, id(self)
        track.races[key] = weakref.ref(self)
        if track.is_asleep:
            track.wake()
        try:
            while True:
                try:
                    result = ask(*arguments, self)
                except Cancelled as caught:
                    if self._has_moved():
                        continue
                    error: Exception = caught
                except track.losses as caught:
                    error = caught
                else:
                    self._claims.append(None)
                    claim = self._claims[0]
                    return result if claim is None else claim[1]
                break
            try:
                return self._await_twin(error)
            finally:
                del error  # Its traceback leads to this frame.
        finally:
            track.races.pop(key, None)
            # An error, or an interrupt, may have come before any claim.
            self._claims.append(None)
            # The watcher sets the twin and then looks at the claims. Here it is the other way round.
            if self.twin is not None:
                self.twin.cut()

    def move(self) -> None:
        """Cut the first request, whose thread then asks again over a new connection.

        Only the watcher calls it, and only while there is no twin.
        """
        # Looked up first: what the thread attaches for the next request must not be shut.
        former = self._attachment
        self.moves += 1
        self._is_moving = self.is_cut = True
        if former is not None:
            former.abort()

    def _has_moved(self) -> bool:
        """Return whether the first request was cut in order to be sent again, and prepare for that."""
        if not self._is_moving:
            return False
        self._is_moving = self.is_cut = self.is_cold = False
        self.sent_at = self.answered_at = self.excused_s = 0.0
        self.progress, self.body, self.size = (-1, 0.0), None, 0
        # A twin that claims from now on cuts the request once more.
        return not self._claims and not self.call.cancelled

    def claim(self, twin: Twin, result: T) -> bool:
        """Offer the result of a twin. Return whether it won: then the first request is cut."""
        self._claims.append((twin, result))
        claim = self._claims[0]
        if claim is None or claim[0] is not twin:
            return False
        self.cut()
        return True

    def _await_twin(self, error: Exception) -> T:
        """Return the result of a twin. Raise `error` if there is none."""
        # The watcher starts no twin from now on.
        self.has_failed = True
        twin = self.twin
        while twin is not None and not self._claims:
            self.call.check()
            # A twin that has not begun may wait for a thread that the system refuses.
            if twin.has_ended or twin.withdraw():
                if self.twin is twin:
                    break
                twin = self.twin
                continue
            self.call.attach(twin.ended.open)
            try:
                twin.ended.wait()
            finally:
                self.call.detach()
        self.call.check()
        self._claims.append(None)
        claim = self._claims[0]
        try:
            if claim is None:
                raise error
            return claim[1]
        finally:
            del error, claim, twin
