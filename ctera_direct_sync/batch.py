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
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, NamedTuple, Optional, Protocol, Union

from .exceptions import DirectIOError
from .partial import is_own_name, open_locked
from .scope import Cancelled, CancelScope
from .types import Download

__all__ = ["BatchItem", "BatchProgress", "BatchResult", "Checksum", "Fetch", "Item", "run"]

DONE, UNCHANGED, FAILED = "done", "unchanged", "failed"

#: Files at once where nobody says otherwise. Blocks of all of them share the client's threads.
_WORKERS = 4

_LOCK_NAME = ".ctera-batch.lock"
_READ_STEP = 1024 * 1024


class BatchItem(NamedTuple):
    """A file to download: its ID, its path in the folder, and, if known, its checksum.

    ``path`` is relative, with ``/`` between its parts. ``checksum``: see :class:`Checksum`.
    """

    file_id: int
    path: str
    checksum: Optional[str] = None


class BatchResult(NamedTuple):
    """How one item ended.

    ``outcome`` is ``"done"`` (downloaded now), ``"unchanged"`` (there already, and the portal still
    lists the same file) or ``"failed"``. ``download`` says where and how much, unless it failed;
    ``error`` why it failed.
    """

    item: BatchItem
    outcome: str
    download: Optional[Download] = None
    error: Optional[Exception] = None

    @property
    def ok(self) -> bool:
        """Whether the file is there, whole and checked."""
        return self.error is None


Item = Union[BatchItem, "tuple[int, str]", "tuple[int, str, Optional[str]]"]

#: Called with the item, and its bytes done and in all, in the thread that called for the batch.
BatchProgress = Callable[[BatchItem, int, int], object]


class Fetch(Protocol):
    """Downloads one file to a path; whether it was there, unchanged, is told beside what is there."""

    def __call__(
        self,
        file_id: int,
        target: str,
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
    elif is_own_name(parts[-1]) or parts[-1] == _LOCK_NAME:
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
    place = os.path.realpath(os.path.join(root, path))
    if place == root or os.path.commonpath([root, place]) != root:
        raise ValueError(f"path {path!r} leads out of the folder by a symbolic link")
    return place


def _make_way(place: str, path: str) -> None:
    """Make the folders above a place, and see that there is nothing but a file in it, if at all."""
    os.makedirs(os.path.dirname(place), exist_ok=True)
    if os.path.realpath(place) != place:
        raise ValueError(f"path {path!r}: a folder of it became a symbolic link meanwhile")
    if os.path.lexists(place) and not os.path.isfile(place):
        raise FileExistsError(errno.EEXIST, "something that is no file is in the place", place)


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Keep other batches out of a folder. BlockingIOError where one is in it."""
    path = os.path.join(folder, _LOCK_NAME)
    try:
        fd = open_locked(path)
    except BlockingIOError:
        raise BlockingIOError(
            errno.EAGAIN, "another batch fills this folder: wait until it is done", folder
        ) from None
    try:
        yield
    finally:
        # Before the lock goes, so that the next batch's own file is not the one that is removed.
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(fd)


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
    with _locked(root):
        yield from _Batch(fetch, scope, root, resume, progress).run(batch, count)


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
        root: str,
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
        executor = ThreadPoolExecutor(workers, thread_name_prefix="ctera-direct-batch")
        try:
            taken: dict[str, int] = {}
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

    def _place(self, item: BatchItem, position: int, taken: dict[str, int]) -> str:
        if not isinstance(item.path, str):
            raise TypeError(f"path {item.path!r} is no text")
        place = _locate(self._root, item.path)
        first = taken.setdefault(os.path.normcase(place), position)
        if first != position:
            raise ValueError(
                f"path {item.path!r} is that of item {first + 1} of this batch already"
            )
        return place

    def _listen(self, pending: int) -> Iterator[tuple[int, BatchResult]]:
        while pending:
            news = self._inbox.get()
            if isinstance(news, _Ended):
                pending -= 1
                yield news
            elif self._progress is not None:
                self._progress(*news)

    def _work(self, position: int, item: BatchItem, place: str) -> None:
        self._inbox.put(_Ended(position, self._one(item, place)))

    def _one(self, item: BatchItem, place: str) -> BatchResult:
        try:
            self._scope.check()
            checksum = None if not item.checksum else Checksum.parse(item.checksum)
            _make_way(place, item.path)
            download, unchanged = self._fetch(
                item.file_id,
                place,
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
