"""What was asked of the emulator: a record of each request, and how many were in flight."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter, deque
from typing import Optional


@dataclasses.dataclass
class RequestRecord:
    """
    One request. ``status`` and ``sent`` are filled in as it is answered.

    :ivar number: 1 for the first request that the emulator got.
    :ivar where: ``portal`` or ``storage``.
    :ivar path: without the query.
    :ivar range: the Range header, or None.
    :ivar status: None while, or if, it got no status line.
    :ivar sent: bytes of the body that were given to the socket.
    :ivar had_authorization: whether it came with an Authorization header.
    :ivar connection: a number for the connection that it came by.
    :ivar host: the Host that was asked for.
    :ivar fault: the kind of fault that it met, or None.
    :ivar call: of the portal's API, what it calls, such as ``fetchResources``, or None.
    :ivar root: the decoded path that the call is about, such as ``/My Files/a``, or None.
    :ivar depth: how deep the call looks, as the client wrote it, or None.
    :ivar start: the number of the first item that a listing asks for.
    """

    number: int
    where: str
    method: str
    path: str
    file_id: Optional[int]
    block: Optional[int]
    range: Optional[str]
    had_authorization: bool
    connection: int
    host: str
    status: Optional[int] = None
    sent: int = 0
    fault: Optional[str] = None
    call: Optional[str] = None
    root: Optional[str] = None
    depth: Optional[str] = None
    start: int = 0


class RequestLog:
    """
    The records of the last requests, and counts of all. Thread-safe.

    :param keep: records to keep.
    """

    def __init__(self, keep: int = 100_000) -> None:
        self._lock = threading.Lock()
        self._records: deque[RequestRecord] = deque(maxlen=keep)
        self._counts: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._most: Counter[str] = Counter()

    def begin(self, record: RequestRecord) -> None:
        """A request has come."""
        with self._lock:
            self._counts[record.where] += 1
            record.number = sum(self._counts.values())
            self._records.append(record)
            self._running[record.where] += 1
            self._most[record.where] = max(self._most[record.where], self._running[record.where])

    def end(self, record: RequestRecord) -> None:
        """A request's response is about to be complete, or was given up."""
        with self._lock:
            self._running[record.where] -= 1

    def records(self, **wanted: object) -> list[RequestRecord]:
        """Return the records whose members are as wanted, oldest first."""
        with self._lock:
            return [
                record
                for record in self._records
                if all(getattr(record, name) == value for name, value in wanted.items())
            ]

    def total(self, where: str) -> int:
        """Return how many requests have come."""
        with self._lock:
            return self._counts[where]

    def in_flight(self, where: str) -> int:
        """Return how many requests are being answered."""
        with self._lock:
            return self._running[where]

    def most_in_flight(self, where: str) -> int:
        """Return the most requests that were being answered at one time."""
        with self._lock:
            return self._most[where]

    def clear(self) -> None:
        """Forget records and counts; what is in flight stays."""
        with self._lock:
            self._records.clear()
            self._counts.clear()
            self._most = Counter(self._running)
