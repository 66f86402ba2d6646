"""Signals that ask a command to end: they become an exception, so that the command tidies up.

SIGUSR2 toggles debug logging. The interpreter's handler does nothing, if a thread watches the signals: this
thread toggles. No lock of logging is then waited for amid any step of the main thread.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, Callable

__all__ = ["Interrupts", "Signalled"]

#: Toggles debug logging. None on Windows.
_TOGGLE: int | None = getattr(signal, "SIGUSR2", None)

#: Seconds within which a further signal cannot break off the tidying up after the last one.
_GRACE_S = 1.0

#: Seconds that the main thread has to hear of a signal before the watch wakes it.
_DELIVERY_S = 0.05


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

    Args:
        own_process: Whether the process is the command's own, so that `watched` may change it.
        on_toggle: Called for each SIGUSR2 in a process of the command's own.
    """

    def __init__(
        self, *, own_process: bool = False, on_toggle: Callable[[], object] | None = None
    ) -> None:
        self._own_process = own_process
        self._on_toggle = on_toggle
        self._watch: _Watch | None = None
        self._before: dict[int, Any] = {}
        self._last: float | None = None
        self._held = False
        self._pending: int | None = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                # A parent that started us with the signal ignored, such as nohup, wants it ignored.
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._handle)
            # It is not set back, since the signal may still come at the end of the process.
            if (
                self._own_process
                and _TOGGLE is not None
                and signal.getsignal(_TOGGLE) not in (signal.SIG_IGN, None)
            ):
                signal.signal(_TOGGLE, self._handle_toggle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """See to it, until the block is left, that no signal is lost: see `_Watch`."""
        watch = _Watch(self._forget, self._on_toggle)
        if not (self._own_process and self._before and hasattr(select, "poll") and watch.start()):
            yield
            return
        self._watch = watch
        try:
            yield
        finally:
            self._watch = None
            watch.stop()

    def _forget(self) -> None:
        self._last = None

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

    def _handle_toggle(self, number: int, _: FrameType | None) -> None:
        if self._watch is None and self._on_toggle is not None:
            self._on_toggle()

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._watch is not None:
            self._watch.handled += 1
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


class _Watch:
    """A thread that wakes the main thread until it has handled a signal that came.

    Python runs handlers in the main thread, between two of its instructions. It may look for signals, and
    then sleep in a lock: a signal that comes in between, or that another thread gets, waits until something
    wakes the main thread. On a busy machine one interrupted batch in twenty never ended.

    An exception that a handler raises within a finalizer is lost as well: the signal is then sent again.

    Args:
        forget: Called if an exception of a handler was lost.
        on_toggle: Called for each SIGUSR2, on the thread of the watch.

    Attributes:
        handled: How many times a handler has run.
    """

    def __init__(
        self, forget: Callable[[], None], on_toggle: Callable[[], object] | None = None
    ) -> None:
        self.handled = 0
        self._forget = forget
        self._on_toggle = on_toggle
        self._lost = False
        self._main = threading.get_ident()
        self._before = -1
        self._reading, self._writing = -1, -1
        self._thread = threading.Thread(target=self._run, name="ctera-direct-signals", daemon=True)
        self._hook = sys.unraisablehook

    def start(self) -> bool:
        """Start the thread; return False where threads are so scarce that the command needs it."""
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        probe = threading.Thread(target=int, daemon=True)
        try:
            self._thread.start()
            probe.start()
            probe.join()
        except RuntimeError:
            self._end()
            return False
        self._before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        sys.unraisablehook = self._on_unraisable
        return True

    def stop(self) -> None:
        """End the thread, and give back what `start` took."""
        sys.unraisablehook = self._hook
        signal.set_wakeup_fd(self._before)
        self._end()

    def _end(self) -> None:
        os.close(self._writing)
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._reading)

    def _on_unraisable(self, unraisable: Any) -> None:
        lost = unraisable.exc_value
        if isinstance(lost, Signalled):
            self._forget()
            self._lost = True
            with contextlib.suppress(OSError):
                os.write(self._writing, bytes([lost.number]))
        else:
            self._hook(unraisable)

    def _toggle(self, numbers: bytes) -> bytes:
        """Do what SIGUSR2 asks for. Return the other signals."""
        if _TOGGLE is None or self._on_toggle is None:
            return numbers
        for _ in range(numbers.count(_TOGGLE)):
            self._on_toggle()
        return numbers.replace(bytes([_TOGGLE]), b"")

    def _run(self) -> None:
        """Wait for the bytes that Python writes for each signal that it takes note of."""
        poller = select.poll()
        poller.register(self._reading, select.POLLIN)
        heard = 0
        while True:
            poller.poll()
            numbers = os.read(self._reading, 4096)
            if not numbers:
                return  # `stop` has closed the other end.
            numbers = self._toggle(numbers)
            if not numbers:
                continue
            time.sleep(_DELIVERY_S)
            handled = self.handled
            if self._lost or handled == heard:
                # The signal makes a sleeping call return. It is itself noted here, until a handler ran.
                self._lost = False
                signal.pthread_kill(self._main, numbers[-1])
            else:
                heard = handled
