"""Runs of a mirror while, or after, other programs change the mirrored folder."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync._mirror.local_tree import LocalTree
from ctera_direct_sync._mirror.values import Local
from ctera_direct_sync._readers.folders import Folder
from tests.support.mirror_portal import OWN, MemoryPortal, local_files, mirror


@pytest.fixture
def source() -> MemoryPortal:
    """A portal with two files, and one more in a folder."""
    portal = MemoryPortal()
    for path in ("a.txt", "b.txt", "docs/c.txt"):
        portal.add(path, b"portal 1")
    return portal


def edit_secretly(path: Path, data: bytes) -> None:
    """Change a file in place, and restore the time of its last change."""
    before = path.stat()
    assert before.st_size == len(data)
    with open(path, "r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def to_old_schema(folder: Path, version: int) -> None:
    """Turn the state into one of the first two schemas. The first has no time of the status."""
    with contextlib.closing(sqlite3.connect(folder / OWN / "state.db")) as database:
        if version == 1:
            database.execute("ALTER TABLE items DROP COLUMN ctime_ns")
        database.execute("ALTER TABLE items DROP COLUMN stale")
        database.execute("DROP TABLE objects")
        database.execute(f"PRAGMA user_version = {version}")
        database.commit()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no time of the status")
@pytest.mark.parametrize("is_old", [False, True], ids=["present", "first-schema"])
def test_edit_with_restored_time(source: MemoryPortal, mirrored: Path, is_old: bool) -> None:
    """A local edit is kept even if its size and its time are those that were mirrored."""
    if is_old:
        to_old_schema(mirrored, 1)
    edit_secretly(mirrored / "a.txt", b"local  1")
    edit_secretly(mirrored / "b.txt", b"local  2")
    source.write(source.find("a.txt"))
    source.delete(source.find("b.txt"))
    assert len(mirror(source, mirrored, delete="remove").conflicts) == 2
    assert {b"local  1", b"local  2"} <= set(local_files(mirrored).values())


def test_changed_permissions(source: MemoryPortal, mirrored: Path) -> None:
    """A file with other permissions, but the same bytes, is not taken for edited."""
    os.chmod(mirrored / "a.txt", 0o640)
    os.chmod(mirrored / "b.txt", 0o640)
    source.write(source.find("a.txt"))
    source.delete(source.find("b.txt"))
    result = mirror(source, mirrored)
    assert result[:4] == (0, 1, 0, 1) and not result.conflicts
    assert local_files(mirrored) == source.files()


@pytest.mark.parametrize("version", [1, 2])
def test_old_schema(source: MemoryPortal, mirrored: Path, version: int) -> None:
    """A state of an older schema serves on, and its files are not downloaded again."""
    source.feed = "on"
    to_old_schema(mirrored, version)
    source.move(source.find("a.txt"), source.root, "z.txt")
    assert mirror(source, mirrored)[:5] == (0, 0, 1, 0, 2)
    assert source.fetched == [] and local_files(mirrored) == source.files()


@pytest.mark.parametrize("version", [1, 2])
def test_old_schema_in_a_dry_run(source: MemoryPortal, mirrored: Path, version: int) -> None:
    """A dry run reads a state of an older schema, and leaves it as it is on the disk."""
    to_old_schema(mirrored, version)
    source.write(source.find("a.txt"))
    assert mirror(source, mirrored, dry_run=True).updated == 1
    with contextlib.closing(sqlite3.connect(mirrored / OWN / "state.db")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (version,)


@pytest.mark.parametrize("kind", ["download", "move"])
def test_file_that_appears_at_a_free_path(
    source: MemoryPortal, mirrored: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A local file that appears just before another gets its path is not replaced."""
    if kind == "download":
        source.add("new.txt")
    else:
        source.move(source.find("a.txt"), source.root, "new.txt")
    original = LocalTree.close_below

    def close_below(tree: LocalTree, path: str) -> None:
        # The run has found the path free before.
        (mirrored / "new.txt").write_bytes(b"local")
        original(tree, path)

    monkeypatch.setattr(LocalTree, "close_below", close_below)
    assert [path for path, _ in mirror(source, mirrored).failed] in (["new.txt"], ["a.txt"])
    assert (mirrored / "new.txt").read_bytes() == b"local"


@pytest.mark.parametrize("change", ["none", "write", "delete", "rename"])
def test_unreadable_local_folder(
    source: MemoryPortal, mirrored: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """A local folder that cannot be read is reported, and what is in it stays as it is."""
    docs = source.find("docs")
    if change == "write":
        source.write(source.find("docs/c.txt"))
    elif change == "delete":
        source.delete(docs)
    elif change == "rename":
        source.move(docs, source.root, "papers")
    source.write(source.find("a.txt"))
    original = LocalTree.list_folder

    def list_folder(tree: LocalTree, path: str) -> list[Local]:
        if path in ("docs", "papers"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return original(tree, path)

    monkeypatch.setattr(LocalTree, "list_folder", list_folder)
    result = mirror(source, mirrored, delete="remove")
    assert ("docs" in dict(result.failed)) and result.updated == 1
    assert b"portal 1" in [d for p, d in local_files(mirrored).items() if p.endswith("c.txt")]
    monkeypatch.undo()
    assert not mirror(source, mirrored).failed
    assert local_files(mirrored) == source.files()


def test_folder_removed_during_the_run(
    source: MemoryPortal, mirrored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is removed while the disk is read counts as missing, and comes back."""
    original = LocalTree.list_folder

    def list_folder(tree: LocalTree, path: str) -> list[Local]:
        found = original(tree, path)
        if not path:
            shutil.rmtree(mirrored / "docs", ignore_errors=True)
        return found

    monkeypatch.setattr(LocalTree, "list_folder", list_folder)
    assert mirror(source, mirrored).updated == 1
    assert local_files(mirrored) == source.files()


def test_path_of_an_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of a folder names it by its path, not as the present folder."""

    def refuse(path: str, *arguments: Any, **options: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    with Folder.open(str(tmp_path)) as folder, monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(PermissionError) as caught:
            folder.names()
    assert caught.value.filename == str(tmp_path)
