"""Comparing the portal, the state and the disk: what differs somewhere goes to the planner.

What is the same in all three is only counted. Many differences leave memory (`spill`).
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Container, Iterable, Iterator
from typing import Callable

from .changes import Reading
from .filters import Filter
from .local_names import OWN_FOLDER, fold_name
from .local_tree import LocalTree
from .spill import Spill
from .state import State, entry_of
from .values import (
    Known,
    Local,
    Remote,
    is_below,
    is_other_folder,
    is_same_content,
    parents_of,
    split,
)

__all__ = ["Survey"]

_MAX_NUMBER = 2**63 - 1


class Survey:
    """The differences between portal, state and disk.

    `read_remote` comes first, then `read_local`.

    Args:
        state: The state.
        tree: The mirrored folder. None: it does not exist yet, for a dry run.
        filter: The user's patterns.
        fold: As in `planner.Options`.
        check: Called now and then. An error that it raises ends the survey.
        spill: Makes collections.

    Attributes:
        remote: What the portal has, of the paths that differ.
        known: What was mirrored, of those.
        local: What is on the disk, of those.
        excluded: Mirrored paths that the patterns now exclude.
        failed: Path and reason of each entry that cannot be mirrored.
        unchanged: The number of files that are the same everywhere.
        refreshed: Entries of the state of which more is known now.
        unreadable: Folders of the disk that cannot be read. What is in them is left alone.
        kept: The folded form of each path that does not differ, and the path. Empty without `fold`.
    """

    def __init__(
        self,
        state: State,
        tree: LocalTree | None,
        filter: Filter,
        fold: Callable[[str], str] | None,
        check: Callable[[], object],
        spill: Spill,
    ) -> None:
        self.remote = spill.path_map(tuple, Remote._make)
        self.known = spill.path_map(tuple, Known._make)
        self.local = spill.path_map(tuple, Local._make)
        self.excluded = spill.path_set()
        self.failed: list[tuple[str, str]] = []
        self.unchanged = 0
        self.refreshed = spill.item_list(tuple, Known._make)
        self.unreadable: set[str] = set()
        self.kept = spill.texts()
        self._state = state
        self._tree = tree
        self._filter = filter
        self._fold = fold
        self._check = check
        self._spill = spill
        # One bit would do, but a byte for each entry is little as well.
        last_id = state.last_id
        self._is_same = bytearray(last_id + 1)
        # In a first run, no path has an entry.
        self._find = state.entry if last_id else _find_nothing
        # Files whose content may be another one, though the listing does not show it.
        self._stale: Container[str] = frozenset()
        # With `fold`: the folders of the portal that are not mirrored yet, in their folded form.
        self._folders = spill.path_set()

    def clear(self) -> None:
        """Drop what was found out."""
        for each in (
            self.remote, self.known, self.local, self.excluded, self.refreshed, self.kept, self._folders,
        ):  # fmt: skip
            each.clear()

    # --- the portal ------------------------------------------------------------------------------

    def read_remote(self, entries: Iterable[Remote], stale: Container[str] = frozenset()) -> None:
        """Compare everything that the portal has with the state.

        Args:
            entries: A folder comes before what is in it.
            stale: As in `Reading`.
        """
        self._stale = stale
        self._compare_all(entries)
        for known in self._state.entries():
            # What could not leave the stage is not part of the tree, and stays there.
            is_staged = known.path.startswith(f"{OWN_FOLDER}/")
            if not self._is_same[known.id] and not is_staged:
                self._note_difference(known)

    def read_folders(
        self,
        reading: Reading,
        list_folder: Callable[[str], list[Remote]],
        walk: Callable[[str], Iterable[Remote]],
    ) -> None:
        """Compare some folders of the portal with the state. All others are as they were.

        Args:
            reading: What to read.
            list_folder: Returns what is in a folder.
            walk: Returns everything in a folder, a folder before what is in it.

        Raises:
            NamespaceError: As `list_folder` and `walk` raise.
        """
        self._stale = reading.stale
        self.take_as_unchanged()
        # What was mirrored in the folders that are listed, and what is gone from there, or is read anew.
        listed = self._spill.path_map(tuple, Known._make)
        looked_for = self._spill.path_map(tuple, Known._make)

        def look_for(known: Known) -> None:
            self._is_same[known.id] = 0
            looked_for[known.path] = known
            if known.is_dir:
                for each in self._state.in_folder(known.path).values():
                    look_for(each)

        def read() -> Iterator[Remote]:
            walked: set[str] = set()
            for path in sorted(reading.folders, key=lambda each: (each.count("/"), each)):
                above = self._state.entry(path) if path else None
                if is_below(path, walked) or (above is not None and path in looked_for):
                    continue
                children = list_folder(path)
                folders = {child.path for child in children if child.is_dir}
                present = {child.path for child in children}
                for known in self._state.in_folder(path).values():
                    is_new = known.path in reading.deep or known.path not in folders
                    if known.path not in present or (known.is_dir and is_new):
                        look_for(known)
                    else:
                        self._is_same[known.id] = 0
                        listed[known.path] = known
                for child in children:
                    yield child
                    if child.path not in folders:
                        continue
                    known_child = self._state.entry(child.path)
                    is_known = known_child is not None and known_child.is_dir
                    if child.path in reading.deep or not is_known:
                        walked.add(child.path)
                        if not self._filter.excludes(child.path, True):
                            yield from walk(child.path)

        self._compare_all(read())
        for known in itertools.chain(listed.values(), looked_for.values()):
            if not self._is_same[known.id]:
                self._note_difference(known)
        listed.clear()
        looked_for.clear()

    def _note_difference(self, known: Known) -> None:
        """Note an entry of the state that the portal lacks, or has in another form."""
        if known.path in self._stale and not known.is_dir:
            known = known._replace(stale=True)
            self.refreshed.append(known)
        self.known[known.path] = known
        key = known.path if self._fold is None else self._fold(known.path)
        if self.kept.get(key) == known.path:
            self.kept.discard(key)
        if not self._takes(known):
            self.excluded.add(known.path)

    def _compare_all(self, entries: Iterable[Remote]) -> None:
        # With patterns of files, a folder counts only once something in it does.
        waiting: dict[str, Remote] = {}
        for each in entries:
            self._check()
            if not self._filter.takes(each.path, each.is_dir):
                if not each.is_dir or self._filter.excludes(each.path, True):
                    continue
                known = self._find(each.path)
                if known is not None and known.is_dir:
                    # It was made for a file that may be gone. The portal still has the folder.
                    self._compare(each)
                else:
                    waiting = {p: waiting[p] for p in parents_of(each.path) if p in waiting}
                    waiting[each.path] = each
                continue
            if waiting:
                for path in parents_of(each.path):
                    folder = waiting.pop(path, None)
                    if folder is not None:
                        self._compare(folder)
            self._compare(each)

    def take_as_unchanged(self) -> None:
        """Note that the portal still has everything that was mirrored."""
        self._is_same = bytearray(b"\1") * (self._state.last_id + 1)
        if self._fold is not None:
            for each in self._state.entries():
                self.kept[self._fold(each.path)] = each.path

    def _takes(self, known: Known) -> bool:
        if known.is_dir and self._filter.selects_files:
            return not self._filter.excludes(known.path, True)
        return self._filter.takes(known.path, known.is_dir)

    def _compare(self, each: Remote) -> None:
        numbers = (each.file_id or 0, each.size or 0, each.folder_id or 0, abs(each.modified or 0))
        if not each.is_dir and (each.file_id is None or max(numbers) > _MAX_NUMBER):
            self._refuse(each)
            return
        known = self._find(each.path)
        is_same = (
            known is not None
            and is_same_content(known, each)
            # Another cloud folder that took the name is not the same folder.
            and not (each.is_dir and is_other_folder(known, each))
            and each.path not in self._stale
        )
        if known is None or not is_same:
            self.remote[each.path] = each
            return
        self._is_same[known.id] = 1
        if self._fold is not None:
            self.kept[self._fold(each.path)] = each.path
        better = entry_of(each, known)
        if better != known:
            self.refreshed.append(better)

    def _refuse(self, each: Remote) -> None:
        reason = "the portal gives no file ID for it: ask the portal's administrator for an upgrade"
        if each.file_id is not None:
            reason = "the portal gives a size or number for it that no file can have"
        self.failed.append((each.path, reason))
        known = self._state.entry(each.path)
        if known is not None:
            # The portal still has it. So it is not deleted here.
            self._is_same[known.id] = 1

    # --- the disk --------------------------------------------------------------------------------

    def read_local(self) -> None:
        """Compare everything on the disk with the state."""
        if self._fold is not None:
            for path, each in self.remote.items():
                if each.is_dir:
                    self._folders.add(self._fold(path))
        if self._tree is not None:
            self._read_folder("")
        else:
            self._note_missing("")
        if self.unreadable:
            self._leave_alone()
        # The planner must see what the portal has at the paths that differ on the disk alone.
        for path, known in self.known.items():
            if self._is_same[known.id] and path not in self.remote:
                self.remote[path] = _as_remote(known)

    def _read_folder(self, path: str) -> None:
        assert self._tree is not None
        self._check()
        try:
            listed = self._tree.list_folder(path)
        except OSError as error:
            self._note_unlisted(path, error)
            return
        expected = self._state.in_folder(path)
        by_fold = {fold_name(name): name for name in expected} if self._fold is not None else {}
        for found in listed:
            name = split(found.path)[1]
            known = expected.pop(name, None)
            if known is None and by_fold:
                # The disk may spell the name in another way.
                spelled = by_fold.get(fold_name(name))
                known = None if spelled is None else expected.pop(spelled, None)
                if known is not None:
                    found = found._replace(path=known.path)
            if known is None:
                self.local[found.path] = found
                if found.kind == "folder" and self._is_wanted_folder(found.path):
                    self._read_folder(found.path)
                continue
            judged = self._judge(known, found)
            if not judged.clean:
                self._note_known(known)
            if not judged.clean or not self._is_same[known.id]:
                self.local[known.path] = judged
            elif not known.is_dir:
                self.unchanged += 1
            if known.is_dir:
                if found.kind == "folder":
                    self._read_folder(known.path)
                else:
                    self._note_missing(known.path)
            elif found.kind == "folder" and self._is_wanted_folder(found.path):
                self._read_folder(found.path)
        for known in expected.values():
            self._note(known)

    def _note_unlisted(self, path: str, error: OSError) -> None:
        """Note a folder that is gone by now, or that cannot be read."""
        if not path:
            raise error
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            self.local.discard(path)
            known = self._state.entry(path)
            if known is not None:
                self._note(known)
            return
        if error.errno not in (errno.EACCES, errno.EPERM):
            raise error
        reason = (
            f"the local folder cannot be read ({error.strerror}), so what is in it stays as it is"
        )
        self.failed.append((path, reason))
        self.unreadable.add(path)

    def _leave_alone(self) -> None:
        """Drop what was found out about what is in unreadable folders of the disk."""
        for each in (self.remote, self.known, self.local):
            for path in self.unreadable:
                each.drop_below(path)

    def _is_wanted_folder(self, path: str) -> bool:
        """Return whether the portal has a folder where the disk has one that was not mirrored."""
        if self._fold is not None:
            return self._fold(path) in self._folders
        remote = self.remote.get(path)
        return remote is not None and remote.is_dir

    def _note_missing(self, path: str) -> None:
        """Note that all entries of a folder are missing on the disk."""
        for known in self._state.in_folder(path).values():
            self._note(known)

    def _note_known(self, known: Known) -> None:
        if known.path not in self.known:
            self.known[known.path] = known

    def _note(self, known: Known) -> None:
        self._note_known(known)
        if known.is_dir:
            self._note_missing(known.path)

    def _judge(self, known: Known, found: Local) -> Local:
        """Return what is on the disk, with the answer whether it is what was mirrored.

        A file of the same size whose time or inode number differs is read, because copying a folder or
        restoring a backup changes these. A program may change a file and restore its time, but not the
        time of its last status change. So if that differs, a file that the run may replace or delete is
        read, too.
        """
        if known.is_dir:
            return found._replace(clean=found.kind == "folder")
        if found.kind != "file" or found.size != known.local_size:
            return found
        is_same_status = known.ctime_ns != 0 and found.ctime_ns == known.ctime_ns
        if (found.mtime_ns, found.inode) == (known.mtime_ns, known.inode) and (
            is_same_status or self._is_same[known.id]
        ):
            return found._replace(clean=True)
        assert self._tree is not None
        try:
            if self._tree.checksum(found.path, self._check) != known.crc32c:
                return found
        except OSError:
            return found  # It cannot be read, so it is taken for changed, and left alone.
        self.refreshed.append(
            known._replace(
                mtime_ns=found.mtime_ns,
                inode=found.inode,
                ctime_ns=found.ctime_ns,
                stale=known.stale or known.path in self._stale,
            )
        )
        return found._replace(clean=True)


def _find_nothing(path: str) -> Known | None:
    return None


def _as_remote(known: Known) -> Remote:
    """Return what the portal has at a path where nothing changed there."""
    return Remote(
        known.path,
        known.is_dir,
        known.file_id,
        known.size,
        known.modified,
        known.folder_id,
        None if known.is_dir else known.mtime_ns,
    )
