"""A queue that one thread reads, with a timeout that holds."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Generic, TypeVar

from .sync import TIMEOUT_MAX, Empty, Lock, monotonic
from .waits import STEP_S

__all__ = ["Inbox"]

T = TypeVar("T")


class Inbox(Generic[T]):
    """Messages of many threads for one reader.

    `SimpleQueue.get` with a timeout may wait for ever (see `Gate`). `Queue` has locks that an interrupt
    can leave locked.
    """

    def __init__(self) -> None:
        self._messages: deque[T] = deque()
        # Free while there may be a message that the reader has not seen.
        self._latch = Lock()

    def put(self, message: T) -> None:
        """Add a message, and wake the reader."""
        self._messages.append(message)
        with contextlib.suppress(RuntimeError):
            self._latch.release()

    def get_nowait(self) -> T:
        """Return the oldest message.

        Raises:
            Empty: There is none.
        """
        try:
            return self._messages.popleft()
        except IndexError:
            raise Empty from None

    def get(self, timeout: float | None = None) -> T:
        """Wait for a message, and return the oldest.

        Args:
            timeout: The most seconds to wait; None: no limit.

        Raises:
            Empty: None has come in time.
        """
        deadline = monotonic() + (TIMEOUT_MAX if timeout is None else timeout)
        while not self._messages:
            remaining = deadline - monotonic()
            if remaining <= 0:
                raise Empty
            # Where it is free already, the messages that freed it may have been read: look once more.
            self._latch.acquire(timeout=min(remaining, STEP_S))
        return self.get_nowait()
