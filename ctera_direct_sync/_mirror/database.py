"""SQLite databases of the mirror: temporary ones, and errors in the words of the mirror."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator

__all__ = ["explained", "open_temporary"]

#: What SQLite keeps of a temporary database in memory.
_CACHE_KIB = 8192


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


def open_temporary() -> sqlite3.Connection:
    """Return an empty database, which is a file without a name once it is large.

    The file is in the system's folder for temporary files. SQLite removes it when the database is closed.
    If no file can be made, the database is in memory.
    """
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    try:
        # SQLite makes the file when its cache is full, which would be too late to choose.
        database.execute("PRAGMA cache_size = 1")
        database.execute("CREATE TABLE probe (value BLOB)")
        database.execute("INSERT INTO probe VALUES (zeroblob(100000))")
        database.execute("DROP TABLE probe")
    except sqlite3.Error:
        database.close()
        database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return database
