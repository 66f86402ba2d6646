"""The journal beside a target: which pieces are in its part file, or which download completed it.

The first line is JSON. Its members are `version` and `identity` (of the file, its blocks and the
range). Once the download is complete it also has `complete`, `size`, `crc32c`, `mtime_ns` and `inode`
of the file. Until then each further line is a piece: its offset in the file and its CRC32C, in
hexadecimal.

A journal is only replaced as a whole, or appended to. Its reader checks whether it is true.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
from typing import Any, NamedTuple, Protocol

from .folders import Folder, ForeignFileError

__all__ = ["Completion", "Entries", "Journal", "Recorded", "read_completion"]

_log = logging.getLogger(__name__)

_VERSION = 2
_LINE_BYTES = 26  # "offset crc32c\n": 16 and 8 hexadecimal digits

#: Errors that prevent the journal, but not the download: no inode or room for another file, no
#: descriptor, a folder whose other files may not be replaced.
_TOLERABLE_ERRNOS = {
    *(errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EPERM, errno.EACCES),
    *(errno.EIO, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)),
}

#: The resolutions of times in file systems and archives: FAT 2 s, ext3 and tar 1 s, exFAT 10 ms,
#: databases and older tools 1 ms and 1 us, NTFS 100 ns.
_TIME_STEPS_NS = (2_000_000_000, 1_000_000_000, 10_000_000, 1_000_000, 1_000, 100)

#: The CRC32C of pieces, by their offset in the file.
Entries = dict[int, int]


class Completion(NamedTuple):
    """What a journal says of a complete file.

    Attributes:
        size: The bytes of the file.
        crc32c: The CRC32C of the file.
        mtime_ns: The modification time, in nanoseconds.
        inode: The inode number that the part file had.
    """

    size: int
    crc32c: int
    mtime_ns: int
    inode: int

    def fits(self, found: os.stat_result) -> bool:
        """Return whether a file has this size and this time, at the lower resolution of both times."""
        step = max(_time_step(self.mtime_ns), _time_step(found.st_mtime_ns))
        return found.st_size == self.size and abs(found.st_mtime_ns - self.mtime_ns) < step


class Recorded(Protocol):
    """What another file says of complete downloads to one target, in place of the journal."""

    def find(self, identity: str) -> Completion | None:
        """Return what it says of a download of this identity, if that is complete."""

    def save(self, identity: str, completion: Completion) -> bool:
        """Note that the download is complete. Return False if there is no room for it."""

    def forget(self) -> None:
        """Note that the target is unknown from now on."""


def read_completion(folder: Folder, name: str) -> Completion | None:
    """Return what a journal says of a complete file, whatever download made it.

    Args:
        folder: The folder of the target.
        name: The name of the journal.

    Returns:
        The size and checksum. None if the download is not complete, or the journal cannot be used.
    """
    try:
        fd = folder.open_own(name, os.O_RDONLY)
    except OSError:
        return None
    with open(fd, "rb") as file:
        record = _parse_header(file.readline())
    if record is None or record["version"] != _VERSION:
        return None
    return _completion_of(record)


class Journal:
    """The journal of one download. The file is read once, when the object is made.

    Args:
        folder: The folder of the target.
        name: The name of the journal.
        new_name: The name of its replacement while that is written.
        identity: The identity of the download.
        recorded: What notes that the download is complete. None: the journal does, and stays.

    Attributes:
        entries: The pieces that the journal lists for this download.
        completion: What the journal says of this download, if it is complete.
        reason: Why an existing journal cannot be used: it is damaged, or belongs to another release,
            download or user. Empty if there is no such reason.

    Raises:
        FileExistsError: The name belongs to a symbolic link, or to something else than a file.
    """

    def __init__(
        self,
        folder: Folder,
        name: str,
        new_name: str,
        identity: str,
        recorded: Recorded | None = None,
    ) -> None:
        self._folder = folder
        self._name = name
        self._new_name = new_name
        self._identity = identity
        self._recorded = recorded
        self._fd: int | None = None
        self._is_broken = False
        # Whether there is a file, which may be another download's.
        self._exists = True
        self.entries: Entries = {}
        self.completion: Completion | None = None
        self.reason = ""
        self._read()

    def _read(self) -> None:
        try:
            fd = self._folder.open_own(self._name, os.O_RDONLY)
        except FileNotFoundError:
            self._exists = False
            if self._recorded is not None:
                self.completion = self._recorded.find(self._identity)
            return
        except ForeignFileError:
            self.reason = "the journal of the last time belongs to another user"
            return
        except PermissionError:
            self.reason = "the journal of the last time cannot be read"
            return
        with open(fd, "rb") as file:
            header = file.readline()
            record = _parse_header(header)
            if record is None:
                self.reason = "the journal of the last time is damaged"
            elif record["version"] != _VERSION:
                self.reason = "the journal of the last time is that of another release"
            elif "complete" in record:
                self._read_completion(record)
            elif record["identity"] != self._identity:
                self.reason = "the file or the range is another than last time"
            else:
                self.entries = _parse_lines(file.read())

    def _read_completion(self, record: dict[str, Any]) -> None:
        completion = _completion_of(record)
        if completion is None:
            self.reason = "the journal of the last time is damaged"
        elif record["identity"] == self._identity:
            self.completion = completion

    def begin(self, entries: Entries) -> None:
        """Replace the journal by one with these entries, and open it for `append`.

        If there is no room for it, the download continues without a journal. It can then not be
        resumed.

        Args:
            entries: The pieces that are in the part file.
        """
        record = {"version": _VERSION, "identity": self._identity}
        lines = b"".join(b"%016x %08x\n" % entry for entry in entries.items())
        self._replace(record, lines, keep=True)

    def append(self, offset: int, crc32c: int) -> None:
        """Note a piece that is in the part file. Any thread may call this."""
        fd = self._fd
        if fd is None or self._is_broken:
            return
        line = b"%016x %08x\n" % (offset, crc32c)
        try:
            # Lines of several threads do not mix: each is one write call on a descriptor in append mode.
            if os.write(fd, line) == len(line):
                return
            problem = os.strerror(errno.ENOSPC)
        except OSError as error:
            problem = error.strerror or str(error)
        # Nothing after half a line can be read, so this line is the last. The descriptor stays open:
        # another thread may be about to use it.
        self._is_broken = True
        self._warn(problem)

    def complete(self, completion: Completion) -> None:
        """Note that the download is complete, if there is room for it.

        A new journal says so, or what takes its place: then the journal is removed.
        """
        self.close()
        if self._recorded is not None and self._recorded.save(self._identity, completion):
            if self._exists:
                self.remove()
            return
        record = {"version": _VERSION, "identity": self._identity, "complete": True}
        self._replace({**record, **completion._asdict()}, b"", keep=False)

    def remove(self) -> None:
        """Remove the journal, because nothing needs it any longer."""
        self.close()
        try:
            self._folder.unlink(self._name)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._warn(error.strerror or str(error))

    def remove_unfinished(self) -> None:
        """Remove a new journal that a crash left before it got its name. It is missing, as a rule."""
        with contextlib.suppress(OSError):
            self._unlink_new()

    def _unlink_new(self) -> None:
        # A crash left it, or another user put it there, whose file `open_own` refuses.
        os.close(self._folder.open_own(self._new_name, os.O_RDONLY))
        self._folder.unlink(self._new_name)

    def close(self) -> None:
        """Close the journal. Later calls of `append` do nothing."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _replace(self, record: dict[str, Any], lines: bytes, *, keep: bool) -> None:
        self._exists = True
        try:
            self._write(json.dumps(record).encode() + b"\n" + lines, keep)
        except OSError as error:
            if error.errno not in _TOLERABLE_ERRNOS or isinstance(error, ForeignFileError):
                raise
            self._warn(error.strerror or str(error))

    def _write(self, content: bytes, keep: bool) -> None:
        flags = os.O_WRONLY | os.O_APPEND
        try:
            fd = self._folder.create(self._new_name, flags)
        except FileExistsError:
            self._unlink_new()
            fd = self._folder.create(self._new_name, flags)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            if os.name == "nt":  # Windows cannot rename an open file.
                os.close(fd)
                fd = -1
            self._folder.replace(self._new_name, self._name)
            if keep:
                self._fd = fd if fd >= 0 else self._folder.open_own(self._name, flags)
                fd = -1
        except BaseException:
            with contextlib.suppress(OSError):
                self._folder.unlink(self._new_name)
            raise
        finally:
            if fd >= 0:
                os.close(fd)

    def _warn(self, problem: str) -> None:
        _log.warning(
            "%s: the journal cannot be written (%s): the download goes on, but what it gets cannot be "
            "taken over by a later one",
            self._folder.path_of(self._name),
            problem,
        )


def _parse_header(line: bytes) -> dict[str, Any] | None:
    """Return the members of the first line, or None if the line is damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("version")) is not int:
        return None
    if record["version"] == _VERSION and not isinstance(record.get("identity"), str):
        return None
    return record


def _completion_of(record: dict[str, Any]) -> Completion | None:
    """Return what the first line says of a complete file. None if it says nothing, or is damaged."""
    members = [member for each in Completion._fields if type(member := record.get(each)) is int]
    if record.get("complete") is not True or len(members) < len(Completion._fields):
        return None
    return Completion(*members)


def _parse_lines(lines: bytes) -> Entries:
    """Return the entries, without a last line that a crash cut, and without all after a malformed one."""
    entries: Entries = {}
    for start in range(0, len(lines) - _LINE_BYTES + 1, _LINE_BYTES):
        line = lines[start : start + _LINE_BYTES]
        try:
            entries[int(line[:16], 16)] = int(line[17:25], 16)
        except ValueError:
            break
    return entries


def _time_step(time_ns: int) -> int:
    """Return the resolution that a file's time seems to have, in nanoseconds."""
    return next((step for step in _TIME_STEPS_NS if time_ns % step == 0), 1)
