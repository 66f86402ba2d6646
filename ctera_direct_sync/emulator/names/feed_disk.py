"""A folder on disk that the emulator serves: what changes there becomes a change of the tree."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..sources import FileSource
from .ledger import Ledger, free_name
from .nodes import Node

#: A scan that may be left out is, if the last one was not so long ago: seconds, and times its duration.
_MIN_INTERVAL_S = 0.05
_MIN_INTERVALS = 10


class _Found(NamedTuple):
    """A file or folder on disk.

    Attributes:
        is_folder: Whether it is a folder.
        device: The device that it is on.
        inode: Its number there.
        size: The size of a file, in bytes. 0 for a folder.
        modified: The time of the last write to a file, in nanoseconds. 0 for a folder.
    """

    is_folder: bool
    device: int
    inode: int
    size: int
    modified: int


class FolderWatch:
    """Compares a folder on disk with what it was at the last look.

    A file that has another path, and the number, size and time of one that is gone, was renamed or moved.
    So was a folder with the number of one that is gone.

    Args:
        ledger: Applies the changes.
        root: The folder of the tree that shows the folder.
        folder: The folder on disk.
        nodes: The objects that show its content, by their path below the folder, with slashes.
    """

    def __init__(self, ledger: Ledger, root: Node, folder: Path, nodes: Mapping[str, Node]) -> None:
        self._ledger = ledger
        self._root = root
        self._folder = folder
        self._nodes = dict(nodes)
        found = dict(_look(folder))
        self._known = {path: found[path] for path in self._nodes if path in found}
        self._turn = threading.Lock()
        self._next = 0.0

    def scan(self, *, soon: bool = False) -> None:
        """Look at the folder, and apply to the tree what changed since the last look.

        Args:
            soon: Whether there is no need to look again right after the last look.
        """
        with self._turn:
            started = time.monotonic()
            if soon and started < self._next:
                return
            found = dict(_look(self._folder))
            with self._ledger.together():
                if found != self._known:
                    self._apply(found)
            ended = time.monotonic()
            self._next = ended + max(_MIN_INTERVAL_S, _MIN_INTERVALS * (ended - started))

    def _apply(self, found: dict[str, _Found]) -> None:
        for folders in (True, False):
            self._apply_moves(found, folders)
        for path in sorted(self._known):
            if path in self._known and not _is_same_kind(found.get(path), self._known[path]):
                self._delete(path)
        for path in sorted(found, key=lambda each: each.count("/")):
            if path not in self._known:
                self._add(path, found[path])
            elif found[path] != self._known[path]:
                self._overwrite(path, found[path])

    def _apply_moves(self, found: dict[str, _Found], folders: bool) -> None:
        gone = {
            each: path
            for path, each in self._known.items()
            if each.is_folder is folders and path not in found
        }
        for path in sorted(found, key=lambda each: each.count("/")):
            each = found[path]
            before = gone.pop(each, None) if path not in self._known else None
            parent = self._parent(path)
            # A folder above may have been moved meanwhile, and this one with it.
            if before is None or before not in self._known or parent is None:
                continue
            node = self._nodes[before]
            if not node.state.deleted:
                name = _name(path)
                is_free = parent.children.get(name, node) is node
                self._ledger.place(node, parent, name if is_free else free_name(parent, name))
            for known in [*self._known]:
                if known == before or known.startswith(f"{before}/"):
                    moved = path + known[len(before) :]
                    self._nodes[moved] = self._nodes.pop(known)
                    self._known[moved] = self._known.pop(known)

    def _delete(self, path: str) -> None:
        node = self._nodes[path]
        if not node.state.deleted:
            self._ledger.delete(node)
        for known in [*self._known]:
            if known == path or known.startswith(f"{path}/"):
                del self._nodes[known], self._known[known]

    def _add(self, path: str, each: _Found) -> None:
        parent = self._parent(path)
        if parent is None or parent.state.deleted:
            return
        name = free_name(parent, _name(path))
        if each.is_folder:
            node = self._ledger.add_folder(parent, name)
        else:
            try:
                source = FileSource(self._folder / path)
            except OSError:
                return  # It is gone again. The next look tells.
            self._ledger.add_file(parent, name, source)
            node = parent.children[name]
        self._nodes[path], self._known[path] = node, each

    def _overwrite(self, path: str, each: _Found) -> None:
        node = self._nodes[path]
        if not node.state.deleted and not each.is_folder:
            try:
                source = FileSource(self._folder / path)
            except OSError:
                return
            self._ledger.overwrite(node, source, None)
        self._known[path] = each

    def _parent(self, path: str) -> Node | None:
        above, slash, _ = path.rpartition("/")
        return self._nodes.get(above) if slash else self._root


def _look(folder: Path, above: str = "") -> Iterator[tuple[str, _Found]]:
    """Yield everything below a folder on disk. What cannot be read is left out."""
    try:
        with os.scandir(folder) as entries:
            each = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in each:
        path = above + entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                yield path, _Found(True, status.st_dev, status.st_ino, 0, 0)
                yield from _look(Path(entry.path), f"{path}/")
                continue
            status = os.stat(entry.path)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            yield (
                path,
                _Found(False, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns),
            )


def _is_same_kind(one: _Found | None, other: _Found) -> bool:
    return one is not None and one.is_folder == other.is_folder


def _name(path: str) -> str:
    return path.rpartition("/")[2]
