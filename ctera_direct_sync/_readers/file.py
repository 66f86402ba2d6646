"""What `DirectIO.open` returns: a buffered reader over one file on the portal."""

from __future__ import annotations

import io
import operator
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, SupportsIndex

from .duckdb import duckdb_positions
from .listed_file import ListedFile
from .pickled_file import OpenPickled, PickledFile
from .raw_file import SMALL_READ_BYTES, PickledState, RawDirectFile
from .read_buffer import ReadBuffer

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from .._core import ClientCore

__all__ = ["DirectFile", "SharedFile", "open_file", "open_shared_file"]

#: `read1()` without a size returns at most this many bytes, as a buffered file on disk does.
_READ1_SIZE_BYTES = 64 * 1024

#: Whether threads and signal handlers can run only at a call or a jump. Then reads within one block
#: need no lock, which costs half of their time. They compare the position with what they found, and
#: move it.
_HAS_ATOMIC_STEPS = (
    sys.implementation.name == "cpython"
    and sys.version_info >= (3, 11)
    and getattr(sys, "_is_gil_enabled", lambda: True)()
)


class DirectFile(io.BufferedReader):
    """A buffered binary reader over one file: what `DirectIO.open` returns.

    A read returns all bytes that it was asked for, fewer only at the end of the file, or raises. A read
    that raises does not move the position, so the next one tries again.

    Threads may share a file, as they may share a file on disk. It has one position. Threads that read
    at different positions should each open the file. `name` is the file ID, as text.

    Args:
        raw: The unbuffered file.
    """

    def __init__(self, raw: RawDirectFile) -> None:
        # The buffer of the base class is never used: one byte is the smallest.
        super().__init__(raw, 1)
        self._raw_file = raw

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._raw_file.size

    def read(self, size: SupportsIndex | None = -1, /) -> bytes:
        """Return the next bytes.

        Args:
            size: How many bytes; None or -1: all to the end of the file.

        Returns:
            The bytes: `size` of them, fewer only at the end of the file.
        """
        raw = self._raw_file
        count = -1 if size is None else operator.index(size)
        if _HAS_ATOMIC_STEPS and not raw.places:
            start, block = raw.position, raw.block
            data, low = block.data, start - block.start
            if data is not None and low >= 0 and 0 < count <= block.length - low:
                found, stop = data[low : low + count], start + count
                block.used = True
                # See _HAS_ATOMIC_STEPS: no call may come between the comparison and the return.
                if raw.position == start:
                    if count > SMALL_READ_BYTES:
                        raw.read_until = stop
                    raw.position = stop
                    return found
        return raw.advance(raw.read_exactly, count)

    def read1(self, size: SupportsIndex = -1, /) -> bytes:
        """Return bytes of one block, at least one before the end of the file.

        Args:
            size: The most bytes. -1: as many as the file finds useful.
        """
        raw, count = self._raw_file, operator.index(size)
        return raw.advance(raw.read_part, _READ1_SIZE_BYTES if count < 0 else count)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer, all of it unless the file ends before.

        Of a large read, whole blocks that the file does not hold are decoded straight into the buffer,
        in parallel, and the file does not keep them. If the read raises, the content of the buffer is
        undefined.

        Args:
            buffer: The writable buffer.

        Returns:
            The number of bytes.
        """
        raw = self._raw_file
        return raw.advance(raw.read_into, ReadBuffer.over(buffer))

    def readinto1(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer from one block.

        Args:
            buffer: The writable buffer.

        Returns:
            The number of bytes.
        """
        raw = self._raw_file
        return raw.advance(raw.read_part_into, ReadBuffer.over(buffer))

    def readline(self, size: SupportsIndex | None = -1, /) -> bytes:
        """Return the next line, with its end.

        Args:
            size: The most bytes to return; None or -1: no limit.
        """
        raw = self._raw_file
        if _HAS_ATOMIC_STEPS and size == -1 and not raw.places:
            start, block = raw.position, raw.block
            data, low = block.data, start - block.start
            if data is not None and 0 <= low < block.length:
                stop = data.find(b"\n", low) + 1
                if stop:
                    found, stop = data[low:stop], stop + block.start
                    block.used = True
                    # As in `read`.
                    if raw.position == start:
                        raw.position = stop
                        return found
        return raw.advance(raw.read_line, -1 if size is None else operator.index(size))

    def readlines(self, hint: SupportsIndex | None = -1, /) -> list[bytes]:
        """Return the lines up to the end of the file.

        Args:
            hint: Stop after the line that brings the total to this many bytes; None or -1: no limit.
        """
        start = self.tell()
        try:
            return super().readlines(-1 if hint is None else operator.index(hint))
        except BaseException:
            if not self.closed:
                self.seek(start)
            raise

    def peek(self, size: SupportsIndex = 0, /) -> bytes:
        """Return some of the next bytes, at least one before the end of the file, without moving.

        Args:
            size: How many bytes are wanted. The result may be shorter or longer.
        """
        raw = self._raw_file
        return raw.peek(max(operator.index(size), io.DEFAULT_BUFFER_SIZE))

    def __iter__(self) -> Iterator[bytes]:
        self._raw_file.check_open()
        return self._lines()

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def tell(self) -> int:
        """Return the offset of the next byte to read."""
        return self._raw_file.tell()

    def seek(self, offset: SupportsIndex, whence: SupportsIndex = os.SEEK_SET, /) -> int:
        """Move to another position. Nothing is fetched before the next read.

        Args:
            offset: Bytes from the origin. A position past the end is allowed, and reads nothing.
            whence: The origin: `os.SEEK_SET`, `os.SEEK_CUR` or `os.SEEK_END`.

        Returns:
            The new position.

        Raises:
            OSError: The position would lie before the beginning (EINVAL).
            ValueError: `whence` is something else, or the file is closed.
        """
        return self._raw_file.seek(offset, whence)

    def detach(self) -> io.RawIOBase:
        """Return the raw file, which stays open. This object can no longer be used."""
        raw = super().detach()
        self._raw_file = _DetachedFile()
        return raw

    def close(self) -> None:
        """Give back the memory, and cancel what is fetched ahead. A waiting read raises ValueError."""
        # The close method of the base class would only add a lock that a forked child may find held.
        raw = self._raw_file
        if isinstance(raw, _DetachedFile):
            raise ValueError("raw stream has been detached")
        # The base class sets `_finalizing` if the collector closes the file.
        raw.note_finalizing(getattr(self, "_finalizing", False))
        raw.close()

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Pickle the file so that it opens again at the same position, with an equal client."""
        return self.__reduce__()

    def __reduce__(self) -> Any:
        return _reopen, tuple(self._raw_file.pickled_state())

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines. The position is behind the line that was yielded last."""
        raw = self._raw_file
        while True:
            expected, batch = raw.line_batch() if _HAS_ATOMIC_STEPS else (0, ())
            for stop, line in batch:
                # The consumer, or another thread, may have read or moved meanwhile. As in `read`.
                if raw.position != expected:
                    break
                raw.position = expected = stop
                yield line
            else:
                line = self.readline()
                if not line:
                    return
                yield line


class SharedFile(DirectFile):
    """A `DirectFile` that DuckDB's threads can share: what fsspec opens.

    It has one position, as every file has. Only DuckDB's threads have their own (see
    `DuckDBPositions`).
    """


def open_file(
    file: ListedFile, readahead: int | None = None, client: ClientCore | None = None
) -> DirectFile:
    """Open a file.

    Args:
        file: The file, whose block list is complete.
        readahead: The most bytes to fetch ahead, 0 for none; None: half of the memory.
        client: The client that the file belongs to; with it, the result can be pickled.
    """
    return DirectFile(RawDirectFile(file, readahead, client=client))


def open_shared_file(
    file: ListedFile, readahead: int | None = None, client: ClientCore | None = None
) -> SharedFile:
    """Open a file for fsspec. If DuckDB is in the process, its threads get positions of their own.

    Args:
        file: The file, whose block list is complete.
        readahead: The most bytes to fetch ahead, 0 for none; None: half of the memory.
        client: The client that the file belongs to; with it, the result can be pickled.
    """
    return SharedFile(RawDirectFile(file, readahead, client=client, places=duckdb_positions()))


class _DetachedFile(RawDirectFile):
    """The raw file of a `DirectFile` that was detached: each use raises ValueError."""

    def __init__(self) -> None:
        io.RawIOBase.__init__(self)
        self.size = 0
        self.position = self._claimed = -1
        self.places = None
        self.forget_parent()

    def check_open(self) -> None:
        """Raise ValueError."""
        raise ValueError("raw stream has been detached")

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


def _reopen(*state: Any) -> DirectFile:
    """Return a file that was pickled, at its old position. It is opened at its first use.

    Args:
        *state: The fields of `PickledState`.
    """
    pickled = PickledState(*state)
    raw = PickledFile(pickled.file_id, pickled.position, pickled.readahead, OpenPickled(pickled))
    return DirectFile(raw)
