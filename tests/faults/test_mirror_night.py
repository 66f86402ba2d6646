"""The program of many histories: it ends at the first piece that is wrong, and continues after it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.faults import mirror_night


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The seeds of the pieces that are started. The piece of seed 7 is wrong the first time."""
    seeds: list[str] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        seed = command[-2]
        seeds.append(seed)
        return subprocess.CompletedProcess(command, int(seed == "7" and seeds.count("7") == 1))

    monkeypatch.setattr(mirror_night, "RECORD", tmp_path / "record.txt")
    monkeypatch.setattr(mirror_night, "read_revision", lambda: "c0ffee")
    monkeypatch.setattr(mirror_night.subprocess, "run", run)
    return seeds


def test_pieces(started: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A piece that is wrong ends the run. The next run leaves out what was right."""
    assert mirror_night.run_pieces(30, 3, seed=6) == 1
    assert started == ["6", "7"]
    assert "seed 7, 10 histories: WRONG" in capsys.readouterr().out
    assert mirror_night.run_pieces(30, 3, seed=6) == 0
    assert started == ["6", "7", "7", "8"]
    assert "30 histories, all right" in capsys.readouterr().out


def test_uncommitted_code(started: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out where the record cannot tell which code was run."""
    monkeypatch.setattr(mirror_night, "read_revision", lambda: "c0ffee-dirty")
    assert mirror_night.run_pieces(10, 1, seed=1) == 0
    assert mirror_night.run_pieces(10, 1, seed=1) == 0
    assert started == ["1", "1"]


def test_one_piece() -> None:
    """A piece runs the histories of its seed."""
    mirror_night.run_piece(1, 2)
