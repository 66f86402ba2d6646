"""Renamings are flushed to the disk before a batch gives the results, and once for several files."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._readers import batch
from ctera_direct_sync._readers.batch_paths import flush_folder
from ctera_direct_sync._readers.folders import Folder
from ctera_direct_sync.types import BatchItem, Download

ITEMS = [BatchItem(number, f"{'ab'[number % 2]}/{number}") for number in range(20)]
#: Set once the last file is begun.
began_last = threading.Event()


def fetch(file: Any, target: Any, scope: CancelScope, **options: Any) -> Any:
    """Write a file, and leave the renaming to be flushed by the batch."""
    if file == len(ITEMS) - 1:
        began_last.set()
    assert not target.flush, "the batch flushes the folder"
    os.close(target.folder.create(target.name, os.O_WRONLY))
    return SimpleNamespace(download=Download(os.fspath(target), 0, 0, 0.0), unchanged=file == 9)


def results(tmp_path: Path, flushed: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Return the number of each file as its result is given, and the folders flushed by then."""
    for position, result in batch.run(fetch, CancelScope(), ITEMS, tmp_path, max_files=1):
        assert result.ok, result.error
        yield position, list(flushed)


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were flushed."""
    found: list[str] = []

    def note(root: Folder, folder: str) -> None:
        found.append(os.path.basename(folder))
        flush_folder(root, folder)

    monkeypatch.setattr(batch, "flush_folder", note)
    return found


def test_a_folder_is_flushed_before_the_result(tmp_path: Path, flushed: list[str]) -> None:
    """A caller may rely on a result, whenever the power fails."""
    given = list(results(tmp_path, flushed))
    assert len(given) == len(ITEMS)
    for position, before in given:
        assert "ab"[position % 2] in before


def test_what_a_killed_batch_left_is_flushed_once(tmp_path: Path, flushed: list[str]) -> None:
    """A batch that was killed flushed none of its renamings. The next one finds the files unchanged."""

    def find(file: Any, target: Any, *arguments: Any, **options: Any) -> Any:
        return SimpleNamespace(download=Download(os.fspath(target), 0, 0, 0.0), unchanged=True)

    for position, result in batch.run(find, CancelScope(), ITEMS, tmp_path, max_files=1):
        assert result.outcome == "unchanged"
        assert "ab"[position % 2] in flushed
    assert sorted(flushed) == ["a", "b"]


def test_files_that_end_together_share_a_flush(tmp_path: Path, flushed: list[str]) -> None:
    """All that has ended while the caller was busy costs one flush for each folder."""
    began_last.clear()
    running = results(tmp_path, flushed)
    next(running)
    assert began_last.wait(60), "the files are downloaded while the caller is busy"
    before = len(flushed)
    assert len(list(running)) == len(ITEMS) - 1
    # The last one may end after the others were given.
    assert len(flushed) - before <= 3


def test_progress_and_results_keep_their_order(tmp_path: Path) -> None:
    """A hook that raises, or draws a bar for each file under way, has had the results of those before."""
    began_last.clear()
    told: list[tuple[str, Any]] = []

    def report(file: Any, target: Any, scope: Any, *, progress: Any, **options: Any) -> Any:
        progress(1, 1)
        return fetch(file, target, scope)

    def note(item: BatchItem, done: int, total: int) -> None:
        told.append(("progress", item.file_id))

    running = batch.run(report, CancelScope(), ITEMS, tmp_path, max_files=1, progress=note)
    for position, result in running:
        assert result.ok, result.error
        told.append(("result", position))
        assert began_last.wait(60), "the other files end while the caller is busy"
    kinds = ("progress", "result")
    assert told == [(kind, number) for number in range(len(ITEMS)) for kind in kinds]


def test_a_folder_that_cannot_be_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The files are in place, so a warning says what a power cut may undo."""

    def refuse(root: Folder, folder: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(batch, "flush_folder", refuse)
    with caplog.at_level(logging.WARNING):
        assert len(list(results(tmp_path, []))) == len(ITEMS)
    assert "are in place and complete, but the folder could not be flushed" in caplog.text
    assert str(tmp_path / "a") in caplog.text


def test_a_flush_waits_for_a_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The downloads may use all descriptors for a moment, and a result must not come unflushed for that."""
    tries: list[str] = []

    def lack(root: Folder, folder: str) -> None:
        tries.append(folder)
        if len(tries) < 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(batch, "flush_folder", lack)
    monkeypatch.setattr(batch, "_DESCRIPTOR_DELAYS_S", (1e-6, 1e-6))
    with caplog.at_level(logging.WARNING):
        assert len(list(results(tmp_path, []))) == len(ITEMS)
    assert tries[0] == tries[1] == tries[2]
    assert not caplog.records


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """A link in the place of a folder is not followed."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with Folder.open(str(tmp_path)) as root:
        flush_folder(root, str(tmp_path))
        flush_folder(root, str(tmp_path / "real"))
        with pytest.raises(NotADirectoryError):
            flush_folder(root, str(tmp_path / "link"))
        with pytest.raises(FileNotFoundError):
            flush_folder(root, str(tmp_path / "missing"))
