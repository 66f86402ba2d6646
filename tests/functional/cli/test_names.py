"""``ls``, ``find``, ``stat`` and ``versions`` against a portal with a tree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from ctera_direct_sync.emulator import Emulator

Run = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("account")

FOLDER = "/My Files/reports"
TREE: dict[str, Any] = {
    "reports": {
        "2025": {"a.csv": b"old", "note.txt": b"a note"},
        "2026": {"a.csv": b"new", "[1].csv": b"x"},
        "big.bin": b"\0" * 3000,
        "empty": {},
    },
    "odd": {"two\nlines": b"1", "\x9b31mred": b"2", "na\u00efve \U0001f4a7": b"3"},
    "wide": {"\u8cc7\u6599\u30002026.xlsx": b"1", "e\u0301": b"22", "plain": b"333"},
}


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal whose user's folder My Files holds TREE."""
    with Emulator(tree=TREE) as emulator:
        yield emulator


def test_ls(run: Run) -> None:
    """A folder is listed by name; without a path, the cloud folders."""
    assert run("ls", FOLDER) == (0, "2025\n2026\nbig.bin\nempty\n", "")
    code, out, _ = run("ls")
    assert code == 0
    assert "My Files" in out.splitlines()


@pytest.mark.parametrize("command", ["cat", "info", "download"])
def test_file_by_its_path(run: Run, portal: Emulator, tmp_path: Any, command: str) -> None:
    """The commands for one file take its path instead of its ID."""
    target = tmp_path / "a.csv"
    extra = ["-p", str(target)] if command == "download" else []
    code, out, err = run(command, f"{FOLDER}/2026/a.csv", *extra)
    assert (code, err) == (0, "")
    if command == "info":
        assert f"File ID      {portal.tree.file_id(f'{FOLDER}/2026/a.csv')}" in out
    else:
        assert (target.read_text() if extra else out) == "new"


def test_name_of_a_download(run: Run, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without -p a path names the file in the current folder. An ID names none."""
    monkeypatch.chdir(tmp_path)
    code, out, err = run("download", f"{FOLDER}/2026/a.csv")
    assert (code, err, out.startswith("a.csv: 3 bytes")) == (0, "", True)
    assert (tmp_path / "a.csv").read_text() == "new"
    code, out, err = run("download", "-f", "1")
    assert (code, out) == (2, "")
    assert "-f: an ID gives no name for the file; give -p, too" in err


def test_file_by_no_path(run: Run) -> None:
    """What is not a path, a path that is not there, and a folder are told in one line."""
    assert run("cat", "a.csv")[::2] == (2, run("cat", "a.csv")[2])
    assert "begin with '/'" in run("cat", "a.csv")[2]
    code, _, err = run("cat", f"{FOLDER}/none.csv")
    assert code == 1 and "none.csv" in err and err.count("\n") == 1
    code, _, err = run("cat", FOLDER)
    assert code == 1 and "folder" in err and err.count("\n") == 1


def test_path_without_an_account(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Without an account the message names the variables and the command that stores one."""
    monkeypatch.setenv("CTERA_DIRECT_CONFIG_DIR", str(tmp_path))
    monkeypatch.delenv("CTERA_DIRECT_PASSWORD")
    code, _, err = run("cat", f"{FOLDER}/2026/a.csv")
    assert code == 2 and "CTERA_DIRECT_PASSWORD" in err and "ctera-direct login" in err


def test_ls_of_a_file(run: Run) -> None:
    """A file is listed by itself."""
    assert run("ls", f"{FOLDER}/big.bin") == (0, "big.bin\n", "")


def test_ls_long(run: Run) -> None:
    """-l aligns its columns, and --human shortens sizes."""
    lines = run("ls", "-l", FOLDER)[1].splitlines()
    assert [line[:2] for line in lines] == ["d-", "d-", "--", "d-"]
    names = ["2025", "2026", "big.bin", "empty"]
    assert len({len(line) - len(name) for line, name in zip(lines, names)}) == 1
    assert re.fullmatch(r"-- +3000  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ +\d+  big\.bin", lines[2])
    assert " 3.0K  " in run("ls", "-l", "--human", FOLDER)[1]


def test_ls_deleted(run: Run, portal: Emulator) -> None:
    """--deleted lists deleted entries, which -l and --json mark."""
    portal.tree.delete(f"{FOLDER}/big.bin")
    assert "big.bin" not in run("ls", FOLDER)[1]
    assert "big.bin" in run("ls", FOLDER, "--deleted")[1]
    assert re.search(r"(?m)^-x .* big\.bin$", run("ls", "-l", FOLDER, "--deleted")[1])
    entries = [
        json.loads(line) for line in run("ls", FOLDER, "--deleted", "--json")[1].splitlines()
    ]
    assert [entry["name"] for entry in entries if entry["deleted"]] == ["big.bin"]


def test_json(run: Run) -> None:
    """--json writes one object per entry, with the names unchanged."""
    code, out, err = run("ls", "/My Files/odd", "--json")
    assert (code, err) == (0, "")
    assert out.isascii()
    entries = [json.loads(line) for line in out.splitlines()]
    assert {entry["name"] for entry in entries} == set(TREE["odd"])
    for entry in entries:
        assert entry["type"] == "file"
        assert entry["size"] == 1
        assert isinstance(entry["file_id"], int)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry["modified"])


def test_find(run: Run) -> None:
    """Find lists all below a folder, or what matches a pattern and a type."""
    every = run("find", FOLDER)[1].splitlines()
    assert len(every) == 8
    found = run("find", FOLDER, "--name", "*.csv", "--type", "f")[1].splitlines()
    assert found == [path for path in every if path.endswith(".csv")]
    assert len(found) == 3
    assert run("find", FOLDER, "--name", "[[]1].csv")[1] == f"{FOLDER}/2026/[1].csv\n"
    assert run("find", FOLDER, "--name", "note.txt")[1] == f"{FOLDER}/2025/note.txt\n"
    folders = run("find", FOLDER, "--type", "d")[1].splitlines()
    assert folders == [f"{FOLDER}/2025", f"{FOLDER}/2026", f"{FOLDER}/empty"]


def test_find_null(run: Run) -> None:
    """-0 ends each path with NUL, so that a line break in a name forges no path."""
    paths = run("find", "/My Files/odd", "-0")[1].split("\0")
    assert paths.pop() == ""
    assert {path.rpartition("/")[2] for path in paths} == set(TREE["odd"])


def test_find_tells_of_a_folder_that_cannot_be_read(run: Run, portal: Emulator) -> None:
    """A folder without permission is one line and exit code 1. The rest is listed."""
    portal.tree.deny(f"{FOLDER}/2025")
    code, out, err = run("find", FOLDER)
    assert code == 1
    assert f"{FOLDER}/2025" in out.splitlines()
    assert f"{FOLDER}/2026/a.csv" in out.splitlines()
    assert err.startswith(f"ctera-direct find: {FOLDER}/2025: ")
    assert len(err.splitlines()) == 1


def test_stat(run: Run, portal: Emulator) -> None:
    """Stat shows size, time and file ID."""
    code, out, err = run("stat", f"{FOLDER}/big.bin")
    assert (code, err) == (0, "")
    entry = json.loads(run("stat", f"{FOLDER}/big.bin", "--json")[1])
    assert out.splitlines()[:3] == [
        f"Path       {FOLDER}/big.bin",
        "Type       file",
        "Size       3000 bytes",
    ]
    assert f"Modified   {entry['modified']}" in out
    assert f"File ID    {entry['file_id']}" in out
    assert "Type       folder" in run("stat", FOLDER)[1]


def test_versions(run: Run, portal: Emulator) -> None:
    """Versions lead to the content of an earlier time, and the current one is marked."""
    path = f"{FOLDER}/2026/a.csv"
    portal.tree.overwrite(path, b"newer than new")
    code, out, err = run("versions", path, "--json")
    versions = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert len(versions) >= 2
    assert [version["current"] for version in versions].count(True) == 1
    contents = set()
    for version in versions:
        assert set(version) == {"path", "started", "current"}
        code, content, _ = run("cat", version["path"])
        assert (code, (content == "newer than new")) == (0, version["current"])
        contents.add(content)
    assert contents == {"new", "newer than new"}
    lines = run("versions", path)[1].splitlines()
    assert lines == [
        f"{version['started'] or '-':20}  {'current' if version['current'] else '':7}  "
        f"{version['path']}"
        for version in versions
    ]


@pytest.mark.parametrize("command", ["ls", "find", "stat", "versions"])
def test_nothing_there(run: Run, command: str) -> None:
    """A path without a file is one line that names it, and exit code 1."""
    code, out, err = run(command, "/My Files/none")
    assert (code, out) == (1, "")
    assert err.startswith(f"ctera-direct {command}: /My Files/none: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls", "reports"),
        ("stat", "/a/../b"),
        ("find", FOLDER, "--name", "a/b"),
        ("find", FOLDER, "--name", ""),
        ("find", FOLDER, "--type", "x"),
        ("find", FOLDER, "-0", "--json"),
        ("ls", "--human"),
        ("ls", "--json", "-l"),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...]) -> None:
    """Wrong usage is one line and exit code 2."""
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1


def test_wrong_password(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused password is one line, which does not show it."""
    monkeypatch.setenv("CTERA_DIRECT_PASSWORD", "wrong-password")
    code, out, err = run("ls", "-d")
    assert (code, out) == (1, "")
    assert "refuses the user name and password" in err
    assert "wrong-password" not in err


def test_no_account(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing user name is wrong usage."""
    monkeypatch.delenv("CTERA_DIRECT_USERNAME")
    code, _, err = run("ls")
    assert code == 2
    assert "CTERA_DIRECT_USERNAME" in err
