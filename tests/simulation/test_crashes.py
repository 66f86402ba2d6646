"""Downloads that crash at every moment, on a disk that keeps only what POSIX promises."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctera_direct_sync._readers import folders, part_file

from .crashes import Wrong, run
from .disk import Disk, File

pytestmark = pytest.mark.skipif(
    not hasattr(folders.os, "O_NOFOLLOW"), reason="the recorder follows openat"
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """A journal that a crash has damaged is a warning each time."""
    log = logging.getLogger("ctera_direct_sync")
    before = log.level
    log.setLevel(logging.ERROR)
    yield
    log.setLevel(before)


def test_crashes() -> None:
    """After any crash the target is old or new, and a resume makes it complete."""
    told = run(first_seed=0, histories=25)
    assert told["histories"] == 100 and told["crashes"] > 100 and told["resumes"] > 100


def test_missing_flush_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename before the file's own fsync leaves a partial target in some state."""
    monkeypatch.setattr(part_file, "flush", lambda fd: None)
    with pytest.raises(Wrong, match="seed"):
        run(first_seed=0, histories=50)


def test_believed_journal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume that believes a journal without reading the part file leaves wrong bytes."""
    monkeypatch.setattr(part_file.PartFile, "_is_right", lambda self, run, check: True)
    with pytest.raises(Wrong, match="seed"):
        run(first_seed=0, histories=50)


def test_states_of_a_disk(tmp_path: Path) -> None:
    """Of two unflushed writes any subset survives; of flushed ones all do."""
    import random

    disk = Disk(tmp_path, {"a": File(b"....", 5, 10)})
    fd = 9
    disk._files[fd] = 1
    from .disk import Sync, Write

    disk.changes += [Write(1, 0, b"1"), Sync(1), Write(1, 1, b"2"), Write(1, 2, b"3")]
    found = {state["a"].content for state in disk.states(random.Random(0), 4, 100)}
    assert found == {b"1...", b"12..", b"1.3.", b"123."}
