"""Rates and timetables of rates, as settings and the command line take them."""

from __future__ import annotations

from typing import Any

import pytest

from ctera_direct_sync._timetable import Timetable, parse_bandwidth


@pytest.mark.parametrize(
    ("value", "rate"),
    [
        (64_000, 64_000.0),
        (1e9, 1e9),
        ("64000", 64_000.0),
        ("64K", 64_000.0),
        ("1.5M", 1_500_000.0),
        (".5m", 500_000.0),
        (" 1G ", 1e9),
    ],
)
def test_a_rate_holds_all_day(value: Any, rate: float) -> None:
    """A number, or a text with K, M or G, is one rate. The letters are powers of 1,000."""
    assert parse_bandwidth(value) == Timetable(((0, rate),))


@pytest.mark.parametrize("value", [None, "off", "OFF", "08:00,off 09:00,off"])
def test_no_limit(value: Any) -> None:
    """What never limits anything gives None."""
    assert parse_bandwidth(value) is None


@pytest.mark.parametrize(
    ("time", "rate"),
    [("00:00", None), ("07:59", None), ("08:00", 2e6), ("18:59", 2e6), ("19:00", None)],
)
def test_the_last_entry_holds(time: str, rate: float | None) -> None:
    """An entry holds until the next one. Before the first of a day, the last one of the day before does."""
    timetable = parse_bandwidth("19:00,off 8:00,2M")
    assert timetable is not None
    hour, _, minute = time.partition(":")
    assert timetable.rate_at(int(hour) * 60 + int(minute)) == rate


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "2X", "2MB", "2 M", "M", "-1", "1e9", "nan", "inf", "0", "999", "1.2.3", "²M"),
        *("08:00", "08:00,", "8,2M", "24:00,2M", "08:60,2M", "08:00,2M,3M", "08:00,2M 8:00,3M"),
        *(0, -1, 999, True, float("nan"), float("inf"), 10**400, b"2M", [2], {}),
    ],
    ids=repr,
)
def test_nonsense_is_refused(value: Any) -> None:
    """What makes no sense raises ValueError, and says what can be given."""
    with pytest.raises(ValueError, match=r"give|use"):
        parse_bandwidth(value)
