"""Blocks for a consumer that takes them one by one: in file order, or as they come."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Optional

from .engine import STREAM, Transfer
from .exceptions import DirectIOError, StreamError
from .scope import Cancelled
from .source import Source
from .types import Block

__all__ = ["Streamer", "iterate"]


class Streamer:
    """A range of a file, block by block in order, read ahead within the client's memory setting.

    One streamer is one pass over the range. :meth:`stop` may come from any thread, all else from one.
    """

    def __init__(
        self, source: Source, start: int, stop: int, max_workers: Optional[int] = None
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
        """The blocks, trimmed to the range. Downloads begin with the first step.

        StreamError when a block cannot be had, or the client is closed meanwhile; its ``offset`` is
        where to resume. RuntimeError for a second call.
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
            engine.start(transfer)
            for job in engine.in_order(transfer):
                if self._stopped:
                    return
                block = job.future.result()
                self._offset = block.offset + block.length
                if observer.active:
                    observer.emit("delivered", block.file_id, job.piece.chunk, block.length)
                del job
                yield block
                del block
        except (Cancelled, CancelledError):
            if not self._stopped:
                raise self._ended("the client was closed", errno.ECANCELED) from None
        except DirectIOError as error:
            if not self._stopped:
                raise self._ended(str(error.strerror), error.errno) from error
        finally:
            engine.cancel(transfer)

    def _ended(self, reason: str, number: Optional[int]) -> StreamError:
        text = f"The stream ended at offset {self._offset}, where it can be resumed: {reason}"
        return StreamError(text, self._source.file_id, self._offset, errno=number)


def iterate(
    source: Source, start: int, stop: int, max_workers: Optional[int] = None
) -> Iterator[Block]:
    """Whole blocks (of large plaintext objects: parts) as they complete, in no order.

    What a block's download raises ends the iteration; so does closing the client, as DirectIOError.
    """
    wanted = source.pieces(start, stop, whole=True)
    transfer = source.transfer(wanted, source.block, ordered=False, max_workers=max_workers)
    return _as_finished(source, transfer)


def _as_finished(source: Source, transfer: Transfer[Block]) -> Iterator[Block]:
    engine, observer = source.engine, source.observer
    try:
        engine.start(transfer)
        for job in engine.as_finished(transfer):
            block = job.future.result()
            if observer.active:
                observer.emit("delivered", block.file_id, job.piece.chunk, block.length)
            del job
            yield block
            del block
    except (Cancelled, CancelledError):
        raise DirectIOError(
            "The client was closed before all blocks came", source.file_id, errno=errno.ECANCELED
        ) from None
    finally:
        engine.cancel(transfer)
