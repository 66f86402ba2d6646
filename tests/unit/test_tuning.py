"""The number of workers, found on simulated links whose time is the test's own."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync._engine.engine import _make_tuner
from ctera_direct_sync._engine.tuner import Tuner

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

    Args:
        link: The link.
        maximum: The most workers.
        block: The bytes of a block.
        noise: The share by which throughput varies.
        load: The part of their time that workers compute.
        initial: The number to start with.
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
        self.tuner = Tuner(maximum, initial, minimum=2, processors=64)
        self.tuner.start(0.0, 0.0)
        self.seen: Counter[int] = Counter()

    def run(self, seconds: float) -> Counter[int]:
        """Return the seconds spent with each number of workers during the next `seconds`."""
        spent: Counter[int] = Counter()
        end = self.now + seconds
        while self.now < end:
            workers = self.tuner.limit
            rate = self.link(workers) * (1 + self.noise * (2 * self.chance.random() - 1))
            self.now += self.block / rate
            self.cpu += self.block / rate * workers * self.load
            spent[workers] += self.block / rate
            if self.tuner.completed(self.block, workers * self.block / rate, self.now):
                self.tuner.measure(self.now, self.cpu)
        self.seen += spent
        return spent


def share(spent: Counter[int], low: int, high: int) -> float:
    """Return the part of the time that was spent with numbers of workers from `low` to `high`."""
    return sum(spent[number] for number in range(low, high + 1)) / sum(spent.values())


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("block", [256 * 1024, 4 * MB])
def test_fast_link_where_more_workers_lose(noise: float, block: int) -> None:
    """On a fast link the number goes down to two and is there nearly all of the time."""
    simulation = Simulation(fast, block=block, noise=noise, load=0.6)
    simulation.run(10)
    assert share(simulation.run(60), 2, 2) > 0.9


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("block", [256 * 1024, 4 * MB])
def test_slow_link_with_latency_where_they_win(noise: float, block: int) -> None:
    """Where each worker brings its part the number climbs until the line is full."""
    simulation = Simulation(slow, block=block, noise=noise)
    simulation.run(30)
    assert share(simulation.run(120), 14, 32) > 0.85


def test_enough_is_enough() -> None:
    """Where more workers bring nothing the number stays at what fills the link."""
    simulation = Simulation(flat)
    simulation.run(20)
    assert share(simulation.run(60), 4, 6) > 0.85


@pytest.mark.parametrize("maximum", [1, 2, 3, 5, 12, 32, 100])
@pytest.mark.parametrize("link", [fast, slow, flat])
def test_maximum_is_honoured(link: Link, maximum: int) -> None:
    """The number is never above the maximum, nor below two unless that is."""
    simulation = Simulation(link, maximum)
    simulation.run(60)
    assert min(2, maximum) <= min(simulation.seen)
    assert max(simulation.seen) <= maximum


def test_all_of_an_odd_maximum_is_used() -> None:
    """A maximum that no step hits is reached all the same."""
    simulation = Simulation(lambda workers: 10 * MB * workers, maximum=13)
    simulation.run(60)
    assert share(simulation.run(60), 13, 13) > 0.85


def test_first_step_is_that_of_littles_law() -> None:
    """Where nearly all time is a wait for the first byte, the first trial has as many as fill the line."""
    tuner = Tuner(128, 2, minimum=2, processors=2)
    tuner.start(0.0, 0.0)
    assert not tuner.completed(MB, 0.1, 0.1)
    assert tuner.completed(MB, 0.1, 0.1)
    tuner.measure(0.1, 0.001, body_share=0.02)
    assert tuner.limit == 62


def test_processors_bound_a_trial() -> None:
    """No more workers are tried than keep the processors busy."""
    tuner = Tuner(128, 2, minimum=2, processors=2)
    tuner.start(0.0, 0.0)
    tuner.completed(MB, 0.1, 0.1)
    tuner.completed(MB, 0.1, 0.1)
    tuner.measure(0.1, 0.07, body_share=0.02)
    assert tuner.limit == 8


def test_adapts_when_the_link_gets_slow() -> None:
    """When the link changes to one with latency, the number follows it up."""
    simulation = Simulation(fast)
    simulation.run(60)
    simulation.link = slow
    simulation.run(60)
    assert share(simulation.run(120), 14, 32) > 0.8


def test_adapts_when_the_link_gets_fast() -> None:
    """And down again."""
    simulation = Simulation(slow, load=0.6)
    simulation.run(60)
    simulation.link = fast
    simulation.run(120)
    assert share(simulation.run(60), 2, 2) > 0.8


def test_noise_does_not_drive_it_up() -> None:
    """Where measurements vary by half and more workers bring nothing, the number stays low."""
    simulation = Simulation(lambda workers: 200 * MB, noise=0.5, block=8 * MB)
    assert share(simulation.run(600), 2, 8) > 0.85


def test_link_that_recovers_during_a_trial_is_not_its_merit() -> None:
    """A gain that no number of workers explains is measured once more with the number before."""
    tuner = Tuner(128, 4, minimum=2)
    tuner._is_climbing = False
    now = cpu = 0.0
    factor = 1.0
    for number in range(2000):
        if number == 200:
            factor = 10.0
        now += 0.01 / factor
        if tuner.completed(MB, 0.01, now):
            tuner.measure(now, cpu)
    assert tuner.limit <= 8


def test_probes_get_rare() -> None:
    """On a link that does not change, trying other numbers costs less and less."""
    simulation = Simulation(fast, load=0.6)
    simulation.run(5)
    early = 1 - share(simulation.run(20), 2, 2)
    simulation.run(300)
    assert 1 - share(simulation.run(60), 2, 2) < max(early, 0.02)
    assert len(simulation.run(300)) > 1, "it never looked again"


@pytest.mark.parametrize(("processors", "workers"), [(1, 2), (2, 2), (3, 3), (4, 4), (64, 4)])
def test_begins_with_few(monkeypatch: pytest.MonkeyPatch, processors: int, workers: int) -> None:
    """The first blocks are fetched by a worker a processor, at most four, or as many as there may be."""
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    assert _make_tuner(32).limit == workers
    assert _make_tuner(2).limit == 2
    assert _make_tuner(1).limit == 1


def test_short_download_that_computes_is_not_probed() -> None:
    """Where workers wait for the link the number climbs at once; where they compute, after a while."""
    waiting, computing = (Simulation(slow, load=load, initial=2) for load in (0.1, 0.9))
    assert max(waiting.run(1)) > 2
    assert max(computing.run(0.5)) == 2
    computing.run(20)
    assert share(computing.run(60), 14, 32) > 0.8


def test_idle_time_is_not_measured() -> None:
    """A consumer that lets the link rest between blocks does not change the number."""
    simulation = Simulation(slow)
    simulation.run(30)
    limit = simulation.tuner.limit
    for _ in range(5000):
        simulation.now += 1.0
        if simulation.tuner.completed(MB, 0.1, simulation.now):
            simulation.tuner.measure(simulation.now, 0.0)
        simulation.tuner.idle()
    assert simulation.tuner.limit == limit


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10 * MB),
            st.floats(0, 10),
            st.floats(0, 10),
            st.sampled_from([None, 0.0, 1e-9, 0.5, 1.0]),
            st.sampled_from(["", "", "", "idle", "start", "overloaded"]),
        ),
        max_size=300,
    ),
    st.integers(1, 200),
    st.integers(1, 8),
)
def test_any_sequence_of_completions(
    completions: list[tuple[int, float, float, float | None, str]], maximum: int, minimum: int
) -> None:
    """Whatever is measured, empty blocks and a clock that stands still included, the bounds hold."""
    now = cpu = 0.0
    tuner = Tuner(maximum, 4, minimum=minimum, processors=2)
    least = min(minimum, maximum, 4)
    for nbytes, seconds, passed, body_share, event in completions:
        now += passed
        cpu += passed / 3
        if event == "start":
            tuner.start(now, cpu)
        elif event == "idle":
            tuner.idle()
        elif event == "overloaded":
            tuner.overloaded(now)
            least = 1
        if tuner.completed(nbytes, seconds, now):
            tuner.measure(now, cpu, body_share)
        assert least <= tuner.limit <= maximum
