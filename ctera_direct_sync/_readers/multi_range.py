"""Several byte ranges of a file at once: each block that they need is fetched once."""

from __future__ import annotations

import errno
import io
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Optional, Union

from .._base.cancellation import Cancelled
from .._engine.engine import STREAM, Job
from .._engine.iteration import in_order
from .._protocol.ranges import Piece
from ..exceptions import DirectIOError
from ..types import Block
from .listed_file import ListedFile
from .stream import describe_end

__all__ = ["MultiRangeReader", "Span"]

#: First byte and the one past the last.
Span = tuple[int, int]

#: Of an object of which any range can be fetched, this many bytes in vain cost less than a request.
_GAP = 64 * 1024


class MultiRangeReader:
    """Byte ranges of a file, all within its listed part, under way until they are read or it is closed."""

    def __init__(self, source: ListedFile, spans: Sequence[Span]) -> None:
        self._source = source
        self._spans = spans
        self._transfer = source.transfer(_wanted(source, spans), source.block, priority=STREAM)
        # A reader that is dropped unread fetches nothing more.
        weakref.finalize(self, source.engine.cancel, self._transfer)
        source.engine.start(self._transfer)

    def close(self) -> None:
        """Fetch nothing more."""
        self._source.engine.cancel(self._transfer)

    def read(self, *, fail_fast: bool) -> list[Union[bytes, DirectIOError]]:
        """The bytes of each span, in the order given, or what went wrong with one of its blocks.

        ``fail_fast``: raise the first error instead, and fetch nothing more. Once.
        """
        try:
            return self._read(fail_fast)
        finally:
            self.close()

    def _read(self, fail_fast: bool) -> list[Union[bytes, DirectIOError]]:
        spans = self._spans
        parts = [_Parts() for _ in spans]
        errors: dict[int, DirectIOError] = {}
        waiting = sorted(range(len(spans)), key=lambda index: spans[index][0], reverse=True)
        active: list[int] = []
        for job in self._jobs():
            stop = job.piece.offset + job.piece.length
            while waiting and spans[waiting[-1]][0] < stop:
                active.append(waiting.pop())
            try:
                block = self._result(job)
            except DirectIOError as error:
                if fail_fast:
                    raise
                errors.update((index, error) for index in active)
            else:
                for index in active:
                    parts[index].add(_overlap(block, *spans[index]))
            active = [index for index in active if spans[index][1] > stop]
        return [
            errors[index] if index in errors else self._join(spans[index], parts[index])
            for index in range(len(spans))
        ]

    def _jobs(self) -> Iterator[Job[Block]]:
        try:
            yield from in_order(self._source.engine, self._transfer)
        except Cancelled:
            raise self._cut_off() from None

    def _result(self, job: Job[Block]) -> Block:
        try:
            return job.future.result()
        except (Cancelled, CancelledError):
            raise self._cut_off() from None

    def _cut_off(self) -> DirectIOError:
        text = f"Not all bytes came: {describe_end(self._source, self._transfer)}"
        return DirectIOError(text, self._source.file_id, errno=errno.ECANCELED)

    def _join(self, span: Span, parts: _Parts) -> bytes:
        """Return the bytes of a span. DirectIOError if they are not all that are due."""
        data = parts.join()
        if len(data) != max(0, span[1] - span[0]):
            text = f"{len(data)} of {span[1] - span[0]} bytes came: please report this"
            raise DirectIOError(text, self._source.file_id, errno=errno.EIO)
        return data


class _Parts:
    """The bytes of a span, which grow block by block.

    Joining a list of blocks would take the memory of the span twice.
    """

    def __init__(self) -> None:
        self._first = b""
        self._rest: Optional[io.BytesIO] = None

    def add(self, data: bytes) -> None:
        """Append the bytes of the next block."""
        if not self._first:
            self._first = data  # A span of one block needs no copy of it.
            return
        if self._rest is None:
            self._rest = io.BytesIO()
            self._rest.write(self._first)
        self._rest.write(data)

    def join(self) -> bytes:
        """Return all bytes, without another copy of them."""
        return self._first if self._rest is None else self._rest.getvalue()


def _overlap(block: Block, start: int, stop: int) -> bytes:
    """The block's bytes between two offsets in the file; no copy where that is all of them."""
    return block.data[max(0, start - block.offset) : max(0, stop - block.offset)]


def _wanted(source: ListedFile, spans: Sequence[Span]) -> Iterator[Piece]:
    """The pieces that cover the spans, in file order, no block of them twice."""
    begin = end = 0
    for start, stop in sorted(span for span in spans if span[0] < span[1]):
        if begin < end and start < _reach(source, end):
            end = max(end, stop)
            continue
        yield from source.pieces(begin, end)
        begin, end = start, stop
    yield from source.pieces(begin, end)


def _reach(source: ListedFile, end: int) -> int:
    """Up to where a span may begin to be fetched along with one that ends at ``end``."""
    if source.metadata.plaintext:
        return end + _GAP
    # A stored block comes whole, whatever of it is wanted.
    last = next(source.pieces(end - 1, end, whole=True))
    return last.offset + last.length
