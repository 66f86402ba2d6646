"""Who fetches which block when: threads, priorities, windows, cancellation.

A call becomes a :class:`Transfer`: its pieces in order, the work to do on each, and the memory that
it may hold. The engine keeps a heap of the transfers that have work; a thread that becomes free takes
the most urgent job there is then, so nothing is decided when work is submitted. Streams go before bulk
work, which stands back for a moment while one begins, and earlier pieces of a call before later ones,
whosever call it is.

Every change of this state happens under the engine's one lock, in methods whose names begin with an
underscore and that are short. No lock is held while work, a callback or a pool's submit runs.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import heapq
import itertools
import os
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from typing import Any, Callable, Generic, NamedTuple, Optional, TypeVar, cast

from .precedence import Precedence
from .ranges import Piece
from .scope import Cancelled, CancelScope
from .tuning import WorkerTuner

__all__ = ["BULK", "STREAM", "Engine", "Job", "SerialExecutor", "Transfer"]

T = TypeVar("T")

STREAM = 0
BULK = 1

#: Threads that one client may ever have; what limits them in practice is the tuner or max_workers.
_MAX_THREADS = 1024

#: Jobs are fast where their consumer has waited for one for less than so many seconds.
_FAST = 0.0005
#: Their results then gather before it takes them, for so many seconds for each job that is queued,
#: which is less than any job takes: no worker is idle before.
_GATHERING = 0.0001
#: But for no more seconds than that, and not at all where fewer jobs than that are queued.
_LONGEST = 0.005
_FEW = 16

#: A bulk job that took more seconds than this waited for the network: to hold the next one back gives a
#: stream nothing.
_QUICK = 0.01


class Outcome(Generic[T]):
    """A future without a lock, for a job that nobody waits for: it is picked up when it has ended."""

    __slots__ = ("_error", "_result", "_state")

    def __init__(self) -> None:
        self._state = ""
        self._error: Optional[BaseException] = None
        self._result: Optional[T] = None

    def cancel(self) -> bool:
        """As a future's: True unless the job has begun."""
        if not self._state:
            self._state = "cancelled"
        return self._state == "cancelled"

    def cancelled(self) -> bool:
        """Whether it was cancelled before it began."""
        return self._state == "cancelled"

    def done(self) -> bool:
        """Whether :meth:`result` has something to say."""
        return self._state in ("cancelled", "ended")

    def set_running_or_notify_cancel(self) -> bool:
        """The job begins; False: it was cancelled, and must not."""
        if self._state:
            return False
        self._state = "running"
        return True

    def set_result(self, result: T) -> None:
        """The job has ended well."""
        self._result = result
        self._state = "ended"

    def set_exception(self, error: BaseException) -> None:
        """The job has failed."""
        self._error = error
        self._state = "ended"

    def result(self) -> T:
        """What the job returned; raises what it raised, or CancelledError."""
        if self._state != "ended":
            raise CancelledError
        if self._error is not None:
            try:
                raise self._error
            finally:
                del self  # The error's traceback holds this frame.
        return cast("T", self._result)


class Job(Generic[T]):
    """One piece of one transfer. Whoever takes it off its queue is the only one to end its future."""

    __slots__ = ("claimed", "future", "held", "kept", "piece", "position", "transfer")

    def __init__(
        self, transfer: Transfer[T], piece: Piece, position: int, flight: int, kept: int
    ) -> None:
        self.transfer = transfer
        self.piece = piece
        self.position = position
        self.held = flight
        self.kept = kept
        # What is picked up as it ends uses no more of a future than an Outcome has.
        self.future: Future[T] = Future() if transfer.ordered else cast("Future[T]", Outcome())
        self.claimed = False


class Transfer(Generic[T]):
    """One call's share of the engine.

    ``work(piece, scope)`` runs on a worker thread. ``flight(piece)`` and ``kept(piece)`` are the bytes
    that a piece costs while it is worked on, and from then until it is consumed; their sum over the
    transfer stays within ``memory`` (None: unbounded), but for a piece that is larger, which goes
    alone. ``max_workers`` bounds the transfer's concurrent jobs; None leaves it to the engine.
    ``ordered`` says how the jobs are picked up: in file order from ``admitted``, or as they end from
    ``finished``. ``notify(name, piece, detail)`` hears of what happens to each piece.
    """

    def __init__(
        self,
        pieces: Iterator[Piece],
        work: Callable[[Piece, CancelScope], T],
        *,
        ordered: bool = True,
        priority: int = BULK,
        max_workers: Optional[int] = None,
        memory: Optional[int] = None,
        flight: Callable[[Piece], int] = lambda piece: piece.length,
        kept: Callable[[Piece], int] = lambda piece: piece.length,
        notify: Optional[Callable[[str, Piece, str], None]] = None,
    ) -> None:
        self.scope = CancelScope()
        self.admitted: deque[Job[T]] = deque()
        self.finished: queue.SimpleQueue[Job[T]] = queue.SimpleQueue()
        self.ordered = ordered
        self.generation = -1
        self._fresh: deque[Piece] = deque()
        self._pieces = pieces
        self._work = work
        self._context = contextvars.copy_context()
        self._priority = priority
        self._limit = max_workers
        self._memory = memory
        self._flight = flight
        self._kept = kept
        self._notify = notify
        self._position = 0
        self._held = 0
        self._outstanding = 0
        self._running = 0
        self._working = 0
        self._queue: deque[Job[T]] = deque()
        self._entry: Optional[_Entry] = None
        self._advance()

    def take_admitted(self) -> list[Job[T]]:
        """All jobs admitted so far of an ordered transfer, no longer held by it."""
        jobs = list(self.admitted)
        self.admitted.clear()
        return jobs

    # The engine calls these under its lock.

    def _advance(self) -> None:
        """Look at the next piece, and what it will cost."""
        self._next_piece = piece = next(self._pieces, None)
        self._next_flight = 0 if piece is None or self._memory is None else self._flight(piece)

    def _admit(self) -> None:
        """Queue the next pieces as far as the memory goes."""
        while self._next_piece is not None:
            piece, flight, kept = self._next_piece, self._next_flight, 0
            if self._memory is not None:
                if self._held and self._held + flight > self._memory:
                    return
                kept = self._kept(piece)
            job: Job[T] = Job(self, piece, self._position, flight, kept)
            self._held += flight
            self._position += 1
            self._outstanding += 1
            self._queue.append(job)
            if self.ordered:
                self.admitted.append(job)
            if self._notify is not None:
                self._fresh.append(piece)
            self._advance()

    def _worked(self, job: Job[T]) -> None:
        self._running -= 1
        # A fast consumer may have been here before: then the job holds nothing any more.
        if job.held:
            self._held -= job.held - job.kept
            job.held = job.kept

    def _consumed(self, job: Job[T]) -> None:
        self._held -= job.held
        job.held = 0
        self._outstanding -= 1

    def _check_complete(self) -> None:
        """All is over. RuntimeError where pieces are left: nothing may be cut short and look whole."""
        if self._next_piece is not None:
            raise RuntimeError("the transfer ended early: please report this")

    def _drop_queue(self) -> list[Job[T]]:
        """Forget what is not begun; the jobs' futures are still to be ended by the caller."""
        dropped = list(self._queue)
        self._queue.clear()
        self._next_piece = None
        return dropped

    # These run unlocked.

    def _run(self, piece: Piece) -> T:
        self._tell("started", piece)
        return self._context.copy().run(self._work, piece, self.scope)

    def _ended(self, job: Job[T]) -> None:
        if not self.ordered:
            self.finished.put(job)

    def _announce(self) -> None:
        """Tell of the pieces that were queued since the last time."""
        while self._fresh:
            with contextlib.suppress(IndexError):  # Another thread told of it.
                self._tell("queued", self._fresh.popleft())

    def _tell(self, name: str, piece: Piece, detail: str = "") -> None:
        if self._notify is not None:
            self._notify(name, piece, detail)


class _Patience:
    """How a consumer waits for the next job: until that wakes it, or, where jobs end fast, a moment.

    A consumer that is woken takes the interpreter's lock from the very worker that woke it. For one
    block in several milliseconds that is nothing; for thousands a second it costs the workers a tenth
    of their time. So then the jobs of a moment gather, and are taken together.
    """

    def __init__(self) -> None:
        self._fast = False

    def wait(self, transfer: Transfer[Any], wait: Callable[[], T]) -> T:
        """What ``wait()`` returns; without a moment's delay where that could leave workers idle."""
        queued = len(transfer._queue)
        if self._fast and queued >= _FEW:
            time.sleep(min(_LONGEST, _GATHERING * queued))
        began = time.perf_counter()
        result = wait()
        self._fast = time.perf_counter() - began < _FAST
        return result


def _await(future: Future[Any]) -> None:
    """Wait for a future's end, whatever that is."""
    with contextlib.suppress(CancelledError):
        future.exception()


class _Entry(NamedTuple):
    """A transfer's place in one of the engine's heaps. Keys are unique, so nothing else is compared."""

    key: tuple[int, int, int]
    transfer: Transfer[Any]
    heap: list[_Entry]

    @property
    def valid(self) -> bool:
        """False once the transfer moved to another heap, or was cancelled."""
        return self.transfer._entry is self and bool(self.transfer._queue)


class SerialExecutor(Executor):
    """Runs what is submitted at once, in the caller: the same engine, deterministic, for tests."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - into the future, as executors do
            future.set_exception(error)
        return future


def _thread_pool() -> Executor:
    return ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="ctera-direct")


class Engine:
    """Runs transfers. Holds no thread before the first one; thread-safe; starts over after a fork."""

    def __init__(
        self,
        max_workers: int,
        *,
        make_executor: Callable[[], Executor] = _thread_pool,
        cancelled_error: Callable[[Piece], BaseException] = lambda piece: Cancelled(),
        make_precedence: Callable[[], Precedence] = Precedence,
    ) -> None:
        self._max_workers = max_workers
        self._make_executor = make_executor
        self._cancelled_error = cancelled_error
        self._make_precedence = make_precedence
        self.closed = False
        self._start_over()
        _engines.add(self)

    def _start_over(self) -> None:
        self._process = os.getpid()
        self._generation = next(_generations)
        # Re-entrant, since the collector may run a forgotten stream's end while this thread holds it.
        self._lock = threading.RLock()
        self._abandoned: deque[Transfer[Any]] = deque()
        self._quiet = threading.Condition(self._lock)
        self._way_ended = threading.Condition(self._lock)
        self._precedence = self._make_precedence()
        self._executor: Optional[Executor] = None
        self._threads: set[int] = set()
        self._transfers: set[Transfer[Any]] = set()
        # Heaps of the transfers that have work: those with max_workers of their own; of the others,
        # those of which nothing is running, and those of which something is.
        self._own: list[_Entry] = []
        self._resting: list[_Entry] = []
        self._busy: list[_Entry] = []
        self._sequence = itertools.count()
        self._tuner = WorkerTuner(self._max_workers)
        self._shared_running = 0

    # --- what callers do -----------------------------------------------------------------------------

    def start(self, transfer: Transfer[Any]) -> None:
        """Begin a transfer. ValueError after close, RuntimeError as :meth:`check_process`."""
        self.check_process()
        with self._lock:
            if self.closed:
                raise ValueError("the client is closed: make a new DirectIO")
            if self._executor is None:
                self._executor = self._make_executor()
            self._transfers.add(transfer)
            transfer.generation = self._generation
            transfer._admit()
            self._offer(transfer)
            if transfer._priority == STREAM:
                self._precedence.begin()
        transfer._announce()
        self._dispatch()

    def make_way(self) -> None:
        """A stream is about to be listed: from now on, for a moment, bulk work stands back for it.

        Starting it does so again. Whoever waits for its first block says :meth:`end_way`.
        RuntimeError as :meth:`check_process`.
        """
        self.check_process()
        with self._lock:
            self._precedence.begin()

    def end_way(self) -> None:
        """The first block of the stream that was made way for is there."""
        with self._lock:
            self._precedence.end()
            self._way_ended.notify_all()

    def check_process(self) -> None:
        """RuntimeError in a child whose fork Python was not told of: this engine's threads are not here.

        Its locks may be held for ever as well, so nothing of it can be used.
        """
        if self.is_parents():
            raise RuntimeError(
                "this process was forked without Python's fork hooks, so the client's threads are in its "
                "parent: set py-call-uwsgi-fork-hooks (uWSGI), or make the client after the fork"
            )

    def is_parents(self) -> bool:
        """In a child whose fork Python was not told of: nothing of this engine can be used."""
        return os.getpid() != self._process

    def in_order(self, transfer: Transfer[T]) -> Iterator[Job[T]]:
        """A started transfer's jobs in file order, ended; each is consumed at the next step."""
        patience = _Patience()
        while transfer.admitted:
            self._check_owned(transfer)
            job = transfer.admitted.popleft()
            if not job.future.done():
                patience.wait(transfer, functools.partial(_await, job.future))
            if job.position == 0 and transfer._priority == STREAM:
                self.end_way()
            yield job
            self.consume(job)
            del job
        transfer._check_complete()

    def as_finished(self, transfer: Transfer[T]) -> Generator[Job[T], None, None]:
        """A started transfer's jobs as they end; each is consumed at the next step."""
        patience = _Patience()
        while transfer._outstanding:
            self._check_owned(transfer)
            try:
                job = transfer.finished.get_nowait()
            except queue.Empty:
                job = patience.wait(transfer, transfer.finished.get)
            try:
                yield job
            finally:
                # Also where the loop is left: the memory is free then.
                self.consume(job)
            del job  # While waiting for the next, the last one's result must be gone.
        transfer._check_complete()

    def owns(self, transfer: Transfer[Any]) -> bool:
        """False in a forked child for what its parent began: the threads that work on it are not here."""
        return transfer.generation == self._generation and not self.is_parents()

    def _check_owned(self, transfer: Transfer[Any]) -> None:
        self.check_process()
        if transfer.generation != self._generation:
            raise Cancelled

    def consume(self, job: Job[T]) -> None:
        """The caller holds the job's result no longer: its memory lets the next pieces in."""
        if not self.owns(job.transfer) or self._is_inside():
            return  # A parent process's, or a forgotten iteration's end: its transfer is being cancelled.
        with self._lock:
            job.transfer._consumed(job)
            job.transfer._admit()
            self._offer(job.transfer)
            more = self._most_urgent() is not None
        if job.transfer._fresh:
            job.transfer._announce()
        if more or self._abandoned:
            self._dispatch()

    def cancel(self, transfer: Transfer[Any]) -> None:
        """End a transfer: nothing more is begun, reads are cut off, every future comes to its end."""
        if transfer.generation not in (-1, self._generation) or self.is_parents():
            return  # A parent process's: its connections are not ours to cut.
        if self._is_inside():
            self._abandoned.append(transfer)
            return
        with self._lock:
            dropped = transfer._drop_queue()
            self._transfers.discard(transfer)
        transfer.scope.cancel()
        for job in dropped:
            if job.future.cancel():
                job.future.set_running_or_notify_cancel()
            transfer._ended(job)

    def drain(self, transfer: Transfer[Any]) -> None:
        """Wait until no thread works for a cancelled transfer; one that begins later finds it cancelled.

        What counts is what the threads say: a KeyboardInterrupt may have cost the caller a job.
        """
        with self._quiet:
            while transfer._working and self.owns(transfer):
                self._quiet.wait()

    def close(self, wait: bool = True) -> None:
        """Cancel all transfers and end the threads; ``wait`` for them, unless called on one of them."""
        if self.is_parents():
            self.closed = True
            return
        with self._lock:
            self.closed = True
            transfers = list(self._transfers)
            executor, self._executor = self._executor, None
            ours = threading.get_ident() in self._threads
        for transfer in transfers:
            self.cancel(transfer)
        if executor is not None:
            executor.shutdown(wait=wait and not ours)

    # --- what threads do -----------------------------------------------------------------------------

    def _is_inside(self) -> bool:
        """Whether the collector called us amid one of the engine's own steps, on this thread."""
        return self._lock._is_owned()  # type: ignore[attr-defined,no-any-return]

    def _dispatch(self) -> None:
        """Put a thread on each job that may run now, and end what was abandoned meanwhile."""
        while self._abandoned:
            with contextlib.suppress(IndexError):  # Another thread ended it.
                self.cancel(self._abandoned.popleft())
        while self._dispatch_one():
            pass

    def _dispatch_one(self) -> bool:
        job: Optional[Job[Any]] = None
        try:
            with self._lock:
                executor = self._executor
                job = self._take() if executor is not None else None
            if job is not None and executor is not None:
                executor.submit(self._work, [job])
        except RuntimeError as error:
            # Closed meanwhile, no more threads to be had, or the interpreter is going down.
            if job is None:
                raise
            self._give_up(job, error)
        except BaseException as error:
            # An interrupt of the caller between the two: a job that was taken must come to an end.
            if job is not None:
                self._give_up(job, error)
            raise
        return job is not None

    def _work(self, ticket: list[Job[Any]]) -> None:
        """One thread's loop: run a job, then whatever is most urgent by then."""
        # Taken out: the pool's frames keep the ticket, and an error's traceback keeps those frames.
        job: Optional[Job[Any]] = ticket.pop()
        ident = threading.get_ident()
        with self._lock:
            if job is None or job.claimed:
                return  # Given up, after the pool had taken it.
            self._threads.add(ident)
            job.claimed = True
            job.transfer._working += 1
        try:
            while job is not None:
                began = time.monotonic()
                self._run(job)
                job.transfer._ended(job)
                with self._lock:
                    if job.transfer._priority != STREAM and time.monotonic() - began < _QUICK:
                        self._stand_back()
                    self._finish(job)
                    fresh, job = job.transfer, self._take()
                    fresh._working -= 1
                    if not fresh._working:
                        self._quiet.notify_all()
                    more = False
                    if job is not None:
                        job.claimed = True
                        job.transfer._working += 1
                        more = self._most_urgent() is not None
                if fresh._fresh:
                    fresh._announce()
                if more or self._abandoned:
                    self._dispatch()
        finally:
            with self._lock:
                self._threads.discard(ident)

    def _run(self, job: Job[Any]) -> None:
        transfer, piece, future = job.transfer, job.piece, job.future
        del job  # A traceback would hold this frame, and so the future that holds the traceback.
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = transfer._run(piece)
        except Cancelled:
            future.set_exception(self._cancelled_error(piece))
        except BaseException as error:  # noqa: BLE001 - into the future, as executors do
            transfer._tell("failed", piece, type(error).__name__)
            future.set_exception(error)
            del future
        else:
            future.set_result(result)

    def _give_up(self, job: Job[Any], error: BaseException) -> None:
        with self._lock:
            if job.claimed:
                return
            job.claimed = True
            self._finish(job)
        if job.future.set_running_or_notify_cancel():
            job.future.set_exception(error)
        job.transfer._ended(job)
        self.cancel(job.transfer)

    # --- under the lock ------------------------------------------------------------------------------

    def _offer(self, transfer: Transfer[Any]) -> None:
        """Put a transfer that may run another job into the heap of its kind, once."""
        if not transfer._queue:
            return
        if transfer._limit is None:
            heap = self._busy if transfer._running else self._resting
        elif transfer._running < transfer._limit:
            heap = self._own
        else:
            return
        if transfer._entry is not None and transfer._entry.heap is heap:
            return
        key = (transfer._priority, transfer._queue[0].position, next(self._sequence))
        # What it had in another heap is void from now on.
        transfer._entry = _Entry(key, transfer, heap)
        heapq.heappush(heap, transfer._entry)

    def _take(self) -> Optional[Job[Any]]:
        """The most urgent job that may run now, counted as running."""
        heap = self._most_urgent()
        if heap is None:
            return None
        transfer = heapq.heappop(heap).transfer
        transfer._entry = None
        job: Job[Any] = transfer._queue.popleft()
        transfer._running += 1
        self._shared_running += transfer._limit is None
        self._offer(transfer)
        return job

    def _most_urgent(self) -> Optional[list[_Entry]]:
        """The heap with the most urgent entry among those that may run a job now."""
        best: Optional[list[_Entry]] = None
        for heap in (self._own, self._resting, self._busy):
            while heap and not heap[0].valid:
                heapq.heappop(heap)
            if heap and self._is_open(heap) and (best is None or heap[0] < best[0]):
                best = heap
        return best

    def _is_open(self, heap: list[_Entry]) -> bool:
        """Whether one more job of this heap's transfers may run."""
        if heap is self._own or self._shared_running < self._tuner.limit:
            return True
        return heap is self._resting and self._may_exceed(heap[0].transfer)

    def _may_exceed(self, transfer: Transfer[Any]) -> bool:
        """Whether a transfer at rest gets a thread beyond the tuned number.

        A stream always, others up to the maximum: calls whose storage is stalled hold up no other.
        """
        return transfer._priority == STREAM or self._shared_running < self._max_workers

    def _stand_back(self) -> None:
        """Keep this thread, and its place among the workers, out of a beginning stream's way."""
        seconds = self._precedence.left()
        if seconds > 0:
            self._way_ended.wait(seconds)

    def _finish(self, job: Job[Any]) -> None:
        transfer = job.transfer
        if transfer._limit is None:
            if self._shared_running >= self._tuner.limit:
                self._tuner.completed(job.piece.length)
            else:
                self._tuner.idle()
            self._shared_running -= 1
        transfer._worked(job)
        transfer._admit()
        self._offer(transfer)
        # One that waits for its consumer stays: close must reach it.
        if not transfer._running and not transfer._queue and transfer._next_piece is None:
            self._transfers.discard(transfer)


# --- the process's own events ----------------------------------------------------------------------------

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_generations = itertools.count()


def _forget_parent() -> None:
    """In a forked child: no thread of the parent's is here, and its locks may be held for ever."""
    for engine in list(_engines):
        engine._start_over()


def _end_transfers() -> None:
    """At interpreter exit, before threads are joined: what is under way must not keep it waiting."""
    for engine in list(_engines):
        engine.close(wait=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)

# concurrent.futures joins its threads by the same private hook, which runs its callbacks last in, first
# out; atexit proper comes too late. Without it (another interpreter) exit waits for running blocks.
with contextlib.suppress(AttributeError):
    threading._register_atexit(_end_transfers)  # type: ignore[attr-defined]
