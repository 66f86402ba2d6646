"""Verifying a mirrored folder after a kill, without a state, and on a medium that is read-only."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync._mirror.verify import verify
from ctera_direct_sync._readers.folders import Folder
from ctera_direct_sync.emulator import Emulator
from tests.support.mirror_portal import OWN, Crash, MemoryPortal, crash_after, local_files, mirror


@pytest.fixture
def source() -> MemoryPortal:
    """A portal with two files."""
    portal = MemoryPortal()
    portal.add("a")
    portal.add("b")
    return portal


def test_without_state(source: MemoryPortal, tmp_path: Path) -> None:
    """A mirror whose state is gone is an error, not a folder without a fault."""
    mirror(source, tmp_path)
    for path in (tmp_path / OWN).glob("state.db*"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="no checksums"):
        list(verify(tmp_path))


def test_without_source(tmp_path: Path) -> None:
    """A state that no run has filled is an error."""
    source = MemoryPortal()
    with crash_after(0), pytest.raises(Crash):
        source.walk = lambda path, on_error: (_ for _ in ()).throw(Crash())  # type: ignore[assignment]
        mirror(source, tmp_path)
    assert (tmp_path / OWN / "state.db").exists()
    with pytest.raises(FileNotFoundError, match="no checksums"):
        list(verify(tmp_path))


def test_after_kill(source: MemoryPortal, tmp_path: Path) -> None:
    """A file that a killed run has replaced is compared with what it was replaced by."""
    steps = 0
    while True:
        folder = tmp_path / str(steps)
        mirror(source, folder)
        source.write(source.find("a"))
        try:
            with crash_after(steps):
                mirror(source, folder)
        except Crash:
            assert [f for f in verify(folder) if f.verdict != "ok"] == []
            steps += 1
        else:
            break
    assert steps > 5


def test_read_only_medium(
    source: MemoryPortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a medium that is read-only, verify and a dry run work, and nothing is written."""
    mirror(source, tmp_path)
    before = local_files(tmp_path, own=True)

    def refuse(*arguments: Any, **options: Any) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(Folder, "create", refuse)
    monkeypatch.setattr(Folder, "open_own", refuse)
    assert [finding.verdict for finding in verify(tmp_path)] == ["ok", "ok"]
    source.add("c")
    assert mirror(source, tmp_path, dry_run=True).added == 1
    assert local_files(tmp_path, own=True) == before


def test_folder_above_that_of_a_batch(tmp_path: Path) -> None:
    """The record of a batch counts for a folder above it, too. A file that is gone is missing."""
    place = tmp_path / "year" / "batch"
    place.mkdir(parents=True)
    with Emulator() as emulator:
        items = [(emulator.add(b"a"), "a.txt"), (emulator.add(b"b"), "b.txt")]
        with DirectIO(emulator.url, emulator.access_key_id, emulator.secret_access_key) as client:
            assert all(each.ok for each in client.download_many(items, place))
    (place / "b.txt").unlink()
    found = {finding.path: finding.verdict for finding in verify(tmp_path)}
    assert found == {"year/batch/a.txt": "ok", "year/batch/b.txt": "missing"}
