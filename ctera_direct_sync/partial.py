"""The file beside the target that a download grows in, and the journal it can be resumed by.

``DIR/NAME`` is written as ``DIR/.NAME.ctera-part``, locked, and renamed when complete. With resume,
``DIR/.NAME.ctera-journal`` lists the pieces that are in the part file, each with its CRC32C. A journal
is a claim, not a proof: what it lists is read back and checked before it is believed, so neither a
crash nor a power cut can make a wrong byte pass. The completed download's journal stays, as one line,
so that the next resume can tell that there is nothing to do.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Callable, NamedTuple, Optional, Union

from . import codec
from .ranges import Piece
from .types import Metadata

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None  # type: ignore[assignment]

__all__ = ["Done", "Partial", "Plan", "is_own_name", "open_locked"]

_VERSION = 1
_PART, _JOURNAL, _NEW = ".ctera-part", ".ctera-journal", ".new"
_LINE = 18  # "position crc32c\n", both as 8 hexadecimal digits
_READ_STEP = 1024 * 1024


def is_own_name(name: str) -> bool:
    """Whether a file name is one that a download to a neighbour of it may use."""
    return name.startswith(".") and name.endswith((_PART, _JOURNAL, _JOURNAL + _NEW))


class Plan(NamedTuple):
    """What a download will consist of; two of equal ``identity`` can continue each other."""

    start: int
    size: int
    pieces: Sequence[Piece]
    identity: str

    @classmethod
    def of(cls, metadata: Metadata, start: int, stop: int, pieces: Sequence[Piece]) -> Plan:
        """The plan for bytes ``start`` to ``stop`` (excluded) of a listed file."""
        digest = hashlib.sha256(f"{metadata.fingerprint} {start} {stop}\n".encode())
        for piece in pieces:
            digest.update(b"%d %d\n" % (piece.offset, piece.length))
        return cls(start, stop - start, pieces, digest.hexdigest())


class Done(NamedTuple):
    """A piece that is in the part file: its place in the plan and its CRC32C."""

    position: int
    crc32c: int


class Partial:
    """The part file of one target. A context manager: left without :meth:`commit` it removes the part
    file, or, with ``resume``, keeps it for the next time. ``part`` is its path.

    OSError where the folder cannot be written; BlockingIOError where another process is at it.
    """

    def __init__(self, path: str, plan: Plan, *, resume: bool) -> None:
        folder, name = os.path.split(path)
        self._path = path
        self._folder = folder or os.curdir
        self.part = os.path.join(folder, f".{name}{_PART}")
        self._journal_path = os.path.join(folder, f".{name}{_JOURNAL}")
        self._plan = plan
        self._resume = resume
        self._journal: Optional[int] = None
        self._lock = threading.Lock()
        self._committed = False
        self._fd = open_locked(self.part)

    def __enter__(self) -> Partial:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if not self._committed and not self._resume:
            # Unlinked before the lock goes, so that nobody else's file is removed.
            with contextlib.suppress(OSError):
                os.unlink(self.part)
        self._close()

    def completed(self, check: Callable[[], object] = lambda: None) -> Optional[int]:
        """The CRC32C of the target, if the journal says that it is this very download, finished.

        ``check`` is called now and then, as by :meth:`recover`.
        """
        record, lines = self._read_journal()
        if record.get("identity") != self._plan.identity or record.get("version") != _VERSION:
            return None
        with contextlib.suppress(OSError):
            found = os.stat(self._path)
            if record.get("complete") is not True:
                return self._renamed(_parse_lines(lines), check)
            if (found.st_size, found.st_mtime_ns) == (self._plan.size, record.get("mtime_ns")):
                return int(record["crc32c"])
        return None

    def _renamed(self, entries: Sequence[Done], check: Callable[[], object]) -> Optional[int]:
        """The CRC32C of the target, where a crash came between its renaming and the journal's note."""
        if len(entries) != len(self._plan.pieces) or os.fstat(self._fd).st_size:
            return None
        crc32c = 0
        with open(self._path, "rb", buffering=0) as target:
            found = os.fstat(target.fileno())
            if found.st_size != self._plan.size:
                return None
            for entry in entries:
                if not self._is_right(entry, check, target.fileno()):
                    return None
                length = self._plan.pieces[entry.position].length
                crc32c = codec.crc32c_combine(crc32c, entry.crc32c, length)
        self._note_complete(crc32c, found.st_mtime_ns)
        return crc32c

    def recover(self, check: Callable[[], object]) -> tuple[list[Done], str]:
        """What an earlier attempt left that is right, and why nothing is, if it is for a reason.

        Opens the journal for :meth:`write`. Without resume: nothing, and the part file is emptied.
        ``check`` is called now and then; what it raises breaks off, and leaves all as it was.
        """
        if not self._resume:
            os.ftruncate(self._fd, 0)
            return [], ""
        record, lines = self._read_journal()
        done: list[Done] = []
        reason = ""
        if record.get("identity") == self._plan.identity and record.get("version") == _VERSION:
            entries = _parse_lines(lines)
            done = [entry for entry in entries if self._is_right(entry, check, self._fd)]
        elif record.get("damaged"):
            reason = "the journal of the last time is damaged"
        elif record and not record.get("complete"):
            reason = "the file or the range is another than last time"
        # What is past the end would stay there: the last time's file may have been longer.
        found = os.fstat(self._fd).st_size
        os.ftruncate(self._fd, min(found, self._plan.size) if done else 0)
        self._begin_journal(done)
        return done, reason

    def write(
        self, position: int, offset: int, data: Union[bytes, memoryview], crc32c: int
    ) -> None:
        """Write a piece at ``offset`` from the target's beginning, then note it. Any thread."""
        view = memoryview(data)
        if hasattr(os, "pwrite"):
            while view:
                written = os.pwrite(self._fd, view, offset)
                view, offset = view[written:], offset + written
        else:
            with self._lock:
                os.lseek(self._fd, offset, os.SEEK_SET)
                while view:
                    view = view[os.write(self._fd, view) :]
        if self._journal is not None:
            # One write call on a descriptor in append mode: lines of threads do not mix.
            os.write(self._journal, b"%08x %08x\n" % (position, crc32c))

    def commit(self, crc32c: int) -> None:
        """Make the part file the target: durable first, then under its name."""
        size = os.fstat(self._fd).st_size
        if size != self._plan.size:
            raise OSError(
                errno.EIO,
                f"{size} of {self._plan.size} bytes are in the part file: was it touched meanwhile?",
                self.part,
            )
        with contextlib.suppress(OSError, AttributeError):
            os.fchmod(self._fd, stat.S_IMODE(os.stat(self._path).st_mode))
        os.fsync(self._fd)
        mtime_ns = os.fstat(self._fd).st_mtime_ns
        if os.name == "nt":  # An open file cannot be renamed there.
            self._close()
        os.replace(self.part, self._path)
        self._committed = True
        self._sync_folder()
        if self._resume:
            self._note_complete(crc32c, mtime_ns)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._journal_path)
        self._close()

    def discard(self) -> None:
        """Remove the part file, as when the target is complete already: there is nothing to resume."""
        with contextlib.suppress(OSError):
            os.unlink(self.part)

    # --- the journal -----------------------------------------------------------------------------------

    def _read_journal(self) -> tuple[dict[str, Any], bytes]:
        try:
            with open(self._journal_path, "rb") as file:
                header, _, lines = file.read().partition(b"\n")
        except FileNotFoundError:
            return {}, b""
        try:
            record = json.loads(header)
        except (ValueError, RecursionError):
            record = None
        return (record, lines) if isinstance(record, dict) else ({"damaged": True}, b"")

    def _begin_journal(self, done: Sequence[Done]) -> None:
        record = {"version": _VERSION, "identity": self._plan.identity, "size": self._plan.size}
        lines = b"".join(b"%08x %08x\n" % entry for entry in done)
        self._replace_journal(json.dumps(record).encode() + b"\n" + lines)
        self._journal = os.open(self._journal_path, os.O_WRONLY | os.O_APPEND | _BINARY)

    def _note_complete(self, crc32c: int, mtime_ns: int) -> None:
        record = {
            "version": _VERSION,
            "identity": self._plan.identity,
            "complete": True,
            "crc32c": crc32c,
            "mtime_ns": mtime_ns,
        }
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None
        self._replace_journal(json.dumps(record).encode() + b"\n")

    def _replace_journal(self, content: bytes) -> None:
        fresh = self._journal_path + _NEW
        with open(fresh, "wb") as file:
            file.write(content)
        os.replace(fresh, self._journal_path)

    def _is_right(self, entry: Done, check: Callable[[], object], fd: int) -> bool:
        """Whether the file holds what the journal claims."""
        if entry.position >= len(self._plan.pieces):
            return False
        piece = self._plan.pieces[entry.position]
        offset, left, crc = piece.offset - self._plan.start, piece.length, 0
        with open(fd, "rb", closefd=False, buffering=0) as file:
            file.seek(offset)
            while left:
                check()
                data = file.read(min(left, _READ_STEP))
                if not data:
                    return False
                crc = codec.crc32c(data, crc)
                left -= len(data)
        return crc == entry.crc32c

    # --- the folder ------------------------------------------------------------------------------------

    def _sync_folder(self) -> None:
        if os.name == "nt":
            return
        fd = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _close(self) -> None:
        for fd in (self._journal, self._fd):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._journal, self._fd = None, -1


_BINARY = getattr(os, "O_BINARY", 0)


def open_locked(path: str) -> int:
    """Open ``path`` for one holder at a time, made if it is not there. BlockingIOError: it has one.

    Before it lets go, the holder may remove the file.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | _BINARY | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            _lock(fd)
            # Its holder may have renamed or removed it between our open and our lock.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(path)):
                    return fd
        except BlockingIOError:
            os.close(fd)
            raise BlockingIOError(
                errno.EAGAIN,
                "another download to this target is under way: wait for it, or choose another target",
                path,
            ) from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _lock(fd: int) -> None:
    if fcntl is not None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    try:
        # Far past any data: Windows locks are mandatory for the range that they cover.
        os.lseek(fd, 2**62, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        raise BlockingIOError(errno.EAGAIN, "locked") from error
    finally:
        os.lseek(fd, 0, os.SEEK_SET)


def _parse_lines(lines: bytes) -> list[Done]:
    """The journal's entries; a line cut by a crash and all after a malformed one are left out."""
    done: dict[int, Done] = {}
    for at in range(0, len(lines) - _LINE + 1, _LINE):
        line = lines[at : at + _LINE]
        try:
            entry = Done(int(line[:8], 16), int(line[9:17], 16))
        except ValueError:
            break
        done[entry.position] = entry
    return sorted(done.values())
