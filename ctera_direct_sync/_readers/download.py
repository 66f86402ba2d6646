"""Downloading a file, or a range of it, to a path or a writable file object."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import operator
import os
from collections.abc import Iterator, Sequence
from typing import IO, Any, Callable, NamedTuple, Protocol, Union

from .. import codec
from .._base.cancellation import Cancelled, CancelScope
from .._base.sync import CancelledError, perf_counter
from .._engine.engine import ClientClosed
from .._engine.iteration import as_completed
from .._protocol.ranges import Piece
from ..exceptions import DirectIOError, StreamError
from ..types import Download
from .folders import Place
from .journal import Recorded
from .listed_file import ListedFile
from .part_file import DownloadPlan, PartFile, Run
from .stream import Streamer
from .targets import is_stream, open_stream

__all__ = [
    "Finished",
    "Progress",
    "Sink",
    "Target",
    "Verify",
    "download",
    "download_pieces",
]

_log = logging.getLogger(__name__)

#: Called with the bytes done and the bytes in total, on the caller's thread.
Progress = Callable[[int, int], object]

#: Called with the path of the complete file, before it gets its final name, and its CRC32C. An error
#: that it raises ends the download, and the target stays as it was.
Verify = Callable[[str, int], object]
Target = Union[str, "os.PathLike[str]", IO[bytes]]


class Finished(NamedTuple):
    """The outcome of a download.

    Attributes:
        download: What the target holds now.
        unchanged: Whether the target was complete already, so that nothing was fetched.
    """

    download: Download
    unchanged: bool


class _Written(NamedTuple):
    """What a target holds now.

    Attributes:
        crc32c: The CRC32C of all bytes.
        unchanged: Whether the target was complete already.
    """

    crc32c: int
    unchanged: bool


class _Options(NamedTuple):
    """How to download a file.

    Attributes:
        resume: Whether to continue an earlier download, and to keep the progress of this one.
        progress: The callback for progress.
        max_workers: The most concurrent downloads of blocks. None leaves it to the engine.
        verify: The callback that accepts or refuses the complete file.
        scope: The scope that cancels the download.
        recorded: What notes in place of the journal that the download is complete, or None.
    """

    resume: bool
    progress: Progress
    max_workers: int | None
    verify: Verify | None
    scope: CancelScope
    recorded: Recorded | None = None


def download(
    file: ListedFile,
    target: Target,
    start: int,
    stop: int,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    max_workers: int | None = None,
    verify: Verify | None = None,
    scope: CancelScope | None = None,
    recorded: Recorded | None = None,
) -> Finished:
    """Download a range of a file.

    Args:
        file: The file.
        target: A path, an opened `Place`, or a writable file object.
        start: The offset of the first byte.
        stop: The offset past the last byte.
        resume: Whether to continue an earlier download, and to keep the progress of this one.
        progress: Called with the bytes done and the bytes in total.
        max_workers: The most concurrent downloads of blocks. None leaves it to the engine.
        verify: Called before the complete file gets its name. Only for a path: bytes that went into a
            file object or a device cannot be taken back.
        scope: Cancels the download from another thread, as the end of the client does.
        recorded: What notes in place of a journal that the download is complete, or None.

    Returns:
        The outcome.

    Raises:
        DirectIOError: A block could not be had, or the client was closed.
        OSError: The target cannot be written.
        ValueError: `verify` was given for a stream.
    """
    began = perf_counter()
    options = _Options(
        resume, progress or _no_progress, max_workers, verify, scope or CancelScope(), recorded
    )
    path: str | None = None
    if hasattr(target, "write"):
        _refuse_verify(options)
        written = _Written(_to_stream(file, target, start, stop, options), False)
    elif isinstance(target, Place):
        path = os.fspath(target)
        written = _to_place(file, target, DownloadPlan(file.metadata, start, stop), options)
    else:
        name = os.fsdecode(os.fspath(target))
        path = os.path.realpath(name)
        if os.path.isdir(path) or name.endswith(("/", os.sep)):
            raise IsADirectoryError(errno.EISDIR, "the target is a folder: name a file in it", name)
        if is_stream(name):
            _refuse_verify(options)
            path = name
            with open_stream(name) as stream:
                written = _Written(_to_stream(file, stream, start, stop, options), False)
                stream.check(stop - start)
        else:
            plan = DownloadPlan(file.metadata, start, stop)
            with Place.of(path) as place:
                written = _to_place(file, place, plan, options)
    seconds = perf_counter() - began
    return Finished(Download(path, stop - start, written.crc32c, seconds), written.unchanged)


class Sink(Protocol):
    """What takes the pieces of a download, in any order and on any thread."""

    def write(self, offset: int, data: bytes | memoryview, crc32c: int) -> None:
        """Write a piece.

        Args:
            offset: The offset of the piece in the file.
            data: The bytes.
            crc32c: The CRC32C of the bytes.
        """


def download_pieces(
    file: ListedFile, sink: Sink, *, progress: Progress | None = None, scope: CancelScope
) -> int:
    """Download a whole file to something that takes its pieces.

    Args:
        file: The file.
        sink: What takes the pieces.
        progress: Called with the bytes done and the bytes in total.
        scope: Cancels the download from another thread.

    Returns:
        The CRC32C of all bytes. Every byte was written then.

    Raises:
        Cancelled: The scope or the client was cancelled.
        DirectIOError: A block could not be had.
        OSError: The sink cannot be written.
    """
    plan = DownloadPlan(file.metadata, 0, file.metadata.size)
    options = _Options(False, progress or _no_progress, None, None, scope)
    tally = _Tally(plan)
    try:
        _fetch_missing(file, plan, sink, (), tally, options)
    except (CancelledError, ClientClosed):
        raise Cancelled from None
    crc32c = tally.finish(file.file_id)
    scope.check()
    return crc32c


def _no_progress(done: int, total: int) -> None:
    pass


def _refuse_verify(options: _Options) -> None:
    if options.verify is not None:
        raise ValueError("verify needs a regular file as target: it is called before the renaming")


def _to_stream(file: ListedFile, stream: Any, start: int, stop: int, options: _Options) -> int:
    """Write a range to a file object, in order, on the caller's thread. Return its CRC32C.

    Raises:
        StreamError: As an iteration over the blocks.
    """
    crc32c, total, written = 0, stop - start, 0
    options.progress(0, total)
    streamer = Streamer(file, start, stop, options.max_workers)
    try:
        options.scope.attach(streamer.stop)
        for block in streamer.start():
            if block.offset != start + written or len(block.data) > total - written:
                raise _wrong_count(file.file_id, start, written, total)
            _write_all(stream, memoryview(block.data))
            written += len(block.data)
            crc32c = codec.crc32c(block.data, crc32c)
            options.progress(written, total)
    finally:
        options.scope.detach()
        streamer.stop()
    options.scope.check()
    # Counted here, independently of the stream: a short file must not look whole.
    if written != total:
        raise _wrong_count(file.file_id, start, written, total)
    return crc32c


def _wrong_count(file_id: int, start: int, written: int, total: int) -> StreamError:
    return StreamError(
        f"The stream ended, or gave other bytes than were due, after {written} of {total} bytes: resume "
        f"from offset {start + written}",
        file_id,
        start + written,
    )


def _write_all(stream: Any, view: memoryview) -> None:
    """Write all bytes, by several calls if the file object takes only a part of them.

    Raises:
        OSError: The file object takes no more.
        TypeError: Its `write` returns something else than a number or None.
    """
    while view:
        written = stream.write(view)
        # None from a raw file means that it took nothing (io.RawIOBase). Other objects return None if
        # their `write` has no return value.
        if written is None:
            if isinstance(stream, io.RawIOBase):
                raise BlockingIOError(
                    errno.EAGAIN, "the target is in non-blocking mode, and takes no more now"
                )
            return
        view = view[_count(written, len(view)) :]


def _count(written: object, given: int) -> int:
    """Return how many bytes a call of `write` took, from its return value."""
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


def _to_place(file: ListedFile, place: Place, plan: DownloadPlan, options: _Options) -> _Written:
    """Write a range to a path. Each worker writes its own pieces at their offsets."""
    path, scope = os.fspath(place), options.scope
    with (
        _cancellable(file.file_id),
        PartFile(place, plan, resume=options.resume, recorded=options.recorded) as part_file,
    ):
        complete = part_file.completed()
        if complete is not None:
            part_file.discard()
            if options.verify is not None:
                options.verify(path, complete)
            _log.info("file %s: %s is complete already", file.file_id, path)
            options.progress(plan.size, plan.size)
            return _Written(complete, True)
        recovered = part_file.recover(scope.check)
        if recovered.reason:
            _log.warning("file %s: %s: starting over, %s", file.file_id, path, recovered.reason)
        tally = _Tally(plan)
        for run in recovered.runs:
            tally.add(run)
        _fetch_missing(file, plan, part_file, recovered.runs, tally, options)
        crc32c = tally.finish(file.file_id)
        if options.verify is not None:
            _verify(options.verify, part_file, crc32c)
        scope.check()
        part_file.commit(crc32c)
    return _Written(crc32c, False)


class _Tally:
    """Counts the bytes in the part file, and combines the CRC32C of the pieces to that of the whole.

    Pieces come nearly in order, so few of them wait for earlier ones.

    Attributes:
        nbytes: The bytes in the part file.
    """

    def __init__(self, plan: DownloadPlan) -> None:
        self.nbytes = 0
        self._plan = plan
        self._offset = plan.start
        self._crc32c = 0
        self._pending: dict[int, Run] = {}

    def add(self, run: Run) -> None:
        """Count a run that was written."""
        self._pending[run.offset] = run
        self.nbytes += run.length
        while (next_run := self._pending.pop(self._offset, None)) is not None:
            length = next_run.length
            if self._offset == self._plan.start:
                self._crc32c = next_run.crc32c
            else:
                self._crc32c = codec.crc32c_combine(self._crc32c, next_run.crc32c, length)
            self._offset += length

    def finish(self, file_id: int) -> int:
        """Return the CRC32C of the whole.

        Raises:
            DirectIOError: A byte is missing, or there is one too many.
        """
        plan = self._plan
        if self._pending or self._offset != plan.stop or self.nbytes != plan.size:
            raise DirectIOError(
                f"Only {self._offset - plan.start} of {plan.size} bytes in a row were written when the "
                "download ended, so nothing was put in place: download again, and please report this",
                file_id,
            )
        return self._crc32c


@contextlib.contextmanager
def _cancellable(file_id: int) -> Iterator[None]:
    """Turn a cancellation into an error for the caller."""
    try:
        yield
    except (Cancelled, CancelledError, ClientClosed):
        raise DirectIOError(
            "The client was closed before the download was complete",
            file_id,
            errno=errno.ECANCELED,
        ) from None


def _fetch_missing(
    file: ListedFile,
    plan: DownloadPlan,
    sink: Sink,
    runs: Sequence[Run],
    tally: _Tally,
    options: _Options,
) -> None:
    """Fetch, write and count each piece of the plan that is in none of the runs."""
    progress, scope = options.progress, options.scope

    def work(piece: Piece, transfer_scope: CancelScope) -> Run:
        offset = piece.offset
        with file.storage.buffers.acquire() as buffer:
            data, crc32c = file.fetch_into(buffer, piece, transfer_scope)
            transfer_scope.check()
            sink.write(offset, data, crc32c)
            return Run(offset, len(data), crc32c)

    progress(tally.nbytes, plan.size)
    missing = plan.missing(runs)
    transfer = file.transfer(
        missing, work, ordered=False, max_workers=options.max_workers, keep=False
    )
    engine = file.engine
    jobs = as_completed(engine, transfer)
    try:
        try:
            scope.attach(lambda: engine.cancel(transfer))
            engine.start(transfer)
            for job in jobs:
                tally.add(job.future.result())
                if file.observer.active:
                    file.observer.emit("delivered", file.file_id, job.piece.chunk, job.piece.length)
                progress(tally.nbytes, plan.size)
            # A transfer that another thread cancelled may look as if it had ended.
            if tally.nbytes != plan.size:
                transfer.scope.check()
        finally:
            # An interrupt may strike here as well, while another error passes.
            scope.detach()
            jobs.close()
    finally:
        # The sink may be closed only once no worker writes to it.
        engine.drain(transfer)


def _verify(verify: Verify, part_file: PartFile, crc32c: int) -> None:
    try:
        verify(part_file.path, crc32c)
    except Cancelled:
        raise
    except Exception:
        # A complete but wrong file must not be resumed.
        part_file.discard()
        raise
