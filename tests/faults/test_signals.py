"""Signals: Ctrl-C and SIGTERM amid transfers end the process, and leave nothing half done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from tests.faults.killing import environment, start

SIZE = 40_000
DATA = SyntheticSource(SIZE, seed=1).read(0, SIZE)

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def stalled(portal: Emulator) -> int:
    """A file of 40 blocks whose tenth never comes."""
    file_id = portal.add(DATA, block_size=1000)
    portal.faults.add("storage", file_id, 10, times=None, action=faults.stall(100))
    return file_id


def await_stall(portal: Emulator) -> None:
    """Until a request is held."""
    fault = portal.faults._faults[0]
    assert fault.wait(timeout=30)


def test_interrupted_stream(portal: Emulator, stalled: int) -> None:
    """Ctrl-C in a loop over a stream ends it, by KeyboardInterrupt and nothing else."""
    process = start(portal, "stream", stalled, READ_TIMEOUT="600")
    await_stall(portal)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode in (-signal.SIGINT, 130)
    assert err.count("Traceback") == 1 and err.rstrip().endswith("KeyboardInterrupt")
    numbers = [int(line.split()[1]) for line in out.splitlines()]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) < 10


@pytest.mark.keeps_partial
@pytest.mark.parametrize("resume", [False, True])
def test_interrupted_download(portal: Emulator, stalled: int, tmp_path: Path, resume: bool) -> None:
    """Ctrl-C in a download leaves nothing, or, to be resumed, the part file and its journal."""
    target = tmp_path / "target"
    flags = ["resume"] if resume else []
    process = start(portal, "download", stalled, target, *flags, READ_TIMEOUT="600")
    await_stall(portal)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert err.rstrip().endswith("KeyboardInterrupt")
    kept = {".target.ctera-part", ".target.ctera-journal"} if resume else set()
    assert set(os.listdir(tmp_path)) == kept


@pytest.mark.keeps_partial
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["download", "download --resume", "cat"])
def test_command_line(
    portal: Emulator, stalled: int, tmp_path: Path, command: str, number: signal.Signals
) -> None:
    """Either signal ends a command with its code and one line; a partial file only where resumed."""
    pytest.importorskip("ctera_direct_sync.cli")
    name, *flags = command.split()
    if name == "download":
        flags += ["-p", str(tmp_path / "target")]
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "ctera_direct_sync", name, *flags,
         "-f", str(stalled)], env=environment(portal), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    await_stall(portal)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert len(err.splitlines()) == 1
    if name == "cat":
        assert DATA.startswith(out.encode())
    kept = {".target.ctera-part", ".target.ctera-journal"} if "--resume" in flags else set()
    assert set(os.listdir(tmp_path)) == kept


def test_cat_into_a_pipe_that_is_closed(portal: Emulator) -> None:
    """``cat`` to a reader that has enough ends quietly."""
    pytest.importorskip("ctera_direct_sync.cli")
    file_id = portal.add(SyntheticSource(4_000_000, seed=2), block_size=100_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "ctera_direct_sync", "cat", "-f", str(file_id)],
        env=environment(portal), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdout is not None and process.stderr is not None
        assert len(process.stdout.read(1000)) == 1000
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (0, 141, -signal.SIGPIPE)
