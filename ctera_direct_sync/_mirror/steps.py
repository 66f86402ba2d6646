"""The steps of a run: the plan that the planner makes, and the names of conflict copies."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any, Callable, Literal, NamedTuple

from .deletion import Deletion
from .spill import ItemList, PathMap, Spill
from .values import Known, Local, Remote, join, split

__all__ = ["Options", "Plan", "Step", "StepKind", "conflict_name", "conflict_paths"]

StepKind = Literal[
    "conflict", "trash", "remove", "move", "mkdir", "rmdir", "fetch", "compare", "adopt", "forget"
]
"""What a step does.

`conflict` gives a file that was changed here another name. `compare` downloads a file, and keeps the
local one if it is equal. `adopt` only notes a folder that is there already. `forget` only drops an
entry of the state.
"""


class Step(NamedTuple):
    """One thing to do.

    Attributes:
        kind: What to do.
        path: The path that it is done to; of a move, the old one.
        target: The new path of a move or conflict, else empty.
        remote: What the portal has at the path, or at the target of a move.
        known: The entry of the state that the step changes, or None.
        local: What must still be at the path when the step is done, or None.
        staged: Whether a move goes by way of the mirror's own folder, since its target is not free yet.
    """

    kind: StepKind
    path: str
    target: str = ""
    remote: Remote | None = None
    known: Known | None = None
    local: Local | None = None
    staged: bool = False


class Options(NamedTuple):
    """How to plan.

    Attributes:
        delete: What happens to files that the portal deleted.
        stamp: The time in the names of conflict copies, as text.
        windows: Whether the names must be such that Windows takes.
        max_name_bytes: The longest name that the disk takes, in bytes.
        fold: A function that gives the same text for paths that the disk takes for the same. None: the
            disk tells all names apart.
    """

    delete: Deletion = "trash"
    stamp: str = "00000000T000000"
    windows: bool = False
    max_name_bytes: int = 255
    fold: Callable[[str], str] | None = None


class Plan:
    """The steps of a run, by phase, and what a user should know.

    Args:
        spill: Makes the lists of the phases.

    Attributes:
        aside: What gives way: conflict copies, and deletions of what is in the way.
        cleared: Folders that give way to files, and get another name.
        removed_folders: Folders that give way to files, and go away. Those below come first.
        folders: Folders to make or adopt, those above first.
        moves: Moves to paths that are free by then.
        staged: Moves by way of the mirror's own folder. The files leave their old paths right after
            `aside`.
        fetches: Files to download.
        deletions: Files to delete.
        forgotten: Entries of files to drop from the state.
        emptied: Folders to remove, or to drop from the state, those below first. The state keeps the entry
            of a folder that it has a file in, so files come before.
        conflicts: Path and reason of each file that was changed here.
        failed: Path and reason of each entry that cannot be mirrored.
    """

    def __init__(self, spill: Spill) -> None:
        self._spill = spill
        self.aside = self.new_phase()
        self.cleared = self.new_phase()
        self.removed_folders = self.new_phase()
        self.folders = self.new_phase()
        self.moves = self.new_phase()
        self.staged = self.new_phase()
        self.fetches = self.new_phase()
        self.deletions = self.new_phase()
        self.forgotten = self.new_phase()
        self.emptied = self.new_phase()
        self.conflicts: list[tuple[str, str]] = []
        self.failed: list[tuple[str, str]] = []

    def new_phase(self) -> ItemList[Step]:
        """Return an empty list of steps."""
        return self._spill.item_list(_pack, _unpack)

    def new_map(self) -> PathMap[Step]:
        """Return an empty map of steps."""
        return self._spill.path_map(_pack, _unpack)

    def _phases(self) -> tuple[ItemList[Step], ...]:
        """Return all phases, in the order in which they are completed."""
        return (
            self.aside, self.cleared, self.removed_folders, self.folders, self.moves, self.staged,
            self.fetches, self.deletions, self.forgotten, self.emptied,
        )  # fmt: skip

    def steps(self) -> Iterator[Step]:
        """Return all steps, in the order in which they are completed."""
        for phase in self._phases():
            yield from phase

    def removals(self) -> Iterator[Step]:
        """Return the steps of the phases that take something from its path for good."""
        for phase in (
            self.aside, self.cleared, self.removed_folders, self.deletions, self.emptied,
        ):  # fmt: skip
            yield from phase

    @property
    def deleted_files(self) -> int:
        """The number of files that the plan deletes."""
        return sum(
            step.kind in ("trash", "remove")
            for phase in (self.aside, self.deletions)
            for step in phase
        )

    def clear(self) -> None:
        """Drop all steps."""
        for phase in self._phases():
            phase.clear()


def _pack(step: Step) -> Any:
    kind, path, target, *views, staged = step
    return (kind, path, target, *(None if each is None else tuple(each) for each in views), staged)


def _unpack(values: Any) -> Step:
    kind, path, target, remote, known, local, staged = values
    return Step(
        kind,
        path,
        target,
        None if remote is None else Remote._make(remote),
        None if known is None else Known._make(known),
        None if local is None else Local._make(local),
        staged,
    )


def conflict_paths(path: str, stamp: str, max_bytes: int) -> Iterator[str]:
    """Return the paths that a conflict copy may get, the best first. They never end.

    Args:
        path: The path of the file.
        stamp: As for `conflict_name`.
        max_bytes: As for `conflict_name`.
    """
    parent, name = split(path)
    for number in itertools.count(1):
        yield join(parent, conflict_name(name, stamp, number, max_bytes))


def conflict_name(name: str, stamp: str, number: int = 1, max_bytes: int = 255) -> str:
    """Return the name of a conflict copy.

    Args:
        name: The name of the file.
        stamp: The time, as text.
        number: 1 for the first copy of that time, 2 for the next.
        max_bytes: The longest name that the disk takes. A longer one loses letters of `name`.
    """
    stem, dot, extension = name.rpartition(".")
    if not stem:
        stem, dot, extension = name, "", ""
    tail = f".conflict-{stamp}{f'-{number}' if number > 1 else ''}{dot}{extension}"
    if len(os.fsencode(tail)) + 4 > max_bytes:
        tail = f".conflict-{stamp}-{number}"
    while len(stem) > 1 and len(os.fsencode(stem + tail)) > max_bytes:
        stem = stem[:-1]
    return stem + tail
