"""A folder that may not be read any more, is renamed, and whose place a file takes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.support.mirror_portal import (
    Crash,
    MemoryPortal,
    Node,
    crash_after,
    local_files,
    mirror,
)


def mirror_and_replace(source: MemoryPortal, path: Path) -> Node:
    """Mirror a file and a folder, deny the folder, and let them change places. Return the folder."""
    file, folder = source.add("a"), source.add("d/e/a").parent
    assert folder is not None and folder.parent is not None
    top = folder.parent
    mirror(source, path)
    top.denied = True
    source.move(top, source.root, "swapped")
    source.move(file, source.root, "d")
    source.move(top, source.root, "a")
    return top


def test_folder_that_comes_back_under_another_name(tmp_path: Path) -> None:
    """Once the permission is back, the local folder has the portal's files, and no others."""
    source = MemoryPortal()
    folder = mirror_and_replace(source, tmp_path)
    result = mirror(source, tmp_path)
    ((path, reason),) = result.conflicts
    assert path == "d"
    assert reason.startswith("files that stay here are in it")
    folder.denied = False
    source.fetched.clear()
    assert mirror(source, tmp_path).moved == 1
    assert local_files(tmp_path) == source.files()
    assert source.fetched == []
    assert sorted(each.name for each in tmp_path.iterdir()) == [".ctera-mirror", "a", "d"]


def test_file_of_the_user_stays_in_the_copy(tmp_path: Path) -> None:
    """The conflict copy of the folder keeps what the user put in, and nothing else."""
    source = MemoryPortal()
    folder = mirror_and_replace(source, tmp_path)
    (tmp_path / "d" / "own").write_bytes(b"own")
    ((_, reason),) = mirror(source, tmp_path).conflicts
    assert reason.startswith("files of your own are in it")
    folder.denied = False
    assert mirror(source, tmp_path).failed == []
    found = local_files(tmp_path)
    (copy,) = found.keys() - source.files().keys()
    assert copy.startswith("d.conflict-") and copy.endswith("/own")
    assert {path: data for path, data in found.items() if path != copy} == source.files()


@pytest.mark.parametrize("steps", range(0, 30, 2))
def test_crash_while_the_folder_becomes_a_copy(memory_path: Path, steps: int) -> None:
    """A run that is cut off at any step leaves nothing behind for ever."""
    source = MemoryPortal()
    folder = mirror_and_replace(source, memory_path)
    with crash_after(steps), contextlib.suppress(Crash):
        mirror(source, memory_path)
    mirror(source, memory_path)
    folder.denied = False
    for _ in range(2):
        mirror(source, memory_path)
    assert local_files(memory_path) == source.files()
