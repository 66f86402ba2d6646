"""Connections that are capped, each for itself: the client leaves them for better ones."""

from __future__ import annotations

import os
import threading

from ctera_direct_sync import BlockEvent, DirectIO
from ctera_direct_sync._core import core_of
from ctera_direct_sync.emulator import Emulator, NetworkProfile

KIB = 1024
#: A block takes 65 ms over a good connection, and three seconds over one of the others.
PROFILE = NetworkProfile(
    "halves", latency=0.002, connection_rate=4e6, slow_connections=0.5, slow_factor=48
)
DATA = os.urandom(24 * 1024 * KIB)


def test_slow_connections_are_left_amid_a_body() -> None:
    """All bytes are right, and each request that was sent again is counted and told."""
    events: list[str] = []
    lock = threading.Lock()

    def note(event: BlockEvent) -> None:
        if event.name == "hedged":
            with lock:
                events.append(event.detail)

    network = {"network": PROFILE, "cipher": None, "compression": "NONE", "block_size": 256 * KIB}
    with Emulator(**network) as emulator:
        file_id = emulator.add(DATA, name="a")
        keys = emulator.access_key_id, emulator.secret_access_key
        with DirectIO(emulator.url, *keys, on_event=note) as client:
            blocks = client.iter_blocks(file_id, max_workers=12)
            found = {block.offset: bytes(block.data) for block in blocks}
            moved, hedges = core_of(client).hedging.moved, client.stats().hedges
    assert b"".join(found[offset] for offset in sorted(found)) == DATA
    assert hedges > 0
    assert moved <= events.count("a slow connection")
