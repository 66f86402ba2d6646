"""SIGUSR2 turns debug logging of a running command on and off, at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ctera_direct_sync.emulator import Emulator, faults

from .conftest import DATA, assert_no_secret, started
from .test_signals import MOMENTS, signal_at

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no SIGUSR2")


def read_until(process: subprocess.Popen[bytes], text: bytes) -> list[bytes]:
    """Return the lines of standard error up to the one that holds `text`."""
    assert process.stderr is not None
    lines: list[bytes] = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(lines)


@pytest.mark.parametrize("option", [[], ["-d"]])
def test_toggles(portal: Emulator, file_id: int, tmp_path: Path, option: list[str]) -> None:
    """Each signal changes it, whatever -d said, while the main thread waits for a stalled block."""
    fault = portal.faults.add("storage", times=None, action=faults.stall())
    arguments = ["download", "--quiet", *option, "-f", file_id, "-p", tmp_path / "out"]
    with started(*arguments, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
        assert fault.wait(1, timeout=60)
        words = [b"debug logging is on", b"debug logging is off"]
        said: list[bytes] = []
        for word in reversed(words) if option else words:
            process.send_signal(signal.SIGUSR2)
            said += read_until(process, word)
        process.terminate()
        rest = process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert rest.count(b"\n") == 1 or option
    assert_no_secret(b"".join(said).decode() + rest.decode(), portal, file_id)


@pytest.mark.parametrize("moment", MOMENTS)
def test_moments(file_id: int, tmp_path: Path, moment: str) -> None:
    """While a command starts, closes and ends, the signal does not end it."""
    if moment == "imports" and sys.version_info < (3, 10):
        pytest.skip("Python 3.9 does not tell which module -m is to run before it runs")
    code, out, err = signal_at(moment, signal.SIGUSR2, file_id, tmp_path)
    assert (code, out) == (0, b"")
    assert b"Traceback" not in err
    assert moment == "closing" or err == b""
    assert (tmp_path / "out").read_bytes() == DATA


def test_many_signals(portal: Emulator, tmp_path: Path) -> None:
    """Hundreds of them at any step of a download cost no byte."""
    data = os.urandom(3_000_000)
    file_id = portal.add(data, block_size=10_000)
    fault = portal.faults.add("storage", times=1, action=faults.stall())
    target = tmp_path / "out"
    arguments = ["download", "--quiet", "-f", file_id, "-p", target]
    with started(*arguments, stderr=subprocess.DEVNULL) as process:
        assert fault.wait(1, timeout=60)
        fault.release()
        for _ in range(500):
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGUSR2)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert target.read_bytes() == data


def test_a_program_that_runs_a_command_keeps_its_signal(portal: Emulator, file_id: int) -> None:
    """The command line in another program's process does not touch the program's handler."""
    from ctera_direct_sync.cli import main

    calls: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: calls.append(number))
    try:
        assert main(["info", "-f", str(file_id)]) == 0
        os.kill(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert calls == [signal.SIGUSR2]
