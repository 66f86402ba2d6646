"""The programs of the page on following changes, run against an emulator."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import Event, Namespace
from ctera_direct_sync.emulator import Emulator

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "follow-changes.md"
BLOCK = re.compile(r"<!-- name: (.*?) -->\n```(\w+)\n(.*?)```", re.DOTALL)
BLOCKS = {match[1]: (match[2], match[3]) for match in BLOCK.finditer(PAGE.read_text("utf-8"))}
TREE: dict[str, Any] = {"a.txt": b"alpha", "docs": {"b.txt": b"beta"}}


@pytest.fixture
def portal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A portal that the environment names, as an administrator sees it, and an empty folder to be in."""
    with Emulator(username="alice", tree=TREE) as emulator:
        emulator.tree.add_cloud_folder("Projects", {"p.txt": b"p"})
        for variable, value in {
            "URL": emulator.url,
            "USERNAME": emulator.username,
            "PASSWORD": emulator.password,
            "CONTEXT": "admin",
            "ACCESS_KEY_ID": emulator.access_key_id,
            "SECRET_ACCESS_KEY": emulator.secret_access_key,
        }.items():
            monkeypatch.setenv(f"CTERA_DIRECT_{variable}", value)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        yield emulator


@pytest.fixture
def cursor(portal: Emulator) -> str:
    """The cursor of the end of the feed."""
    with Namespace() as names:
        return list(names.changes())[-1].cursor


def run(name: str, **given: Any) -> dict[str, Any]:
    """Run a program of the page, and return its variables."""
    language, code = BLOCKS[name]
    assert language == "python"
    exec(compile(code, name, "exec"), given)
    return given


def test_ten_lines(portal):
    """The example is at-least-once: what its function does not finish comes again, and nothing else."""
    portal.portal_options.feed.page_cap = 2
    done: list[str] = []

    def fail_at_b(event: Event) -> None:
        if event.name == "b.txt":
            raise OSError("the disk is full")
        done.append(str(event.name))

    with pytest.raises(OSError, match="disk is full"):
        run("follow-ten-lines", handle=fail_at_b)
    assert done == ["My Files", "a.txt", "docs"]
    run("follow-ten-lines", handle=lambda event: done.append(event.name))
    assert done == ["My Files", "a.txt", "docs", "docs", "b.txt", "Projects", "p.txt"]
    portal.tree.create("/My Files/c.txt", b"c")
    run("follow-ten-lines", handle=lambda event: done.append(event.name))
    assert done[7:] == ["c.txt"]
    assert not Path("cursor.new").exists()


def test_ten_lines_are_ten():
    """The example is as short as the page says, but for its imports."""
    lines = BLOCKS["follow-ten-lines"][1].strip().splitlines()
    assert len([line for line in lines if line and "import" not in line]) == 10


def test_download(portal, cursor):
    """What changed is downloaded, and what is gone is left out."""
    Path("copy").mkdir()
    portal.tree.overwrite("/My Files/a.txt", b"alpha, again")
    portal.tree.create("/My Files/docs/new.txt", b"new")
    portal.tree.delete("/My Files/docs/b.txt")
    run("follow-download", cursor=cursor)
    found = {path.name: path.read_bytes() for path in Path("copy").iterdir()}
    assert found == {
        "Users_Demo User_My Files_a.txt": b"alpha, again",
        "Users_Demo User_My Files_docs_new.txt": b"new",
    }


def test_wait(portal, cursor):
    """The loop goes on until it is stopped."""

    class Enough(Exception):
        pass

    saved: list[str] = []

    def save(text: str) -> None:
        saved.append(text)
        if len(saved) == 1:
            portal.tree.create("/My Files/new.txt", b"")
        else:
            raise Enough

    done: list[Event] = []
    with pytest.raises(Enough):
        run("follow-wait", cursor=cursor, handle=done.append, save=save)
    assert [event.name for event in done] == ["new.txt"]


def test_folders_and_again(portal, cursor, capsys):
    """The other programs of the page do what it says."""
    run("follow-folders", cursor=None)
    assert capsys.readouterr().out == "2\n"
    portal.feed.reject_cursors()
    pages = run("follow-again", cursor=cursor)["pages"]
    assert len([event for page in pages for event in page.events]) == 6
    run("follow-emulator")
    assert "('b.txt', False)" in capsys.readouterr().out


def test_shell(portal, tmp_path):
    """The shell's line appends what is new."""
    language, code = BLOCKS["follow-shell"]
    assert language == "bash"
    code = code.replace("ctera-direct ", f"{sys.executable} -m ctera_direct_sync ")
    for expected in (6, 7):
        subprocess.run(["bash", "-euc", code], check=True, timeout=60)
        lines = (tmp_path / "changes.jsonl").read_text().splitlines()
        assert len(list(map(json.loads, lines))) == expected
        if expected == 6:
            portal.tree.create("/My Files/c.txt", b"c")


def test_environment_block():
    """The page sets the variables that a Namespace reads."""
    names = re.findall(r"export CTERA_DIRECT_(\w+)=", BLOCKS["follow-environment"][1])
    assert names == ["URL", "USERNAME", "PASSWORD", "CONTEXT"]
