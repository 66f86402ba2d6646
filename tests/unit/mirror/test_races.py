"""Another program that changes a file in the very moment in which a run replaces or deletes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync._mirror.local_tree import LocalTree
from ctera_direct_sync._readers.folders import Folder
from tests.support.mirror_portal import (
    OWN,
    Crash,
    MemoryPortal,
    crash_after,
    local_files,
    mirror,
)

MINE = b"saved right now"
CHANGES = ("update", "delete", "into-folder", "move", "conflict")


@pytest.fixture
def source() -> MemoryPortal:
    """A portal with two files."""
    portal = MemoryPortal()
    portal.add("a.txt", b"portal 1")
    portal.add("b.txt", b"portal 2")
    return portal


@pytest.fixture(params=["one-step", "links", pytest.param("no-links", marks=pytest.mark.nightly)])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that can rename to a free name in one step, or has hard links, or neither."""
    if request.param != "one-step":
        monkeypatch.setattr(Folder, "move_exclusively", lambda *_: False)
    if request.param == "no-links":
        monkeypatch.setattr(Folder, "move_to_free", Folder.move)


def change(source: MemoryPortal, folder: Path, kind: str) -> None:
    """Let the next run touch a.txt in some way."""
    node = source.node("a.txt")
    if kind == "update":
        source.write(node)
    elif kind == "move":
        source.move(node, source.root, "c.txt")
    elif kind == "conflict":
        (folder / "a.txt").write_bytes(b"edited before")
        source.write(node)
    else:
        source.delete(node)
        if kind == "into-folder":
            source.add("a.txt/inner")


def at_first_renaming(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Do something right before a.txt gets another name."""
    done: list[str] = []

    def patch(name: str) -> None:
        original = getattr(Folder, name)

        def call(folder: Folder, source: str, *arguments: Any) -> Any:
            if source == "a.txt" and not done:
                done.append(source)
                act()
            return original(folder, source, *arguments)

        monkeypatch.setattr(Folder, name, call)

    patch("move")
    patch("move_exclusively")


@pytest.mark.usefixtures("disk")
@pytest.mark.parametrize("as_new", [False, True], ids=["in-place", "new-file"])
@pytest.mark.parametrize("delete", ["trash", "remove"])
@pytest.mark.parametrize("kind", CHANGES)
def test_file_saved_in_the_very_moment(
    source: MemoryPortal,
    mirrored: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    delete: str,
    as_new: bool,
) -> None:
    """What a user saves right before a file is renamed or deleted stays in the folder."""
    source.feed = "on"
    mirror(source, mirrored)
    change(source, mirrored, kind)

    def save() -> None:
        path = mirrored / "a.txt"
        if as_new:
            path = mirrored / "new"
        path.write_bytes(MINE)
        path.replace(mirrored / "a.txt")

    at_first_renaming(monkeypatch, save)
    result = mirror(source, mirrored, delete=delete)
    assert MINE in local_files(mirrored).values()
    if kind != "move":
        assert "a.txt" in dict(result.conflicts)
    assert mirror(source, mirrored, delete=delete).ok
    found = local_files(mirrored)
    assert MINE in found.values()
    if kind != "move":
        assert source.files().items() <= found.items()
    assert list((mirrored / OWN / "aside").iterdir()) == []


@pytest.mark.usefixtures("disk")
def test_name_that_is_taken_while_its_file_gives_way(
    source: MemoryPortal, mirrored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that appears between the old file and its replacement stays, and no copy is left."""
    change(source, mirrored, "update")
    original = LocalTree.move_aside

    def move_aside(tree: LocalTree, path: str, *arguments: Any) -> Any:
        moved = original(tree, path, *arguments)
        (mirrored / path).write_bytes(MINE)
        return moved

    with monkeypatch.context() as patch:
        patch.setattr(LocalTree, "move_aside", move_aside)
        assert [path for path, _ in mirror(source, mirrored).failed] == ["a.txt"]
    assert local_files(mirrored) == {"a.txt": MINE, "b.txt": b"portal 2"}
    assert len(mirror(source, mirrored).conflicts) == 1
    assert sorted(local_files(mirrored).values()) == sorted([*source.files().values(), MINE])


@pytest.mark.parametrize("kind", ["update", "delete"])
def test_open_file_that_is_written_later(
    source: MemoryPortal, mirrored: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A program that has the file open, and writes while the run waits for the disk, loses nothing."""
    change(source, mirrored, kind)
    original = LocalTree.flush
    with open(mirrored / "a.txt", "ab") as file:

        def flush(tree: LocalTree) -> None:
            file.write(MINE)
            file.flush()
            original(tree)

        monkeypatch.setattr(LocalTree, "flush", flush)
        result = mirror(source, mirrored)
    assert [path for path, _ in result.conflicts] == ["a.txt"]
    assert any(data.endswith(MINE) for data in local_files(mirrored).values())


@pytest.mark.usefixtures("disk")
@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("kind", CHANGES)
def test_crash_while_a_file_gives_way(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, saved: bool
) -> None:
    """Wherever a run is cut off, the next one is right, loses nothing, and leaves no file behind."""
    steps = 0
    was_crashed = True
    while was_crashed:
        source = MemoryPortal()
        source.add("a.txt", b"portal 1")
        folder = memory_path / str(steps)
        mirror(source, folder)
        change(source, folder, kind)
        with monkeypatch.context() as patch:
            if saved:
                at_first_renaming(patch, lambda to=folder: (to / "a.txt").write_bytes(MINE))
            was_crashed = False
            try:
                with crash_after(steps):
                    mirror(source, folder)
            except Crash:
                was_crashed = True
            # Only where the run had come so far, there was a moment to save in.
            is_saved = MINE in local_files(folder, own=True).values()
        before = mirror(source, folder)
        assert before.ok, (steps, before.failed)
        found = local_files(folder)
        assert (MINE in found.values()) == is_saved, steps
        assert list((folder / OWN / "aside").iterdir()) == [], steps
        if not is_saved and kind != "conflict":
            assert found == source.files(), steps
        if kind == "conflict" and not saved:
            assert b"edited before" in found.values()
            assert len(found) == 2
        steps += 1
    assert steps > 8
