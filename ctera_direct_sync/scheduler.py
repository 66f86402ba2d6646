"""Decides which job runs next. Pure: no lock, no thread, no clock.

A transfer that may run another job stands in one of three heaps:

    _capped   it has max_workers of its own, and fewer jobs than that run
    _idle     it shares the client's workers, and none of its jobs runs
    _active   it shares the client's workers, and some of its jobs run

The most urgent job is that of a stream before that of bulk work, then the earlier one within its
transfer, then the one that has waited longer. Every `_OLDEST_EVERY`-th job goes to the transfer that
has waited longest, whatever its priority, so that each gets its share in the end.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from typing import Any, NamedTuple, Optional

from .transfer import Job, State, Transfer

__all__ = ["Scheduler"]

#: One job in this many goes by age instead of urgency.
_OLDEST_EVERY = 8

#: A heap may have this many void entries, and two for each transfer.
_MAX_VOID = 256


class _Entry(NamedTuple):
    """A transfer's place in one of the heaps. Keys are unique, so nothing else is compared."""

    key: tuple[int, int, int]
    transfer: Transfer[Any]
    heap: list[_Entry]

    @property
    def is_valid(self) -> bool:
        """False once the transfer moved to another heap, or was cancelled."""
        return self.transfer.entry is self and bool(self.transfer.queue)


class Scheduler:
    """Chooses among the jobs of all transfers.

    Args:
        max_workers: The most jobs of transfers without max_workers of their own that run at once.
    """

    def __init__(self, max_workers: int) -> None:
        self.max_workers = max_workers
        #: How many of them serve best. A transfer without a running job may exceed it.
        self.limit = max_workers
        #: Running jobs of transfers without max_workers of their own.
        self.running = 0
        #: Transfers that have work left, or results that wait for memory.
        self.transfers: set[Transfer[Any]] = set()
        self._capped: list[_Entry] = []
        self._idle: list[_Entry] = []
        self._active: list[_Entry] = []
        self._by_age: deque[_Entry] = deque()
        self._sequence = itertools.count()
        self._since_oldest = 0

    def add(self, transfer: Transfer[Any]) -> None:
        """Take in a transfer that has admitted its first pieces."""
        transfer.state = State.ACTIVE
        if not transfer.check_complete():
            self.transfers.add(transfer)
            self._offer(transfer)

    def take(self) -> Optional[Job[Any]]:
        """Take the job that is to run next, now counted as running. None: nothing may run."""
        entry = self._next_entry()
        if entry is None:
            return None
        transfer = entry.transfer
        transfer.entry = None
        job: Job[Any] = transfer.queue.popleft()
        transfer.running += 1
        self.running += transfer.max_workers is None
        self._offer(transfer)
        return job

    def has_runnable(self) -> bool:
        """Return whether another job may run now."""
        return self._most_urgent() is not None

    def finish(self, job: Job[Any]) -> None:
        """Account for a job that was worked on."""
        transfer = job.transfer
        self.running -= transfer.max_workers is None
        transfer.finish(job)
        self._go_on(transfer)

    def consume(self, job: Job[Any]) -> None:
        """Account for a result that its consumer no longer holds: its memory lets the next pieces in."""
        transfer = job.transfer
        transfer.consume(job)
        # Nothing waits for memory in any other case, and this runs once for each block.
        if transfer.has_more and transfer.state is State.ACTIVE:
            self._go_on(transfer)

    def cancel(self, transfer: Transfer[Any]) -> list[Job[Any]]:
        """Begin nothing more of a transfer.

        Returns:
            Its jobs that no thread has begun. Their futures are still to be ended.
        """
        if transfer.state in (State.COMPLETE, State.CANCELLED):
            return []
        dropped = transfer.cancel()
        self._forget(transfer)
        transfer.check_complete()
        return dropped

    def _go_on(self, transfer: Transfer[Any]) -> None:
        """Admit what fits now, and see whether that was all."""
        transfer.admit()
        if transfer.check_complete():
            self._forget(transfer)
        else:
            self._offer(transfer)

    def _forget(self, transfer: Transfer[Any]) -> None:
        """Keep nothing of a transfer that begins nothing more."""
        self.transfers.discard(transfer)
        if not self.transfers:
            for entries in (self._capped, self._idle, self._active, self._by_age):
                entries.clear()

    def _offer(self, transfer: Transfer[Any]) -> None:
        """Put a transfer that may run another job into the heap of its kind, once."""
        if not transfer.queue:
            return
        if transfer.max_workers is None:
            heap = self._active if transfer.running else self._idle
        elif transfer.running < transfer.max_workers:
            heap = self._capped
        else:
            return
        if transfer.entry is not None and transfer.entry.heap is heap:
            return
        key = (transfer.priority, transfer.queue[0].position, next(self._sequence))
        # The entry that it had in another heap is void from now on.
        transfer.entry = _Entry(key, transfer, heap)
        heapq.heappush(heap, transfer.entry)
        self._by_age.append(transfer.entry)
        for entries in (heap, self._by_age):
            if len(entries) > _MAX_VOID + 2 * len(self.transfers):
                self._drop_void()

    def _drop_void(self) -> None:
        """Take the void entries out of the middle of each heap: at its top they go by themselves."""
        for heap in (self._capped, self._idle, self._active):
            heap[:] = [entry for entry in heap if entry.is_valid]
            heapq.heapify(heap)
        self._by_age = deque(entry for entry in self._by_age if entry.is_valid)

    def _next_entry(self) -> Optional[_Entry]:
        """Take out the entry whose transfer is to run a job now."""
        self._since_oldest += 1
        if self._since_oldest >= _OLDEST_EVERY:
            entry = self._oldest()
            if entry is not None:
                self._since_oldest = 0
                return entry
        heap = self._most_urgent()
        return None if heap is None else heapq.heappop(heap)

    def _oldest(self) -> Optional[_Entry]:
        """The entry that has waited longest, if it may run now. It stays in its heap, void."""
        while self._by_age and not self._by_age[0].is_valid:
            self._by_age.popleft()
        if self._by_age and self._has_capacity(self._by_age[0].heap):
            return self._by_age.popleft()
        return None

    def _most_urgent(self) -> Optional[list[_Entry]]:
        """The heap with the most urgent entry among those that may run a job now."""
        best: Optional[list[_Entry]] = None
        for heap in (self._capped, self._idle, self._active):
            while heap and not heap[0].is_valid:
                heapq.heappop(heap)
            if heap and self._has_capacity(heap) and (best is None or heap[0] < best[0]):
                best = heap
        return best

    def _has_capacity(self, heap: list[_Entry]) -> bool:
        """Return whether one more job of this heap's transfers may run.

        A transfer at rest gets a worker beyond the number that serves best, up to the maximum: calls
        whose storage is stalled hold up no other.
        """
        if heap is self._capped or self.running < self.limit:
            return True
        return heap is self._idle and self.running < self.max_workers
