"""The change feed of a folder on disk: what other programs do there becomes events."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync.emulator import Emulator, faults
from tests.support.portal_api import Caller


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files."""
    root = tmp_path / "served"
    (root / "reports" / "2026").mkdir(parents=True)
    (root / "a.txt").write_text("alpha")
    (root / "reports" / "b.txt").write_text("beta")
    (root / "reports" / "2026" / "c.txt").write_text("gamma")
    return root


@pytest.fixture
def emulator(folder: Path) -> Iterator[Emulator]:
    """A running emulator that serves the folder."""
    with Emulator(folder) as running:
        yield running


@pytest.fixture
def end(admin: Caller) -> str:
    """The cursor of the end of the feed."""
    return admin.all_changes()[1]


def told(events: list[Any]) -> list[tuple[str, bool]]:
    """Return the names of events, and whether the objects are gone."""
    return [(event["name"], event["deleted"]) for event in events]


def test_new_and_changed_files(emulator, admin, folder, end):
    """New files and folders, other content and deletions are told once."""
    (folder / "new").mkdir()
    (folder / "new" / "d.txt").write_text("delta")
    (folder / "a.txt").write_text("longer than before")
    (folder / "reports" / "b.txt").unlink()
    events, cursor = admin.all_changes(end)
    assert sorted(told(events)) == [
        *(("a.txt", False), ("b.txt", True), ("d.txt", False), ("new", False))
    ]
    assert {event["size"] for event in events if event["name"] == "a.txt"} == {18}
    assert admin.all_changes(cursor)[0] == []
    assert emulator.tree.file_id("/My Files/new/d.txt") > 0


def test_renamed_files_and_folders(emulator, admin, folder, end):
    """A rename keeps the identity, of a file and of a folder with all that is in it."""
    before = {
        name: emulator.tree.node(f"/My Files/{name}").guid
        for name in ("a.txt", "reports", "reports/2026/c.txt")
    }
    (folder / "a.txt").rename(folder / "reports" / "z.txt")
    (folder / "reports").rename(folder / "papers")
    events, _ = admin.all_changes(end)
    assert sorted(told(events)) == [("papers", False), ("z.txt", False)]
    for name, path in (
        ("a.txt", "papers/z.txt"),
        ("reports", "papers"),
        ("reports/2026/c.txt", "papers/2026/c.txt"),
    ):
        assert emulator.tree.node(f"/My Files/{path}").guid == before[name]


def test_folder_in_the_place_of_a_file(emulator, admin, folder, end):
    """A file that becomes a folder is gone, and the folder is new."""
    (folder / "a.txt").unlink()
    (folder / "a.txt").mkdir()
    events, _ = admin.all_changes(end)
    assert sorted(told(events)) == [("a.txt", False), ("a.txt", True)]
    assert emulator.tree.node("/My Files/a.txt").is_folder


def test_rename_over_a_file(admin, folder, end):
    """A file that is written beside its place and renamed over it is overwritten."""
    (folder / "a.txt.tmp").write_text("other")
    os.replace(folder / "a.txt.tmp", folder / "a.txt")
    events, _ = admin.all_changes(end)
    assert told(events) == [("a.txt", False)]


def test_deleted_folder(emulator, admin, folder, end):
    """A folder that is removed with its content is one deletion, and its content is in the trash."""
    (folder / "reports" / "2026" / "c.txt").unlink()
    (folder / "reports" / "2026").rmdir()
    events, _ = admin.all_changes(end)
    assert told(events) == [("2026", True)]
    with pytest.raises(FileNotFoundError):
        emulator.tree.node("/My Files/reports/2026/c.txt")


def test_what_python_changed_stays(emulator, admin, folder, end):
    """A file that was deleted or moved in the tree is not brought back by the one on disk."""
    emulator.tree.delete("/My Files/a.txt")
    emulator.tree.move("/My Files/reports/b.txt", "/My Files/b2.txt")
    (folder / "a.txt").write_text("written again")
    events, cursor = admin.all_changes(end)
    assert told(events) == [("a.txt", True), ("b2.txt", False)]
    (folder / "reports" / "b.txt").unlink()
    assert told(admin.all_changes(cursor)[0]) == [("b2.txt", True)]


def test_links_and_special_files(admin, folder, end):
    """A link to a file is a file, a link to a folder and a pipe are nothing."""
    (folder / "link.txt").symlink_to(folder / "a.txt")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "broken").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe")
    assert told(admin.all_changes(end)[0]) == [("link.txt", False)]


def test_long_poll_sees_the_disk(emulator, admin, folder, end):
    """A long poll ends when a program writes a file."""
    asked = emulator.faults.add("portal", call="metadata/longpoll", action=faults.delay(0))
    with ThreadPoolExecutor(1) as threads:
        polling = threads.submit(admin.ask, "longpoll", folder_ids=[], cursor=end, timeout=600_000)
        assert asked.wait(1, 30)
        (folder / "e.txt").write_text("epsilon")
        assert polling.result(30).json() == {"changes": True}
