"""The number of workers in each simulated network, next to the number that serves it best."""

from __future__ import annotations

import pytest

from ctera_direct_sync.emulator.network import PROFILES, NetworkProfile
from tests.support.workers import Workers

#: The fixed number that brings the most, and the bytes of a block.
BEST = {
    "lan": (2, 512 * 1024),
    "office": (4, 512 * 1024),
    "long": (128, 512 * 1024),
    "slow": (3, 64 * 1024),
    "shaky": (8, 512 * 1024),
    "one-slow-node": (128, 512 * 1024),
    "capped": (128, 512 * 1024),
    "dead-get": (128, 512 * 1024),
    "light": (6, 512 * 1024),
    "heavy": (8, 512 * 1024),
    "bursty": (8, 512 * 1024),
}
#: Where connections differ, both clients of a test get others. Chance counts less over three seeds.
SEEDS = (3, 5, 7)
#: Workers that cost little memory: with these blocks, a tenth of what a client takes anyway.
FEW = 16


def test_each_profile_has_a_best_number() -> None:
    """A profile that is added gets its row here."""
    assert set(BEST) == set(PROFILES)


@pytest.mark.parametrize("name", BEST)
def test_nine_tenths_of_the_best_number_within_two_seconds(name: str) -> None:
    """After two seconds the client's own number brings nine tenths of the best one, in its memory."""
    best, block = BEST[name]
    profile = PROFILES[name]
    found_rate = fixed_rate = area = 0.0
    seeds = SEEDS if profile.slow_connections else SEEDS[:1]
    for seed in seeds:
        found = Workers(profile, block=block, seed=seed)
        fixed = Workers(profile, best, block=block, seed=seed)
        found.run(2)
        fixed.run(2)
        area -= found.area
        found_rate += found.run(8)
        fixed_rate += fixed.run(8)
        area += found.area
    assert found_rate >= 0.9 * fixed_rate
    assert area / 8 / len(seeds) <= 1.1 * max(best, FEW)


def test_hundred_milliseconds_an_answer() -> None:
    """128 workers each fetch a block in each round trip, nine tenths of them at least."""
    workers = Workers(NetworkProfile("late"), latency=0.1, cpu=0.0001)
    workers.run(2)
    assert workers.run(4) >= 0.9 * 128 * 512 * 1024 / 0.1


def test_most_workers_are_a_setting() -> None:
    """A smaller maximum is used in whole where the link asks for it."""
    workers = Workers(PROFILES["long"], maximum=24)
    workers.run(2)
    assert workers.most == 24
    assert workers.run(4) >= 0.9 * 24 * 512 * 1024 / 0.1
