"""The retry policy, with a clock and a die of the test's own."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync import Settings
from ctera_direct_sync._base.retry import TRANSIENT_STATUSES, RetryPolicy


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def policy(clock: Clock, *, chance: float = 1.0, **over) -> RetryPolicy:
    """Four retries from a quarter of a second up to ten."""
    values = {"retries": 4, "backoff": 0.25, "max_backoff": 10.0, "timeout": 300.0, **over}
    return RetryPolicy(**values, clock=clock, chance=lambda: chance)


def delays(attempts, *asked: float) -> list:
    """What next_delay says until it gives up, having been asked for each of ``asked`` first."""
    found = [attempts.next_delay(seconds) for seconds in asked]
    while not found or found[-1] is not None:
        found.append(attempts.next_delay())
    return found


def test_doubles_up_to_the_maximum():
    """The ceiling of the wait doubles with each attempt and stops at max_backoff."""
    attempts = policy(Clock(), retries=8).start()
    assert delays(attempts) == [0.25, 0.5, 1, 2, 4, 8, 10, 10, None]


def test_full_jitter():
    """The wait is anything between nothing and the ceiling, as chance has it."""
    assert delays(policy(Clock(), chance=0.0).start()) == [0, 0, 0, 0, None]
    assert delays(policy(Clock(), chance=0.5).start()) == [0.125, 0.25, 0.5, 1, None]


@pytest.mark.parametrize("retries", [0, 1, 7])
def test_counts(retries):
    """``retries`` attempts follow the first one."""
    attempts = policy(Clock(), retries=retries).start()
    assert attempts.made == 1
    assert len(delays(attempts)) == retries + 1
    assert attempts.made == retries + 1


def test_giving_up_is_final():
    """Once it is time to give up it stays so."""
    attempts = policy(Clock(), retries=0).start()
    assert [attempts.next_delay() for _ in range(3)] == [None, None, None]
    assert attempts.made == 1


def test_retry_after_wins():
    """What the server asks for replaces the backoff, longer or shorter, and counts as an attempt."""
    attempts = policy(Clock()).start()
    assert delays(attempts, 42.0, 0.0, -5.0) == [42.0, 0.0, 0.0, 2.0, None]


def test_no_attempt_after_the_deadline():
    """No attempt begins later than ``timeout`` seconds after the start."""
    clock = Clock()
    attempts = policy(clock, timeout=10.0).start()
    clock.now += 9.75
    assert attempts.next_delay() == 0.25
    assert attempts.next_delay() is None
    assert attempts.next_delay(0.0) == 0.0
    clock.now += 1
    assert attempts.next_delay(0.0) is None


def test_retry_after_past_the_deadline():
    """A server that asks for more patience than there is gets none."""
    attempts = policy(Clock(), timeout=10.0).start()
    assert attempts.next_delay(10.5) is None
    assert attempts.next_delay(10.0) == 10.0


def test_many_retries_do_not_overflow():
    """The exponent is bounded: ten thousand attempts are fine."""
    attempts = policy(Clock(), retries=10_000, backoff=1e-9).start()
    assert all(attempts.next_delay() <= 10.0 for _ in range(10_000))


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 20))
def test_wait_is_within_bounds(chance, retries):
    """No wait is negative or longer than max_backoff."""
    found = delays(policy(Clock(), chance=chance, retries=retries).start())[:-1]
    assert all(0 <= delay <= 10.0 for delay in found)


def test_attempts_do_not_share():
    """Each operation has attempts of its own."""
    shared = policy(Clock(), retries=1)
    first, second = shared.start(), shared.start()
    assert first.next_delay() is not None
    assert second.next_delay() is not None


def test_policy_of_settings():
    """A client's policy is what its settings say."""
    settings = Settings(retries=2, backoff=0.5, max_backoff=3, retry_timeout=30)
    made = RetryPolicy.of(settings)
    assert (made.retries, made.backoff, made.max_backoff, made.timeout) == (2, 0.5, 3.0, 30.0)


def test_policy_is_immutable():
    """A policy may be shared by threads because nobody can change it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy(Clock()).retries = 5


def test_transient_statuses():
    """Besides 5xx it is 408 and 429 that waiting may cure."""
    assert {408, 429} == TRANSIENT_STATUSES
