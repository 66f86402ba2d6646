"""Reusable memory for stored objects, and a C allocator that keeps memory for large results.

To write to memory for the first time costs a page fault per page. For a block of 4 MiB these cost as much
as decoding it. So received and decoded bytes go to buffers that were used before.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections import deque

__all__ = ["BufferPool", "PooledBuffer", "tune_allocator"]

#: Buffers grow in steps, so that blocks of slightly different sizes share one buffer.
_GROWTH_STEP_BYTES = 256 * 1024
#: The pool frees a larger buffer: it would outlive the rare block that needs it.
_MAX_KEPT_BYTES = 9 * 1024 * 1024

#: M_ARENA_MAX of glibc's malloc.h, a parameter of mallopt(3).
_M_ARENA_MAX = -8
#: The most arenas, however many processors there are: each may keep some 20 MB.
_MAX_ARENAS = 8
#: A mapping that is a little larger than a part of 8 MiB, the largest result.
_LARGEST_RESULT_BYTES = 9 * 1024 * 1024


class PooledBuffer:
    """A buffer that grows as needed. Leaving its ``with`` block returns it to its pool.

    Args:
        memory: The memory that it starts with.
        pool: The pool that takes the memory back, or None.
    """

    __slots__ = ("_memory", "_pool")

    def __init__(self, memory: bytearray, pool: BufferPool | None = None) -> None:
        self._memory = memory
        self._pool = pool

    def view(self, size: int) -> memoryview:
        """Return `size` writable bytes with unspecified content.

        The view is valid until the next call, or until the buffer returns to its pool.
        """
        if len(self._memory) < size:
            self._memory = bytearray(size + -size % _GROWTH_STEP_BYTES)
        return memoryview(self._memory)[:size]

    def __enter__(self) -> PooledBuffer:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.release(self._memory)


class BufferPool:
    """A thread-safe pool of buffers, last in, first out: the last one is still in the processor's cache.

    The pool keeps two buffers per processor, one for a received object and one for a decoded block.
    More threads than that cannot use buffers at the same time.
    """

    def __init__(self) -> None:
        self._free: deque[bytearray] = deque()
        self._max_free = 2 * (os.cpu_count() or 1)

    def acquire(self) -> PooledBuffer:
        """Return a buffer, to be used in a ``with`` statement."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = bytearray()
        return PooledBuffer(memory, self)

    def release(self, memory: bytearray) -> None:
        """Take back the memory of a buffer that is no longer used."""
        if len(self._free) < self._max_free and len(memory) <= _MAX_KEPT_BYTES:
            self._free.append(memory)


@functools.cache
def tune_allocator() -> None:
    """Make glibc keep the memory of large results for the next ones. Only the first call has an effect.

    This changes two things for the whole process, and only under glibc.

    - The mmap threshold. glibc maps each allocation above it anew, and trims free memory above twice of
      it. Most results of 4 or 8 MiB would then cost page faults. glibc raises the threshold to the size
      of the largest mapping that was freed so far, up to 32 MiB. So this function allocates and frees a
      block that is larger than any result, without writing to it.
    - The number of arenas. glibc uses up to eight arenas per processor, and each keeps free memory:
      with many threads, hundreds of megabytes in all. One arena per processor is as fast for threads
      that share Python's lock. A number that the user has set by an environment variable stays.
    """
    bytes(_LARGEST_RESULT_BYTES)
    if not _is_glibc() or "MALLOC_ARENA_MAX" in os.environ:
        return
    if "glibc.malloc.arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, max(2, min(os.cpu_count() or 1, _MAX_ARENAS)))


def _is_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, OSError, ValueError):
        return False
