"""Files that give way: where they go, once it is known what they are.

A check and a renaming are two steps, and another program may write between them. So a file that a run
replaces or deletes first goes to the mirror's own folder, and is checked there. Only what the state
knows is then deleted. All else becomes a conflict copy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from .local_tree import LocalTree
from .local_view import ChangedMeanwhile
from .own_files import list_aside, trash_path
from .planner import conflict_paths
from .report import Report
from .state import Intent
from .values import Known, Local, join, parents_of, split

__all__ = ["Asides", "Parting", "removal_of"]

#: A part of the reason that users see.
_KEPT = "it was changed here during a run that was to replace or delete it: kept as {!r}"


class Parting(NamedTuple):
    """A file that gave way.

    Attributes:
        intent: The intent that announced it.
        moved: What was put aside.
        to_trash: Whether it goes to the trash, and not away for good.
    """

    intent: Intent
    moved: Local
    to_trash: bool


class Asides:
    """The files in the mirror's own folder that gave way.

    Args:
        tree: The mirrored folder.
        stamp: The time of the run, as text.
        report: Takes the conflict copies.
        change: Whether to change anything on the disk. False: `tree` notes which files would get their
            paths back, and `report` notes which would become conflict copies.
    """

    def __init__(self, tree: LocalTree, stamp: str, report: Report, *, change: bool = True) -> None:
        self._tree = tree
        self._stamp = stamp
        self._report = report
        self.change = change

    def conflict_paths(self, path: str) -> Iterator[str]:
        """Return the paths that a conflict copy of a file may get."""
        return conflict_paths(path, self._stamp, self._tree.root.longest_name())

    def is_known(self, found: Local, intent: Intent) -> bool:
        """Return whether a file is what the state knows at the path of an intent.

        Some network file systems give a renamed file another inode number. Such a file is read.
        """
        if intent.replaced is None or found.kind != "file":
            return False
        size, mtime_ns, inode, crc32c = intent.replaced
        if (found.size, found.mtime_ns) != (size, mtime_ns):
            return False
        if found.inode == inode:
            return True
        try:
            return self._tree.checksum(found.path, lambda: None) == crc32c
        except OSError:
            return False

    def finish(self, parting: Parting) -> None:
        """Delete a file that gave way, or keep it if it was changed after all."""
        aside, home = parting.intent.aside, parting.intent.home
        found = self._tree.find(aside)
        if found is None:
            return
        # A program that has the file open may have written to it since.
        is_unchanged = self._tree.is_unchanged(aside, parting.moved)
        if not is_unchanged or not self.is_known(found, parting.intent):
            self.keep(aside, home)
        elif parting.to_trash:
            self._tree.release(aside, trash_path(self._tree, self._stamp, home))
        else:
            try:
                self._tree.remove(aside, found)
            except ChangedMeanwhile:
                self.keep(aside, home)

    def keep(self, aside: str, home: str) -> None:
        """Make a file that gave way a conflict copy of its path."""
        if self._tree.find(aside) is None:
            return
        target = self._rename_to_conflict(aside, home)
        self._report.conflicts.append((home, _KEPT.format(split(target)[1])))

    def _rename_to_conflict(self, aside: str, home: str) -> str:
        folder, name = split(home)
        while folder and ((above := self._tree.find(folder)) is None or above.kind != "folder"):
            # Another program has removed the folder.
            folder = split(folder)[0]
        for target in self.conflict_paths(join(folder, name)):
            if self._tree.find(target) is None:
                try:
                    if self.change:
                        self._tree.release(aside, target)
                    else:
                        self._tree.stand_in(target, aside)
                except ChangedMeanwhile:
                    if self._tree.find(aside) is None:
                        raise
                    continue
                return target
        raise AssertionError("the names of conflict copies never end")

    def put_back(self, intent: Intent) -> None:
        """Give a file that gave way its path back.

        If another program has taken the path, the file goes to the trash if the state knows it, and
        else becomes a conflict copy.
        """
        aside, home = intent.aside, intent.home
        found = self._tree.find(aside)
        if found is None:
            return
        try:
            self._bring_back(aside, home)
        except (ChangedMeanwhile, FileExistsError, NotADirectoryError):
            if self._tree.find(aside) is None:
                raise
            if not self.is_known(found, intent):
                self.keep(aside, home)
            elif self.change:
                self._tree.release(aside, trash_path(self._tree, self._stamp, home))

    def _bring_back(self, aside: str, home: str) -> None:
        if not self.change:
            self._tree.stand_in(home, aside)
            return
        for above in parents_of(home):
            self._tree.make_folder(above)
        self._tree.release(aside, home)

    def drop(self, found: Local) -> None:
        """Remove a file that gave way, and that something else has replaced."""
        if self.change:
            self._tree.remove(found.path, found)

    def clear(self) -> None:
        """Move files without an intent to the trash, so that they do not stay for ever."""
        if not self.change:
            return
        for found in list_aside(self._tree):
            path = f"{os.path.basename(os.path.dirname(found.path))}/{split(found.path)[1]}"
            self._tree.release(found.path, trash_path(self._tree, self._stamp, path))


def removal_of(known: Known | None, local: Local, aside: str) -> Intent:
    """Return the intent that a file gives way.

    Args:
        known: The entry of the state, or None.
        local: What is at the path.
        aside: Where it goes first.
    """
    entry = Known(0, local.path, False) if known is None else known
    replaced = (local.size, local.mtime_ns, local.inode, entry.crc32c)
    return Intent("", entry, 0, 0, 0, aside, local.path, replaced)
