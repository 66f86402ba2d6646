"""Memory for stored objects, lent again and again: touching fresh pages costs as much as decoding."""

from __future__ import annotations

import ctypes
import functools
import os
from collections import deque
from typing import Optional

__all__ = ["BufferPool", "PooledBuffer", "tune_allocator"]

_STEP = 256 * 1024
#: A larger buffer is not kept: it would outlive the rare block that needs it.
_LARGEST_KEPT = 9 * 1024 * 1024

#: Of glibc's malloc.h, for mallopt.
_M_ARENA_MAX = -8
#: Arenas at most, however many processors: each may keep some 20 MB.
_MOST_ARENAS = 8


class PooledBuffer:
    """One borrowed buffer, as large as it is asked to be; a context manager that gives it back."""

    __slots__ = ("_memory", "_pool")

    def __init__(self, memory: bytearray, pool: Optional[BufferPool] = None) -> None:
        self._memory = memory
        self._pool = pool

    def view(self, size: int) -> memoryview:
        """``size`` writable bytes of unspecified content, valid until the release or the next call."""
        if len(self._memory) < size:
            self._memory = bytearray(size + -size % _STEP)
        return memoryview(self._memory)[:size]

    def __enter__(self) -> PooledBuffer:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.release(self._memory)


@functools.cache
def tune_allocator() -> None:
    """Have glibc keep what large results leave behind for the next ones, in few places. Once a process.

    It maps what is over a threshold anew each time, and gives back what is free over twice that: of
    results of 4 or 8 MiB, most, and each then costs as much in page faults as in decoding. The
    threshold is that of the largest mapping that was freed before, up to 32 MiB. So one is freed that
    holds a part of 8 MiB with some room; it is never touched, and elsewhere it does nothing.

    It also keeps that much in each of its arenas, eight a processor, and hands them out to threads in
    turn: with many threads, hundreds of megabytes that nobody uses. One a processor is as fast for
    threads that share Python's lock. Whoever set a number of their own keeps it.
    """
    bytes(9 * 1024 * 1024)
    if not _is_glibc() or "MALLOC_ARENA_MAX" in os.environ:
        return
    if "glibc.malloc.arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, max(2, min(os.cpu_count() or 1, _MOST_ARENAS)))


def _is_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, OSError, ValueError):
        return False


class BufferPool:
    """Lends buffers, the one returned last first, since that one is still in the processor's cache.

    Thread-safe. Keeps as many as threads can use at the same time, two a processor (what is received,
    what is decoded), and lets go of the rest.
    """

    def __init__(self) -> None:
        self._free: deque[bytearray] = deque()
        self._most = 2 * (os.cpu_count() or 1)

    def acquire(self) -> PooledBuffer:
        """Return a buffer, which a ``with`` statement releases."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = bytearray()
        return PooledBuffer(memory, self)

    def release(self, memory: bytearray) -> None:
        """Take the memory of a buffer that is no longer used."""
        if len(self._free) < self._most and len(memory) <= _LARGEST_KEPT:
            self._free.append(memory)
