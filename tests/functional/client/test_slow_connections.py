"""Connections that are capped, each for itself: the client leaves them for better ones."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from ctera_direct_sync import BlockEvent, DirectIO
from ctera_direct_sync._base.cancellation import Race
from ctera_direct_sync._core import core_of
from ctera_direct_sync._net.errors import TransportError
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


def test_requests_that_were_sent_again_are_told_if_they_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two connections are left as too slow, and the third one breaks: all three are told."""
    original, is_first, events = Race.run, [True], []

    def run(race: Race[Any], *arguments: Any) -> Any:
        if is_first and "storage" in arguments[0].__module__:
            is_first.clear()
            race.moves = 2
            raise TransportError("connection", "the connection broke")
        return original(race, *arguments)

    with Emulator() as emulator:
        file_id = emulator.add(DATA[: 64 * KIB], name="a")
        keys = emulator.access_key_id, emulator.secret_access_key
        with DirectIO(emulator.url, *keys, on_event=events.append) as client:
            monkeypatch.setattr(Race, "run", run)
            assert b"".join(block.data for block in client.stream(file_id)) == DATA[: 64 * KIB]
    told = [event.name for event in events if event.name in ("hedged", "retried")]
    assert told == ["hedged", "hedged", "retried"]
