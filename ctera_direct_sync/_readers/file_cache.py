"""The decoded blocks of all open files of a client, within one number of bytes.

A `BlockCache` belongs to one file. It begins block downloads and keeps the decoded blocks. All caches
of a client share one `BlockMemory`, which decides what is evicted: first blocks that were read, the
least recently used first, of whichever file. Blocks that were fetched ahead come last.

A reader always gets the block that it waits for, also where nothing else fits. Each other byte is
counted against the limit, and a block that is being downloaded counts twice, because its stored object
is held beside it.
"""

from __future__ import annotations

import errno
import functools
import os
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any, Callable, Optional, TypeVar, cast

from .._engine.engine import BULK, STREAM, Engine, Job, Transfer
from .._protocol.ranges import Piece
from ..exceptions import DirectIOError
from ..types import Block
from .listed_file import ListedFile

__all__ = ["NO_BLOCK", "BlockCache", "BlockMemory", "CachedBlock"]

_Method = TypeVar("_Method", bound=Callable[..., Any])

#: Bytes asked for at once of a plaintext object, of which any range can be fetched.
_PAGE_SIZE_BYTES = 1024 * 1024
#: A file that was not read for so long no longer defends what was fetched ahead for it.
_IDLE_S = 2.0


class CachedBlock:
    """One block of a cache: being downloaded, or decoded.

    Attributes:
        start: Offset of the block's first byte in the file.
        length: Bytes in the block.
        data: The decoded bytes. None before the reader took them, and after the block was evicted.
        used: Whether a read took bytes from the block since the last eviction passed it.
    """

    __slots__ = ("cache", "charged_bytes", "data", "job", "length", "start", "transfer", "used")

    def __init__(
        self,
        cache: Optional[BlockCache],
        start: int,
        length: int,
        transfer: Optional[Transfer[Block]] = None,
    ) -> None:
        self.cache = cache
        self.start = start
        self.length = length
        self.transfer = transfer
        self.job: Optional[Job[Block]] = None
        self.data: Optional[bytes] = None
        self.charged_bytes = 2 * length
        self.used = False

    @property
    def downloaded(self) -> bool:
        """Whether the download has ended, well or not."""
        return self.data is not None or (self.job is not None and self.job.future.done())


#: Stands for the current block of a file that has none.
NO_BLOCK = CachedBlock(None, 0, 0)


def _exclusive(method: _Method) -> _Method:
    """Run `method` under the lock of its `BlockMemory`, and mend first what an interrupt left behind.

    An exception out of a signal handler can leave a method half done. The flag `_dirty` then stays
    set, and the next method counts everything anew.
    """

    @functools.wraps(method)
    def run(self: BlockMemory, *arguments: Any) -> Any:
        if os.getpid() != self._process:
            _forget_parent()  # Forked by a program that does not run Python's hooks.
        if self.is_inside():
            raise RuntimeError("a signal handler read a file amid another read: read elsewhere")
        with self._lock:
            if self._dirty:
                self._recount()
            self._dirty = True
            while self._closed_caches:
                self._remove_all(self._closed_caches.popleft())
            result = method(self, *arguments)
            self._dirty = False
        return result

    return cast("_Method", run)


class BlockMemory:
    """What the open files of one client hold. Thread-safe; no method waits or calls the engine.

    Args:
        limit: Bytes that all caches together may hold, beyond the blocks that readers wait for.
        clock: Seconds, monotonic.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._caches: weakref.WeakSet[BlockCache] = weakref.WeakSet()
        self._start_over()
        _memories.add(self)

    def _start_over(self) -> None:
        # Re-entrant only so that `is_inside` can ask whose it is; `_exclusive` refuses to nest.
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._dirty = False
        self._held_bytes = 0
        self._read: OrderedDict[CachedBlock, None] = OrderedDict()
        self._downloading: dict[CachedBlock, None] = {}
        self._closed_caches: deque[BlockCache] = deque()
        self._evicted: deque[Transfer[Block]] = deque()

    @property
    def held_bytes(self) -> int:
        """Bytes that are counted now."""
        return self._held_bytes

    @_exclusive
    def register(self, cache: BlockCache) -> None:
        """Add the cache of a file that was opened."""
        self._caches.add(cache)

    def is_inside(self) -> bool:
        """Return whether this thread is amid one of these methods, so that none may be called."""
        return cast("bool", self._lock._is_owned())  # type: ignore[attr-defined]

    @_exclusive
    def find(self, cache: BlockCache, start: int) -> Optional[CachedBlock]:
        """Return the block that begins at `start`, as the one that its reader waits for."""
        cache.last_used = self._clock()
        block = cache.awaited = cache.blocks.get(start)
        if block is not None and block in self._read:
            self._read.move_to_end(block)
        return block

    @_exclusive
    def add_awaited(
        self, cache: BlockCache, piece: Piece, transfer: Transfer[Block]
    ) -> CachedBlock:
        """Add a block that a reader waits for. Evict for it whatever can be."""
        self._remove(cache.blocks.get(piece.offset))
        self._make_room(2 * piece.length, cache, urgent=True)
        block = cache.awaited = CachedBlock(cache, piece.offset, piece.length, transfer)
        self._insert(block)
        self._read[block] = None
        return block

    @_exclusive
    def share(self, cache: BlockCache) -> int:
        """Return the bytes that the file may hold ahead of its reader, beside the other files."""
        self._settle()
        return self._limit // len(self._active(cache))

    @_exclusive
    def add_ahead(
        self, cache: BlockCache, piece: Piece, transfer: Transfer[Block], share: int
    ) -> Optional[CachedBlock]:
        """Add a block ahead of the reader. Return None where the file's share has no room for it."""
        ahead = 2 * piece.length
        if cache.ahead_bytes + ahead > share or not self._make_room(ahead, cache, urgent=False):
            return None
        block = CachedBlock(cache, piece.offset, piece.length, transfer)
        self._insert(block)
        cache.unread[piece.offset] = block
        cache.ahead_bytes += ahead
        return block

    @_exclusive
    def took(self, block: CachedBlock, data: bytes) -> None:
        """Note that the reader of `block` has got its bytes."""
        cache = block.cache
        if cache is None or cache.blocks.get(block.start) is not block:
            return
        block.data, block.job, block.transfer = data, None, None
        self._charge(block, block.length)
        self._downloading.pop(block, None)
        self._leave_ahead(block)
        cache.awaited = None
        self._read[block] = None

    @_exclusive
    def remove(self, block: CachedBlock) -> None:
        """Forget one block, which its reader does not get."""
        self._remove(block)

    @_exclusive
    def cancel_ahead(self, cache: BlockCache, before: Optional[int]) -> None:
        """Forget what is being fetched ahead. What is decoded already stays, as if it had been read.

        Args:
            cache: Whose.
            before: Forget only what lies before this offset; None: all.
        """
        for start, block in list(cache.unread.items()):
            if before is not None and start >= before:
                continue
            if block.downloaded:
                self._charge(block, block.length)
                self._downloading.pop(block, None)
                self._leave_ahead(block)
                self._read[block] = None
            else:
                self._remove(block)

    @_exclusive
    def cancel_downloads(self, cache: BlockCache) -> None:
        """Forget what is not downloaded yet."""
        for block in list(cache.blocks.values()):
            if not block.downloaded:
                self._remove(block)

    @_exclusive
    def _remove_closed(self) -> None:
        """Do what `_exclusive` does first."""

    def close(self, cache: BlockCache) -> None:
        """Give back all that the cache of a closed file holds. The collector may call this anywhere."""
        self._closed_caches.append(cache)
        if not self.is_inside():
            self._remove_closed()

    def cancel_evicted(self, engine: Engine) -> None:
        """End the downloads of blocks that were evicted. Not under the lock: this calls the engine."""
        while self._evicted:
            try:
                transfer = self._evicted.popleft()
            except IndexError:  # Another thread was faster.
                return
            engine.cancel(transfer)

    # --- under the lock --------------------------------------------------------------------------------

    def _active(self, cache: BlockCache) -> list[BlockCache]:
        """Return the caches that share the memory for reading ahead, `cache` among them."""
        recent = self._clock() - _IDLE_S
        others = [
            each
            for each in list(self._caches)
            if each is not cache and each.unread and each.last_used > recent
        ]
        return [cache, *others]

    def _insert(self, block: CachedBlock) -> None:
        assert block.cache is not None
        block.cache.blocks[block.start] = block
        self._downloading[block] = None
        self._held_bytes += block.charged_bytes

    def _charge(self, block: CachedBlock, charged_bytes: int) -> None:
        assert block.cache is not None
        more = charged_bytes - block.charged_bytes
        self._held_bytes += more
        if block.start in block.cache.unread:
            block.cache.ahead_bytes += more
        block.charged_bytes = charged_bytes

    def _leave_ahead(self, block: CachedBlock) -> bool:
        """Count the block no longer as ahead of its reader. Return whether it was."""
        cache = block.cache
        assert cache is not None
        was_ahead = cache.unread.pop(block.start, None) is not None
        if was_ahead:
            cache.ahead_bytes -= block.charged_bytes
        return was_ahead

    def _remove(self, block: Optional[CachedBlock]) -> None:
        if block is None or block.cache is None:
            return
        cache = block.cache
        if cache.blocks.get(block.start) is not block:
            return
        # An interrupt anywhere from here on leaves what the next method can count again.
        transfer = None if block.downloaded else block.transfer
        if transfer is not None:
            self._evicted.append(transfer)
        del cache.blocks[block.start]
        block.data, block.job, block.transfer = None, None, None
        self._held_bytes -= block.charged_bytes
        self._read.pop(block, None)
        self._downloading.pop(block, None)
        if self._leave_ahead(block):
            cache.begun_until = min(cache.begun_until, block.start)
        if cache.awaited is block:
            cache.awaited = None

    def _remove_all(self, cache: BlockCache) -> None:
        for block in list(cache.blocks.values()):
            self._remove(block)

    def _settle(self) -> None:
        """Count those blocks once whose download has ended."""
        for block in list(self._downloading):
            if block.downloaded:
                self._charge(block, block.length)
                del self._downloading[block]

    def _make_room(self, nbytes: int, cache: BlockCache, urgent: bool) -> bool:
        """Evict until `nbytes` more fit, if that can be. Return whether they fit.

        Args:
            nbytes: Bytes that are to be added.
            cache: Whose block is to be added.
            urgent: Whether a reader waits for it, so that also what was fetched ahead goes.
        """
        room = self._limit - nbytes
        if self._held_bytes <= room:
            return True
        self._settle()
        self._evict_read(room)
        if self._held_bytes > room:
            self._evict_ahead(room, cache, urgent)
        return self._held_bytes <= room

    def _evict_read(self, room: int) -> None:
        """Evict blocks that were read, the least recently used first, down to `room` bytes."""
        # Reads do not take the lock to reorder the blocks: they leave a mark, which is worth one pass.
        for _ in range(2 * len(self._read)):
            if self._held_bytes <= room or not self._read:
                return
            block = next(iter(self._read))
            if block.used or _is_awaited(block):
                block.used = False
                self._read.move_to_end(block)
            else:
                self._remove(block)

    def _evict_ahead(self, room: int, cache: BlockCache, urgent: bool) -> None:
        """Evict blocks that were fetched ahead, the furthest of the file that was read longest ago."""
        active = self._active(cache)
        share = self._limit // len(active)
        for each in sorted(self._caches, key=lambda each: each.last_used):
            # Files that read ahead do not evict each other's blocks: each would be fetched twice.
            spare = 0 if urgent or each not in active else share
            for start in sorted(each.unread, reverse=True):
                if self._held_bytes <= room:
                    return
                if each.ahead_bytes <= spare:
                    break
                if not _is_awaited(each.unread[start]):
                    self._remove(each.unread[start])

    def _recount(self) -> None:
        """Count again from what the caches hold."""
        self._held_bytes = 0
        known, self._read, self._downloading = self._read, OrderedDict(), {}
        blocks = [block for cache in list(self._caches) for block in cache.blocks.values()]
        for cache in list(self._caches):
            cache.ahead_bytes = 0
            cache.unread = {
                start: block
                for start, block in cache.unread.items()
                if cache.blocks.get(start) is block
            }
        for block in blocks:
            assert block.cache is not None
            if block.data is not None:
                block.charged_bytes = block.length
            else:
                self._downloading[block] = None
            self._held_bytes += block.charged_bytes
            if block.start in block.cache.unread:
                block.cache.ahead_bytes += block.charged_bytes
        there = set(blocks)
        for block in [*(each for each in known if each in there), *blocks]:
            assert block.cache is not None
            if block.start not in block.cache.unread:
                self._read[block] = None


def _is_awaited(block: CachedBlock) -> bool:
    return block.cache is not None and block.cache.awaited is block


class BlockCache:
    """The blocks of one open file. For one thread at a time, but for `close`.

    Attributes:
        blocks: The blocks by their offset.
        unread: Those of them that were fetched ahead, and that the reader has not come to yet.
        awaited: The block that the reader waits for, which is not evicted.
        ahead_bytes: What `unread` is counted as.
        begun_until: Up to this offset everything ahead of the reader was begun.
        last_used: When the reader came to a block the last time.
        closed: Whether the file was closed.
    """

    def __init__(self, source: ListedFile) -> None:
        self._source = source
        self._memory = _memory_of(source)
        self.last_used = 0.0
        self.closed = False
        self.forget_parent()
        self._memory.register(self)

    def forget_parent(self) -> None:
        """Start empty in a forked child. To end the parent's downloads would cut its connections."""
        self.blocks: dict[int, CachedBlock] = {}
        self.unread: dict[int, CachedBlock] = {}
        self.awaited: Optional[CachedBlock] = None
        self.ahead_bytes = 0
        self.begun_until = 0

    def piece_at(self, offset: int) -> Piece:
        """Return the piece that holds the byte at `offset`.

        Raises:
            DirectIOError: The portal listed none.
        """
        piece = next(self._pieces_from(offset), None)
        if piece is None or not piece.offset <= offset < piece.offset + piece.length:
            raise DirectIOError(
                f"The portal's block list lacks the bytes at offset {offset}", self._source.file_id
            )
        return piece

    def read(self, piece: Piece, stop: int) -> tuple[CachedBlock, bytes]:
        """Return the decoded block of `piece` and its bytes, and begin the blocks from there to `stop`.

        Args:
            piece: The whole block, or page of a plaintext object.
            stop: Where reading ahead ends, as far as the memory allows.

        Raises:
            BlockError: The block cannot be had. The next call tries again.
            DirectIOError: The client was closed.
            ValueError: The file was closed meanwhile.
        """
        block: Optional[CachedBlock] = None
        try:
            block = self._begin_awaited(piece)
            data = block.data
            self._begin_ahead(piece.offset + piece.length, stop)
            if data is None:
                data = self._wait(block, piece)
                self._memory.took(block, data)
            if self.closed:
                raise ValueError("I/O operation on closed file")
            return block, data
        except BaseException as error:
            self._give_up(block, error)
            if self.closed:
                raise ValueError("I/O operation on closed file") from None
            if isinstance(error, Exception) and self._source.engine.closed:
                raise self._client_closed() from None
            raise
        finally:
            self.awaited = None
            del block  # The error's traceback holds this frame.

    def cancel_ahead(self, before: Optional[int] = None) -> None:
        """End what was begun ahead and is not read after all; what is decoded already stays.

        Args:
            before: End only what lies before this offset; None: all.
        """
        self._memory.cancel_ahead(self, before)
        if before is None:
            self.begun_until = 0
        self._memory.cancel_evicted(self._source.engine)

    def close(self) -> None:
        """Forget all, end what is under way, also where another thread waits for it."""
        self.closed = True
        self._memory.close(self)
        if not self._memory.is_inside():
            self._memory.cancel_evicted(self._source.engine)

    def _wait(self, block: CachedBlock, piece: Piece) -> bytes:
        job = block.job
        if job is None:
            raise DirectIOError(
                "The download was cancelled: read again",
                self._source.file_id,
                errno=errno.ECANCELED,
            )
        waits = not job.future.done()
        found = job.future.result()
        if waits:
            self._source.engine.close_stream_window()
        data = found.data
        if len(data) != piece.length or found.offset != piece.offset:
            raise DirectIOError(
                f"The block at offset {piece.offset} came with {len(data)} of {piece.length} bytes: "
                "please report this",
                self._source.file_id,
            )
        return data

    def _give_up(self, block: Optional[CachedBlock], error: BaseException) -> None:
        """Clean up after a read that failed, so that the next one begins the block anew."""
        if self.closed:
            self._memory.close(self)
        elif not isinstance(error, Exception):
            # An interrupted program may never read on: nothing is left running for it.
            self._memory.cancel_downloads(self)
            self.begun_until = 0
        elif block is not None:
            self._memory.remove(block)
        self._memory.cancel_evicted(self._source.engine)

    def _client_closed(self) -> DirectIOError:
        text = "The client was closed while the file was open: open it with a client that lives on"
        return DirectIOError(text, self._source.file_id, errno=errno.ECANCELED)

    def _pieces_from(self, offset: int) -> Iterator[Piece]:
        size = self._source.metadata.size
        return self._source.pieces(offset, size, whole=True, part_size=_PAGE_SIZE_BYTES)

    def _begin_awaited(self, piece: Piece) -> CachedBlock:
        """Return the block of `piece`, begun now if it is not under way: the reader waits for it."""
        block = self._memory.find(self, piece.offset)
        if block is not None and block.data is not None:
            return block
        # Begun ahead, it may have failed long ago, or wait for others still: if its future can be
        # cancelled, it has not begun.
        if (
            block is None
            or block.job is None
            or _has_failed(block.job)
            or block.job.future.cancel()
        ):
            transfer = self._transfer(piece, STREAM)
            block = self._memory.add_awaited(self, piece, transfer)
            self._start(block, transfer)
        return block

    def _begin_ahead(self, offset: int, stop: int) -> None:
        """Begin the pieces from `offset` to `stop`, as far as they fit."""
        offset = max(offset, self.begun_until)
        if offset >= stop:
            return
        share = self._memory.share(self)
        for piece in self._pieces_from(offset):
            if piece.offset >= stop:
                return
            if piece.offset not in self.blocks:
                # Ahead of bulk work, but within the number of workers that serves best.
                transfer = self._transfer(piece, BULK)
                block = self._memory.add_ahead(self, piece, transfer, share)
                if block is None:
                    return
                self._start(block, transfer)
            self.begun_until = piece.offset + piece.length

    def _transfer(self, piece: Piece, priority: int) -> Transfer[Block]:
        return self._source.transfer(
            iter([piece]), self._source.block, priority=priority, bounded=False
        )

    def _start(self, block: CachedBlock, transfer: Transfer[Block]) -> None:
        engine = self._source.engine
        self._memory.cancel_evicted(engine)
        try:
            engine.start(transfer)
            admitted = transfer.take_admitted()
            if admitted:  # Else another thread closed the file, or evicted the block.
                block.job = admitted[0]
        except BaseException:
            self._memory.remove(block)
            engine.cancel(transfer)
            raise
        if self.blocks.get(block.start) is not block:
            engine.cancel(transfer)


def _has_failed(job: Job[Block]) -> bool:
    future = job.future
    return future.done() and (future.cancelled() or future.exception() is not None)


# --- one memory for each client ---------------------------------------------------------------------------

_memories: weakref.WeakSet[BlockMemory] = weakref.WeakSet()
_by_engine: weakref.WeakKeyDictionary[Engine, BlockMemory] = weakref.WeakKeyDictionary()


def _memory_of(source: ListedFile) -> BlockMemory:
    """Return the memory that all open files of the source's client share."""
    memory = _by_engine.get(source.engine)
    if memory is None:
        memory = _by_engine.setdefault(source.engine, BlockMemory(source.memory))
    return memory


def _forget_parent() -> None:
    """In a forked child: threads of the parent may hold the locks for ever, and amid any change."""
    for memory in list(_memories):
        for cache in list(memory._caches):
            cache.forget_parent()
        memory._start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
