"""The servers of the tests: one that hangs fails its test with its stacks, and leaves no process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import servers
from tests.support.servers import listening_process, python

_FORKS_AND_HANGS = """
import os, signal, sys, time

def hang_in_the_child():
    while True:
        time.sleep(60)

def hang_in_the_parent():
    while True:
        time.sleep(60)

signal.signal(signal.SIGTERM, signal.SIG_IGN)
if not os.fork():
    hang_in_the_child()
print("listening on 1", file=sys.stderr)
hang_in_the_parent()
"""


def test_server_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the stacks of each process. None goes on, or the pipe would stay open."""
    monkeypatch.setattr(servers, "_END_S", 0.2)
    (tmp_path / "hangs.py").write_text(_FORKS_AND_HANGS, encoding="utf-8")
    with (
        pytest.raises(AssertionError, match="did not end") as caught,
        listening_process(python("hangs.py"), tmp_path, {}),
    ):
        pass
    told = str(caught.value)
    assert "hang_in_the_parent" in told
    assert "hang_in_the_child" in told


def test_server_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has what it printed."""
    (tmp_path / "fails.py").write_text("raise SystemExit('no port is free')", encoding="utf-8")
    with (
        pytest.raises(AssertionError, match="no port is free"),
        listening_process(python("fails.py"), tmp_path, {}),
    ):
        pass
