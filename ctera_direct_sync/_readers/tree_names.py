"""The walks of a Namespace: everything below a folder, or what matches a pattern."""

from __future__ import annotations

from typing import Callable, Optional

from .._base.cancellation import CancelScope
from .._base.worker_pool import WorkerPool
from .._protocol.names import Names, join_path
from ..exceptions import NamespaceError
from ..types import Entry
from .glob_pattern import GlobPattern, States
from .tree_walk import Folder, Step, TreeWalk, find_loop

__all__ = ["OnError", "glob_tree", "walk_tree"]

OnError = Optional[Callable[[NamespaceError], object]]


def walk_tree(
    names: Names, path: str, pool: WorkerPool, scope: CancelScope, on_error: OnError
) -> TreeWalk:
    """Return a walk through everything below a folder."""

    def open_folder(path: str, parent: Folder | None) -> Folder:
        return Folder(path, lambda: names.pager(path, scope), parent)

    def decide(folder: Folder, entry: Entry) -> Step:
        return Step(entry, _checked(folder, entry, open_folder) if entry.is_dir else None)

    return TreeWalk(open_folder(path, None), decide, pool, scope, on_error)


def glob_tree(
    names: Names, pattern: GlobPattern, pool: WorkerPool, scope: CancelScope, on_error: OnError
) -> TreeWalk:
    """Return a walk to what matches a pattern. It asks only for folders that can hold some of it."""

    def open_folder(path: str, states: States, parent: Folder | None) -> Folder:
        literals = pattern.read_literals(states)
        if literals is not None:
            parts, states = literals
            for part in parts:
                path = join_path(path, part)
        if not pattern.goes_on(states):
            return Folder(path, lambda: _Lookup(names, path, scope), parent, may_be_missing=True)
        return Folder(
            path,
            lambda: names.pager(path, scope),
            parent,
            may_be_missing=True,
            state=states,
        )

    def decide(folder: Folder, entry: Entry) -> Step:
        is_wanted = entry.is_dir or not pattern.folders_only
        if folder.state is None:  # It was looked up by its whole path.
            return Step(entry if is_wanted else None, None)
        states = pattern.step(folder.state, entry.path.rpartition("/")[2])
        child = None
        if entry.is_dir and pattern.goes_on(states):
            child = _checked(folder, entry, lambda path, parent: open_folder(path, states, parent))
        return Step(entry if is_wanted and pattern.matches(states) else None, child)

    root = open_folder(pattern.base, pattern.start(), None)
    return TreeWalk(root, decide, pool, scope, on_error)


def _checked(
    folder: Folder, entry: Entry, open_folder: Callable[[str, Folder | None], Folder]
) -> Folder:
    """Return the folder of an entry, with an error instead of content if it leads in a circle."""
    child = open_folder(entry.path, folder)
    child.error = find_loop(folder, entry.path)
    child.complete = child.error is not None
    return child


class _Lookup:
    """A listing of one entry, which is looked up by its path."""

    def __init__(self, names: Names, path: str, scope: CancelScope) -> None:
        self._names = names
        self._path = path
        self._scope = scope
        self.complete = False

    def next_page(self) -> list[Entry]:
        """Return the entry."""
        entry = self._names.stat(self._path, self._scope)
        self.complete = True
        return [entry]
