"""Downloading many files into one folder, with one result for each file.

A batch does not know how a file is downloaded: `run` gets that as a callable. While a batch fills a
folder, the lock file `.ctera-batch.lock` in it keeps other batches out. The record
`.ctera-batch.record` tells the next batch which files are complete.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import operator
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, Callable, NamedTuple, Protocol, Union

from .._base import waits
from .._base.cancellation import Cancelled, CancelScope
from .._base.checksums import Checksum
from .._base.sync import Empty, SimpleQueue
from ..exceptions import DirectIOError
from ..types import BatchItem, BatchResult, Download, Entry, FileRef, Outcome
from .batch_paths import PathResolver, flush_folder, lock_folder, make_target
from .batch_record import RECORD_NAME, BatchRecord
from .file_workers import FileWorkers, is_out_of_descriptors
from .file_workers import Outcome as WorkOutcome
from .folders import Folder, Place
from .journal import Recorded
from .names_on_disk import ClaimedPaths, is_same_on_disk

__all__ = ["BatchProgress", "Fetch", "Item", "run", "to_batch_item"]

_log = logging.getLogger(__name__)

DONE: Outcome = "done"
UNCHANGED: Outcome = "unchanged"
FAILED: Outcome = "failed"

#: Messages that are looked at together. Renamings in one folder are then flushed by one call.
_GROUP_MESSAGES = 256
#: Waits before a file is tried again that lacked a descriptor, in seconds.
_DESCRIPTOR_DELAYS_S = (0.1, 0.2, 0.4, 0.8, 1.6)


Item = Union[BatchItem, "tuple[FileRef, str]", "tuple[FileRef, str, str | None]"]

#: Called with the item, its bytes done and its bytes in total, on the thread that runs the batch.
BatchProgress = Callable[[BatchItem, int, int], object]


class Fetched(Protocol):
    """The result of `Fetch`."""

    @property
    def download(self) -> Download:
        """The file that is there now."""

    @property
    def unchanged(self) -> bool:
        """Whether the file was complete before."""


class Fetch(Protocol):
    """Downloads one file to a place."""

    def __call__(
        self,
        file: FileRef,
        target: Place,
        scope: CancelScope,
        *,
        resume: bool,
        progress: Callable[[int, int], object] | None,
        verify: Callable[[str, int], object] | None,
        recorded: Recorded | None,
    ) -> Fetched:
        """Download a file.

        Args:
            file: What names the file.
            target: The place of the file.
            scope: The scope that cancels the download.
            resume: Whether to continue an earlier download.
            progress: Called with the bytes done and the bytes in total.
            verify: Called with the path and the CRC32C of the complete file before it gets its name.
            recorded: What notes in place of a journal that the file is complete, or None.
        """
        ...


class _Ended(NamedTuple):
    """The message that an item has ended.

    Attributes:
        position: The position of the item in the batch.
        result: The result of the item.
        path: The absolute path of the file. Empty if it was refused.
    """

    position: int
    result: BatchResult
    path: str = ""


class _Progressed(NamedTuple):
    """The message that an item has progressed.

    Attributes:
        item: The item.
        done: Its bytes so far.
        total: Its bytes in total.
    """

    item: BatchItem
    done: int
    total: int


def run(
    fetch: Fetch,
    scope: CancelScope,
    items: Iterable[Item],
    folder: str | os.PathLike[str],
    *,
    max_files: int | None = None,
    resume: bool = True,
    progress: BatchProgress | None = None,
) -> Generator[tuple[int, BatchResult], None, None]:
    """Download many files into a folder.

    If the caller leaves the loop, or an exception does, the downloads under way are cancelled and
    awaited. Once `scope` is cancelled, the items that are not done fail with DirectIOError (ECANCELED).

    Args:
        fetch: Downloads one file.
        scope: The scope that cancels the batch.
        items: The files.
        folder: The folder, which is made if it does not exist.
        max_files: The most files at once. None: found by measuring.
        resume: Whether to keep complete files that are unchanged, and to continue earlier downloads.
        progress: Called with the item, its bytes done and its bytes in total.

    Yields:
        The position and the result of each item, in the order in which the items end.

    Raises:
        BlockingIOError: Another batch fills the folder.
        OSError: The folder cannot be written to.
        TypeError: An item is not a tuple of two or three members.
        ValueError: `max_files` is less than 1.
    """
    batch = [to_batch_item(item) for item in items]
    count = None if max_files is None else operator.index(max_files)
    if count is not None and count < 1:
        raise ValueError(f"max_files is {count}: use 1 or more, or None for the default")
    root = os.path.realpath(os.fsdecode(os.fspath(folder)))
    os.makedirs(root, exist_ok=True)
    with Folder.open(root) as opened, lock_folder(opened), _open_record(opened, resume) as record:
        made = _Batch(fetch, scope, opened, resume, progress, record)
        yield from made.run(batch, count)


@contextlib.contextmanager
def _open_record(folder: Folder, resume: bool) -> Iterator[BatchRecord | None]:
    """Open the record of the files that are complete. None: journals are kept instead."""
    record = None
    try:
        record = BatchRecord(folder, make=resume)
    except FileExistsError:
        raise
    except OSError as error:
        _log.warning(
            "%s cannot be used (%s): a journal is kept beside each file instead",
            folder.path_of(RECORD_NAME),
            error.strerror or error,
        )
    with contextlib.ExitStack() as stack:
        if record is not None:
            stack.callback(record.close)
        yield record


def to_batch_item(item: Any) -> BatchItem:
    """Return an item that a user gave as a `BatchItem`.

    Raises:
        TypeError: It is not a tuple of two or three members.
    """
    if not isinstance(item, tuple) or len(item) not in (2, 3):
        raise TypeError(
            "an item of a batch is (file_id, path) or (file_id, path, checksum); a path on the portal "
            "or an Entry may stand for the file ID"
        )
    path = item[1]
    return BatchItem(
        item[0], os.fsdecode(path) if isinstance(path, os.PathLike) else path, *item[2:]
    )


class _Batch:
    """One batch. Its threads report by messages in the inbox, and share no other state."""

    _workers: FileWorkers

    def __init__(
        self,
        fetch: Fetch,
        scope: CancelScope,
        root: Folder,
        resume: bool,
        progress: BatchProgress | None,
        record: BatchRecord | None = None,
    ) -> None:
        self._fetch = fetch
        self._scope = scope
        self._root = root
        self._resume = resume
        self._progress = progress
        self._record = record
        self._inbox: SimpleQueue[_Ended | _Progressed] = SimpleQueue()
        self._resolver = PathResolver(root.path)
        #: The folders that this batch has flushed. Only the thread that gives the results uses it.
        self._flushed: set[str] = set()

    def run(
        self, batch: Sequence[BatchItem], max_files: int | None
    ) -> Iterator[tuple[int, BatchResult]]:
        """Download the files, and yield each item's position and result."""
        self._workers = workers = FileWorkers(max_files, "ctera-direct-batch")
        try:
            claimed = ClaimedPaths(self._root.path, is_same_on_disk)
            for position, item in enumerate(batch):
                try:
                    path = self._claim_path(item, position, claimed)
                except (TypeError, ValueError, OSError) as error:
                    self._inbox.put(_Ended(position, BatchResult(item, FAILED, error=error)))
                else:
                    workers.submit(functools.partial(self._work, position, item, path))
            yield from self._receive(len(batch))
        finally:
            try:
                self._end(workers)
            except BaseException:
                # An interrupt of the end itself must not leave a download or a thread.
                self._end(workers)
                raise

    def _end(self, workers: FileWorkers) -> None:
        # In a forked child, the connections that this would cut are the parent's.
        if not workers.is_child():
            self._scope.cancel()
        workers.shutdown()

    def _claim_path(self, item: BatchItem, position: int, claimed: ClaimedPaths) -> str:
        """Return the absolute path of an item.

        Raises:
            TypeError: The item's path is not text.
            ValueError: The path is refused, or an earlier item has it.
        """
        if not isinstance(item.path, str):
            raise TypeError(f"path {item.path!r} is not text: use a str or a path object")
        path = self._resolver.resolve(item.path)
        first = claimed.claim(path, position)
        if first != position:
            raise ValueError(
                f"path {item.path!r} is that of item {first + 1} of this batch already, or this disk "
                "does not tell the two names apart"
            )
        return path

    def _receive(self, pending: int) -> Iterator[tuple[int, BatchResult]]:
        """Yield the results as they arrive, and report progress."""
        has_ended = bytearray(pending)
        while pending:
            messages = self._next_messages()
            self._flush([message for message in messages if isinstance(message, _Ended)])
            # In their order: a hook that raises must not take the results of files that ended before.
            for message in messages:
                if isinstance(message, _Ended):
                    if has_ended[message.position]:
                        raise RuntimeError("an item of the batch ended twice: please report this")
                    has_ended[message.position] = 1
                    pending -= 1
                    yield message.position, message.result
                elif self._progress is not None:
                    self._progress(*message)

    def _next_messages(self) -> list[_Ended | _Progressed]:
        """Wait for a message. Return it, and those that are there by then."""
        self._workers.check_process()
        messages = [waits.get(self._inbox)]
        with contextlib.suppress(Empty):
            while len(messages) < _GROUP_MESSAGES:
                messages.append(self._inbox.get_nowait())
        return messages

    def _flush(self, ended: Sequence[_Ended]) -> None:
        """Flush the renamings of files that are in place, once for each folder.

        An earlier batch may have been killed, or left, between a renaming and its flush. So folders with
        unchanged files are flushed as well, once in the batch.
        """
        folders: dict[str, int] = {}
        for _, result, path in ended:
            folder = os.path.dirname(path)
            if result.outcome == DONE:
                folders[folder] = folders.get(folder, 0) + 1
            elif result.outcome == UNCHANGED and folder not in self._flushed:
                folders.setdefault(folder, 0)
        for folder, count in folders.items():
            self._flushed.add(folder)
            try:
                self._flush_folder(folder)
            except OSError as error:
                if not count:
                    continue  # The batch that renamed the files has warned, unless it was killed.
                _log.warning(
                    "%s: %d files are in place and complete, but the folder could not be flushed to the "
                    "disk (%s): a power cut within the next seconds may undo their renaming",
                    folder,
                    count,
                    error.strerror or error,
                )

    def _flush_folder(self, folder: str) -> None:
        for delay in _DESCRIPTOR_DELAYS_S:
            try:
                flush_folder(self._root, folder)
            except OSError as error:
                # The downloads give theirs back, as for a file.
                if not is_out_of_descriptors(error) or not self._may_go_on(delay):
                    raise
            else:
                return
        flush_folder(self._root, folder)

    def _work(self, position: int, item: BatchItem, path: str) -> WorkOutcome:
        # Whatever happens, the receiver must learn that the item has ended: it waits for all of them.
        result = BatchResult(item, FAILED, error=_client_closed(item.file_id))
        try:
            result = self._download(item, path)
            for delay in _DESCRIPTOR_DELAYS_S:
                if not is_out_of_descriptors(result.error):
                    break
                # Other downloads give theirs back.
                self._workers.note_overload()
                if not self._may_go_on(delay):
                    break
                result = self._download(item, path)
        finally:
            self._inbox.put(_Ended(position, result, path))
        if result.download is None:
            return result.error
        return result.download.size if result.outcome == DONE else None

    def _may_go_on(self, delay: float) -> bool:
        """Wait. Return whether the batch still goes on."""
        try:
            self._scope.wait(delay)
        except Cancelled:
            return False
        return True

    def _download(self, item: BatchItem, path: str) -> BatchResult:
        try:
            self._scope.check()
            checksum = None if not item.checksum else Checksum.parse(item.checksum)
            with make_target(self._root, path, item.path) as target:
                fetched = self._fetch(
                    item.file_id,
                    target,
                    self._scope,
                    resume=self._resume,
                    progress=self._reporter(item),
                    verify=None if checksum is None else self._verifier(item, checksum),
                    recorded=self._recorded(path),
                )
            return BatchResult(item, UNCHANGED if fetched.unchanged else DONE, fetched.download)
        except Cancelled:
            return BatchResult(item, FAILED, error=_client_closed(item.file_id))
        except Exception as error:  # noqa: BLE001 - the failure of one item is not the others'
            return BatchResult(item, FAILED, error=error)
        except BaseException as error:  # noqa: BLE001 - a hook's sys.exit() ends its item alone
            return BatchResult(item, FAILED, error=_ended_by_hook(item.file_id, error))

    def _recorded(self, path: str) -> Recorded | None:
        if self._record is None:
            return None
        return self._record.path(os.path.relpath(path, self._root.path).replace(os.sep, "/"))

    def _reporter(self, item: BatchItem) -> Callable[[int, int], object] | None:
        if self._progress is None:
            return None
        return lambda done, total: self._inbox.put(_Progressed(item, done, total))

    def _verifier(self, item: BatchItem, checksum: Checksum) -> Callable[[str, int], object]:
        return lambda path, crc32c: checksum.check(
            _label(item.file_id), item.path, path, crc32c, self._scope.check
        )


def _label(file: FileRef) -> Any:
    """Return what the `filename` of an error tells about a file: its path or its ID."""
    return file.path if isinstance(file, Entry) else file


def _client_closed(file: FileRef) -> DirectIOError:
    return DirectIOError(
        "The client was closed before the download was begun or complete",
        _label(file),
        errno=errno.ECANCELED,
    )


def _ended_by_hook(file: FileRef, cause: BaseException) -> DirectIOError:
    """Return the error of an item whose download the program's own hook ended, by SystemExit say."""
    error = DirectIOError(
        f"The download was broken off by {type(cause).__name__}, which a hook of the program raised: "
        "hooks should raise Exception",
        _label(file),
        errno=errno.ECANCELED,
    )
    error.__cause__ = cause
    return error
