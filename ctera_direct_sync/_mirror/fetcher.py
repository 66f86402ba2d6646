"""Downloads of a mirror, several at once. All that runs beside the thread of the run is here."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Generator, Iterable, Iterator
from typing import Callable, NamedTuple, Protocol

from .._base.cancellation import Cancelled, CancelScope
from .._base.inbox import Inbox
from .._base.sync import Empty, monotonic
from .._readers.file_workers import FileWorkers, Outcome
from .._readers.folders import Folder, Place, flush
from ..exceptions import NotFoundError, PathNotFoundError
from ..types import Entry
from .planner import Step
from .values import Remote, remote_of, split

__all__ = ["GROUP_FILES", "Fetch", "Fetched", "Fetcher", "Progress"]

#: Files that get their place in one transaction, and how long the first of them waits for the others.
GROUP_FILES = 256
_MAX_GROUP_DELAY_S = 1.0

#: Called with the bytes done and the bytes in total, on the thread of the run.
Progress = Callable[[int, int], object]


class Fetch(Protocol):
    """Downloads one file to a place."""

    def __call__(
        self,
        file: Entry,
        place: Place,
        scope: CancelScope,
        progress: Callable[[int, int], object] | None,
        finish: Callable[[int], object],
    ) -> int:
        """Download a file. Return its CRC32C.

        Args:
            file: The file.
            place: Where it goes. Only the mirror writes there.
            scope: The scope that cancels the download.
            progress: Called with the bytes done and the bytes in total, on any thread.
            finish: Called with a descriptor of the complete file, which is open for writing.
        """


class Fetched(NamedTuple):
    """A file that was downloaded, or could not be.

    Attributes:
        step: The step of the plan.
        remote: What was downloaded: the file may have changed since the plan was made.
        name: The name of the download.
        status: The status of the download.
        crc32c: The CRC32C of its bytes.
        error: Why there is none, or None.
        is_gone: Whether the portal no longer has the file.
    """

    step: Step
    remote: Remote
    name: str
    status: os.stat_result | None = None
    crc32c: int = 0
    error: BaseException | None = None
    is_gone: bool = False


class _Progressed(NamedTuple):
    """The message that a download has progressed.

    Attributes:
        path: The path of the file.
        done: Its bytes so far.
    """

    path: str
    done: int


class Fetcher:
    """Downloads the files of a plan. Its threads report to the thread of the run by messages.

    Args:
        fetch: Downloads a file.
        stat: Returns the entry of a path of the portal.
        scope: The scope that cancels the downloads.
        prefix: What comes before a path below the source.
        folder: The folder of the downloads.
        max_files: The most files at once. None: found by measuring.
        progress: Called with the bytes done and the bytes in total, or None.
    """

    def __init__(
        self,
        fetch: Fetch,
        stat: Callable[[str], Entry],
        scope: CancelScope,
        prefix: str,
        folder: Folder,
        max_files: int | None,
        progress: Progress | None,
    ) -> None:
        self._fetch = fetch
        self._stat = stat
        self._scope = scope
        self._prefix = prefix
        self._folder = folder
        self._max_files = max_files
        self._progress = progress
        self._inbox: Inbox[Fetched | _Progressed] = Inbox()

    # --- on the thread of the run ----------------------------------------------------------------

    def run(self, steps: Iterable[Step]) -> Generator[list[Fetched], None, None]:
        """Download files. Yield them in groups, as they end.

        Closing the generator cancels the downloads under way, and waits for their threads.

        Args:
            steps: The steps. If there is a progress, they are read twice.
        """
        total = 0
        if self._progress is not None:
            total = sum((step.remote.size or 0) for step in steps if step.remote is not None)
        progressed: dict[str, int] = {}
        finished_bytes = 0
        workers = FileWorkers(self._max_files, "ctera-direct-mirror")
        waiting = iter(steps)
        under_way = 0
        group: list[Fetched] = []
        group_began = 0.0
        try:
            while True:
                for step in waiting:
                    workers.submit(functools.partial(self._download, step))
                    under_way += 1
                    if under_way >= 2 * workers.maximum:
                        break
                if not under_way:
                    break
                workers.check_process()
                message: Fetched | _Progressed | None = None
                with contextlib.suppress(Empty):
                    timeout = _MAX_GROUP_DELAY_S if group else None
                    message = self._inbox.get(timeout=timeout)
                if isinstance(message, _Progressed):
                    progressed[message.path] = message.done
                elif message is not None:
                    under_way -= 1
                    if not group:
                        group_began = monotonic()
                    group.append(message)
                    progressed.pop(message.step.path, None)
                    finished_bytes += (message.step.remote and message.step.remote.size) or 0
                if self._progress is not None and message is not None:
                    self._progress(min(total, finished_bytes + sum(progressed.values())), total)
                if group and (
                    len(group) >= GROUP_FILES or monotonic() - group_began >= _MAX_GROUP_DELAY_S
                ):
                    yield group
                    group = []
            if group:
                yield group
        finally:
            try:
                self._end(workers, under_way)
            except BaseException:
                # An interrupt of the end itself must not leave a thread.
                self._end(workers, under_way)
                raise

    def remaining(self) -> Iterator[Fetched]:
        """Return the downloads that ended while the generator was closed."""
        with contextlib.suppress(Empty):
            while True:
                message = self._inbox.get_nowait()
                if isinstance(message, Fetched):
                    yield message

    def _end(self, workers: FileWorkers, under_way: int) -> None:
        # In a forked child, the connections that this would cut are the parent's.
        if under_way and not workers.is_child():
            self._scope.cancel()
        workers.shutdown()

    # --- on the threads of the pool --------------------------------------------------------------

    def _download(self, step: Step) -> Outcome:
        assert step.remote is not None
        result = Fetched(step, step.remote, "", error=Cancelled())
        try:
            result = self._download_checked(step, step.remote)
        except BaseException as error:  # noqa: BLE001 - the thread of the run judges it
            result = result._replace(error=error)
        finally:
            self._inbox.put(result)
        return result.error if result.status is None else result.status.st_size

    def _download_checked(self, step: Step, remote: Remote) -> Fetched:
        self._scope.check()
        name = hashlib.sha256(remote.path.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        place = Place(self._folder, name, shared=True)
        progress = None
        if self._progress is not None:

            def progress(done: int, _: int) -> None:
                self._inbox.put(_Progressed(step.path, done))

        try:
            return self._fetch_one(step, remote, place, progress)
        except NotFoundError as error:
            # It was overwritten or deleted since the portal was read.
            try:
                entry = self._stat(self._prefix + remote.path)
            except PathNotFoundError:
                return Fetched(step, remote, name, is_gone=True)
            if entry.is_dir:
                return Fetched(step, remote, name, is_gone=True)
            if entry.file_id is None or entry.file_id == remote.file_id:
                raise error
            remote = remote_of(entry, remote.path)
            return self._fetch_one(step, remote, place, progress)

    def _fetch_one(
        self,
        step: Step,
        remote: Remote,
        place: Place,
        progress: Callable[[int, int], object] | None,
    ) -> Fetched:
        """Download a file, and flush it to the disk with the time of the portal's file."""
        status: list[os.stat_result] = []

        def finish(fd: int) -> None:
            if remote.mtime_ns is not None:
                times = (remote.mtime_ns, remote.mtime_ns)
                # Some network file systems take no times. The file is right all the same.
                with contextlib.suppress(OSError, OverflowError):
                    if os.utime in os.supports_fd:
                        os.utime(fd, ns=times)
                    else:
                        os.utime(os.fspath(place), ns=times)
            flush(fd)
            status.append(os.fstat(fd))

        crc32c = self._fetch(self._entry_of(remote), place, self._scope, progress, finish)
        return Fetched(step, remote, place.name, status[0], crc32c)

    def _entry_of(self, remote: Remote) -> Entry:
        path = self._prefix + remote.path
        return Entry(
            path,
            split(path)[1],
            remote.file_id,
            remote.size,
            None,
            False,
            False,
            None,
            remote.folder_id,
        )
