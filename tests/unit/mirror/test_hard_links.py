"""Mirrored files that a program has made names of one file, as tools against duplicates do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.mirror_portal import OWN, MemoryPortal, local_files, mirror


@pytest.fixture
def source() -> MemoryPortal:
    """A portal with two equal files."""
    portal = MemoryPortal()
    for name in ("a", "b", "c"):
        portal.add(name, b"equal")
    return portal


@pytest.fixture
def folder(source: MemoryPortal, memory_path: Path) -> Path:
    """The mirrored folder, where two files are names of one by now."""
    mirror(source, memory_path)
    (memory_path / "b").unlink()
    os.link(memory_path / "a", memory_path / "b")
    assert mirror(source, memory_path).ok
    return memory_path


def check(source: MemoryPortal, folder: Path) -> None:
    """Run the mirror, and check that all is right, and that nothing is left."""
    result = mirror(source, folder)
    assert (result.failed, result.conflicts) == ([], [])
    assert local_files(folder) == source.files()
    assert list((folder / OWN / "stage").iterdir()) == []
    assert list((folder / OWN / "aside").iterdir()) == []


def test_names_that_change_places(source: MemoryPortal, folder: Path) -> None:
    """Both are renamed. POSIX renames nothing if both names are of one file."""
    source.swap(source.node("a"), source.node("b"))
    check(source, folder)


def test_names_that_are_deleted(source: MemoryPortal, folder: Path) -> None:
    """One run deletes both, although the first deletion changes the status of the second."""
    for name in ("a", "b"):
        source.delete(source.node(name))
    check(source, folder)


def test_names_that_are_overwritten(source: MemoryPortal, folder: Path) -> None:
    """Each gets its own bytes, and neither is kept as if it had been changed here."""
    for name in ("a", "b"):
        source.write(source.node(name))
    check(source, folder)


def test_name_that_moves_over_the_other(source: MemoryPortal, folder: Path) -> None:
    """The other name gives way first."""
    source.delete(source.node("b"))
    source.move(source.node("a"), source.root, "b")
    check(source, folder)
