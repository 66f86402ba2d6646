"""Many files into one folder: safe names, one batch per folder at a time, an outcome for each file.

What one file's download is, is not known here: :func:`run` gets it as a callable. A folder that is being
filled is locked by ``.ctera-batch.lock`` in it, which is removed afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import operator
import os
import queue
import re
import tempfile
import unicodedata
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, Callable, NamedTuple, Optional, Protocol, Union

from .._base.cancellation import Cancelled, CancelScope
from .._base.worker_pool import WorkerPool
from ..exceptions import DirectIOError
from ..types import BatchItem, BatchResult, Download, Outcome
from .folders import Folder, Place
from .locks import LockedFile
from .part_file import is_own_name
from .targets import descriptor_of

__all__ = ["BatchProgress", "Checksum", "Fetch", "Item", "run"]

DONE: Outcome = "done"
UNCHANGED: Outcome = "unchanged"
FAILED: Outcome = "failed"

#: Files at once where nobody says otherwise. Blocks of all of them share the client's threads.
_WORKERS = 4

_LOCK_NAME = ".ctera-batch.lock"
_PROBE_PREFIX = ".ctera-batch-"
_READ_STEP = 1024 * 1024


Item = Union[BatchItem, "tuple[int, str]", "tuple[int, str, Optional[str]]"]

#: Called with the item, and its bytes done and in all, in the thread that called for the batch.
BatchProgress = Callable[[BatchItem, int, int], object]


class Fetch(Protocol):
    """Downloads one file to a path; whether it was there, unchanged, is told beside what is there."""

    def __call__(
        self,
        file_id: int,
        target: Place,
        scope: CancelScope,
        *,
        resume: bool,
        progress: Optional[Callable[[int, int], object]],
        verify: Optional[Callable[[str, int], object]],
    ) -> tuple[Download, bool]: ...


# --- checksums -----------------------------------------------------------------------------------------

_DIGITS = {64: "sha256", 8: "crc32c"}


class Checksum(NamedTuple):
    """What a file's content must hash to: ``sha256`` or ``crc32c`` (RFC 3720), hexadecimal digits."""

    algorithm: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> Checksum:
        """``sha256:HEX``, ``crc32c:HEX``, or the digits alone, told apart by how many they are."""
        name, colon, digest = text.strip().lower().rpartition(":")
        algorithm = _DIGITS.get(len(digest))
        if algorithm is None or not re.fullmatch("[0-9a-f]+", digest):
            raise ValueError(
                f"checksum {text!r} is neither a SHA-256 (64 hexadecimal digits) nor a CRC32C (8)"
            )
        if colon and name != algorithm:
            raise ValueError(f"checksum {text!r}: {len(digest)} digits make no {name or 'name'}")
        return cls(algorithm, digest)

    def check(self, file_id: int, path: str, crc32c: int, scope: CancelScope) -> None:
        """DirectIOError where the file at ``path``, whose CRC32C is known, is another one."""
        actual = f"{crc32c:08x}" if self.algorithm == "crc32c" else _sha256(path, scope)
        if actual != self.digest:
            raise DirectIOError(
                f"The file's {self.algorithm} is {actual}, not {self.digest}: it was not put in place. "
                "Check the expected checksum and the file ID",
                file_id,
                errno=_MISMATCH,
            )


_MISMATCH = getattr(errno, "EBADMSG", errno.EIO)


def _sha256(path: str, scope: CancelScope) -> str:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_READ_STEP))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            scope.check()
            digest.update(buffer[:count])
    return digest.hexdigest()


# --- paths ---------------------------------------------------------------------------------------------

_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def check_path(path: str, *, windows: bool = os.name == "nt") -> None:
    """ValueError, which says why, for a path that might not stay in the folder that it is put in.

    What leads out on any system is refused on every one, so that a manifest means the same on all.
    """
    parts = re.split(r"[/\\]", path)
    problem = None
    if not path:
        problem = "is empty"
    elif "\0" in path:
        problem = "holds a NUL character"
    elif not parts[0] or re.match("[A-Za-z]:", path):
        problem = "is absolute: give it relative to the folder"
    elif ".." in parts:
        problem = "holds '..', which may lead out of the folder"
    elif parts[-1] in ("", "."):
        problem = "names a folder: name a file in it"
    elif is_own_name(parts[-1]) or parts[-1].lower() == _LOCK_NAME:
        problem = "is a name that downloads keep for themselves"
    elif windows and any(_is_odd_on_windows(part) for part in parts):
        problem = "holds a name that Windows has another meaning for"
    if problem:
        raise ValueError(f"path {path!r} {problem}")


def _is_odd_on_windows(part: str) -> bool:
    return bool(":" in part or _DEVICE.fullmatch(part) or part not in (".", part.rstrip(". ")))


def _locate(root: str, path: str) -> str:
    """Where a path of an item ends up, symbolic links followed. ValueError outside of ``root``."""
    check_path(path)
    if descriptor_of(os.path.join(root, path)) is not None:
        raise ValueError(
            f"path {path!r} is an open descriptor: name a file, a batch writes no streams"
        )
    place = os.path.realpath(os.path.join(root, path))
    if place == root or os.path.commonpath([root, place]) != root:
        raise ValueError(f"path {path!r} leads out of the folder by a symbolic link")
    return place


@contextlib.contextmanager
def _prepared(root: Folder, place: str, path: str) -> Iterator[Place]:
    """Make the folders above a place, and open the last one, so that the file cannot end up elsewhere.

    ``place`` has no symbolic links. One that appears meanwhile is an error, and is never followed.
    """
    # Both are whole and without symbolic links, so that one begins with the other.
    *folders, name = place[len(root.path) :].strip(os.sep).split(os.sep)
    with contextlib.ExitStack() as stack:
        folder = root
        for part in folders:
            try:
                folder = stack.enter_context(folder.child(part))
            except NotADirectoryError as error:
                raise NotADirectoryError(
                    errno.ENOTDIR,
                    f"path {path!r}: a file is in the place of a folder, or a folder became a symbolic "
                    "link meanwhile",
                    error.filename,
                ) from None
        target = Place(folder, name, shared=True)
        target.check()
        yield target


@contextlib.contextmanager
def _locked(folder: Folder) -> Iterator[None]:
    """Keep other batches out of a folder. BlockingIOError where one is in it."""
    try:
        lock = LockedFile(folder, _LOCK_NAME)
    except BlockingIOError:
        raise BlockingIOError(
            errno.EAGAIN, "another batch fills this folder: wait until it is done", folder.path
        ) from None
    try:
        yield
    finally:
        lock.release(remove=True)


# --- one file by two names -----------------------------------------------------------------------------

#: Whether a folder takes two names for the same file's.
Probe = Callable[[str, str, str], bool]


class _Taken:
    """The places that items of the batch have, on a disk that may not tell all names apart.

    Many disks do not tell ``a`` from ``A``, or an accented letter from its base and accent. Where two
    items differ by no more than that, the disk is asked by ``probe``, once for each folder and kind.
    """

    def __init__(self, root: str, probe: Probe) -> None:
        self._root = root
        self._probe = probe
        self._exact: dict[str, int] = {}
        self._alike: dict[str, list[str]] = {}
        self._known: dict[tuple[str, str], bool] = {}

    def take(self, place: str, position: int) -> int:
        """Return the position of the item that has the place: this one, or an earlier one."""
        place = os.path.normcase(place)
        first = self._exact.get(place)
        if first is not None:
            return first
        others = self._alike.setdefault(_folded(place), [])
        for other in others:
            if self._is_same(place, other):
                return self._exact[other]
        others.append(place)
        self._exact[place] = position
        return position

    def _is_same(self, place: str, other: str) -> bool:
        folder = self._root
        parts, others = (os.path.relpath(p, self._root).split(os.sep) for p in (place, other))
        if len(parts) != len(others):
            return False
        for name, known in zip(parts, others):
            if name != known and not self._is_same_name(folder, name, known):
                return False
            folder = os.path.join(folder, known)
        return True

    def _is_same_name(self, folder: str, name: str, known: str) -> bool:
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        kind = _difference(name, known)
        if kind == "other":
            return self._probe(folder, known, name)
        if (folder, kind) not in self._known:
            self._known[folder, kind] = self._probe(folder, known, name)
        return self._known[folder, kind]


def _folded(text: str) -> str:
    """Return a text that is equal for all names that any known file system takes for the same."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFD", text).casefold())


def _difference(name: str, other: str) -> str:
    """Return in what two names differ that are alike: ``form``, ``case`` or ``other``."""
    if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other):
        return "form"
    return "case" if name.isascii() and other.isascii() else "other"


def _is_same_on_disk(folder: str, name: str, other: str) -> bool:
    """Return whether the disk takes two names for the same, by making a file in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix=_PROBE_PREFIX, dir=folder) as probe:
        with open(os.path.join(probe, name), "xb"):
            pass
        return os.path.lexists(os.path.join(probe, other))


# --- the batch -----------------------------------------------------------------------------------------


class _Ended(NamedTuple):
    position: int
    result: BatchResult


class _Progressed(NamedTuple):
    item: BatchItem
    done: int
    total: int


def run(
    fetch: Fetch,
    scope: CancelScope,
    items: Iterable[Item],
    folder: Union[str, os.PathLike[str]],
    *,
    workers: Optional[int] = None,
    resume: bool = True,
    progress: Optional[BatchProgress] = None,
) -> Generator[tuple[int, BatchResult], None, None]:
    """Download ``items``; each one's position and result, as they end.

    Leaving the loop, or an exception in it, ends the downloads under way before it goes on. Once
    ``scope`` is cancelled, what is not done fails with DirectIOError (ECANCELED).
    BlockingIOError where another batch is at work in ``folder``; OSError where it cannot be written;
    TypeError for an item that is no tuple of two or three.
    """
    batch = [_item(item) for item in items]
    count = _WORKERS if workers is None else operator.index(workers)
    if count < 1:
        raise ValueError("workers is at least 1, or None to leave it to the batch")
    root = os.path.realpath(os.fsdecode(os.fspath(folder)))
    os.makedirs(root, exist_ok=True)
    with Folder.open(root) as opened, _locked(opened):
        yield from _Batch(fetch, scope, opened, resume, progress).run(batch, count)


def _item(item: Any) -> BatchItem:
    if not isinstance(item, tuple) or len(item) not in (2, 3):
        raise TypeError("an item of a batch is (file_id, path) or (file_id, path, checksum)")
    path = item[1]
    return BatchItem(
        item[0], os.fsdecode(path) if isinstance(path, os.PathLike) else path, *item[2:]
    )


class _Batch:
    """One batch under way. Its threads say what happens through ``_inbox``, and nothing else."""

    def __init__(
        self,
        fetch: Fetch,
        scope: CancelScope,
        root: Folder,
        resume: bool,
        progress: Optional[BatchProgress],
    ) -> None:
        self._fetch = fetch
        self._scope = scope
        self._root = root
        self._resume = resume
        self._progress = progress
        self._inbox: queue.SimpleQueue[Union[_Ended, _Progressed]] = queue.SimpleQueue()

    def run(self, batch: Sequence[BatchItem], workers: int) -> Iterator[tuple[int, BatchResult]]:
        executor = WorkerPool(workers, thread_name_prefix="ctera-direct-batch")
        try:
            taken = _Taken(self._root.path, _is_same_on_disk)
            for position, item in enumerate(batch):
                try:
                    place = self._place(item, position, taken)
                except (TypeError, ValueError, OSError) as error:
                    self._inbox.put(_Ended(position, BatchResult(item, FAILED, error=error)))
                else:
                    executor.submit(self._work, position, item, place)
            yield from self._listen(len(batch))
        finally:
            self._scope.cancel()
            executor.shutdown(wait=True, cancel_futures=True)

    def _place(self, item: BatchItem, position: int, taken: _Taken) -> str:
        if not isinstance(item.path, str):
            raise TypeError(f"path {item.path!r} is no text")
        place = _locate(self._root.path, item.path)
        first = taken.take(place, position)
        if first != position:
            raise ValueError(
                f"path {item.path!r} is that of item {first + 1} of this batch already, or this disk "
                "does not tell the two names apart"
            )
        return place

    def _listen(self, pending: int) -> Iterator[tuple[int, BatchResult]]:
        told = bytearray(pending)
        while pending:
            news = self._inbox.get()
            if isinstance(news, _Ended):
                if told[news.position]:
                    raise RuntimeError("an item of the batch ended twice: please report this")
                told[news.position] = 1
                pending -= 1
                yield news
            elif self._progress is not None:
                self._progress(*news)

    def _work(self, position: int, item: BatchItem, place: str) -> None:
        # Whatever happens, the listener must hear of the item's end: it waits for as many as there are.
        result = BatchResult(item, FAILED, error=_ended(item.file_id))
        try:
            result = self._one(item, place)
        finally:
            self._inbox.put(_Ended(position, result))

    def _one(self, item: BatchItem, place: str) -> BatchResult:
        try:
            self._scope.check()
            checksum = None if not item.checksum else Checksum.parse(item.checksum)
            with _prepared(self._root, place, item.path) as target:
                download, unchanged = self._fetch(
                    item.file_id,
                    target,
                    self._scope,
                    resume=self._resume,
                    progress=self._reporter(item),
                    verify=None if checksum is None else self._verifier(item, checksum),
                )
            return BatchResult(item, UNCHANGED if unchanged else DONE, download)
        except Cancelled:
            return BatchResult(item, FAILED, error=_ended(item.file_id))
        except Exception as error:  # noqa: BLE001 - one item's end is not the others'
            return BatchResult(item, FAILED, error=error)
        except BaseException as error:  # noqa: BLE001 - a hook's sys.exit() ends its item alone
            return BatchResult(item, FAILED, error=_broken_off(item.file_id, error))

    def _reporter(self, item: BatchItem) -> Optional[Callable[[int, int], object]]:
        if self._progress is None:
            return None
        return lambda done, total: self._inbox.put(_Progressed(item, done, total))

    def _verifier(self, item: BatchItem, checksum: Checksum) -> Callable[[str, int], object]:
        return lambda path, crc32c: checksum.check(item.file_id, path, crc32c, self._scope)


def _ended(file_id: int) -> DirectIOError:
    return DirectIOError(
        "The client was closed before the download was begun or complete",
        file_id,
        errno=errno.ECANCELED,
    )


def _broken_off(file_id: int, cause: BaseException) -> DirectIOError:
    """Return the error of an item that a program's own hook ended by SystemExit or the like."""
    error = DirectIOError(
        f"The download was broken off by {type(cause).__name__}, which a hook of the program raised: "
        "hooks should raise Exception",
        file_id,
        errno=errno.ECANCELED,
    )
    error.__cause__ = cause
    return error
