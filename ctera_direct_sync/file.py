"""A file in the portal as a seekable, read-only Python file.

Decoded blocks are kept in a small cache. Reading on from block to block makes the next ones be fetched
ahead, more of them each time; reading elsewhere stops that. A single large read fetches the blocks that
it spans at once.
"""

from __future__ import annotations

import errno
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Optional

from .engine import BULK, STREAM, Job
from .exceptions import DirectIOError
from .ranges import Piece
from .source import Source
from .types import Block

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["DirectFile", "SharedFile", "open_file", "open_shared_file"]

#: Bytes asked for at once of a plaintext object, of which any range can be fetched.
_PAGE = 1024 * 1024
#: What Python buffers: small enough for many open files, large enough for line readers.
_BUFFER = 64 * 1024
#: A gap as small as this between two reads is no jump.
_HEADER = 4 * 1024
#: Smaller reads are not announced to the raw file: it takes as long as they do.
_SMALL = 1024


class DirectFile(io.BufferedReader):
    """What ``DirectIO.open`` returns: a buffered binary reader that knows its ``size`` in bytes.

    For one thread at a time; threads that read the same file open it each. ``name`` is the file ID.
    """

    def __init__(self, raw: RawDirectFile) -> None:
        super().__init__(raw, _BUFFER)
        self._raw_file = raw

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._raw_file.size

    def read(self, size: Optional[int] = -1, /) -> bytes:
        """At most ``size`` bytes, fewer only at the end of the file; None or -1: all to the end."""
        if size is not None and 0 <= size <= _SMALL:
            return super().read(size)
        with self._raw_file.expecting(super().tell(), size):
            return super().read(size)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill ``buffer``, all of it unless the file ends before; how many bytes were read."""
        with self._raw_file.expecting(super().tell(), memoryview(buffer).nbytes):
            return super().readinto(buffer)


def open_file(source: Source, readahead: Optional[int] = None) -> DirectFile:
    """A file over ``source``; ``readahead``: most bytes to fetch ahead, 0 for none."""
    return DirectFile(RawDirectFile(source, readahead))


def open_shared_file(source: Source, readahead: Optional[int] = None) -> SharedFile:
    """The same, for programs that share a file between threads."""
    return SharedFile(RawDirectFile(source, readahead))


class SharedFile(DirectFile):
    """A file whose threads may each ``seek`` and then ``read`` without a lock of theirs in between.

    Programs that know no other way to read at an offset do so, DuckDB among them. A read after a seek of
    the same thread is from there, whatever other threads did meanwhile; one without is from where the
    file stands, so that a file may still go from thread to thread.
    """

    def __init__(self, raw: RawDirectFile) -> None:
        super().__init__(raw)
        self._turn = threading.RLock()
        self._sought: dict[int, int] = {}

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move, for the calling thread's next read; see :meth:`RawDirectFile.seek`."""
        with self._turn:
            if whence == os.SEEK_CUR:
                offset, whence = self.tell() + offset, os.SEEK_SET
            position = super().seek(offset, whence)
            self._sought[threading.get_ident()] = position
            return position

    def tell(self) -> int:
        """Where the calling thread's next read is from."""
        with self._turn:
            return self._sought.get(threading.get_ident(), super().tell())

    def read(self, size: Optional[int] = -1, /) -> bytes:
        """As :meth:`DirectFile.read`."""
        with self._at_own_place():
            return super().read(size)

    def read1(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, as many as one block or the buffer has."""
        with self._at_own_place():
            return super().read1(size)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """As :meth:`DirectFile.readinto`."""
        with self._at_own_place():
            return super().readinto(buffer)

    def readinto1(self, buffer: WriteableBuffer, /) -> int:
        """As :meth:`read1`, into ``buffer``."""
        with self._at_own_place():
            return super().readinto1(buffer)

    def readline(self, size: Optional[int] = -1, /) -> bytes:
        """Up to and with the next line end, at most ``size`` bytes."""
        with self._at_own_place():
            return super().readline(-1 if size is None else size)

    def peek(self, size: int = 0, /) -> bytes:
        """Bytes that come next, without moving."""
        with self._at_own_place():
            return super().peek(size)

    def __next__(self) -> bytes:
        with self._at_own_place():
            return super().__next__()

    @contextmanager
    def _at_own_place(self) -> Iterator[None]:
        """One thread at a time, at the place that it sought since it last read, if it did."""
        with self._turn:
            place = self._sought.pop(threading.get_ident(), None)
            if place is None:
                # The file is handed on from thread to thread: what others sought is past.
                self._sought.clear()
            elif place != super().tell():
                super().seek(place)
            yield


class RawDirectFile(io.RawIOBase):
    """The unbuffered file: the position, what to fetch when, and the cache below."""

    mode = "rb"

    def __init__(self, source: Source, readahead: Optional[int] = None) -> None:
        super().__init__()
        self._cache = _BlockCache(source)
        self._most_ahead = source.memory // 2 if readahead is None else readahead
        self._position = 0
        self._block: Optional[Block] = None
        self._last: Optional[Piece] = None
        self._ahead = 0
        self._asked = range(0)
        self._asked_until = 0
        self._reading_on = True
        self.size = source.metadata.size
        # As text: programs take an integer for a file descriptor.
        self.name = str(source.file_id)

    def readable(self) -> bool:
        """True."""
        self._check_open()
        return True

    def seekable(self) -> bool:
        """True: seeking is free, nothing is fetched before the next read."""
        self._check_open()
        return True

    def tell(self) -> int:
        """Offset of the next byte to read."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move; past the end is allowed and reads nothing. OSError before the beginning."""
        self._check_open()
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}
        if whence not in bases:
            raise ValueError(f"whence {whence} is none of SEEK_SET, SEEK_CUR, SEEK_END")
        position = bases[whence] + offset
        if position < 0:
            raise OSError(errno.EINVAL, "cannot seek to before the beginning of the file")
        self._position = position
        return position

    @contextmanager
    def expecting(self, start: int, size: Optional[int]) -> Iterator[None]:
        """In the body ``size`` bytes from ``start`` on are read (None or negative: all to the end)."""
        stop = self.size if size is None or size < 0 else min(self.size, start + size)
        # Between two reads of a reader that goes on there may be a header, but no column of a table.
        self._reading_on = 0 <= start - self._asked_until <= _HEADER
        self._asked = range(start, stop)
        try:
            yield
        finally:
            self._asked, self._asked_until, self._reading_on = range(0), stop, True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill ``buffer`` from one block; 0 at the end of the file. What a block's download raises."""
        self._check_open()
        target = memoryview(buffer).cast("B")
        if not target or self._position >= self.size:
            return 0
        found = self._view(len(target))
        target[: len(found)] = found
        self._position += len(found)
        return len(found)

    def readall(self) -> bytes:
        """All from here to the end."""
        self._check_open()
        everything = io.BytesIO()
        while self._position < self.size:
            self._position += everything.write(self._view(self.size))
        return everything.getvalue()

    def close(self) -> None:
        """Drop the cache and end what is being fetched ahead."""
        if not self.closed:
            self._block = None
            self._cache.clear()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed file")

    def _view(self, limit: int) -> memoryview:
        """At most ``limit`` bytes at the position, as far as they lie in one block."""
        block = self._block
        if block is None or not block.offset <= self._position < block.offset + block.length:
            self._block = None
            block = self._block = self._enter(self._cache.piece_at(self._position))
        start = self._position - block.offset
        return memoryview(block.data)[start : start + limit]

    def _enter(self, piece: Piece) -> Block:
        """The block that the reader comes to, with those that are likely to be next begun."""
        self._judge(piece)
        ahead = piece.offset + piece.length + self._ahead
        return self._cache.read(piece, max(ahead, self._asked.stop))

    def _judge(self, piece: Piece) -> None:
        """How much to read ahead from ``piece`` on: more if this is reading on, nothing if a jump."""
        last, self._last = self._last, piece
        if last is not None and piece.offset == last.offset + last.length:
            # The blocks of one large read that was a jump tell nothing about the next read.
            if self._reading_on or piece.offset not in self._asked:
                self._ahead = min(self._most_ahead, max(2 * self._ahead, piece.length))
        elif piece.offset in self._cache.unread:
            self._cache.cancel_unread(before=piece.offset)
        else:
            self._ahead = 0
            self._cache.cancel_unread()


class _BlockCache:
    """The decoded blocks used last, and those under way, within the source's memory.

    ``unread``: offset to length of those that the reader has not come to yet; they are evicted last.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._jobs: OrderedDict[int, Job[Block]] = OrderedDict()
        self._under_way: dict[int, int] = {}
        self._begun_until = 0
        self.unread: dict[int, int] = {}

    def piece_at(self, offset: int) -> Piece:
        """The piece that holds the byte at ``offset``. DirectIOError where none was listed."""
        piece = next(self._pieces_from(offset), None)
        if piece is None or piece.offset > offset:
            raise DirectIOError(
                f"The portal's block list lacks the bytes at offset {offset}", self._source.file_id
            )
        return piece

    def read(self, piece: Piece, stop: int) -> Block:
        """The piece's block, waited for, with those from there to ``stop`` begun as memory allows.

        What the block's download raises; it is tried anew the next time.
        """
        self._leave_parent()
        try:
            job = self._urgent(piece)
            self._prefetch(piece.offset + piece.length, stop)
            waits = not job.future.done()
            block = job.future.result()
            if waits:
                self._source.engine.end_way()
            return block
        except BaseException as error:
            self._forget(piece.offset)
            if isinstance(error, Exception) and self._source.engine.closed:
                raise self._client_closed() from None
            raise
        finally:
            self.unread.pop(piece.offset, None)

    def cancel_unread(self, before: Optional[int] = None) -> None:
        """End what was begun and is not read after all; what is here already stays.

        ``before``: only what lies before that offset.
        """
        self._leave_parent()
        self._settle()
        for offset in [each for each in self.unread if before is None or each < before]:
            if offset in self._under_way:
                self._forget(offset)
            self.unread.pop(offset, None)
        if before is None:
            self._begun_until = 0

    def clear(self) -> None:
        """Forget all, end what is under way."""
        self._leave_parent()
        for offset in list(self._jobs):
            self._forget(offset)

    def _client_closed(self) -> DirectIOError:
        text = "The client was closed while the file was open: open it with a client that lives on"
        return DirectIOError(text, self._source.file_id, errno=errno.ECANCELED)

    def _pieces_from(self, offset: int) -> Iterator[Piece]:
        return self._source.pieces(offset, self._source.metadata.size, whole=True, part_size=_PAGE)

    def _urgent(self, piece: Piece) -> Job[Block]:
        """The piece's job, begun now if it is not under way: the reader waits for it."""
        job = self._known(piece.offset)
        # Begun ahead, it may have failed long ago, or wait for others still; whoever cancels a future
        # that has not begun owns it.
        if job is None or _failed(job) or job.future.cancel():
            self._forget(piece.offset)
            self._make_room(2 * piece.length)
            job = self._begin(piece, STREAM)
        self.unread[piece.offset] = piece.length
        return job

    def _prefetch(self, offset: int, stop: int) -> None:
        """Begin the pieces from ``offset`` to ``stop``, as far as they fit beside those unread."""
        offset = max(offset, self._begun_until)
        if offset >= stop:
            return
        self._settle()
        # Under way, a piece counts twice: its stored object is held beside it.
        room = self._source.memory - sum(self.unread.values()) - sum(self._under_way.values())
        for piece in self._pieces_from(offset):
            if piece.offset >= stop:
                return
            if self._known(piece.offset) is None:
                room -= 2 * piece.length
                if room < 0:
                    return
                self._make_room(2 * piece.length)
                # Ahead of bulk work, but within the number of workers that serves best.
                self._begin(piece, BULK)
                self.unread[piece.offset] = piece.length
            self._begun_until = piece.offset + piece.length

    def _leave_parent(self) -> None:
        """In a forked child: start empty. To end the parent's jobs here would cut its connections."""
        job = next(iter(self._jobs.values()), None)
        if job is not None and not self._source.engine.owns(job.transfer):
            self._jobs.clear()
            self._under_way.clear()
            self.unread.clear()
            self._begun_until = 0

    def _known(self, offset: int) -> Optional[Job[Block]]:
        """The job of the piece at ``offset``, now the one used last."""
        if offset in self._jobs:
            self._jobs.move_to_end(offset)
        return self._jobs.get(offset)

    def _begin(self, piece: Piece, priority: int) -> Job[Block]:
        transfer = self._source.transfer(
            iter([piece]), self._source.block, priority=priority, bounded=False
        )
        self._source.engine.start(transfer)
        job = self._jobs[piece.offset] = transfer.take_admitted()[0]
        self._jobs.move_to_end(piece.offset)
        self._under_way[piece.offset] = piece.length
        return job

    def _forget(self, offset: int) -> None:
        self._under_way.pop(offset, None)
        if self.unread.pop(offset, None) is not None:
            self._begun_until = min(self._begun_until, offset)
        job = self._jobs.pop(offset, None)
        if job is not None:
            self._source.engine.cancel(job.transfer)

    def _settle(self) -> None:
        """Note which jobs have ended."""
        for offset in [each for each in self._under_way if self._jobs[each].future.done()]:
            del self._under_way[offset]

    def _make_room(self, nbytes: int) -> None:
        """Evict the blocks used longest ago, those ahead of the reader last."""
        self._settle()
        held = sum(job.piece.length for job in self._jobs.values())
        excess = held + sum(self._under_way.values()) + nbytes - self._source.memory
        if excess <= 0:
            return
        read = [offset for offset in self._jobs if offset not in self.unread]
        for offset in [*read, *sorted(self.unread, reverse=True)]:
            if excess <= 0:
                return
            excess -= self._jobs[offset].piece.length + self._under_way.get(offset, 0)
            self._forget(offset)


def _failed(job: Job[Block]) -> bool:
    future = job.future
    return future.done() and not future.cancelled() and future.exception() is not None
