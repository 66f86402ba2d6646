"""Deletions that fail once: the next run must do them, or tell that it cannot."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync._mirror.local_tree import LocalTree
from tests.support.mirror_portal import OWN, MemoryPortal, local_files, mirror


def clock_that_stands() -> datetime.datetime:
    """Return the same time always, as for runs within one second."""
    return datetime.datetime(2024, 6, 1, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize("path", ["d/a", "d/e/f/a"])
def test_file_that_cannot_go_in_a_folder_that_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A file of a deleted folder that is in use for one run is deleted by the next."""
    source = MemoryPortal()
    source.add(path)
    mirror(source, tmp_path)
    source.delete(source.root.children["d"])
    with monkeypatch.context() as patch:

        def refuse(self: LocalTree, *arguments: Any, **options: Any) -> int:
            raise PermissionError(13, "in use", arguments[0])

        patch.setattr(LocalTree, "move_aside", refuse)
        for _ in range(2):
            assert [failed for failed, _ in mirror(source, tmp_path).failed] == [path]
    result = mirror(source, tmp_path)
    assert (result.deleted, result.failed) == (1, [])
    assert local_files(tmp_path) == {}
    assert not (tmp_path / "d").exists()


def test_file_and_folder_of_one_name_in_the_trash_of_one_second(tmp_path: Path) -> None:
    """A folder goes to the trash in the second in which a file of its name went there."""
    source = MemoryPortal()
    file = source.add("c")
    mirror(source, tmp_path, now=clock_that_stands)
    source.delete(file)
    folder = source.add("c/a").parent
    assert folder is not None
    mirror(source, tmp_path, now=clock_that_stands)
    source.delete(folder)
    result = mirror(source, tmp_path, now=clock_that_stands)
    assert (result.deleted, result.failed) == (1, [])
    assert local_files(tmp_path) == {}
    trash = tmp_path / OWN / "trash" / "20240601T000000"
    assert sorted(local_files(trash)) == ["c", "c.2/a"]
