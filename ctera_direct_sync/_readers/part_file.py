"""The file beside the target that a download grows in, and the names of what lies beside a target.

``DIR/NAME`` is written as ``DIR/.NAME.ctera-part``, locked, and renamed when complete. With resume,
``DIR/.NAME.ctera-journal`` lists the pieces that are in the part file, each with its CRC32C. A journal
is a claim, not a proof: what it lists is read back and checked before it is believed, so neither a
crash nor a power cut can make a wrong byte pass. The completed download's journal stays, as one line,
so that the next resume can tell that there is nothing to do.

Everything that the lock protects happens before the renaming: the part file takes its lock along.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Callable, NamedTuple, Optional, Union

from .. import codec
from .._protocol.ranges import PART_SIZE, Piece, piece_at, pieces
from ..types import Metadata
from .folders import Place, flush
from .journal import Completion, Entries, Journal
from .locks import LockedFile

__all__ = ["DownloadPlan", "PartFile", "Recovered", "Run", "is_own_name"]

_log = logging.getLogger(__name__)

_PART, _JOURNAL, _NEW = ".ctera-part", ".ctera-journal", ".new"
_READ_SIZE_BYTES = 1024 * 1024
#: Offsets in a file are signed numbers of 64 bits to every system.
_MAX_SIZE_BYTES = 2**63 - 1

#: Names up to here need no look at how long names may be in the folder.
_SHORT_NAME_BYTES = 100


def is_own_name(name: str) -> bool:
    """Return whether a file name is one that a download to a neighbour of it may use.

    In any case of letters, since some file systems do not tell them apart.
    """
    name = name.lower()
    return name.startswith(".") and name.endswith((_PART, _JOURNAL, _JOURNAL + _NEW))


class OwnNames(NamedTuple):
    """Names of a target's part file, its journal, and the journal's replacement."""

    part: str
    journal: str
    fresh_journal: str

    @classmethod
    def of(cls, place: Place) -> OwnNames:
        """Return the names for a target; short ones, by a hash, where the target's is too long."""
        stem = f".{place.name}"
        size = len(os.fsencode(stem + _JOURNAL + _NEW))
        if size > _SHORT_NAME_BYTES and size > place.folder.longest_name():
            digest = hashlib.sha256(os.fsencode(place.name)).hexdigest()
            stem = f".ctera-{digest[:32]}"
        return cls(stem + _PART, stem + _JOURNAL, stem + _JOURNAL + _NEW)


class DownloadPlan:
    """What a download will consist of: bytes ``start`` to ``stop`` (excluded) of a listed file.

    Its pieces are computed when they are asked for: the listing's numbers make nothing large.
    """

    def __init__(self, metadata: Metadata, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        self.size = stop - start
        self._metadata = metadata
        self._part_size = PART_SIZE if metadata.plaintext else None
        self._identity = ""

    @property
    def identity(self) -> str:
        """Digest of the file and the range; two downloads of equal ``identity`` can continue each other."""
        if not self._identity:
            parts = f"{self._metadata.fingerprint} {self.start} {self.stop} {self._part_size}\n"
            self._identity = hashlib.sha256(parts.encode()).hexdigest()
        return self._identity

    def piece_at(self, offset: int) -> Optional[Piece]:
        """Return the piece that begins at an offset in the file; None where none does."""
        return piece_at(
            self._metadata.chunks, self.start, self.stop, offset, part_size=self._part_size
        )

    def is_one_piece(self) -> bool:
        """Return whether the plan has no more than one piece."""
        first = self.piece_at(self.start)
        return first is None or first.length == self.size

    def missing(self, runs: Sequence[Run]) -> Iterator[Piece]:
        """Return the pieces that are in none of the runs, in file order."""
        at = self.start
        for run in [*runs, Run(self.stop, 0, 0)]:
            yield from pieces(self._metadata.chunks, at, run.offset, part_size=self._part_size)
            at = run.offset + run.length


class Run(NamedTuple):
    """Pieces in a row that are in the part file: offset in the file, bytes, and their CRC32C."""

    offset: int
    length: int
    crc32c: int


class Recovered(NamedTuple):
    """What an earlier attempt left that is right, in file order, and why it left nothing, if known."""

    runs: list[Run]
    reason: str


class PartFile:
    """The part file of one target. A context manager: left without :meth:`commit` it removes the part
    file, or, with ``resume``, keeps it for the next time. ``path`` is its path.

    Raises:
        FileExistsError: Something else than a regular file is the target, or lies in a place of ours.
        BlockingIOError: Another download to the target is under way.
        OSError: The folder cannot be written, the target is a mount point, or the file too large.
    """

    def __init__(self, place: Place, plan: DownloadPlan, *, resume: bool) -> None:
        self._place = place
        self._folder = place.folder
        self._names = OwnNames.of(place)
        self.path = self._folder.path_of(self._names.part)
        self._plan = plan
        self._resume = resume
        self._lock = threading.Lock()
        self._writers = 0
        self._sealed = False
        self._closed = False
        self._keep = resume
        self._journal: Optional[Journal] = None
        self._check_target()
        self._file = LockedFile(self._folder, self._names.part)
        try:
            if resume:
                names = self._names
                self._journal = Journal(
                    self._folder, names.journal, names.fresh_journal, plan.identity
                )
        except BaseException:
            self._close()
            raise

    def _check_target(self) -> None:
        """Refuse what can be known to fail only after all bytes were fetched."""
        if self._plan.size > _MAX_SIZE_BYTES:
            raise OSError(errno.EFBIG, "no file can be that large", os.fspath(self._place))
        if self._place.check() is not None and self._folder.is_mount_point(self._place.name):
            raise self._mount_point()

    def _mount_point(self) -> OSError:
        return OSError(
            errno.EBUSY,
            "the target is mounted by itself, as a Docker volume of one file, so that it cannot be "
            "replaced: mount its folder, or pass a file object that is open for writing",
            os.fspath(self._place),
        )

    def __enter__(self) -> PartFile:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._close()

    def completed(self) -> Optional[int]:
        """Return the CRC32C of the target, if this very download made it, and it is as it was then.

        None where it is not known to be: its size or its time is another, or there is no journal.
        """
        completion = None if self._journal is None else self._journal.completion
        if completion is None or completion.size != self._plan.size:
            return None
        target = self._place.check()
        if target is None or not completion.fits(target):
            return None
        # The note is written before the renaming. A crash between the two left the part file there.
        part = os.fstat(self._file.fd)
        if part.st_size and part.st_ino == completion.inode:
            return None
        return completion.crc32c

    def recover(self, check: Callable[[], object]) -> Recovered:
        """Return what an earlier attempt left that is right, and make ready for :meth:`write`.

        Without resume: nothing, and the part file is emptied. ``check`` is called now and then; what
        it raises breaks off, and leaves all as it was.
        """
        if self._journal is None:
            os.ftruncate(self._file.fd, 0)
            return Recovered([], "")
        entries, runs = self._verify(self._journal, check)
        # What is past the end would stay there: the last time's file may have been longer.
        found = os.fstat(self._file.fd).st_size
        if found > self._plan.size or not runs:
            os.ftruncate(self._file.fd, min(found, self._plan.size) if runs else 0)
        # One piece is complete or not there: a journal amid the download would cost, and tell nothing.
        if not self._plan.is_one_piece():
            self._journal.begin(entries)
        return Recovered(runs, self._journal.reason)

    def _verify(self, journal: Journal, check: Callable[[], object]) -> tuple[Entries, list[Run]]:
        """Read back what the journal claims."""
        start, size = self._plan.start, self._plan.size
        completion = journal.completion
        if completion is not None:
            # A crash came between the note that all is complete and the renaming.
            whole = Run(start, size, completion.crc32c)
            if size and os.fstat(self._file.fd).st_size == size and self._is_right(whole, check):
                return {}, [whole]
            return {}, []
        kept: Entries = {}
        runs: list[Run] = []
        for offset, crc32c in sorted(journal.entries.items()):
            piece = self._plan.piece_at(offset)
            run = None if piece is None else Run(offset, piece.length, crc32c)
            if run is None or not self._is_right(run, check):
                continue
            kept[offset] = crc32c
            if runs and runs[-1].offset + runs[-1].length == offset:
                last = runs.pop()
                crc = codec.crc32c_combine(last.crc32c, crc32c, run.length)
                run = Run(last.offset, last.length + run.length, crc)
            runs.append(run)
        return kept, runs

    def _is_right(self, run: Run, check: Callable[[], object]) -> bool:
        """Whether the part file holds what the journal claims."""
        left, crc = run.length, 0
        with open(self._file.fd, "rb", closefd=False, buffering=0) as file:
            file.seek(run.offset - self._plan.start)
            while left:
                check()
                data = file.read(min(left, _READ_SIZE_BYTES))
                if not data:
                    return False
                crc = codec.crc32c(data, crc)
                left -= len(data)
        return crc == run.crc32c

    def write(self, offset: int, data: Union[bytes, memoryview], crc32c: int) -> None:
        """Write a piece at its ``offset`` in the source file, then note it. Any thread.

        ValueError once the part file is committed or closed. While a thread writes, the descriptor
        stays open, whatever ends the download: its number cannot become another file's.
        """
        with self._lock:
            if self._sealed or self._closed:
                raise ValueError(f"{self.path}: the download has ended, and takes no more pieces")
            self._writers += 1
        try:
            self._write_at(offset - self._plan.start, memoryview(data))
            if self._journal is not None:
                self._journal.append(offset, crc32c)
        except OSError as error:
            if error.filename is None:
                error.filename = self.path
            raise
        finally:
            with self._lock:
                self._writers -= 1
                last = self._closed and not self._writers
            if last:
                self._release()

    def _write_at(self, at: int, view: memoryview) -> None:
        fd = self._file.fd
        if hasattr(os, "pwrite"):
            while view:
                written = os.pwrite(fd, view, at)
                view, at = view[written:], at + written
            return
        with self._lock:
            os.lseek(fd, at, os.SEEK_SET)
            while view:
                view = view[os.write(fd, view) :]

    def commit(self, crc32c: int) -> None:
        """Make the part file the target: durable first, then under its name.

        Once it has its name the download is a success. What fails from then on is logged.
        """
        with self._lock:
            if self._writers:
                raise RuntimeError(f"{self.path} is still written to: please report this")
            self._sealed = True
        try:
            self._prepare_commit(crc32c)
        except OSError as error:
            if error.filename is None:
                error.filename = self.path
            raise
        found = os.fstat(self._file.fd)
        if os.name == "nt":
            self._replace_closed()
        else:
            self._replace()
        self._keep = True  # There is no part file any more.
        self._check_renamed(found)
        try:
            self._folder.flush()
        except OSError as error:
            _log.warning(
                "%s is in place and complete, but its folder could not be flushed to the disk (%s): "
                "a power cut within the next seconds may undo the renaming",
                os.fspath(self._place),
                error.strerror or error,
            )
        self._close()

    def _replace(self) -> None:
        try:
            self._folder.replace(self._names.part, self._place.name)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise self._mount_point() from None
            raise

    def _replace_closed(self) -> None:
        """As :meth:`_replace`, on Windows, where an open file cannot be renamed."""
        keep, self._keep = self._keep, True
        self._close()
        try:
            self._replace()
        except OSError:
            if not keep:
                with contextlib.suppress(OSError):
                    self._folder.unlink(self._names.part)
            raise

    def _prepare_commit(self, crc32c: int) -> None:
        """Everything before the renaming: from then on another download may begin."""
        fd = self._file.fd
        size = os.fstat(fd).st_size
        if size != self._plan.size:
            raise OSError(
                errno.EIO,
                f"{size} of {self._plan.size} bytes are in the part file: was it touched meanwhile?",
                self.path,
            )
        if not self._file.is_in_place(self._names.part):
            raise OSError(
                errno.EIO,
                "the part file was removed or replaced meanwhile: download again",
                self.path,
            )
        older = self._place.check()
        if older is not None:
            # Set-user-ID and set-group-ID belong to the content that they were given to.
            with contextlib.suppress(OSError, AttributeError):
                os.fchmod(fd, stat.S_IMODE(older.st_mode) & 0o777)
        flush(fd)
        found = os.fstat(fd)
        if self._journal is not None:
            self._journal.complete(
                Completion(self._plan.size, crc32c, found.st_mtime_ns, found.st_ino)
            )
        else:
            self._remove_journal()

    def _remove_journal(self) -> None:
        """Remove what an earlier download with resume noted about the target."""
        try:
            self._folder.unlink(self._names.journal)
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.warning("%s: an old journal stays beside it (%s)", os.fspath(self._place), error)

    def _check_renamed(self, found: os.stat_result) -> None:
        """Make sure that it was our file that was renamed, in a folder where others may rename, too."""
        with contextlib.suppress(FileNotFoundError):
            target = self._folder.lstat(self._place.name)
            # Some network file systems give a renamed file another inode number.
            facts = (target.st_mode, target.st_size, target.st_mtime_ns)
            if os.path.samestat(found, target) or facts == (
                found.st_mode,
                found.st_size,
                found.st_mtime_ns,
            ):
                return
        raise OSError(
            errno.EIO,
            "another program replaced the part file or the target while it was renamed: download again",
            os.fspath(self._place),
        )

    def discard(self) -> None:
        """Remove the part file in the end, as when the target is complete: nothing is to be resumed."""
        self._keep = False

    def _close(self) -> None:
        if self._file.is_child():
            # In a forked child a thread of the parent's may hold the lock for ever.
            self._closed = True
            self._release()
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
            last = not self._writers
        # Otherwise the last thread that writes does it: a number is not closed under its hands.
        if last:
            self._release()

    def _release(self) -> None:
        """Close the files, and let the next download in. The last who uses them does it."""
        if self._journal is not None:
            self._journal.close()
        keep = self._keep
        if keep and not self._sealed:
            # There is nothing in an empty part file that could be resumed.
            with contextlib.suppress(OSError):
                keep = os.fstat(self._file.fd).st_size > 0
        self._file.release(remove=not keep)
