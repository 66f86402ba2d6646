"""``ls``: trees, columns, and what a terminal shows."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from ctera_direct_sync.cli import program as cli
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.emulator.faults import stall
from tests.support.terminal import Terminal

from .conftest import COMMAND

Run = Callable[..., tuple[int, str, str]]

FOLDER = "/My Files"
TREE: dict[str, Any] = {
    "a": {"b": {"deep.txt": b"1"}, "c": {}, "file": b"2"},
    "odd": {
        "two\nlines": b"1",
        "\x9b31mred": b"2",
        "\u202etxt.exe": b"3",
        "na\u00efve \U0001f4a7": b"4",
        "\u8cc7\u6599\u30002026.xlsx": b"5",
        "folder": {},
    },
    "z.txt": b"3",
}


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal whose user's folder My Files holds TREE."""
    with Emulator(tree=TREE) as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def _terminal(account: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


# --- trees ---------------------------------------------------------------------------------------------


def test_recursive(run: Run) -> None:
    """-R lists each folder under its path, a folder before those in it."""
    code, out, err = run("ls", "-R", f"{FOLDER}/a")
    assert (code, err) == (0, "")
    assert out == (
        "/My Files/a:\nb\nc\nfile\n\n"
        "/My Files/a/b:\ndeep.txt\n\n"
        "/My Files/a/c:\n"
    )  # fmt: skip
    every = run("find", FOLDER)[1].count("\n")
    listed = [line for line in run("ls", "-R", FOLDER)[1].split("\n") if line]
    folders = run("find", FOLDER, "--type", "d")[1].count("\n") + 1
    # The name with a line break is two lines of both.
    assert len(listed) == every + folders


def test_recursive_long_and_json(run: Run) -> None:
    """-R goes with -l, and with --json, whose objects have the paths."""
    out = run("ls", "-R", "-l", f"{FOLDER}/a")[1]
    assert "\n\n/My Files/a/b:\n--  " in out
    entries = [json.loads(line) for line in run("ls", "-R", "--json", FOLDER)[1].splitlines()]
    found = [json.loads(line) for line in run("find", "--json", FOLDER)[1].splitlines()]
    assert sorted(entries, key=str) == sorted(found, key=str)


def test_recursive_file(run: Run) -> None:
    """A file is listed by itself with -R, too."""
    assert run("ls", "-R", f"{FOLDER}/z.txt") == (0, "z.txt\n", "")


def test_recursive_tells_of_a_folder_that_cannot_be_read(run: Run, portal: Emulator) -> None:
    """A folder without permission is one line and exit code 1. The rest is listed."""
    portal.tree.deny(f"{FOLDER}/a/b")
    code, out, err = run("ls", "-R", f"{FOLDER}/a")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith(f"ctera-direct ls: {FOLDER}/a/b: ")
    assert out.endswith("/My Files/a/b:\n\n/My Files/a/c:\n")


def test_recursive_lists_no_deleted_folder(run: Run, portal: Emulator) -> None:
    """--deleted shows a deleted folder, and -R does not ask for what was in it."""
    portal.tree.delete(f"{FOLDER}/a/b")
    code, out, err = run("ls", "-R", "--deleted", f"{FOLDER}/a")
    assert (code, err) == (0, "")
    assert out == "/My Files/a:\nb\nc\nfile\n\n/My Files/a/c:\n"


@pytest.mark.parametrize("width", [30])
def test_recursive_fetches_ahead(run: Run, portal: Emulator, width: int) -> None:
    """Several folders are listed at the same time, and each of them once."""
    for number in range(width):
        portal.tree.create(f"{FOLDER}/many/{number:02}/file", b"x")
    portal.latency = 0.02
    before = portal.log.total("portal")
    code, out, _ = run("ls", "-R", f"{FOLDER}/many")
    assert code == 0
    assert [line for line in out.split("\n") if line.endswith(":")] == [
        f"{FOLDER}/many:",
        *(f"{FOLDER}/many/{number:02}:" for number in range(width)),
    ]
    asked = portal.log.total("portal") - before
    assert asked <= width + 8  # The folder itself, and signing in and out.
    assert portal.log.most_in_flight("portal") >= 4


# --- columns -------------------------------------------------------------------------------------------


def test_wide_names_move_no_column(run: Run) -> None:
    """The columns of -l begin at the same place, whatever the width of names."""
    lines = run("ls", "-l", f"{FOLDER}/odd")[1].splitlines()
    starts = {line.index("Z  ") for line in lines if line.startswith("--")}
    assert len(starts) == 1
    assert any(line.endswith("  \u8cc7\u6599\u30002026.xlsx") for line in lines)


# --- terminals -----------------------------------------------------------------------------------------


def shown(*arguments: str) -> str:
    """Run a command in this process, whose standard output is a terminal; return what it shows."""
    import pty

    ours, theirs = pty.openpty()
    before = os.dup(1)
    os.dup2(theirs, 1)
    try:
        assert cli.main(arguments) == 0
    finally:
        os.dup2(before, 1)
        os.close(before)
    # All of it fits into the terminal's buffer.
    text = b""
    while select.select([ours], [], [], 0)[0]:
        text += os.read(ours, 4096)
    os.close(theirs)
    os.close(ours)
    return text.decode()


terminals = pytest.mark.skipif(os.name != "posix", reason="Windows has no pseudo-terminals")


@terminals
def test_names_on_a_terminal() -> None:
    """On a terminal, characters that steer it are escaped. All others are shown."""
    text = shown("ls", f"{FOLDER}/odd")
    assert "\x9b" not in text and "\u202e" not in text
    lines = text.split("\r\n")
    for line in (
        "\\x9b31mred",
        "two\\nlines",
        "\\u202etxt.exe",
        "na\u00efve \U0001f4a7",
        "\u8cc7\u6599\u30002026.xlsx",
    ):
        assert line in lines
    for arguments in (["ls", "-R", "-l"], ["find"]):
        text = shown(*arguments, f"{FOLDER}/odd")
        assert "\x9b" not in text and "two\\nlines\r\n" in text


@terminals
@pytest.mark.parametrize(
    ("options", "variables", "is_blue"),
    [
        ([], {}, True),
        (["-l"], {}, True),
        (["-R"], {"NO_COLOR": ""}, True),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"TERM": "dumb"}, False),
        (["--json"], {}, False),
    ],
)
def test_colours(
    options: list[str], variables: dict[str, str], is_blue: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders are blue on a terminal, unless NO_COLOR is set, the terminal is dumb, or --json is given."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    text = shown("ls", *options, f"{FOLDER}/odd")
    assert ("\x1b[1;34mfolder\x1b[0m\r\n" in text) is is_blue
    assert ("\x1b" in text) is is_blue


def test_no_colours_in_a_pipe(run: Run) -> None:
    """What is not a terminal gets the names alone, unchanged."""
    assert "\x1b" not in run("ls", "-l", f"{FOLDER}/odd")[1]
    assert "two\nlines\n" in run("ls", f"{FOLDER}/odd")[1]


@terminals
def test_interrupted_tree(portal: Emulator) -> None:
    """Ctrl-C ends -R while folders are listed ahead, with code 130."""
    portal.faults.add("portal", call="fetchResources", skip=2, times=None, action=stall())
    with Terminal([*COMMAND, "ls", "-R", f"{FOLDER}/a"]) as terminal:
        terminal.expect("/My Files/a/b:")
        start = time.monotonic()
        terminal.type("\x03")
        assert terminal.wait() == 130
        assert time.monotonic() - start < 10
        assert "Traceback" not in terminal.shown.decode()
