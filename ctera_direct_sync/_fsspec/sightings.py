"""What this process has seen of the files of a portal."""

from __future__ import annotations

import contextlib
import weakref
from collections import OrderedDict
from datetime import datetime
from typing import Any

from .files import Listed

__all__ = ["Sightings", "shrink", "sightings_of"]

#: File IDs whose name and whose first sight are remembered, per portal and process.
_MAX_REMEMBERED = 65_536


class Sightings:
    """The names of the files of one portal, and since when each file is as it is.

    fsspec makes a file system for each thread. All file systems of a portal share one object. The
    oldest entries are forgotten first.
    """

    def __init__(self) -> None:
        self.names: OrderedDict[int, str] = OrderedDict()
        self._seen: OrderedDict[int, tuple[str, datetime]] = OrderedDict()

    def name(self, file_id: int, name: str) -> str:
        """Return the name of a file: the one that it was asked for by first, with success."""
        found = self.names.setdefault(file_id, name)
        shrink(self.names)
        return found

    def first_seen(self, file_id: int, listed: Listed) -> datetime:
        """Return when the file was first seen with the content that `listed` describes."""
        known = self._seen.get(file_id)
        if known is not None and known[0] == listed.fingerprint:
            return known[1]
        if known is not None and listed.asked_at < known[1]:
            # Another file system still has an old list: the file was replaced since.
            return listed.asked_at
        self._seen[file_id] = (listed.fingerprint, listed.asked_at)
        shrink(self._seen)
        return listed.asked_at


_sightings: weakref.WeakValueDictionary[str, Sightings] = weakref.WeakValueDictionary()


def sightings_of(baseurl: str) -> Sightings:
    """Return the sightings that all file systems of a portal share."""
    return _sightings.setdefault(baseurl.rstrip("/"), Sightings())


def shrink(entries: OrderedDict[Any, Any], most: int = _MAX_REMEMBERED) -> None:
    """Drop the oldest entries beyond `most`."""
    while len(entries) > most:
        with contextlib.suppress(KeyError):  # Another thread was faster.
            entries.popitem(last=False)
