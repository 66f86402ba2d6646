"""Completion as real shells ask for it, against a portal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync.cli import program as cli
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.emulator.faults import stall
from tests.support.terminal import Terminal

pytest.importorskip("argcomplete")

SCRIPTS = Path(sys.executable).parent
#: A name that a shell must not run.
EVIL = "$(touch pwned)`touch pwned`;touch pwned&"
TREE: dict[str, Any] = {
    "reports": {
        "2025.csv": b"a",
        "2026": {"a b$.csv": b"b", "it's": b"c", "z" + EVIL: b"d"},
        "note.txt": b"n",
    },
    "re\nport": b"x",
}

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="shells of POSIX"),
    pytest.mark.skipif(
        not (SCRIPTS / "ctera-direct").exists(), reason="the console script is not installed"
    ),
]


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal whose user's folder My Files holds TREE."""
    with Emulator(tree=TREE) as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def _shell(account: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CTERA_DIRECT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


VARIABLES = {
    "_ARGCOMPLETE": "1",
    "_ARGCOMPLETE_SHELL": "bash",
    "_ARGCOMPLETE_IFS": "\v",
    "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
}


def proposals(line: str) -> tuple[list[str], bytes]:
    """Ask as argcomplete's shell functions do: the proposals, and what went to standard error."""
    variables = {**VARIABLES, "COMP_LINE": line, "COMP_POINT": str(len(line))}
    done = subprocess.run(
        ["bash", "-c", "ctera-direct 8>&1 9>/dev/null 1>/dev/null"],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    return [text for text in done.stdout.decode().split("\v") if text], done.stderr


@pytest.mark.parametrize("command", ["ls", "download"])
def test_paths(command: str, portal: Emulator) -> None:
    """The commands that take a path complete it, a folder with a slash."""
    line = f"ctera-direct {command} '/My Files/reports/20"
    assert proposals(line) == (["/My Files/reports/2025.csv", "/My Files/reports/2026/"], b"")
    assert portal.accounts.open_sessions == 0


def test_every_path_is_completed() -> None:
    """Each command that takes a path on the portal calls it PATH, by which completion knows it."""
    parser = cli.make_parser()
    commands = next(action.choices for action in parser._actions if action.choices)
    assert isinstance(commands, dict)
    for name in ("ls", "find", "stat", "versions", "download", "cat", "info"):
        positionals = [each for each in commands[name]._actions if not each.option_strings]
        assert [each.metavar for each in positionals] == ["PATH"]


def test_paths_from_the_top() -> None:
    """Without a word the cloud folders are proposed. A name with a line break never is."""
    assert r"/My\ Files/" in proposals("ctera-direct ls ")[0]
    assert proposals(r"ctera-direct ls /My\ Files/re")[0] == [r"/My\ Files/reports/"]
    assert proposals("ctera-direct ls nothing")[0] == []


def test_options_commands_and_values(portal: Emulator) -> None:
    """Commands, options and known values are completed without asking the portal."""
    assert proposals("ctera-direct vers")[0] == ["versions"]
    assert "--human" in proposals("ctera-direct ls --")[0]
    assert proposals("ctera-direct find / --type ")[0] == ["f", "d"]
    assert proposals("ctera-direct emulator . --cipher AES-")[0] == ["AES-CBC", "AES-GCM"]
    assert portal.log.total("portal") == 0


def test_files_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The values of -p are files of this machine."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "target.bin").touch()
    assert proposals("ctera-direct download -p tar")[0] == ["target.bin"]


def test_profiles(portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """--profile completes the names of profiles, and its account is the one that paths come from."""
    line = ["ctera-direct", "login", "--profile", "work", "--password-stdin", "-u", portal.username]
    subprocess.run(
        line, input=f"{portal.password}\n", text=True, check=True, capture_output=True, timeout=60
    )
    for name in ("URL", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"CTERA_DIRECT_{name}")
    assert proposals("ctera-direct ls --profile w")[0] == ["work"]
    assert proposals("ctera-direct ls --profile work '/My Files/rep")[0] == ["/My Files/reports/"]
    assert proposals("ctera-direct ls '/My Files/rep")[0] == []


# --- failures ------------------------------------------------------------------------------------------


def test_wrong_password_is_tried_once(portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often TAB is pressed, a refused account is not locked."""
    monkeypatch.setenv("CTERA_DIRECT_PASSWORD", "wrong")
    for _ in range(3):
        assert proposals("ctera-direct ls /") == ([], b"")
    assert len(portal.log.records(call="login")) == 1
    # A login with the right password opens the way again.
    line = ["ctera-direct", "login", "--password-stdin", "-u", portal.username]
    subprocess.run(
        line, input=f"{portal.password}\n", text=True, check=True, capture_output=True, timeout=60
    )
    monkeypatch.delenv("CTERA_DIRECT_PASSWORD")
    assert proposals("ctera-direct ls '/My Files/rep")[0] == ["/My Files/reports/"]


def test_slow_portal(portal: Emulator) -> None:
    """A portal that does not answer is not waited for, and not asked again at once."""
    portal.faults.add("portal", call="fetchResources", times=None, action=stall())
    start = time.monotonic()
    assert proposals("ctera-direct ls /") == ([], b"")
    assert time.monotonic() - start < 30
    asked = portal.log.total("portal")
    assert proposals("ctera-direct ls /") == ([], b"")
    assert portal.log.total("portal") == asked


@pytest.mark.parametrize("problem", ["no account", "no portal", "broken profile", "no folder"])
def test_silence(problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is missing or broken means no proposals, and no word."""
    if problem == "no portal":
        monkeypatch.setenv("CTERA_DIRECT_URL", "http://127.0.0.1:9")
    elif problem == "no folder":
        assert proposals("ctera-direct ls '/My Files/none/") == ([], b"")
        return
    else:
        monkeypatch.delenv("CTERA_DIRECT_PASSWORD")
    if problem == "broken profile":
        (tmp_path / "config").mkdir(mode=0o700)
        (tmp_path / "config" / "profiles.json").write_text("{")
    assert proposals("ctera-direct ls /") == ([], b"")


#: A keyring of a desktop that asks for a password if it is locked. This one asks on the terminal.
KEYRING = """
import json, os, pathlib
from keyring.backend import KeyringBackend
path = pathlib.Path(__file__).with_suffix(".json")
class Keyring(KeyringBackend):
    priority = 1
    def get_password(self, service, username):
        with path.with_name("asked").open("a") as asked:
            if os.environ.get("ASK"):
                asked.write("asked: ")
                open("/dev/tty").close()
                asked.write("on the terminal")
        return json.loads(path.read_text())
    def set_password(self, service, username, password):
        path.write_text(json.dumps(password))
"""
SECRETSTORAGE = """
import contextlib, os
class Collection:
    def is_locked(self):
        return bool(os.environ.get("LOCKED"))
def dbus_init():
    return contextlib.ExitStack()
def get_default_collection(bus):
    return Collection()
"""


def test_keyring(portal: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A keyring is asked only while it is unlocked, and cannot ask on the terminal."""
    pytest.importorskip("keyring")
    folder = tmp_path / "fakes"
    folder.mkdir()
    (folder / "SecretService.py").write_text(KEYRING)
    (tmp_path / "secretstorage.py").write_text(SECRETSTORAGE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "fakes.SecretService.Keyring")
    line = ["ctera-direct", "login", "--password-stdin", "-u", portal.username]
    subprocess.run(
        line, input=f"{portal.password}\n", text=True, check=True, capture_output=True, timeout=60
    )
    monkeypatch.delenv("CTERA_DIRECT_PASSWORD")
    assert proposals("ctera-direct ls '/My Files/rep")[0] == ["/My Files/reports/"]
    asked = folder / "asked"
    asked.unlink()
    monkeypatch.setenv("LOCKED", "1")
    assert proposals("ctera-direct ls '/My Files/rep") == ([], b"")
    assert not asked.exists()
    monkeypatch.delenv("LOCKED")
    monkeypatch.setenv("ASK", "1")
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COMP_LINE", "ctera-direct ls /")
    monkeypatch.setenv("COMP_POINT", "17")
    with Terminal(["bash", "-c", "ctera-direct 8>/dev/null 9>&8"]) as terminal:
        assert terminal.wait() == 0
        assert terminal.shown == b""
    assert asked.read_text() == "asked: "


# --- shells --------------------------------------------------------------------------------------------

REGISTER = {
    "bash": 'eval "$(register-python-argcomplete --no-defaults ctera-direct)"\n',
    "zsh": 'autoload -U compinit; compinit -D -u\neval "$(register-python-argcomplete ctera-direct)"\n',
    "fish": "register-python-argcomplete --shell fish ctera-direct | source\n",
}
START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}


@pytest.mark.parametrize("shell", START)
def test_shell(shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TAB in an interactive shell completes paths with blanks, quoted as the shell wants it."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    if shell == "fish":
        monkeypatch.setenv("TERM", "xterm")
    with Terminal(START[shell], cwd=tmp_path) as terminal:
        terminal.type(REGISTER[shell])
        terminal.type("echo rea''dy\n")
        terminal.expect("ready")
        terminal.type("ctera-direct ls /My\t")
        terminal.expect("Files/")
        terminal.type("rep\t")
        terminal.expect("reports/")
        terminal.type("2026/a\t")
        terminal.expect(".csv")
        terminal.type("\n")
        terminal.expect("a b$.csv\r\n")
        terminal.type("ctera-direct ls /My\trep\t2026/z\t")
        terminal.expect("touch")
        terminal.type("\n")
        terminal.expect(f"z{EVIL}\r\n")
        terminal.type("exit\n")
        terminal.wait()
    assert not (tmp_path / "pwned").exists()
