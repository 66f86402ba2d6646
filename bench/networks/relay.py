"""Relay TCP connections as a simulated network would carry them.

    python -m bench.networks.relay office 127.0.0.1:8080

The network is the name of a profile, or the fields of a `NetworkProfile` as a JSON object.
The relay listens on loopback, prints its port, and ends with its standard input.
`emulator_behind_relay` runs it for other programs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ctera_direct_sync.emulator import PROFILES, Emulator, Network, NetworkProfile
from ctera_direct_sync.emulator.relay import start_relay

__all__ = ["ROOT", "RelayError", "account_of", "emulator_behind_relay"]

ROOT = Path(__file__).parents[2]


class RelayError(Exception):
    """The relay did not start."""


@contextlib.contextmanager
def emulator_behind_relay(
    profile: NetworkProfile, seed: int = 0, *, stderr: int | None = None, **options: Any
) -> Iterator[tuple[Emulator, str]]:
    """Start an emulator of plain objects, and a relay before it in a process of its own.

    Its storage has the relay's URL, and its portal answers at that URL as well.

    Args:
        profile: The network between the clients and the emulator.
        seed: The network's seed.
        stderr: Where the relay's standard error goes, as for `subprocess.Popen`.
        **options: Further options of the emulator.

    Yields:
        The emulator, and the URL of the relay.

    Raises:
        RelayError: The relay's port was taken meanwhile.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with Emulator(cipher=None, compression="NONE", storage_url=url, **options) as emulator:
        server = emulator.url.partition("//")[2].strip("/")
        command = [sys.executable, "-m", "bench.networks.relay", "--port", str(port)]
        command += ["--seed", str(seed), json.dumps(dataclasses.asdict(profile)), server]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=stderr, text=True
        ) as relay:
            try:
                assert relay.stdout is not None
                if not relay.stdout.readline():
                    raise RelayError("the port was taken")
                yield emulator, url
            finally:
                relay.communicate(timeout=60)


def account_of(emulator: Emulator) -> dict[str, str]:
    """Return the variables of the environment that give a client the account of an emulator."""
    return {
        "CTERA_DIRECT_ACCESS_KEY_ID": emulator.access_key_id,
        "CTERA_DIRECT_SECRET_ACCESS_KEY": emulator.secret_access_key,
    }


def _profile(text: str) -> NetworkProfile:
    return PROFILES[text] if text in PROFILES else NetworkProfile(**json.loads(text))


async def _main() -> None:
    parser = argparse.ArgumentParser(description="Relay TCP through a simulated network.")
    parser.add_argument("profile", type=_profile, help=f"{', '.join(PROFILES)}, or a JSON object")
    parser.add_argument("server", help="HOST:PORT to relay to")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    host, _, port = arguments.server.rpartition(":")
    network = Network(arguments.profile, arguments.seed)
    server = await start_relay(network, host, int(port), arguments.port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_main())
