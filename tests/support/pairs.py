"""Fewer tests than all combinations, and still every pair of values together in one of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations


def covering(rows: Sequence[Mapping[str, Hashable]]) -> set[int]:
    """Return the positions of rows which together hold every pair of values that any row holds.

    Few bugs need three values at once (Kuhn, Wallace and Gallo, 2004). The choice is greedy, so it is
    not the smallest one, and it is the same each time.

    Args:
        rows: The combinations: a value for each name.
    """
    pairs = [set(combinations(sorted(row.items(), key=lambda item: item[0]), 2)) for row in rows]
    missing: set[object] = set().union(*pairs)
    chosen = set()
    for least in range(max(map(len, pairs), default=0), 0, -1):
        for at, found in enumerate(pairs):
            if len(found & missing) >= least:
                chosen.add(at)
                missing -= found
    return chosen
