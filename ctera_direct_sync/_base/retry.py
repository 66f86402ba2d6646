"""The retry policy, and the one loop that carries it out.

Block lists, blocks, sign-in and names all fail and recover by these rules.
An attempt that fails raises `FailedAttempt`, which says how to recover, and `retry_call` does the rest.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable, TypeVar

import urllib3
from urllib3 import exceptions as u3

from ..exceptions import DirectIOError
from ..settings import Settings
from .cancellation import CancelScope
from .counters import Counters
from .sync import monotonic

__all__ = [
    "BACKOFF",
    "RENEWAL",
    "FailedAttempt",
    "Recovery",
    "RetryPolicy",
    "is_transient",
    "retry_after",
    "retry_call",
]

T = TypeVar("T")

#: HTTP statuses below 500 that are worth a retry. Every 5xx is, too.
_TRANSIENT_STATUSES = frozenset({408, 429})

#: Names in `RetryPolicy.counters`: the seconds of all delays, and the renewals. Any other name is that of
#: the class of an error that was cured by a retry, or was meant to be.
BACKOFF = "backoff"
RENEWAL = "renewal"

#: Beyond this exponent the backoff is above any maximum, and a float would overflow at 1024.
_MAX_EXPONENT = 60


def is_transient(status: int) -> bool:
    """Return whether the same request may succeed later, by the HTTP status of the answer."""
    return status in _TRANSIENT_STATUSES or status >= 500


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a Retry-After header asks for, None without a valid one.

    RFC 9110, section 10.2.3, allows a number and a date.
    """
    value = headers.get("retry-after")
    if not value:
        return None
    try:
        return float(urllib3.Retry().parse_retry_after(value))
    except (u3.InvalidHeader, ValueError, OverflowError):
        return None


class Recovery(enum.Enum):
    """What to do after a failed attempt."""

    NONE = "none"
    """Give up: no retry can help."""
    RETRY = "retry"
    """Wait, then try again, as often as the policy allows."""
    REFETCH = "refetch"
    """Wait, then try again, but only once per call: the same answer twice is not an accident."""
    RELIST = "relist"
    """Renew what the attempt used (a block list with its URLs, a session), then try again at once."""


class FailedAttempt(Exception):
    """One attempt failed. It never leaves `retry_call`.

    Attributes:
        error: The error for the caller, if nothing helps.
        recovery: What to do before the next attempt.
        retry_after: The delay in seconds that the server asked for, or None.
        waited_s: The seconds of the whole call so far that the bandwidth limit of the client took.
            They count for no timeout.
    """

    def __init__(
        self,
        error: DirectIOError,
        recovery: Recovery = Recovery.NONE,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(error.strerror)
        self.error = error
        self.recovery = recovery
        self.retry_after = retry_after
        self.waited_s = 0.0


@dataclass(frozen=True)
class RetryPolicy:
    """How often to retry, and how long to wait before each retry. Immutable, so threads share it.

    Attributes:
        retries: Retries after the first attempt. Renewals are not counted here.

        backoff: The longest delay before the first retry, in seconds. It doubles with each retry.
            The delay is random between 0 and that value ("full jitter"), so that clients that
            failed together do not come back together.

        max_backoff: The value in seconds at which the doubling stops.
            A Retry-After header is obeyed even if it asks for more.

        retry_timeout: Seconds after the start of the call. No retry begins later.
            If the delay would end later, the call fails at once instead of waiting in vain.

        max_renewals: How often one call may renew what it uses, such as expired URLs.
            A server that also refuses what is new would otherwise be asked for ever.

        chance: Returns a random number from 0 to 1 for the jitter. Tests pass their own.

        counters: Counts the retries of all calls, and the seconds that they waited.
    """

    retries: int
    backoff: float
    max_backoff: float
    retry_timeout: float
    max_renewals: int = 3
    chance: Callable[[], float] = random.random
    counters: Counters = field(default_factory=Counters, compare=False, repr=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> RetryPolicy:
        """Return the policy that a client's settings describe."""
        return cls(settings.retries, settings.backoff, settings.max_backoff, settings.retry_timeout)

    def delay(self, retry: int) -> float:
        """Return a random delay in seconds.

        Args:
            retry: The number of the retry that follows the delay. The first is 1.
        """
        ceiling = min(self.max_backoff, self.backoff * 2.0 ** min(retry - 1, _MAX_EXPONENT))
        return ceiling * self.chance()


def retry_call(
    policy: RetryPolicy,
    attempt: Callable[[int], T],
    *,
    scope: CancelScope,
    on_retry: Callable[[FailedAttempt, int, float], object] | None = None,
    renew: Callable[[FailedAttempt], bool] | None = None,
) -> T:
    """Call `attempt` until it succeeds, or until the policy says to give up.

    Errors are raised without the traceback of the attempt, whose frames may hold secrets.

    Args:
        policy: How often to retry, and how long to wait.
        attempt: Does the work. Its argument is the number of the attempt, from 1.
            It raises `FailedAttempt` for failures that this loop is to judge.
            Any other exception ends the call.
        scope: The cancel scope of the call. It ends the waiting.
        on_retry: Called before the delay of each retry, with the failure, the number of the next
            attempt, and the delay in seconds. It is not called for a renewal: `renew` knows first
            whether there will be one.
        renew: Called for `Recovery.RELIST`. It renews what the attempt uses and returns True,
            returns False if that would not help, or raises what the caller is to see.

    Returns:
        What `attempt` returned.

    Raises:
        DirectIOError: The error of the last attempt.
        Cancelled: The scope was cancelled while the call waited.
    """
    deadline = monotonic() + policy.retry_timeout
    number = 1
    retries = renewals = 0
    refetched = False
    while True:
        try:
            return attempt(number)
        except FailedAttempt as caught:
            failure = caught
        except DirectIOError as caught:
            failure = FailedAttempt(caught)
        number += 1
        try:
            if failure.recovery is Recovery.RELIST:
                if renew is None or renewals >= policy.max_renewals or not renew(failure):
                    raise failure.error.with_traceback(None)
                renewals += 1
                policy.counters.add(RENEWAL)
                continue
            again = failure.recovery is Recovery.REFETCH
            if (
                failure.recovery is Recovery.NONE
                or retries >= policy.retries
                or (again and refetched)
            ):
                raise failure.error.with_traceback(None)
            retries += 1
            refetched = refetched or again
            if failure.retry_after is None:
                delay = policy.delay(retries)
            else:
                delay = max(0.0, failure.retry_after)
            if monotonic() + delay > deadline + failure.waited_s:
                raise failure.error.with_traceback(None)
            policy.counters.add(type(failure.error).__name__)
            policy.counters.add(BACKOFF, delay)
            if on_retry is not None:
                on_retry(failure, number, delay)
        finally:
            # An error whose traceback leads back to it would wait for the garbage collector.
            del failure
        scope.wait(delay)
