"""Which names a disk takes for the same file's.

Many disks do not tell `a` from `A`, or an accented letter from its base letter and accent.
"""

from __future__ import annotations

import os
import tempfile
import unicodedata
from typing import Callable

__all__ = ["ClaimedPaths", "Probe", "is_same_on_disk"]

_PROBE_PREFIX = ".ctera-batch-"

#: Returns whether a folder takes two names for the same file's.
Probe = Callable[[str, str, str], bool]


class ClaimedPaths:
    """The paths that the items of a batch have claimed.

    If two paths differ only by the case or the Unicode form of letters, the disk is asked whether
    they are one file's. It is asked once for each folder and kind of difference.

    Args:
        root: The folder of the batch.
        probe: The function that asks the disk.
    """

    def __init__(self, root: str, probe: Probe) -> None:
        self._root = root
        self._probe = probe
        self._positions: dict[str, int] = {}
        self._similar: dict[str, list[str]] = {}
        self._answers: dict[tuple[str, str], bool] = {}

    def claim(self, path: str, position: int) -> int:
        """Claim a path for an item.

        Args:
            path: The absolute path.
            position: The position of the item in the batch.

        Returns:
            The position of the item that has the path: `position`, or an earlier one.
        """
        path = os.path.normcase(path)
        first = self._positions.get(path)
        if first is not None:
            return first
        others = self._similar.setdefault(_fold(path), [])
        for other in others:
            if self._is_same(path, other):
                return self._positions[other]
        others.append(path)
        self._positions[path] = position
        return position

    def _is_same(self, path: str, other: str) -> bool:
        folder = self._root
        names, other_names = (
            os.path.relpath(each, self._root).split(os.sep) for each in (path, other)
        )
        if len(names) != len(other_names):
            return False
        for name, known in zip(names, other_names):
            if name != known and not self._is_same_name(folder, name, known):
                return False
            folder = os.path.join(folder, known)
        return True

    def _is_same_name(self, folder: str, name: str, known: str) -> bool:
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        kind = _kind_of_difference(name, known)
        if kind == "other":
            return self._probe(folder, known, name)
        if (folder, kind) not in self._answers:
            self._answers[folder, kind] = self._probe(folder, known, name)
        return self._answers[folder, kind]


def _fold(text: str) -> str:
    """Return a text that is equal for all names that some known file system takes for the same."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFD", text).casefold())


def _kind_of_difference(name: str, other: str) -> str:
    """Return how two similar names differ: `form`, `case` or `other`."""
    if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other):
        return "form"
    return "case" if name.isascii() and other.isascii() else "other"


def is_same_on_disk(folder: str, name: str, other: str) -> bool:
    """Return whether the disk takes two names for the same, by making a file.

    Args:
        folder: A folder on the disk. The file is made in a temporary folder in it.
        name: The name of the file that is made.
        other: The name that is looked up.
    """
    with tempfile.TemporaryDirectory(prefix=_PROBE_PREFIX, dir=folder) as probe:
        with open(os.path.join(probe, name), "xb"):
            pass
        return os.path.lexists(os.path.join(probe, other))
