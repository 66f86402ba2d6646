"""A cache of encoded blocks with a limit in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future


class BlockCache:
    """A cache that drops the least recently used blocks first. Thread-safe.

    Two threads never make the same block: the second one waits for the first.

    Args:
        budget: How many bytes to keep. A block that is larger is made, but not kept.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._pending: dict[Hashable, Future[bytes]] = {}
        self._size = 0

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return the block of a key, and make it first if it is not kept.

        Args:
            key: What identifies the block.
            make: Returns the block. If it raises, each waiting thread gets the error.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            future = self._pending.get(key)
            is_first = future is None
            if future is None:
                future = self._pending[key] = Future()
        if is_first:
            self._make(key, make, future)
        return future.result()

    def clear(self) -> None:
        """Drop all blocks."""
        with self._lock:
            self._kept.clear()
            self._size = 0

    def _make(self, key: Hashable, make: Callable[[], bytes], future: Future[bytes]) -> None:
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._pending[key]
            future.set_exception(error)
            raise
        with self._lock:
            del self._pending[key]
            self._keep(key, value)
        future.set_result(value)

    def _keep(self, key: Hashable, value: bytes) -> None:
        if len(value) > self._budget:
            return
        self._kept[key] = value
        self._size += len(value)
        while self._size > self._budget:
            _, oldest = self._kept.popitem(last=False)
            self._size -= len(oldest)
