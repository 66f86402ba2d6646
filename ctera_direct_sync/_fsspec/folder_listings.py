"""The listings of folders that a file system keeps, by the options of fsspec's `DirCache`."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from time import monotonic
from typing import Any

from .sightings import shrink

__all__ = ["FolderListings"]


class FolderListings(MutableMapping[str, list[Any]]):
    """Listings by the path of their folder. A listing that has expired is not there.

    fsspec's own `DirCache` keeps what it no longer serves, so its memory grows with each folder that a
    `find` visits. This one holds `max_paths` listings.

    Args:
        use_listings_cache: Whether listings are kept at all.
        listings_expiry_time: Seconds after which a listing has expired. None: never.
        max_paths: How many listings are kept, those that were used last. None: all.
    """

    def __init__(
        self, use_listings_cache: bool, listings_expiry_time: float | None, max_paths: int | None
    ) -> None:
        self.use_listings_cache = use_listings_cache
        self.listings_expiry_time = listings_expiry_time
        self.max_paths = max_paths
        self._kept: OrderedDict[str, tuple[float, list[Any]]] = OrderedDict()

    def __getitem__(self, path: str) -> list[Any]:
        kept_at, listing = self._kept[path]
        expiry = self.listings_expiry_time
        if expiry is not None and monotonic() - kept_at >= expiry:
            self._kept.pop(path, None)
            raise KeyError(path)
        with contextlib.suppress(KeyError):  # Another thread was faster.
            self._kept.move_to_end(path)
        return listing

    def __setitem__(self, path: str, listing: list[Any]) -> None:
        if not self.use_listings_cache:
            return
        self._kept[path] = (monotonic(), listing)
        with contextlib.suppress(KeyError):
            self._kept.move_to_end(path)
        if self.max_paths is not None:
            shrink(self._kept, self.max_paths)

    def __delitem__(self, path: str) -> None:
        del self._kept[path]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._kept))

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Forget all listings. The inherited method would end at the first one that has expired."""
        self._kept.clear()
