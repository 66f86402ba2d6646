"""Resume after kill -9 at random moments, with faults on: ``python -m tests.faults.killing``.

Prints its figures, which docs/reliability.md keeps. :func:`kill_and_resume` is what a test runs on a
smaller file.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from ctera_direct_sync.emulator import Emulator, RequestRecord, SyntheticSource, faults

MIB = 1024 * 1024
ROOT = Path(__file__).parents[2]


class Figures(NamedTuple):
    """What a series of kills came to."""

    size: int
    kills: int
    killed_while_downloading: int
    bytes_sent: int
    requests: int
    faults: int
    durable_fetched_again: int
    right: bool
    seconds: float


def environment(emulator: Emulator, **more: str) -> dict[str, str]:
    """A program's environment: the portal and its keys."""
    return {
        **os.environ,
        "CTERA_DIRECT_URL": emulator.url,
        "CTERA_DIRECT_ACCESS_KEY_ID": emulator.access_key_id,
        "CTERA_DIRECT_SECRET_ACCESS_KEY": emulator.secret_access_key,
        **more,
    }


def start(emulator: Emulator, *arguments: object, **more: str) -> subprocess.Popen[str]:
    """Start one of programs.py."""
    command = [sys.executable, "-m", "tests.faults.programs", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment(emulator, **more), cwd=ROOT, text=True, bufsize=1,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def journal(path: Path) -> set[int]:
    """Offsets of the pieces that the journal beside ``path`` claims."""
    try:
        lines = (path.parent / f".{path.name}.ctera-journal").read_bytes().partition(b"\n")[2]
    except FileNotFoundError:
        return set()
    return {int(line[:16], 16) for line in lines.splitlines() if len(line) == 25}


def add_faults(emulator: Emulator, dice: random.Random, times: int) -> list[Any]:
    """Faults of every transient kind, spread over the requests to come."""
    kinds = [
        faults.reset(), faults.reset(1000), faults.cut(), faults.cut(5000), faults.short(),
        faults.status(503), faults.status(403), faults.garbage(), faults.stall(5000),
    ]  # fmt: skip
    return [
        emulator.faults.add("storage", times=1, skip=dice.randrange(8), action=dice.choice(kinds))
        for _ in range(times)
    ]


def kill_and_resume(
    folder: Path, size: int, kills: int, seed: int, fault_count: int = 3, **options: Any
) -> Figures:
    """Download a file in processes that are killed at random moments, until it is complete."""
    dice = random.Random(seed)
    source = SyntheticSource(size, seed=seed)
    path = folder / "target"
    with Emulator() as emulator:
        file_id = emulator.add(source, **options)
        began = time.monotonic()
        killed = again = met = 0
        sent: list[RequestRecord] = []
        for _ in range(kills):
            added = add_faults(emulator, dice, fault_count)
            durable = journal(path)
            emulator.log.clear()
            finished = _run_and_kill(emulator, file_id, path, dice)
            sent += emulator.requests
            again += _fetched(emulator, durable, options.get("block_size", 0))
            met += sum(fault.hits for fault in added)
            emulator.faults.clear()
            if finished:
                # Complete before its time: the next one begins anew, so that all kills are kills.
                assert _checksum(path) == _expected(source)
                path.unlink()
            else:
                killed += 1
        emulator.log.clear()
        durable = journal(path)
        last = start(emulator, "download", file_id, path, "resume")
        out, err = last.communicate(timeout=600)
        assert last.returncode == 0, err
        assert out.splitlines()[-1].startswith("done")
        sent += emulator.requests
        again += _fetched(emulator, durable, options.get("block_size", 0))
        seconds = time.monotonic() - began
        storage = [record for record in sent if record.where == "storage"]
    right = _checksum(path) == _expected(source)
    return Figures(size, kills, killed, sum(record.sent for record in storage), len(storage), met,
                   again, right, seconds)  # fmt: skip


def _run_and_kill(emulator: Emulator, file_id: int, path: Path, dice: random.Random) -> bool:
    """One process, killed after a random number of steps and a random moment; whether it finished."""
    process = start(emulator, "download", file_id, path, "resume", READ_TIMEOUT="0.5")
    assert process.stdout is not None and process.stderr is not None
    steps = dice.randrange(1, 12)
    finished = False
    with process:
        for line in process.stdout:
            finished = finished or line.startswith("done")
            steps -= 1
            if steps <= 0:
                break
        # Not at a step's end only: in the middle of a write, a read, a rename.
        threading.Event().wait(dice.random() * 0.03)
        process.kill()
        rest = process.stdout.read()
        finished = finished or "\ndone" in rest or rest.startswith("done")
        errors = process.stderr.read()
        assert "Traceback" not in errors, errors
    return finished


def _fetched(emulator: Emulator, durable: set[int], block_size: int) -> int:
    """Requests for pieces that the journal held before the process began."""
    count = 0
    for record in emulator.log.records(where="storage"):
        if record.range is not None:
            offset = int(record.range.partition("=")[2].partition("-")[0])
        else:
            offset = ((record.block or 1) - 1) * block_size
        count += offset in durable
    return count


def _checksum(path: Path) -> tuple[int, int]:
    total = crc = 0
    with path.open("rb") as file:
        while data := file.read(4 * MIB):
            total, crc = total + len(data), zlib.crc32(data, crc)
    return total, crc


def _expected(source: SyntheticSource) -> tuple[int, int]:
    crc = 0
    for offset in range(0, source.size, 4 * MIB):
        crc = zlib.crc32(source.read(offset, 4 * MIB), crc)
    return source.size, crc


def main() -> int:
    """Run the whole of it, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ctera-killing-") as folder:
        figures = kill_and_resume(
            Path(folder), options.mib * MIB, options.kills, options.seed, native=True
        )
    for name, value in figures._asdict().items():
        print(f"{name.replace('_', ' ')}: {value}")
    return 0 if figures.right and not figures.durable_fetched_again else 1


if __name__ == "__main__":
    sys.exit(main())
