"""The times in the names of the trash and of conflict copies."""

from __future__ import annotations

import datetime

__all__ = ["STAMP_FORMAT", "is_older"]

#: As in `report.conflict-20240501T102030.pdf`, in UTC.
STAMP_FORMAT = "%Y%m%dT%H%M%S"


def is_older(stamp: str, now: datetime.datetime, days: float) -> bool:
    """Return whether a time is more than some days ago. False if the text is not a time."""
    try:
        moment = datetime.datetime.strptime(stamp, STAMP_FORMAT)
    except ValueError:
        return False
    return now - moment.replace(tzinfo=datetime.timezone.utc) > datetime.timedelta(days=days)
