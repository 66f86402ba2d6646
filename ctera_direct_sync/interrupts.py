"""Signals that ask a command to end: they become an exception, so that the command tidies up."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, Optional

__all__ = ["Interrupts", "Signalled"]

#: Seconds within which a further signal cannot break off the tidying up after the last one.
_GRACE_S = 1.0


class Signalled(BaseException):
    """A signal asks the process to end.

    Attributes:
        number: The signal's number.
        text: What happened to the command, in one word.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.text = "interrupted" if number == signal.SIGINT else "terminated"


class Interrupts:
    """A context in which SIGINT, SIGTERM and SIGHUP raise `Signalled` in the main thread.

    On other threads, which may not set handlers, the context changes nothing.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._last: Optional[float] = None
        self._held = False
        self._pending: Optional[int] = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                # A parent that started us with the signal ignored, such as nohup, wants it ignored.
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let the first signal wait until the block is left, and then raise it.

        A signal that comes later than `_GRACE_S` after another one ends the process at once. The user
        does not want to wait for the block. An error of the block is raised in place of the signal.
        """
        self._held = True
        try:
            yield
        finally:
            self._held = False
        pending, self._pending = self._pending, None
        if pending is not None:
            raise Signalled(pending)

    def _handle(self, number: int, _: Optional[FrameType]) -> None:
        now = time.monotonic()
        first, recent = self._last is None, self._last is not None and now - self._last <= _GRACE_S
        if recent:
            return
        self._last = now
        if not self._held:
            raise Signalled(number)
        if first:
            self._pending = number
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
