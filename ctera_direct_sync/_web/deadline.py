"""A limit of the time until a response begins."""

from __future__ import annotations

import logging
import math
import threading
from typing import Callable

__all__ = ["Deadline"]

_log = logging.getLogger("ctera_direct_sync.wsgi")


class Deadline:
    """A timer that cancels a wait after some seconds, unless `meet` was called before."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._lock = threading.Lock()
        self._met = False
        self._cancel: Callable[[], object] | None = None
        self._timer: threading.Timer | None = None
        if math.isfinite(seconds):
            self._timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), self._pass)
            self._timer.daemon = True
            self._timer.name = "ctera-direct-timeout"
            try:
                self._timer.start()
            except RuntimeError:  # The process has as many threads as it may have.
                self._timer = None
                _log.warning("no thread could be started: a response waits without a timeout")

    def cancel_by(self, cancel: Callable[[], object]) -> None:
        """Call `cancel` when the time is up, or now if it is up already."""
        with self._lock:
            self._cancel = cancel
            passed = self.passed
        if passed:
            cancel()

    def _pass(self) -> None:
        with self._lock:
            if self._met:
                return
            self.passed = True
            cancel = self._cancel
        if cancel is not None:
            cancel()

    def meet(self) -> bool:
        """Cancel nothing from now on. Return whether the time was not up yet."""
        with self._lock:
            self._met = not self.passed
            return self._met

    def end(self) -> None:
        """Stop the clock."""
        self.meet()
        if self._timer is not None:
            self._timer.cancel()
