"""The table of faults: which request meets which fault, and how often."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from .messages import PORTAL, STORAGE, Request, Where

if TYPE_CHECKING:
    from .exchange import Exchange


class Action(NamedTuple):
    """What a fault does.

    Attributes:
        kind: The name of the action in the log of requests.
        run: Answers the request, in the action's own way.
        enters: Whether `run` itself calls `Fault.enter`, at the moment that counts.
    """

    kind: str
    run: Callable[[Exchange, Fault], None]
    enters: bool = False


class Fault:
    """A fault in the table. It counts the requests that meet it, and holds those that must wait.

    Attributes:
        action: What the fault does.
        entered: An event that is set when the first request meets the fault.
    """

    def __init__(
        self,
        where: Where | None,
        file_id: int | None,
        block: int | None,
        times: int | None,
        skip: int,
        action: Action,
        call: str | None = None,
    ) -> None:
        self.action = action
        self.entered = threading.Event()
        self._where = where
        self._file_id = file_id
        self._block = block
        self._call = call
        self._remaining = times
        self._skip = skip
        self._hits = 0
        self._changed = threading.Condition()
        self._released = threading.Event()

    @property
    def hits(self) -> int:
        """How many requests have met the fault."""
        with self._changed:
            return self._hits

    def wait(self, hits: int = 1, timeout: float = 30.0) -> bool:
        """Wait until some requests have met the fault.

        Args:
            hits: How many requests to wait for.
            timeout: How long to wait, in seconds.

        Returns:
            Whether they met it in time.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._hits >= hits, timeout)

    def release(self) -> None:
        """Let the requests that the fault holds go on, and hold no further ones."""
        self._released.set()

    def hold(self) -> None:
        """Wait until the fault is released. Actions call this."""
        self._released.wait()

    def matches(self, request: Request) -> bool:
        """Return whether the fault is for a request, regardless of how often it may still happen."""
        wanted = (
            (self._where, request.where),
            (self._file_id, request.file_id),
            (self._block, request.block),
            (self._call, request.call.name if request.call is not None else None),
        )
        return all(want is None or want == have for want, have in wanted)

    def take(self) -> bool:
        """Count a matching request, and return whether it meets the fault."""
        if self._skip > 0:
            self._skip -= 1
            return False
        if self._remaining == 0:
            return False
        if self._remaining is not None:
            self._remaining -= 1
        return True

    def enter(self) -> None:
        """Note that a request has met the fault, and wake those that wait for it."""
        with self._changed:
            self._hits += 1
            self._changed.notify_all()
        self.entered.set()


class FaultTable:
    """The faults, in the order in which they were added. A request meets the first one that matches."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(
        self,
        where: Where | None = None,
        file_id: int | None = None,
        block: int | None = None,
        *,
        times: int | None = 1,
        skip: int = 0,
        call: str | None = None,
        action: Action,
    ) -> Fault:
        """Add a fault.

        Args:
            where: Which requests it is for: `portal`, `storage`, or None for both.
            file_id: Only requests for this file.
            block: Only requests for this block. The first block has the number 1.
            times: How many requests meet it. None: all.
            skip: How many matching requests pass before.
            call: Only requests that make this call of the portal's API, such as `login`,
                `fetchResources` or `PROPFIND`.
            action: What happens.

        Raises:
            ValueError: `where` is something else.
        """
        if where not in (None, PORTAL, STORAGE):
            raise ValueError(f"where must be 'portal', 'storage' or None, not {where!r}")
        fault = Fault(where, file_id, block, times, skip, action, call)
        with self._lock:
            self._faults.append(fault)
        return fault

    def match(self, request: Request) -> Fault | None:
        """Return the fault that a request meets, and count the request."""
        with self._lock:
            for fault in self._faults:
                if fault.matches(request) and fault.take():
                    return fault
        return None

    def clear(self) -> None:
        """Remove all faults, and release the requests that they hold."""
        with self._lock:
            faults, self._faults = self._faults, []
        for fault in faults:
            fault.release()

    def release(self) -> None:
        """Release all requests that are held. The faults stay."""
        with self._lock:
            faults = list(self._faults)
        for fault in faults:
            fault.release()
