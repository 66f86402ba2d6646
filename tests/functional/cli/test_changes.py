"""``changes``: events as lines, and a cursor file that never runs ahead of them."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from ctera_direct_sync.cli import cursor_file
from ctera_direct_sync.emulator import Emulator, faults

from .conftest import finished, started

Run = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("account")

TREE: dict[str, Any] = {"a.txt": b"alpha", "docs": {"two\nlines": b"1", "b.txt": b"beta"}}


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal whose user's folder My Files holds TREE."""
    with Emulator(tree=TREE) as emulator:
        yield emulator


def names_in(out: str) -> list[str]:
    """Return the names of the events in some lines."""
    return [json.loads(line)["name"] for line in out.splitlines()]


def test_lines(run: Run, portal: Emulator) -> None:
    """Each event is a line of ASCII with its members, also those that are not known."""
    portal.portal_options.feed.extras = True
    code, out, err = run("changes")
    assert (code, err) == (0, "")
    assert out.isascii()
    events = {event["name"]: event for event in map(json.loads, out.splitlines())}
    assert set(events) == {"My Files", "a.txt", "docs", "two\nlines", "b.txt", "Quota"}
    event = events["b.txt"]
    assert (event["type"], event["size"], event["deleted"]) == ("file", 4, False)
    assert event["file_id"] == portal.tree.file_id("/My Files/docs/b.txt")
    assert event["parent_guid"] == events["docs"]["guid"]
    assert event["modified"].endswith("Z")
    assert event["raw"]["tags"] == {"of": ["a", "later", "portal"]}


def test_cursor_file(run: Run, portal: Emulator, tmp_path: Path) -> None:
    """The file is made by the first run; each later one writes what is new."""
    file = tmp_path / "cursor"
    assert sorted(names_in(run("changes", "--cursor", file)[1])) == sorted(
        ["My Files", "a.txt", "docs", "two\nlines", "b.txt"]
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run("changes", "--cursor", file) == (0, "", "")
    portal.tree.create("/My Files/new.txt", b"new")
    assert names_in(run("changes", "--cursor", file)[1]) == ["new.txt"]
    assert run("changes", "--cursor", file) == (0, "", "")
    assert os.listdir(tmp_path) == ["cursor"]


def test_cursor_after_the_lines(run: Run, portal: Emulator, tmp_path: Path) -> None:
    """Lines that cannot be written leave the cursor where it was."""
    file = tmp_path / "cursor"
    assert run("changes", "--cursor", file)[0] == 0
    before = file.read_text()
    portal.tree.create("/My Files/new.txt", b"new")
    read, write = os.pipe()
    os.close(read)
    assert finished("changes", "--cursor", file, stdout=write) == (141, b"", "")
    os.close(write)
    assert file.read_text() == before
    if os.path.exists("/dev/full"):
        with open("/dev/full", "wb") as full:
            code, _, err = finished("changes", "--cursor", file, stdout=full)
        assert code == 1
        assert "space" in err
        assert file.read_text() == before
    assert names_in(run("changes", "--cursor", file)[1]) == ["new.txt"]


def test_cursor_that_cannot_be_saved(run: Run, portal: Emulator, tmp_path: Path) -> None:
    """A folder that is not there is told before anything is asked."""
    code, out, err = run("changes", "--cursor", tmp_path / "none" / "cursor")
    assert (code, out) == (1, "")
    assert "none" in err
    assert portal.requests == []


def test_rejected_cursor(run: Run, portal: Emulator, tmp_path: Path) -> None:
    """The exit code is one of its own, and the message says what to delete."""
    file = tmp_path / "cursor"
    run("changes", "--cursor", file)
    portal.feed.reject_cursors()
    code, out, err = run("changes", "--cursor", file)
    assert (code, out) == (3, "")
    assert "no longer takes this cursor" in err
    assert f"delete {file} for that" in err
    assert err.count("\n") == 1
    file.unlink()
    assert "a.txt" in names_in(run("changes", "--cursor", file)[1])


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"garbage\n", b"\xff\xfe", b"ctera-feed-1.00000000.abc", b"x" * 5_000_000],
)
def test_file_that_is_not_a_cursor(run: Run, tmp_path: Path, content: bytes) -> None:
    """What is not a cursor is an error, and stays as it is."""
    file = tmp_path / "cursor"
    file.write_bytes(content)
    code, out, err = run("changes", "--cursor", file)
    assert (code, out) == (1, "")
    assert err.startswith(f"ctera-direct changes: {file}: ")
    assert "delete this one to read everything again" in err
    assert err.count("\n") == 1
    assert file.read_bytes() == content


def test_cut_cursor(run: Run, tmp_path: Path) -> None:
    """A cursor that lost its end is not taken for a shorter one."""
    file = tmp_path / "cursor"
    run("changes", "--cursor", file)
    file.write_bytes(file.read_bytes()[:-5])
    code, _, err = run("changes", "--cursor", file)
    assert code == 1
    assert "cut or changed" in err


def test_cursor_file_that_is_no_regular_file(run: Run, tmp_path: Path) -> None:
    """A folder or a pipe is refused at once; a link is followed and stays."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        code, out, err = run("changes", "--cursor", path)
        assert (code, out) == (1, "")
        assert "regular file" in err
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert run("changes", "--cursor", tmp_path / "link")[0] == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").is_file()
    assert run("changes", "--cursor", tmp_path / "link") == (0, "", "")


def test_folders(run: Run, portal: Emulator, tmp_path: Path) -> None:
    """Cloud folders are named; several of one name need their owner."""
    for owner in ("ann", "bob"):
        portal.accounts.add(owner, "pw", full_name=owner.title())
        portal.tree.add_cloud_folder("Team", {f"{owner}.txt": b""}, owner=owner)
    portal.tree.add_cloud_folder("Own", {"own.txt": b""})
    arguments = ("changes", "--admin", "--folder")
    assert names_in(run(*arguments, "Own")[1]) == ["Own", "own.txt"]
    assert names_in(run(*arguments, "ann/Team", "--folder", "Own")[1]) == [
        *("Team", "ann.txt", "Own", "own.txt")
    ]
    code, out, err = run(*arguments, "Team")
    assert (code, out) == (2, "")
    assert "use one of ann/Team, bob/Team" in err
    code, out, err = run(*arguments, "None")
    assert (code, out) == (1, "")
    assert "None: the user sees no cloud folder of this name" in err
    file = tmp_path / "cursor"
    assert run(*arguments, "Own", "--cursor", file)[0] == 0
    code, out, err = run("changes", "--admin", "--cursor", file)
    assert (code, out) == (2, "")
    assert "it was made for other cloud folders" in err


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "soon", ""])
def test_wrong_wait(run: Run, value: str) -> None:
    """A wait is a number of seconds, or for ever."""
    code, _, err = run("changes", f"--wait={value}")
    assert code == 2
    assert "not a number of seconds" in err


def test_wait(run: Run, portal: Emulator, tmp_path: Path) -> None:
    """With --wait the command ends after that time without a change."""
    file = tmp_path / "cursor"
    run("changes", "--cursor", file)
    assert run("changes", "--cursor", file, "--wait", "0.1") == (0, "", "")
    assert portal.log.records(call="metadata/longpoll")


@pytest.mark.skipif(sys.platform == "win32", reason="its signals are others")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals(portal: Emulator, tmp_path: Path, number: signal.Signals) -> None:
    """A signal ends the wait for changes at once; the lines and the cursor are there."""
    file = tmp_path / "cursor"
    arguments = ("changes", "--cursor", file, "--wait", "forever")
    held = portal.faults.add("portal", call="metadata/longpoll", skip=1, action=faults.stall())
    with started(*arguments) as process:
        assert process.stdout is not None
        names = [json.loads(process.stdout.readline())["name"] for _ in range(5)]
        portal.tree.create("/My Files/new.txt", b"new")
        assert json.loads(process.stdout.readline())["name"] == "new.txt"
        assert held.wait(1, 30)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert "a.txt" in names
    assert process.returncode == 128 + number
    assert out == b""
    assert err.count(b"\n") == 1
    assert b"Traceback" not in err
    assert portal.accounts.open_sessions == 0
    assert finished("changes", "--cursor", file) == (0, b"", "")
    assert os.listdir(tmp_path) == ["cursor"]


def test_failure_amid_the_feed(run: Run, portal: Emulator, tmp_path: Path) -> None:
    """A portal that fails half-way leaves the lines so far, their cursor, and exit code 1."""
    portal.portal_options.feed.page_cap = 2
    file = tmp_path / "cursor"
    portal.faults.add("portal", call="metadata/list", skip=1, times=None, action=faults.status(403))
    code, out, err = run("changes", "--cursor", file)
    assert code == 1
    assert "denies access" in err
    first = names_in(out)
    portal.faults.clear()
    code, out, err = run("changes", "--cursor", file)
    assert (code, err) == (0, "")
    assert sorted(first + names_in(out)) == ["My Files", "a.txt", "b.txt", "docs", "two\nlines"]


def test_interrupt_while_the_cursor_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends the saving leaves the old cursor, and no other file."""
    file = cursor_file.CursorFile(str(tmp_path / "cursor"))
    file.write("old")

    def interrupt(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cursor_file, "flush", interrupt)
    with pytest.raises(KeyboardInterrupt):
        file.write("new")
    assert (tmp_path / "cursor").read_text() == "old\n"
    assert os.listdir(tmp_path) == ["cursor"]


def test_file_that_a_killed_run_left(tmp_path: Path) -> None:
    """What an earlier run could not rename is replaced; a link in its place is not followed."""
    (tmp_path / ".cursor.new").symlink_to(tmp_path / "elsewhere")
    cursor_file.CursorFile(str(tmp_path / "cursor")).write("text")
    assert os.listdir(tmp_path) == ["cursor"]
    assert (tmp_path / "cursor").read_text() == "text\n"


def test_no_secret(run: Run, portal: Emulator, tmp_path: Path) -> None:
    """Neither the log of each step nor the cursor file shows what signs in."""
    code, out, err = run("changes", "-d", "--cursor", tmp_path / "cursor")
    assert code == 0
    for text in (out, err, (tmp_path / "cursor").read_text()):
        assert portal.password not in text
        assert "JSESSIONID" not in text
