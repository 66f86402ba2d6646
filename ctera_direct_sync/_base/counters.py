"""Numbers that many threads add to, without a lock."""

from __future__ import annotations

from .sync import get_ident

__all__ = ["Counters"]

#: Threads that have numbers of their own. Further ones share one place, and may lose a count there.
_MAX_THREADS = 1024
_SHARED = 0


class Counters:
    """Sums by name. Each thread adds to sums of its own, and a reader adds those up.

    So no thread waits for another one, and a signal handler may add or read at any moment. A thread that
    gets the number of one that has ended goes on with its sums.
    """

    __slots__ = ("_by_thread",)

    def __init__(self) -> None:
        self._by_thread: dict[int, dict[str, float]] = {}

    def add(self, name: str, amount: float = 1) -> None:
        """Add to the sum of a name. The names must be few: each has a sum in each thread."""
        threads = self._by_thread
        ident = get_ident()
        sums = threads.get(ident)
        if sums is None:
            sums = threads.setdefault(ident if len(threads) < _MAX_THREADS else _SHARED, {})
        sums[name] = sums.get(name, 0) + amount

    def totals(self) -> dict[str, float]:
        """Return the sums of all threads by name, in the order of the names."""
        found: dict[str, float] = {}
        for sums in self._by_thread.copy().values():
            for name, amount in sums.copy().items():
                found[name] = found.get(name, 0) + amount
        return dict(sorted(found.items()))

    def clear(self) -> None:
        """Begin at zero: in a forked child, the sums are its parent's."""
        self._by_thread = {}
