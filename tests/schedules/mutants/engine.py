"""Mutants of the engine: its mail, and how transfers begin and end."""

from __future__ import annotations

from ..instrument import Change
from .mutant import ENGINE, ITERATION, TRANSFER, UNCOUNTED, Mutant

__all__ = ["ENGINE_MUTANTS"]

ENGINE_MUTANTS = (
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
            *UNCOUNTED,
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
            *UNCOUNTED,
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
            *UNCOUNTED,
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
                "        if not transfer.queue:\n            self._ring()\n",
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
                "        if not self._is_done:\n            self.wait()\n"
                "        if not self._is_done:\n            raise CancelledError\n"
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
)
