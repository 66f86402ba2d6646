"""What a run concludes from places and versions of which the change feed told before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Callable

import pytest

from ctera_direct_sync._mirror.feed_map import FeedMap
from ctera_direct_sync.types import ChangePage, Event
from tests.support.mirror_portal import MemoryPortal, Node, local_files, mirror


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


def find(source: MemoryPortal, path: str) -> Node:
    """Return the node of a path."""
    node = source.find(path)
    assert node is not None
    return node


def swap(source: MemoryPortal, one: Node, two: Node) -> None:
    """Let two folders at the top change their names."""
    first, second = one.name, two.name
    source.move(one, source.root, "between")
    source.move(two, source.root, first)
    source.move(one, source.root, second)


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
    one, two = find(source, "a"), find(source, "b")
    for _ in range(3):
        swap(source, one, two)
        assert mirror(source, folder).ok
        assert local_files(folder) == source.files()


def test_folder_that_comes_back_to_a_place_that_another_had(
    source: MemoryPortal, folder: Path
) -> None:
    """A folder that was deleted, and replaced by another, is read in full when it is undeleted."""
    one, two = find(source, "a"), find(source, "b")
    source.delete(one)
    source.move(two, source.root, "a")
    assert mirror(source, folder).ok
    source.move(two, source.root, "b")
    source.root.deleted.remove(one)
    source.root.children["a"] = one
    assert mirror(source, folder).ok
    assert local_files(folder) == source.files()


# --- versions -------------------------------------------------------------------------------------


def version(number: int, *, deleted: bool = False) -> Event:
    """Return an event of one file."""
    raw = {"modified": f"2024-05-01T10:20:{number:02d}Z"}
    return Event("file", "g:1", "g:0", 7, "a", deleted, 10, 5, None, raw)


def tell(feed: FeedMap, *events: Event) -> list[int | None]:
    """Take events as one run does. Return the file ID of each news whose ID and size stayed."""
    feed.begin(is_inventory=False)
    feed.note(events, 7)
    found = [news.same_file_id for news in feed.news() if not news.is_deleted]
    feed.merge()
    return found


# --- events that are late, or lack something ------------------------------------------------------
