"""The part file that a download to a path is written to, and the names of the files beside a target.

The download of `DIR/NAME` is written to `DIR/.NAME.ctera-part`, which is locked, and is renamed when
it is complete. With resume, `DIR/.NAME.ctera-journal` lists the pieces in the part file, each with its
CRC32C. The next download reads each listed piece back and checks it. So neither a crash nor a power
cut can make a wrong byte pass. After the download one line of the journal stays: it tells the next
resume that there is nothing to do. A batch has one record for all files of its folder instead.

The lock belongs to the part file, so the renaming ends its protection. Everything that it protects
happens before.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Callable, NamedTuple

from .. import codec
from .._base.sync import Lock
from .._protocol.ranges import PART_SIZE, Piece, piece_at, pieces
from ..types import Metadata
from .folders import Place, flush
from .journal import Completion, Entries, Journal, Recorded
from .locks import LockedFile

__all__ = [
    "DownloadPlan",
    "OwnNames",
    "PartFile",
    "Recovered",
    "Run",
    "is_journal",
    "is_own_name",
    "name_of_target",
    "write_at",
]

_log = logging.getLogger(__name__)

_PART, _JOURNAL, _NEW = ".ctera-part", ".ctera-journal", ".new"
_READ_SIZE_BYTES = 1024 * 1024
#: Every system takes offsets in a file as signed numbers of 64 bits.
_MAX_SIZE_BYTES = 2**63 - 1

#: A name of at most this length fits into any folder, so the folder is not asked for its limit.
_SHORT_NAME_BYTES = 100


def is_own_name(name: str) -> bool:
    """Return whether a download may use a file name for its part file or journal.

    The case of letters does not matter, because some file systems ignore it.
    """
    name = name.lower()
    return name.startswith(".") and name.endswith((_PART, _JOURNAL, _JOURNAL + _NEW))


def is_journal(name: str) -> bool:
    """Return whether a file name is that of a journal."""
    return is_own_name(name) and name.lower().endswith(_JOURNAL)


def name_of_target(journal: str) -> str:
    """Return the name of the file that a journal belongs to. Of a very long name only a hash is known."""
    return journal[1 : -len(_JOURNAL)]


def write_at(fd: int, data: bytes | memoryview, position: int, lock: Lock) -> None:
    """Write bytes to a position of a file, whose descriptor several threads may use.

    Args:
        fd: The descriptor.
        data: The bytes.
        position: The position in the file.
        lock: Lets one thread write at a time, if the system cannot write to a position.
    """
    view = memoryview(data)
    if hasattr(os, "pwrite"):
        while view:
            written = os.pwrite(fd, view, position)
            view, position = view[written:], position + written
        return
    with lock:
        os.lseek(fd, position, os.SEEK_SET)
        while view:
            view = view[os.write(fd, view) :]


class OwnNames(NamedTuple):
    """The names of the files beside a target.

    Attributes:
        part: The part file.
        journal: The journal.
        new_journal: The journal's replacement while it is written.
    """

    part: str
    journal: str
    new_journal: str

    @classmethod
    def of(cls, place: Place) -> OwnNames:
        """Return the names for a target. If its own name is too long, they contain a hash instead."""
        stem = f".{place.name}"
        size = len(os.fsencode(stem + _JOURNAL + _NEW))
        if size > _SHORT_NAME_BYTES and size > place.folder.longest_name():
            digest = hashlib.sha256(os.fsencode(place.name)).hexdigest()
            stem = f".ctera-{digest[:32]}"
        return cls(stem + _PART, stem + _JOURNAL, stem + _JOURNAL + _NEW)


class DownloadPlan:
    """The pieces that a download consists of.

    Pieces are computed when they are needed, so no number in the block list sizes anything.

    Args:
        metadata: The block list of the file.
        start: The offset of the first byte.
        stop: The offset past the last byte.

    Attributes:
        start: The offset of the first byte.
        stop: The offset past the last byte.
        size: The number of bytes.
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
        """A digest of the file and the range. Downloads of equal identity can continue each other."""
        if not self._identity:
            parts = f"{self._metadata.fingerprint} {self.start} {self.stop} {self._part_size}\n"
            self._identity = hashlib.sha256(parts.encode()).hexdigest()
        return self._identity

    def piece_at(self, offset: int) -> Piece | None:
        """Return the piece that begins at an offset in the file, or None."""
        return piece_at(
            self._metadata.chunks, self.start, self.stop, offset, part_size=self._part_size
        )

    def is_one_piece(self) -> bool:
        """Return whether the plan has no more than one piece."""
        first = self.piece_at(self.start)
        return first is None or first.length == self.size

    def missing(self, runs: Sequence[Run]) -> Iterator[Piece]:
        """Return the pieces that are in none of the runs, in file order."""
        offset = self.start
        for run in [*runs, Run(self.stop, 0, 0)]:
            yield from pieces(self._metadata.chunks, offset, run.offset, part_size=self._part_size)
            offset = run.offset + run.length


class Run(NamedTuple):
    """Adjacent pieces that are in the part file.

    Attributes:
        offset: The offset of the first byte in the downloaded file.
        length: The number of bytes.
        crc32c: The CRC32C of the bytes.
    """

    offset: int
    length: int
    crc32c: int


class Recovered(NamedTuple):
    """What an earlier download left.

    Attributes:
        runs: The pieces that were read back and are right, in file order.
        reason: Why the journal says nothing, if that is known; else empty.
    """

    runs: list[Run]
    reason: str


class PartFile:
    """The part file of one target.

    It is a context manager. If the block ends without `commit`, the part file is removed. With
    `resume` it stays for the next download.

    Args:
        place: The place of the target.
        plan: The pieces of the download.
        resume: Whether to use what an earlier download left, and to keep the progress of this one.
        recorded: What notes in place of the journal that the download is complete, or None.

    Attributes:
        path: The path of the part file.

    Raises:
        FileExistsError: The target, the part file or the journal exists and is not a regular file.
        BlockingIOError: Another download to the target is under way.
        OSError: The folder cannot be written to, the target is a mount point, or the file is too
            large.
    """

    def __init__(
        self, place: Place, plan: DownloadPlan, *, resume: bool, recorded: Recorded | None = None
    ) -> None:
        self._place = place
        self._folder = place.folder
        self._names = OwnNames.of(place)
        self.path = self._folder.path_of(self._names.part)
        self._plan = plan
        self._recorded = recorded
        self._lock = Lock()
        self._writers = 0
        self._sealed = False
        self._closed = False
        self._keep = resume
        self._journal: Journal | None = None
        self._check_target()
        self._file = LockedFile(self._folder, self._names.part)
        try:
            if resume:
                names = self._names
                self._journal = Journal(
                    self._folder, names.journal, names.new_journal, plan.identity, recorded
                )
        except BaseException:
            self._close()
            raise

    def _check_target(self) -> None:
        """Refuse a target for which `commit` would fail, before anything is fetched."""
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
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def completed(self) -> int | None:
        """Return the CRC32C of the target if an equal download made it, and it has not changed since.

        Returns:
            The CRC32C. None if the target's size or time differs, or if there is no journal.
        """
        completion = None if self._journal is None else self._journal.completion
        if completion is None or completion.size != self._plan.size:
            return None
        target = self._place.check()
        if target is None or not completion.fits(target):
            return None
        # The journal is written before the renaming. After a crash in between the part file is there.
        part = os.fstat(self._file.fd)
        if part.st_size and part.st_ino == completion.inode:
            return None
        return completion.crc32c

    def recover(self, check: Callable[[], object]) -> Recovered:
        """Read back what an earlier download left, and prepare for `write`.

        Without resume the part file is emptied.

        Args:
            check: Called now and then. An error that it raises ends the reading, and all files stay as
                they were.

        Returns:
            The pieces that are right.
        """
        if self._journal is None:
            if not self._file.is_new:
                os.ftruncate(self._file.fd, 0)
            return Recovered([], "")
        if self._file.is_new:
            self._begin_journal(self._journal, {})
            return Recovered([], self._journal.reason)
        entries, runs = self._verify(self._journal, check)
        # The earlier file may have been longer. Bytes past the end would stay.
        found = os.fstat(self._file.fd).st_size
        if found > self._plan.size or not runs:
            os.ftruncate(self._file.fd, min(found, self._plan.size) if runs else 0)
        self._begin_journal(self._journal, entries)
        return Recovered(runs, self._journal.reason)

    def _begin_journal(self, journal: Journal, entries: Entries) -> None:
        # A single piece is complete or missing, so a journal during the download would tell nothing.
        if not self._plan.is_one_piece():
            journal.begin(entries)

    def _verify(self, journal: Journal, check: Callable[[], object]) -> tuple[Entries, list[Run]]:
        """Read back the pieces that the journal lists. Return the right ones, as entries and as runs."""
        start, size = self._plan.start, self._plan.size
        completion = journal.completion
        if completion is not None:
            # A crash came after the journal said that all is complete, and before the renaming.
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
                combined = codec.crc32c_combine(last.crc32c, crc32c, run.length)
                run = Run(last.offset, last.length + run.length, combined)
            runs.append(run)
        return kept, runs

    def _is_right(self, run: Run, check: Callable[[], object]) -> bool:
        """Return whether the bytes of a run have its CRC32C."""
        remaining, crc32c = run.length, 0
        with open(self._file.fd, "rb", closefd=False, buffering=0) as file:
            file.seek(run.offset - self._plan.start)
            while remaining:
                check()
                data = file.read(min(remaining, _READ_SIZE_BYTES))
                if not data:
                    return False
                crc32c = codec.crc32c(data, crc32c)
                remaining -= len(data)
        return crc32c == run.crc32c

    def write(self, offset: int, data: bytes | memoryview, crc32c: int) -> None:
        """Write a piece, then note it in the journal. Any thread may call this.

        The descriptor stays open while a thread writes, whatever ends the download. Otherwise another
        file could get its number.

        Args:
            offset: The offset of the piece in the downloaded file.
            data: The bytes.
            crc32c: The CRC32C of the bytes.

        Raises:
            OSError: The bytes cannot be written.
            ValueError: The part file was committed or closed.
        """
        with self._lock:
            if self._sealed or self._closed:
                raise ValueError(f"{self.path}: the download has ended, and takes no more pieces")
            self._writers += 1
        try:
            write_at(self._file.fd, data, offset - self._plan.start, self._lock)
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

    def commit(self, crc32c: int) -> None:
        """Flush the part file to the disk, and rename it to the target.

        After the renaming the download is a success. Later failures are logged.

        Args:
            crc32c: The CRC32C of the whole file.

        Raises:
            OSError: The part file cannot be renamed, or was touched by another program.
        """
        with self._lock:
            if self._writers:
                raise RuntimeError(f"{self.path} is still written to: please report this")
            self._sealed = True
        try:
            found = self._prepare_commit(crc32c)
        except OSError as error:
            if error.filename is None:
                error.filename = self.path
            raise
        if os.name == "nt":
            self._replace_closed()
        else:
            self._replace()
        self._keep = True  # The part file has become the target.
        self._check_renamed(found)
        if self._place.flush:
            self._flush_folder()
        self._close()

    def _flush_folder(self) -> None:
        try:
            self._folder.flush()
        except OSError as error:
            _log.warning(
                "%s is in place and complete, but its folder could not be flushed to the disk (%s): "
                "a power cut within the next seconds may undo the renaming",
                os.fspath(self._place),
                error.strerror or error,
            )

    def _replace(self) -> None:
        try:
            self._folder.replace(self._names.part, self._place.name)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise self._mount_point() from None
            raise

    def _replace_closed(self) -> None:
        """Close the part file and rename it, on Windows, which cannot rename an open file."""
        keep, self._keep = self._keep, True
        self._close()
        try:
            self._replace()
        except OSError:
            if not keep:
                with contextlib.suppress(OSError):
                    self._folder.unlink(self._names.part)
            raise

    def _prepare_commit(self, crc32c: int) -> os.stat_result:
        """Do everything that must happen before the renaming, after which another download may begin.

        Returns:
            The status of the part file.
        """
        fd = self._file.fd
        found = os.fstat(fd)
        if found.st_size != self._plan.size:
            raise OSError(
                errno.EIO,
                f"{found.st_size} of {self._plan.size} bytes are in the part file: was it touched "
                "meanwhile?",
                self.path,
            )
        if not self._file.is_in_place(self._names.part, found):
            raise OSError(
                errno.EIO,
                "the part file was removed or replaced meanwhile: download again",
                self.path,
            )
        older = self._place.check()
        if older is not None:
            # Set-user-ID and set-group-ID were granted to the old content, not to the new one.
            with contextlib.suppress(OSError, AttributeError):
                os.fchmod(fd, stat.S_IMODE(older.st_mode) & 0o777)
        flush(fd)
        found = os.fstat(fd)
        if self._journal is not None:
            self._journal.complete(
                Completion(self._plan.size, crc32c, found.st_mtime_ns, found.st_ino)
            )
        else:
            if self._recorded is not None:
                self._recorded.forget()
            self._remove_journal()
        return found

    def _remove_journal(self) -> None:
        """Remove the journal that an earlier download with resume left."""
        try:
            self._folder.unlink(self._names.journal)
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.warning("%s: an old journal stays beside it (%s)", os.fspath(self._place), error)

    def _check_renamed(self, found: os.stat_result) -> None:
        """Check that it was this file that was renamed: other users may rename files in the folder."""
        with contextlib.suppress(FileNotFoundError):
            target = self._folder.lstat(self._place.name)
            # Some network file systems give a renamed file another inode number.
            attributes = (target.st_mode, target.st_size, target.st_mtime_ns)
            if os.path.samestat(found, target) or attributes == (
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
        """Have the part file removed in the end, because there is nothing to resume."""
        self._keep = False
        if self._journal is not None:
            self._journal.remove_unfinished()

    def _close(self) -> None:
        if self._file.is_child():
            # In a forked child the lock may be held for ever, by a thread of the parent.
            self._closed = True
            self._release()
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
            last = not self._writers
        # Otherwise the last thread that writes does it: the descriptor must stay open until then.
        if last:
            self._release()

    def _release(self) -> None:
        """Close the files and release the lock. The last thread that uses the files does this."""
        if self._journal is not None:
            self._journal.close()
        keep = self._keep
        if keep and not self._sealed:
            # An empty part file holds nothing to resume.
            with contextlib.suppress(OSError):
                keep = os.fstat(self._file.fd).st_size > 0
        self._file.release(remove=not keep)
