"""Reading a range of a file into the caller's memory.

Several threads fetch blocks, and each block has its own place in that memory. A block is received or
decoded straight into its place, unless the range cuts an encoded block, or a second request was faster.
Such a block is copied once.

Three things keep the memory safe. A place is a slice that ends where its piece ends. A second request
for a block has memory of its own, so the slower of two requests never writes late. And the call
returns only when no thread works for it any more, whatever ended it.
"""

from __future__ import annotations

import errno
import itertools
import operator
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

from .._base.buffers import PooledBuffer
from .._base.cancellation import Cancelled, CancelScope, Gate
from .._base.sync import CancelledError
from .._engine.engine import ClientClosed, Transfer
from .._engine.iteration import as_completed
from .._protocol.ranges import Piece
from ..exceptions import DirectIOError, StreamError
from .listed_file import ListedFile
from .stream import describe_end

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from .multi_range import Span

__all__ = ["Filling", "parse_ranges", "read_into", "writable_bytes"]

#: How long one wait for a thread lasts.
_WAIT_STEP_S = 1.0


def writable_bytes(buffer: WriteableBuffer) -> memoryview:
    """Return the bytes of a buffer, whatever its items and shape are.

    Args:
        buffer: Any writable, C-contiguous object with the buffer protocol.

    Raises:
        BufferError: The buffer is not C-contiguous.
        TypeError: The buffer is read-only, or the object has no buffer protocol.
    """
    with memoryview(buffer) as view:
        if view.readonly:
            raise TypeError(f"a buffer to read into must be writable, not {type(buffer).__name__}")
        if not view.c_contiguous:
            raise BufferError(
                "a buffer to read into must be C-contiguous: read into a new array, and copy it"
            )
    # memoryview.cast cannot cast all items. Big-endian and complex numbers are examples.
    raw = PickleBuffer(buffer)
    try:
        return raw.raw()
    finally:
        raw.release()


def parse_ranges(
    ranges: Iterable[tuple[Any, ...]], views: ExitStack
) -> tuple[list[Span], list[memoryview | None]]:
    """Return the spans of ranges that a user gives, and the memory for each one that has a buffer.

    Args:
        ranges: Pairs of start and length, or triples with a buffer.
        views: Takes the views of the buffers, to release them.

    Raises:
        BufferError: A buffer is not C-contiguous.
        TypeError: A range has another shape, or its buffer is read-only.
        ValueError: A number is negative, or a buffer is shorter than its range.
    """
    spans: list[Span] = []
    targets: list[memoryview | None] = []
    for index, each in enumerate(ranges):
        if not isinstance(each, (tuple, list)) or len(each) not in (2, 3):
            raise TypeError(f"range {index}: use (start, length) or (start, length, buffer)")
        start, length = operator.index(each[0]), operator.index(each[1])
        if start < 0 or length < 0:
            raise ValueError(
                f"range {index} is ({start}, {length}): start and length are numbers of bytes, 0 or more"
            )
        target: memoryview | None = None
        if len(each) == 3 and each[2] is not None:
            target = views.enter_context(writable_bytes(each[2]))
            if len(target) < length:
                raise ValueError(
                    f"range {index}: the buffer has {len(target)} bytes for a range of {length}: give a "
                    "larger buffer"
                )
        spans.append((start, start + length))
        targets.append(target)
    return spans, targets


class _Place(PooledBuffer):
    """The part of the caller's memory that belongs to one piece.

    Anything of another size, such as the whole block of a piece that is a part of it, goes elsewhere.
    """

    __slots__ = ("_place",)

    def __init__(self, place: memoryview) -> None:
        super().__init__(bytearray())
        self._place = place

    def view(self, size: int) -> memoryview:
        """Return the place itself if it has this size, and other memory if not."""
        return self._place if size == len(self._place) else super().view(size)


class Filling:
    """Fills the caller's memory with ranges of a file.

    Args:
        file: The file.
        start: The offset in the file of the first byte of the memory.
        target: The memory.
        spans: The ranges to fill, in file order, within the memory. None: all of it.

    Attributes:
        stop: The offset in the file past the last byte of the memory.
        transfer: The transfer, which any thread may cancel.
    """

    def __init__(
        self,
        file: ListedFile,
        start: int,
        target: memoryview,
        spans: Sequence[Span] | None = None,
    ) -> None:
        self._file = file
        self._start = start
        self._target = target
        self.stop = start + len(target)
        self._spans = [(start, self.stop)] if spans is None else spans
        pieces = itertools.chain.from_iterable(file.pieces(*span) for span in self._spans)
        self.transfer = file.transfer(pieces, self._fetch, ordered=False, keep=False)
        #: Offset and length of what is in the memory. The threads append to it.
        self._written: list[tuple[int, int]] = []
        #: One gate for each thread that may write to the memory. It opens when the thread has ended.
        self._writers: list[Gate] = []
        self._is_over = False

    def run(self) -> None:
        """Fill the ranges, all of them.

        When it returns or raises, no thread writes to the memory any more.

        Raises:
            BlockError: A block could not be downloaded or decoded.
            Cancelled: The transfer was cancelled.
            DirectIOError: Not all bytes came.
        """
        try:
            try:
                self._collect(self.transfer)
            finally:
                self._end(self.transfer)
        finally:
            # Once more: an interrupt may strike before the first call has begun to wait.
            self._end(self.transfer)
        # Counted from what the threads have written, independently of the engine.
        missing, written = self.missing(), sum(length for _, length in self._written)
        if missing is not None or written != sum(stop - start for start, stop in self._spans):
            text = f"{written} bytes came, and the ones at offset {missing} did not"
            raise DirectIOError(f"{text}: please report this", self._file.file_id, errno=errno.EIO)

    def missing(self) -> int | None:
        """Return the offset of the first byte that is due and not in the memory, or None."""
        written = iter(sorted(self._written))
        begin, end = 0, 0
        for start, stop in self._spans:
            while start < stop:
                while end <= start:
                    found = next(written, None)
                    if found is None:
                        return start
                    begin, end = found[0], found[0] + found[1]
                if begin > start:
                    return start
                start = end
        return None

    def _collect(self, transfer: Transfer[None]) -> None:
        """Start the transfer, and wait for each of its pieces."""
        file = self._file
        file.engine.start(transfer)
        jobs = as_completed(file.engine, transfer)
        try:
            for job in jobs:
                job.future.result()
                if file.observer.active:
                    piece = job.piece
                    file.observer.emit("delivered", file.file_id, piece.chunk, piece.length)
                del job
        finally:
            jobs.close()

    def _end(self, transfer: Transfer[None]) -> None:
        """End the transfer, and wait until no thread writes to the memory.

        The threads are counted here as well, independently of the engine: it may have failed. An
        interrupt waits, too.
        """
        engine = self._file.engine
        self._is_over = True
        engine.drain(transfer)
        interrupt: BaseException | None = None
        while engine.owns(transfer) and (writers := self._writers.copy()):
            try:
                # By steps: a fork may come in between.
                writers[0].wait_for(_WAIT_STEP_S)
            except BaseException as error:  # noqa: BLE001 - raised below
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _fetch(self, piece: Piece, scope: CancelScope) -> None:
        """Fetch one piece to its place. This is the work of the engine's threads."""
        gate = Gate()
        self._writers.append(gate)
        try:
            # The caller first ends the work and then looks for writers. Here it is the other way round.
            if self._is_over:
                raise Cancelled
            self._fetch_to_place(piece, scope)
        finally:
            self._writers.remove(gate)
            gate.open()

    def _fetch_to_place(self, piece: Piece, scope: CancelScope) -> None:
        begin = piece.offset - self._start
        place = self._target[begin : begin + piece.length]
        try:
            data, _ = self._file.fetch_into(_Place(place), piece, scope)
            scope.check()
            if len(data) != len(place):
                text = f"{len(data)} of {len(place)} bytes of a block came: please report this"
                raise DirectIOError(text, self._file.file_id, errno=errno.EIO)
            if data is not place:
                place[:] = data
            self._written.append((piece.offset, piece.length))
        finally:
            # The frames of an error would keep the caller's buffer locked.
            place.release()


def read_into(file: ListedFile, start: int, target: memoryview) -> None:
    """Fill memory with the bytes of a file.

    When it returns or raises, no thread writes to the memory any more.

    Args:
        file: The file.
        start: The offset of the first byte.
        target: The memory. The file has as many bytes from `start` on.

    Raises:
        StreamError: Not all bytes came. The content of the memory is undefined then.
    """
    if not target:
        return
    filling = Filling(file, start, target)
    try:
        filling.run()
    except (Cancelled, CancelledError, ClientClosed):
        reason = describe_end(file, filling.transfer)
        raise _stream_error(file, filling, reason, errno.ECANCELED) from None
    except DirectIOError as error:
        raise _stream_error(file, filling, str(error.strerror), error.errno) from error


def _stream_error(file: ListedFile, filling: Filling, reason: str, code: int | None) -> StreamError:
    """Return the error for a call that ends early."""
    offset = filling.missing()
    if offset is None:
        offset = filling.stop  # It was cancelled after its last byte.
    text = (
        f"The read ended early, and the content of the buffer is undefined: {reason}. All bytes "
        f"before offset {offset} had come"
    )
    return StreamError(text, file.file_id, offset, errno=code)
