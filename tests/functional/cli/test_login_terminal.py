"""``login`` on a terminal, as a person meets it for the first time."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync.cli.profiles import ProfileStore
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.emulator.faults import status
from tests.support.terminal import Terminal

from .conftest import COMMAND, finished

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no pseudo-terminals")


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with one file."""
    with Emulator(tree={"a b.txt": b"hello"}) as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def _home(portal: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTERA_DIRECT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("TERM", "xterm")
    for name in ("URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"CTERA_DIRECT_{name}")


def terminal(*arguments: str, **options: Any) -> Terminal:
    """A command on a terminal."""
    return Terminal([*COMMAND, *arguments], **options)


def test_newcomer(portal: Emulator, tmp_path: Path) -> None:
    """URL, name and password are asked for, and then a file is there without any environment."""
    with terminal("login") as login:
        login.expect("Portal URL: ")
        login.type(f"{portal.url}\n")
        login.expect("User name: ")
        login.type(f"{portal.username}\n")
        login.expect("Password: ")
        login.type(f"{portal.password}\n")
        shown = login.expect("Make a key pair for Direct IO, which downloads need? [y/N] ")
        login.type("y\n")
        assert login.wait() == 0
        shown += login.shown
    store = ProfileStore()
    assert portal.password not in shown.decode()
    assert f"Signed in to {portal.url} as {portal.username}." in shown.decode()
    assert f"its password and key pair in {store.secrets_file}" in shown.decode()
    assert portal.accounts.open_sessions == 0
    assert finished("ls", "/")[1].decode().splitlines()[0] == "My Files"
    code, out, err = finished("download", "/My Files/a b.txt", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith(b"a b.txt: 5 bytes")
    assert (tmp_path / "a b.txt").read_bytes() == b"hello"


def test_wrong_password(portal: Emulator) -> None:
    """A wrong password is told at once in one line, tried once, and not stored."""
    with terminal("login", "-e", portal.url, "-u", portal.username) as login:
        login.expect("Password: ")
        login.type("not-the-password\n")
        assert login.wait() == 1
        shown = login.shown.decode()
    assert len(shown.split()) and shown.count("ctera-direct login: ") == 1
    assert "not-the-password" not in shown
    assert len(portal.log.records(call="login")) == 1
    assert not ProfileStore().folder.exists()


@pytest.mark.parametrize("asked", ["Portal URL: ", "User name: ", "Password: ", "Make a key pair"])
def test_interrupt(portal: Emulator, asked: str) -> None:
    """Ctrl-C at any question ends with code 130. Nothing is stored, and the terminal echoes again."""
    with terminal("login") as login:
        for prompt, answer in (
            ("Portal URL: ", portal.url),
            ("User name: ", portal.username),
            ("Password: ", portal.password),
            ("Make a key pair", ""),
        ):
            login.expect(prompt)
            if prompt == asked:
                break
            login.type(f"{answer}\n")
        login.type("\x03")
        assert login.wait() == 128 + signal.SIGINT
        shown = login.shown.decode()
        assert login.echoes()
    assert "ctera-direct login: interrupted" in shown
    assert "Traceback" not in shown
    assert not ProfileStore().folder.exists()
    assert portal.accounts.open_sessions == 0


@pytest.mark.parametrize("asked", ["Portal URL: ", "User name: ", "Password: "])
def test_end_of_input(portal: Emulator, asked: str) -> None:
    """Ctrl-D at a question is wrong usage, told in one line."""
    with terminal("login") as login:
        for prompt, answer in (
            ("Portal URL: ", portal.url),
            ("User name: ", portal.username),
            ("Password: ", portal.password),
        ):
            login.expect(prompt)
            if prompt == asked:
                break
            login.type(f"{answer}\n")
        login.type("\x04")
        assert login.wait() == 2
        shown = login.shown.decode()
    assert "given" in shown
    assert "Traceback" not in shown


def test_key_pair_that_may_not_be_made(portal: Emulator) -> None:
    """A user who may not have a key pair is told so, and the password is stored."""
    portal.faults.add("portal", call="createApiKey", times=None, action=status(403))
    with terminal("login", "-e", portal.url, "-u", portal.username) as login:
        login.expect("Password: ")
        login.type(f"{portal.password}\n")
        login.expect("[y/N] ")
        login.type("y\n")
        code = login.wait()
        shown = login.shown.decode()
    assert code == 0, shown
    assert "ctera-direct login: no key pair was made: " in shown
    assert "its password in" in shown


def test_output_in_a_pipe(portal: Emulator) -> None:
    """Questions go to the terminal if standard output goes elsewhere."""
    with terminal("login", "-e", portal.url, stdout=subprocess.PIPE) as login:
        login.expect("User name: ")
        login.type(f"{portal.username}\n")
        login.expect("Password: ")
        login.type(f"{portal.password}\n")
        login.expect("[y/N] ")
        login.type("\n")
        assert login.wait() == 0
        assert login.process.stdout is not None
        out = login.process.stdout.read().decode()
    assert out.startswith("Signed in to ")
    assert stat.S_IMODE(ProfileStore().file.stat().st_mode) == 0o600
