"""Errors of SQLite, in the words of the mirror."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator

__all__ = ["explained"]


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn SQLite's errors into OSError with the path and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        number, advice = errno.EIO, "the disk may be failing"
        if "full" in text:
            number, advice = errno.ENOSPC, "free some space, then run again"
        elif "locked" in text:
            number, advice = errno.EAGAIN, "another program has it open: wait for it"
        elif not any(each in text for each in ("disk I/O", "unable to open", "readonly")):
            advice = (
                "move .ctera-mirror away; the next run then compares each file with the portal and keeps "
                "those that are equal"
            )
        raise OSError(
            number, f"the state of the mirror cannot be used ({text}): {advice}", path
        ) from error
