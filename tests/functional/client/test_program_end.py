"""The end of the program: what a thread waits for goes on, and nothing else holds the program up."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from tests.faults.killing import environment

SIZE = 30_000
PROGRAM = Path(__file__).parent / "programs" / "end_of_program.py"
#: Seconds within which a program ends that nothing holds up: it starts and waits 2 s for its reads.
SOON = 20


def run(portal: Emulator, file_id: int, who: str, what: str) -> tuple[str, str, float]:
    """What the program printed, complained of, and how long it took."""
    variables = {**environment(portal, READ_TIMEOUT="600"), "FILE_ID": str(file_id)}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(PROGRAM), who, what],
        env={**variables, "SIZE": str(SIZE)}, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr, time.monotonic() - began


@pytest.mark.parametrize("who", ["thread", "pool"])
@pytest.mark.parametrize("what", ["stream", "download", "batch", "late"])
def test_work_of_other_threads_goes_on(portal: Emulator, who: str, what: str) -> None:
    """The main thread ends: what a thread of the user's, or of their pool, waits for is whole."""
    portal.latency = 0.02
    file_id = portal.add(SyntheticSource(SIZE, seed=3), block_size=1000)
    assert run(portal, file_id, who, what)[:2] == ("whole", "")


@pytest.mark.parametrize("what", ["stream", "download", "batch"])
def test_calls_of_exit_handlers(portal: Emulator, what: str) -> None:
    """A client works in handlers that run as the program ends."""
    file_id = portal.add(SyntheticSource(SIZE, seed=3), block_size=1000)
    assert run(portal, file_id, "atexit", what)[:2] == ("whole", "")


@pytest.mark.parametrize("who", ["daemon", "futures"])
def test_nothing_else_holds_the_program_up(portal: Emulator, who: str) -> None:
    """Daemon threads and futures that no thread waits for end with it, though the storage stalls."""
    file_id = portal.add(SyntheticSource(SIZE, seed=3), block_size=1000)
    portal.faults.add("storage", times=None, action=faults.stall())
    said, complaints, seconds = run(portal, file_id, who, "wait_for_ever")
    assert "closed" not in said and complaints == ""
    assert seconds < SOON
