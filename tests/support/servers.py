"""Servers as processes of their own: when they serve, what they print, and that they end.

A server that does not end in time fails its test with what it printed, and with the stacks of its
processes (`with_stacks.py`).
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, NamedTuple

__all__ = ["Site", "gunicorn", "listening_process", "python"]

_HERE = Path(__file__).parent

#: Seconds that a server may take to start. A worker of gevent's patches the standard library for several
#: seconds on a busy machine.
_START_S = 60.0
#: Seconds that a server may take to end. gunicorn kills workers that hang after 30 seconds, and then looks
#: as if it had ended well.
_END_S = 25.0
#: Seconds for the stacks of each process of a server that hangs.
_STACKS_S = 10.0

_ADDRESS = re.compile(r"(?:[Ll]istening (?:at: |on )|running on )(?:http://127\.0\.0\.1:)?(\d+)")
#: What `gunicorn_config.py` prints once a worker has its signal handlers.
_WORKER_IS_READY = "Worker is ready"


def python(*arguments: str) -> list[str]:
    """Return the command line of a Python program that shows its stacks when it hangs.

    Args:
        *arguments: A module or a file, and its arguments.
    """
    return [sys.executable, str(_HERE / "with_stacks.py"), *arguments]


def gunicorn(*options: str) -> list[str]:
    """Return gunicorn's command line, on a port that the kernel chooses.

    Args:
        *options: Further options, and the application.
    """
    from gunicorn.config import KNOWN_SETTINGS

    flags = {flag for setting in KNOWN_SETTINGS for flag in setting.cli or ()}
    # Newer ones would leave a control socket behind.
    without = ["--no-control-socket"] * ("--no-control-socket" in flags)
    config = str(_HERE / "gunicorn_config.py")
    return [*python("gunicorn"), "--bind", "127.0.0.1:0", "--config", config, *without, *options]


class Site(NamedTuple):
    """A running server."""

    port: int
    """Its port."""
    printed: queue.SimpleQueue[str]
    """The lines of its standard output."""
    process: subprocess.Popen[str]
    """Its process."""
    errors: _Errors
    """What it printed to its standard error, as a text by `str`."""

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def wait_for(self, line: str) -> None:
        """Wait until the server has printed a line; queue.Empty if it does not."""
        while self.printed.get(timeout=60) != line:
            pass


@contextmanager
def listening_process(line: list[str], cwd: Path, variables: dict[str, str]) -> Iterator[Site]:
    """Start a server, and end it afterwards.

    Args:
        line: Its command line, by `gunicorn` or `python`.
        cwd: Its working directory.
        variables: What its environment has besides this process's.
    """
    environment = {**os.environ, **variables, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        line, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    printed: queue.SimpleQueue[str] = queue.SimpleQueue()
    errors = _Errors()
    readers = [
        threading.Thread(target=_read, args=arguments)
        for arguments in (
            (process.stdout, lambda line: printed.put(line.rstrip())),
            (process.stderr, errors.add),
        )
    ]
    for reader in readers:
        reader.start()
    try:
        yield Site(_wait_until_it_serves(line, process, errors), printed, process, errors)
        _end(process, errors)
    finally:
        # Its group has a process as long as the pipe is open.
        if process.poll() is None or not errors.wait_for_end(0):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for reader in readers:
            reader.join()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


class _Errors:
    """The lines of a server's standard error, and the end of it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._has_ended = False

    def add(self, line: str) -> None:
        """Take a line. "" is the end."""
        with self._changed:
            self._lines.append(line)
            self._has_ended = not line
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], object], seconds: float) -> bool:
        """Wait until a condition holds, or until the lines end. Return whether it holds."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_ended or condition(), seconds)
            return bool(condition())

    def wait_for_end(self, seconds: float) -> bool:
        """Wait until no process has the pipe open. Return whether that is so."""
        return self.wait_for(lambda: self._has_ended, seconds)

    def count(self, text: str) -> int:
        """Return how many lines have a text."""
        return sum(text in line for line in self._lines)

    def __str__(self) -> str:
        return "".join(self._lines)


def _read(stream: Any, take: Callable[[str], object]) -> None:
    for line in stream:
        take(line)
    take("")


def _wait_until_it_serves(line: list[str], process: subprocess.Popen[str], errors: _Errors) -> int:
    """Return the port of a server once all of its workers have begun."""
    # Until a worker of gunicorn's has its own signal handlers, it has those of the master, and a SIGTERM
    # is lost. The master then waits for it for 30 seconds (gunicorn 27, whatever the application).
    workers = 0
    if "gunicorn" in line:
        workers = int(line[line.index("--workers") + 1]) if "--workers" in line else 1
    serves = errors.wait_for(
        lambda: _ADDRESS.search(str(errors)) and errors.count(_WORKER_IS_READY) >= workers, _START_S
    )
    found = _ADDRESS.search(str(errors))
    if not serves or found is None:
        _show_stacks(process, errors)
        raise AssertionError(f"the server did not start in {_START_S:.0f} s:\n{errors}")
    return int(found[1])


def _end(process: subprocess.Popen[str], errors: _Errors) -> None:
    process.terminate()
    # All of its processes have the pipe, also a worker that outlives its master.
    if not errors.wait_for_end(_END_S):
        _show_stacks(process, errors)
        raise AssertionError(f"the server did not end in {_END_S:.0f} s:\n{errors}")
    process.wait()


def _show_stacks(process: subprocess.Popen[str], errors: _Errors) -> None:
    """Have each process of a server print its stacks."""
    for pid in _session_of(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGXCPU)
        # One after the other, so that their lines do not mix. `with_stacks.py` prints the last one.
        errors.wait_for(lambda pid=pid: errors.count(f"end of the stacks of {pid}"), _STACKS_S)


def _session_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes of a server, whose session they have to themselves."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else [str(process.pid)]:
        with contextlib.suppress(ValueError, OSError):
            if os.getsid(int(name)) == process.pid:
                found.append(int(name))
    return found
