"""The real client over simulated links, in virtual time: lost requests and slow connections."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator

import pytest

pytest.importorskip("greenlet")

from ctera_direct_sync.emulator.network import PROFILES

from .links import _MAX_DEPTH, SCENARIOS, measure
from .simulation import Simulator


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """The package in virtual time."""
    depth = sys.getrecursionlimit()
    sys.setrecursionlimit(_MAX_DEPTH)
    try:
        with Simulator() as made:
            yield made
    finally:
        sys.setrecursionlimit(depth)


def test_more_lost_requests_than_were_saved_up(simulator: Simulator) -> None:
    """On a fast link twelve requests are lost before one of them is late. None waits for its timeout."""
    found = measure(simulator, PROFILES["dead-get"], block=512 * 1024, mib=256, workers=32, seed=5)
    assert found.seconds < 5


def test_slow_connections_are_left(simulator: Simulator) -> None:
    """Where 70% of connections are capped, most of what good ones give is reached."""
    scenario = SCENARIOS["capped"]
    right = dataclasses.replace(scenario.profile, **scenario.right)  # type: ignore[arg-type]
    options = {"block": scenario.block, "mib": scenario.mib, "workers": 32}
    best = measure(simulator, right, **options)
    found = measure(simulator, scenario.profile, **options)
    assert found.moved > 20
    assert found.seconds * 0.85 <= best.seconds


def test_good_connections_are_not_left(simulator: Simulator) -> None:
    """A network whose connections are alike has no slow ones."""
    found = measure(simulator, PROFILES["heavy"], block=512 * 1024, mib=64, workers=32)
    assert found.moved == found.retired == 0
