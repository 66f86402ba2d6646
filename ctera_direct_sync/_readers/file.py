"""A file in the portal as a seekable, read-only Python file.

The decoded block that the reader stands in is the buffer: nothing is copied before a read asks for it.
The position moves only when a read has all its bytes, as the last step. So a read that fails, or that
an exception out of a signal handler ends, leaves the position where it was.

Reading on from block to block makes the next blocks be fetched ahead, more of them each time; reading
elsewhere stops that. A single large read fetches the blocks that it spans at once.
"""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import operator
import os
import pickle
import sys
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    NamedTuple,
    Optional,
    SupportsIndex,
    TypeVar,
)

from .._protocol.ranges import Piece
from ..exceptions import DirectIOError
from .file_cache import NO_BLOCK, BlockCache, CachedBlock
from .listed_file import ListedFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from ..client import DirectIO

_Argument = TypeVar("_Argument")
#: What a read returns: bytes, or the number of those that it wrote into a buffer.
_Found = TypeVar("_Found", bytes, int)

__all__ = [
    "DirectFile",
    "Opened",
    "PickledFile",
    "RawDirectFile",
    "SharedFile",
    "open_file",
    "open_shared_file",
]

#: A gap as small as this between two reads is not a jump.
_HEADER_SIZE_BYTES = 4 * 1024
#: Smaller reads than this do not tell how the file is read.
_SMALL_READ_BYTES = 1024
#: `read1()` and an iteration take at most so much at a time, as a buffered file on disk does.
_CHUNK_SIZE_BYTES = 64 * 1024
#: Up to this size a read that spans blocks joins views of them; a larger one never holds them all.
_JOIN_SIZE_BYTES = 1024 * 1024

#: Whether threads and signal handlers can run only at a call or a jump. Then reads within one block need
#: no lock, which costs half of their time: they compare the position with what they found, and move it.
_HAS_ATOMIC_STEPS = (
    sys.implementation.name == "cpython"
    and sys.version_info >= (3, 11)
    and getattr(sys, "_is_gil_enabled", lambda: True)()
)


class DirectFile(io.BufferedReader):
    """A buffered binary reader over one file: what `DirectIO.open` returns.

    A read returns all bytes that it was asked for, fewer only at the end of the file, or raises. A read
    that raises does not move the position: the next one tries again.

    Threads may share a file as they may share one on disk. It has one position, so threads that read at
    places of their own open the file each. `name` is the file ID, as text.
    """

    def __init__(self, raw: RawDirectFile) -> None:
        # The buffer of the base class is never used: one byte is the smallest.
        super().__init__(raw, 1)
        self._raw_file = raw

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._raw_file.size

    def read(self, size: Optional[SupportsIndex] = -1, /) -> bytes:
        """Return the next `size` bytes, fewer only at the end of the file; None or -1: all to the end."""
        raw = self._raw_file
        count = -1 if size is None else operator.index(size)
        if _HAS_ATOMIC_STEPS and not raw._places:
            start, block = raw._position, raw._block
            data, low = block.data, start - block.start
            if data is not None and low >= 0 and 0 < count <= block.length - low:
                found, stop = data[low : low + count], start + count
                block.used = True
                # See _HAS_ATOMIC_STEPS: no call may come between the comparison and the return.
                if raw._position == start:
                    if count > _SMALL_READ_BYTES:
                        raw._read_until = stop
                    raw._position = stop
                    return found
        return raw._advance(raw._read, count)

    def read1(self, size: SupportsIndex = -1, /) -> bytes:
        """Return at most `size` bytes, and at least one before the end; as many as one block has."""
        raw, count = self._raw_file, operator.index(size)
        return raw._advance(raw._read_part, _CHUNK_SIZE_BYTES if count < 0 else count)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer`, all of it unless the file ends before. Return the number of bytes."""
        raw = self._raw_file
        return raw._advance(raw._read_into, _bytes_of(buffer))

    def readinto1(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer` as far as one block has the bytes. Return the number of bytes."""
        raw = self._raw_file
        return raw._advance(raw._read_part_into, _bytes_of(buffer))

    def readline(self, size: Optional[SupportsIndex] = -1, /) -> bytes:
        """Return the bytes up to and with the next line end, at most `size`; None or -1: no limit."""
        raw = self._raw_file
        if _HAS_ATOMIC_STEPS and size == -1 and not raw._places:
            start, block = raw._position, raw._block
            data, low = block.data, start - block.start
            if data is not None and 0 <= low < block.length:
                stop = data.find(b"\n", low) + 1
                if stop:
                    found, stop = data[low:stop], stop + block.start
                    block.used = True
                    # As in `read`.
                    if raw._position == start:
                        raw._position = stop
                        return found
        return raw._advance(raw._read_line, -1 if size is None else operator.index(size))

    def readlines(self, hint: Optional[SupportsIndex] = -1, /) -> list[bytes]:
        """Return the lines up to the end of the file; with `hint`, until they have so many bytes."""
        start = self.tell()
        try:
            return super().readlines(-1 if hint is None else operator.index(hint))
        except BaseException:
            if not self.closed:
                self.seek(start)
            raise

    def peek(self, size: SupportsIndex = 0, /) -> bytes:
        """Return some of the bytes that come next, at least one before the end, without moving."""
        raw = self._raw_file
        return raw._peek(max(operator.index(size), io.DEFAULT_BUFFER_SIZE))

    def __iter__(self) -> Iterator[bytes]:
        self._raw_file._check_open()
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
        """Move to another position, and return it. Nothing is fetched before the next read.

        Args:
            offset: Bytes from where `whence` says. Past the end is allowed, and reads nothing.
            whence: `os.SEEK_SET`, `os.SEEK_CUR` or `os.SEEK_END`.

        Raises:
            OSError: The position would lie before the beginning (EINVAL).
            ValueError: `whence` is something else, or the file is closed.
        """
        return self._raw_file.seek(offset, whence)

    def detach(self) -> io.RawIOBase:
        """Return the raw file, which lives on; this object cannot be used any more."""
        raw = super().detach()
        self._raw_file = _DetachedFile()
        return raw

    def close(self) -> None:
        """Give back the memory and end what is fetched ahead. A read that waits in a thread raises."""
        # The base class has nothing more to close, and a lock that a forked child may find held.
        raw = self._raw_file
        if isinstance(raw, _DetachedFile):
            raise ValueError("raw stream has been detached")
        raw._finalizing = raw._finalizing or getattr(self, "_finalizing", False)
        raw.close()

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Pickle as what opens the same file at the same position, with an equal client."""
        return self._raw_file._reduce()

    def __reduce__(self) -> Any:
        return self._raw_file._reduce()

    def _lines(self) -> Iterator[bytes]:
        """Yield line by line, with the position behind the line that was yielded last."""
        raw = self._raw_file
        while True:
            expected, batch = raw._line_batch() if _HAS_ATOMIC_STEPS else (0, ())
            for stop, line in batch:
                # The consumer, or another thread, may have read or moved meanwhile. As in `read`.
                if raw._position != expected:
                    break
                raw._position = expected = stop
                yield line
            else:
                line = self.readline()
                if not line:
                    return
                yield line


class SharedFile(DirectFile):
    """What fsspec opens: a `DirectFile` that DuckDB's threads can share.

    It has one position, as every file has. Only DuckDB is served otherwise (see `_DuckDBPlaces`).
    """


def open_file(
    source: ListedFile, readahead: Optional[int] = None, client: Optional[DirectIO] = None
) -> DirectFile:
    """Return a file over `source`.

    Args:
        source: The file, listed whole.
        readahead: Most bytes to fetch ahead, 0 for none.
        client: Whose file it is; with it, the file can be pickled.
    """
    return DirectFile(RawDirectFile(source, readahead, client=client))


def open_shared_file(
    source: ListedFile, readahead: Optional[int] = None, client: Optional[DirectIO] = None
) -> SharedFile:
    """Return the same for fsspec: DuckDB reads it right where DuckDB is in the process."""
    return SharedFile(RawDirectFile(source, readahead, client=client, places=_duckdb_places()))


class RawDirectFile(io.RawIOBase):
    """The unbuffered file: the position, and what to fetch when.

    Args:
        source: The file, listed whole.
        readahead: Most bytes to fetch ahead, 0 for none; None: half of the memory.
        client: Whose file it is; with it, the file can be pickled.
        places: Where DuckDB's threads are.
    """

    mode = "rb"
    #: Set by the base class where the collector, not the program, closes the file.
    _finalizing = False

    def __init__(
        self,
        source: ListedFile,
        readahead: Optional[int] = None,
        *,
        client: Optional[DirectIO] = None,
        places: Optional[_DuckDBPlaces] = None,
    ) -> None:
        self._stand_at(0, source.file_id, readahead, places)
        self._set_source(source, client)

    def _stand_at(
        self,
        position: int,
        file_id: int,
        readahead: Optional[int],
        places: Optional[_DuckDBPlaces],
    ) -> None:
        """Set what a file has before it is listed."""
        super().__init__()
        # As text: programs take an integer for a file descriptor.
        self.name = str(file_id)
        self._lease: Optional[_ClientLease] = None
        self._readahead = readahead
        self._places = places
        # While a read holds the lock, the position is negative, and `_claimed` is where the read began.
        self._position = position
        self._claimed = position
        self._last: Optional[Piece] = None
        self._ahead = 0
        self._read_until = 0
        self.forget_parent()
        _files.add(self)

    def _set_source(self, source: ListedFile, client: Optional[DirectIO]) -> None:
        """Set what a file has once it is listed."""
        readahead = self._readahead
        self._most_ahead = source.memory // 2 if readahead is None else operator.index(readahead)
        self._client = client
        self._cache = BlockCache(source)
        self._source = source
        self.size = source.metadata.size

    def forget_parent(self) -> None:
        """In a forked child: a thread that is not here may hold the lock, amid a read."""
        # Re-entrant only so that `_exclusively` can ask whose it is.
        self._lock = threading.RLock()
        self._block = NO_BLOCK
        if self._position < 0:
            self._position = self._claimed

    # --- what io.RawIOBase has -------------------------------------------------------------------------

    def readable(self) -> bool:
        """Return True."""
        self._check_open()
        return True

    def seekable(self) -> bool:
        """Return True: seeking is free, nothing is fetched before the next read."""
        self._check_open()
        return True

    def tell(self) -> int:
        """Return the offset of the next byte to read."""
        self._check_open()
        position = self._position
        if position < 0:  # Another thread reads.
            position = self._claimed
        return position if self._places is None else self._places.tell(position)

    def seek(self, offset: SupportsIndex, whence: SupportsIndex = os.SEEK_SET, /) -> int:
        """Move to another position, and return it; see `DirectFile.seek`."""
        distance, base = operator.index(offset), operator.index(whence)
        size = self.size if base == os.SEEK_END else 0
        with self._exclusively():
            bases = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: size}
            if base not in bases:
                raise ValueError(f"whence {base} is none of SEEK_SET, SEEK_CUR, SEEK_END")
            position = bases[base] + distance
            if position < 0:
                raise OSError(errno.EINVAL, "cannot seek to before the beginning of the file")
            if self._places is not None:
                self._places.note(position)
            self._position = position
            return position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer` as far as one block has the bytes. Return the number of bytes, 0 at the end."""
        return self._advance(self._read_part_into, _bytes_of(buffer))

    def readall(self) -> bytes:
        """Return all bytes from the position to the end of the file."""
        return self._advance(self._read, -1)

    def close(self) -> None:
        """Give back the memory and end what is being fetched."""
        if not self.closed:
            self._cache.close()
            self._block = NO_BLOCK
            # What reads without the lock finds no position.
            self._position = -1
            lease, self._lease = self._lease, None
            super().close()
            if lease is not None:
                lease.end(at_once=not self._finalizing)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Raise TypeError: `DirectFile` can be pickled."""
        raise TypeError("cannot pickle a raw file: pickle what DirectIO.open returned")

    # --- reading, under the lock ------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _exclusively(self) -> threading.RLock:
        """Return the lock, to be used in a `with` statement. RuntimeError amid a read of this thread."""
        if self._lock._is_owned():  # type: ignore[attr-defined]
            raise RuntimeError("a signal handler used a file amid a read of it: use it elsewhere")
        return self._lock

    def _advance(self, read: Callable[[int, _Argument], _Found], argument: _Argument) -> _Found:
        """Return what `read(start, argument)` does, bytes or their number, and move behind them.

        What it raises leaves the position as it was, and so does an exception out of a signal handler
        at any point.
        """
        with self._exclusively():
            start = self._claim()
            try:
                found = read(start, argument)
                self._position = start + (found if isinstance(found, int) else len(found))
                return found
            except BaseException:
                # Under the lock still: another thread's read must not be undone.
                if not self.closed:
                    if self._places is not None:
                        self._places.put_back(start)
                    self._position = start
                raise

    def _claim(self) -> int:
        """Take the position away from reads without the lock. Return where this read begins."""
        start = self._position
        if start < 0:
            self._check_open()
            start = self._claimed  # An interrupt amid the end of a read left it.
        if self._places:
            start = self._places.take(start)
        self._claimed = start
        self._position = -1
        return start

    def _peek(self, limit: int) -> bytes:
        with self._exclusively():
            return bytes(self._view(self.tell(), limit))

    def _read_part(self, start: int, count: int) -> bytes:
        """Return at most `count` bytes, as many as one block has."""
        return bytes(self._view(start, count))

    def _read(self, start: int, count: int) -> bytes:
        """Return exactly the `count` bytes from `start` on that the file has; -1: all."""
        self._check_open()
        if count < -1:
            raise ValueError("read length must be non-negative or -1")
        stop = self.size if count == -1 else min(self.size, start + count)
        if start >= stop:
            return b""
        asked = self._announce(start, stop)
        first = self._view_asked(start, asked)
        if len(first) == stop - start:
            found = bytes(first)
        elif stop - start <= _JOIN_SIZE_BYTES:
            found = b"".join(itertools.chain([first], self._views(start + len(first), asked)))
        else:
            # It grows as bytes come: the size is what the portal says. Its content is not copied.
            target = io.BytesIO()
            target.write(first)
            del first
            for view in self._views(target.tell() + start, asked):
                target.write(view)
                del view
            found = target.getvalue()
        self._check_count(len(found), stop - start)
        self._announce_end(start, stop)
        return found

    def _read_into(self, start: int, target: _Target) -> int:
        """Fill `target` from `start` on as far as the file goes. Return the number of bytes."""
        self._check_open()
        buffer = target.view
        stop = min(self.size, start + len(buffer))
        if start >= stop:
            return 0
        done = 0
        for view in self._views(start, self._announce(start, stop)):
            buffer[done : done + len(view)] = view
            done += len(view)
        self._check_count(done, stop - start)
        self._announce_end(start, stop)
        target.finish(done)
        return done

    def _read_part_into(self, start: int, target: _Target) -> int:
        """Fill `target` as far as one block has the bytes. Return their number."""
        view = self._view(start, len(target.view))
        target.view[: len(view)] = view
        target.finish(len(view))
        return len(view)

    def _read_line(self, start: int, limit: int) -> bytes:
        """Return the bytes from `start` on up to a line end, at most `limit` of them if it is >= 0."""
        self._check_open()
        stop = self.size if limit < 0 else min(self.size, start + limit)
        parts: list[bytes] = []
        while start < stop:
            data, low, high = self._find(start, _Asked(start, start, True))
            high = min(high, low + stop - start)
            end = data.find(b"\n", low, high) + 1
            parts.append(data[low : end or high])
            if end:
                break
            start += high - low
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _line_batch(self) -> tuple[int, Iterator[tuple[int, bytes]]]:
        """Return the position, and the lines that the block has from there, each with where it ends."""
        with self._exclusively():
            start, block = self._position, self._block
            data, low = block.data, start - block.start
            if self._places or data is None or not 0 <= low < block.length:
                return start, iter(())
            stop = data.rfind(b"\n", low, low + _CHUNK_SIZE_BYTES) + 1
            block.used = True
        lines = io.BytesIO(data[low:stop]).readlines() if stop else []
        ends = itertools.accumulate(map(len, lines), initial=start)
        next(ends)
        return start, zip(ends, lines)

    def _views(self, start: int, asked: _Asked) -> Iterator[memoryview]:
        """Yield the bytes from `start` to the end of what was asked for, block by block."""
        while start < asked.stop:
            view = self._view_asked(start, asked)
            start += len(view)
            yield view
            del view

    def _view(self, start: int, limit: int) -> memoryview:
        """Return at most `limit` bytes from `start` on, as far as they lie in one block."""
        self._check_open()
        if start >= self.size or not limit:
            return memoryview(b"")
        return self._view_asked(start, _Asked(start, start, True))[:limit]

    def _view_asked(self, start: int, asked: _Asked) -> memoryview:
        data, low, high = self._find(start, asked)
        if asked.stop > start:
            high = min(high, low + asked.stop - start)
        return memoryview(data)[low:high]

    def _find(self, start: int, asked: _Asked) -> tuple[bytes, int, int]:
        """Return the block that holds the byte at `start`, where in it that is, and the block's length."""
        block = self._block
        data = block.data
        if data is None or not block.start <= start < block.start + block.length:
            self._block = NO_BLOCK
            block, data = self._enter(start, asked)
            self._block = block
            if self.closed:
                self._block = NO_BLOCK
                raise ValueError("I/O operation on closed file")
        return data, start - block.start, block.length

    def _check_count(self, count: int, expected: int) -> None:
        """Check once more, independent of everything below, that a read is whole."""
        if count != expected:
            raise DirectIOError(
                f"A read returned {count} of {expected} bytes: please report this",
                self._source.file_id,
            )

    # --- what to fetch when ------------------------------------------------------------------------------

    def _announce(self, start: int, stop: int) -> _Asked:
        if stop - start <= _SMALL_READ_BYTES:
            return _Asked(start, stop, True)
        # Between two reads of a reader that goes on there may be a header, but no column of a table.
        return _Asked(start, stop, 0 <= start - self._read_until <= _HEADER_SIZE_BYTES)

    def _announce_end(self, start: int, stop: int) -> None:
        if stop - start > _SMALL_READ_BYTES:
            self._read_until = stop

    def _enter(self, start: int, asked: _Asked) -> tuple[CachedBlock, bytes]:
        """Return the block that the reader comes to, with those that are likely to be next begun."""
        try:
            piece = self._cache.piece_at(start)
            self._judge(piece, asked)
            ahead = piece.offset + piece.length + self._ahead
            return self._cache.read(piece, max(ahead, asked.stop))
        except StopIteration as error:
            # Raised by a session of the user's, say: out of `__next__` it would mean the end of the file.
            raise RuntimeError("a block's download raised StopIteration") from error

    def _judge(self, piece: Piece, asked: _Asked) -> None:
        """Decide how much to read ahead from `piece` on: more if this is reading on, else nothing."""
        last, self._last = self._last, piece
        if last is not None and piece.offset == last.offset + last.length:
            # The blocks of one large read that was a jump tell nothing about the next read.
            if asked.reads_on or not asked.start <= piece.offset < asked.stop:
                self._ahead = min(self._most_ahead, max(2 * self._ahead, piece.length))
        elif piece.offset in self._cache.unread:
            self._cache.cancel_ahead(before=piece.offset)
        elif last is None or piece.offset != last.offset:
            self._ahead = 0
            self._cache.cancel_ahead()

    # --- pickling -----------------------------------------------------------------------------------------

    def _reduce(self) -> Any:
        self._check_open()
        client = self._client
        if client is None:
            raise TypeError("cannot pickle this file: open it where it is read, with the file ID")
        metadata = self._source.metadata
        arguments = (self._source.file_id, metadata.fingerprint, self._readahead, self.tell())
        return _reopen, (type(client), client.__getstate__(), *arguments)


class Opened(NamedTuple):
    """What opening a file gives: where its bytes come from, and the client that is used for it."""

    source: ListedFile
    client: DirectIO
    lease: Optional[_ClientLease] = None


class PickledFile(RawDirectFile):
    """A file that was pickled. It is opened at its first use, and what goes wrong is raised there.

    An error amid the loading of a pickle ends the connections of Dask's workers, for example: the
    program that waits for them then waits for ever. A use that fails leaves the next one to try again.

    Args:
        file_id: The file.
        position: Where it stood.
        readahead: As it was opened with.
        open_again: Lists the file. It raises DirectIOError (ESTALE) if the file has changed.
        is_shared: Whether fsspec opened it.
    """

    def __init__(
        self,
        file_id: int,
        position: int,
        readahead: Optional[int],
        open_again: Callable[[], Opened],
        is_shared: bool = False,
    ) -> None:
        self._open_again: Optional[Callable[[], Opened]] = open_again
        self._stand_at(position, file_id, readahead, _duckdb_places() if is_shared else None)

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        self.open()
        return self._size

    @size.setter
    def size(self, size: int) -> None:
        self._size = size

    @property
    def is_open(self) -> bool:
        """Whether the file was opened."""
        return self._open_again is None

    def open(self) -> None:
        """Open the file, unless that was done."""
        if not self.is_open:
            with self._exclusively():
                self._open()

    def close(self) -> None:
        """Give back the memory and end what is being fetched."""
        if not self.is_open:
            self._position = -1
            io.RawIOBase.close(self)
        else:
            super().close()

    def _open(self) -> None:
        """Open the file, under the lock."""
        self._check_open()
        if self._open_again is None:
            return
        opened = self._open_again()
        self._set_source(opened.source, opened.client)
        self._lease, self._open_again = opened.lease, None
        if self.closed:  # By another thread meanwhile.
            self._cache.close()
            if opened.lease is not None:
                opened.lease.end()

    def _claim(self) -> int:
        self._open()
        return super()._claim()

    def _peek(self, limit: int) -> bytes:
        self.open()
        return super()._peek(limit)

    def _reduce(self) -> Any:
        again = self._open_again
        if not isinstance(again, _OpenAgain):
            return super()._reduce()
        self._check_open()
        arguments = (again.file_id, again.fingerprint, again.readahead, self.tell())
        return _reopen, (again.kind, again.state, *arguments)


class _DetachedFile(RawDirectFile):
    """Stands for the raw file of a `DirectFile` that was detached: each use is a ValueError."""

    def __init__(self) -> None:
        io.RawIOBase.__init__(self)
        self.size = 0
        self._position = self._claimed = -1
        self._places = None
        self._lease = None
        self.forget_parent()

    def _check_open(self) -> None:
        raise ValueError("raw stream has been detached")

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


class _Asked(NamedTuple):
    """A read: its first byte, the one past its last, and whether it goes on where one ended before."""

    start: int
    stop: int
    reads_on: bool


# --- buffers ----------------------------------------------------------------------------------------------


class _Target(NamedTuple):
    """A buffer to read into, as bytes; `aside` if it can only be filled as a whole, by `finish`."""

    view: memoryview
    aside: Optional[WriteableBuffer]

    def finish(self, count: int) -> None:
        if self.aside is not None:
            io.BytesIO(self.view[:count]).readinto(self.aside)


def _bytes_of(buffer: WriteableBuffer) -> _Target:
    view = memoryview(buffer)
    if view.readonly:
        raise TypeError(f"a buffer to read into must be writable, not {type(buffer).__name__}")
    if not view.nbytes:
        return _Target(memoryview(bytearray()), None)
    try:
        return _Target(view.cast("B"), None)
    except (TypeError, ValueError):
        # Items that memoryview cannot cast, such as those of big-endian numbers.
        if not view.c_contiguous:
            raise
        return _Target(memoryview(bytearray(view.nbytes)), buffer)


# --- DuckDB -----------------------------------------------------------------------------------------------


class _DuckDBPlaces:
    """Where each of DuckDB's threads has moved a file that they share.

    DuckDB calls `seek` and then `read` from several threads, with no lock in between, and means the
    read to be from where the same thread moved. No other program does: pyarrow holds a lock. What tells
    DuckDB apart is that threads of its own call, which run no Python function beneath the call. Until
    one does, nothing here has an effect; then the thread that runs the query is one of them, too.
    """

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self._serves_duckdb = False

    def __bool__(self) -> bool:
        """Whether the next read needs a look."""
        return bool(self._places)

    def note(self, position: int) -> None:
        """The calling thread moved to `position`."""
        self._serves_duckdb = self._serves_duckdb or _is_native_thread()
        self._places[threading.get_ident()] = position

    def tell(self, position: int) -> int:
        """Return where the calling thread would read, in a file that stands at `position`."""
        if not self._serves_duckdb:
            return position
        return self._places.get(threading.get_ident(), position)

    def take(self, position: int) -> int:
        """Return where the calling thread reads, in a file that stands at `position`; once."""
        self._serves_duckdb = self._serves_duckdb or _is_native_thread()
        place = self._places.pop(threading.get_ident(), None)
        if self._serves_duckdb and place is not None:
            return place
        # The file goes on from where it stands, whichever thread reads.
        self._places.clear()
        return position

    def put_back(self, position: int) -> None:
        """Undo :meth:`take`: the read failed."""
        if self._serves_duckdb:
            self._places[threading.get_ident()] = position


def _duckdb_places() -> Optional[_DuckDBPlaces]:
    """Return places for DuckDB's threads if DuckDB is in the process, else None."""
    return None if sys.modules.keys().isdisjoint(("duckdb", "_duckdb")) else _DuckDBPlaces()


def _is_native_thread() -> bool:
    """Return whether no Python function of the program's is beneath the call, on this thread."""
    frame = sys._getframe(1)
    package = __name__.partition(".")[0]
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame = frame.f_back  # type: ignore[assignment]
    return frame is None


# --- pickling ---------------------------------------------------------------------------------------------


class _ClientLease:
    """A client that the unpickled files of a process share, closed with the last of them."""

    _lock = threading.Lock()
    _clients: ClassVar[dict[bytes, tuple[DirectIO, list[_ClientLease]]]] = {}
    #: Of files that the collector closed: it may do so while a thread holds the lock.
    _forgotten: ClassVar[deque[_ClientLease]] = deque()

    def __init__(self, kind: type[DirectIO], state: dict[str, Any]) -> None:
        self._key = hashlib.sha256(pickle.dumps((kind, state))).digest()
        made = kind.__new__(kind)
        made.__setstate__(state)
        with self._lock:
            self.client, leases = self._clients.setdefault(self._key, (made, []))
            leases.append(self)
        self._end_forgotten()

    def end(self, at_once: bool = True) -> None:
        """Close the client if no other file uses it.

        Args:
            at_once: False: some later call does it.
        """
        self._forgotten.append(self)
        if at_once:
            self._end_forgotten()

    @classmethod
    def _end_forgotten(cls) -> None:
        while cls._forgotten:
            lease = cls._forgotten.popleft()
            with cls._lock:
                _, leases = cls._clients[lease._key]
                leases.remove(lease)
                if not leases:
                    del cls._clients[lease._key]
            if not leases:
                lease.client.close()


@dataclass(frozen=True, repr=False)
class _OpenAgain:
    """Opens a file that was pickled, with a client that the unpickled files share."""

    kind: type[DirectIO]
    state: dict[str, Any]
    file_id: int
    fingerprint: str
    readahead: Optional[int]

    def __call__(self) -> Opened:
        lease = _ClientLease(self.kind, self.state)
        try:
            source = lease.client._whole(lease.client.metadata(self.file_id))
            if source.metadata.fingerprint != self.fingerprint:
                raise DirectIOError(
                    "The file has changed since the open file was pickled: open it anew",
                    self.file_id,
                    errno=errno.ESTALE,
                )
        except BaseException:
            lease.end()
            raise
        return Opened(source, lease.client, lease)


def _reopen(
    kind: type[DirectIO],
    state: dict[str, Any],
    file_id: int,
    fingerprint: str,
    readahead: Optional[int],
    position: int,
) -> DirectFile:
    """Return a file that was pickled, at the position that it had. It is opened at its first use."""
    again = _OpenAgain(kind, state, file_id, fingerprint, readahead)
    return DirectFile(PickledFile(file_id, position, readahead, again))


# --- fork -------------------------------------------------------------------------------------------------

_files: weakref.WeakSet[RawDirectFile] = weakref.WeakSet()


def _forget_parent() -> None:
    """In a forked child: no thread of the parent's is here to let go of a lock."""
    _ClientLease._lock = threading.Lock()
    for file in list(_files):
        file.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
