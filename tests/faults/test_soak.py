"""A short soak on every run; ``make soak MINUTES=30`` is the long one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.soak import floors, slope, soak


@pytest.mark.timeout(240)
def test_soak(record_property: Callable[..., None]) -> None:
    """Everything at once for some seconds: nothing wrong, nothing left, and faults were met."""
    figures = soak(12.0)
    record_property("figures", str(figures))
    assert figures["problems"] == []
    assert figures["stderr"] == ""
    assert figures["threads, descriptors after"] == figures["threads, descriptors before"]
    assert sum(figures["faults met"].values()) > 20
    assert figures["counts"]["retried"] > 5
    assert figures["counts"]["bytes"] > 10_000_000


def test_slope() -> None:
    """The measure of growth is the slope of a line through the samples."""
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2)
    assert slope([(0, 7), (5, 7)]) == 0
    assert slope([(1, 1)]) == 0
    assert floors([(0, 9), (1, 5), (2, 7), (3, 4), (4, 8)], windows=2) == [(1, 5), (3, 4)]
    assert floors([]) == []
