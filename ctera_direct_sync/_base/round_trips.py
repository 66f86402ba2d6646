"""How long requests waited for their first byte, and how long their bodies took."""

from __future__ import annotations

from collections import deque
from typing import Callable

__all__ = ["RoundTrips"]

#: One judgement needs no more. Older ones are dropped, so that an engine that never asks costs no memory.
_MAX_KEPT = 512


class RoundTrips:
    """The round trips of one client's block reads since they were last asked for. Thread-safe.

    Readers append, and the engine takes: both are atomic operations of a deque.

    Attributes:
        append: Notes a response: when its request began, when its headers were there, and when its body
            was complete, in seconds. It is the deque's own, since it is called once for each block.
    """

    __slots__ = ("_kept", "append")

    def __init__(self) -> None:
        self._kept: deque[tuple[float, float, float]] = deque(maxlen=_MAX_KEPT)
        self.append: Callable[[tuple[float, float, float]], None] = self._kept.append

    def take_body_share(self) -> float | None:
        """Return for which share of their time responses received their body, and forget them.

        Returns:
            A share from 0 to 1. None: there was no response.
        """
        kept = self._kept
        whole = body = 0.0
        for _ in range(len(kept)):
            try:
                began, answered, ended = kept.popleft()
            except IndexError:  # Another thread asks, too.
                break
            whole += ended - began
            body += ended - answered
        return body / whole if whole > 0 else None
