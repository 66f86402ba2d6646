"""Runs of a mirror while, or after, other programs change the mirrored folder."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from tests.support.mirror_portal import OWN, MemoryPortal, local_files, mirror


@pytest.fixture
def source() -> MemoryPortal:
    """A portal with two files, and one more in a folder."""
    portal = MemoryPortal()
    for path in ("a.txt", "b.txt", "docs/c.txt"):
        portal.add(path, b"portal 1")
    return portal


@pytest.fixture
def mirrored(source: MemoryPortal, tmp_path: Path) -> Path:
    """The mirrored folder, after a first run."""
    folder = tmp_path / "mirror"
    mirror(source, folder)
    source.fetched.clear()
    return folder


def edit_secretly(path: Path, data: bytes) -> None:
    """Change a file in place, and restore the time of its last change."""
    before = path.stat()
    assert before.st_size == len(data)
    with open(path, "r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def to_first_schema(folder: Path) -> None:
    """Turn the state into one of the first schema, which has no time of the status."""
    with contextlib.closing(sqlite3.connect(folder / OWN / "state.db")) as database:
        database.execute("ALTER TABLE items DROP COLUMN ctime_ns")
        database.execute("PRAGMA user_version = 1")
        database.commit()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no time of the status")
@pytest.mark.parametrize("is_old", [False, True], ids=["present", "first-schema"])
def test_edit_with_restored_time(source: MemoryPortal, mirrored: Path, is_old: bool) -> None:
    """A local edit is kept even if its size and its time are those that were mirrored."""
    if is_old:
        to_first_schema(mirrored)
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


def test_first_schema(source: MemoryPortal, mirrored: Path) -> None:
    """A state of the first schema serves on, and its files are not downloaded again."""
    to_first_schema(mirrored)
    source.move(source.find("a.txt"), source.root, "z.txt")
    assert mirror(source, mirrored)[:5] == (0, 0, 1, 0, 2)
    assert source.fetched == [] and local_files(mirrored) == source.files()
