"""Relay TCP connections as a simulated network would carry them.

    python -m bench.networks.relay office 127.0.0.1:8080

The relay listens on loopback, prints its port, and ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from ctera_direct_sync.emulator.network import PROFILES, Network
from ctera_direct_sync.emulator.relay import start_relay


async def _main() -> None:
    parser = argparse.ArgumentParser(description="Relay TCP through a simulated network.")
    parser.add_argument("profile", choices=sorted(PROFILES))
    parser.add_argument("server", help="HOST:PORT to relay to")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    host, _, port = arguments.server.rpartition(":")
    network = Network(PROFILES[arguments.profile], arguments.seed)
    server = await start_relay(network, host, int(port), arguments.port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_main())
