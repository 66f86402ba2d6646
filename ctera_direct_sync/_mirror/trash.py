"""The times in the names of the trash and of conflict copies, and when the trash may be emptied."""

from __future__ import annotations

import datetime

__all__ = ["STAMP_FORMAT", "age_days", "find_doubt", "is_ahead", "is_older"]

#: As in `report.conflict-20240501T102030.pdf`, in UTC.
STAMP_FORMAT = "%Y%m%dT%H%M%S"

#: A clock that goes back by less was only corrected.
_MAX_CORRECTION_DAYS = 1.0
#: If the time since the last run is longer than this, the clock may have been wrong then, or may be now.
_MAX_PAUSE_DAYS = 40.0
#: Runs that are always rare may be this far apart.
_MAX_RARE_PAUSE_DAYS = 400.0


def is_older(stamp: str, now: datetime.datetime, days: float) -> bool:
    """Return whether a time is more than some days ago. False if the text is not a time."""
    age = age_days(stamp, now)
    return age is not None and age > days


def is_ahead(stamp: str, now: datetime.datetime) -> bool:
    """Return whether a time is still to come. False if the text is not a time."""
    age = age_days(stamp, now)
    return age is not None and age < -_MAX_CORRECTION_DAYS


def find_doubt(
    pause: float | None,
    pause_before: float,
    doubt: str,
    now: datetime.datetime,
    days: float | None,
) -> str:
    """Return since when the clock is in doubt, or an empty text.

    A clock that is far ahead for one run would make the whole trash old. What goes to the trash while
    the clock is far behind looks old as soon as the clock is right. So after a jump, the trash keeps its
    files for its full time, by the clock of after the jump.

    Args:
        pause: How long ago the last run was, in days. None: it is not known.
        pause_before: How long before it the run before that was.
        doubt: What the last run returned.
        now: The time.
        days: How long the trash keeps files, in days. None: for ever.
    """
    longest = max(_MAX_PAUSE_DAYS, min(2 * pause_before, _MAX_RARE_PAUSE_DAYS))
    # In a new mirror nothing is old yet, so a doubt costs nothing there.
    if pause is None or not -_MAX_CORRECTION_DAYS <= pause <= longest:
        return now.strftime(STAMP_FORMAT)
    return "" if days is not None and is_older(doubt, now, days) else doubt


def age_days(stamp: str, now: datetime.datetime) -> float | None:
    """Return how many days ago a time was. None if the text is not a time."""
    try:
        moment = datetime.datetime.strptime(stamp, STAMP_FORMAT)
    except ValueError:
        return None
    age = now - moment.replace(tzinfo=datetime.timezone.utc)
    return age / datetime.timedelta(days=1)
