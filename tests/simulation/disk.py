"""A folder whose changes are recorded, and the states that a crash may leave it in.

POSIX promises that file data survive a crash once fsync of the file has returned, and that names do once
fsync of the folder has returned (fsync(2), rename(2)). Between two such calls the system may have written
any of the pending changes, in any order. `states` yields what a disk may hold then: all subsets of up to
eight pending changes, and a sample of the subsets of more.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import pkgutil
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import ctera_direct_sync._readers as readers

#: All subsets of this many pending changes are tried; of more, a sample.
MAX_EXHAUSTIVE = 8


class Write(NamedTuple):
    """Bytes that were written to a file."""

    file: int
    offset: int
    data: bytes


class Truncate(NamedTuple):
    """A file that was cut or extended to a size."""

    file: int
    size: int


class Names(NamedTuple):
    """Names that lead to other files at the same moment: None for a name that is gone."""

    changes: tuple[tuple[str, int | None], ...]


class Sync(NamedTuple):
    """The end of an fsync of a file, or of the folder (None)."""

    file: int | None


class File(NamedTuple):
    """A file after a crash: its content, its inode number and its time before."""

    content: bytes
    inode: int
    mtime_ns: int


#: What a disk holds after a crash, by name.
State = dict[str, File]


class Disk:
    """Records what the readers do to one folder. Used as a context manager around one download.

    Args:
        folder: The folder, with the files of `state` in it.
        state: What the folder holds at first.
    """

    def __init__(self, folder: Path, state: State) -> None:
        self.folder = folder
        self.changes: list[Any] = []
        self.base = state
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._names: dict[str, int] = {}
        self._files: dict[int, int] = {}  # By open descriptor.
        self._inodes: dict[int, int] = {}  # As the readers see them, by those of this folder.
        self._contents: dict[int, bytes] = {}
        self._times: dict[int, int] = {}
        self._shown: dict[int, int] = {}
        for name, file in state.items():
            path = folder / name
            path.write_bytes(file.content)
            os.utime(path, ns=(file.mtime_ns, file.mtime_ns))
            number = next(self._numbers)
            self._names[name] = number
            self._contents[number] = file.content
            self._inodes[path.stat().st_ino] = self._shown[number] = file.inode
            self._times[number] = file.mtime_ns
        self._first_names = dict(self._names)

    @contextlib.contextmanager
    def recording(self) -> Iterator[Disk]:
        """Stand in for the module `os` of all modules of the readers."""
        with contextlib.ExitStack() as stack:
            for info in pkgutil.iter_modules(readers.__path__):
                module = importlib.import_module(f"{readers.__name__}.{info.name}")
                if getattr(module, "os", None) is os:
                    stack.enter_context(mock.patch.object(module, "os", _RecordingOS(self)))
            yield self

    # --- what happens -------------------------------------------------------------------------------

    def opened(self, fd: int, name: str, flags: int) -> None:
        """Note an open file of the folder."""
        if os.sep in name or name == os.curdir or flags & getattr(os, "O_DIRECTORY", 0):
            return
        found = os.fstat(fd)
        if flags & os.O_CREAT:
            number = next(self._numbers)
            self._contents[number] = b""
            self._names[name] = number
            self.changes.append(Names(((name, number),)))
            self._inodes[found.st_ino] = self._shown[number] = 1_000_000 + found.st_ino
        else:
            number = self._names[name]
        self._files[fd] = number
        self._times.setdefault(number, found.st_mtime_ns)

    def closed(self, fd: int) -> None:
        """Forget a descriptor."""
        self._files.pop(fd, None)

    def wrote(self, fd: int, offset: int, data: bytes) -> None:
        """Note bytes that were written."""
        if fd in self._files:
            self.changes.append(Write(self._files[fd], offset, data))
            self._times[self._files[fd]] = os.fstat(fd).st_mtime_ns

    def truncated(self, fd: int, size: int) -> None:
        """Note a truncation."""
        self.changes.append(Truncate(self._files[fd], size))

    def synced(self, fd: int) -> None:
        """Note the end of an fsync."""
        self.changes.append(Sync(self._files.get(fd)))

    def renamed(self, name: str, target: str) -> None:
        """Note a renaming."""
        number = self._names.pop(name)
        self._names[target] = number
        self.changes.append(Names(((name, None), (target, number))))

    def unlinked(self, name: str) -> None:
        """Note a removal."""
        if self._names.pop(name, None) is not None:
            self.changes.append(Names(((name, None),)))

    def shown(self, found: os.stat_result) -> Any:
        """Return a status with the inode number that the file had before the crash."""
        return _Status(found, self._inodes.get(found.st_ino, found.st_ino))

    # --- what a crash leaves ------------------------------------------------------------------------

    def states(self, dice: random.Random, crash_after: int, samples: int) -> Iterator[State]:
        """Yield what the disk may hold after a crash.

        Args:
            dice: Chooses among the subsets of many pending changes.
            crash_after: The number of changes that had been made.
            samples: The most states to yield.
        """
        done = self.changes[:crash_after]
        durable, pending = self._split(done)
        if len(pending) <= MAX_EXHAUSTIVE:
            subsets = [
                {pending[bit] for bit in range(len(pending)) if number >> bit & 1}
                for number in range(1 << len(pending))
            ]
            dice.shuffle(subsets)
        else:
            subsets = [
                {each for each in pending if dice.random() < share}
                for share in (dice.random() for _ in range(samples))
            ]
        for subset in subsets[:samples]:
            yield self._after(done, durable | subset)

    def _split(self, done: list[Any]) -> tuple[set[int], list[int]]:
        """Return the positions of changes that are durable, and of those that may be lost."""
        durable: set[int] = set()
        for position, change in enumerate(done):
            if not isinstance(change, Sync):
                continue
            for earlier in range(position):
                other = done[earlier]
                if isinstance(other, Names) if change.file is None else (
                    isinstance(other, (Write, Truncate)) and other.file == change.file
                ):  # fmt: skip
                    durable.add(earlier)
        pending = [
            position
            for position, change in enumerate(done)
            if position not in durable and not isinstance(change, Sync)
        ]
        return durable, pending

    def _after(self, done: list[Any], kept: set[int]) -> State:
        names: dict[str, int | None] = dict(self._first_names)
        contents = {number: bytearray(data) for number, data in self._contents.items()}
        for position, change in enumerate(done):
            if position not in kept:
                continue
            if isinstance(change, Names):
                names.update(change.changes)
            elif isinstance(change, Write):
                content = contents[change.file]
                end = change.offset + len(change.data)
                content.extend(bytes(max(0, end - len(content))))
                content[change.offset : end] = change.data
            elif isinstance(change, Truncate):
                content = contents[change.file]
                del content[change.size :]
                content.extend(bytes(change.size - len(content)))
        return {
            name: File(bytes(contents[number]), self._shown[number], self._times[number])
            for name, number in names.items()
            if number is not None
        }


class _Status:
    """An `os.stat_result` with another inode number."""

    def __init__(self, found: os.stat_result, inode: int) -> None:
        self._found = found
        self.st_ino = inode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found, name)


class _RecordingOS:
    """The module `os`, which tells a disk of each change."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        # What supports dir_fd is looked up with the functions themselves.
        self.supports_dir_fd = os.supports_dir_fd

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: Any = None) -> int:
        with self._disk._lock:
            fd = os.open(path, flags, mode, dir_fd=dir_fd)
            if dir_fd is not None:
                self._disk.opened(fd, path, flags)
            return fd

    def close(self, fd: int) -> None:
        with self._disk._lock:
            self._disk.closed(fd)
            os.close(fd)

    def write(self, fd: int, data: Any) -> int:
        with self._disk._lock:
            # All that the readers write so is appended.
            offset = os.fstat(fd).st_size
            written = os.write(fd, data)
            self._disk.wrote(fd, offset, bytes(data[:written]))
            return written

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        with self._disk._lock:
            written = os.pwrite(fd, data, offset)
            self._disk.wrote(fd, offset, bytes(data[:written]))
            return written

    def ftruncate(self, fd: int, size: int) -> None:
        with self._disk._lock:
            os.ftruncate(fd, size)
            self._disk.truncated(fd, size)

    def fsync(self, fd: int) -> None:
        # The real one is left out: no test waits for a real disk.
        with self._disk._lock:
            self._disk.synced(fd)

    def replace(self, name: str, target: str, **options: Any) -> None:
        with self._disk._lock:
            os.replace(name, target, **options)
            self._disk.renamed(os.path.basename(name), os.path.basename(target))

    def unlink(self, name: str, **options: Any) -> None:
        with self._disk._lock:
            os.unlink(name, **options)
            self._disk.unlinked(os.path.basename(name))

    def fstat(self, fd: int) -> Any:
        return self._disk.shown(os.fstat(fd))

    def stat(self, path: Any, **options: Any) -> Any:
        return self._disk.shown(os.stat(path, **options))
