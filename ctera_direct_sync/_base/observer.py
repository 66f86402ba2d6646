"""Telling the user's ``on_event`` hook what happens to each block."""

from __future__ import annotations

import logging
import threading
import time
from typing import Callable, Optional, cast

from ..types import BlockEvent, BlockEventName, Chunk
from .worker_pool import log_error, on_worker_thread

__all__ = ["Observer"]

_log = logging.getLogger(__name__)


class Observer:
    """Calls the hook, where there is one: then it is ``active``. To ask first spares many calls.

    A hook that raises is logged and called again the next time: it must not cost anyone a block.
    On a worker thread that holds for SystemExit and its like as well. On the caller's own thread
    those reach the caller, as KeyboardInterrupt must.
    """

    __slots__ = ("_hook", "active")

    def __init__(self, hook: Optional[Callable[[BlockEvent], object]] = None) -> None:
        self._hook = hook
        self.active = hook is not None

    def emit(self, name: str, file_id: int, chunk: Chunk, nbytes: int, detail: str = "") -> None:
        """Report that ``name`` happened to ``nbytes`` bytes of a block, now, on this thread."""
        if self._hook is None:
            return
        worker = threading.current_thread().name
        event = BlockEvent(
            cast("BlockEventName", name),
            time.perf_counter(),
            file_id,
            chunk.number,
            chunk.offset,
            nbytes,
            worker,
            detail,
        )
        try:
            self._hook(event)
        except BaseException as error:
            if not isinstance(error, Exception) and not on_worker_thread():
                raise
            log_error(_log, "on_event raised for the event %r", name)
