"""Reading several byte ranges of a file at once. Each block that they need is fetched once."""

from __future__ import annotations

import errno
import io
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from .._base.cancellation import Cancelled
from .._base.sync import CancelledError
from .._engine.engine import STREAM, Job
from .._engine.iteration import in_order
from .._protocol.ranges import Piece
from ..exceptions import DirectIOError
from ..types import Block
from .listed_file import ListedFile
from .stream import describe_end

__all__ = ["MultiRangeReader", "Span"]

#: A byte range: the offset of its first byte, and the offset past its last byte.
Span = tuple[int, int]

#: Two spans of a plaintext object with a gap of at most this size are fetched at once: bytes that are
#: not needed cost less than a request.
_MAX_GAP_BYTES = 64 * 1024


class MultiRangeReader:
    """Downloads byte ranges of a file until they are read, or the reader is closed.

    Args:
        file: The file.
        spans: The ranges, all within the part of the file that the block list covers.
        targets: Memory for each range, of its length, or None. Only the thread that calls `read`
            writes to it.
    """

    def __init__(
        self,
        file: ListedFile,
        spans: Sequence[Span],
        targets: Sequence[memoryview | None] | None = None,
    ) -> None:
        self._file = file
        self._spans = spans
        self._targets = targets or [None] * len(spans)
        self._transfer = file.transfer(_cover(file, spans), file.block, priority=STREAM)
        # The downloads of a reader that is dropped unread are cancelled.
        weakref.finalize(self, file.engine.cancel, self._transfer)
        file.engine.start(self._transfer)

    def close(self) -> None:
        """Cancel the downloads that are left."""
        self._file.engine.cancel(self._transfer)

    def read(self, *, fail_fast: bool) -> list[Any]:
        """Wait for the bytes of the spans. A reader can be read once.

        Args:
            fail_fast: Whether to raise the first error, and cancel the downloads that are left.

        Returns:
            One result per span, in the given order: its bytes, its target, or the error of one of its
            blocks.

        Raises:
            DirectIOError: With `fail_fast`, a block could not be had. Without it, not all bytes came.
        """
        try:
            return self._read(fail_fast)
        finally:
            self.close()

    def _read(self, fail_fast: bool) -> list[Any]:
        spans = self._spans
        parts = [_Parts() if target is None else _TargetParts(target) for target in self._targets]
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
                    parts[index].add(block, *spans[index])
            active = [index for index in active if spans[index][1] > stop]
        return [
            errors[index] if index in errors else self._join(spans[index], parts[index])
            for index in range(len(spans))
        ]

    def _jobs(self) -> Iterator[Job[Block]]:
        try:
            yield from in_order(self._file.engine, self._transfer)
        except Cancelled:
            raise self._cut_off_error() from None

    def _result(self, job: Job[Block]) -> Block:
        try:
            return job.future.result()
        except (Cancelled, CancelledError):
            raise self._cut_off_error() from None

    def _cut_off_error(self) -> DirectIOError:
        text = f"Not all bytes came: {describe_end(self._file, self._transfer)}"
        return DirectIOError(text, self._file.file_id, errno=errno.ECANCELED)

    def _join(self, span: Span, parts: _Parts | _TargetParts) -> bytes | memoryview:
        """Return the bytes of a span. DirectIOError if they are not all that are due."""
        data, count = parts.join(), parts.count
        if not len(data) == count == max(0, span[1] - span[0]):
            text = f"{count} of {span[1] - span[0]} bytes came: please report this"
            raise DirectIOError(text, self._file.file_id, errno=errno.EIO)
        return data


class _Parts:
    """Collects the bytes of a span, block by block.

    Joining a list of blocks would need the memory of the span twice.
    """

    def __init__(self) -> None:
        self.count = 0
        self._first = b""
        self._rest: io.BytesIO | None = None

    def add(self, block: Block, start: int, stop: int) -> None:
        """Append what the next block has of the bytes between two offsets in the file."""
        # All bytes of a block are not copied.
        data = block.data[max(0, start - block.offset) : max(0, stop - block.offset)]
        self.count += len(data)
        if not self._first:
            self._first = data  # A span within one block is not copied.
            return
        if self._rest is None:
            self._rest = io.BytesIO()
            self._rest.write(self._first)
        self._rest.write(data)

    def join(self) -> bytes:
        """Return all bytes, without another copy of them."""
        return self._first if self._rest is None else self._rest.getvalue()


class _TargetParts:
    """Collects the bytes of a span in memory of the caller.

    Args:
        target: The memory, of the length of the span.
    """

    def __init__(self, target: memoryview) -> None:
        self.count = 0
        self._target = target

    def add(self, block: Block, start: int, stop: int) -> None:
        """Append what the next block has of the bytes between two offsets in the file."""
        low, high = max(0, start - block.offset), max(0, min(block.length, stop - block.offset))
        self._target[self.count : self.count + high - low] = memoryview(block.data)[low:high]
        self.count += high - low

    def join(self) -> memoryview:
        """Return the memory."""
        return self._target


def _cover(file: ListedFile, spans: Sequence[Span]) -> Iterator[Piece]:
    """Yield the pieces that cover the spans, in file order, each block once."""
    begin = end = 0
    for start, stop in sorted(span for span in spans if span[0] < span[1]):
        if begin < end and start < _mergeable_until(file, end):
            end = max(end, stop)
            continue
        yield from file.pieces(begin, end)
        begin, end = start, stop
    yield from file.pieces(begin, end)


def _mergeable_until(file: ListedFile, end: int) -> int:
    """Return the limit for the start of a span that is fetched along with one that ends at `end`."""
    if file.metadata.plaintext:
        return end + _MAX_GAP_BYTES
    # A stored block is always fetched whole.
    last = next(file.pieces(end - 1, end, whole=True))
    return last.offset + last.length
