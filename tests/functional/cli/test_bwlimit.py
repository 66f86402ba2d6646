"""`--bwlimit`: each command that downloads takes it, and hands it to its client."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync.cli import program
from ctera_direct_sync.emulator import Emulator

from .conftest import DATA

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[DirectIO]:
    """The clients that commands make."""
    made: list[DirectIO] = []

    def make(*arguments: Any, **options: Any) -> DirectIO:
        made.append(DirectIO(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(program, "DirectIO", make)
    return made


@pytest.mark.keeps_partial
@pytest.mark.parametrize("rate", ["50M", "00:00,50M 12:00,off"])
@pytest.mark.parametrize("command", ["download", "cat", "batch"])
def test_commands_take_it(
    run: Run, file_id: int, tmp_path: Path, clients: list[DirectIO], command: str, rate: str
) -> None:
    """The command does its work, by a client that has the limit."""
    target = tmp_path / "file"
    arguments = {
        "download": ["-f", file_id, "-p", target],
        "cat": ["-f", file_id],
        "batch": [tmp_path / "list", tmp_path],
    }
    (tmp_path / "list").write_text(f"{file_id},file\n")
    code, _, err = run(command, "--bwlimit", rate, *arguments[command])
    assert (code, err) == (0, "")
    if command != "cat":
        assert target.read_bytes() == DATA
    assert [client.settings.bandwidth for client in clients] == [rate]


@pytest.mark.usefixtures("account")
def test_a_mirror_takes_it(
    run: Run, portal: Emulator, tmp_path: Path, clients: list[DirectIO]
) -> None:
    """A mirror's downloads are limited."""
    portal.tree.mkdir("/My Files/reports")
    portal.tree.create("/My Files/reports/a", DATA)
    code, _, err = run("mirror", "/My Files/reports", tmp_path, "--bwlimit", "50M")
    assert (code, err) == (0, "")
    assert (tmp_path / "a").read_bytes() == DATA
    assert [client.settings.bandwidth for client in clients] == ["50M"]


def test_without_it_there_is_no_limit(run: Run, file_id: int, clients: list[DirectIO]) -> None:
    """By default nothing is limited."""
    assert run("cat", "-f", file_id)[0] == 0
    assert [client.settings.bandwidth for client in clients] == [None]


@pytest.mark.parametrize("rate", ["", "0", "2X", "08:00", "08:00,2M,3M"])
def test_what_makes_no_sense_is_wrong_usage(run: Run, file_id: int, rate: str) -> None:
    """One line says what can be given, and nothing is downloaded."""
    code, out, err = run("cat", "--bwlimit", rate, "-f", file_id)
    assert (code, out) == (2, "")
    assert err.startswith(f"ctera-direct cat: --bwlimit {rate}: not a rate; use bytes per second")
    assert err.count("\n") == 1
