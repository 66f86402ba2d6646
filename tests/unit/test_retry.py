"""The retry policy and its loop, in virtual time."""

from __future__ import annotations

import dataclasses
import errno
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync import DirectIOError, Settings
from ctera_direct_sync._base import retry
from ctera_direct_sync._base.cancellation import Cancelled, CancelScope
from ctera_direct_sync._base.retry import (
    FailedAttempt,
    Recovery,
    RetryPolicy,
    is_transient,
    retry_call,
)

POLICY = RetryPolicy(
    retries=4, backoff=0.25, max_backoff=10.0, retry_timeout=300.0, chance=lambda: 1.0
)


class Time(CancelScope):
    """A clock, and a cancel scope whose waits turn it forward."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        """Let `seconds` pass at once."""
        self.check()
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Return the clock that the loop reads."""
    made = Time()
    monkeypatch.setattr(retry, "monotonic", lambda: made.now)
    return made


class Script:
    """An attempt that fails as it is told, then returns "done"."""

    def __init__(self, *failures: Exception) -> None:
        self._failures: Iterator[Exception] = iter(failures)
        self.numbers: list[int] = []

    def __call__(self, number: int) -> str:
        self.numbers.append(number)
        for failure in self._failures:
            raise failure
        return "done"


def failed(recovery: Recovery = Recovery.RETRY, after: float | None = None) -> FailedAttempt:
    """Return a failure of its own, whose error says how it asked to recover."""
    return FailedAttempt(DirectIOError(f"it wants {recovery.value}", 1), recovery, after)


def test_success_needs_one_attempt(time: Time) -> None:
    """What the first attempt returns is returned without any delay."""
    script = Script()
    assert retry_call(POLICY, script, scope=time) == "done"
    assert (script.numbers, time.waits) == ([1], [])


def test_delays_double_up_to_the_maximum(time: Time) -> None:
    """The longest delay doubles with each retry and stops at max_backoff."""
    policy = dataclasses.replace(POLICY, retries=8)
    assert retry_call(policy, Script(*[failed() for _ in range(8)]), scope=time) == "done"
    assert time.waits == [0.25, 0.5, 1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize("chance, first", [(0.0, 0.0), (0.5, 0.125)])
def test_full_jitter(time: Time, chance: float, first: float) -> None:
    """The delay is anything between nothing and its maximum."""
    policy = dataclasses.replace(POLICY, chance=lambda: chance)
    retry_call(policy, Script(failed()), scope=time)
    assert time.waits == [first]


@pytest.mark.parametrize("retries", [0, 1, 7])
def test_retries_follow_the_first_attempt(time: Time, retries: int) -> None:
    """A call makes one attempt and `retries` more, and then raises the last one's error."""
    failures = [failed() for _ in range(retries + 1)]
    script = Script(*failures)
    with pytest.raises(DirectIOError) as caught:
        retry_call(dataclasses.replace(POLICY, retries=retries), script, scope=time)
    assert script.numbers == list(range(1, retries + 2))
    assert caught.value is failures[-1].error


def test_none_is_not_retried(time: Time) -> None:
    """A failure that nothing can cure ends the call at once."""
    script = Script(failed(Recovery.NONE))
    with pytest.raises(DirectIOError, match="it wants none"):
        retry_call(POLICY, script, scope=time)
    assert script.numbers == [1]


def test_other_errors_are_not_retried(time: Time) -> None:
    """An attempt that raises an error itself ends the call with it."""
    script = Script(DirectIOError("refused", 1), failed())
    with pytest.raises(DirectIOError, match="refused"):
        retry_call(POLICY, script, scope=time)
    assert script.numbers == [1]


def test_refetch_happens_once(time: Time) -> None:
    """The same unusable content twice is final, though the policy would allow more retries."""
    script = Script(failed(Recovery.REFETCH), failed(), failed(Recovery.REFETCH), failed())
    with pytest.raises(DirectIOError, match="it wants refetch"):
        retry_call(POLICY, script, scope=time)
    assert script.numbers == [1, 2, 3]


def test_refetch_counts_as_a_retry(time: Time) -> None:
    """Without retries there is no second fetch either."""
    with pytest.raises(DirectIOError, match="it wants refetch"):
        retry_call(
            dataclasses.replace(POLICY, retries=0), Script(failed(Recovery.REFETCH)), scope=time
        )


def test_renewal_costs_no_retry(time: Time) -> None:
    """A renewal is followed by an attempt at once, and the retries are all still there."""
    renewed: list[FailedAttempt] = []

    def renew(failure: FailedAttempt) -> bool:
        renewed.append(failure)
        return True

    script = Script(failed(Recovery.RELIST), failed(), failed(Recovery.RELIST))
    policy = dataclasses.replace(POLICY, retries=1)
    assert retry_call(policy, script, scope=time, renew=renew) == "done"
    assert len(renewed) == 2
    assert (script.numbers, time.waits) == ([1, 2, 3, 4], [0.25])


def test_renewals_end(time: Time) -> None:
    """After `max_renewals` renewals the refusal is final."""
    script = Script(*[failed(Recovery.RELIST) for _ in range(9)])
    with pytest.raises(DirectIOError, match="it wants relist"):
        retry_call(
            dataclasses.replace(POLICY, max_renewals=2),
            script,
            scope=time,
            renew=lambda failure: True,
        )
    assert script.numbers == [1, 2, 3]


@pytest.mark.parametrize("renew", [None, lambda failure: False])
def test_renewal_that_would_not_help(time: Time, renew: object) -> None:
    """Where nothing can be renewed, the refusal is final at once."""
    script = Script(failed(Recovery.RELIST), failed())
    with pytest.raises(DirectIOError, match="it wants relist"):
        retry_call(POLICY, script, scope=time, renew=renew)
    assert script.numbers == [1]


def test_retry_after_replaces_the_backoff(time: Time) -> None:
    """The delay that the server asks for is obeyed, longer or shorter, and never negative."""
    script = Script(failed(after=42.0), failed(after=0.0), failed(after=-5.0), failed())
    retry_call(POLICY, script, scope=time)
    assert time.waits == [42.0, 0.0, 0.0, 2.0]


def test_no_retry_after_the_timeout(time: Time) -> None:
    """No retry begins later than `retry_timeout` seconds after the start."""
    policy = dataclasses.replace(POLICY, retry_timeout=10.0)
    script = Script(failed(after=9.75), failed(after=0.25), failed(after=0.0), failed(after=0.01))
    with pytest.raises(DirectIOError):
        retry_call(policy, script, scope=time)
    assert time.waits == [9.75, 0.25, 0.0]


def test_a_delay_past_the_timeout_is_not_waited_for(time: Time) -> None:
    """A server that asks for more patience than there is ends the call at once."""
    script = Script(failed(after=10.5))
    with pytest.raises(DirectIOError):
        retry_call(dataclasses.replace(POLICY, retry_timeout=10.0), script, scope=time)
    assert time.waits == []


def test_each_retry_is_told(time: Time) -> None:
    """`on_retry` learns the failure, the next attempt's number and the delay, before the delay."""
    told: list[tuple[str, int, float, int]] = []

    def on_retry(failure: FailedAttempt, number: int, delay: float) -> None:
        told.append((str(failure), number, delay, len(time.waits)))

    retry_call(POLICY, Script(failed(), failed(Recovery.REFETCH)), scope=time, on_retry=on_retry)
    assert told == [("it wants retry", 2, 0.25, 0), ("it wants refetch", 3, 0.5, 1)]


def test_giving_up_is_not_told(time: Time) -> None:
    """`on_retry` is not called for a failure that ends the call."""
    told: list[object] = []
    with pytest.raises(DirectIOError):
        retry_call(
            POLICY,
            Script(failed(Recovery.NONE)),
            scope=time,
            on_retry=lambda *args: told.append(args),
        )
    assert told == []


def test_cancelling_ends_the_delay() -> None:
    """A call that waits for its next attempt ends when its scope is cancelled."""
    scope = CancelScope()
    script = Script(failed(after=200.0))
    with pytest.raises(Cancelled):
        retry_call(POLICY, script, scope=scope, on_retry=lambda *args: scope.cancel())
    assert script.numbers == [1]


def test_many_retries_do_not_overflow() -> None:
    """The exponent is bounded: the ten thousandth retry has a delay, too."""
    assert dataclasses.replace(POLICY, backoff=1e-9).delay(10_000) == 10.0


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 30))
def test_delay_is_within_bounds(chance: float, number: int) -> None:
    """No delay is negative or longer than max_backoff."""
    assert 0 <= dataclasses.replace(POLICY, chance=lambda: chance).delay(number) <= 10.0


@pytest.mark.parametrize("recovery", [Recovery.NONE, None])
def test_tracebacks_hold_no_frame_of_the_attempt(time: Time, recovery: Recovery | None) -> None:
    """Tracebacks may be logged with their local variables, and an attempt has secrets in them."""

    def attempt(number: int) -> str:
        password = "secret"  # noqa: F841
        error = DirectIOError("refused", 1, errno=errno.EACCES)
        raise error if recovery is None else FailedAttempt(error, recovery)

    with pytest.raises(DirectIOError) as caught:
        retry_call(POLICY, attempt, scope=time)
    frames = []
    traceback = caught.value.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    assert [frame.f_code.co_name for frame in frames[1:]] == ["retry_call"]


def test_an_error_does_not_keep_itself_alive(time: Time) -> None:
    """The error's traceback leads to the loop's frame, which has let go of the error."""
    script = Script(failed(Recovery.NONE))
    with pytest.raises(DirectIOError) as caught:
        retry_call(POLICY, script, scope=time)
    loop = caught.value.__traceback__.tb_next.tb_frame
    assert loop.f_code.co_name == "retry_call"
    assert "failure" not in loop.f_locals
    assert sys.exc_info() == (None, None, None)


def test_policy_of_settings() -> None:
    """A client's policy is what its settings say."""
    settings = Settings(retries=2, backoff=0.5, max_backoff=3, retry_timeout=30)
    made = RetryPolicy.from_settings(settings)
    assert (made.retries, made.backoff, made.max_backoff, made.retry_timeout) == (2, 0.5, 3.0, 30.0)


def test_policy_is_immutable() -> None:
    """A policy may be shared by threads, because it cannot change."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        POLICY.retries = 5


def test_transient_statuses() -> None:
    """Besides 5xx, waiting may cure 408 and 429."""
    assert {status for status in range(100, 500) if is_transient(status)} == {408, 429}
    assert all(map(is_transient, range(500, 600)))
