"""Mutants of what threads share beside the engine: claims, gates, flights, the pool, files."""

from __future__ import annotations

from ..instrument import Change
from .mutant import CANCELLATION, ENGINE, POOL, TRANSFER, Mutant

__all__ = ["SHARED_MUTANTS"]

SHARED_MUTANTS = (
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
                "        return self._claims[0] == _WORKER\n",
                "        return True\n",
            ),
        ),
    ),
    Mutant(
        "a canceller that lost its claim wakes the consumer",
        ("unshared-future",),
        (
            Change(
                TRANSFER,
                "            if self._claims.startswith(claim) and self._ended is not None:\n",
                "            if self._ended is not None:\n",
            ),
        ),
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
                "                if self.is_open:\n                    self._unlatch()\n",
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
                "        self.is_open = True\n        self._unlatch()\n",
                "        self._unlatch()\n        self.is_open = True\n",
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
                "_readers.file_workers",
                "        self._pool.shutdown(wait=True, cancel_futures=True)\n",
                "        self._pool.shutdown(wait=False, cancel_futures=True)\n",
            ),
        ),
    ),
    Mutant(
        "a thread that found no file is not replaced",
        ("batch",),
        (
            Change(
                "_readers.file_workers",
                "                if not self._tasks or not self._take_token():\n",
                "                if True:\n",
            ),
        ),
    ),
)
