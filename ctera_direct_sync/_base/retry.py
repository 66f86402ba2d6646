"""When to try again and how long to wait: an immutable policy, clock and chance injected."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Callable, Optional

from ..settings import Settings

__all__ = ["TRANSIENT_STATUSES", "Attempts", "RetryPolicy"]

#: Statuses worth another try besides every 5xx (DESIGN, failure policy).
TRANSIENT_STATUSES = frozenset({408, 429})


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with full jitter: wait between 0 and ``min(max_backoff, backoff * 2**n)``.

    ``retries``: attempts after the first. ``timeout``: seconds after the start past which no attempt
    begins, however many are left.
    """

    retries: int
    backoff: float
    max_backoff: float
    timeout: float
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random

    @classmethod
    def of(cls, settings: Settings) -> RetryPolicy:
        """The policy that a client's settings describe."""
        return cls(settings.retries, settings.backoff, settings.max_backoff, settings.retry_timeout)

    def start(self) -> Attempts:
        """The attempts of one operation, the first of which begins now."""
        return Attempts(self)


class Attempts:
    """How often one operation was tried. Belongs to one thread."""

    __slots__ = ("_deadline", "_policy", "made")

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._deadline = policy.clock() + policy.timeout
        self.made = 1

    def next_delay(self, retry_after: Optional[float] = None) -> Optional[float]:
        """Seconds to wait before the next attempt, or None when it is time to give up.

        ``retry_after``: what the server asked for, which wins over the backoff.
        """
        policy = self._policy
        if self.made > policy.retries:
            return None
        if retry_after is None:
            ceiling = min(policy.max_backoff, policy.backoff * 2.0 ** min(self.made - 1, 60))
            delay = ceiling * policy.chance()
        else:
            delay = max(0.0, retry_after)
        if policy.clock() + delay > self._deadline:
            return None
        self.made += 1
        return delay
