"""The log of requests: a record of each one, and how many are in flight."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter, deque

from .messages import Where


@dataclasses.dataclass
class RequestRecord:
    """One request. `status` and `sent` are filled in while it is answered.

    Attributes:
        number: The number of the request, from 1 on.
        where: What it was for: the portal or the storage.
        method: The HTTP method.
        path: The path of the URL, without the query.
        file_id: The file that it was about, or None.
        block: The number of the block, from 1 on, or None.
        range: The Range header, or None.
        had_authorization: Whether it had an Authorization header.
        connection: The number of the connection that it came through.
        host: The host that the client asked for.
        status: The HTTP status of the response. None if no status line was sent, or not yet.
        sent: The number of body bytes that were given to the socket.
        fault: The kind of fault that it met, or None.
        call: What it calls in the portal's API, such as `fetchResources`, or None.
        root: The decoded path that the call is about, such as `/My Files/a`, or None.
        depth: How deep the call looks, as the client wrote it, or None.
        start: The number of the first item that a listing asks for.
    """

    number: int
    where: Where
    method: str
    path: str
    file_id: int | None
    block: int | None
    range: str | None
    had_authorization: bool
    connection: int
    host: str
    status: int | None = None
    sent: int = 0
    fault: str | None = None
    call: str | None = None
    root: str | None = None
    depth: str | None = None
    start: int = 0


class RequestLog:
    """The records of the last requests, and counts of all. Thread-safe.

    Args:
        keep: How many records to keep.
    """

    def __init__(self, keep: int = 100_000) -> None:
        self._lock = threading.Lock()
        self._records: deque[RequestRecord] = deque(maxlen=keep)
        self._counts: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._most: Counter[str] = Counter()

    def begin(self, record: RequestRecord) -> None:
        """Note that a request has arrived, and number it."""
        with self._lock:
            self._counts[record.where] += 1
            record.number = sum(self._counts.values())
            self._records.append(record)
            self._running[record.where] += 1
            self._most[record.where] = max(self._most[record.where], self._running[record.where])

    def end(self, record: RequestRecord) -> None:
        """Note that a request is not in flight any more."""
        with self._lock:
            self._running[record.where] -= 1

    def records(self, **wanted: object) -> list[RequestRecord]:
        """Return records, oldest first.

        Args:
            **wanted: Attributes of `RequestRecord` and the values that they must have.
        """
        with self._lock:
            return [
                record
                for record in self._records
                if all(getattr(record, name) == value for name, value in wanted.items())
            ]

    def total(self, where: Where) -> int:
        """Return how many requests have arrived at the portal or the storage."""
        with self._lock:
            return self._counts[where]

    def in_flight(self, where: Where) -> int:
        """Return how many requests the portal or the storage is answering now."""
        with self._lock:
            return self._running[where]

    def most_in_flight(self, where: Where) -> int:
        """Return the largest number of requests that were in flight at one time."""
        with self._lock:
            return self._most[where]

    def clear(self) -> None:
        """Forget records and counts. Requests in flight stay counted as such."""
        with self._lock:
            self._records.clear()
            self._counts.clear()
            self._most = Counter(self._running)
