"""Memory for stored objects, lent again and again: touching fresh pages costs as much as decoding."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["BufferPool", "Loan"]

_STEP = 256 * 1024
#: A larger buffer is not kept: it would outlive the rare block that needs it.
_LARGEST_KEPT = 9 * 1024 * 1024


class Loan:
    """One borrowed buffer, as large as it is asked to be."""

    __slots__ = ("_memory",)

    def __init__(self, memory: bytearray) -> None:
        self._memory = memory

    def reserve(self, size: int) -> memoryview:
        """``size`` writable bytes of unspecified content, valid until the loan ends or the next call."""
        if len(self._memory) < size:
            self._memory = bytearray(size + -size % _STEP)
        return memoryview(self._memory)[:size]


class BufferPool:
    """Lends buffers, the one returned last first, since that one is still in the processor's cache.

    Thread-safe. Keeps as many as threads can use at the same time, two a processor (what is received,
    what is decoded), and lets go of the rest.
    """

    def __init__(self) -> None:
        self._free: deque[bytearray] = deque()
        self._most = 2 * (os.cpu_count() or 1)

    @contextmanager
    def borrow(self) -> Iterator[Loan]:
        """A loan for the body of a ``with`` statement."""
        try:
            loan = Loan(self._free.pop())
        except IndexError:
            loan = Loan(bytearray())
        try:
            yield loan
        finally:
            if len(self._free) < self._most and len(loan._memory) <= _LARGEST_KEPT:
                self._free.append(loan._memory)
