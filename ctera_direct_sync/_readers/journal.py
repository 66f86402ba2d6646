"""The journal beside a target: which pieces are in its part file, and which download completed it.

The first line is JSON: ``version``, ``identity`` (of the file, its blocks and the range) and, once the
download is complete, ``complete``, ``size``, ``crc32c``, ``mtime_ns`` and ``inode`` of the file. Before
that, each further line is a piece: its offset in the file and its CRC32C, in hexadecimal. A journal is
only ever replaced as a whole or appended to, and what it says is a claim that its reader checks.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
from typing import Any, NamedTuple, Optional

from .folders import Folder, ForeignFileError

__all__ = ["Completion", "Entries", "Journal"]

_log = logging.getLogger(__name__)

_VERSION = 2
_LINE_BYTES = 26  # "offset crc32c\n": 16 and 8 hexadecimal digits

#: Failures that cost the journal, but need not cost the download: no inode or room for one more file,
#: no descriptor, a folder whose other files may not be replaced.
_BEARABLE = {
    *(errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EPERM, errno.EACCES),
    *(errno.EIO, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)),
}

#: Steps in which file systems and archives keep times: FAT 2 s, ext3 and tar 1 s, exFAT 10 ms,
#: databases and older tools 1 ms and 1 us, NTFS 100 ns.
_TIME_STEPS_NS = (2_000_000_000, 1_000_000_000, 10_000_000, 1_000_000, 1_000, 100)

#: CRC32C of pieces by their offset.
Entries = dict[int, int]


class Completion(NamedTuple):
    """What a journal says of a complete file: bytes, CRC32C, and time and inode of the file then."""

    size: int
    crc32c: int
    mtime_ns: int
    inode: int

    def fits(self, found: os.stat_result) -> bool:
        """Return whether a file has the size and the time, as exactly as both times are kept."""
        step = max(_time_step(self.mtime_ns), _time_step(found.st_mtime_ns))
        return found.st_size == self.size and abs(found.st_mtime_ns - self.mtime_ns) < step


class Journal:
    """The journal ``name`` in a folder, for the download ``identity``. Reads once, when it is made.

    ``entries`` and ``completion`` are what it said of this very download. ``reason`` says why it says
    nothing, where there was a journal: it is damaged, of another release, another download or user.
    ``fresh`` is the name of its replacement while that is written.

    Raises:
        FileExistsError: A symbolic link, or another thing than a file, has the name.
    """

    def __init__(self, folder: Folder, name: str, fresh: str, identity: str) -> None:
        self._folder = folder
        self._name = name
        self._fresh = fresh
        self._identity = identity
        self._fd: Optional[int] = None
        self._broken = False
        self.entries: Entries = {}
        self.completion: Optional[Completion] = None
        self.reason = ""
        self._read()

    def _read(self) -> None:
        try:
            fd = self._folder.open_own(self._name, os.O_RDONLY)
        except FileNotFoundError:
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
        members = [member for name in Completion._fields if type(member := record.get(name)) is int]
        if record["complete"] is not True or len(members) < len(Completion._fields):
            self.reason = "the journal of the last time is damaged"
        elif record["identity"] == self._identity:
            self.completion = Completion(*members)

    def begin(self, entries: Entries) -> None:
        """Replace the journal by one with these entries, and open it for :meth:`append`.

        Without room for it the download goes on without a journal: it then cannot be resumed.
        """
        record = {"version": _VERSION, "identity": self._identity}
        lines = b"".join(b"%016x %08x\n" % entry for entry in entries.items())
        self._replace(record, lines, keep=True)

    def append(self, offset: int, crc32c: int) -> None:
        """Note a piece that is in the part file. Any thread."""
        fd = self._fd
        if fd is None or self._broken:
            return
        line = b"%016x %08x\n" % (offset, crc32c)
        try:
            # One write call on a descriptor in append mode: lines of threads do not mix.
            if os.write(fd, line) == len(line):
                return
            problem = os.strerror(errno.ENOSPC)
        except OSError as error:
            problem = error.strerror or str(error)
        # What comes after half a line cannot be read: that one is the last. The descriptor stays open:
        # another thread may be about to use it.
        self._broken = True
        self._warn(problem)

    def complete(self, completion: Completion) -> None:
        """Replace the journal by a note that the download is complete, as far as there is room for it."""
        self.close()
        record = {"version": _VERSION, "identity": self._identity, "complete": True}
        self._replace({**record, **completion._asdict()}, b"", keep=False)

    def remove(self) -> None:
        """Remove the journal: it speaks of a file that is about to be replaced."""
        self.close()
        try:
            self._folder.unlink(self._name)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._warn(error.strerror or str(error))

    def close(self) -> None:
        """Note nothing more."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _replace(self, record: dict[str, Any], lines: bytes, *, keep: bool) -> None:
        try:
            self._write(json.dumps(record).encode() + b"\n" + lines, keep)
        except OSError as error:
            if error.errno not in _BEARABLE or isinstance(error, ForeignFileError):
                raise
            self._warn(error.strerror or str(error))

    def _write(self, content: bytes, keep: bool) -> None:
        flags = os.O_WRONLY | os.O_APPEND
        try:
            fd = self._folder.create(self._fresh, flags)
        except FileExistsError:
            # A crash left it, or somebody put it there: what is not a file of ours is refused.
            os.close(self._folder.open_own(self._fresh, os.O_RDONLY))
            self._folder.unlink(self._fresh)
            fd = self._folder.create(self._fresh, flags)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            if os.name == "nt":  # An open file cannot be renamed there.
                os.close(fd)
                fd = -1
            self._folder.replace(self._fresh, self._name)
            if keep:
                self._fd = fd if fd >= 0 else self._folder.open_own(self._name, flags)
                fd = -1
        except BaseException:
            with contextlib.suppress(OSError):
                self._folder.unlink(self._fresh)
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


def _parse_header(line: bytes) -> Optional[dict[str, Any]]:
    """Return the first line's members, ``version`` and ``identity`` among them; None if damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("version")) is not int:
        return None
    if record["version"] == _VERSION and not isinstance(record.get("identity"), str):
        return None
    return record


def _parse_lines(lines: bytes) -> Entries:
    """Return the entries; a line cut by a crash and all after a malformed one are left out."""
    entries: Entries = {}
    for at in range(0, len(lines) - _LINE_BYTES + 1, _LINE_BYTES):
        line = lines[at : at + _LINE_BYTES]
        try:
            entries[int(line[:16], 16)] = int(line[17:25], 16)
        except ValueError:
            break
    return entries


def _time_step(time_ns: int) -> int:
    """Return in which steps a file's time seems to be kept, in nanoseconds."""
    return next((step for step in _TIME_STEPS_NS if time_ns % step == 0), 1)
