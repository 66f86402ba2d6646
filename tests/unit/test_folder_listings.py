"""The listings that a file system keeps: they expire, make room, and are forgotten."""

from __future__ import annotations

import pytest

pytest.importorskip("fsspec")

from ctera_direct_sync._fsspec import folder_listings
from ctera_direct_sync._fsspec.folder_listings import FolderListings


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the listings."""
    clock = Clock()
    monkeypatch.setattr(folder_listings, "monotonic", clock)
    return clock


def test_listing_expires(clock: Clock) -> None:
    """A listing is there until its time is over, and is then dropped."""
    listings = FolderListings(True, 10, None)
    listings["a"] = [1]
    clock.now += 9
    assert listings["a"] == [1] and "a" in listings
    clock.now += 1
    assert "a" not in listings and listings.get("a") is None
    assert len(listings) == 0


def test_clear_forgets_what_follows_an_expired_listing(clock: Clock) -> None:
    """An expired listing does not keep `clear` from the others."""
    listings = FolderListings(True, 10, None)
    listings["old"] = [1]
    clock.now += 9
    listings["new"] = [2]
    clock.now += 2
    listings.clear()
    assert listings.get("new") is None and len(listings) == 0


def test_least_recently_used_makes_room(clock: Clock) -> None:
    """A listing that was read stays longer than one that was not."""
    listings = FolderListings(True, None, 2)
    listings["a"], listings["b"] = [1], [2]
    assert listings["a"] == [1]
    listings["c"] = [3]
    assert sorted(listings) == ["a", "c"]


def test_nothing_is_kept_unless_asked_for() -> None:
    """Without `use_listings_cache`, or with room for none, there is no listing."""
    for listings in (FolderListings(False, None, None), FolderListings(True, None, 0)):
        listings["a"] = [1]
        assert "a" not in listings and len(listings) == 0
