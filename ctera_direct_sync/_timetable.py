"""A rate, or a timetable of rates: what `settings.bandwidth` and `--bwlimit` take."""

from __future__ import annotations

import re
import time
from typing import Any, NamedTuple

__all__ = ["MIN_RATE", "Timetable", "minute_of_day", "parse_bandwidth"]

#: Bytes per second below which a rate is refused: it is a slip, and servers cut such slow readers off.
MIN_RATE = 1000

_FACTORS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3}
_RATE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([KMG]?)", re.ASCII | re.IGNORECASE)
_ENTRY = re.compile(r"([0-9]{1,2}):([0-9]{2}),(.+)", re.ASCII)
_FORMS = (
    "give bytes per second, such as 2_000_000 or '2M', or times with rates, '08:00,2M 19:00,off'"
)
_DAY_MINUTES = 24 * 60


class Timetable(NamedTuple):
    """The rate at each time of the day."""

    entries: tuple[tuple[int, float | None], ...]
    """From which minute of the day on which rate holds, in bytes per second; None: no limit."""

    def rate_at(self, minute: int) -> float | None:
        """Return the rate at a minute of the day. Before the first entry, yesterday's last one holds."""
        rate = self.entries[-1][1]
        for begin, value in self.entries:
            if begin > minute:
                break
            rate = value
        return rate


def minute_of_day() -> int:
    """Return the minute of the day, by the local time."""
    now = time.localtime()
    return now.tm_hour * 60 + now.tm_min


def parse_bandwidth(value: Any) -> Timetable | None:
    """Return the timetable that a value stands for, None if it never limits anything.

    Args:
        value: None, bytes per second, or a text: a rate, or times with rates.

    Raises:
        ValueError: The value makes no sense.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        return Timetable(((0, _check_rate(value, repr(value))),))
    words = value.split()
    if len(words) == 1 and ":" not in words[0] and "," not in words[0]:
        rate = _parse_rate(words[0])
        return None if rate is None else Timetable(((0, rate),))
    entries: dict[int, float | None] = {}
    for word in words:
        minute, rate = _parse_entry(word)
        if minute in entries:
            raise ValueError(f"{value!r} names {word.partition(',')[0]} twice: give each time once")
        entries[minute] = rate
    if not entries:
        raise ValueError(f"{value!r} is empty: {_FORMS}")
    if all(rate is None for rate in entries.values()):
        return None
    return Timetable(tuple(sorted(entries.items(), key=lambda entry: entry[0])))


def _parse_entry(word: str) -> tuple[int, float | None]:
    match = _ENTRY.fullmatch(word)
    if match is None:
        raise ValueError(f"{word!r} is not a time with a rate: {_FORMS}")
    minute = int(match[1]) * 60 + int(match[2])
    if int(match[2]) > 59 or minute >= _DAY_MINUTES:
        raise ValueError(f"{match[1]}:{match[2]} is not a time: use 00:00 to 23:59")
    return minute, _parse_rate(match[3])


def _parse_rate(text: str) -> float | None:
    if text.lower() == "off":
        return None
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a rate: {_FORMS}; K, M and G are powers of 1,000")
    return _check_rate(float(match[1]) * _FACTORS[match[2].upper()], repr(text))


def _check_rate(value: Any, shown: str) -> float:
    if isinstance(value, (bool, bytes, bytearray)):
        raise ValueError(f"{shown} is not a rate: {_FORMS}")
    try:
        rate = float(value)
    except OverflowError:
        rate = float("inf")
    except (TypeError, ValueError):
        raise ValueError(f"{shown} is not a rate: {_FORMS}") from None
    if not MIN_RATE <= rate < float("inf"):
        raise ValueError(
            f"{shown} is not a rate from {MIN_RATE} bytes per second on: {_FORMS}; None or 'off' is no "
            "limit"
        )
    return rate
