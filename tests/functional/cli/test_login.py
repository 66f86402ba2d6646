"""``login``, ``logout`` and profiles. Home, configuration and keyring are the test's own."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from ctera_direct_sync.cli.profiles import ProfileStore
from ctera_direct_sync.emulator import Emulator

from .conftest import started

Run = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes of files, pseudo-terminals")


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with one file."""
    with Emulator(tree={"a.txt": b"hello"}) as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def _home(portal: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for name in ("URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "USERNAME", "PASSWORD", "CONTEXT", "PROFILE"):  # fmt: skip # noqa: E501
        monkeypatch.delenv(f"CTERA_DIRECT_{name}", raising=False)


def log_in(portal: Emulator, *arguments: str, password: str = "") -> tuple[int, str, str]:
    """Log in with the password on standard input, in a process of its own."""
    import subprocess

    line = ["login", "-e", portal.url, "-u", portal.username, "--password-stdin", *arguments]
    with started(*line, stdin=subprocess.PIPE) as process:
        out, err = process.communicate(f"{password or portal.password}\n".encode(), timeout=60)
    return process.returncode, out.decode(), err.decode()


def test_login_and_logout(run: Run, portal: Emulator) -> None:
    """Login stores an account that the other commands use, and logout deletes all of it."""
    code, out, err = log_in(portal, "--create-key")
    store = ProfileStore()
    assert (code, err) == (0, "")
    assert portal.password not in out
    assert str(store.secrets_file) in out
    for path, mode in ((store.folder, 0o700), (store.file, 0o600), (store.secrets_file, 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert portal.password not in store.file.read_text()
    assert run("ls", "/My Files") == (0, "a.txt\n", "")
    file_id = json.loads(run("stat", "/My Files/a.txt", "--json")[1])["file_id"]
    assert run("cat", "-f", file_id) == (0, "hello", "")
    assert run("logout", "--delete-key")[0] == 0
    assert store.read("default") is None
    assert portal.password not in store.secrets_file.read_text()
    assert run("ls")[0] == 2


def test_wrong_password_stores_nothing(portal: Emulator) -> None:
    """A refused password is not stored, and not shown."""
    code, out, err = log_in(portal, password="not-the-password")
    assert code == 1
    assert "not-the-password" not in out + err
    assert not ProfileStore().file.exists()


def test_other_portal(run: Run, portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password of a profile never goes to another portal."""
    assert log_in(portal)[0] == 0
    monkeypatch.setenv("CTERA_DIRECT_URL", "http://127.0.0.1:9")
    code, _, err = run("ls")
    assert (code, "username is missing" in err) == (2, True)
    assert run("ls", "--profile", "default")[0] == 2


def test_readable_by_others(run: Run, portal: Emulator) -> None:
    """Secrets that others may read are refused."""
    assert log_in(portal)[0] == 0
    ProfileStore().secrets_file.chmod(0o644)
    code, _, err = run("ls")
    assert code == 2
    assert "chmod 600" in err


def test_unknown_profile(run: Run) -> None:
    """A profile that is not there is wrong usage."""
    assert run("ls", "--profile", "none")[0] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_prompt(portal: Emulator) -> None:
    """On a terminal the password is asked for, and not echoed."""
    import pty

    ours, theirs = pty.openpty()
    line = ["login", "-e", portal.url, "-u", portal.username, "--no-create-key"]
    with started(
        *line, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        shown = b""
        while b"Password: " not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, f"{portal.password}\n".encode())
        assert process.wait(60) == 0
    os.close(theirs)
    shown += os.read(ours, 4096)
    os.close(ours)
    assert portal.password.encode() not in shown
