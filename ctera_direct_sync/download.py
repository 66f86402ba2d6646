"""A file, or a range of one, to a path or a writable file object."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import IO, Any, Callable, NamedTuple, Optional, Union

from . import codec
from .exceptions import DirectIOError
from .partial import Done, Partial, Plan
from .ranges import Piece
from .scope import Cancelled, CancelScope
from .source import Source
from .stream import Streamer
from .types import Download

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
    source: Source,
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
    unchanged = False
    if hasattr(target, "write"):
        _refuse_verify(verify)
        path, crc32c = None, _to_file(source, target, start, stop, report, max_workers)
    else:
        name = os.fsdecode(os.fspath(target))
        path = os.path.realpath(name)
        if os.path.isdir(path) or name.endswith(("/", os.sep)):
            raise IsADirectoryError(errno.EISDIR, "the target is a folder: name a file in it", path)
        if os.path.exists(path) and not os.path.isfile(path):
            # A device or pipe cannot be replaced by renaming; it takes bytes in order.
            _refuse_verify(verify)
            with open(path, "wb", buffering=0) as device:
                crc32c = _to_file(source, device, start, stop, report, max_workers)
        else:
            crc32c, unchanged = _to_path(
                source,
                path,
                start,
                stop,
                resume,
                report,
                max_workers,
                verify,
                scope or CancelScope(),
            )
    took = time.perf_counter() - began
    return Finished(Download(path, stop - start, crc32c, took), unchanged)


def _no_progress(done: int, total: int) -> None:
    pass


def _refuse_verify(verify: Optional[Verify]) -> None:
    if verify is not None:
        raise ValueError("verify needs a regular file as target: it is called before the renaming")


def _to_file(
    source: Source,
    file: Any,
    start: int,
    stop: int,
    progress: Progress,
    max_workers: Optional[int],
) -> int:
    """In order, from the caller's thread, as a file object wants it. StreamError as a stream."""
    crc32c, total = 0, stop - start
    progress(0, total)
    streamer = Streamer(source, start, stop, max_workers)
    try:
        for block in streamer.start():
            view = memoryview(block.data)
            while view:
                # A raw file may take less than it is given, and answers None for nothing at all; from
                # other objects None says that they had no more to say.
                written = file.write(view)
                if written is None and isinstance(file, io.RawIOBase):
                    raise BlockingIOError(
                        errno.EAGAIN, "the target is in non-blocking mode, and takes no more now"
                    )
                view = view[len(view) if written is None else written :]
            crc32c = codec.crc32c(block.data, crc32c)
            progress(streamer.offset - start, total)
    finally:
        streamer.stop()
    return crc32c


def _to_path(
    source: Source,
    path: str,
    start: int,
    stop: int,
    resume: bool,
    progress: Progress,
    max_workers: Optional[int],
    verify: Optional[Verify],
    scope: CancelScope,
) -> tuple[int, bool]:
    """In parallel: each worker writes its own piece at its offset. CRC32C, and whether unchanged."""
    plan = Plan.of(source.metadata, start, stop, list(source.pieces(start, stop)))
    with _cancellable(source.file_id), Partial(path, plan, resume=resume) as partial:
        if resume:
            complete = partial.completed(scope.check)
            if complete is not None:
                partial.discard()
                if verify is not None:
                    verify(path, complete)
                _log.info("file %s: %s is complete already", source.file_id, path)
                progress(plan.size, plan.size)
                return complete, True
        recovered, reason = partial.recover(scope.check)
        if reason:
            _log.warning("file %s: starting over, %s", source.file_id, reason)
        done = {entry.position: entry.crc32c for entry in recovered}
        _fetch_rest(source, plan, partial, done, progress, max_workers, scope)
        crc32c = _combine(plan, done)
        if verify is not None:
            _verify(verify, partial, crc32c)
        scope.check()
        partial.commit(crc32c)
    return crc32c, False


@contextlib.contextmanager
def _cancellable(file_id: int) -> Iterator[None]:
    """Tell the caller what a cancelled download means to it."""
    try:
        yield
    except (Cancelled, CancelledError):
        raise DirectIOError(
            "The client was closed before the download was complete",
            file_id,
            errno=errno.ECANCELED,
        ) from None


def _fetch_rest(
    source: Source,
    plan: Plan,
    partial: Partial,
    done: dict[int, int],
    progress: Progress,
    max_workers: Optional[int],
    scope: CancelScope,
) -> None:
    """Fetch and write every piece of the plan that is not in ``done``, and add it there."""
    position_of = {piece.offset: position for position, piece in enumerate(plan.pieces)}

    def work(piece: Piece, transfer_scope: CancelScope) -> Done:
        position = position_of[piece.offset]
        with source.storage.buffers.borrow() as loan:
            data, crc32c = source.fetch_into(loan, piece, transfer_scope)
            transfer_scope.check()
            partial.write(position, piece.offset - plan.start, data, crc32c)
        return Done(position, crc32c)

    got = sum(plan.pieces[position].length for position in done)
    progress(got, plan.size)
    missing = iter([piece for at, piece in enumerate(plan.pieces) if at not in done])
    transfer = source.transfer(missing, work, ordered=False, max_workers=max_workers, keep=False)
    engine = source.engine
    jobs = engine.as_finished(transfer)
    try:
        scope.attach(lambda: engine.cancel(transfer))
        engine.start(transfer)
        for job in jobs:
            entry = job.future.result()
            done[entry.position] = entry.crc32c
            got += job.piece.length
            if source.observer.active:
                source.observer.emit("delivered", source.file_id, job.piece.chunk, job.piece.length)
            progress(got, plan.size)
    finally:
        scope.detach()
        jobs.close()
        engine.cancel(transfer)
        # The part file may be closed only when no worker writes to it any more.
        engine.drain(transfer)


def _verify(verify: Verify, partial: Partial, crc32c: int) -> None:
    try:
        verify(partial.part, crc32c)
    except Cancelled:
        raise
    except Exception:
        # What is complete but wrong is nothing to resume from.
        partial.discard()
        raise


def _combine(plan: Plan, crcs: dict[int, int]) -> int:
    """The CRC32C of the whole from its pieces'."""
    crc32c = 0
    for position, piece in enumerate(plan.pieces):
        crc32c = codec.crc32c_combine(crc32c, crcs[position], piece.length)
    return crc32c
