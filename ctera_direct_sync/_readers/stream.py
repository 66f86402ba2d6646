"""Blocks for a consumer that takes them one by one: in file order, or as they come."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Optional

from .._base.cancellation import Cancelled
from .._engine.engine import STREAM, ClientClosed, Transfer
from .._engine.iteration import as_completed, in_order
from ..exceptions import DirectIOError, StreamError
from ..types import Block
from .listed_file import ListedFile

__all__ = ["Streamer", "describe_end", "iterate", "whole_bytes"]


def describe_end(source: ListedFile, transfer: Optional[Transfer[Block]]) -> str:
    """Return why a transfer was cut off, as a clause for a message."""
    if transfer is not None and not source.engine.owns(transfer):
        return "it was begun before this process was forked, so start it anew here"
    if source.engine.program_ends and not source.engine.closed:
        return "the program ends"
    return "the client was closed"


class Streamer:
    """A range of a file, block by block in order, read ahead within the client's memory setting.

    A streamer passes over its range once. Any thread may call :meth:`stop`, and one thread all else.
    """

    def __init__(
        self, source: ListedFile, start: int, stop: int, max_workers: Optional[int] = None
    ) -> None:
        self._source = source
        self._start, self._stop = start, stop
        self._max_workers = max_workers
        self._offset = start
        self._transfer: Optional[Transfer[Block]] = None
        self._stopped = False

    @property
    def offset(self) -> int:
        """Offset in the file of the next byte to deliver."""
        return self._offset

    def start(self) -> Iterator[Block]:
        """Return an iterator over the blocks, trimmed to the range.

        Downloads begin with its first step. It ends normally only when every byte was delivered, or
        after :meth:`stop`.

        Returns:
            The iterator. It raises StreamError when a block cannot be had, or the client is closed
            meanwhile. The error's ``offset`` is where to resume.

        Raises:
            RuntimeError: It was called before.
        """
        if self._transfer is not None:
            raise RuntimeError("this streamer was started before: make a new one")
        source = self._source
        self._transfer = source.transfer(
            source.pieces(self._start, self._stop),
            source.block,
            priority=STREAM,
            max_workers=self._max_workers,
        )
        return self._blocks(self._transfer)

    def stop(self) -> None:
        """End the iteration, at once even if it is waiting. Nothing is left running."""
        self._stopped = True
        if self._transfer is not None:
            self._source.engine.cancel(self._transfer)

    def _blocks(self, transfer: Transfer[Block]) -> Iterator[Block]:
        engine, observer = self._source.engine, self._source.observer
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
                    break  # A gap: the check below reports it.
                self._offset = block.offset + block.length
                if observer.active:
                    observer.emit("delivered", block.file_id, job.piece.chunk, block.length)
                del job
                yield block
                del block
            # Independent of the engine's accounts: nothing may be cut short and look whole.
            if self._offset != self._stop and not self._stopped:
                raise self._ended(
                    f"bytes up to {self._stop} are due, please report this", errno.EIO
                )
        except (Cancelled, CancelledError, ClientClosed):
            if not self._stopped:
                raise self._ended(describe_end(self._source, transfer), errno.ECANCELED) from None
        except StreamError:
            raise
        except DirectIOError as error:
            if not self._stopped:
                raise self._ended(str(error.strerror), error.errno) from error
        finally:
            engine.cancel(transfer)

    def _ended(self, reason: str, number: Optional[int]) -> StreamError:
        text = f"The stream ended at offset {self._offset}, where it can be resumed: {reason}"
        return StreamError(text, self._source.file_id, self._offset, errno=number)


def iterate(
    source: ListedFile, start: int, stop: int, max_workers: Optional[int] = None
) -> Iterator[Block]:
    """Iterate over whole blocks as they complete, in no order. Large plaintext objects come in parts.

    Args:
        source: The file.
        start: The first byte of the range.
        stop: The byte past its last one.
        max_workers: The most concurrent downloads. None leaves it to the engine.

    Returns:
        The iterator. It raises what a block's download does, and DirectIOError where the client is
        closed meanwhile.
    """
    wanted = source.pieces(start, stop, whole=True)
    transfer = source.transfer(wanted, source.block, ordered=False, max_workers=max_workers)
    return _as_completed(source, transfer, whole_bytes(source, start, stop))


def whole_bytes(source: ListedFile, start: int, stop: int, **cut: Optional[int]) -> int:
    """Return how many bytes the whole pieces have that cover a range of the file.

    Args:
        source: The file.
        start: The first byte of the range.
        stop: The byte past its last one.
        **cut: As for `ListedFile.pieces`.
    """
    if start >= stop:
        return 0
    first = next(source.pieces(start, stop, whole=True, **cut), None)
    last = next(source.pieces(stop - 1, stop, whole=True, **cut), None)
    return 0 if first is None or last is None else last.offset + last.length - first.offset


def _as_completed(source: ListedFile, transfer: Transfer[Block], due: int) -> Iterator[Block]:
    engine, observer = source.engine, source.observer
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
        text = f"The blocks ended early: {describe_end(source, transfer)}"
        raise DirectIOError(text, source.file_id, errno=errno.ECANCELED) from None
    finally:
        engine.cancel(transfer)
    # Independent of the engine's accounts: nothing may be cut short and look whole.
    if delivered != due:
        text = f"{delivered} of {due} bytes were delivered: please report this"
        raise DirectIOError(text, source.file_id, errno=errno.EIO)
