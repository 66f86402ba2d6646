"""Changing the mirrored folder on the disk. Each change is made only to what was expected there."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat

from .._readers.folders import Folder
from .local_names import OWN_FOLDER, fold_name
from .local_view import LocalView, changed
from .own_folder import ASIDE_FOLDER
from .values import Local, split

__all__ = ["LocalTree"]


class LocalTree(LocalView):
    """The mirrored folder, and the mirror's own folder in it, as a run changes them.

    Args:
        root: The mirrored folder, opened.
        own: The mirror's own folder, opened. None if it does not exist, for a dry run.
    """

    def __init__(self, root: Folder, own: Folder | None) -> None:
        super().__init__(root, own)
        # Folders in which something was renamed since the last flush.
        self._touched: set[str] = set()
        self._asides = itertools.count(1)

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
            raise changed(self.root.path_of(target))
        self.close_below(source)
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
            raise changed(self.root.path_of(path))
        # Its other names may give way next, which sets the time of its status.
        return found._replace(ctime_ns=0) if self.has_more_names(aside) else found

    def release(self, aside: str, target: str) -> None:
        """Rename a file of the mirror's own folder to a free path, whatever became of it.

        Raises:
            ChangedMeanwhile: The new path is taken.
        """
        if self.find(target) is not None:
            raise changed(self.root.path_of(target))
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
            raise changed(self.root.path_of(target)) from None

    def _move_to_free(self, source: str, target: str) -> None:
        from_, name, to, new = self._ends(source, target)
        try:
            from_.move_to_free(name, to, new)
        except FileExistsError:
            raise changed(self.root.path_of(target)) from None

    def _ends(self, source: str, target: str) -> tuple[Folder, str, Folder, str]:
        parent, name = split(source)
        above, new = split(target)
        self._touched.update((parent, above))
        # A folder that this opens must not close the other one: only `trim` closes any.
        return self.folder(parent), name, self.folder(above), new

    def _expect(self, path: str, expected: Local) -> None:
        if not self.is_unchanged(path, expected):
            raise changed(self.root.path_of(path))

    def aside_path(self) -> str:
        """Return a free path for a file that gives way, until it is known what becomes of it."""
        while True:
            path = f"{ASIDE_FOLDER}/{next(self._asides)}"
            if self.find(path) is None:
                return path

    # --- folders ---------------------------------------------------------------------------------

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
        self.close_below(path)
        try:
            self.folder(parent).remove_folder(name)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                return
            raise
        self._touched.add(parent)

    def flush(self) -> None:
        """Flush all renamings since the last call to the disk."""
        touched, self._touched = self._touched, set()
        for path in sorted(touched):
            # A folder that is gone was in another that was flushed.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self.folder(path).flush()

    # --- files -----------------------------------------------------------------------------------

    def copy_mode(self, path: str, download: str) -> None:
        """Give a download the permissions of the file that it replaces, without setuid and setgid."""
        parent, name = split(path)
        with contextlib.suppress(OSError):
            mode = stat.S_IMODE(self.folder(parent).lstat(name).st_mode) & 0o777
            os.chmod(self.root.path_of(download), mode)

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
