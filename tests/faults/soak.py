"""A long run of everything at once: ``make soak MINUTES=n``, ``python -m tests.faults.soak --minutes n``.

One process is the emulator, and makes faults all the time. Another is a user's: threads that share a
client take random files by random ways in, leave streams, cancel futures, close clients amid transfers,
fork, and are killed and resume. Every byte that comes is compared. The figures say what was done, what
was met, and whether threads, descriptors or memory grew; docs/reliability.md keeps those of a long run.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import os
import random
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from tests.faults.soak_user import Sample, Tally, User, make_client

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
THREADS = 3
SAMPLE_SECONDS = 2.0


# --- the emulator's process ----------------------------------------------------------------------------


def populate(emulator: Emulator, dice: random.Random) -> list[Sample]:
    """Files of every kind; their objects declare checksums."""
    samples = []
    for index in range(48):
        size = int(2 ** dice.uniform(0, 22.5))
        options: dict[str, Any] = {
            "cipher": dice.choice(["AES-CBC", "AES-GCM", None]),
            "compression": dice.choice(["SNAPPY", "SNAPPY-RAW", "GZIP", "LZ4", "NONE"]),
            "block_size": [max(size // 40, int(2 ** dice.uniform(10, 20))) for _ in range(3)],
            "listing": dice.choice(["8.3", "ranged"]),
            "checksums": [dice.choice(["x-goog-hash", "x-amz-checksum-crc32c"])],
        }
        file_id = emulator.add(SyntheticSource(size, seed=index), **options)
        samples.append(Sample(file_id, size, index))
    for index in range(48, 52):
        size = dice.randrange(1, 24 * MIB)
        file_id = emulator.add(SyntheticSource(size, seed=index), native=True)
        samples.append(Sample(file_id, size, index))
    return samples


class Trouble:
    """Makes faults until it is told to stop, and counts those that were met."""

    #: Those that damage what is sent, for files that have blocks and checksums.
    _DAMAGING: tuple[Callable[[], faults.Action], ...] = (
        faults.corrupt, lambda: faults.replace(b"<html></html>"),
        lambda: faults.content_length(100), faults.gzip_encoding,
    )  # fmt: skip
    _PASSING: tuple[Callable[[], faults.Action], ...] = (
        faults.reset, lambda: faults.reset(500), faults.cut, lambda: faults.cut(500), faults.short,
        faults.garbage, faults.chunked, lambda: faults.chunked(cut=300), faults.redirect,
        lambda: faults.status(503), lambda: faults.status(429, {"Retry-After": "0"}),
        lambda: faults.status(500), lambda: faults.status(403), lambda: faults.content_length(10**7),
        lambda: faults.content_length(None), faults.stall, lambda: faults.stall(500),
        faults.ignore_range, lambda: faults.delay(0.05),
    )  # fmt: skip
    _PORTAL: tuple[Callable[[], faults.Action], ...] = (
        faults.reset, faults.cut, faults.short, lambda: faults.status(503), faults.stall,
        lambda: faults.status(429, {"Retry-After": "0"}), faults.redirect, faults.chunked,
    )  # fmt: skip

    def __init__(self, emulator: Emulator, samples: list[Sample], dice: random.Random) -> None:
        self.met: Counter[str] = Counter()
        self.expiries = 0
        self._emulator = emulator
        files = emulator.files
        # A part of a plaintext object has nothing that it could be verified by.
        self._blocks = [
            sample.file_id for sample in samples[:48]
            if files[sample.file_id].cipher or files[sample.file_id].compression != "NONE"
        ]  # fmt: skip
        # Of the formats AES-GCM alone ties a block to its place: another of its length passes else.
        self._tied = [each for each in self._blocks if files[each].cipher == "AES-GCM"]
        self._dice = dice
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._make, name="trouble")

    def __enter__(self) -> Trouble:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _make(self) -> None:
        rounds = 0
        while not self._over.is_set():
            added = [self._one() for _ in range(20)]
            self._over.wait(0.5)
            # What stalls goes on only after the client's timeout, or the emulator's rounds.
            rounds += 1
            if rounds % 3 == 0:
                self._over.wait(1.0)
            self._emulator.faults.clear()
            self.met.update({fault.action.kind: fault.hits for fault in added if fault.hits})
            if rounds % 5 == 0:
                self._emulator.expire_urls()
                self.expiries += 1

    def _one(self) -> faults.Fault:
        dice, table = self._dice, self._emulator.faults
        skip = dice.randrange(30)
        kind = dice.random()
        if kind < 0.15:
            return table.add("portal", skip=skip // 10, action=dice.choice(self._PORTAL)())
        if kind < 0.2:
            return table.add("storage", dice.choice(self._tied), action=faults.swap(1))
        if kind < 0.4:
            file_id = dice.choice(self._blocks)
            return table.add("storage", file_id, action=dice.choice(self._DAMAGING)())
        return table.add("storage", skip=skip, action=dice.choice(self._PASSING)())


# --- the user's process --------------------------------------------------------------------------------


def use(samples: list[Sample], seconds: float, seed: int) -> dict[str, Any]:
    """The user's process: everything, for so long."""
    logging.disable(logging.WARNING)  # Thousands of retries are told in the counts.
    # Python 3.12 warns of a fork beside threads: that this one is safe is what is tested.
    warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
    tally, began = Tally(), time.monotonic()
    baseline = (threading.active_count(), len(os.listdir("/proc/self/fd")))
    client = make_client(tally)
    users = [User(client, samples, tally, seed + index) for index in range(THREADS)]
    threads = [
        threading.Thread(target=user.work, args=(began + seconds,), name=f"user-{index}")
        for index, user in enumerate(users)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(SAMPLE_SECONDS)
            tally.sample(began)
    client.close()
    gc.collect()
    after = (threading.active_count(), len(os.listdir("/proc/self/fd")))
    return {
        "counts": dict(sorted(tally.counts.items())), "problems": tally.problems[:20],
        "problem count": len(tally.problems),
        "threads, descriptors before": baseline, "threads, descriptors after": after,
        "samples": tally.samples,
    }  # fmt: skip


# --- both together -------------------------------------------------------------------------------------


def slope(points: list[tuple[float, float]]) -> float:
    """The least-squares slope of y over x."""
    count = len(points)
    if count < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def soak(seconds: float, seed: int = 1) -> dict[str, Any]:
    """Run it, and return the figures."""
    dice = random.Random(seed)
    with contextlib.ExitStack() as stack:
        emulator = stack.enter_context(Emulator())
        samples = populate(emulator, dice)
        trouble = stack.enter_context(Trouble(emulator, samples, dice))
        environment = {
            **os.environ,
            "CTERA_DIRECT_URL": emulator.url,
            "CTERA_DIRECT_ACCESS_KEY_ID": emulator.access_key_id,
            "CTERA_DIRECT_SECRET_ACCESS_KEY": emulator.secret_access_key,
        }
        command = [sys.executable, "-m", "tests.faults.soak", "--user", str(seconds), str(seed)]
        done = subprocess.run(
            command, input=json.dumps(samples), env=environment, cwd=ROOT, text=True,
            capture_output=True, timeout=seconds * 2 + 300, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(
            f"the user's process ended with {done.returncode}: {done.stderr[-3000:]}"
        )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    figures["stderr"] = done.stderr[-2000:]
    figures["faults met"] = dict(sorted(trouble.met.items()))
    figures["expiries of all URLs"] = trouble.expiries
    figures["requests"] = {where: emulator.log.total(where) for where in ("portal", "storage")}
    measured = figures.pop("samples")
    settled = [point for point in measured if point[0] > seconds / 3]
    figures["most threads"] = max((point[1] for point in measured), default=0)
    figures["most descriptors"] = max((point[2] for point in measured), default=0)
    figures["most resident MB"] = round(max((point[3] for point in measured), default=0) / 1e6, 1)
    for column, name in ((1, "threads"), (2, "descriptors")):
        per_second = slope([(point[0], point[column]) for point in settled])
        figures[f"slope of {name} per minute"] = round(per_second * 60, 2)
    floor = floors([(point[0], point[3] / 1e6) for point in settled])
    figures["resident MB, least of each tenth"] = [round(least) for _, least in floor]
    figures["slope of that per minute"] = round(slope(floor) * 60, 2)
    return figures


def floors(points: list[tuple[float, float]], windows: int = 10) -> list[tuple[float, float]]:
    """The lowest point of each of some windows: what stays where transfers come and go."""
    if not points:
        return []
    first, last = points[0][0], points[-1][0]
    width = (last - first) / windows or 1.0
    lowest: dict[int, tuple[float, float]] = {}
    for x, y in points:
        window = min(windows - 1, int((x - first) / width))
        if window not in lowest or y < lowest[window][1]:
            lowest[window] = (x, y)
    return [lowest[window] for window in sorted(lowest)]


def _lines(figures: dict[str, Any]) -> Iterator[str]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield f"{name}:"
            yield from (f"    {key}: {number}" for key, number in value.items())
        else:
            yield f"{name}: {value}"


def main() -> int:
    """Run as the user's process, or both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--user", nargs=2, metavar=("SECONDS", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.user:
        samples = [Sample(*row) for row in json.load(sys.stdin)]
        print(json.dumps(use(samples, float(options.user[0]), int(options.user[1]))))
        return 0
    figures = soak(options.minutes * 60, options.seed)
    print("\n".join(_lines(figures)))
    return 1 if figures["problem count"] else 0


if __name__ == "__main__":
    sys.exit(main())
