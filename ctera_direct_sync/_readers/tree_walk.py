"""Walking a tree of folders: several listings at once, one order, bounded memory.

The consumer's thread decides everything. Worker threads fetch one page each and put it into a queue, so
nothing here needs a lock. The order is that of a depth-first walk, a folder before its content. Pages are
fetched ahead in the order in which the consumer will need them.
"""

from __future__ import annotations

import contextvars
import errno
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Callable, NamedTuple, Protocol

from .._base import waits
from .._base.cancellation import CancelScope
from .._base.sync import Empty, SimpleQueue
from .._base.worker_pool import WorkerPool
from ..exceptions import LoginError, NamespaceError, NotAFolderError, PathNotFoundError
from ..types import Entry

__all__ = ["Folder", "Listing", "Step", "TreeWalk", "find_loop"]

#: Pages that are fetched at the same time.
MAX_IN_FLIGHT = 16
#: Pages that wait for the consumer, and the entries in them.
_MAX_PAGES_AHEAD = 64
_MAX_ENTRIES_AHEAD = 16_000
#: Pages of one folder that wait for the consumer.
_MAX_PAGES_OF_FOLDER = 2


class Listing(Protocol):
    """Reads the pages of a folder, as `Pager` does."""

    complete: bool

    def next_page(self) -> list[Entry]:
        """Return the next entries."""


class Step(NamedTuple):
    """What the walk does at one entry."""

    entry: Entry | None
    """The entry to yield, or None."""
    folder: Folder | None
    """The folder to walk next, or None."""


class Folder:
    """A folder of the walk.

    Args:
        path: Its path.
        listing: Returns the reader of its pages.
        parent: The folder that it was found in, or None.
        may_be_missing: Whether it is skipped if it does not exist, or is a file.
        state: What the rule of the walk keeps for it.
    """

    __slots__ = (
        "complete",
        "error",
        "in_flight",
        "listing",
        "may_be_missing",
        "pages",
        "parent",
        "path",
        "reader",
        "state",
    )

    def __init__(
        self,
        path: str,
        listing: Callable[[], Listing],
        parent: Folder | None = None,
        *,
        may_be_missing: bool = False,
        state: Any = None,
    ) -> None:
        self.path = path
        self.listing = listing
        self.parent = parent
        self.may_be_missing = may_be_missing
        self.state = state
        self.reader: Listing | None = None
        self.pages: deque[_Page] = deque()
        self.in_flight = False
        self.complete = False
        self.error: BaseException | None = None

    @property
    def wants_page(self) -> bool:
        """Whether another page can be fetched now."""
        return not self.complete and not self.in_flight and len(self.pages) < _MAX_PAGES_OF_FOLDER


class _Page:
    """A page that waits for the consumer."""

    __slots__ = ("folders", "is_ahead", "size", "steps")

    def __init__(self, steps: Sequence[Step]) -> None:
        #: Whether the consumer has yet to come to it.
        self.is_ahead = True
        self.size = len(steps)
        self.steps = deque(steps)
        #: The folders of the steps, for those who look ahead.
        self.folders = deque(step.folder for step in steps if step.folder is not None)


class _Arrival(NamedTuple):
    """What a worker thread brought."""

    folder: Folder
    entries: list[Entry]
    complete: bool
    error: BaseException | None


def find_loop(folder: Folder, path: str) -> NamespaceError | None:
    """Return the error for something in a folder that leads back to a folder above it, or None."""
    # A path that only grows cannot lead back.
    if path.rpartition("/")[0] == folder.path.rstrip("/"):
        return None
    above: Folder | None = folder
    while above is not None:
        if above.path == path:
            text = "The folder leads back to itself, so its content would never end"
            return NamespaceError(text, path, errno=errno.ELOOP)
        above = above.parent
    return None


class TreeWalk:
    """One walk.

    Args:
        root: The folder to begin with.
        decide: Returns what to do at an entry of a folder.
        pool: Runs the fetching.
        scope: The cancel scope of the walk.
        on_error: Called with the error of a folder that cannot be read. None: the walk raises it.
    """

    def __init__(
        self,
        root: Folder,
        decide: Callable[[Folder, Entry], Step],
        pool: WorkerPool,
        scope: CancelScope,
        on_error: Callable[[NamespaceError], object] | None,
    ) -> None:
        self._stack = [root]
        self._decide = decide
        self._pool = pool
        self._scope = scope
        self._on_error = on_error
        self._arrivals: SimpleQueue[_Arrival | None] = SimpleQueue()
        self._in_flight = 0
        self._pages_ahead = 0
        self._entries_ahead = 0

    def run(self) -> Iterator[Entry]:
        """Yield the entries.

        Raises:
            NamespaceError: A folder cannot be read, and there is no `on_error`.
            Cancelled: The scope was cancelled.
        """
        while self._stack:
            self._scope.check()
            folder = self._stack[-1]
            if folder.pages:
                page = folder.pages[0]
                if page.is_ahead:
                    page.is_ahead = False
                    self._pages_ahead -= 1
                    self._entries_ahead -= page.size
                self._keep_busy()
                yield from self._steps_until_folder(page)
                if not page.steps:
                    folder.pages.popleft()
            elif folder.error is not None:
                self._stack.pop()
                self._report(folder)
            elif folder.complete:
                self._stack.pop()
            else:
                self._await(folder)

    def _steps_until_folder(self, page: _Page) -> Iterator[Entry]:
        """Yield the entries of a page up to the first folder to walk, which goes on the stack."""
        steps = page.steps
        while steps:
            entry, folder = steps.popleft()
            if folder is not None:
                page.folders.popleft()
                self._stack.append(folder)
            if entry is not None:
                yield entry
            if folder is not None:
                return

    def _report(self, folder: Folder) -> None:
        error, folder.error = folder.error, None
        assert error is not None
        missing = isinstance(error, (PathNotFoundError, NotAFolderError))
        try:
            if missing and folder.may_be_missing:
                return
            is_folders_own = isinstance(error, NamespaceError) and not isinstance(error, LoginError)
            if self._on_error is None or not is_folders_own:
                raise error
            self._on_error(error)  # type: ignore[arg-type]
        finally:
            # An error whose traceback leads back to it would wait for the garbage collector.
            del error

    # --- fetching --------------------------------------------------------------------------------

    def _await(self, folder: Folder) -> None:
        """Wait for the next page of a folder, and let others be fetched meanwhile."""
        if folder.wants_page:
            self._start(folder)
        while folder.in_flight:
            self._look_ahead()
            self._receive()

    def _receive(self) -> None:
        """Wait for a page, and take all that have come."""
        self._scope.attach(lambda: self._arrivals.put(None))
        try:
            arrival = waits.get(self._arrivals)
        finally:
            self._scope.detach()
        self._scope.check()
        if arrival is not None:
            self._take(arrival)
        self._take_all()

    def _take_all(self) -> None:
        """Take the pages that have come, without waiting."""
        while True:
            try:
                arrival = self._arrivals.get_nowait()
            except Empty:
                return
            if arrival is not None:
                self._take(arrival)

    def _keep_busy(self) -> None:
        """Let pages be fetched while the consumer works."""
        if self._in_flight:
            self._take_all()
        self._look_ahead()

    def _take(self, arrival: _Arrival) -> None:
        folder = arrival.folder
        folder.in_flight = False
        self._in_flight -= 1
        folder.complete = arrival.complete
        folder.error = arrival.error
        if arrival.entries:
            steps = [self._decide(folder, entry) for entry in arrival.entries]
            page = _Page([step for step in steps if step != (None, None)])
            if page.size:
                folder.pages.append(page)
                self._pages_ahead += 1
                self._entries_ahead += page.size
        if folder.complete:
            folder.reader = None

    def _look_ahead(self) -> None:
        """Start to fetch the pages that the consumer will need next, as far as the limits allow."""
        if not self._has_room():
            return
        for folder in self._coming():
            self._start(folder)
            if not self._has_room():
                return

    def _has_room(self) -> bool:
        return (
            self._in_flight < MAX_IN_FLIGHT
            and self._in_flight + self._pages_ahead < _MAX_PAGES_AHEAD
            and self._entries_ahead < _MAX_ENTRIES_AHEAD
        )

    def _coming(self) -> Iterator[Folder]:
        """Yield the folders that want a page, in the order in which the consumer comes to them."""
        for folder in reversed(self._stack):
            # Each item of `pending` is a folder whose pages are still to be looked through.
            pending: list[tuple[Folder, Iterator[Folder]]] = [(folder, _found_in(folder))]
            while pending:
                current, found = pending[-1]
                child = next(found, None)
                if child is not None:
                    pending.append((child, _found_in(child)))
                    continue
                pending.pop()
                if current.wants_page:
                    yield current

    def _start(self, folder: Folder) -> None:
        folder.in_flight = True
        self._in_flight += 1
        try:
            self._pool.submit(contextvars.copy_context().run, self._fetch, folder)
        except (RuntimeError, MemoryError):
            self._scope.check()
            # The system gives no thread: this one can do it as well.
            self._fetch(folder)

    def _fetch(self, folder: Folder) -> None:
        entries: list[Entry] = []
        complete = True
        error: BaseException | None = None
        try:
            self._scope.check()
            if folder.reader is None:
                folder.reader = folder.listing()
            entries = folder.reader.next_page()
            complete = folder.reader.complete
        except BaseException as caught:  # noqa: BLE001 - the consumer raises it
            error = caught
        self._arrivals.put(_Arrival(folder, entries, complete, error))
        del error


def _found_in(folder: Folder) -> Iterator[Folder]:
    for page in list(folder.pages):
        yield from list(page.folders)
