"""A batch that runs out of descriptors: files wait for those that others give back."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import BatchItem
from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._readers import batch


def fetch_with(errors: dict[int, int]) -> Any:
    """Return a `Fetch` that lacks a descriptor. `errors` has the number of times by file ID."""

    class Fetched:
        """A file that is done."""

        download: Any = type("Download", (), {"size": 1})()
        unchanged = False

    def fetch(file: int, *arguments: object, **options: object) -> Fetched:
        if errors.get(file, 0):
            errors[file] -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return Fetched()

    return fetch


def run(tmp_path: Path, errors: dict[int, int]) -> list[batch.BatchResult]:
    """Download three files, one of which lacks descriptors."""
    items = [BatchItem(number, str(number)) for number in (1, 2, 3)]
    found = batch.run(fetch_with(errors), CancelScope(), items, tmp_path)
    return [result for _, result in sorted(found)]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for microseconds instead of seconds."""
    monkeypatch.setattr(batch, "_DESCRIPTOR_DELAYS_S", (1e-6, 1e-6))


def test_file_is_tried_again(tmp_path: Path) -> None:
    """A file that lacked a descriptor is downloaded once another file has given one back."""
    assert [result.outcome for result in run(tmp_path, {2: 2})] == ["done"] * 3


def test_lack_that_lasts_is_the_file_s_error(tmp_path: Path) -> None:
    """Where no descriptor comes back, the file fails with the system's own error."""
    results = run(tmp_path, {2: 99})
    assert [result.outcome for result in results] == ["done", "failed", "done"]
    assert isinstance(results[1].error, OSError) and results[1].error.errno == errno.EMFILE
