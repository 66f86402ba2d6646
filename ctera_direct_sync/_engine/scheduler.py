"""Decides which job runs next. Pure: no lock, no thread, no clock.

A transfer that may run another job stands in one of three heaps:

    _capped   it has max_workers of its own, and fewer jobs than that run
    _idle     it shares the client's workers, and none of its jobs runs
    _active   it shares the client's workers, and some of its jobs run

The most urgent job is that of a stream before that of bulk work, then the earlier one within its
transfer, then the one that has waited longer. Every `_OLDEST_EVERY`-th job goes to the transfer that
has waited longest of those that may run one, whatever its priority. So each gets its share in the end.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from typing import Any

from .transfer import STREAM, Job, State, Transfer

__all__ = ["Scheduler"]

#: One job in this many goes by age instead of urgency.
_OLDEST_EVERY = 8

#: So many jobs of transfers other than streams may run beyond the ceiling, one of each transfer.
_MOST_BEYOND_CEILING = 6

#: A heap may have this many void entries, and two for each transfer.
_MAX_VOID = 256


class _Entry:
    """A transfer's place in one of the heaps. It is void once the transfer has left that place."""

    __slots__ = ("heap", "number", "transfer")

    def __init__(self, transfer: Transfer[Any], heap: _Heap, number: int) -> None:
        #: The transfer, or None once the entry is void: it keeps nothing alive.
        self.transfer: Transfer[Any] | None = transfer
        self.heap = heap
        #: The place in the order in which entries were made.
        self.number = number


class _Heap:
    """The transfers of one kind, by urgency and by age."""

    def __init__(self) -> None:
        # Priority, position, number and the entry. Numbers are unique, so entries are never compared.
        self.by_urgency: list[tuple[int, int, int, _Entry]] = []
        self.by_age: deque[_Entry] = deque()

    def add(self, item: tuple[int, int, int, _Entry], most: int) -> None:
        """Put in an entry. Above `most`, take out the void ones: at the top they go by themselves."""
        heapq.heappush(self.by_urgency, item)
        self.by_age.append(item[3])
        if len(self.by_urgency) > most or len(self.by_age) > most:
            self.by_urgency = [each for each in self.by_urgency if each[3].transfer is not None]
            heapq.heapify(self.by_urgency)
            self.by_age = deque(each for each in self.by_age if each.transfer is not None)

    def most_urgent(self) -> tuple[int, int, int, _Entry] | None:
        """Return the key and the entry of the transfer that is to go first."""
        entries = self.by_urgency
        while entries and entries[0][3].transfer is None:
            heapq.heappop(entries)
        return entries[0] if entries else None

    def oldest(self) -> _Entry | None:
        """Return the entry of the transfer that has waited longest."""
        entries = self.by_age
        while entries and entries[0].transfer is None:
            entries.popleft()
        return entries[0] if entries else None


class Scheduler:
    """Chooses among the jobs of all transfers.

    Args:
        max_workers: The most jobs of transfers without max_workers of their own that run at once.
    """

    def __init__(self, max_workers: int) -> None:
        self.max_workers = max_workers
        #: How many of them serve best. A transfer without a running job may exceed it.
        self.limit = max_workers
        #: The most jobs at once of all transfers, because of the bandwidth. A transfer that has none
        #: running may exceed it, see `_waiting_transfer`. None: any number.
        self.ceiling: int | None = None
        #: Running jobs of transfers without max_workers of their own.
        self.running = 0
        #: Transfers that have work left, or results that wait for memory.
        self.transfers: set[Transfer[Any]] = set()
        #: How many times the next piece of a transfer had no memory, while none of its jobs was queued.
        self.memory_waits = 0
        self._capped, self._idle, self._active = _Heap(), _Heap(), _Heap()
        #: In the order in which they close as more jobs run: `_open_heaps` takes the first ones.
        self._heaps = (self._capped, self._idle, self._active)
        self._first_heaps = self._heaps[:2], self._heaps[:1]
        self._sequence = itertools.count()
        self._since_oldest = 0

    def add(self, transfer: Transfer[Any]) -> None:
        """Take in a transfer that has admitted its first pieces."""
        transfer.begin()
        if not transfer.check_complete():
            self.transfers.add(transfer)
            self._offer(transfer)

    def take(self) -> Job[Any] | None:
        """Take the job that is to run next, now counted as running. None: nothing may run."""
        entry = self._next_entry()
        if entry is None or entry.transfer is None:
            return None
        transfer = entry.transfer
        entry.transfer = transfer.entry = None
        job: Job[Any] = transfer.queue.popleft()
        if not transfer.has_more:
            scope = transfer.scope
            scope.waiting = len(transfer.queue)
            scope.is_last = not scope.waiting
        transfer.running += 1
        self.running += transfer.max_workers is None
        self._offer(transfer)
        return job

    def has_runnable(self) -> bool:
        """Return whether another job may run now."""
        beyond = self._jobs_beyond_ceiling()
        if beyond is not None:
            return self._waiting_transfer(beyond) is not None
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
        if transfer.waits_for_memory and transfer.state is State.ACTIVE:
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
        try:
            transfer.admit()
        except BaseException as error:  # noqa: BLE001 - it is this transfer's end, and no other's
            transfer.fail(error)
        if transfer.check_complete():
            self._forget(transfer)
        elif transfer.queue:
            transfer.lacks_memory = False
            self._offer(transfer)
        elif transfer.has_more and not transfer.lacks_memory:
            transfer.lacks_memory = True
            self.memory_waits += 1

    def _forget(self, transfer: Transfer[Any]) -> None:
        """Keep nothing of a transfer that begins nothing more."""
        self._withdraw(transfer)
        self.transfers.discard(transfer)

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
        if transfer.entry is not None:
            if transfer.entry.heap is heap:
                return
            self._withdraw(transfer)
        number = next(self._sequence)
        entry = transfer.entry = _Entry(transfer, heap, number)
        item = (transfer.priority, transfer.queue[0].position, number, entry)
        heap.add(item, _MAX_VOID + 2 * len(self.transfers))

    @staticmethod
    def _withdraw(transfer: Transfer[Any]) -> None:
        """Take a transfer out of its heap: its entry is void from now on."""
        if transfer.entry is not None:
            transfer.entry.transfer = None
            transfer.entry = None

    def _next_entry(self) -> _Entry | None:
        """Return the entry whose transfer is to run a job now."""
        beyond = self._jobs_beyond_ceiling()
        if beyond is not None:
            return self._waiting_transfer(beyond)
        self._since_oldest += 1
        if self._since_oldest >= _OLDEST_EVERY:
            entry = self._oldest()
            if entry is not None:
                self._since_oldest = 0
                return entry
        return self._most_urgent()

    def _jobs_beyond_ceiling(self) -> int | None:
        """Return how many jobs run beyond the ceiling. None: they are fewer than it allows."""
        if self.ceiling is None:
            return None
        beyond = sum(transfer.running for transfer in self.transfers) - self.ceiling
        return beyond if beyond >= 0 else None

    def _waiting_transfer(self, beyond: int) -> _Entry | None:
        """Return the entry of the most urgent transfer that has no job running, and may run one.

        Each stream may: its consumer waits. Of other transfers only a few may. So reads that a storage
        does not answer hold up no other call, and a low rate is still not split among many.
        """
        heaps = self._first_heaps[self.running >= self.max_workers]
        least: tuple[int, int, int] | None = None
        found: _Entry | None = None
        for transfer in self.transfers:
            entry = transfer.entry
            if entry is None or transfer.running or entry.heap not in heaps:
                continue
            if transfer.priority == STREAM or beyond < _MOST_BEYOND_CEILING:
                key = (transfer.priority, transfer.queue[0].position, entry.number)
                if least is None or key < least:
                    least, found = key, entry
        return found

    def _oldest(self) -> _Entry | None:
        """Return the entry that has waited longest among those that may run a job now."""
        found: _Entry | None = None
        for heap in self._open_heaps():
            entry = heap.oldest()
            if entry is not None and (found is None or entry.number < found.number):
                found = entry
        return found

    def _most_urgent(self) -> _Entry | None:
        """Return the most urgent entry among those that may run a job now."""
        found: tuple[int, int, int, _Entry] | None = None
        for heap in self._open_heaps():
            # Most heaps are empty, and this runs twice for each block.
            if heap.by_urgency:
                item = heap.most_urgent()
                if item is not None and (found is None or item < found):
                    found = item
        return None if found is None else found[3]

    def _open_heaps(self) -> tuple[_Heap, ...]:
        """Return the heaps whose transfers may run one more job.

        A transfer at rest gets a worker beyond the number that serves best, up to the maximum: calls
        whose storage is stalled hold up no other.
        """
        if self.running < self.limit:
            return self._heaps
        return self._first_heaps[self.running >= self.max_workers]
