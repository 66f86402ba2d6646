"""An interrupt at any statement of the caller that leads a shared call."""

from __future__ import annotations

import contextlib

import pytest

from ctera_direct_sync._base.cancellation import CancelScope, SingleFlight
from tests.support.interrupts import at_statement, interrupt

#: More statements than one call has.
MOST = 60


def test_interrupted_leader_leaves_no_flight() -> None:
    """Wherever an interrupt strikes the leader, the next caller leads and gets its own answer."""
    struck = 0
    for number in range(1, MOST):
        flights: SingleFlight[int] = SingleFlight()
        with at_statement(number, interrupt) as statements:
            try:
                flights.run("key", lambda: 1, CancelScope())
            except KeyboardInterrupt:
                struck += 1
        assert not flights._flights, f"the flight is left after statement {number}"
        assert flights.run("key", lambda: 2, CancelScope()) == 2
        if statements.count < number:
            break
    else:
        pytest.fail("the call has more statements than are tried")
    assert struck > 10


def test_follower_of_an_interrupted_leader_asks_itself() -> None:
    """A caller that waits for the interrupted one is woken, wherever the interrupt strikes."""
    for number in range(1, MOST):
        flights: SingleFlight[int] = SingleFlight()
        waiting = []

        def call() -> int:
            # What a follower does before it waits.
            flight = flights._flights["key"]  # noqa: B023 - of this round
            waiting.append(flight)  # noqa: B023
            return 1

        with at_statement(number, interrupt) as statements, contextlib.suppress(KeyboardInterrupt):
            flights.run("key", call, CancelScope())
        assert all(flight.landed for flight in waiting), f"statement {number}"
        if statements.count < number:
            break
