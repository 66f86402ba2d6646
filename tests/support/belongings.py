"""What a test may leave behind: threads, sockets and temporary files."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

#: Seconds that threads which were told to end may take, all together. A thread that waits for a storage
#: that is silent takes ten.
PATIENCE = 8.0

_FDS = Path("/proc/self/fd")


class Belongings:
    """Threads, sockets and temporary files at one moment."""

    def __init__(self, temporary_folder: Path) -> None:
        self._folder = temporary_folder
        self._threads = set(threading.enumerate())
        self._sockets = open_sockets()
        self._files = _files(temporary_folder)

    def added(self) -> list[str]:
        """What has come since and stays, however patiently it is waited for."""
        left = [f"thread {thread.name!r}" for thread in outliving(self._threads)]
        if open_sockets() - self._sockets:
            gc.collect()
        left += sorted(open_sockets() - self._sockets)
        return left + sorted(_files(self._folder) - self._files)


def outliving(before: set[threading.Thread], but: str = "-") -> list[threading.Thread]:
    """Return the threads begun since ``before`` that do not end within `PATIENCE`.

    Args:
        before: The threads of the moment to compare with.
        but: Threads whose names begin so do not count.
    """
    deadline = time.monotonic() + PATIENCE
    for seconds in (0.2, PATIENCE):
        fresh = [each for each in threading.enumerate() if each not in before]
        fresh = [each for each in fresh if not each.name.startswith(but)]
        # tqdm's own thread watches all bars of the process, for as long as it lives; a dummy stands for
        # one that another library made, not in Python.
        fresh = [t for t in fresh if type(t).__name__ not in ("TMonitor", "_DummyThread")]
        for thread in fresh:
            while thread.ident is None and time.monotonic() < deadline:
                time.sleep(0.001)  # Another thread is about to start it: it cannot be joined yet.
            thread.join(max(0.0, min(seconds, deadline - time.monotonic())))
        alive = [thread for thread in fresh if thread.is_alive()]
        if not alive:
            return []
        gc.collect()  # The test's own frames may hold, in a cycle, what the thread works for.
    return alive


def open_sockets() -> set[str]:
    """The sockets that this process has open, by inode; none where there is no /proc to ask."""
    found = set()
    for fd in os.listdir(_FDS) if _FDS.is_dir() else ():
        try:
            target = os.readlink(_FDS / fd)
        except OSError:  # The descriptor of the listing itself.
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def _files(folder: Path) -> set[str]:
    # multiprocessing keeps one folder for as long as the process lives.
    return {name for name in os.listdir(folder) if not name.startswith("pymp-")}
