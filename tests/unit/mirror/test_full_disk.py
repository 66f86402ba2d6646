"""Runs of a mirror on a disk that is full."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ctera_direct_sync.exceptions import NamespaceError
from tests.support.mirror_portal import OWN, MemoryPortal, local_files, mirror


def test_disk_that_fills_up(tmp_path: Path) -> None:
    """What was downloaded before the disk was full gets its place."""
    source = MemoryPortal()
    for number in range(4):
        source.add(f"{number}.txt")

    def fill(path: str) -> None:
        if path == "3.txt":
            raise OSError(errno.ENOSPC, "No space left on device", path)

    source.on_fetch = fill
    with pytest.raises(OSError, match="No space left"):
        mirror(source, tmp_path, max_files=1)
    files = source.files()
    del files["3.txt"]
    assert local_files(tmp_path) == files
    source.on_fetch = lambda path: None
    source.fetched.clear()
    assert mirror(source, tmp_path).added == 1
    assert source.fetched == ["3.txt"]


def test_leftovers_go_first(tmp_path: Path) -> None:
    """Downloads that an earlier run left are removed before the source is read."""
    source = MemoryPortal()
    source.add("a.txt")
    mirror(source, tmp_path)
    left = tmp_path / OWN / "downloads" / "left"
    left.write_bytes(b"left")
    mirror(source, tmp_path, dry_run=True)
    assert left.exists()
    source.walk_error = NamespaceError("no answer", "/My Files/source")
    with pytest.raises(NamespaceError):
        mirror(source, tmp_path)
    assert not left.exists()
