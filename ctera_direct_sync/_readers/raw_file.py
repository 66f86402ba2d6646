"""A file on the portal as an unbuffered, seekable, read-only Python file.

The decoded block at the position is the buffer: nothing is copied before a read asks for it. A read
moves the position as its last step, once it has all its bytes. So a read that fails, or that an
exception out of a signal handler ends, leaves the position where it was.

A reader that goes from block to block gets the next blocks fetched ahead, more of them each time. A
jump stops that. A single large read fetches the blocks that it spans at once.
"""

from __future__ import annotations

import errno
import io
import itertools
import operator
import os
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, SupportsIndex, TypeVar

from ..exceptions import DirectIOError
from .block_cache import BlockCache
from .block_memory import NO_BLOCK, CachedBlock
from .buffer_filler import BufferFiller
from .duckdb import DuckDBPositions
from .error_checking_lock import ErrorCheckingLock
from .listed_file import ListedFile
from .read_buffer import ReadBuffer
from .readahead import ReadaheadWindow, ReadRequest

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from .._core import ClientCore

__all__ = ["SMALL_READ_BYTES", "PickledState", "RawDirectFile"]

_Argument = TypeVar("_Argument")
#: What a read returns: bytes, or the number of bytes that it wrote into a buffer.
_Result = TypeVar("_Result", bytes, int)

#: A smaller read does not tell how the file is read.
SMALL_READ_BYTES = 1024
#: A gap of at most this size between two reads is not a jump.
_HEADER_SIZE_BYTES = 4 * 1024
#: `DirectFile` takes lines from at most this many bytes at a time.
_LINE_BATCH_BYTES = 64 * 1024
#: Up to this size a read that spans blocks joins views of them. A larger one never holds them all.
_JOIN_SIZE_BYTES = 1024 * 1024

_REFUSAL = "a signal handler used a file amid a read of it: use it elsewhere"


class PickledState(NamedTuple):
    """What a pickle holds of a file.

    Attributes:
        kind: The class of the client.
        state: The state of the client.
        file_id: The file ID.
        fingerprint: The fingerprint of the block list.
        readahead: The argument that the file was opened with.
        position: The offset of the next byte to read.
    """

    kind: type[ClientCore]
    state: dict[str, Any]
    file_id: int
    fingerprint: str
    readahead: int | None
    position: int


class RawDirectFile(io.RawIOBase):
    """The unbuffered file: its position, and what to fetch when.

    A read holds the file's lock until it has its bytes, so threads read one after the other. The lock
    is taken first, and the lock of the block memory last. `close` takes neither.

    Args:
        file: The file, whose block list is complete.
        readahead: The most bytes to fetch ahead, 0 for none; None: half of the memory.
        client: The client that the file belongs to; with it, the file can be pickled.
        places: The positions of DuckDB's threads.

    Attributes:
        name: The file ID, as text.
        size: The size of the file in bytes.
        position: The offset of the next byte to read; negative while a read is under way.
        block: The block that the last read ended in, or `NO_BLOCK`.
        places: The positions of DuckDB's threads, or None.
        read_until: Where the last read ended that was not small.
    """

    mode = "rb"
    #: The base class sets it if the collector, not the program, closes the file.
    _finalizing = False

    def __init__(
        self,
        file: ListedFile,
        readahead: int | None = None,
        *,
        client: ClientCore | None = None,
        places: DuckDBPositions | None = None,
    ) -> None:
        self._set_position(0, file.file_id, readahead, places)
        self._set_file(file, client)

    def _set_position(
        self,
        position: int,
        file_id: int,
        readahead: int | None,
        places: DuckDBPositions | None,
    ) -> None:
        """Set what a file has before its block list is known."""
        super().__init__()
        # As text: programs take an integer for a file descriptor.
        self.name = str(file_id)
        self._readahead = readahead
        self.places = places
        # While a read is under way, `position` is negative, and `_claimed` is where the read began.
        self.position = position
        self._claimed = position
        self.read_until = 0
        self.forget_parent()
        _files.add(self)

    def _set_file(self, file: ListedFile, client: ClientCore | None) -> None:
        """Set what a file has once its block list is known."""
        readahead = self._readahead
        max_bytes = file.memory // 2 if readahead is None else operator.index(readahead)
        self._client = client
        self._cache = BlockCache(file)
        self._window = ReadaheadWindow(self._cache, max_bytes)
        self._filler = BufferFiller(file, self._cache, self._window)
        self._file = file
        self.size = file.metadata.size

    def forget_parent(self) -> None:
        """Start over in a forked child: a thread of the parent may hold the lock, amid a read."""
        self._lock = ErrorCheckingLock(_REFUSAL)
        self.block = NO_BLOCK
        if self.position < 0:
            self.position = self._claimed

    # --- the methods of io.RawIOBase -----------------------------------------------------------------

    def readable(self) -> bool:
        """Return True."""
        self.check_open()
        return True

    def seekable(self) -> bool:
        """Return True. A seek fetches nothing before the next read."""
        self.check_open()
        return True

    def tell(self) -> int:
        """Return the offset of the next byte to read."""
        self.check_open()
        position = self.position
        if position < 0:  # Another thread reads.
            position = self._claimed
        return position if self.places is None else self.places.tell(position)

    def seek(self, offset: SupportsIndex, whence: SupportsIndex = os.SEEK_SET, /) -> int:
        """Move to another position, and return it; see `DirectFile.seek`."""
        distance, origin = operator.index(offset), operator.index(whence)
        # A pickled file is opened here, before its lock is taken.
        size = self.size if origin == os.SEEK_END else 0
        return self._lock.run(self._seek, distance, origin, size)

    def _seek(self, distance: int, origin: int, size: int) -> int:
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: size}
        if origin not in bases:
            raise ValueError(
                f"whence {origin} is not known: use SEEK_SET, SEEK_CUR or SEEK_END of os"
            )
        position = bases[origin] + distance
        if position < 0:
            raise OSError(errno.EINVAL, "cannot seek to before the beginning of the file")
        if self.places is not None:
            self.places.note(position)
        self.position = position
        return position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer` from one block. Return the number of bytes, 0 at the end of the file."""
        return self.advance(self.read_part_into, ReadBuffer.over(buffer))

    def readall(self) -> bytes:
        """Return all bytes from the position to the end of the file."""
        return self.advance(self.read_exactly, -1)

    def close(self) -> None:
        """Give back the memory, and cancel what is being fetched."""
        if not self.closed:
            # An interrupt may have ended the constructor before: then the collector closes the file.
            cache: BlockCache | None = getattr(self, "_cache", None)
            if cache is not None:
                cache.close()
            filler: BufferFiller | None = getattr(self, "_filler", None)
            if filler is not None:
                filler.cancel()
            self.block = NO_BLOCK
            # Reads without the lock then find no position.
            self.position = -1
            super().close()

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Raise TypeError: `DirectFile` can be pickled."""
        raise TypeError("cannot pickle a raw file: pickle what DirectIO.open returned")

    # --- what DirectFile calls -----------------------------------------------------------------------

    def check_open(self) -> None:
        """Raise ValueError if the file is closed."""
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def note_finalizing(self, finalizing: bool) -> None:
        """Note before `close` whether the collector closes the file."""
        self._finalizing = self._finalizing or finalizing

    def pickled_state(self) -> PickledState:
        """Return what a pickle of the file holds.

        Raises:
            TypeError: The file belongs to no client.
            ValueError: The file is closed.
        """
        self.check_open()
        client = self._client
        if client is None:
            raise TypeError("cannot pickle this file: open it where it is read, with the file ID")
        return PickledState(
            type(client),
            client.__getstate__(),
            self._file.file_id,
            self._file.metadata.fingerprint,
            self._readahead,
            self.tell(),
        )

    def advance(self, read: Callable[[int, _Argument], _Result], argument: _Argument) -> _Result:
        """Return what a read returns, and move behind its bytes.

        If the read raises, the position stays. The same holds for an exception out of a signal
        handler at any point.

        Args:
            read: One of the `read_...` methods. It gets the position and the argument.
            argument: The second argument of `read`.

        Returns:
            The bytes, or their number.
        """
        # Where the read began, and where it left the position.
        moved: list[int] = []
        try:
            result: _Result = self._lock.run(self._advance, read, argument, moved)
            return result
        except BaseException:
            # An interrupt after the read: the caller never gets its bytes.
            if moved:
                self._lock.run(self._move_back, *moved)
            raise

    def _move_back(self, start: int, end: int) -> None:
        """Undo the move of a read, unless another thread has moved the position since."""
        if self.position == end and not self.closed:
            if self.places is not None:
                self.places.put_back(start)
            self.position = start

    def _advance(
        self,
        read: Callable[[int, _Argument], _Result],
        argument: _Argument,
        moved: list[int],
    ) -> _Result:
        start = self._claim()
        try:
            result = read(start, argument)
            end = start + (result if isinstance(result, int) else len(result))
            moved += (start, end)
            self.position = end
            return result
        except BaseException:
            # Still under the lock: another thread's read must not be undone.
            moved.clear()
            if not self.closed:
                if self.places is not None:
                    self.places.put_back(start)
                self.position = start
            raise

    def _claim(self) -> int:
        """Hide the position from reads without the lock. Return where this read begins."""
        # Read once: a close on another thread may hide the position at any moment.
        start = self.position
        if start < 0:
            self.check_open()
            start = self._claimed  # An interrupt at the end of a read left it hidden.
        if self.places:
            start = self.places.take(start)
        self._claimed = start
        self.position = -1
        return start

    def peek(self, limit: int) -> bytes:
        """Return at most `limit` of the next bytes, from one block, without moving."""
        return self._lock.run(self._peek, limit)

    def _peek(self, limit: int) -> bytes:
        return bytes(self._view(self.tell(), limit))

    def read_part(self, start: int, count: int) -> bytes:
        """Return at most `count` bytes, from one block."""
        return bytes(self._view(start, count))

    def read_exactly(self, start: int, count: int) -> bytes:
        """Return `count` bytes, fewer only at the end of the file.

        Args:
            start: The offset of the first byte.
            count: How many bytes; -1: all to the end of the file.

        Raises:
            ValueError: `count` is less than -1, or the file is closed.
        """
        self.check_open()
        if count < -1:
            raise ValueError("read length must be non-negative or -1")
        stop = self.size if count == -1 else min(self.size, start + count)
        if start >= stop:
            return b""
        request = self._announce(start, stop)
        first = self._view_requested(start, request)
        if len(first) == stop - start:
            found = bytes(first)
        elif stop - start <= _JOIN_SIZE_BYTES:
            found = b"".join(itertools.chain([first], self._views(start + len(first), request)))
        else:
            # The stream grows as bytes come, because the size is only the portal's claim. Its
            # content is not copied at the end.
            stream = io.BytesIO()
            stream.write(first)
            del first
            for view in self._views(stream.tell() + start, request):
                stream.write(view)
                del view
            found = stream.getvalue()
        self._check_count(len(found), stop - start)
        self._announce_end(start, stop)
        return found

    def read_into(self, start: int, buffer: ReadBuffer) -> int:
        """Fill a buffer, all of it unless the file ends before. Return the number of bytes."""
        # Released at the end: the traceback of an error would keep the caller's buffer locked.
        with buffer.view as whole:
            self.check_open()
            stop = min(self.size, start + len(whole))
            if start >= stop:
                return 0
            with whole[: stop - start] as target:
                done = self._filler.fill(self._announce(start, stop), target, self._view_requested)
            self._check_count(done, stop - start)
            self._announce_end(start, stop)
            buffer.finish(done)
            return done

    def read_part_into(self, start: int, buffer: ReadBuffer) -> int:
        """Fill a buffer from one block. Return the number of bytes."""
        with buffer.view as target:
            view = self._view(start, len(target))
            target[: len(view)] = view
            buffer.finish(len(view))
            return len(view)

    def read_line(self, start: int, limit: int) -> bytes:
        """Return the bytes up to and including a line end.

        Args:
            start: The offset of the first byte.
            limit: The most bytes to return; negative: no limit.
        """
        self.check_open()
        stop = self.size if limit < 0 else min(self.size, start + limit)
        parts: list[bytes] = []
        while start < stop:
            data, low, high = self._find(start, ReadRequest(start, start, True))
            high = min(high, low + stop - start)
            end = data.find(b"\n", low, high) + 1
            parts.append(data[low : end or high])
            if end:
                break
            start += high - low
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def line_batch(self) -> tuple[int, Iterator[tuple[int, bytes]]]:
        """Return the position, and the lines that the block has from there.

        Returns:
            The position, and an iterator over pairs: the offset past the end of a line, and the line.
        """
        return self._lock.run(self._line_batch)

    def _line_batch(self) -> tuple[int, Iterator[tuple[int, bytes]]]:
        start, block = self.position, self.block
        data, low = block.data, start - block.start
        if self.places or data is None or not 0 <= low < block.length:
            return start, iter(())
        stop = data.rfind(b"\n", low, low + _LINE_BATCH_BYTES) + 1
        block.used = True
        lines = io.BytesIO(data[low:stop]).readlines() if stop else []
        ends = itertools.accumulate(map(len, lines), initial=start)
        next(ends)
        return start, zip(ends, lines)

    # --- views of blocks, under the lock -------------------------------------------------------------

    def _views(self, start: int, request: ReadRequest) -> Iterator[memoryview]:
        """Yield the bytes from `start` to the end of the request, block by block."""
        while start < request.stop:
            view = self._view_requested(start, request)
            start += len(view)
            yield view
            del view

    def _view(self, start: int, limit: int) -> memoryview:
        """Return at most `limit` bytes from `start` on, from one block."""
        self.check_open()
        if start >= self.size or not limit:
            return memoryview(b"")
        return self._view_requested(start, ReadRequest(start, start, True))[:limit]

    def _view_requested(self, start: int, request: ReadRequest) -> memoryview:
        data, low, high = self._find(start, request)
        if request.stop > start:
            high = min(high, low + request.stop - start)
        return memoryview(data)[low:high]

    def _find(self, start: int, request: ReadRequest) -> tuple[bytes, int, int]:
        """Return the bytes of the block at `start`, the index of `start` in them, and their number."""
        block = self.block
        data = block.data
        if data is None or not block.start <= start < block.start + block.length:
            self.block = NO_BLOCK
            block, data = self._enter(start, request)
            self.block = block
            if self.closed:
                self.block = NO_BLOCK
                raise ValueError("I/O operation on closed file")
        return data, start - block.start, block.length

    def _check_count(self, count: int, expected: int) -> None:
        """Check once more, independent of everything below, that a read is whole."""
        if count != expected:
            raise DirectIOError(
                f"A read returned {count} of {expected} bytes: please report this",
                self._file.file_id,
            )

    # --- what to fetch when --------------------------------------------------------------------------

    def _announce(self, start: int, stop: int) -> ReadRequest:
        if stop - start <= SMALL_READ_BYTES:
            return ReadRequest(start, stop, True)
        # Between two reads of a sequential reader there may be a header, but no column of a table.
        return ReadRequest(start, stop, 0 <= start - self.read_until <= _HEADER_SIZE_BYTES)

    def _announce_end(self, start: int, stop: int) -> None:
        if stop - start > SMALL_READ_BYTES:
            self.read_until = stop

    def _enter(self, start: int, request: ReadRequest) -> tuple[CachedBlock, bytes]:
        """Return the block that the reader comes to, and begin those that are likely to be next."""
        try:
            piece = self._cache.piece_at(start)
            self._window.enter(piece, request)
            ahead_until = piece.offset + piece.length + self._window.nbytes
            return self._cache.read(piece, max(ahead_until, request.stop))
        except StopIteration as error:
            # The user's session may raise it. Out of `__next__` it would mean the end of the file.
            raise RuntimeError("a block's download raised StopIteration") from error


# --- fork --------------------------------------------------------------------------------------------

_files: weakref.WeakSet[RawDirectFile] = weakref.WeakSet()


def _forget_parent() -> None:
    """In a forked child: no thread of the parent is here to release a lock."""
    for file in list(_files):
        file.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
