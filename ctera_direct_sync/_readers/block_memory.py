"""The memory for decoded blocks that all open files of a client share.

Each open file has a `BlockCache`. All caches of a client share one `BlockMemory`, which decides what
is evicted. Blocks that were read go first, the least recently used one first, of any file. Blocks that
were fetched ahead go last.

A reader always gets the block that it waits for, even if nothing else fits. Each other byte is charged
against the limit. A block that is being downloaded is charged twice, because its stored object is held
beside it.
"""

from __future__ import annotations

import functools
import os
import weakref
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Callable, TypeVar, cast

from .._base.sync import monotonic
from .._engine.engine import Engine, Job, Transfer
from .._protocol.ranges import Piece
from ..types import Block
from .error_checking_lock import ErrorCheckingLock

if TYPE_CHECKING:
    from .block_cache import BlockCache

__all__ = ["NO_BLOCK", "BlockMemory", "CachedBlock", "memory_of"]

_Method = TypeVar("_Method", bound=Callable[..., Any])

#: A file that was not read for this long no longer protects what was fetched ahead for it.
_IDLE_S = 2.0

#: The most downloads that one call looks at, on average, to find those that have ended.
_LOOKS_PER_SETTLE = 16

_REFUSAL = "a signal handler read a file amid another read: read elsewhere"


class CachedBlock:
    """One block of a cache, downloading or decoded.

    Args:
        cache: The cache that the block belongs to; None for `NO_BLOCK`.
        start: Offset of the block's first byte in the file.
        length: Bytes in the block.
        transfer: Its download, if there is one.

    Attributes:
        cache: The cache that the block belongs to; None for `NO_BLOCK`.
        start: Offset of the block's first byte in the file.
        length: Bytes in the block.
        transfer: The download, until the reader has the bytes.
        job: The only job of the download, once it was started.
        data: The decoded bytes. None before the reader took them, and after the block was evicted.
        charged_bytes: Bytes that the block is charged with.
        used: Whether a read took bytes from the block since the last eviction passed it.
    """

    __slots__ = ("cache", "charged_bytes", "data", "job", "length", "start", "transfer", "used")

    def __init__(
        self,
        cache: BlockCache | None,
        start: int,
        length: int,
        transfer: Transfer[Block] | None = None,
    ) -> None:
        self.cache = cache
        self.start = start
        self.length = length
        self.transfer = transfer
        self.job: Job[Block] | None = None
        self.data: bytes | None = None
        self.charged_bytes = 2 * length
        self.used = False

    @property
    def downloaded(self) -> bool:
        """Whether the download has ended, with or without success."""
        return self.data is not None or (self.job is not None and self.job.future.done())


#: The current block of a file that has none.
NO_BLOCK = CachedBlock(None, 0, 0)


def _exclusive(method: _Method) -> _Method:
    """Run a method of `BlockMemory` under its lock."""

    @functools.wraps(method)
    def run(self: BlockMemory, *arguments: Any) -> Any:
        return self.run_exclusively(functools.partial(method, self, *arguments))

    return cast("_Method", run)


class BlockMemory:
    """The blocks that the open files of one client hold.

    It is thread-safe. Its lock is a leaf: no method waits, or calls the engine, while it holds it.

    An exception out of a signal handler can leave a method half done. The flag `_is_dirty` then stays
    set, and the next method counts everything again.

    Args:
        limit: Bytes that all caches together may hold, beyond the blocks that readers wait for.
        clock: Returns seconds that never go back; None: `monotonic`.
    """

    def __init__(self, limit: int, clock: Callable[[], float] | None = None) -> None:
        self._limit = limit
        self._clock = clock or monotonic
        self._caches: weakref.WeakSet[BlockCache] = weakref.WeakSet()
        self.start_over()

    def start_over(self) -> None:
        """Forget all blocks, as a forked child must: a thread of the parent may hold the lock."""
        self._lock = ErrorCheckingLock(_REFUSAL)
        self._process = os.getpid()
        self._is_dirty = False
        self._held_bytes = 0
        self._calls_since_settled = 0
        self._read: OrderedDict[CachedBlock, None] = OrderedDict()
        self._downloading: dict[CachedBlock, None] = {}
        self._evicted: deque[Transfer[Block]] = deque()
        for cache in list(self._caches):
            cache.forget_parent()

    def run_exclusively(self, call: Callable[[], Any]) -> Any:
        """Return what a call returns that changes the blocks.

        Args:
            call: The call. It runs under the lock.

        Raises:
            RuntimeError: A signal handler calls this amid another such call.
        """
        if os.getpid() != self._process:
            self.start_over()  # The program forked without running Python's hooks.
        return self._lock.run(self._mend_and_call, call)

    def _mend_and_call(self, call: Callable[[], Any]) -> Any:
        if self._is_dirty:
            self._recount()
        self._is_dirty = True
        result = call()
        self._is_dirty = False
        return result

    @property
    def held_bytes(self) -> int:
        """Bytes that are charged now."""
        return self._held_bytes

    @_exclusive
    def register(self, cache: BlockCache) -> None:
        """Add the cache of a file that was opened."""
        self._caches.add(cache)

    @_exclusive
    def find(self, cache: BlockCache, start: int) -> CachedBlock | None:
        """Return the block at an offset, and protect it: the reader waits for it.

        Args:
            cache: The cache of the reader's file.
            start: The offset of the block.

        Returns:
            The block, or None if the cache has none there.
        """
        cache.last_used = self._clock()
        block = cache.awaited = cache.blocks.get(start)
        if block is not None and block in self._read:
            self._read.move_to_end(block)
        return block

    @_exclusive
    def add_awaited(
        self, cache: BlockCache, piece: Piece, transfer: Transfer[Block]
    ) -> CachedBlock:
        """Add a block that a reader waits for. Evict for it whatever can be evicted.

        Args:
            cache: The cache of the reader's file.
            piece: What to download.
            transfer: The download, which the caller starts next.

        Returns:
            The new block.
        """
        self._remove(cache.blocks.get(piece.offset))
        self._make_room(2 * piece.length, cache, urgent=True)
        block = cache.awaited = CachedBlock(cache, piece.offset, piece.length, transfer)
        self._insert(block)
        self._read[block] = None
        return block

    @_exclusive
    def share(self, cache: BlockCache) -> int:
        """Return how many bytes a file may hold ahead of its reader, beside the other files."""
        self._settle()
        return self._limit // len(self._active(cache))

    @_exclusive
    def add_ahead(
        self, cache: BlockCache, piece: Piece, transfer: Transfer[Block], share: int
    ) -> CachedBlock | None:
        """Add a block ahead of the reader.

        Args:
            cache: The cache of the reader's file.
            piece: What to download.
            transfer: The download, which the caller starts next.
            share: Bytes that the file may hold ahead of its reader.

        Returns:
            The new block, or None if it does not fit.
        """
        ahead = 2 * piece.length
        if cache.ahead_bytes + ahead > share or not self._make_room(ahead, cache, urgent=False):
            return None
        block = CachedBlock(cache, piece.offset, piece.length, transfer)
        self._insert(block)
        cache.unread[piece.offset] = block
        cache.ahead_bytes += ahead
        return block

    @_exclusive
    def make_room(self, cache: BlockCache) -> int:
        """Evict blocks that were read until half of the memory is free, if they suffice.

        Args:
            cache: The cache of the file that needs the room.

        Returns:
            The bytes that are free.
        """
        self._make_room(self._limit // 2, cache, urgent=False)
        return max(0, self._limit - self._held_bytes)

    @_exclusive
    def note_read(self, block: CachedBlock, data: bytes) -> None:
        """Note that the reader of a block has its bytes.

        Args:
            block: The block.
            data: The decoded bytes, which stay in the cache.
        """
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
        """Drop one block, whose download failed."""
        self._remove(block)

    @_exclusive
    def cancel_ahead(self, cache: BlockCache, before: int | None) -> None:
        """Drop the blocks that are being fetched ahead. Decoded ones stay, as if they had been read.

        Args:
            cache: The cache of the file.
            before: Drop only what lies before this offset; None: all.
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
        """Drop the blocks of a file that are not downloaded yet."""
        for block in list(cache.blocks.values()):
            if not block.downloaded:
                self._remove(block)

    def close(self, cache: BlockCache) -> None:
        """Give back all that the cache of a closed file holds.

        It never waits: if the lock is taken, its holder does the work. So the collector may call this
        amid any method.
        """
        if os.getpid() != self._process:
            self.start_over()
        self._lock.defer(
            functools.partial(self._mend_and_call, functools.partial(self._remove_all, cache))
        )

    def cancel_evicted(self, engine: Engine) -> None:
        """Cancel the downloads of evicted blocks. Call it without the lock: it calls the engine."""
        while self._evicted:
            try:
                transfer = self._evicted.popleft()
            except IndexError:  # Another thread took it.
                return
            engine.cancel(transfer)

    # --- under the lock --------------------------------------------------------------------------

    def _active(self, cache: BlockCache) -> list[BlockCache]:
        """Return the caches that share the memory for reading ahead, including `cache`."""
        recent = self._clock() - _IDLE_S
        others = [
            other
            for other in list(self._caches)
            if other is not cache and other.unread and other.last_used > recent
        ]
        return [cache, *others]

    def _insert(self, block: CachedBlock) -> None:
        assert block.cache is not None
        block.cache.blocks[block.start] = block
        self._downloading[block] = None
        self._held_bytes += block.charged_bytes

    def _charge(self, block: CachedBlock, charged_bytes: int) -> None:
        assert block.cache is not None
        increase = charged_bytes - block.charged_bytes
        self._held_bytes += increase
        if block.start in block.cache.unread:
            block.cache.ahead_bytes += increase
        block.charged_bytes = charged_bytes

    def _leave_ahead(self, block: CachedBlock) -> bool:
        """Stop counting a block as ahead of its reader. Return whether it was."""
        cache = block.cache
        assert cache is not None
        was_ahead = cache.unread.pop(block.start, None) is not None
        if was_ahead:
            cache.ahead_bytes -= block.charged_bytes
        return was_ahead

    def _remove(self, block: CachedBlock | None) -> None:
        if block is None or block.cache is None:
            return
        cache = block.cache
        if cache.blocks.get(block.start) is not block:
            return
        # After an interrupt at any later line, the next method can count again.
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
        """Charge each block only once whose download has ended.

        A file of many small blocks has thousands of downloads under way. To look at all of them in each
        call would cost more time than the downloads themselves, so a few calls in between look at none.
        """
        self._calls_since_settled += 1
        if self._calls_since_settled * _LOOKS_PER_SETTLE < len(self._downloading):
            return
        self._calls_since_settled = 0
        for block in list(self._downloading):
            if block.downloaded:
                self._charge(block, block.length)
                del self._downloading[block]

    def _make_room(self, nbytes: int, cache: BlockCache, urgent: bool) -> bool:
        """Evict blocks until more bytes fit.

        Args:
            nbytes: The bytes that the caller will add.
            cache: The cache that they will be added to.
            urgent: Whether a reader waits for them. Then blocks that were fetched ahead are evicted,
                too.

        Returns:
            Whether the bytes fit now.
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
        """Evict blocks that were read, the least recently used first, until `room` bytes are held."""
        # Reads take no lock to reorder the blocks. They set `used`, which saves a block from one pass.
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
        """Evict blocks that were fetched ahead, from the end of the least recently read file."""
        active = self._active(cache)
        share = self._limit // len(active)
        for victim in sorted(self._caches, key=lambda each: each.last_used):
            # Files that read ahead do not evict each other's blocks: each would be fetched twice.
            protected_bytes = 0 if urgent or victim not in active else share
            if victim.ahead_bytes <= protected_bytes:
                continue  # Sorting its blocks would take a while.
            for start in sorted(victim.unread, reverse=True):
                if self._held_bytes <= room:
                    return
                if victim.ahead_bytes <= protected_bytes:
                    break
                if not _is_awaited(victim.unread[start]):
                    self._remove(victim.unread[start])

    def _recount(self) -> None:
        """Count again what the caches hold."""
        self._held_bytes = 0
        old_order, self._read, self._downloading = self._read, OrderedDict(), {}
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
        present = set(blocks)
        for block in [*(block for block in old_order if block in present), *blocks]:
            assert block.cache is not None
            if block.start not in block.cache.unread:
                self._read[block] = None


def _is_awaited(block: CachedBlock) -> bool:
    return block.cache is not None and block.cache.awaited is block


# --- one memory for each client --------------------------------------------------------------------

_memories: weakref.WeakKeyDictionary[Engine, BlockMemory] = weakref.WeakKeyDictionary()


def memory_of(engine: Engine, limit: int) -> BlockMemory:
    """Return the memory that all open files of a client share.

    Args:
        engine: The engine of the client.
        limit: Bytes that a new memory may hold.
    """
    memory = _memories.get(engine)
    if memory is None:
        memory = _memories.setdefault(engine, BlockMemory(limit))
    return memory


def _start_over() -> None:
    """In a forked child: threads of the parent may hold the locks for ever, amid any change."""
    for memory in list(_memories.values()):
        memory.start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)
