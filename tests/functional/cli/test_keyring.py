"""Secrets in a keyring: a backend that the package `keyring` loads itself, which works or fails as told."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctera_direct_sync.cli.profiles import ProfileStore
from ctera_direct_sync.emulator import Emulator

from .conftest import COMMAND

pytest.importorskip("keyring")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes of files")

#: Keeps entries in a file. The variable FAKE_KEYRING names the calls that fail.
BACKEND = """
import json, os, pathlib
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked
path = pathlib.Path(__file__).with_suffix(".json")
class Keyring(KeyringBackend):
    priority = 1
    def call(self, name):
        if name in os.environ.get("FAKE_KEYRING", ""):
            raise KeyringLocked("text of the backend")
        return json.loads(path.read_text()) if path.exists() else {}
    def get_password(self, service, username):
        return self.call("get").get(f"{service} {username}")
    def set_password(self, service, username, password):
        entries = self.call("set")
        if "drop" not in os.environ.get("FAKE_KEYRING", ""):
            path.write_text(json.dumps({**entries, f"{service} {username}": password}))
    def delete_password(self, service, username):
        entries = self.call("delete")
        del entries[f"{service} {username}"]
        path.write_text(json.dumps(entries))
"""


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with one file."""
    with Emulator(tree={"a.txt": b"hello"}) as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def keyring(portal: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The entries of the keyring that the commands load; there is no other account."""
    (tmp_path / "fake_backend.py").write_text(BACKEND)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "fake_backend.Keyring")
    monkeypatch.setenv("CTERA_DIRECT_CONFIG_DIR", str(tmp_path / "config"))
    for name in ("URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"CTERA_DIRECT_{name}")
    return tmp_path / "fake_backend.json"


def run(*arguments: str, given: str = "", failing: str = "") -> tuple[int, str, str]:
    """Run a command in a process of its own, whose keyring fails at the calls named."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, "FAKE_KEYRING": failing},
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def log_in(portal: Emulator, failing: str = "") -> tuple[int, str, str]:
    """Log in and make a key pair."""
    arguments = ("-e", portal.url, "-u", portal.username, "--password-stdin", "--create-key")
    return run("login", *arguments, given=f"{portal.password}\n", failing=failing)


def test_keyring_has_the_secrets(portal: Emulator, keyring: Path) -> None:
    """Login stores the secrets in the keyring alone, commands read them there, logout deletes them."""
    code, out, err = log_in(portal)
    assert (code, err) == (0, "")
    assert "its password and key pair in the keyring.\n" in out
    store = ProfileStore()
    assert not store.secrets_file.exists()
    assert portal.password not in store.file.read_text()
    assert portal.password in keyring.read_text()
    assert run("cat", "/My Files/a.txt") == (0, "hello", "")
    assert run("logout", "--delete-key")[::2] == (0, "")
    assert json.loads(keyring.read_text()) == {}
    assert store.names() == []


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        ("set", "KeyringLocked"),
        ("get", "KeyringLocked"),
        ("drop", "it does not keep what it is given"),
    ],
)
def test_keyring_that_fails(portal: Emulator, failing: str, reason: str) -> None:
    """If the keyring does not take the secrets, the file does, and login says why."""
    code, out, err = log_in(portal, failing)
    store = ProfileStore()
    assert (code, err) == (0, "")
    assert f"in {store.secrets_file} (the keyring does not work: {reason}).\n" in out
    assert "text of the backend" not in out
    assert run("cat", "/My Files/a.txt", failing=failing) == (0, "hello", "")


def test_locked_keyring(portal: Emulator, keyring: Path) -> None:
    """With a locked keyring commands and logout end with one line, and the profile stays."""
    assert log_in(portal)[0] == 0
    for arguments in (["ls"], ["cat", "/My Files/a.txt"], ["logout"]):
        code, out, err = run(*arguments, failing="get set delete")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "(KeyringLocked): unlock it" in err
    assert ProfileStore().names() == ["default"]
    # A login goes on with the file, and logout then leaves nothing in the keyring, either.
    code, out, err = log_in(portal, "get set delete")
    assert (code, err.count("\n")) == (0, 1)
    assert "no key pair of an earlier login is kept: the keyring does not give" in err
    assert run("ls", failing="get set delete")[0] == 0
    assert run("logout")[0] == 0
    assert json.loads(keyring.read_text()) == {}
