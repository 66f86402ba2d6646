"""Measure clients behind each simulated network, and print tables.

    python -m bench.networks.run             every profile and client, in some minutes
    python -m bench.networks.run --full      four times as large files, and slow clients to their end
    python -m bench.networks.run --quick     two profiles and three clients, in a few seconds

Times are those of the download, with its imports and first connections. Each cell has the seconds of a
whole file, the requests that reached the server, and the median and the 99th percentile of a block in
milliseconds, where the client tells them. The last columns compare the client's own number of workers with
the best fixed one, and its peak memory with that one's.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
from typing import Any

from ctera_direct_sync.emulator import PROFILES

from .relay import ROOT, RelayError, account_of, emulator_behind_relay

FIXED = [4, 16, 64, 128]
#: MiB of the file in each network: some seconds of its line, and enough blocks for 128 workers where the
#: line asks for them.
SIZES = {
    "lan": 128,
    "office": 16,
    "long": 128,
    "slow": 1,
    "shaky": 16,
    "one-slow-node": 64,
    "capped": 256,
    "dead-get": 16,
    "light": 32,
    "heavy": 16,
    "bursty": 32,
}
#: Its first 33 requests hold two of the slowest 5% and one of the dead 2%. Seed 0 has none of them,
#: so that a small file would measure nothing.
DEFAULT_SEED = 3
CLIENTS = ["ours", *(f"ours-{number}" for number in FIXED), "cterasdk", "curl", "aria2c"]


def measure(client: str, profile: str, nbytes: int, limit: float, seed: int) -> dict[str, Any]:
    """Return what a client told of one download, or why it failed, and the requests that it sent."""
    try:
        behind = emulator_behind_relay(PROFILES[profile], seed, block_size=512 * 1024)
        with behind as (emulator, url):
            file_id = emulator.add(random.Random(1).randbytes(1 << 20) * (nbytes >> 20), name="a")
            result = download(client, url, file_id, limit, {**os.environ, **account_of(emulator)})
            result["requests"] = len(emulator.requests)
            if result.get("bytes", nbytes) != nbytes:
                result["why"] = "short"
            return result
    except RelayError as error:
        return {"why": str(error), "requests": 0}


def download(
    client: str, url: str, file_id: int, limit: float, environment: dict[str, str]
) -> dict[str, Any]:
    """Return what a client told of one download, or why it failed."""
    command = [sys.executable, "-m", "bench.networks.client", client, url, str(file_id)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return {"why": f"> {limit:.0f} s"}
    if done.returncode:
        print(done.stderr.decode()[-600:], file=sys.stderr)
        return {"why": "failed"}
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def cell(result: dict[str, Any]) -> str:
    """Return what the table says of a download."""
    if "why" in result:
        return f"{result['why']} ({result['requests']})"
    text = f"{result['seconds']:.2f} ({result['requests']})"
    if "p50" in result:
        text += f", {result['p50'] * 1000:.0f}/{result['p99'] * 1000:.0f} ms"
    return text


def compare(results: dict[str, dict[str, Any]]) -> str:
    """Return how the client's own number does against the best fixed one."""
    fixed = {
        name: result
        for name, result in results.items()
        if name.startswith("ours-") and "why" not in result
    }
    ours = results.get("ours", {"why": ""})
    if not fixed or "why" in ours:
        return " | "
    best = min(fixed, key=lambda name: float(fixed[name]["seconds"]))
    speed = fixed[best]["seconds"] / ours["seconds"]
    memory = ours["peak_mib"] / fixed[best]["peak_mib"]
    return f"{speed:.2f} with {best} | {memory:.2f}"


def available(clients: list[str]) -> list[str]:
    """Return the clients that are installed. Say why the others are left out."""
    found = []
    for client in clients:
        if client in ("curl", "aria2c") and not shutil.which(client):
            print(f"{client} is left out: it is not installed")
        elif client == "cterasdk" and importlib.util.find_spec("cterasdk") is None:
            print("cterasdk is left out: it is not installed (pip install cterasdk)")
        else:
            found.append(client)
    return found


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(PROFILES), default=list(PROFILES))
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=CLIENTS)
    parser.add_argument("--mib", type=int, help="the size of the file (default: by the network)")
    parser.add_argument("--limit", type=float, default=15, help="seconds that a download may take")
    parser.add_argument(
        "--full",
        action="store_true",
        help="larger files, and a minute and a half for each download",
    )
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="the network's seed")
    arguments = parser.parse_args()
    profiles, clients, mib = arguments.only, arguments.clients, arguments.mib
    limit, times = (90.0, 4) if arguments.full else (arguments.limit, 1)
    if arguments.quick:
        profiles, clients, mib = ["lan", "long"], ["ours", "ours-32", "curl"], 8
    clients = available(clients)
    print("Blocks of 512 KiB: seconds (requests), median/p99 of a block", flush=True)
    print("| network, MiB | " + " | ".join(clients) + " | ours / best fixed | memory |")
    print("| --- |" + " ---: |" * (len(clients) + 2))
    for profile in profiles:
        size = mib or times * SIZES[profile]
        print(f"| {profile}, {size} |", end="", flush=True)
        results = {}
        for client in clients:
            results[client] = measure(client, profile, size << 20, limit, arguments.seed)
            print(f" {cell(results[client])} |", end="", flush=True)
        print(f" {compare(results)} |", flush=True)


if __name__ == "__main__":
    main()
