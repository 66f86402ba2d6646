"""Reading the mirrored folder on the disk. No path is ever followed through a symbolic link.

Each step opens the folders of a path one by one, from the mirrored folder on. So it changes nothing if
another program puts a symbolic link into the place of a folder.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from typing import Callable

from .. import codec
from .._readers.folders import Folder, is_reparse_point
from .local_names import OWN_FOLDER
from .values import Local, LocalKind, parents_of, split

__all__ = ["ChangedMeanwhile", "LocalView", "changed", "local_of"]

#: Opened folders that are kept for the next steps.
_MAX_OPEN = 32
_READ_SIZE_BYTES = 1024 * 1024
#: SQLite stores signed numbers of 64 bits, and some file systems have larger inode numbers.
_INODE_MASK = 2**63 - 1


class ChangedMeanwhile(OSError):
    """What is at a path is not what the plan was made for, so the step was not done."""


def local_of(path: str, found: os.stat_result, *, clean: bool = False) -> Local:
    """Return what is at a path, from its status."""
    kind: LocalKind = "other"
    if not is_reparse_point(found):
        if stat.S_ISREG(found.st_mode):
            kind = "file"
        elif stat.S_ISDIR(found.st_mode):
            kind = "folder"
    inode = found.st_ino & _INODE_MASK
    return Local(path, kind, found.st_size, found.st_mtime_ns, inode, clean, found.st_ctime_ns)


class LocalView:
    """The mirrored folder, and the mirror's own folder in it, as a run reads them.

    Args:
        root: The mirrored folder, opened.
        own: The mirror's own folder, opened. None if it does not exist, for a dry run.
    """

    def __init__(self, root: Folder, own: Folder | None) -> None:
        self.root = root
        self._own = own
        self._open: OrderedDict[str, Folder] = OrderedDict()
        # Where files are that a killed run has moved away, by the path that they get back.
        self._stand_ins: dict[str, str] = {}

    def close(self) -> None:
        """Close all folders but the mirrored one and the mirror's own. Later steps open them anew."""
        while self._open:
            self._open.popitem()[1].close()

    # --- opened folders ---------------------------------------------------------------------------

    def folder(self, path: str) -> Folder:
        """Return an opened folder. The caller does not close it, nor keep it for later.

        Raises:
            FileNotFoundError: It does not exist.
            NotADirectoryError: A part of the path is a file or a symbolic link.
        """
        if not path:
            return self.root
        if path == OWN_FOLDER and self._own is not None:
            return self._own
        folder = self._open.get(path)
        if folder is not None:
            self._open.move_to_end(path)
            return folder
        parent, name = split(path)
        folder = self.folder(parent).existing(name)
        self._open[path] = folder
        return folder

    def trim(self) -> None:
        """Close folders that no step has used for long. A step must not call this amid its work."""
        while len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)[1].close()

    def close_below(self, path: str) -> None:
        """Close the folders at and below a path that is about to change."""
        prefix = f"{path}/"
        for each in [p for p in self._open if p == path or p.startswith(prefix)]:
            self._open.pop(each).close()

    # --- reading ---------------------------------------------------------------------------------

    def find(self, path: str) -> Local | None:
        """Return what is at a path, or None."""
        self.trim()
        try:
            return self._find_real(path, path)
        except (FileNotFoundError, NotADirectoryError):
            pass
        if path not in self._stand_ins:
            return None
        return self._find_real(path, self._stand_ins[path])

    def _find_real(self, path: str, where: str) -> Local:
        parent, name = split(where)
        return local_of(path, self.folder(parent).lstat(name))

    def stand_in(self, path: str, where: str) -> None:
        """Treat a file as if it were at another path. The next run that changes anything moves it there.

        Args:
            path: The path that it gets back.
            where: Where it is.

        Raises:
            ChangedMeanwhile: The path is taken.
            NotADirectoryError: A file is in the place of a folder above the path.
        """
        for above in parents_of(path):
            found = self.find(above)
            if found is not None and found.kind != "folder":
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), above)
        if self.find(path) is not None:
            raise changed(self.root.path_of(path))
        self._stand_ins[path] = where

    def list_folder(self, path: str) -> list[Local]:
        """Return what is in a folder, but not the mirror's own folder."""
        self.trim()
        prefix = f"{path}/" if path else ""
        found = []
        try:
            found = [local_of(prefix + name, status) for name, status in self.folder(path).names()]
        except FileNotFoundError:
            if not any(each.startswith(prefix) for each in self._stand_ins):
                raise
        if self._stand_ins:
            found += self._list_stand_ins(prefix, {each.path for each in found})
        return found if path else [each for each in found if each.path != OWN_FOLDER]

    def _list_stand_ins(self, prefix: str, present: set[str]) -> Iterator[Local]:
        """Return what a folder gets back, the folders included."""
        for path in sorted(self._stand_ins):
            name, slash, _ = path[len(prefix) :].partition("/")
            if not path.startswith(prefix) or prefix + name in present:
                continue
            present.add(prefix + name)
            where = self._stand_ins[path]
            yield Local(prefix + name, "folder") if slash else self._find_real(path, where)

    def is_unchanged(self, path: str, expected: Local) -> bool:
        """Return whether the same file or folder is still at a path, unchanged."""
        found = self.find(path)
        if found is None:
            return False
        if expected.kind == "folder":
            return found.kind == "folder"
        if found[1:5] != expected[1:5]:
            return False
        # Its author may have restored the time of the file, but not that of its status. Of a file with
        # more names, a run that renames one of them sets the time of all.
        return expected.ctime_ns in (0, found.ctime_ns) or self.has_more_names(path)

    def has_more_names(self, path: str) -> bool:
        """Return whether the file at a path has other names (hard links)."""
        parent, name = split(path)
        try:
            return self.folder(parent).lstat(name).st_nlink > 1
        except (FileNotFoundError, NotADirectoryError):
            return False

    def checksum(self, path: str, check: Callable[[], object]) -> int:
        """Return the CRC32C of a file.

        Args:
            path: The path.
            check: Called now and then; an error that it raises ends the reading.
        """
        crc32c = 0
        with self._open_file(path) as file:
            while data := file.read(_READ_SIZE_BYTES):
                check()
                crc32c = codec.crc32c(data, crc32c)
        return crc32c

    def is_equal(self, path: str, other: str, check: Callable[[], object]) -> bool:
        """Return whether two files have the same bytes."""
        with self._open_file(path) as one, self._open_file(other) as two:
            while True:
                check()
                data = one.read(_READ_SIZE_BYTES)
                if data != two.read(_READ_SIZE_BYTES):
                    return False
                if not data:
                    return True

    def _open_file(self, path: str) -> io.BufferedReader:
        try:
            parent, name = split(path)
            return open(self.folder(parent).open_to_read(name), "rb")
        except FileNotFoundError:
            if path not in self._stand_ins:
                raise
        parent, name = split(self._stand_ins[path])
        return open(self.folder(parent).open_to_read(name), "rb")


def changed(path: str) -> ChangedMeanwhile:
    """Return the error of something that changed during the run."""
    return ChangedMeanwhile(
        errno.EAGAIN, "it changed during the run, so it was left alone: run again", path
    )
