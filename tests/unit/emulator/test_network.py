"""The model of simulated networks, in virtual time."""

from __future__ import annotations

import math

import pytest

from ctera_direct_sync.emulator.network import DOWN, PROFILES, UP, Network, NetworkProfile


def test_a_round_trip_takes_the_latency_twice():
    """Latency is a delay of each direction."""
    connection = Network(PROFILES["long"]).connect()
    arrived = connection.send(100, UP, 0.0)
    assert connection.send(100, DOWN, arrived) == pytest.approx(0.1)


def test_latency_does_not_limit_the_rate():
    """Pieces follow each other at once, while the first ones are under way."""
    connection = Network(NetworkProfile("x", bandwidth=1000, latency=5)).connect()
    assert [connection.send(1000, DOWN, connection.ready_at(DOWN)) for _ in range(3)] == [6, 7, 8]


def test_connections_share_the_bandwidth():
    """Two connections together get what one gets."""
    network = Network(NetworkProfile("x", bandwidth=1000))
    first, second = network.connect(), network.connect()
    assert [first.send(1000, DOWN, 0.0), second.send(1000, DOWN, 0.0)] == [1, 2]


def test_a_cap_does_not_hold_up_other_connections():
    """The cap of one connection takes nothing of the link."""
    network = Network(NetworkProfile("x", bandwidth=1000, connection_rate=100))
    first, second = network.connect(), network.connect()
    assert first.send(100, DOWN, 0.0) == 1
    assert second.send(100, DOWN, 0.0) == 1


def test_a_dead_request_gets_no_answer():
    """The request arrives, its answer never does."""
    connection = Network(NetworkProfile("x", dead_requests=1)).connect()
    assert connection.send(1, UP, 0.0) == 0
    assert connection.send(1, DOWN, 0.0) == math.inf


@pytest.mark.parametrize("name", PROFILES)
def test_equal_seeds_give_equal_times_in_order(name):
    """Each profile is repeatable, and no piece overtakes an earlier one."""

    def run():
        connection, times = Network(PROFILES[name], seed=7).connect(), []
        for _ in range(200):
            times.append(connection.send(65536, DOWN, connection.ready_at(DOWN)))
        return times

    assert run() == run() == sorted(run())
