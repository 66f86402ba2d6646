"""The number of workers, found on simulated links whose time is the test's own."""

from __future__ import annotations

import random
from collections import Counter
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync._engine.tuner import WorkerTuner

MB = 1_000_000
#: Throughput in bytes a second by the number of workers.
Link = Callable[[int], float]


def fast(workers: int) -> float:
    """A fast link: more workers fight for the interpreter, and each doubling costs a fifth."""
    return 1500 * MB * 0.8 ** (workers.bit_length() - 1)


def slow(workers: int) -> float:
    """A link with latency: each worker brings 10 MB/s, up to what the line carries."""
    return min(10 * MB * workers, 160 * MB)


def flat(workers: int) -> float:
    """A link that a few workers fill already."""
    return min(50 * MB * workers, 200 * MB)


class Simulation:
    """A tuner on a link that is busy all the time.

    ``load``: the part of their time that workers compute.
    """

    def __init__(
        self,
        link: Link,
        maximum: int = 32,
        block: int = MB,
        noise: float = 0.0,
        load: float = 0.0,
        initial: int = 4,
    ) -> None:
        self.now = self.cpu = 0.0
        self.load = load
        self.link = link
        self.block = block
        self.noise = noise
        self.chance = random.Random(1)
        self.tuner = WorkerTuner(maximum, initial, clock=lambda: self.now, cpu=lambda: self.cpu)
        self.seen: Counter[int] = Counter()

    def run(self, seconds: float) -> Counter:
        """Seconds spent with each number of workers during the next ``seconds``."""
        spent: Counter = Counter()
        end = self.now + seconds
        while self.now < end:
            workers = self.tuner.limit
            rate = self.link(workers) * (1 + self.noise * (2 * self.chance.random() - 1))
            self.now += self.block / rate
            self.cpu += self.block / rate * workers * self.load
            spent[workers] += self.block / rate
            self.tuner.completed(self.block)
        self.seen += spent
        return spent


def share(spent: Counter, *limits: int) -> float:
    """The part of the time that was spent with these numbers of workers."""
    return sum(spent[limit] for limit in limits) / sum(spent.values())


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("block", [256 * 1024, 4 * MB])
def test_fast_link_where_more_workers_lose(noise, block):
    """On a fast link the number goes down to two and is there nearly all of the time."""
    simulation = Simulation(fast, block=block, noise=noise)
    simulation.run(10)
    assert share(simulation.run(60), 2) > 0.9


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("block", [256 * 1024, 4 * MB])
def test_slow_link_with_latency_where_they_win(noise, block):
    """Where each worker brings its part the number climbs until the line is full."""
    simulation = Simulation(slow, block=block, noise=noise)
    simulation.run(30)
    assert share(simulation.run(120), 16, 32) > 0.85


def test_enough_is_enough():
    """Where more workers bring nothing the number stays at what fills the link."""
    simulation = Simulation(flat)
    simulation.run(20)
    assert share(simulation.run(60), 4) > 0.85


@pytest.mark.parametrize("maximum", [1, 2, 3, 5, 12, 32, 100])
@pytest.mark.parametrize("link", [fast, slow, flat])
def test_maximum_is_honoured(link, maximum):
    """The number is never above the maximum, nor below two unless that is."""
    simulation = Simulation(link, maximum)
    simulation.run(60)
    assert min(2, maximum) <= min(simulation.seen)
    assert max(simulation.seen) <= maximum


def test_all_of_an_odd_maximum_is_used():
    """A maximum that no doubling hits is reached all the same."""
    simulation = Simulation(lambda workers: 10 * MB * workers, maximum=13)
    simulation.run(60)
    assert share(simulation.run(60), 13) > 0.85


def test_adapts_when_the_link_gets_slow():
    """When the link changes to one with latency, the number follows it up."""
    simulation = Simulation(fast)
    simulation.run(60)
    simulation.link = slow
    simulation.run(120)
    assert share(simulation.run(120), 16, 32) > 0.8


def test_adapts_when_the_link_gets_fast():
    """And down again."""
    simulation = Simulation(slow)
    simulation.run(60)
    simulation.link = fast
    simulation.run(120)
    assert share(simulation.run(60), 2) > 0.8


def test_noise_does_not_drive_it_up():
    """Where measurements vary by half and more workers bring nothing, the number stays low."""
    simulation = Simulation(lambda workers: 200 * MB, noise=0.5, block=8 * MB)
    assert share(simulation.run(600), 2, 4, 8) > 0.85


def test_probes_get_rare():
    """On a link that does not change, trying other numbers costs less and less."""
    simulation = Simulation(fast)
    simulation.run(5)
    early = 1 - share(simulation.run(20), 2)
    simulation.run(300)
    assert 1 - share(simulation.run(60), 2) < max(early, 0.02)
    assert len(simulation.run(300)) > 1, "it never looked again"


@pytest.mark.parametrize(("processors", "workers"), [(1, 2), (2, 2), (3, 3), (4, 4), (64, 4)])
def test_begins_with_few(monkeypatch, processors, workers):
    """The first blocks are fetched by a worker a processor, at most four, or as many as there may be."""
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    assert WorkerTuner(32).limit == workers
    assert WorkerTuner(2).limit == 2
    assert WorkerTuner(1).limit == 1


def test_short_download_that_computes_is_not_probed():
    """Where workers wait for the link the number climbs at once; where they compute, after a while."""
    waiting, computing = (Simulation(slow, load=load, initial=2) for load in (0.1, 0.9))
    assert max(waiting.run(1)) > 2
    assert max(computing.run(0.5)) == 2
    computing.run(20)
    assert share(computing.run(60), 16, 32) > 0.8


def test_idle_time_is_not_measured():
    """A consumer that lets the link rest between blocks does not change the number."""
    simulation = Simulation(slow)
    simulation.run(30)
    limit = simulation.tuner.limit
    for _ in range(5000):
        simulation.now += 1.0
        simulation.tuner.completed(MB)
        simulation.tuner.idle()
    assert simulation.tuner.limit == limit


@given(st.lists(st.tuples(st.integers(0, 10 * MB), st.floats(0, 10)), max_size=300),
       st.integers(1, 64))  # fmt: skip
def test_any_sequence_of_completions(completions, maximum):
    """Whatever is measured, empty blocks and a clock that stands still included, the bounds hold."""
    now = 0.0
    tuner = WorkerTuner(maximum, clock=lambda: now)
    for nbytes, seconds in completions:
        now += seconds
        tuner.completed(nbytes)
        assert min(2, maximum) <= tuner.limit <= maximum
