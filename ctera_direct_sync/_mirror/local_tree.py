"""The mirrored folder on the disk. No path is ever followed through a symbolic link.

Each step opens the folders of a path one by one, from the mirrored folder on. So it changes nothing if
another program puts a symbolic link into the place of a folder.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import stat
from collections import OrderedDict
from collections.abc import Collection, Iterator
from typing import Callable

from .. import codec
from .._readers.folders import Folder, ForeignFileError, is_reparse_point
from .._readers.locks import LockedFile
from .._readers.part_file import is_own_name
from .local_names import OWN_FOLDER, fold_name
from .values import Local, LocalKind, parents_of, split

__all__ = ["STAGE_FOLDER", "ChangedMeanwhile", "LocalTree", "local_of", "lock_own"]

#: Opened folders that are kept for the next steps.
_MAX_OPEN = 32
_READ_SIZE_BYTES = 1024 * 1024
#: SQLite stores signed numbers of 64 bits, and some file systems have larger inode numbers.
_INODE_MASK = 2**63 - 1

_LOCK_NAME = "lock"
_STAGE, _ASIDE, _TRASH, _DOWNLOADS = "stage", "aside", "trash", "downloads"
#: The folder of the files that are between their old and their new path.
STAGE_FOLDER = f"{OWN_FOLDER}/{_STAGE}"


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


def lock_own(own: Folder) -> LockedFile:
    """Keep other runs out of a mirrored folder, until the lock is released.

    Args:
        own: The mirror's own folder.

    Raises:
        BlockingIOError: Another run is at work.
    """
    try:
        return LockedFile(own, _LOCK_NAME)
    except BlockingIOError:
        raise BlockingIOError(
            errno.EAGAIN,
            "another run is at work in this folder: wait until it is done",
            os.path.dirname(own.path),
        ) from None


class LocalTree:
    """The mirrored folder, and the mirror's own folder in it.

    Args:
        root: The mirrored folder, opened.
        own: The mirror's own folder, opened. None if it does not exist, for a dry run.
    """

    def __init__(self, root: Folder, own: Folder | None) -> None:
        self.root = root
        self._own = own
        self._open: OrderedDict[str, Folder] = OrderedDict()
        self._touched: set[str] = set()
        self._asides = itertools.count(1)
        # Where files are that a killed run has moved away, by the path that they get back.
        self._stand_ins: dict[str, str] = {}

    @staticmethod
    def open_own(root: Folder, *, make: bool) -> Folder | None:
        """Open the mirror's own folder, which only this user may enter.

        Args:
            root: The mirrored folder.
            make: Whether to make it if it does not exist.

        Raises:
            ForeignFileError: It belongs to another user.
            NotADirectoryError: A file or a symbolic link has its name.
        """
        try:
            if make:
                with contextlib.suppress(FileExistsError):
                    root.make_folder(OWN_FOLDER, 0o700)
            found = root.lstat(OWN_FOLDER)
        except FileNotFoundError:
            if make:
                raise
            return None
        own = root.existing(OWN_FOLDER)
        try:
            is_own = False
            # Where no file can be made, the owner is another user.
            with contextlib.suppress(OSError):
                is_own = own.is_own(found)
            if not is_own:
                raise ForeignFileError(
                    errno.EACCES,
                    "this folder of a mirror belongs to another user: mirror as that user, or choose "
                    "another folder",
                    own.path,
                )
            if make and os.name != "nt" and stat.S_IMODE(found.st_mode) != 0o700:
                # Some file systems, such as FAT, have no permissions.
                with contextlib.suppress(OSError):
                    os.chmod(own.path, 0o700)
            if make:
                for name in (_STAGE, _ASIDE, _TRASH, _DOWNLOADS):
                    with contextlib.suppress(FileExistsError):
                        own.make_folder(name, 0o700)
                        # A power cut must not take the state away, and leave the files.
                        own.flush()
                        root.flush()
        except BaseException:
            own.close()
            raise
        return own

    def close(self) -> None:
        """Close all folders but the mirrored one and the mirror's own. Later steps open them anew."""
        while self._open:
            self._open.popitem()[1].close()

    # --- reading ---------------------------------------------------------------------------------

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

    def _trim(self) -> None:
        """Close folders that no step has used for long. A step must not call this amid its work."""
        while len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)[1].close()

    def find(self, path: str) -> Local | None:
        """Return what is at a path, or None."""
        self._trim()
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
            raise _changed(self.root.path_of(path))
        self._stand_ins[path] = where

    def list_folder(self, path: str) -> list[Local]:
        """Return what is in a folder, but not the mirror's own folder."""
        self._trim()
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

    # --- changing --------------------------------------------------------------------------------

    def rename(self, source: str, target: str, expected: Local, aside: str = "") -> int:
        """Rename a file or folder to a free path.

        What is at the present path in the moment of the renaming gets the new path, even if another
        program has just replaced it.

        Args:
            source: The present path.
            target: The new path, whose folder must exist.
            expected: What must be at the present path.
            aside: A free path in the mirror's own folder. The file goes by way of it if the disk cannot
                rename a file to a free name in one step. Empty: a path of the mirror's own folder is
                involved already.

        Returns:
            The time of the last status change, which a renaming sets on most disks. 0 if the file
            changed meanwhile.

        Raises:
            ChangedMeanwhile: Something else is there, or the new path is taken.
        """
        self._expect(source, expected)
        occupant = self.find(target)
        # On a disk that does not tell the names apart, the target is the file itself.
        # Two names of one file are not that: POSIX then renames nothing.
        is_same = (
            occupant is not None
            and occupant[1:5] == expected[1:5]
            and expected.inode != 0
            and fold_name(source) == fold_name(target)
        )
        if occupant is not None and not is_same:
            raise _changed(self.root.path_of(target))
        self._close_below(source)
        if is_same or target.startswith(f"{OWN_FOLDER}/"):
            # Only the mirror writes to its own folder.
            self._move(source, target)
        elif source.startswith(f"{OWN_FOLDER}/"):
            self._move_to_free(source, target)
        elif not self._move_exclusively(source, target):
            if expected.kind == "folder" or not aside:
                self._move(source, target)
            else:
                self._move_by_way(source, target, aside)
        found = self.find(target)
        is_same = found is not None and found[1:5] == expected[1:5]
        return found.ctime_ns if found is not None and is_same else 0

    def move_aside(self, path: str, aside: str, expected: Local) -> Local:
        """Rename a file to a path in the mirror's own folder. Return what was renamed.

        The caller compares it: another program may have changed it just before.

        Args:
            path: The present path.
            aside: The new path, which is free.
            expected: What must be at the present path.

        Raises:
            ChangedMeanwhile: Something else is there.
        """
        self._expect(path, expected)
        self._move(path, aside)
        found = self.find(aside)
        if found is None:
            raise _changed(self.root.path_of(path))
        # Its other names may give way next, which sets the time of its status.
        return found._replace(ctime_ns=0) if self._has_more_names(aside) else found

    def release(self, aside: str, target: str) -> None:
        """Rename a file of the mirror's own folder to a free path, whatever became of it.

        Raises:
            ChangedMeanwhile: The new path is taken.
        """
        if self.find(target) is not None:
            raise _changed(self.root.path_of(target))
        if target.startswith(f"{OWN_FOLDER}/"):
            self._move(aside, target)
        else:
            self._move_to_free(aside, target)

    def _move_by_way(self, source: str, target: str, aside: str) -> None:
        self._move(source, aside)
        try:
            self._move_to_free(aside, target)
        except OSError:
            self._move_to_free(aside, source)
            raise

    def _move(self, source: str, target: str) -> None:
        from_, name, to, new = self._ends(source, target)
        from_.move(name, to, new)

    def _move_exclusively(self, source: str, target: str) -> bool:
        from_, name, to, new = self._ends(source, target)
        try:
            return from_.move_exclusively(name, to, new)
        except FileExistsError:
            raise _changed(self.root.path_of(target)) from None

    def _move_to_free(self, source: str, target: str) -> None:
        from_, name, to, new = self._ends(source, target)
        try:
            from_.move_to_free(name, to, new)
        except FileExistsError:
            raise _changed(self.root.path_of(target)) from None

    def _ends(self, source: str, target: str) -> tuple[Folder, str, Folder, str]:
        parent, name = split(source)
        above, new = split(target)
        self._touched.update((parent, above))
        # A folder that this opens must not close the other one: only `_trim` closes any.
        return self.folder(parent), name, self.folder(above), new

    def copy_mode(self, path: str, download: str) -> None:
        """Give a download the permissions of the file that it replaces, without setuid and setgid."""
        parent, name = split(path)
        with contextlib.suppress(OSError):
            mode = stat.S_IMODE(self.folder(parent).lstat(name).st_mode) & 0o777
            os.chmod(self.root.path_of(download), mode)

    def make_folder(self, path: str) -> None:
        """Make a folder, unless it is there."""
        parent, name = split(path)
        with contextlib.suppress(FileExistsError):
            self.folder(parent).make_folder(name)
            self._touched.add(parent)
        self.folder(path)

    def remove_folder(self, path: str) -> None:
        """Remove a folder, unless something is in it."""
        parent, name = split(path)
        self._close_below(path)
        try:
            self.folder(parent).remove_folder(name)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                return
            raise
        self._touched.add(parent)

    def remove(self, path: str, expected: Local) -> None:
        """Remove a file of the mirror's own folder.

        Raises:
            ChangedMeanwhile: Something else is there.
        """
        self._expect(path, expected)
        self._unlink(path)

    def remove_second_name(self, path: str, first: str) -> None:
        """Remove a name of a file that has another one, which a run was about to remove.

        Args:
            path: The name to remove. A name outside of the mirror's own folder goes by way of it.
            first: The name that stays.
        """
        one, two = self.find(path), self.find(first)
        if one is None or two is None or one.kind != "file" or one[1:5] != two[1:5]:
            return
        # On a disk that does not tell the names apart, both may be one name.
        if one.inode == 0 or fold_name(path) == fold_name(first):
            return
        parent, name = split(path)
        if self.folder(parent).lstat(name).st_nlink < 2:
            return
        if path.startswith(f"{OWN_FOLDER}/"):
            self.folder(parent).unlink(name)
            return
        # Another program may replace it right now. So what is removed is checked first.
        aside = self.aside_path()
        self._move(path, aside)
        moved = self.find(aside)
        if moved is not None and moved[1:5] == two[1:5]:
            self._unlink(aside)
        else:
            self._move_to_free(aside, path)

    def _unlink(self, path: str) -> None:
        parent, name = split(path)
        self.folder(parent).unlink(name)
        self._touched.add(parent)

    def flush(self) -> None:
        """Flush all renamings since the last call to the disk."""
        touched, self._touched = self._touched, set()
        for path in sorted(touched):
            # A folder that is gone was in another that was flushed.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self.folder(path).flush()

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
        return expected.ctime_ns in (0, found.ctime_ns) or self._has_more_names(path)

    def _has_more_names(self, path: str) -> bool:
        parent, name = split(path)
        try:
            return self.folder(parent).lstat(name).st_nlink > 1
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _expect(self, path: str, expected: Local) -> None:
        if not self.is_unchanged(path, expected):
            raise _changed(self.root.path_of(path))

    def _close_below(self, path: str) -> None:
        """Close the folders at and below a path that is about to change."""
        prefix = f"{path}/"
        for each in [p for p in self._open if p == path or p.startswith(prefix)]:
            self._open.pop(each).close()

    # --- the mirror's own files ------------------------------------------------------------------

    def aside_path(self) -> str:
        """Return a free path for a file that gives way, until it is known what becomes of it."""
        while True:
            path = f"{OWN_FOLDER}/{_ASIDE}/{next(self._asides)}"
            if self.find(path) is None:
                return path

    def list_aside(self) -> list[Local]:
        """Return the files that gave way, and did not go anywhere else yet."""
        return self.list_folder(f"{OWN_FOLDER}/{_ASIDE}")

    def staged_path(self, number: int) -> str:
        """Return the path that a file has between its old and its new one."""
        return f"{STAGE_FOLDER}/{number}"

    def open_downloads(self) -> Folder:
        """Open the folder of downloads that are not in their place yet. The caller closes it."""
        return self.folder(OWN_FOLDER).existing(_DOWNLOADS)

    def purge_downloads(self, *, keep_parts: bool, needed: Collection[str] = ()) -> None:
        """Remove what earlier runs left.

        Args:
            keep_parts: Whether to keep the parts of large files, from which a download continues.
            needed: Paths to keep.
        """
        for found in self.list_folder(f"{OWN_FOLDER}/{_DOWNLOADS}"):
            parent, name = split(found.path)
            if found.path not in needed and not (keep_parts and is_own_name(name)):
                self.folder(parent).unlink(name)

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

    def downloaded_path(self, name: str) -> str:
        """Return the path of a download."""
        return f"{OWN_FOLDER}/{_DOWNLOADS}/{name}"

    def trash_path(self, run: str, path: str) -> str:
        """Return a free path in the trash, and make the folders above it.

        Args:
            run: The time of the run.
            path: Where the file was.
        """
        folder = f"{OWN_FOLDER}/{_TRASH}/{run}"
        self.make_folder(folder)
        *above, name = path.split("/")
        for part in above:
            # A file of the same name may have gone to the trash before.
            folder = next(
                each
                for each in _numbered(f"{folder}/{part}")
                if (found := self.find(each)) is None or found.kind == "folder"
            )
            self.make_folder(folder)
        return next(each for each in _numbered(f"{folder}/{name}") if self.find(each) is None)

    def purge_trash(self, is_old: Callable[[str], bool]) -> None:
        """Remove old runs from the trash.

        Args:
            is_old: Returns whether the files of a run, which is named by its time, may go.
        """
        for run in self.list_folder(f"{OWN_FOLDER}/{_TRASH}"):
            if run.kind == "folder" and is_old(split(run.path)[1]):
                self._remove_tree(run.path)

    def _remove_tree(self, path: str) -> None:
        for found in self.list_folder(path):
            if found.kind == "folder":
                self._remove_tree(found.path)
            else:
                parent, name = split(found.path)
                self.folder(parent).unlink(name)
        self.remove_folder(path)


def _numbered(path: str) -> Iterator[str]:
    """Return a path, and then paths with a number behind it. They never end."""
    yield path
    for number in itertools.count(2):
        yield f"{path}.{number}"


def _changed(path: str) -> ChangedMeanwhile:
    return ChangedMeanwhile(
        errno.EAGAIN, "it changed during the run, so it was left alone: run again", path
    )
