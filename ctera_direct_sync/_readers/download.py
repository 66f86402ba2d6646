"""A file, or a range of one, to a path or a writable file object."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import operator
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from typing import IO, Any, Callable, NamedTuple, Optional, Union

from .. import codec
from .._base.cancellation import Cancelled, CancelScope
from .._engine.engine import ClientClosed
from .._engine.iteration import as_completed
from .._protocol.ranges import Piece
from ..exceptions import DirectIOError, StreamError
from ..types import Download
from .folders import Place
from .listed_file import ListedFile
from .part_file import DownloadPlan, PartFile, Run
from .stream import Streamer
from .targets import is_stream, open_stream

__all__ = ["Finished", "Progress", "Target", "Verify", "download"]

_log = logging.getLogger(__name__)

#: Called with the bytes done and the bytes in all, in the caller's thread.
Progress = Callable[[int, int], object]

#: Called with the path of the complete file, before it gets its final name, and its CRC32C. What it
#: raises ends the download, and leaves the target as it was.
Verify = Callable[[str, int], object]
Target = Union[str, "os.PathLike[str]", IO[bytes]]


class Finished(NamedTuple):
    """A download, and whether there was nothing to do: the target was complete, and still is it."""

    download: Download
    unchanged: bool


def download(
    source: ListedFile,
    target: Target,
    start: int,
    stop: int,
    *,
    resume: bool = False,
    progress: Optional[Progress] = None,
    max_workers: Optional[int] = None,
    verify: Optional[Verify] = None,
    scope: Optional[CancelScope] = None,
) -> Finished:
    """Bytes ``start`` to ``stop`` (excluded) of a file to ``target``.

    ``verify`` is for a path: bytes that went into a file object or device cannot be taken back.
    ``scope`` ends a download to a path from another thread, as closing the client does.
    """
    began = time.perf_counter()
    report = progress or _no_progress
    scope = scope or CancelScope()
    unchanged = False
    path: Optional[str] = None
    if hasattr(target, "write"):
        _refuse_verify(verify)
        crc32c = _to_file(source, target, start, stop, report, max_workers)
    elif isinstance(target, Place):
        path = os.fspath(target)
        plan = DownloadPlan(source.metadata, start, stop)
        crc32c, unchanged = _to_place(
            source, target, plan, resume, report, max_workers, verify, scope
        )
    else:
        name = os.fsdecode(os.fspath(target))
        path = os.path.realpath(name)
        if os.path.isdir(path) or name.endswith(("/", os.sep)):
            raise IsADirectoryError(errno.EISDIR, "the target is a folder: name a file in it", name)
        if is_stream(name):
            _refuse_verify(verify)
            path = name
            with open_stream(name) as stream:
                crc32c = _to_file(source, stream, start, stop, report, max_workers)
                stream.check(stop - start)
        else:
            plan = DownloadPlan(source.metadata, start, stop)
            with Place.of(path) as place:
                crc32c, unchanged = _to_place(
                    source, place, plan, resume, report, max_workers, verify, scope
                )
    took = time.perf_counter() - began
    return Finished(Download(path, stop - start, crc32c, took), unchanged)


def _no_progress(done: int, total: int) -> None:
    pass


def _refuse_verify(verify: Optional[Verify]) -> None:
    if verify is not None:
        raise ValueError("verify needs a regular file as target: it is called before the renaming")


def _to_file(
    source: ListedFile,
    file: Any,
    start: int,
    stop: int,
    progress: Progress,
    max_workers: Optional[int],
) -> int:
    """In order, from the caller's thread, as a file object wants it. StreamError as a stream."""
    crc32c, total, written = 0, stop - start, 0
    progress(0, total)
    streamer = Streamer(source, start, stop, max_workers)
    try:
        for block in streamer.start():
            if block.offset != start + written or len(block.data) > total - written:
                raise _went_wrong(source.file_id, start, written, total)
            _write_all(file, memoryview(block.data))
            written += len(block.data)
            crc32c = codec.crc32c(block.data, crc32c)
            progress(written, total)
    finally:
        streamer.stop()
    # Counted here, whatever the stream thinks: nothing may end as if it were whole.
    if written != total:
        raise _went_wrong(source.file_id, start, written, total)
    return crc32c


def _went_wrong(file_id: int, start: int, written: int, total: int) -> StreamError:
    return StreamError(
        f"The stream ended, or gave other bytes than were due, after {written} of {total} bytes: resume "
        f"from offset {start + written}",
        file_id,
        start + written,
    )


def _write_all(file: Any, view: memoryview) -> None:
    """Write everything, as often as ``file`` takes only a part, or raise."""
    while view:
        # A raw file may take less than it is given, and answers None for nothing at all; from other
        # objects None says that they had no more to say.
        written = file.write(view)
        if written is None:
            if isinstance(file, io.RawIOBase):
                raise BlockingIOError(
                    errno.EAGAIN, "the target is in non-blocking mode, and takes no more now"
                )
            return
        view = view[_count(written, len(view)) :]


def _count(written: object, given: int) -> int:
    """Return how many bytes a ``write()`` took, from what it returned."""
    if isinstance(written, bool) or not hasattr(written, "__index__"):
        raise TypeError(
            f"write() of the target returned {type(written).__name__}: it must return the number of "
            "bytes written, or None for all of them"
        )
    count = operator.index(written)
    if not 0 < count <= given:
        raise OSError(
            errno.EIO,
            f"write() of the target returned {count} for {given} bytes: what it has written is unknown",
        )
    return count


def _to_place(
    source: ListedFile,
    place: Place,
    plan: DownloadPlan,
    resume: bool,
    progress: Progress,
    max_workers: Optional[int],
    verify: Optional[Verify],
    scope: CancelScope,
) -> tuple[int, bool]:
    """In parallel: each worker writes its own piece at its offset. CRC32C, and whether unchanged."""
    path = os.fspath(place)
    with _cancellable(source.file_id), PartFile(place, plan, resume=resume) as part_file:
        complete = part_file.completed()
        if complete is not None:
            part_file.discard()
            if verify is not None:
                verify(path, complete)
            _log.info("file %s: %s is complete already", source.file_id, path)
            progress(plan.size, plan.size)
            return complete, True
        recovered = part_file.recover(scope.check)
        if recovered.reason:
            _log.warning("file %s: %s: starting over, %s", source.file_id, path, recovered.reason)
        tally = _Tally(plan)
        for run in recovered.runs:
            tally.add(run)
        _fetch_rest(source, plan, part_file, recovered.runs, tally, progress, max_workers, scope)
        crc32c = tally.finish(source.file_id)
        if verify is not None:
            _verify(verify, part_file, crc32c)
        scope.check()
        part_file.commit(crc32c)
    return crc32c, False


class _Tally:
    """Counts what is in the part file, and makes the CRC32C of the whole from its pieces'.

    Pieces come nearly in order, so that few wait for those before them.
    """

    def __init__(self, plan: DownloadPlan) -> None:
        self.nbytes = 0
        self._plan = plan
        self._at = plan.start
        self._crc32c = 0
        self._ahead: dict[int, Run] = {}

    def add(self, run: Run) -> None:
        """Count bytes that were written."""
        self._ahead[run.offset] = run
        self.nbytes += run.length
        while (following := self._ahead.pop(self._at, None)) is not None:
            length = following.length
            self._crc32c = codec.crc32c_combine(self._crc32c, following.crc32c, length)
            self._at += length

    def finish(self, file_id: int) -> int:
        """Return the CRC32C of the whole. DirectIOError where a byte is missing, or one too many."""
        plan = self._plan
        if self._ahead or self._at != plan.stop or self.nbytes != plan.size:
            raise DirectIOError(
                f"Only {self._at - plan.start} of {plan.size} bytes in a row were written when the "
                "download ended, so nothing was put in place: download again, and please report this",
                file_id,
            )
        return self._crc32c


@contextlib.contextmanager
def _cancellable(file_id: int) -> Iterator[None]:
    """Tell the caller what a cancelled download means to it."""
    try:
        yield
    except (Cancelled, CancelledError, ClientClosed):
        raise DirectIOError(
            "The client was closed before the download was complete",
            file_id,
            errno=errno.ECANCELED,
        ) from None


def _fetch_rest(
    source: ListedFile,
    plan: DownloadPlan,
    part_file: PartFile,
    runs: Sequence[Run],
    tally: _Tally,
    progress: Progress,
    max_workers: Optional[int],
    scope: CancelScope,
) -> None:
    """Fetch and write every piece of the plan that is in none of the runs, and count it."""

    def work(piece: Piece, transfer_scope: CancelScope) -> Run:
        offset = piece.offset
        with source.storage.buffers.acquire() as buffer:
            data, crc32c = source.fetch_into(buffer, piece, transfer_scope)
            transfer_scope.check()
            part_file.write(offset, data, crc32c)
            return Run(offset, len(data), crc32c)

    progress(tally.nbytes, plan.size)
    missing = plan.missing(runs)
    transfer = source.transfer(missing, work, ordered=False, max_workers=max_workers, keep=False)
    engine = source.engine
    jobs = as_completed(engine, transfer)
    try:
        try:
            scope.attach(lambda: engine.cancel(transfer))
            engine.start(transfer)
            for job in jobs:
                tally.add(job.future.result())
                if source.observer.active:
                    source.observer.emit(
                        "delivered", source.file_id, job.piece.chunk, job.piece.length
                    )
                progress(tally.nbytes, plan.size)
            # A transfer that was cancelled from elsewhere may look as if it had ended.
            if tally.nbytes != plan.size:
                transfer.scope.check()
        finally:
            # An interrupt may strike here as well, amid the way of another error.
            scope.detach()
            jobs.close()
    finally:
        # The part file may be closed only when no worker writes to it any more.
        engine.drain(transfer)


def _verify(verify: Verify, part_file: PartFile, crc32c: int) -> None:
    try:
        verify(part_file.path, crc32c)
    except Cancelled:
        raise
    except Exception:
        # What is complete but wrong is nothing to resume from.
        part_file.discard()
        raise
