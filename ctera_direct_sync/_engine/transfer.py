r"""A call's share of the engine as plain state: its pieces, its jobs, its memory.

Nothing here has a lock or a thread. A caller fills a `Transfer` before it starts it. From then on only
the engine changes its state, under the engine's lock. The caller takes jobs from `Transfer.results`.

States of a transfer:

    NEW        filled by its caller, not started yet
    ACTIVE     it has pieces that wait or that threads work on
    COMPLETE   every piece was worked on
    CANCELLED  ended early: nothing more begins, and its consumer gets an error

    NEW -> ACTIVE -> COMPLETE
      \        \-> CANCELLED
       \-> CANCELLED

States of a job:

    queued -> running -> ended -> consumed
    queued -> cancelled
"""

from __future__ import annotations

import contextvars
import enum
import itertools
import logging
import math
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any, Callable, Generic, TypeVar, cast

from .._base.cancellation import CancelScope, Gate
from .._base.sync import CancelledError, Empty, Future, Lock, RLock, SimpleQueue
from .._base.waits import STEP_S
from .._base.worker_pool import log_error, on_worker_thread
from .._protocol.ranges import Piece

__all__ = ["BULK", "STREAM", "Job", "SharedFuture", "State", "Transfer", "UnsharedFuture"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

#: Priorities: what a caller waits for block by block, and everything else.
STREAM = 0
BULK = 1

#: Queued jobs of a transfer with bounded memory: as many as an engine may have threads. The next ones
#: are made as these are worked on. To make those of 4,096 tiny blocks at once took 30 ms before the
#: first block, half of it in the garbage collector.
_MAX_QUEUED = 1024


# --- futures -------------------------------------------------------------------------------------------


#: The first byte of a claim to a job. A worker's has no other; a canceller's has its number.
_WORKER, _CANCELLER = 1, 2
_canceller_numbers = itertools.count()


class UnsharedFuture(Generic[T]):
    """The outcome of a job that only our own code waits for.

    A `concurrent.futures.Future` has a condition. An interrupt can leave its lock locked in the thread
    that waits, and the worker that resolves the future would then wait for ever.

    A call may queue thousands of jobs at once. So a future has few parts, and none that the garbage
    collector counts: with one such part more, the collector went through the whole program (17 ms).

    Args:
        awaited: Whether a consumer may wait for the job. Otherwise it learns of the end elsewhere.
    """

    __slots__ = ("_claims", "_ended", "_error", "_is_done", "_result")

    def __init__(self, awaited: bool = True) -> None:
        self._ended: Any = None
        if awaited:
            self._ended = Lock()
            self._ended.acquire()
        # The first claim decides whether the job runs: appending and extending are atomic.
        self._claims = bytearray()
        self._is_done = False
        self._error: BaseException | None = None
        self._result: T | None = None

    def cancel(self) -> bool:
        """Cancel the job unless it has begun. Return whether it is cancelled."""
        if not self._claims:
            claim = b"%c%d;" % (_CANCELLER, next(_canceller_numbers))
            self._claims.extend(claim)
            if self._claims.startswith(claim) and self._ended is not None:
                self._ended.release()
        return self.cancelled()

    def cancelled(self) -> bool:
        """Return whether the job was cancelled before it began."""
        return bool(self._claims) and self._claims[0] != _WORKER

    def done(self) -> bool:
        """Return whether the job has ended or was cancelled."""
        return self._is_done or self.cancelled()

    def set_running_or_notify_cancel(self) -> bool:
        """Begin the job. Return False if it was cancelled and must not run."""
        self._claims.append(_WORKER)
        return self._claims[0] == _WORKER

    def set_result(self, result: T) -> None:
        """Note that the job has ended well."""
        self._result = result
        self._is_done = True
        if self._ended is not None:
            self._ended.release()

    def set_exception(self, error: BaseException) -> None:
        """Note that the job has failed."""
        self._error = error
        self._is_done = True
        if self._ended is not None:
            self._ended.release()

    def wait(self) -> None:
        """Block until the job has ended or was cancelled."""
        while self._ended is not None and not self.done():
            if self._ended.acquire(timeout=STEP_S):
                self._ended.release()

    def result(self) -> T:
        """Wait for the job, and return what it returned or raise what it raised."""
        if not self._is_done:
            self.wait()
        if not self._is_done:
            raise CancelledError
        if self._error is not None:
            try:
                raise self._error
            finally:
                del self  # The error's traceback holds this frame.
        return self._result  # type: ignore[return-value] # A job that has ended well has one.

    def exception(self) -> BaseException | None:
        """Wait for the job, and return what it raised, if anything."""
        self.wait()
        if not self._is_done:
            raise CancelledError
        return self._error

    def forget(self) -> None:
        """Drop the outcome, which its consumer has taken."""
        self._result = self._error = None


class _Condition(RLock):  # type: ignore[misc] # final for type checkers alone
    """The condition of a future, whose lock no exception out of a signal handler leaves locked.

    Entering and leaving are those of the lock itself, which the interpreter does not interrupt.
    `threading.Condition` does the same by methods in Python, which it does interrupt.
    """

    def notify_all(self) -> None:
        """Do nothing: a `SharedFuture` waits at its gate."""

    def wait(self, timeout: float | None = None) -> None:
        """Return at once: a caller has waited at the gate already."""


class SharedFuture(Future):  # type: ignore[type-arg]
    """A future for the user, whose callbacks and interrupts cost no worker.

    A callback that raises what is not an `Exception`, such as SystemExit, is logged like any other.
    """

    def __init__(self) -> None:
        super().__init__()
        self._condition: Any = _Condition()
        self._gate = gate = Gate()
        # The first of the callbacks: one of the user's may wait for a thread that waits at the gate.
        super().add_done_callback(lambda future: gate.open())

    def result(self, timeout: float | None = None) -> Any:
        """As `concurrent.futures.Future.result`."""
        self._await(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As `concurrent.futures.Future.exception`."""
        self._await(timeout)
        return super().exception(0)

    def cancel(self) -> bool:
        """As `concurrent.futures.Future.cancel`."""
        try:
            return super().cancel()
        finally:
            if self.cancelled():
                self._gate.open()

    def _await(self, timeout: float | None) -> None:
        if self.done():
            return
        if timeout is None:
            self._gate.wait()
        else:
            self._gate.wait_for(max(0.0, timeout))

    def can_be_locked(self, seconds: float) -> bool:
        """Return whether the future's lock is free, or gets free within `seconds`."""
        if not self._condition.acquire(timeout=seconds):
            return False
        self._condition.release()
        return True

    def abandon(self, error: BaseException) -> None:
        """End the future in a forked child: no thread is there to do so.

        The locks are made anew, since a thread of the parent may have held them. Callbacks are the
        parent's to call.
        """
        self._condition = _Condition()
        self._gate = Gate()
        cast("Any", self)._done_callbacks.clear()
        for waiter in self._waiters:
            if hasattr(waiter, "lock"):
                waiter.lock = Lock()
            waiter.event = type(waiter.event)()
            if waiter.finished_futures:
                waiter.event.set()
        if not self.done():
            self.set_exception(error)
        elif self._state == "CANCELLED":  # Not told yet to those that wait for it.
            self.set_running_or_notify_cancel()
        self._gate.open()

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """As `concurrent.futures.Future.add_done_callback`."""
        super().add_done_callback(_Guarded(fn))


class _Guarded:
    """A done callback that ends no worker thread."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[Future[Any]], object]) -> None:
        self._call = call

    def __call__(self, future: Future[Any]) -> None:
        try:
            self._call(future)
        except BaseException as error:
            # The standard library logs an Exception.
            if not on_worker_thread():
                raise
            if isinstance(error, Exception):
                log_error(_log, "exception calling callback for %r", future)
            else:
                log_error(_log, "a done callback raised, which ends neither its call nor a worker")


# --- jobs ----------------------------------------------------------------------------------------------


class Job(Generic[T]):
    """One piece of a transfer. Only the thread that dequeues a job may resolve its future.

    Attributes:
        transfer: What the job belongs to.
        piece: The piece to work on.
        position: The place of the piece in the transfer, counted from 0.
        charged_bytes: What the job costs of the transfer's memory right now.
        result_bytes: What it costs from its end until its result is consumed.
        future: Its outcome.
    """

    __slots__ = ("charged_bytes", "future", "piece", "position", "result_bytes", "transfer")

    def __init__(
        self,
        transfer: Transfer[T],
        piece: Piece,
        position: int,
        working_bytes: int,
        result_bytes: int,
    ) -> None:
        self.transfer = transfer
        self.piece = piece
        self.position = position
        self.charged_bytes = working_bytes
        self.result_bytes = result_bytes
        self.future: UnsharedFuture[T]
        if transfer.shared:
            # Shared or not, the methods that this package calls are the same.
            self.future = cast("UnsharedFuture[T]", SharedFuture())
        else:
            # Jobs that come as they end are not waited for.
            self.future = UnsharedFuture(transfer.ordered)


def _ended(piece: Piece, scope: CancelScope) -> Any:
    raise AssertionError("no thread works for a transfer that has ended")


class State(enum.Enum):
    """Where a transfer stands. The module's docstring explains the states."""

    NEW = "new"
    ACTIVE = "active"
    COMPLETE = "complete"
    CANCELLED = "cancelled"


def _length(piece: Piece) -> int:
    return piece.length


class Transfer(Generic[T]):
    """One call's share of the engine.

    Args:
        pieces: What to work on, in file order. They are taken one by one, as memory allows.
        work: Called with a piece and the transfer's scope, on a worker thread.
        ordered: Whether `results` has the jobs in file order, as they are admitted.
            Otherwise it has them as they end.
        shared: Whether the user gets the futures of the jobs.
        priority: STREAM or BULK.
        max_workers: The most jobs at once. None leaves it to the engine.
        memory: The bytes that the transfer may hold. A piece that is larger goes alone.
            None: no bound, and all pieces are queued at the start.
        working_bytes: What a piece costs while it waits and is worked on.
        result_bytes: What it costs from then until it is consumed.
        notify: Called with the name of an event, a piece and a detail.
        file_id: The file, for errors.
    """

    def __init__(
        self,
        pieces: Iterator[Piece],
        work: Callable[[Piece, CancelScope], T],
        *,
        ordered: bool = True,
        shared: bool = False,
        priority: int = BULK,
        max_workers: int | None = None,
        memory: int | None = None,
        working_bytes: Callable[[Piece], int] = _length,
        result_bytes: Callable[[Piece], int] = _length,
        notify: Callable[[str, Piece, str], None] | None = None,
        file_id: int | None = None,
    ) -> None:
        self.scope = CancelScope()
        self.scope.priority = priority
        self.scope.waiting = math.inf
        self.file_id = file_id
        self.ordered = ordered
        self.shared = shared
        self.priority = priority
        self.max_workers = max_workers
        self.generation = -1
        self.state = State.NEW
        #: Jobs for the consumer. None says that no job follows: look at the state.
        self.results: SimpleQueue[Job[T] | None] = SimpleQueue()
        #: Open once the transfer has ended and no thread works for it any more.
        self.ended = Gate()
        #: Jobs that no thread has begun, in file order.
        self.queue: deque[Job[T]] = deque()
        #: Jobs that threads work on.
        self.running = 0
        #: Whether memory alone keeps the next job from being queued.
        self.lacks_memory = False
        #: The heap entry of the scheduler, while the transfer may run another job.
        self.entry: Any = None
        self.charged_bytes = 0
        #: Why the transfer ends before all of its pieces, if that is not that it was cancelled.
        self.failure: BaseException | None = None
        self._unfinished = 0
        self._position = 0
        self._pieces = pieces
        self._next_piece: Piece | None
        self._work: Callable[[Piece, CancelScope], T] = work
        self._context = contextvars.copy_context()
        self._memory = memory
        self._working_bytes = working_bytes
        self._result_bytes = result_bytes
        self._notify = notify
        #: Pieces that were queued, and of which no event told yet.
        self.unannounced: deque[Piece] = deque()
        self._shared_futures: list[tuple[weakref.ref[SharedFuture], Piece]] = []
        self._advance()

    @property
    def has_more(self) -> bool:
        """Whether there are pieces that were not admitted yet."""
        return self._next_piece is not None

    @property
    def waits_for_memory(self) -> bool:
        """Whether memory that is given back may let the next piece in."""
        return self._next_piece is not None and len(self.queue) < _MAX_QUEUED

    def take_admitted(self) -> list[Job[T]]:
        """Take all jobs admitted so far of an ordered transfer.

        Returns:
            The jobs in file order. The transfer no longer holds them.
        """
        jobs: list[Job[T]] = []
        while True:
            try:
                job = self.results.get_nowait()
            except Empty:
                return jobs
            if job is not None:
                jobs.append(job)

    # Only the caller before the start, and then the engine under its lock, may call these.

    def admit(self) -> None:
        """Queue the next pieces as far as the memory goes, and not too many at once."""
        # A cancel from another thread may come at any statement before the start.
        while (piece := self._next_piece) is not None:
            working_bytes, result_bytes = self._next_bytes, 0
            if self._memory is not None:
                if len(self.queue) >= _MAX_QUEUED:
                    return
                if self.charged_bytes and self.charged_bytes + working_bytes > self._memory:
                    return
                result_bytes = self._result_bytes(piece)
            job: Job[T] = Job(self, piece, self._position, working_bytes, result_bytes)
            self.charged_bytes += working_bytes
            self._position += 1
            self._unfinished += 1
            self.queue.append(job)
            if self.shared:
                future = cast("SharedFuture", job.future)
                self._shared_futures.append((weakref.ref(future), piece))
            if self.ordered:
                self.results.put(job)
            if self._notify is not None:
                self.unannounced.append(piece)
            self._advance()

    def begin(self) -> None:
        """Begin with the jobs that the caller has admitted.

        They are counted anew: another thread may have cancelled the transfer while they were admitted.
        """
        self.state = State.ACTIVE
        self._unfinished = len(self.queue)

    def finish(self, job: Job[T]) -> None:
        """Account for a job that a thread has worked on."""
        self.running -= 1
        self._unfinished -= 1
        # A fast consumer may have been here before: then the job costs nothing any more.
        if job.charged_bytes:
            self.charged_bytes -= job.charged_bytes - job.result_bytes
            job.charged_bytes = job.result_bytes

    def consume(self, job: Job[T]) -> None:
        """Account for a job whose result the consumer holds no longer."""
        self.charged_bytes -= job.charged_bytes
        job.charged_bytes = 0

    def cancel(self) -> list[Job[T]]:
        """Begin nothing more. Return the jobs that no thread has begun; their futures are to be ended."""
        dropped = list(self.queue)
        self.queue.clear()
        # Not what is left of the count: an interrupt may have struck the caller amid `admit`.
        self._unfinished = self.running
        self._next_piece = None
        self.state = State.CANCELLED
        self.results.put(None)
        return dropped

    def fail(self, error: BaseException) -> None:
        """Admit nothing more: the pieces cannot be had. The jobs so far go on."""
        self.failure = error
        self._next_piece = None

    def check_complete(self) -> bool:
        """Return whether the transfer has ended and no thread works for it; note it if so."""
        if self._unfinished or self._next_piece is not None:
            return False
        if self.state is not State.CANCELLED:
            self.state = State.COMPLETE if self.failure is None else State.CANCELLED
            self.results.put(None)
        self._release()
        self.ended.open()
        return True

    def _release(self) -> None:
        """Drop what the work needs, the client among it: mail and void entries may refer to this."""
        self._work = _ended
        self._notify = None
        self._pieces = iter(())

    # Any thread may call these, without a lock.

    def run(self, piece: Piece) -> T:
        """Work on one piece, in the context of the caller of the transfer."""
        if self._notify is not None:
            self.announce()
            self.tell("started", piece)
        return self._context.copy().run(self._work, piece, self.scope)

    def announce(self) -> None:
        """Tell of the pieces that were queued since the last time."""
        while self.unannounced:
            try:
                piece = self.unannounced.popleft()
            except IndexError:  # Another thread tells of it.
                return
            self.tell("queued", piece)

    def abandon(self, error: Callable[[Piece, int | None], BaseException]) -> None:
        """End the user's futures in a forked child, whose parent began the transfer.

        Args:
            error: Makes the error of a piece of a file.
        """
        for reference, piece in self._shared_futures:
            future = reference()
            if future is not None:
                future.abandon(error(piece, self.file_id))

    def tell(self, name: str, piece: Piece, detail: str = "") -> None:
        """Report an event, if anyone listens."""
        if self._notify is not None:
            self._notify(name, piece, detail)

    def _advance(self) -> None:
        """Look at the next piece, and what it will cost."""
        piece = self._next_piece = next(self._pieces, None)
        self._next_bytes = (
            0 if piece is None or self._memory is None else self._working_bytes(piece)
        )
