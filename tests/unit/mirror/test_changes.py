"""Runs that read a few folders of the portal, because the change feed tells what has changed."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from ctera_direct_sync._mirror import fetcher, performer
from tests.support.mirror_portal import MemoryPortal, local_files, mirror


@pytest.fixture(params=["children", "top-alone"])
def source(request: pytest.FixtureRequest) -> MemoryPortal:
    """A portal with a feed. It has events for what is in a moved folder, or not."""
    portal = MemoryPortal()
    portal.feed = "on"
    portal.children_events = request.param == "children"
    for folder in range(6):
        for file in range(3):
            portal.add(f"d{folder}/sub/f{file}")
    return portal


@pytest.fixture
def folder(source: MemoryPortal, memory_path: Path) -> Path:
    """The mirrored folder, after a first run."""
    mirror(source, memory_path)
    source.fetched.clear()
    source.walks = 0
    return memory_path


def check(source: MemoryPortal, folder: Path, *, listings: int) -> None:
    """Run the mirror, and check that it listed a few folders, and that all is right."""
    before = source.listings
    assert mirror(source, folder).ok
    assert (source.walks, source.listings - before) == (0, listings)
    assert local_files(folder) == source.files()


def test_one_overwritten_file(source: MemoryPortal, folder: Path) -> None:
    """One event costs the listing of one folder."""
    source.write(source.node("d1/sub/f1"))
    check(source, folder, listings=1)
    assert source.fetched == ["d1/sub/f1"]


def test_new_and_deleted_file(source: MemoryPortal, folder: Path) -> None:
    """A folder that several events concern is listed once."""
    source.add("d2/sub/new")
    source.delete(source.node("d2/sub/f0"))
    check(source, folder, listings=1)


def test_file_that_moves(source: MemoryPortal, folder: Path) -> None:
    """The folder that a file has left is listed, too, and nothing is fetched."""
    source.move(source.node("d1/sub/f1"), source.node("d3"), "moved")
    check(source, folder, listings=2)
    assert source.fetched == []


def test_folder_that_moves(source: MemoryPortal, folder: Path) -> None:
    """What is in a moved folder is read, whether or not it has events, and nothing is fetched."""
    source.move(source.node("d1/sub"), source.node("d3"), "moved")
    check(source, folder, listings=2)
    assert source.fetched == []
    # The map follows: the next change in there costs one listing again.
    source.write(source.node("d3/moved/f2"))
    check(source, folder, listings=1)


def test_folders_that_change_their_names(source: MemoryPortal, folder: Path) -> None:
    """A folder at the place of another is read, although the listing above shows no difference."""
    one, two = source.node("d1"), source.node("d2")
    source.delete(source.node("d2/sub/f0"))
    source.move(one, source.root, "t")
    source.move(two, source.root, "d1")
    source.move(one, source.root, "d2")
    mirror(source, folder)
    assert local_files(folder) == source.files()


def test_folder_that_is_deleted_and_comes_back(source: MemoryPortal, folder: Path) -> None:
    """The events may tell the same as before, and are news all the same."""
    node = source.node("d4")
    source.delete(node)
    check(source, folder, listings=1)
    source.root.deleted.remove(node)
    source.root.children["d4"] = node
    check(source, folder, listings=1)


def test_lost_order_and_repeated_events(source: MemoryPortal, folder: Path) -> None:
    """The order of events does not matter, nor how often they come."""
    source.order = random.Random(1)
    for number in range(20):
        chance = random.Random(number)
        nodes = [each for each in source.nodes() if each.parent is not source.root]
        node = chance.choice(nodes)
        target = chance.choice([each for each in source.nodes() if each.is_dir])
        if node not in target.lineage():
            source.move(node, target, f"n{number}")
        mirror(source, folder)
        assert local_files(folder) == source.files(), number
    assert source.walks < 10


def test_feed_that_tells_everything_again(source: MemoryPortal, folder: Path) -> None:
    """Events that tell what is known cost nothing."""
    source.feed = "again"
    check(source, folder, listings=0)


def test_change_while_the_portal_is_read(
    source: MemoryPortal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was listed may be newer than the cursor. So the next run reads everything."""
    node = source.node("d1/sub/f1")
    source.move(node, source.node("d2"), "x")
    original = MemoryPortal.listdir

    def listdir(portal: MemoryPortal, path: str, **options: bool) -> object:
        found = list(original(portal, path, **options))
        if node.name == "y":
            source.move(node, source.node("d3"), "z")
        elif node.name == "x":
            source.move(node, source.node("d2"), "y")
            found = list(original(portal, path, **options))
        return iter(found)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryPortal, "listdir", listdir)
        mirror(source, folder)
    mirror(source, folder)
    assert local_files(folder) == source.files()
    assert source.walks == 1


def test_overwrite_that_only_the_feed_tells(source: MemoryPortal, folder: Path) -> None:
    """A new version number alone tells of other bytes: file ID, size and time are as they were."""
    source.write_secretly(source.node("d1/sub/f1"))
    check(source, folder, listings=1)
    assert source.fetched == ["d1/sub/f1"]


def test_overwrite_of_which_the_download_fails(source: MemoryPortal, folder: Path) -> None:
    """The state remembers that the content is another one, until it is downloaded."""
    source.write_secretly(source.node("d1/sub/f1"))

    def fail(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    source.on_fetch = fail
    assert len(mirror(source, folder).failed) == 1
    source.on_fetch = lambda path: None
    source.reject_cursors()
    assert mirror(source, folder).updated == 1
    assert local_files(folder) == source.files()


def test_a_run_that_is_cut_does_not_fetch_again(
    source: MemoryPortal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run reads the same events, and what has its place already is not what they tell of."""
    for module in (fetcher, performer):
        monkeypatch.setattr(module, "GROUP_FILES", 1)
    files = [node for node in source.nodes() if not node.is_dir]
    for node in files:
        source.write(node, b"content of another length")
    source.fetched.clear()
    left = iter(files[1:])

    def fail_in_the_end(path: str) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")

    source.on_fetch = fail_in_the_end
    with pytest.raises(OSError, match="No space"):
        mirror(source, folder, max_files=1)
    source.on_fetch = lambda path: None
    first = source.fetched[: len(files) - 1]
    source.fetched.clear()
    mirror(source, folder, max_files=1)
    assert local_files(folder) == source.files()
    assert len(source.fetched) == 1 and source.fetched[0] not in first


def test_overwrite_that_a_new_inventory_tells(source: MemoryPortal, folder: Path) -> None:
    """A rejected cursor does not hide it."""
    source.write_secretly(source.node("d1/sub/f1"))
    source.reject_cursors()
    assert mirror(source, folder).updated == 1
    assert local_files(folder) == source.files()


def test_overwrite_after_files_changed_places(source: MemoryPortal, folder: Path) -> None:
    """It is fetched, although its old place holds another file, and a listing lacked its new one."""
    file, other = source.node("d1/sub/f1"), source.node("d1/sub/f2")
    source.swap(file, other)
    source.hidden = {file.path}
    mirror(source, folder)
    source.hidden = set()
    mirror(source, folder)
    mirror(source, folder)
    assert local_files(folder) == source.files()
    source.write_secretly(file)
    mirror(source, folder)
    assert local_files(folder) == source.files()


def test_overwrite_after_a_folder_got_new_ids(source: MemoryPortal, folder: Path) -> None:
    """It is fetched, although no event has told the file ID that the file has since its folder moved."""
    source.new_id_on_move, source.children_events = True, False
    file = source.node("d1/sub/f1")
    source.move(source.node("d1"), source.root, "moved")
    mirror(source, folder)
    mirror(source, folder)
    assert local_files(folder) == source.files()
    source.fetched.clear()
    source.write_secretly(file)
    mirror(source, folder)
    assert local_files(folder) == source.files()
    assert source.fetched == ["moved/sub/f1"]


@pytest.mark.parametrize("kind", ["file", "folder", "both"])
@pytest.mark.parametrize("order", ["moved", "written"])
def test_overwrite_of_a_file_that_moved(
    memory_path: Path, source: MemoryPortal, kind: str, order: str
) -> None:
    """If the feed tells times that no listing does, a file that moved and was written is fetched."""
    source.fine_times = True
    mirror(source, memory_path)
    source.fetched.clear()
    file, other = source.node("d1/sub/f1"), source.node("d1/sub/f2")
    if order == "written":
        source.write_secretly(file)
    if kind != "folder":
        source.move(file, source.node("d2"), "new")
        source.move(other, source.node("d2"), "other")
    if kind != "file":
        source.move(source.node("d2"), source.node("d3"), "moved")
        source.move(source.node("d1"), source.node("d3"), "moved too")
    if order == "moved":
        source.write_secretly(file)
    result = mirror(source, memory_path)
    assert local_files(memory_path) == source.files()
    # A file that only moved is not fetched.
    assert source.fetched == [file.path]
    assert result.ok
