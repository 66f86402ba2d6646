"""Measure what hedging does to the slowest blocks, behind simulated networks.

    python -m bench.networks.tail                    all scenarios
    python -m bench.networks.tail --only dead --mib 64
    python -m bench.networks.tail --large           a GiB in blocks of 4 MiB, where some GETs are dead

Each scenario is measured without its trouble, and with it by each share of `settings.hedging`.
A block's time is that from the begin of its work to its plaintext. The seconds are those of all blocks.
The block list comes before, over one connection, whose luck would decide about a short download.
Each download has a process and a relay of its own. With `--large`, one process makes both downloads,
one after the other, with the client's defaults.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import subprocess
import sys
import time
from typing import Any

from ctera_direct_sync import BlockEvent, DirectIO, Settings
from ctera_direct_sync._core import core_of
from ctera_direct_sync.emulator import NetworkProfile

from .relay import ROOT, account_of, emulator_behind_relay

_MB = 1e6
BLOCK_SIZE = 256 * 1024
LARGE_BLOCK_SIZE = 4 * 1024 * 1024
LARGE_MIB = 1024

#: Each with what is wrong in it, and what makes it right.
SCENARIOS: dict[str, tuple[NetworkProfile, dict[str, float]]] = {
    "slow": (
        NetworkProfile(
            "slow", latency=0.05, connection_rate=10 * _MB, slow_requests=0.05, slow_factor=10
        ),
        {"slow_requests": 0.0},
    ),
    "far": (
        NetworkProfile(
            "far", latency=0.1, connection_rate=5 * _MB, slow_requests=0.05, slow_factor=10
        ),
        {"slow_requests": 0.0},
    ),
    "dead": (
        NetworkProfile("dead", latency=0.01, connection_rate=10 * _MB, dead_requests=0.02),
        {"dead_requests": 0.0},
    ),
    "capped": (
        NetworkProfile(
            "capped", latency=0.01, connection_rate=2 * _MB, slow_connections=0.7, slow_factor=8
        ),
        {"slow_connections": 0.0},
    ),
}


def run_client(baseurl: str, file_id: int, hedging: float, workers: int) -> dict[str, Any]:
    """Download a file, and return what it took."""
    begun: dict[int, float] = {}
    ended: dict[int, float] = {}

    def note(event: BlockEvent) -> None:
        if event.name == "started":
            begun[event.number] = event.time
        elif event.name == "decoded":
            ended[event.number] = event.time

    settings = Settings(hedging=hedging, max_workers=max(workers, 1))
    if not workers:
        settings = Settings(hedging=hedging)
    with DirectIO(baseurl, settings=settings, on_event=note) as client:
        start = time.perf_counter()
        nbytes = 0
        for block in client.iter_blocks(file_id, max_workers=workers or None):
            nbytes += len(block.data)
        ended_at = time.perf_counter()
        first = min(begun.values())
        made = core_of(client).hedging
        times = sorted(ended[number] - begun[number] for number in ended)
        result: dict[str, Any] = {
            "seconds": ended_at - first,
            "listing": first - start,
            "bytes": nbytes,
            "p50": times[len(times) // 2],
            "p99": times[len(times) * 99 // 100],
            "twins": made.twins,
            "moved": made.moved,
            "wins": made.wins,
            "retired": made.retired,
        }
    return result


def measure_large(seed: int, rounds: int, limit_s: float) -> None:
    """Print what a GiB takes with dead GETs and without, in turn, by one process of a client."""
    profile, right = SCENARIOS["dead"]
    data = random.Random(1).randbytes(1 << 20) * LARGE_MIB
    options = {
        "block_size": LARGE_BLOCK_SIZE,
        "access_key_id": "bench",
        "secret_access_key": "YmVuY2g=",
    }
    with (
        emulator_behind_relay(dataclasses.replace(profile, **right), seed, **options) as good,  # type: ignore[arg-type]
        emulator_behind_relay(profile, seed, **options) as bad,
    ):
        command = [sys.executable, "-m", "bench.networks.tail", "--clients", str(rounds)]
        for emulator, url in (good, bad):
            command += [url, str(emulator.add(data, name="a"))]
        environment = {**os.environ, **account_of(good[0])}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, timeout=limit_s, check=True
        )
        rows = [json.loads(line) for line in done.stdout.splitlines()]
    print(f"{LARGE_MIB} MiB in blocks of {LARGE_BLOCK_SIZE >> 20} MiB, the client's defaults")
    print("| GETs | seconds | p50 | p99 | twins | won |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for number, row in enumerate(rows):
        assert row["bytes"] == LARGE_MIB << 20
        label = "1 of 50 is dead" if number % 2 else "all are answered"
        print(
            f"| {label} | {row['seconds']:.2f} | {row['p50'] * 1e3:.0f} ms | {row['p99'] * 1e3:.0f} ms "
            f"| {row['twins']} | {row['wins']} |"
        )
    seconds = [min(row["seconds"] for row in rows[first::2]) for first in (0, 1)]
    print(f"{seconds[1] / seconds[0]:.2f} times as long")


def measure(
    profile: NetworkProfile, hedging: float, mib: int, workers: int, seed: int, limit_s: float
) -> dict[str, Any] | None:
    """Return what one download took, and the requests that arrived. None: too long."""
    with emulator_behind_relay(profile, seed, block_size=BLOCK_SIZE) as (emulator, url):
        file_id = emulator.add(random.Random(1).randbytes(1 << 20) * mib, name="a")
        command = [sys.executable, "-m", "bench.networks.tail", "--client"]
        command += [url, str(file_id), str(hedging), str(workers)]
        environment = {**os.environ, **account_of(emulator)}
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, timeout=limit_s
            )
        except subprocess.TimeoutExpired:
            return None
        done.check_returncode()
        result: dict[str, Any] = json.loads(done.stdout)
        assert result["bytes"] == mib << 20
        result["requests"] = emulator.log.total("storage")
        return result


def main() -> None:
    """Run what the command line asks for."""
    if sys.argv[1:2] == ["--client"]:
        url, file_id, hedging, workers = sys.argv[2:6]
        print(json.dumps(run_client(url, int(file_id), float(hedging), int(workers))))
        return
    if sys.argv[1:2] == ["--clients"]:
        rounds, *given = sys.argv[2:]
        for _ in range(int(rounds)):
            for url, file_id in zip(given[::2], given[1::2]):
                print(json.dumps(run_client(url, int(file_id), Settings().hedging, 0)), flush=True)
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--shares", nargs="+", type=float, default=[0.0, 0.05])
    parser.add_argument("--mib", type=int, default=256, help="the size of the file")
    parser.add_argument("--workers", type=int, default=32, help="workers; 0: by the tuner")
    parser.add_argument("--seed", type=int, default=3, help="the network's seed")
    parser.add_argument("--limit", type=float, default=100, help="seconds that a download may take")
    parser.add_argument("--large", action="store_true", help="a GiB with dead GETs, and without")
    parser.add_argument("--rounds", type=int, default=2, help="of --large")
    options = parser.parse_args()
    if options.large:
        measure_large(options.seed, options.rounds, 10 * options.limit)
        return
    print(f"{options.mib} MiB in blocks of {BLOCK_SIZE // 1024} KiB, {options.workers} workers")
    print(
        "| network | hedging | seconds | list | p50 | p99 | requests | twins | won | moved | retired |"
    )
    print("| --- |" + " ---: |" * 10, flush=True)
    for name in options.only:
        profile, right = SCENARIOS[name]
        rows = [(f"{name}: none", dataclasses.replace(profile, **right), 0.0)]  # type: ignore[arg-type]
        rows += [(name, profile, share) for share in options.shares]
        for label, used, share in rows:
            found = measure(used, share, options.mib, options.workers, options.seed, options.limit)
            if found is None:
                print(f"| {label} | {share} | > {options.limit:.0f} | | | | | | | | |", flush=True)
                continue
            print(
                f"| {label} | {share} | {found['seconds']:.2f} | {found['listing']:.2f} | "
                f"{found['p50'] * 1e3:.0f} ms | "
                f"{found['p99'] * 1e3:.0f} ms | {found['requests']} | {found['twins']} | "
                f"{found['wins']} | {found['moved']} | {found['retired']} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
