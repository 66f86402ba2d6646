"""Calls hooks, such as the user's ``on_event``, for each thing that happens to a block."""

from __future__ import annotations

import logging
from typing import Any, Callable, cast

from ..types import BlockEvent, BlockEventName, Chunk
from .sync import current_thread, perf_counter
from .worker_pool import log_error, on_worker_thread

__all__ = ["Observer"]

_log = logging.getLogger(__name__)


class Observer:
    """Calls a hook with events.

    An error of the hook is logged, and the hook is called again for the next event: an event must not
    cost a block. On a worker thread that also holds for SystemExit and KeyboardInterrupt. On the
    caller's own thread these two reach the caller.

    Args:
        hook: The hook, or None.

    Attributes:
        active: Whether there is a hook. Callers check it first, which saves most calls of `emit`.
        surround: Called with the work of each transfer that begins, and with its file ID. It returns what
            is called in the place of the work. None: the work is called as it is.
    """

    __slots__ = ("_hooks", "active", "surround")

    def __init__(self, hook: Callable[[BlockEvent], object] | None = None) -> None:
        self._hooks: tuple[Callable[[BlockEvent], object], ...] = () if hook is None else (hook,)
        self.active = hook is not None
        self.surround: Callable[[Any, int], Any] | None = None

    def add(self, hook: Callable[[BlockEvent], object]) -> None:
        """Call a further hook from now on."""
        self._hooks = (*self._hooks, hook)
        self.active = True

    def remove(self, hook: Callable[[BlockEvent], object]) -> None:
        """Call a hook of `add` no more."""
        self._hooks = tuple(each for each in self._hooks if each != hook)
        self.active = bool(self._hooks)

    def emit(self, name: str, file_id: int, chunk: Chunk, nbytes: int, detail: str = "") -> None:
        """Call the hook with a new event.

        Args:
            name: What happened; see `BlockEvent`.
            file_id: The file.
            chunk: The block, as listed.
            nbytes: The number of bytes that the event is about.
            detail: More about it, in words.
        """
        if not self._hooks:
            return
        worker = current_thread().name
        event = BlockEvent(
            cast("BlockEventName", name),
            perf_counter(),
            file_id,
            chunk.number,
            chunk.offset,
            nbytes,
            worker,
            detail,
        )
        for hook in self._hooks:
            try:
                hook(event)
            except BaseException as error:
                if not isinstance(error, Exception) and not on_worker_thread():
                    raise
                log_error(_log, "on_event raised for the event %r", name)
