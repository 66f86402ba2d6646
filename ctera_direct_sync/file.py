"""A file in the portal as a seekable, read-only Python file.

Decoded blocks are kept in a small cache. Reading on from block to block makes the next ones be fetched
ahead, more of them each time; reading elsewhere stops that.
"""

from __future__ import annotations

import errno
import io
import os
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Optional

from .engine import STREAM, Job
from .exceptions import DirectIOError
from .ranges import Piece
from .scope import Cancelled
from .source import Source
from .types import Block

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["DirectFile", "open_file"]

#: Bytes asked for at once of a plaintext object, of which any range can be fetched.
_PAGE = 1024 * 1024
#: What Python buffers: small enough for many open files, large enough for line readers.
_BUFFER = 64 * 1024


class DirectFile(io.BufferedReader):
    """What ``DirectIO.open`` returns: a buffered binary reader that knows its ``size`` in bytes.

    For one thread at a time; threads that read the same file open it each.
    """

    def __init__(self, raw: RawDirectFile) -> None:
        super().__init__(raw, _BUFFER)
        self._raw_file = raw

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._raw_file.size


def open_file(source: Source, readahead: Optional[int] = None) -> DirectFile:
    """A file over ``source``; ``readahead``: most bytes to fetch ahead, 0 for none."""
    return DirectFile(RawDirectFile(source, readahead))


class RawDirectFile(io.RawIOBase):
    """The unbuffered file: positions, read-ahead, and the cache below."""

    def __init__(self, source: Source, readahead: Optional[int] = None) -> None:
        super().__init__()
        self._cache = _BlockCache(source)
        self._most_ahead = source.memory // 2 if readahead is None else readahead
        self._position = 0
        self._ahead = 0
        self._last: Optional[Piece] = None
        self.size = source.metadata.size
        self.name = source.file_id

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True: seeking is free, nothing is fetched before the next read."""
        return True

    def tell(self) -> int:
        """Offset of the next byte to read."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
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
        parts = []
        while self._position < self.size:
            parts.append(bytes(self._view(self.size)))
            self._position += len(parts[-1])
        return b"".join(parts)

    def close(self) -> None:
        """Drop the cache and end what is being fetched ahead."""
        if not self.closed:
            self._cache.clear()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on a closed file")

    def _view(self, limit: int) -> memoryview:
        """At most ``limit`` bytes at the position, as far as they lie in one block."""
        piece = self._cache.piece_at(self._position)
        self._read_ahead(piece)
        block = self._cache.get(piece)
        start = self._position - piece.offset
        return memoryview(block.data)[start : start + limit]

    def _read_ahead(self, piece: Piece) -> None:
        """Before waiting for ``piece``: have those after it fetched, if it looks like reading on."""
        last, self._last = self._last, piece
        if last is not None and piece.offset == last.offset + last.length:
            self._ahead = min(self._most_ahead, max(2 * self._ahead, piece.length))
        elif last is None or piece.offset != last.offset:
            self._ahead = 0
            self._cache.cancel_unread()
        self._cache.request(piece)
        if self._ahead:
            self._cache.prefetch(piece.offset + piece.length, self._ahead)


class _BlockCache:
    """The decoded blocks used last, and those under way, within the source's memory."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._jobs: OrderedDict[int, Job[Block]] = OrderedDict()
        self._unread: set[int] = set()

    def piece_at(self, offset: int) -> Piece:
        """The piece that holds the byte at ``offset``. DirectIOError where none was listed."""
        piece = next(self._pieces_from(offset), None)
        if piece is None or piece.offset > offset:
            raise DirectIOError(
                f"The portal's block list lacks the bytes at offset {offset}", self._source.file_id
            )
        return piece

    def request(self, piece: Piece) -> None:
        """Have the piece fetched, unless it is here or under way."""
        job = self._jobs.get(piece.offset)
        if job is not None and self._source.engine.owns(job.transfer):
            self._jobs.move_to_end(piece.offset)
            return
        self._make_room(2 * piece.length)
        transfer = self._source.transfer(
            iter([piece]), self._source.block, priority=STREAM, bounded=False
        )
        self._source.engine.start(transfer)
        self._jobs[piece.offset] = transfer.take_admitted()[0]

    def prefetch(self, offset: int, nbytes: int) -> None:
        """Request the pieces from ``offset`` on, ``nbytes`` of them, as far as the memory goes."""
        stop = offset + nbytes
        for piece in self._pieces_from(offset):
            if piece.offset >= stop or (
                piece.offset not in self._jobs
                and self._pinned() + 2 * piece.length > self._source.memory
            ):
                return
            if piece.offset not in self._jobs:
                self._unread.add(piece.offset)
                self.request(piece)

    def get(self, piece: Piece) -> Block:
        """The piece's block, waited for. What its download raises; it is tried anew the next time."""
        self.request(piece)
        self._unread.discard(piece.offset)
        try:
            return self._jobs[piece.offset].future.result()
        except (Cancelled, CancelledError):
            self._forget(piece.offset)
            raise DirectIOError(
                "The client was closed while the file was open",
                self._source.file_id,
                errno=errno.ECANCELED,
            ) from None
        except BaseException:
            self._forget(piece.offset)
            raise

    def cancel_unread(self) -> None:
        """End what was fetched ahead and is not read after all; what is here already stays."""
        for offset in list(self._unread):
            if not self._jobs[offset].future.done():
                self._forget(offset)
        self._unread.clear()

    def clear(self) -> None:
        """Forget all, end what is under way."""
        for offset in list(self._jobs):
            self._forget(offset)

    def _pieces_from(self, offset: int) -> Iterator[Piece]:
        return self._source.pieces(offset, self._source.metadata.size, whole=True, part_size=_PAGE)

    def _forget(self, offset: int) -> None:
        self._unread.discard(offset)
        job = self._jobs.pop(offset, None)
        if job is not None:
            self._source.engine.cancel(job.transfer)

    def _held(self) -> int:
        """Bytes in the cache; a block under way counts twice, its stored object beside it."""
        return sum(
            job.piece.length * (1 if job.future.done() else 2) for job in self._jobs.values()
        )

    def _pinned(self) -> int:
        """Bytes that must not be evicted for the sake of others: those ahead of the reader."""
        return sum(
            job.piece.length * (1 if job.future.done() else 2)
            for offset, job in self._jobs.items()
            if offset in self._unread
        )

    def _make_room(self, nbytes: int) -> None:
        """Evict the blocks used longest ago, those ahead of the reader last."""
        while self._jobs and self._held() + nbytes > self._source.memory:
            read = (offset for offset in self._jobs if offset not in self._unread)
            self._forget(next(read, next(iter(self._jobs))))
