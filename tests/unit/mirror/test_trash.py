"""The trash, when the clock was wrong for a while."""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
from pathlib import Path

import pytest

from ctera_direct_sync._mirror.trash import find_doubt, is_ahead
from tests.support.mirror_portal import OWN, MemoryPortal, local_files, mirror

RIGHT = datetime.datetime(2024, 6, 1, 12, tzinfo=datetime.timezone.utc)
BEHIND = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
AHEAD = datetime.datetime(2099, 1, 1, tzinfo=datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


class Trash:
    """A mirror whose clock a test sets.

    Args:
        folder: The mirrored folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.portal = MemoryPortal()
        self.portal.add("a.txt")
        self.portal.add("b.txt")
        self.run(RIGHT - DAY)

    def run(self, now: datetime.datetime, *, days: float | None = 30) -> int:
        """Run the mirror at a time. Return the number of files in the trash."""
        mirror(self.portal, self.folder, now=lambda: now, trash_days=days)
        return len(list(self._files()))

    def _files(self) -> list[str]:
        found = local_files(self.folder, own=True)
        return [path for path in found if path.startswith(f"{OWN}/trash/")]

    def runs(self) -> list[str]:
        """Return the times of the runs in the trash."""
        return sorted(each.name for each in (self.folder / OWN / "trash").iterdir())

    def delete(self, path: str, now: datetime.datetime) -> None:
        """Delete a file of the portal, and run the mirror at a time."""
        self.portal.delete(self.portal.node(path))
        self.run(now)


@pytest.fixture
def trash(tmp_path: Path) -> Trash:
    """A mirror of two files."""
    return Trash(tmp_path)


def test_deleted_while_the_clock_was_behind(trash: Trash) -> None:
    """A file that was deleted in 1970 by the clock stays for its days once the clock is right."""
    trash.delete("a.txt", BEHIND)
    assert trash.run(RIGHT) == 1
    assert trash.run(RIGHT + 29 * DAY) == 1
    assert trash.run(RIGHT + 31 * DAY) == 0


def test_run_while_the_clock_is_ahead(trash: Trash) -> None:
    """A single run in 2099 by the clock does not empty the trash."""
    trash.delete("a.txt", RIGHT)
    assert trash.run(AHEAD) == 1
    assert trash.run(RIGHT + 2 * DAY) == 1
    assert trash.run(RIGHT + 33 * DAY) == 0


def test_deleted_while_the_clock_was_ahead(trash: Trash) -> None:
    """A file that was deleted in 2099 by the clock does not stay until then."""
    trash.delete("a.txt", AHEAD)
    assert trash.run(RIGHT) == 1
    assert trash.run(RIGHT + 31 * DAY) == 1
    assert trash.runs() == ["20240702T120000"]
    assert trash.run(RIGHT + 60 * DAY) == 1
    assert trash.run(RIGHT + 62 * DAY) == 0


def test_several_runs_while_the_clock_was_ahead(trash: Trash) -> None:
    """Each of several such runs gets a time of its own."""
    trash.delete("a.txt", AHEAD)
    trash.delete("b.txt", AHEAD + DAY)
    trash.run(RIGHT)
    for number in (31, 32, 33):
        assert trash.run(RIGHT + number * DAY) == 2
    assert trash.runs() == ["20240702T120000", "20240703T120000"]
    assert trash.run(RIGHT + 62 * DAY) == 1
    assert trash.run(RIGHT + 63.5 * DAY) == 0


def test_rare_runs(trash: Trash) -> None:
    """Runs that are months apart empty the trash, if one of them later."""
    trash.delete("a.txt", RIGHT)
    assert trash.run(RIGHT + 100 * DAY) == 1
    assert trash.run(RIGHT + 200 * DAY) == 0


@pytest.mark.parametrize("lacking", ["'last run'", "'last run', 'walked'"])
def test_state_without_the_time_of_a_run(trash: Trash, lacking: str) -> None:
    """The state of an earlier release does not empty the trash if the clock is ahead."""
    trash.delete("a.txt", RIGHT)
    with contextlib.closing(sqlite3.connect(trash.folder / OWN / "state.db")) as database, database:
        database.execute(f"DELETE FROM meta WHERE name IN ({lacking})")
    assert trash.run(AHEAD) == 1
    assert trash.run(RIGHT + DAY) == 1
    assert trash.run(RIGHT + 32 * DAY) == 0


def test_trash_for_ever(trash: Trash) -> None:
    """Without a number of days, nothing leaves the trash, whatever the clock says."""
    trash.delete("a.txt", BEHIND)
    for number in range(4):
        assert trash.run(RIGHT + 300 * number * DAY, days=None) == 1


@pytest.mark.parametrize(
    ("pause", "pause_before", "doubt", "found"),
    [
        # It is not known when the last run was.
        (None, 0, "", "20240601T120000"),
        (None, 0, "20240530T000000", "20240601T120000"),
        (0.1, 0, "", ""),
        # A small correction.
        (-0.1, 0, "", ""),
        (-9, 0, "", "20240601T120000"),
        (100, 0, "", "20240601T120000"),
        # Back, and then right again.
        (20_000, -20_000, "19700101T000000", "20240601T120000"),
        # Rare runs.
        (100, 100, "20240222T000000", ""),
        (1, 1, "20240530T000000", "20240530T000000"),
        (1, 1, "20240401T000000", ""),
    ],
)
def test_doubt(pause: float | None, pause_before: float, doubt: str, found: str) -> None:
    """A clock that jumped is in doubt, until the days of the trash have passed."""
    assert find_doubt(pause, pause_before, doubt, RIGHT, 30) == found


def test_ahead() -> None:
    """A time of the next hours may come from another time zone or a corrected clock."""
    assert is_ahead("20250101T000000", RIGHT)
    assert not is_ahead("20240601T200000", RIGHT)
    assert not is_ahead("20230101T000000", RIGHT)
    assert not is_ahead("something else", RIGHT)
