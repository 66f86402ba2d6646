"""Iterators over the blocks of a file, in file order or as they complete."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any, Callable

from .._base.cancellation import Cancelled
from .._base.sync import CancelledError
from .._engine.engine import STREAM, ClientClosed, Transfer
from .._engine.iteration import as_completed, in_order
from ..exceptions import DirectIOError, StreamError
from ..types import Block
from .listed_file import ListedFile

__all__ = ["Streamer", "describe_end", "iterate", "whole_bytes"]


def describe_end(file: ListedFile, transfer: Transfer[Any] | None) -> str:
    """Return why a transfer was cut off, as a clause for a message.

    Args:
        file: The file.
        transfer: Its transfer, if one was started.
    """
    if transfer is not None and not file.engine.owns(transfer):
        return "it was begun before this process was forked, so start it anew here"
    if file.engine.program_ends and not file.engine.closed:
        return "the program ends"
    return "the client was closed"


class Streamer:
    """Reads a range of a file block by block, in order.

    Blocks are fetched ahead within the client's memory setting. A streamer reads its range once. Any
    thread may call `stop`. Only one thread may use the rest.
    """

    def __init__(
        self, file: ListedFile, start: int, stop: int, max_workers: int | None = None
    ) -> None:
        self._file = file
        self._start, self._stop = start, stop
        self._max_workers = max_workers
        self._offset = start
        self._transfer: Transfer[Block] | None = None
        self._stopped = False

    @property
    def offset(self) -> int:
        """Offset in the file of the next byte to deliver."""
        return self._offset

    def start(self) -> Iterator[Block]:
        """Return an iterator over the blocks, trimmed to the range.

        Downloads begin with its first step. It ends without an error only when every byte was
        delivered, or after `stop`.

        Returns:
            The iterator. It raises StreamError if a block cannot be downloaded, or if the client is
            closed meanwhile. The error's `offset` is where to resume.

        Raises:
            RuntimeError: The streamer was started before.
        """
        if self._transfer is not None:
            raise RuntimeError("this streamer was started before: make a new one")
        file = self._file
        self._transfer = file.transfer(
            file.pieces(self._start, self._stop),
            file.block,
            priority=STREAM,
            max_workers=self._max_workers,
        )
        return self._blocks(self._transfer)

    def stop(self) -> None:
        """End the iteration at once, even while it waits, and cancel its downloads."""
        self._stopped = True
        if self._transfer is not None:
            self._file.engine.cancel(self._transfer)

    def _blocks(self, transfer: Transfer[Block]) -> Iterator[Block]:
        engine, observer = self._file.engine, self._file.observer
        if self._stopped:
            return
        try:
            if engine.closed:
                raise Cancelled
            engine.start(transfer)
            for job in in_order(engine, transfer):
                if self._stopped:
                    return
                block = job.future.result()
                if block.offset != self._offset:
                    break  # There is a gap, which the check below reports.
                self._offset = block.offset + block.length
                if observer.active:
                    observer.emit("delivered", block.file_id, job.piece.chunk, block.length)
                del job
                yield block
                del block
            # Counted independently of the engine: a short iteration must not look whole.
            if self._offset != self._stop and not self._stopped:
                raise self._stream_error(
                    f"bytes up to {self._stop} are due, please report this", errno.EIO
                )
        except (Cancelled, CancelledError, ClientClosed):
            if not self._stopped:
                raise self._stream_error(
                    describe_end(self._file, transfer), errno.ECANCELED
                ) from None
        except StreamError:
            raise
        except DirectIOError as error:
            if not self._stopped:
                raise self._stream_error(str(error.strerror), error.errno) from error
        finally:
            engine.cancel(transfer)

    def _stream_error(self, reason: str, code: int | None) -> StreamError:
        text = f"The stream ended at offset {self._offset}, where it can be resumed: {reason}"
        return StreamError(text, self._file.file_id, self._offset, errno=code)


def iterate(
    file: ListedFile,
    start: int,
    stop: int,
    max_workers: int | None = None,
    cancel_by: Callable[[Callable[[], object]], object] | None = None,
) -> Iterator[Block]:
    """Iterate over whole blocks as they complete, in no order.

    Large plaintext objects come in parts.

    Args:
        file: The file.
        start: The offset of the first byte.
        stop: The offset past the last byte.
        max_workers: The most concurrent downloads. None leaves it to the engine.
        cancel_by: Takes a function that any thread may call to end the iteration by an error.

    Returns:
        The iterator. It raises what the download of a block raises, and DirectIOError if the client
        is closed meanwhile.
    """
    pieces = file.pieces(start, stop, whole=True)
    transfer = file.transfer(pieces, file.block, ordered=False, max_workers=max_workers)
    if cancel_by is not None:
        cancel_by(lambda: file.engine.cancel(transfer))
    return _as_completed(file, transfer, whole_bytes(file, start, stop))


def whole_bytes(file: ListedFile, start: int, stop: int, **cut: int | None) -> int:
    """Return the number of bytes of the whole pieces that cover a range of the file.

    Args:
        file: The file.
        start: The offset of the first byte.
        stop: The offset past the last byte.
        **cut: As for `ListedFile.pieces`.
    """
    if start >= stop:
        return 0
    first = next(file.pieces(start, stop, whole=True, **cut), None)
    last = next(file.pieces(stop - 1, stop, whole=True, **cut), None)
    return 0 if first is None or last is None else last.offset + last.length - first.offset


def _as_completed(file: ListedFile, transfer: Transfer[Block], expected: int) -> Iterator[Block]:
    engine, observer = file.engine, file.observer
    delivered = 0
    try:
        if engine.closed:
            raise Cancelled
        engine.start(transfer)
        for job in as_completed(engine, transfer):
            block = job.future.result()
            delivered += block.length
            if observer.active:
                observer.emit("delivered", block.file_id, job.piece.chunk, block.length)
            del job
            yield block
            del block
    except (Cancelled, CancelledError, ClientClosed):
        text = f"The blocks ended early: {describe_end(file, transfer)}"
        raise DirectIOError(text, file.file_id, errno=errno.ECANCELED) from None
    finally:
        engine.cancel(transfer)
    # Counted independently of the engine: a short iteration must not look whole.
    if delivered != expected:
        text = f"{delivered} of {expected} bytes were delivered: please report this"
        raise DirectIOError(text, file.file_id, errno=errno.EIO)
