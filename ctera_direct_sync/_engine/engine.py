"""Runs transfers: the lock, the pool, and the loop of its threads.

A call becomes a :class:`Transfer`. The engine's threads run its jobs, one after the other, in the
order that the :class:`Scheduler` decides. What runs next is decided when a thread becomes free.

Only the engine's own threads touch the scheduler, under the engine's one lock. Callers append what
they want to a deque, the mail, and wake a thread if one is idle. That is why a signal handler, an
exception out of one, or the garbage collector can strike a caller at any point: it holds no lock and
changes nothing by halves. Python runs signal handlers on the main thread, never on these threads.

One thread is always idle, so that mail is read at once, as long as the system gives enough threads.
No lock is held while work, a callback, a hook or a pool's submit runs.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import itertools
import logging
import os
import traceback
import weakref
from collections import deque
from typing import Any, Callable, Optional

from .._base.bandwidth import Bandwidth
from .._base.cancellation import Cancelled, Gate
from .._base.descriptors import max_descriptors
from .._base.round_trips import RoundTrips
from .._base.sync import Lock, SimpleQueue, Thread, monotonic, process_time
from .._base.worker_pool import WorkerPool, log_error, on_worker_thread
from .._protocol.ranges import Piece
from ..exceptions import DirectIOError
from .scheduler import Scheduler
from .stream_start import StreamStartWindow
from .transfer import BULK, STREAM, Job, SharedFuture, State, Transfer
from .tuner import Tuner

__all__ = ["BULK", "STREAM", "ClientClosed", "Engine", "Job", "Transfer"]

_log = logging.getLogger(__name__)

#: Threads that one client may ever have. What limits them in practice is max_workers.
_MAX_THREADS = 1024

#: A bulk job that took longer waited for the network: holding the next one back gives a stream nothing.
_QUICK_JOB_S = 0.01

#: How long the engine waits before it tries again to start a thread that the system refused.
_THREAD_RETRY_S = 1.0

#: How long one wait for a transfer's last worker lasts: a fork may come in between.
_DRAIN_STEP_S = 1.0

#: How long a thread tries to resolve a user's future whose lock is taken.
_MAX_PUBLISH_S = 1.0

#: How long the end of the program waits for the downloads that it cuts off.
_MAX_EXIT_S = 2.0

_CLOSED = "the client is closed: make a new DirectIO"
_NO_THREAD = (
    "No thread can be started: raise the limit of processes (ulimit -u, or the container's pids "
    "limit), or end other programs"
)

#: What a look at no mail returns.
_NOTHING: tuple[()] = ()

#: The fewest workers that trials lead to, and the most that a client starts with.
_MIN_WORKERS = 2
_MAX_INITIAL_WORKERS = 4

#: Descriptors for each worker: a connection to each of some storage nodes. So many workers are always
#: allowed: most portals have one node.
_DESCRIPTORS_PER_WORKER = 4
_MIN_MOST_WORKERS = 32

#: What callers ask of the engine's threads.
_START, _CONSUME, _CANCEL, _CLOSE = "start", "consume", "cancel", "close"


#: Makes the error of a job from its piece and its file's ID.
_MakeError = Callable[[Piece, Optional[int]], BaseException]


class ClientClosed(ValueError):
    """The client was closed before the transfer could begin."""


class _NoThread(Exception):
    """The system gives no thread, and none is there."""


class _Parts:
    """What the threads of an engine wait for and are told by.

    Attributes:
        lock: Guards the scheduler. Only the engine's threads take it.
        bell: Wakes an idle thread.
        pool: Has the threads.
        all_threads_ended: Open once the last thread of a closed engine has ended.
    """

    __slots__ = ("all_threads_ended", "bell", "lock", "pool")

    def __init__(self) -> None:
        self.lock = Lock()
        self.bell: SimpleQueue[None] = SimpleQueue()
        self.pool = WorkerPool(_MAX_THREADS)
        self.all_threads_ended = Gate()


class Engine:
    """Runs transfers.

    It has no thread before the first transfer. It is thread-safe, and starts over in a forked child.

    Args:
        max_workers: The most jobs at once of transfers without max_workers of their own.
        cancelled_error: Makes the error of a job that was cut off.
        forked_error: Makes the error, in a forked child, of a job that the parent began.
        make_window: Makes the window in which bulk work yields to a stream.
        bandwidth: Says how many jobs may run at once if the bandwidth is limited.
        round_trips: Where readers note how long their requests took.
    """

    def __init__(
        self,
        max_workers: int,
        *,
        cancelled_error: _MakeError = lambda piece, file_id: Cancelled(),
        forked_error: _MakeError = lambda piece, file_id: Cancelled(),
        make_window: Callable[[], StreamStartWindow] = StreamStartWindow,
        bandwidth: Bandwidth | None = None,
        round_trips: RoundTrips | None = None,
    ) -> None:
        self._max_workers = max_workers
        self._cancelled_error = cancelled_error
        self._forked_error = forked_error
        self._make_window = make_window
        self._bandwidth = bandwidth or Bandwidth()
        self._round_trips = round_trips or RoundTrips()
        #: Whether `close` was called.
        self.closed = False
        #: Whether the program ends: transfers that ran were ended, and few threads can be started.
        self.program_ends = False
        self._start_over()
        _watch(self)

    def _forget_parent(self) -> None:
        """Start over in a forked child. What the parent began ends there, and in the child fails."""
        shared = list(self._shared)
        self._start_over()
        for transfer in shared:
            transfer.abandon(self._forked_error)

    def _start_over(self) -> None:
        """Forget all threads and transfers, as a forked child must."""
        self._process = os.getpid()
        self._generation = next(_generations)
        self._parts: list[_Parts] = []
        self._is_prepared = False
        self._mail: deque[tuple[str, Any]] = deque()
        self._window = self._make_window()
        self._scheduler = Scheduler(self._max_workers)
        self._tuner = _make_tuner(self._max_workers)
        # Not empty once a thread was started: appending is atomic. The caller appends, and the thread,
        # since an interrupt may strike the caller in between.
        self._thread_starts: list[None] = []
        # Transfers whose futures the user has.
        self._shared: weakref.WeakSet[Transfer[Any]] = weakref.WeakSet()
        self._threads = 0
        self._idle = 0
        self._is_starting_thread = False
        self._no_thread_until = 0.0
        self._is_closing = False
        self._failure: BaseException | None = None

    def _prepare(self) -> None:
        """Make what waits, at the first use: gevent may patch the standard library until then.

        Several threads may do it at once. The first one's parts are everyone's.
        """
        self._parts.append(_Parts())
        parts = self._parts[0]
        self._lock, self._bell, self._pool = parts.lock, parts.bell, parts.pool
        self._all_threads_ended = parts.all_threads_ended
        # Last: an interrupt may strike at any of these lines.
        self._is_prepared = True

    # --- what callers do -----------------------------------------------------------------------------

    def start(self, transfer: Transfer[Any]) -> None:
        """Begin a transfer.

        Args:
            transfer: A new one. Its caller leaves its state alone from now on.

        Raises:
            ClientClosed: The engine was closed.
            DirectIOError: No thread can be started (EAGAIN).
            RuntimeError: As `check_process`, or a hook forked this process amid the call.
        """
        self.check_process()
        if self.closed:
            raise ClientClosed(_CLOSED)
        if not self._is_prepared:
            self._prepare()
        transfer.generation = self._generation
        try:
            if transfer.shared:
                self._shared.add(transfer)
            transfer.admit()
            if transfer.priority == STREAM:
                self._window.open()
            transfer.announce()
            self._check_generation(transfer)
            self._mail.append((_START, transfer))
            self._ring()
            # Closed meanwhile, the threads may have read their last mail before this one came.
            if self.closed:
                raise ClientClosed(_CLOSED)
        except BaseException as error:
            self.cancel(transfer)
            if isinstance(error, _NoThread):
                if self.closed:
                    raise ClientClosed(_CLOSED) from None
                raise DirectIOError(_NO_THREAD, transfer.file_id, errno=errno.EAGAIN) from None
            raise

    def open_stream_window(self) -> None:
        """Have bulk work yield for a moment: a stream is about to be listed.

        Starting the stream does so again. A caller that waits for its first block closes the window.

        Raises:
            RuntimeError: As `check_process`.
        """
        self.check_process()
        self._window.open()

    def close_stream_window(self) -> None:
        """Note that the first block of the stream is there."""
        self._window.close()

    def check_process(self) -> None:
        """Raise RuntimeError in a child whose fork Python was not told of.

        This engine's threads are not there, and its locks may be held for ever.
        """
        if self.is_parents():
            raise RuntimeError(
                "this process was forked without Python's fork hooks, so the client's threads are in its "
                "parent: set py-call-uwsgi-fork-hooks (uWSGI), or make the client after the fork"
            )

    def _check_generation(self, transfer: Transfer[Any]) -> None:
        """Raise RuntimeError in the child of a fork that came while the transfer was being started.

        A hook that hears of queued blocks may fork. The child must not use the parent's lock and pool.
        """
        if transfer.generation != self._generation:
            raise RuntimeError(
                "this process was forked while a call began: make the call again in the child"
            )

    @property
    def memory_waits(self) -> int:
        """How many times the next piece of a transfer had no memory."""
        return self._scheduler.memory_waits

    def is_parents(self) -> bool:
        """Return True in a child whose fork Python was not told of: nothing here can be used."""
        return os.getpid() != self._process

    def owns(self, transfer: Transfer[Any]) -> bool:
        """Return False in a forked child for what its parent began: the threads are not there."""
        return transfer.generation == self._generation and not self.is_parents()

    def check_usable(self, transfer: Transfer[Any]) -> None:
        """Raise unless the transfer can go on: its consumer asks before each step.

        Raises:
            Cancelled: The transfer was cancelled, the engine was closed, or a parent began it.
            RuntimeError: As `check_process`, or the engine itself has failed.
        """
        # As is_parents: this runs once for each block.
        if os.getpid() != self._process:
            self.check_process()
        if self._failure is not None:
            raise RuntimeError("the download engine failed: please report this") from self._failure
        if transfer.generation != self._generation or transfer.scope.cancelled or self.closed:
            raise Cancelled

    def consume(self, job: Job[Any]) -> None:
        """Give back the memory of a job whose result the caller holds no longer."""
        transfer = job.transfer
        if transfer.generation != self._generation:
            return
        job.future.forget()
        if not transfer.has_more:
            return  # No piece waits for the memory, and none will.
        self._mail.append((_CONSUME, job))
        # Otherwise a thread is at work for this transfer, and reads the mail when it has finished.
        if not transfer.queue:
            self._ring()

    def cancel(self, transfer: Transfer[Any]) -> None:
        """End a transfer: nothing more begins, reads are cut off, every future comes to its end.

        Any thread may call it, also from a signal handler or a finalizer.
        """
        if transfer.generation not in (-1, self._generation) or self.is_parents():
            return  # A parent began it: its connections are not ours to cut.
        # A complete one has nothing left to end. That is how most calls end: it wakes no thread.
        if transfer.generation == -1 or transfer.state is State.COMPLETE:
            transfer.scope.cancel()
            return
        self._mail.append((_CANCEL, transfer))
        # Also here, in case no thread is idle.
        transfer.scope.cancel()
        if self._thread_starts and not self._all_threads_ended.is_open:
            self._ring()
        else:
            # No thread works for it, and none will.
            transfer.ended.open()

    def drain(self, transfer: Transfer[Any]) -> None:
        """End a transfer, and wait until no thread works for it.

        An interrupt waits as well: what the threads write to must not be closed under them.
        """
        interrupt: BaseException | None = None
        while self.owns(transfer) and not transfer.ended.is_open:
            try:
                self.cancel(transfer)
                transfer.ended.wait_for(_DRAIN_STEP_S)
            except BaseException as error:  # noqa: BLE001 - raised below
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def close(self, wait: bool = True) -> None:
        """Cancel all transfers and end the threads.

        Args:
            wait: Whether to wait for the threads. A call on one of them never waits.
        """
        self.closed = True
        if self.is_parents():
            return
        if not self._is_prepared:
            self._prepare()
        self._mail.append((_CLOSE, None))
        # Also here, in case no thread is idle.
        for transfer in self._scheduler.transfers.copy():
            transfer.scope.cancel()
        wait = wait and not on_worker_thread()
        if self._thread_starts:
            self._ring()
            if wait:
                self._all_threads_ended.wait()
        self._pool.shutdown(wait=wait)

    def end_transfers(self, seconds: float) -> None:
        """Cancel all transfers, as the program ends, and wait for their reads for a moment."""
        if self.is_parents():
            return
        self.program_ends = True
        if not (self._threads or self._thread_starts):
            return
        deadline = monotonic() + seconds
        for transfer in self._scheduler.transfers.copy():
            self.cancel(transfer)
            transfer.ended.wait_for(max(0.0, deadline - monotonic()))

    def _ring(self) -> None:
        """Have a thread read the mail: an idle one, the first one, or any that finishes its job."""
        if self._idle:
            self._bell.put(None)
        elif not self._thread_starts:
            try:
                self._pool.start_thread(self._serve)
            except (RuntimeError, MemoryError):
                raise _NoThread from None
            self._thread_starts.append(None)

    # --- what threads do -----------------------------------------------------------------------------

    def _serve(self) -> None:
        """Run jobs until the engine is closed: the life of one thread."""
        generation = self._generation
        self._thread_starts.append(None)
        with self._lock:
            self._threads += 1
            self._is_starting_thread = False
        self._run_jobs()
        if generation != self._generation:
            return
        with self._lock:
            self._threads -= 1
            is_last = not self._threads
        if is_last and self._is_closing:
            self._all_threads_ended.open()

    def _run_jobs(self) -> None:
        """Run what may run, and wait where nothing may, until the engine is closed."""
        job: Job[Any] | None = None
        seconds = 0.0
        is_idle = False
        generation = self._generation
        # A hook or callback of the user's may fork. In the child, none of this is the thread's any more.
        while generation == self._generation:
            finished = None if job is None else job.transfer
            try:
                with self._lock:
                    self._idle -= is_idle
                    if job is not None:
                        self._finish(job, seconds)
                    cancelled = self._read_mail() if self._mail else _NOTHING
                    job = self._take()
                    is_idle = job is None and not self._is_closing
                    self._idle += is_idle
                    start = job is not None and not self._idle and self._wants_thread()
                    wake = job is not None and self._idle > 0 and self._scheduler.has_runnable()
            except BaseException as error:  # noqa: BLE001 - no consumer may wait for ever
                self._fail(error, job)
                return
            if finished is not None and finished.unannounced:
                _undisturbed(finished.announce)
            for each, dropped in cancelled:
                self._end(each, dropped)
            del finished, cancelled
            if job is not None:
                if start:
                    self._start_thread()
                elif wake:
                    self._bell.put(None)
                seconds = self._run(job)
            elif not is_idle:
                return
            # A caller first writes mail and then looks for an idle thread. Here it is the other way
            # round, so no mail is left lying.
            elif not self._mail:
                self._wait_for_mail()

    def _wait_for_mail(self) -> None:
        self._bell.get()

    def _run(self, job: Job[Any]) -> float:
        """Work on one job, and publish its outcome. Return the seconds that it took."""
        transfer, began = job.transfer, monotonic()
        try:
            if (
                not transfer.shared or self._may_begin(job.future)
            ) and job.future.set_running_or_notify_cancel():
                self._work(transfer, job.piece, job.future)
        except BaseException as error:  # noqa: BLE001 - such as that of a log handler of the user's
            log_error(_log, "publishing a block failed")
            if not job.future.done():
                _undisturbed(job.future.set_exception, error)
        if not transfer.ordered:
            transfer.results.put(job)
        del job  # An error's traceback reaches this frame, and would keep the future that holds it.
        seconds = monotonic() - began
        if transfer.priority != STREAM and seconds < _QUICK_JOB_S:
            self._yield_to_starting_stream()
        return seconds

    def _may_begin(self, future: Any) -> bool:
        """Wait for the lock of a user's future. Return False if the engine is closed meanwhile.

        A signal handler that closes the client may have struck the thread that has the lock, and wait
        for this one.
        """
        while not future.can_be_locked(_MAX_PUBLISH_S):
            if self.closed:
                Thread(target=_drop, args=(future,), daemon=True).start()
                return False
        return True

    def _work(self, transfer: Transfer[Any], piece: Piece, future: Any) -> None:
        try:
            result = transfer.run(piece)
        except Cancelled:
            _publish(future.set_exception, future, self._cancelled_error(piece, transfer.file_id))
        except BaseException as error:  # noqa: BLE001 - into the future, as executors do
            # What the frames hold is a block's bytes, a key or a URL: tracebacks with locals show them.
            traceback.clear_frames(error.__traceback__)
            _undisturbed(transfer.tell, "failed", piece, type(error).__name__)
            _publish(future.set_exception, future, error)
            del future  # The error's traceback holds this frame.
        else:
            if transfer.shared:
                _publish(future.set_result, future, result)
            else:
                future.set_result(result)

    def _yield_to_starting_stream(self) -> None:
        """Keep this thread, and its place among the workers, out of the way of a beginning stream."""
        seconds = self._window.remaining()
        if seconds > 0:
            self._window.wait(seconds)

    def _end(self, transfer: Transfer[Any], dropped: list[Job[Any]]) -> None:
        """Cut off the reads of a cancelled transfer, and end the futures that no thread has begun."""
        _undisturbed(transfer.scope.cancel)
        for job in dropped:
            future: Any = job.future
            if not isinstance(future, SharedFuture) or future.can_be_locked(_MAX_PUBLISH_S):
                _drop(future)
            else:
                # A signal handler that waits for this thread may have struck the one that has the lock.
                Thread(target=_drop, args=(future,), daemon=True).start()
            if not transfer.ordered:
                transfer.results.put(job)

    def _start_thread(self) -> None:
        """Start one more thread, or go on with those that run."""
        try:
            self._pool.start_thread(self._serve)
        except (RuntimeError, MemoryError):
            is_first = not self._no_thread_until
            self._no_thread_until = monotonic() + _THREAD_RETRY_S
            self._is_starting_thread = False
            if is_first and not (self.closed or self.program_ends):
                _undisturbed(
                    _log.warning,
                    "no more threads can be started: going on with %d. Raise the limit of processes "
                    "(ulimit -u, or the container's pids limit) for more speed",
                    self._threads,
                )

    # --- under the lock ------------------------------------------------------------------------------

    def _read_mail(self) -> list[tuple[Transfer[Any], list[Job[Any]]]]:
        """Do what callers asked for. Return the transfers to end once the lock is free."""
        ended: list[tuple[Transfer[Any], list[Job[Any]]]] = []
        while self._mail:
            # It stays in the mail until it is done: an error in between must not lose it.
            kind, subject = self._mail[0]
            if kind is _CONSUME:
                self._scheduler.consume(subject)
            elif kind is _START:
                # Another thread, or a signal handler, may have cancelled it while it was being started.
                is_wanted = subject.state is State.NEW and not subject.scope.cancelled
                self._scheduler.add(subject)
                if self._is_closing or not is_wanted:
                    ended.append((subject, self._scheduler.cancel(subject)))
            elif kind is _CANCEL:
                ended.append((subject, self._scheduler.cancel(subject)))
            else:
                self._is_closing = True
                for transfer in list(self._scheduler.transfers):
                    ended.append((transfer, self._scheduler.cancel(transfer)))
                for _ in range(self._idle):
                    self._bell.put(None)
            self._mail.popleft()
        return ended

    def _take(self) -> Job[Any] | None:
        scheduler, bandwidth = self._scheduler, self._bandwidth
        scheduler.limit = self._tuner.limit
        scheduler.ceiling = None if bandwidth.timetable is None else bandwidth.max_reads()
        job = scheduler.take()
        if self._tuner.wants_start and job is not None:
            self._tuner.start(monotonic(), process_time())
        return job

    def _finish(self, job: Job[Any], seconds: float) -> None:
        if job.transfer.max_workers is None:
            tuner = self._tuner
            if self._scheduler.running >= tuner.limit:
                now = monotonic()
                if tuner.completed(job.piece.length, seconds, now):
                    share = self._round_trips.take_body_share()
                    tuner.measure(now, process_time(), share)
            else:
                tuner.idle()
        self._scheduler.finish(job)

    def _wants_thread(self) -> bool:
        """Return whether to start a thread: another one must be idle while this one works."""
        if self._idle or self._is_starting_thread or self._is_closing:
            return False
        if self._threads >= _MAX_THREADS:
            return False
        if self._no_thread_until and monotonic() < self._no_thread_until:
            return False
        self._is_starting_thread = True
        return True

    def _fail(self, error: BaseException, job: Job[Any] | None) -> None:
        """End everything after an error in the engine itself: no caller may wait for ever.

        Args:
            error: The error.
            job: The job that the calling thread has just done, or was about to do.
        """
        log_error(_log, "the download engine failed: please report this")
        self._failure = error
        self.closed = True
        with self._lock:
            self._is_closing = True
            ended = [(each, each.cancel()) for each in self._scheduler.transfers]
            # Its entries lead to the queues that were just emptied.
            self._scheduler = Scheduler(self._max_workers)
            while self._mail:
                kind, subject = self._mail.popleft()
                if kind is _START:
                    ended.append((subject, subject.cancel()))
        if job is not None:
            ended.append((job.transfer, []))
            if not job.future.done():
                made = self._cancelled_error(job.piece, job.transfer.file_id)
                _undisturbed(job.future.set_exception, made)
        for transfer, dropped in ended:
            self._end(transfer, dropped)
            transfer.ended.open()
        for _ in range(self._threads):
            self._bell.put(None)


def _make_tuner(max_workers: int) -> Tuner:
    """Return what finds the number of workers.

    It begins with one worker per processor, which keeps a fast link busy. Above four, the interpreter's
    lock would limit such a link. The minimum is two, so that one receives while the other decodes.
    """
    processors = os.cpu_count() or 1
    initial = min(_MAX_INITIAL_WORKERS, max(_MIN_WORKERS, processors))
    most = min(max_workers, max(_MIN_MOST_WORKERS, max_descriptors() // _DESCRIPTORS_PER_WORKER))
    return Tuner(most, initial, minimum=_MIN_WORKERS, processors=processors)


def _undisturbed(call: Callable[..., object], *arguments: object) -> None:
    """Call what may run the user's own code, such as a callback: no error of it ends a thread."""
    try:
        call(*arguments)
    except BaseException:  # noqa: BLE001 - SystemExit as well
        with contextlib.suppress(BaseException):
            _log.exception("code of the program's own raised on a thread of downloads")


def _drop(future: Any) -> None:
    """Cancel a future that no thread has begun, and tell those that wait for it."""
    _undisturbed(future.cancel)
    if isinstance(future, SharedFuture) and future.cancelled():
        _undisturbed(future.set_running_or_notify_cancel)


def _publish(resolve: Callable[[Any], object], future: Any, outcome: Any) -> None:
    """Resolve a future, by its method `resolve`, without waiting for ever for a lock of the user's.

    An interrupt can leave the futures of `as_completed` and `wait` locked for good.
    """
    if not isinstance(future, SharedFuture) or future.can_be_locked(_MAX_PUBLISH_S):
        resolve(outcome)
    else:
        Thread(target=resolve, args=(outcome,), daemon=True).start()


# --- the process's own events ----------------------------------------------------------------------------

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_generations = itertools.count()


def _watch(engine: Engine) -> None:
    """Tell the engine of forks and of the program's end from now on."""
    if not _hooks:
        _hooks.append(_forget_parent)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forget_parent)
        # It runs when all threads that are not daemons have ended: no caller waits for a result then.
        atexit.register(_end_transfers)
    _engines.add(engine)


_hooks: list[Callable[[], None]] = []


def _forget_parent() -> None:
    """In a forked child: no thread of the parent is there, and its locks may be held for ever."""
    for engine in list(_engines):
        engine._forget_parent()


def _end_transfers() -> None:
    """As the program ends: daemon threads and abandoned iterations do not hold it up."""
    deadline = monotonic() + _MAX_EXIT_S
    for engine in list(_engines):
        engine.end_transfers(max(0.0, deadline - monotonic()))
