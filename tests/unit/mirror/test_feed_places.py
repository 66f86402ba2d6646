"""What a run concludes from places and versions of which the change feed told before."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Callable

import pytest

from ctera_direct_sync._mirror.feed_map import FeedMap
from ctera_direct_sync._mirror.state import State
from ctera_direct_sync.types import ChangePage, Event
from tests.support.mirror_portal import MemoryPortal, local_files, mirror


@pytest.fixture
def source() -> MemoryPortal:
    """A portal with a feed, which has no events for what is in a moved folder."""
    portal = MemoryPortal()
    portal.feed = "on"
    for path in ("a/sub/f", "b/sub/f", "c/sub/f", "d/sub/f", "e/sub/f"):
        portal.add(path)
    return portal


@pytest.fixture
def folder(source: MemoryPortal, memory_path: Path) -> Path:
    """The mirrored folder, after a first run."""
    mirror(source, memory_path)
    source.walks = 0
    return memory_path


def rewrite_events(
    monkeypatch: pytest.MonkeyPatch, rewrite: Callable[[Event], Iterable[Event]]
) -> None:
    """Let the portal's feed tell other events in the place of each."""
    original = MemoryPortal.changes

    def changes(portal: MemoryPortal, cursor: str | None, folder_id: int) -> Iterator[ChangePage]:
        for page in original(portal, cursor, folder_id):
            events = [each for event in page.events for each in rewrite(event)]
            yield page._replace(events=events)

    monkeypatch.setattr(MemoryPortal, "changes", changes)


def test_folders_that_change_names_and_change_them_back(source: MemoryPortal, folder: Path) -> None:
    """A folder that comes back to an old place is read in full: another one was there meanwhile."""
    one, two = source.node("a"), source.node("b")
    for _ in range(3):
        source.swap(one, two)
        assert mirror(source, folder).ok
        assert local_files(folder) == source.files()


def test_folder_that_comes_back_to_a_place_that_another_had(
    source: MemoryPortal, folder: Path
) -> None:
    """A folder that was deleted, and replaced by another, is read in full when it is undeleted."""
    one, two = source.node("a"), source.node("b")
    source.delete(one)
    source.move(two, source.root, "a")
    assert mirror(source, folder).ok
    source.move(two, source.root, "b")
    source.root.deleted.remove(one)
    source.root.children["a"] = one
    assert mirror(source, folder).ok
    assert local_files(folder) == source.files()


def test_place_that_was_told_late_and_is_taken_later(
    source: MemoryPortal, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event is news at a place where the object was not found when the feed told of it."""
    file, target = source.node("a/sub/f"), source.node("b/sub")

    def without_number(event: Event) -> Event:
        return dataclasses.replace(event, raw={"modified": event.file_id})

    with monkeypatch.context() as patch:
        rewrite_events(patch, lambda event: [without_number(event)])
        mirror(source, memory_path)
    with monkeypatch.context() as patch:
        here = without_number(source._facts()[file.guid])
        there = dataclasses.replace(here, parent_guid=target.guid, name="g")
        rewrite_events(patch, lambda event: [without_number(event), there, here])
        source.write(source.node("c/sub/f"))
        mirror(source, memory_path)
    rewrite_events(monkeypatch, lambda event: [without_number(event)])
    mirror(source, memory_path)
    source.move(file, target, "g")
    mirror(source, memory_path)
    assert local_files(memory_path) == source.files()


# --- versions -------------------------------------------------------------------------------------


def version(number: int, *, deleted: bool = False) -> Event:
    """Return an event of one file."""
    raw = {"modified": f"2024-05-01T10:20:{number:02d}Z"}
    return Event("file", "g:1", "g:0", 7, "a", deleted, 10, 5, None, raw)


def tell(feed: FeedMap, *events: Event) -> list[tuple[int, int | None] | None]:
    """Take events as one run does. Return file ID and size of each news with another version."""
    feed.begin(is_inventory=False)
    feed.note(events, 7)
    found = [news.content for news in feed.news() if not news.is_deleted]
    feed.merge()
    return found


@pytest.mark.parametrize("numbers", list(itertools.permutations((1, 2))))
def test_two_versions_in_one_reading(numbers: tuple[int, int]) -> None:
    """It is not certain which of them is the last, so each is news when it comes again."""
    with contextlib.closing(State.copied(None)) as state:
        tell(state.feed, version(0))
        tell(state.feed, *(version(number) for number in numbers))
        assert tell(state.feed, version(1)) == [(5, 10)]


def test_version_after_one_that_is_not_certain() -> None:
    """A file whose last version is not known may have other bytes after each event."""
    with contextlib.closing(State.copied(None)) as state:
        tell(state.feed, version(0))
        tell(state.feed, version(0, deleted=True), version(1))
        assert tell(state.feed, version(2)) == [(5, 10)]


def test_overwrite_after_files_that_change_places(source: MemoryPortal, folder: Path) -> None:
    """A file that has left a place which another has by now keeps the version of its new place."""
    one, two = source.add("1", b"first file"), source.add("2", b"other file")
    mirror(source, folder)
    source.swap(one, two)
    mirror(source, folder)
    source.write_secretly(one)
    mirror(source, folder)
    assert local_files(folder) == source.files()


# --- events that are late, or lack something ------------------------------------------------------


def test_late_deletion_of_a_file_that_is_there(
    source: MemoryPortal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion does not count if the same reading tells that the file is there as before."""
    node = source.node("a")
    file = source.node("a/sub/f")
    told = source._facts()[file.guid]
    source.move(node, source.root, "moved")
    node.denied = True
    late = [dataclasses.replace(told, deleted=True), told]
    rewrite_events(monkeypatch, lambda event: [event, *late])
    mirror(source, folder, delete="remove")
    assert (folder / "a/sub/f").read_bytes() == file.data


def test_file_that_comes_back_after_a_late_event(
    source: MemoryPortal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late event tells that a deleted file is there. When it is undeleted, the same event is news."""
    node = source.node("a/sub/f")
    told = source._facts()[node.guid]
    source.delete(node)
    mirror(source, folder)
    with monkeypatch.context() as patch:
        rewrite_events(patch, lambda event: [event, told])
        source.write(source.node("b/sub/f"))
        mirror(source, folder)
    mirror(source, folder)
    assert node.parent is not None
    node.parent.deleted.remove(node)
    node.parent.children["f"] = node
    mirror(source, folder)
    assert local_files(folder) == source.files()


def test_events_without_a_cloud_folder(
    source: MemoryPortal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The feed was asked for one cloud folder, so an event that names none belongs to it."""
    rewrite_events(monkeypatch, lambda event: [dataclasses.replace(event, folder_id=None)])
    source.write(source.node("a/sub/f"))
    mirror(source, folder)
    assert local_files(folder) == source.files()


def test_listing_that_is_ahead_of_the_feed(
    source: MemoryPortal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose place the feed has never told is found when it leaves that place."""
    early = source.add("a/sub/early")
    source.write(source.node("a/sub/f"))
    with monkeypatch.context() as patch:
        rewrite_events(patch, lambda event: [event] if event.guid != early.guid else [])
        mirror(source, folder)
        assert local_files(folder) == source.files()
    # The portal tells of an object once, and by then it is elsewhere.
    source.move(early, source.node("b"), "early")
    assert source.walks == 0
    mirror(source, folder)
    assert local_files(folder) == source.files()


@pytest.mark.parametrize("half", ["\ud800", "\udce9"])
def test_name_that_is_not_text(source: MemoryPortal, folder: Path, half: str) -> None:
    """Half a surrogate pair in a name of the feed ends no run, and all else is mirrored."""
    node = source.node("a/sub/f")
    source.move(node, source.node("b/sub"), f"f{half}")
    source.add(f"c/{half}/f")
    source.write(source.node("d/sub/f"))
    for _ in range(2):
        failed = [path for path, _ in mirror(source, folder).failed]
        assert failed == [f"b/sub/f{half}", f"c/{half}"]
        wanted = {path: data for path, data in source.files().items() if half not in path}
        assert local_files(folder) == wanted
    source.move(node, source.node("a/sub"), "f")
    mirror(source, folder)
    assert local_files(folder)["a/sub/f"] == node.data


def test_clock_that_was_ahead(source: MemoryPortal, folder: Path) -> None:
    """The time of the last full reading is not believed if it is in the future."""
    now = datetime.datetime(2024, 6, 1, tzinfo=datetime.timezone.utc)
    mirror(source, folder, now=lambda: now + datetime.timedelta(days=9000))
    source.walks = 0
    mirror(source, folder, now=lambda: now)
    mirror(source, folder, now=lambda: now)
    assert source.walks == 1
