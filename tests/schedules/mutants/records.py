"""The mutants: what each breaks, in which text, and which models are to find it.

A mutant is never written to the tree. `instrument.Package` changes the source while it loads it, and
fails if the old text is not there exactly once. After an edit of such a line, bring its mutant along.
"""

from __future__ import annotations

from typing import NamedTuple

from ..instrument import Change

__all__ = ["MUTANTS", "Mutant"]

ENGINE = "_engine.engine"
TRANSFER = "_engine.transfer"
ITERATION = "_engine.iteration"
CANCELLATION = "_base.cancellation"
POOL = "_base.worker_pool"


class Mutant(NamedTuple):
    """One race.

    Attributes:
        name: What goes wrong, in a few words.
        models: The models that are run, in turn, to find it.
        changes: What makes it.
    """

    name: str
    models: tuple[str, ...]
    changes: tuple[Change, ...]


#: The readers' own count of what they delivered, which would report each of these ends by itself.
_UNCOUNTED = (
    Change("_readers.stream", "if self._offset != self._stop and not self._stopped:", "if False:"),
    Change("_readers.stream", "    if delivered != expected:\n", "    if False:\n"),
)

MUTANTS = (
    # --- ends that look whole ----------------------------------------------------------------------
    Mutant(
        "a job that was consumed before it was booked keeps its memory",  # Fixed in 69899ca.
        ("stream",),
        (
            Change(
                TRANSFER,
                "        if job.charged_bytes:\n"
                "            self.charged_bytes -= job.charged_bytes - job.result_bytes\n"
                "            job.charged_bytes = job.result_bytes\n",
                "        self.charged_bytes -= job.charged_bytes - job.result_bytes\n"
                "        job.charged_bytes = job.result_bytes\n",
            ),
        ),
    ),
    Mutant(
        "the end comes with the last job that is queued, as in 69899ca",
        ("stream",),
        (
            Change(
                TRANSFER,
                "        if self._unfinished or self._next_piece is not None:\n",
                "        if self._unfinished:\n",
            ),
            *_UNCOUNTED,
        ),
    ),
    Mutant(
        "close() beside a slow consumer ends the stream as if it were whole",
        ("close-beside-a-slow-consumer",),
        (
            Change(ITERATION, "    if transfer.state is not State.COMPLETE:\n", "    if False:\n"),
            Change(
                ENGINE,
                "transfer.scope.cancelled or self.closed:\n            raise Cancelled",
                "False:\n            raise Cancelled",
            ),
            *_UNCOUNTED,
        ),
    ),
    Mutant(
        "a cancelled transfer counts as complete",
        ("close-beside-a-slow-consumer", "close-in-a-signal-handler"),
        (
            Change(TRANSFER, "        self.state = State.CANCELLED\n", "        pass\n"),
            Change(
                ENGINE,
                "transfer.scope.cancelled or self.closed:\n            raise Cancelled",
                "False:\n            raise Cancelled",
            ),
            *_UNCOUNTED,
        ),
    ),
    # --- mail and bell -------------------------------------------------------------------------------
    Mutant(
        "the bell is not rung for a start",
        ("two-calls",),
        (
            Change(
                ENGINE,
                "            self._mail.append((_START, transfer))\n            self._ring()\n",
                "            self._mail.append((_START, transfer))\n"
                "            if not self._thread_starts:\n"
                "                self._ring()\n",
            ),
        ),
    ),
    Mutant(
        "the bell is rung before the mail is there",
        ("two-calls", "consume", "stream"),
        (
            Change(
                ENGINE,
                "            self._mail.append((_START, transfer))\n            self._ring()\n",
                "            self._ring()\n            self._mail.append((_START, transfer))\n",
            ),
        ),
    ),
    Mutant(
        # While another thread is idle, that one is rung for.
        "a thread sleeps without a look at the mail",
        ("scarce-threads",),
        (Change(ENGINE, "            elif not self._mail:\n", "            else:\n"),),
    ),
    Mutant(
        "a thread looks at the mail before it counts as idle",
        ("two-calls", "stream", "callbacks"),
        (
            Change(
                ENGINE,
                "                    self._idle += is_idle\n",
                "                    has_mail = bool(self._mail)\n",
            ),
            Change(
                ENGINE,
                "            elif not self._mail:\n                self._wait_for_mail()\n",
                "            else:\n"
                "                self._idle += 1\n"
                "                if not has_mail:\n"
                "                    self._wait_for_mail()\n",
            ),
        ),
    ),
    Mutant(
        "memory that is given back wakes no thread",
        ("stream",),
        (
            Change(
                ENGINE,
                "        if not transfer.queue and transfer.has_more:\n            self._ring()\n",
                "",
            ),
        ),
    ),
    Mutant(
        "a consumer gives memory back by itself, beside the engine's threads",
        ("stream", "consume"),
        (
            Change(
                ENGINE,
                "        self._mail.append((_CONSUME, job))\n",
                "        self._scheduler.consume(job)\n",
            ),
        ),
    ),
    Mutant(
        "a job that failed keeps its memory",
        ("consume", "two-calls"),
        (
            Change(
                ITERATION,
                "        yield job\n        engine.consume(job)\n        del job\n    _check_complete",
                "        yield job\n        if job.future.exception() is None:\n"
                "            engine.consume(job)\n        del job\n    _check_complete",
            ),
        ),
    ),
    Mutant(
        "idle threads are counted without the lock",
        ("two-calls", "stream", "callbacks", "leave"),
        (
            Change(
                ENGINE,
                "                with self._lock:\n                    self._idle -= is_idle\n",
                "                self._idle -= is_idle\n                with self._lock:\n",
            ),
        ),
    ),
    Mutant(
        "no thread is kept idle to read the mail",
        ("stuck-beside",),
        (
            Change(
                ENGINE,
                "        if self._idle or self._is_starting_thread or self._is_closing:\n",
                "        if self._threads or self._is_starting_thread or self._is_closing:\n",
            ),
        ),
    ),
    Mutant(
        "the engine's lock is not taken",
        ("two-calls", "stream"),
        (
            Change(
                ENGINE,
                "                with self._lock:\n                    self._idle -= is_idle\n",
                "                if True:\n                    self._idle -= is_idle\n",
            ),
        ),
    ),
    # --- beginning and ending ------------------------------------------------------------------------
    Mutant(
        "a start that comes after the last thread is not refused",
        ("close-amid-dispatch",),
        (
            Change(
                ENGINE,
                "            if self.closed:\n"
                "                raise ClientClosed(_CLOSED)\n"
                "        except BaseException as error:\n",
                "        except BaseException as error:\n",
            ),
        ),
    ),
    Mutant(
        "a transfer that was cancelled amid its start begins",
        ("open-files", "expiry", "stop"),
        (
            Change(ENGINE, "self._is_closing or not is_wanted:", "self._is_closing:"),
            Change(TRANSFER, "        self._unfinished = len(self.queue)\n", ""),
        ),
    ),
    Mutant(
        "a cancel takes away the piece that is being admitted",
        ("stop", "open-files"),
        (
            Change(
                TRANSFER,
                "        while (piece := self._next_piece) is not None:\n",
                "        while self._next_piece is not None:\n"
                "            piece = self._next_piece\n",
            ),
        ),
    ),
    Mutant(
        "close() leaves it to the threads to cut off what they are stuck in",
        ("close-of-a-stuck-thread",),
        (
            Change(
                ENGINE,
                "        for transfer in self._scheduler.transfers.copy():\n"
                "            transfer.scope.cancel()\n",
                "",
            ),
        ),
    ),
    Mutant(
        "cancel() leaves it to the threads to cut off what they are stuck in",
        ("close-of-a-stuck-thread",),
        (
            Change(
                ENGINE,
                "        # Also here, in case no thread is idle.\n        transfer.scope.cancel()\n",
                "",
            ),
        ),
    ),
    Mutant(
        "futures of dropped jobs are left undecided",
        ("close-amid-dispatch", "close-twice"),
        (Change(ENGINE, "    _undisturbed(future.cancel)\n", ""),),
    ),
    Mutant(
        "a download does not wait for its last worker",
        ("interrupt", "leave", "close-beside-a-slow-consumer"),
        (
            Change(
                ENGINE,
                "        while self.owns(transfer) and not transfer.ended.is_open:\n",
                "        for _ in range(1):\n",
            ),
            Change(ENGINE, "                transfer.ended.wait_for(_DRAIN_STEP_S)\n", ""),
        ),
    ),
    Mutant(
        "a cancelled transfer has ended while threads work for it",
        ("interrupt", "close-beside-a-slow-consumer"),
        (
            Change(
                TRANSFER,
                "        self.state = State.CANCELLED\n        self.results.put(None)\n",
                "        self.state = State.CANCELLED\n"
                "        self.results.put(None)\n"
                "        self.ended.open()\n",
            ),
        ),
    ),
    Mutant(
        "a result is told before its future has it",
        ("consume", "two-calls"),
        (
            Change(
                ENGINE,
                "        transfer, began = job.transfer, monotonic()\n",
                "        transfer, began = job.transfer, monotonic()\n"
                "        if not transfer.ordered:\n"
                "            transfer.results.put(job)\n",
            ),
            Change(
                ENGINE,
                "        if not transfer.ordered:\n"
                "            transfer.results.put(job)\n"
                "        del job  # An error's",
                "        del job  # An error's",
            ),
            Change(
                TRANSFER,
                "        self.wait()\n        if not self._is_done:\n            raise CancelledError\n"
                "        if self._error is not None:\n",
                "        if not self._is_done:\n            raise CancelledError\n"
                "        if self._error is not None:\n",
            ),
        ),
    ),
    Mutant(
        "close() returns while a thread still runs",
        ("close-twice", "close-amid-dispatch", "close-beside-a-slow-consumer"),
        (
            # The pool's shutdown would wait as well.
            Change(
                ENGINE,
                "        self._pool.shutdown(wait=wait)\n",
                "        self._pool.shutdown(wait=False)\n",
            ),
            Change(
                ENGINE,
                "        if is_last and self._is_closing:\n",
                "        if self._is_closing:\n",
            ),
        ),
    ),
    Mutant(
        "a stop is noted after its cancel",
        ("stop",),
        (
            Change(
                "_readers.stream",
                "        self._stopped = True\n"
                "        if self._transfer is not None:\n"
                "            self._file.engine.cancel(self._transfer)\n",
                "        if self._transfer is not None:\n"
                "            self._file.engine.cancel(self._transfer)\n"
                "        self._stopped = True\n",
            ),
        ),
    ),
    # --- claims ----------------------------------------------------------------------------------------
    Mutant(
        "a canceller does not look whose claim came first",
        ("cancel-scope",),
        (Change(CANCELLATION, "        if claim is _THREAD:\n            return\n", ""),),
    ),
    Mutant(
        "a thread goes on while a canceller aborts it",
        ("cancel-scope",),
        (Change(CANCELLATION, "        claim.wait_for(_MAX_ABORT_S)\n", ""),),
    ),
    Mutant(
        "a scope is checked before the thread is registered",
        ("cancel-scope", "stop"),
        (
            Change(
                CANCELLATION,
                "        if self.cancelled:\n"
                "            self.detach()\n"
                "            raise Cancelled\n",
                "",
            ),
            Change(
                CANCELLATION,
                "        attachment = self._attachments[ident] = Attachment(abort)\n",
                "        self.check()\n"
                "        attachment = self._attachments[ident] = Attachment(abort)\n",
            ),
        ),
    ),
    Mutant(
        "a scope is marked as cancelled after its threads were woken",
        ("cancel-scope",),
        (
            Change(
                CANCELLATION,
                "        self.cancelled = True\n        self._ended.open()\n",
                "        self._ended.open()\n",
            ),
            Change(
                CANCELLATION,
                "            attachment.abort()\n",
                "            attachment.abort()\n        self.cancelled = True\n",
            ),
        ),
    ),
    Mutant(
        "a job runs although its cancel came first",
        ("unshared-future", "cancel-futures"),
        (
            Change(
                TRANSFER,
                "        return self._claims[0] is _WORKER\n",
                "        return True\n",
            ),
        ),
    ),
    Mutant(
        "a canceller that lost its claim wakes the consumer",
        ("unshared-future",),
        (Change(TRANSFER, "            if self._claims[0] is claim:\n", "            if True:\n"),),
    ),
    Mutant(
        "a future is done before it has its result",
        ("unshared-future",),
        (
            Change(
                TRANSFER,
                "        self._result = result\n        self._is_done = True\n",
                "        self._is_done = True\n        self._result = result\n",
            ),
        ),
    ),
    # --- gates -----------------------------------------------------------------------------------------
    Mutant(
        "a gate lets one thread pass",
        ("gate",),
        (
            Change(
                CANCELLATION,
                "                if self.is_open:\n                    self._tokens.put(None)\n",
                "                pass\n",
            ),
        ),
    ),
    Mutant(
        "a gate gives its token before it is open",
        ("gate",),
        (
            Change(
                CANCELLATION,
                "        self.is_open = True\n        self._tokens.put(None)\n",
                "        self._tokens.put(None)\n        self.is_open = True\n",
            ),
        ),
    ),
    Mutant(
        "a user's future wakes no waiting thread",
        ("shared-future",),
        (
            Change(
                TRANSFER,
                "        super().add_done_callback(lambda future: gate.open())\n",
                "        gate\n",
            ),
        ),
    ),
    Mutant(
        "a cancel that is interrupted wakes no waiting thread",
        ("shared-future",),
        (
            Change(
                TRANSFER,
                "            if self.cancelled():\n                self._gate.open()\n",
                "            pass\n",
            ),
        ),
    ),
    # --- single flight and renewal ---------------------------------------------------------------------
    Mutant(
        "the leader's cancel is everybody's",
        ("single-flight", "expiry"),
        (
            Change(
                CANCELLATION,
                "            if isinstance(error, Cancelled):\n                continue",
                "            if False:\n                continue",
            ),
        ),
    ),
    Mutant(
        "a caller looks whether the call has ended before it registers",
        ("single-flight",),
        (
            Change(
                CANCELLATION,
                "        flight.waiting.append(queue)\n"
                "        # Checked after registering: the leader either saw the queue or has landed.\n"
                "        if not flight.landed:\n",
                "        if not flight.landed:\n            flight.waiting.append(queue)\n",
            ),
        ),
    ),
    Mutant(
        "the waiting callers are woken before the outcome is there",
        ("single-flight",),
        (
            Change(
                CANCELLATION,
                "            result = flight.result = call()\n            flight.error = None\n",
                "            result = call()\n"
                "            flight.error = None\n"
                "            flight.land()\n"
                "            flight.result = result\n",
            ),
        ),
    ),
    Mutant(
        "two callers make the same call at once",
        ("single-flight", "expiry"),
        (
            Change(
                CANCELLATION,
                "                    flight = self._flights.setdefault(key, own)\n",
                "                    flight = self._flights.get(key)\n"
                "                    if flight is None:\n"
                "                        flight = self._flights[key] = own\n",
            ),
        ),
    ),
    Mutant(
        "a renewed list is told before it is in place",
        ("expiry",),
        (
            Change(
                "_protocol.block_list",
                "        if fresh.fingerprint == stale.fingerprint:\n"
                "            self.metadata = fresh\n",
                "        self._latest = fresh\n"
                "        if fresh.fingerprint == stale.fingerprint:\n"
                "            self.metadata = fresh\n",
            ),
        ),
    ),
    # --- pool, fork, files, batches --------------------------------------------------------------------
    Mutant(
        "a pool's thread leaves with a task in the queue",
        ("worker-pool",),
        (
            Change(
                POOL,
                "                    if is_shut:\n",
                "                    if self._is_shut:\n",
            ),
        ),
    ),
    Mutant(
        "a pool's end is told to one thread alone",
        ("worker-pool", "close-twice"),
        (
            Change(
                POOL,
                "            # The end is for all threads, also for those that start right now.\n"
                "            self._tasks.put(None)\n",
                "            pass\n",
            ),
        ),
    ),
    Mutant(
        "a pool's shutdown does not wait for a thread that is being started",
        ("worker-pool",),
        (Change(POOL, "            launch.wait_for(_MAX_LAUNCH_S)\n", "            pass\n"),),
    ),
    Mutant(
        "a start goes on in a forked child with the parent's threads",
        ("fork",),
        (Change(ENGINE, "            self._check_generation(transfer)\n", ""),),
    ),
    Mutant(
        "a forked child waits for futures of its parent",
        ("fork",),
        (
            Change(
                ENGINE, "            transfer.abandon(self._forked_error)\n", "            pass\n"
            ),
        ),
    ),
    Mutant(
        "a read that fails undoes the read of another thread",
        ("shared-file",),
        (
            Change(
                "_readers.raw_file",
                "            # Still under the lock: another thread's read must not be undone.\n"
                "            moved.clear()\n"
                "            if not self.closed:\n"
                "                if self.places is not None:\n"
                "                    self.places.put_back(start)\n"
                "                self.position = start\n"
                "            raise\n",
                "            raise\n",
            ),
            Change(
                "_readers.raw_file",
                "            if moved:\n                self._lock.run(self._move_back, *moved)\n",
                "            self.position = self._claimed\n",
            ),
        ),
    ),
    Mutant(
        "a block that was evicted amid its read is counted again",
        ("open-files",),
        (
            Change(
                "_readers.block_memory",
                "        if cache is None or cache.blocks.get(block.start) is not block:\n"
                "            return\n"
                "        block.data, block.job, block.transfer = data, None, None\n",
                "        if cache is None:\n"
                "            return\n"
                "        block.data, block.job, block.transfer = data, None, None\n",
            ),
        ),
    ),
    Mutant(
        "the memory of open files has no lock",
        ("open-files",),
        (
            Change(
                "_readers.block_memory",
                "        return self._lock.run(self._mend_and_call, call)\n",
                "        return call()\n",
            ),
        ),
    ),
    Mutant(
        "a batch that is left does not wait for its downloads",
        ("batch",),
        (
            Change(
                "_readers.batch",
                "        executor.shutdown(wait=True, cancel_futures=True)\n",
                "        executor.shutdown(wait=False, cancel_futures=True)\n",
            ),
        ),
    ),
)
