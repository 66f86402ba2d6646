"""Measure clients behind each simulated network, and print a table.

    python -m bench.networks.run             every profile and client
    python -m bench.networks.run --quick     two profiles and three clients, in a few seconds

Times are those of the download, with its imports and first connections.
The table has whole files only, and the requests that reached the server.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.emulator.network import PROFILES

ROOT = Path(__file__).parents[2]
FIXED = [1, 4, 16, 32, 64, 128]
#: Its first 33 requests hold two of the slowest 5% and one of the dead 2%. Seed 0 has none of them,
#: so that a small file would measure nothing.
DEFAULT_SEED = 3
CLIENTS = ["ours", *(f"ours-{number}" for number in FIXED), "cterasdk", "curl"]


def count(emulator: Emulator) -> int:
    """Return how many requests the emulator has seen."""
    return len(emulator.requests)


def measure(client: str, profile: str, nbytes: int, limit: float, seed: int) -> tuple[str, int]:
    """Return the seconds of one download, or why there are none, and the GETs that it sent."""
    data = random.Random(1).randbytes(nbytes)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        relay_port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{relay_port}"
    with Emulator(
        cipher=None, compression="NONE", block_size=512 * 1024, storage_url=url
    ) as emulator:
        file_id = emulator.add(data, name="a")
        port = emulator.url.rpartition(":")[2].strip("/")
        command = [sys.executable, "-m", "bench.networks.relay", profile, f"127.0.0.1:{port}"]
        command += ["--port", str(relay_port), "--seed", str(seed)]
        relay = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert relay.stdout is not None
            relay.stdout.readline()  # it listens now
            environment = {
                **os.environ,
                "CTERA_DIRECT_ACCESS_KEY_ID": emulator.access_key_id,
                "CTERA_DIRECT_SECRET_ACCESS_KEY": emulator.secret_access_key,
            }
            command = [sys.executable, "-m", "bench.networks.client", client, url, str(file_id)]
            try:
                done = subprocess.run(
                    command, cwd=ROOT, env=environment, capture_output=True, timeout=limit
                )
            except subprocess.TimeoutExpired:
                return f"> {limit:.0f} s", count(emulator)
            if done.returncode:
                print(done.stderr.decode()[-600:], file=sys.stderr)
                return "failed", count(emulator)
            result = json.loads(done.stdout.splitlines()[-1])
            if result["bytes"] != nbytes:
                return "short", count(emulator)
            return f"{result['seconds']:.2f}", count(emulator)
        finally:
            relay.communicate()


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(PROFILES), default=list(PROFILES))
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=CLIENTS)
    parser.add_argument("--mib", type=int, default=32, help="the size of the file")
    parser.add_argument("--limit", type=float, default=90, help="seconds that a download may take")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="the network's seed")
    arguments = parser.parse_args()
    profiles, clients, mib = arguments.only, arguments.clients, arguments.mib
    if arguments.quick:
        profiles, clients, mib = ["lan", "long"], ["ours", "ours-32", "curl"], 8
    clients = [client for client in clients if client != "curl" or shutil.which("curl")]
    print(f"{mib} MiB in blocks of 512 KiB: seconds (requests)", flush=True)
    print("| network | " + " | ".join(clients) + " |\n| --- |" + " ---: |" * len(clients))
    for profile in profiles:
        print(f"| {profile} |", end="", flush=True)
        for client in clients:
            seconds, requests = measure(client, profile, mib << 20, arguments.limit, arguments.seed)
            print(f" {seconds} ({requests}) |", end="", flush=True)
        print(flush=True)


if __name__ == "__main__":
    main()
