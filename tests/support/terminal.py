"""A program on a pseudo-terminal of its own, as a person uses it."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

__all__ = ["Terminal"]

_TIMEOUT_S = 60.0

#: Makes the terminal the controlling one, and becomes the program. The tests' own process has threads, so
#: it cannot do this after its fork.
_LAUNCH = [
    *(sys.executable, "-I", "-S", "-c"),
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])",
]


class Terminal:
    """A running program, what it has shown, and a keyboard. Its terminal controls it: Ctrl-C works.

    Args:
        line: The program and its arguments.
        **options: As for `subprocess.Popen`.
    """

    def __init__(self, line: Sequence[str], **options: Any) -> None:
        import pty

        self._master, slave = pty.openpty()
        for name in ("stdin", "stdout", "stderr"):
            options.setdefault(name, slave)
        self.process = subprocess.Popen([*_LAUNCH, *line], start_new_session=True, **options)
        os.close(slave)
        self.shown = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        os.close(self._master)

    def type(self, text: str | bytes) -> None:
        """Press keys: a line break is Enter, U+0003 Ctrl-C, U+0004 Ctrl-D."""
        os.write(self._master, text if isinstance(text, bytes) else text.encode())

    def expect(self, text: str) -> bytes:
        """Wait until the program has shown a text since the last call, and return all up to it."""
        wanted, deadline = text.encode(), time.monotonic() + _TIMEOUT_S
        while wanted not in self.shown:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} was not shown, but {self.shown!r}")
        before, _, self.shown = self.shown.partition(wanted)
        return before + wanted

    def echoes(self) -> bool:
        """Return whether the terminal shows what is typed."""
        import termios

        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def wait(self) -> int:
        """Wait for the end of the program, and return its exit code. `shown` has the rest."""
        deadline = time.monotonic() + _TIMEOUT_S
        while self._read(deadline):
            pass
        return self.process.wait(_TIMEOUT_S)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise AssertionError(f"nothing more was shown after {self.shown!r}")
        part = b""
        # Linux: EIO once no process has the other end open.
        with contextlib.suppress(OSError):
            part = os.read(self._master, 4096)
        self.shown += part
        return bool(part)
