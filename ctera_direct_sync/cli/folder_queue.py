"""The folders of ``ctera-direct ls -R``, in order, with the next ones listed ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from types import TracebackType
from typing import Callable

from .._base.sync import Future, ThreadPoolExecutor
from ..namespace import Namespace
from ..types import Entry

__all__ = ["FolderQueue"]

#: Folders whose first pages are fetched or kept ahead of their turn.
_MAX_AHEAD = 8


class FolderQueue:
    """Iterates over a folder and all folders below: each before those in it, as ``ls -R`` does.

    Args:
        names: The view of the portal.
        path: The path of the first folder.
        listing: The entries of the first folder.
        include_deleted: Whether to list deleted entries. What is in a deleted folder is not listed.
    """

    def __init__(
        self, names: Namespace, path: str, listing: Iterator[Entry], include_deleted: bool
    ) -> None:
        self._names = names
        self._include_deleted = include_deleted
        self._first = path, listing
        self._waiting: deque[str] = deque()
        # A folder may be reached twice, or lead back to one above it.
        self._seen = {path}
        self._ahead: dict[str, Future[Iterator[Entry]]] = {}
        self._pool = ThreadPoolExecutor(_MAX_AHEAD, thread_name_prefix="ctera-direct-ls")

    def __enter__(self) -> FolderQueue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an error, closing the Namespace ends the listings that are under way.
        self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def __iter__(self) -> Iterator[tuple[str, Callable[[], Iterator[Entry]]]]:
        """Yield each folder's path, and the function that yields its entries once."""
        path, listing = self._first
        yield path, lambda: self._read(listing)
        while self._waiting:
            self._fetch_ahead()
            path = self._waiting.popleft()
            yield path, self._reader(self._ahead.pop(path))

    def _fetch_ahead(self) -> None:
        for path in islice(self._waiting, _MAX_AHEAD):
            # The folder whose turn it is does not wait for others to be taken.
            if path not in self._ahead and (
                path == self._waiting[0] or len(self._ahead) < _MAX_AHEAD
            ):
                self._ahead[path] = self._pool.submit(
                    self._names.listdir, path, include_deleted=self._include_deleted
                )

    def _reader(self, listing: Future[Iterator[Entry]]) -> Callable[[], Iterator[Entry]]:
        return lambda: self._read(listing.result())

    def _read(self, listing: Iterator[Entry]) -> Iterator[Entry]:
        below = []
        try:
            for entry in listing:
                if entry.is_dir and not entry.is_deleted and entry.path not in self._seen:
                    self._seen.add(entry.path)
                    below.append(entry.path)
                yield entry
        finally:
            self._waiting.extendleft(reversed(below))
