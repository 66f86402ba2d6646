"""What a process of the command line needs before the rest of the package is imported.

The console script and ``python -m ctera_direct_sync`` both import the package before its command line can
run. In these processes alone, `prepare` is called first. An import in any other process changes nothing.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
from typing import NoReturn

__all__ = ["end", "is_command", "open_descriptors", "prepare"]

_SCRIPT = re.compile(r"ctera-direct(-script\.pyw?|\.exe)?", re.IGNORECASE)
_MODULE = re.compile(r"(-\w*m)?ctera_direct_sync(\.__main__|\.cli)?")

_USAGE = 2


def is_command() -> bool:
    """Return whether this process was started as ``ctera-direct``, or as the package's module."""
    arguments: list[str] = getattr(sys, "argv", [])
    if not arguments:
        return False
    if arguments[0] != "-m":
        return bool(_SCRIPT.fullmatch(os.path.basename(arguments[0])))
    # "-m" stands for any module that is being looked for: the interpreter's own arguments name it.
    # Python 3.9 does not keep them: there, the process is prepared when the command line begins.
    given: list[str] = getattr(sys, "orig_argv", [])
    return len(given) > len(arguments) and bool(_MODULE.fullmatch(given[-len(arguments)]))


def prepare() -> None:
    """Make the process one that ends quietly on Ctrl-C, and whose descriptors 0, 1 and 2 are open.

    SIGUSR2 does not end it any more.
    """
    open_descriptors()
    main = threading.current_thread() is threading.main_thread()
    toggle = getattr(signal, "SIGUSR2", None)  # Not on Windows.
    if main and toggle is not None and signal.getsignal(toggle) is signal.SIG_DFL:
        # Its default action ends the process. A command sets a handler that toggles its log.
        signal.signal(toggle, _note_nothing)
    if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until there is something to tidy up, the signal itself ends the process: no traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _note_nothing(number: int, frame: object) -> None:
    """Do nothing. A signal that is ignored instead would be ignored by child processes, too."""


def open_descriptors() -> None:
    """Put the null device in the place of each standard descriptor that is closed.

    The next file or socket would get the descriptor's number, and what is meant for standard output or
    standard error. The null device is opened for the opposite direction, so that to use the descriptor
    is an error, as it is with one that is closed.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError as error:
            if error.errno != errno.EBADF:
                continue
            opened = os.open(os.devnull, os.O_RDONLY if fd else os.O_WRONLY)
            if opened != fd:
                os.dup2(opened, fd)
                os.close(opened)
    if sys.stderr is None:
        # print(file=None), and others that take None for the default, would write to standard output.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - kept open


def end(error: Exception) -> NoReturn:
    """End the process because the package cannot be imported: one line, and the code of wrong usage."""
    sys.stderr.write(f"ctera-direct: {' '.join(str(error).split())}\n")
    raise SystemExit(_USAGE)
