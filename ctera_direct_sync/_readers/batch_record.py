"""The record of the files that batches completed in a folder, all in one file.

Each line is a CRC32C of the rest in hexadecimal, and JSON: the path in the folder, the identity of the
download, and the members of `Completion`. A line with the path alone says that the file is unknown again.
The last line of a path counts. A line that a crash cut, or that was altered, counts as missing.

The record is a claim, as a journal is: a file counts as complete only if its size and time are those of
the record. So the worst that a lost line can do is that a file is downloaded once more.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from typing import Any, NamedTuple

from .. import codec
from .folders import Folder, ForeignFileError, flush
from .journal import Completion

__all__ = ["RECORD_NAME", "BatchRecord", "RecordedPath", "read_record"]

_log = logging.getLogger(__name__)

RECORD_NAME = ".ctera-batch.record"
_NEW_NAME = RECORD_NAME + ".new"
#: The record is written anew once it has this many lines that no longer count, and more than those that do.
_MAX_STALE_LINES = 1000
_FLAGS = os.O_RDWR | os.O_APPEND
_SECOND_NS = 1_000_000_000
_WINDOWS = os.name == "nt"


class BatchRecord:
    """The record of one folder, for one batch, which has locked the folder.

    Args:
        folder: The folder of the batch.
        make: Whether to make the record if it does not exist.

    Raises:
        FileExistsError: The name belongs to a symbolic link, or to something else than a file.
        OSError: The record cannot be opened.
    """

    def __init__(self, folder: Folder, *, make: bool) -> None:
        self._folder = folder
        self._process = os.getpid()
        self._fd = -1
        self._is_broken = False
        # The last line of each path.
        self._lines: dict[str, bytes] = {}
        try:
            self._open(make)
        except FileNotFoundError:
            return
        except BaseException:
            self.close()
            raise

    def _open(self, make: bool) -> None:
        try:
            self._fd = self._folder.open_own(RECORD_NAME, _FLAGS)
        except FileNotFoundError:
            if not make:
                raise
            self._fd = self._folder.create(RECORD_NAME, _FLAGS)
            return
        if os.fstat(self._fd).st_nlink > 1:
            # What is written to it would go into another file of the user.
            raise ForeignFileError("the record has another name elsewhere (a hard link): remove it")
        self._lines, count, is_whole = _load(self._fd)
        if count - len(self._lines) > max(len(self._lines), _MAX_STALE_LINES):
            self._write_anew()
        elif not is_whole:
            os.write(self._fd, b"\n")

    def _write_anew(self) -> None:
        """Replace the record by one without the lines that no longer count."""
        with contextlib.suppress(FileNotFoundError):
            self._folder.unlink(_NEW_NAME)
        fd = self._folder.create(_NEW_NAME, _FLAGS)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.writelines(line + b"\n" for line in self._lines.values())
            flush(fd)
            if not _WINDOWS:
                self._folder.replace(_NEW_NAME, RECORD_NAME)
        except BaseException:
            os.close(fd)
            with contextlib.suppress(OSError):
                self._folder.unlink(_NEW_NAME)
            raise
        if _WINDOWS:
            self._replace_closed(fd)
            return
        # An interrupt between the two closes the new one again, and leaves no number that is free.
        old, self._fd = self._fd, fd
        os.close(old)

    def _replace_closed(self, fd: int) -> None:
        """Replace the record on Windows, which cannot rename an open file, nor over one.

        If the old record cannot be replaced, it is used as it is.
        """
        old, self._fd = self._fd, -1
        os.close(old)
        os.close(fd)
        try:
            self._folder.replace(_NEW_NAME, RECORD_NAME)
        except OSError:
            with contextlib.suppress(OSError):
                self._folder.unlink(_NEW_NAME)
        self._fd = self._folder.open_own(RECORD_NAME, _FLAGS)

    def path(self, path: str) -> RecordedPath:
        """Return the entry of a path in the folder."""
        return RecordedPath(self, path)

    def find(self, path: str, identity: str) -> Completion | None:
        """Return what the record says of a file that a download of this identity completed, or None.

        Another download may have replaced the file since, and know nothing of this record. Where a disk
        keeps times in whole seconds, size and time may then be the same, so there the inode counts too.
        """
        line = self._lines.get(path)
        entry = None if line is None else _parse(line)
        if entry is None or entry.identity != identity:
            return None
        completion = entry.completion
        try:
            found = os.lstat(self._folder.path_of(path))
        except OSError:
            return (
                completion  # A crash came before the renaming: the part file is compared with it.
            )
        is_coarse = not (completion.mtime_ns % _SECOND_NS and found.st_mtime_ns % _SECOND_NS)
        return None if is_coarse and found.st_ino != completion.inode else completion

    def save(self, path: str, identity: str, completion: Completion) -> bool:
        """Note a file that is complete and on the disk. Any thread may call this.

        Returns:
            False if there is no room for it.
        """
        return self._append(path, [path, identity, *completion])

    def forget(self, path: str) -> None:
        """Note that a file is unknown from now on, because something else replaces it."""
        if path in self._lines:
            self._append(path, [path])

    def _append(self, path: str, values: list[Any]) -> bool:
        text = json.dumps(values).encode()
        line = b"%08x %s" % (codec.crc32c(text), text)
        if self._fd < 0 or self._is_broken:
            return False
        try:
            # Lines of several threads do not mix: each is one write call on a descriptor in append mode.
            written = os.write(self._fd, line + b"\n")
            problem = ""
            if written != len(line) + 1:
                problem = f"only {written} of {len(line) + 1} bytes were written: is the disk full?"
        except OSError as error:
            problem = error.strerror or str(error)
        if problem:
            # What follows half a line could not be read.
            self._is_broken = True
            _log.warning(
                "%s cannot be written (%s): the next batch downloads again what this one gets",
                self._folder.path_of(RECORD_NAME),
                problem,
            )
            return False
        self._lines[path] = line
        return True

    def close(self) -> None:
        """Close the record. Later calls note nothing. A record without a line is removed.

        A forked child does not remove it: its parent goes on.
        """
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        is_empty = False
        try:
            found = os.fstat(fd)
            with contextlib.suppress(OSError):
                in_place = os.path.samestat(found, self._folder.lstat(RECORD_NAME))
                is_empty = in_place and not found.st_size and os.getpid() == self._process
        finally:
            os.close(fd)  # Windows cannot remove an open file.
        if is_empty:
            with contextlib.suppress(OSError):
                self._folder.unlink(RECORD_NAME)


class RecordedPath(NamedTuple):
    """What a record says of one file.

    Attributes:
        record: The record.
        path: The path of the file in the folder.
    """

    record: BatchRecord
    path: str

    def find(self, identity: str) -> Completion | None:
        """Return what the record says of a download of this identity, if it is complete."""
        return self.record.find(self.path, identity)

    def save(self, identity: str, completion: Completion) -> bool:
        """Note that the file is complete. Return False if there is no room for it."""
        return self.record.save(self.path, identity, completion)

    def forget(self) -> None:
        """Note that the file is unknown from now on."""
        self.record.forget(self.path)


def read_record(folder: Folder) -> dict[str, Completion]:
    """Return what the record of a folder says of each file. Empty if there is none that can be used."""
    try:
        fd = folder.open_own(RECORD_NAME, os.O_RDONLY)
    except OSError:
        return {}
    try:
        lines, _, _ = _load(fd)
    finally:
        os.close(fd)
    entries = {path: _parse(line) for path, line in lines.items()}
    return {path: entry.completion for path, entry in entries.items() if entry is not None}


class _Entry(NamedTuple):
    """What a line says of a file.

    Attributes:
        identity: The identity of the download.
        completion: The size, checksum, time and inode number of the file.
    """

    identity: str
    completion: Completion


def _load(fd: int) -> tuple[dict[str, bytes], int, bool]:
    """Return the last line of each path, the number of lines, and whether the last one is whole."""
    lines: dict[str, bytes] = {}
    count = 0
    line = b"\n"
    with open(fd, "rb", closefd=False) as file:
        for line in file:
            count += 1
            values = _values(line.rstrip(b"\n"))
            if values is not None:
                lines[values[0]] = line.rstrip(b"\n")
    return lines, count, line.endswith(b"\n")


def _values(line: bytes) -> list[Any] | None:
    """Return the members of a line, the first of which is the path. None if it is damaged."""
    text = line[9:]
    try:
        if int(line[:8], 16) != codec.crc32c(text):
            return None
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, list) or not values or not isinstance(values[0], str):
        return None
    return values


def _parse(line: bytes) -> _Entry | None:
    """Return what a line says, or None if it says that the file is unknown."""
    values = _values(line)
    if values is None or len(values) != 2 + len(Completion._fields):
        return None
    _, identity, *members = values
    if not isinstance(identity, str) or any(type(member) is not int for member in members):
        return None
    return _Entry(identity, Completion(*members))
