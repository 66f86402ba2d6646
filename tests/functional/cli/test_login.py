"""``login``, ``logout`` and profiles. Home, configuration and keyring are the test's own."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Callable

import pytest

from ctera_direct_sync.cli import program as cli
from ctera_direct_sync.cli.profiles import Profile, ProfileStore
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.types import Token

from .conftest import finished, started

Run = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes of files, pseudo-terminals")


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with one file."""
    with Emulator(tree={"a.txt": b"hello"}) as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def _home(portal: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTERA_DIRECT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for name in ("URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "USERNAME", "PASSWORD", "CONTEXT", "PROFILE"):  # fmt: skip # noqa: E501
        monkeypatch.delenv(f"CTERA_DIRECT_{name}", raising=False)


def log_in(portal: Emulator, *arguments: str, password: str = "") -> tuple[int, str, str]:
    """Log in with the password on standard input: exit code, standard output, standard error."""
    line = ["login", "-e", portal.url, "-u", portal.username, "--password-stdin", *arguments]
    given = io.TextIOWrapper(io.BytesIO(f"{password or portal.password}\n".encode()))
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "stdin", given)
        code = cli.main(line)
    return code, out.getvalue(), err.getvalue()


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


def test_key_pair_of_an_earlier_login_is_kept(run: Run, portal: Emulator) -> None:
    """A second login of the same user keeps the key pair, and says so."""
    assert log_in(portal, "--create-key")[0] == 0
    code, out, err = log_in(portal)
    assert (code, err) == (0, "")
    assert "its password and key pair in" in out
    file_id = portal.tree.file_id("/My Files/a.txt")
    assert run("cat", "-f", file_id) == (0, "hello", "")


def test_lost_secrets(run: Run, portal: Emulator) -> None:
    """A login mends a profile whose secrets are gone. It says that the key pair is lost."""
    assert log_in(portal, "--create-key")[0] == 0
    ProfileStore().secrets_file.unlink()
    code, _, err = run("ls")
    assert (code, "run ctera-direct login" in err) == (2, True)
    code, out, err = log_in(portal)
    assert (code, err.count("\n")) == (0, 1)
    assert "no key pair of an earlier login is kept" in err
    assert "its password in" in out
    assert run("ls")[0] == 0


def test_replaced_profile(portal: Emulator) -> None:
    """A login over the profile of another portal says what it replaced."""
    assert log_in(portal)[0] == 0
    with Emulator(tree={}) as other:
        code, out, _ = log_in(other)
        assert code == 0
        assert f"Replaced profile default, which was of {portal.username} at {portal.url}." in out


@pytest.mark.parametrize("name", ["profiles.json", "secrets.json"])
@pytest.mark.parametrize("damage", ["content", "mode"])
def test_login_over_a_broken_file(
    run: Run, portal: Emulator, name: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that would lose other profiles ends before it asks or sends anything."""
    assert log_in(portal, "--profile", "other")[0] == 0
    path = ProfileStore().folder / name
    if damage == "mode":
        path.chmod(0o644)
    else:
        path.write_bytes(path.read_bytes()[:-3])
    before = path.read_bytes()
    requests = portal.log.total("portal")
    code, out, err = log_in(portal, "--create-key")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{path}: " in err
    assert path.read_bytes() == before
    assert portal.log.total("portal") == requests
    # A command that does not need the profile does not mind.
    for variable in ("URL", "USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"CTERA_DIRECT_{variable}", getattr(portal, variable.lower()))
    assert run("ls")[0] == 0


def test_umask(portal: Emulator) -> None:
    """Folder and files have their modes whatever the umask."""
    for umask in (0o000, 0o777):
        before = os.umask(umask)
        try:
            code, _, err = log_in(portal)
        finally:
            os.umask(before)
        assert (code, err) == (0, "")
        store = ProfileStore()
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (store.folder, store.file)]
        assert modes == [0o700, 0o600]
        assert stat.S_IMODE(store.secrets_file.stat().st_mode) == 0o600
        shutil.rmtree(store.folder.parent / "config")


def test_traceback_of_a_full_disk(portal: Emulator) -> None:
    """No frame of a write that failed shows the password, and the store is as it was."""
    resource = pytest.importorskip("resource")
    log_in(portal)
    store = ProfileStore()
    before = store.secrets_file.read_bytes()
    profile = Profile(portal.url, portal.username, "ServicesPortal", False)
    secrets = {"password": Token("pw-7f3a" * 4000)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            store.write("default", profile, secrets)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    # The first frame is the test's own.
    for frame, _ in list(traceback.walk_tb(caught.tb))[1:]:
        assert "pw-7f3a" not in repr(list(frame.f_locals.values())), frame
    assert store.secrets_file.read_bytes() == before
    assert not list(store.folder.glob(".new-*"))


def test_folder_is_private_from_the_beginning(
    portal: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder never has more rights than its own, not even before its mode is set."""
    modes = []
    chmod = Path.chmod

    def watched(path: Path, mode: int) -> None:
        modes.append(stat.S_IMODE(path.stat().st_mode))
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", watched)
    profile = Profile(portal.url, portal.username, "ServicesPortal", False)
    ProfileStore().write("default", profile, {"password": Token("x")})
    assert modes == [0o700]


def test_two_logins_at_once(portal: Emulator) -> None:
    """Logins that run at the same time lose nothing of each other's."""
    names = [f"profile-{number}" for number in range(6)]
    store = ProfileStore()
    profile = Profile(portal.url, portal.username, "ServicesPortal", False)
    barrier = threading.Barrier(len(names))

    def write(name: str) -> None:
        barrier.wait()
        store.write(name, profile, {"password": Token(f"of {name}")})

    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.names() == names
    for name in names:
        found = store.read(name)
        assert found is not None
        assert store.read_secrets(name, found)["password"] == f"of {name}"
    assert not list(store.folder.glob(".new-*"))


def test_failing_disk(portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a file cannot be replaced, all files stay as they were, and no other file is left."""
    store = ProfileStore()
    profile = Profile(portal.url, portal.username, "ServicesPortal", False)
    store.write("one", profile, {"password": Token("x")})
    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            store.write("two", profile, {"password": Token("x")})
    assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == before


def test_killed_between_the_two_files(
    run: Run, portal: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that is killed halfway leaves secrets that go to no other portal."""
    assert log_in(portal)[0] == 0
    store = ProfileStore()
    other = Profile("https://other.example.com", "bob", "ServicesPortal", False)
    write = store._write

    def killed(path: Path, content: dict[str, Any]) -> None:
        if path == store.file:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(store, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        store.write("default", other, {"password": Token("for the other portal")})
    requests = portal.log.total("portal")
    code, _, err = run("ls")
    assert (code, "are not those of" in err) == (2, True)
    assert portal.log.total("portal") == requests


def test_what_a_killed_login_left(run: Run, portal: Emulator) -> None:
    """Half a file of secrets that a killed login left goes with the next change."""
    assert log_in(portal)[0] == 0
    left = ProfileStore().folder / ".new-abc"
    left.write_text(portal.password)
    assert run("logout")[0] == 0
    assert not left.exists()


# --- logout --------------------------------------------------------------------------------------------


def test_logout_of_no_profile(run: Run, portal: Emulator) -> None:
    """A profile that is not there is wrong usage, and others stay."""
    assert log_in(portal)[0] == 0
    for arguments in (("--profile", "none"), ("--profile", "none", "--delete-key")):
        code, _, err = run("logout", *arguments)
        assert (code, "there is no profile none" in err) == (2, True)
    assert ProfileStore().names() == ["default"]


def test_logout_of_all(run: Run, portal: Emulator) -> None:
    """--all deletes each profile, its secrets, and with --delete-key its key pair."""
    assert log_in(portal, "--create-key")[0] == 0
    assert log_in(portal, "--profile", "work")[0] == 0
    code, out, err = run("logout", "--all", "--delete-key")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "Deleted profile default and its secrets.",
        "Deleted profile work and its secrets.",
    ]
    store = ProfileStore()
    assert store.names() == []
    assert portal.password not in store.secrets_file.read_text()
    assert run("logout", "--all")[0] == 2


def test_logout_without_the_portal(run: Run, portal: Emulator) -> None:
    """Without --delete-key the portal is not needed, and a key pair is not deleted by half."""
    assert log_in(portal, "--create-key")[0] == 0
    portal.stop()
    assert run("logout", "--delete-key")[0] == 1
    assert ProfileStore().names() == ["default"]
    assert run("logout")[0] == 0
    assert ProfileStore().names() == []


@pytest.mark.parametrize("option", ["-e x", "-u x", "--admin"])
def test_options_that_logout_does_not_have(run: Run, option: str) -> None:
    """Logout takes no option that would do nothing."""
    code, _, err = run("logout", *option.split())
    assert (code, "unrecognized arguments" in err) == (2, True)


# --- standard input ------------------------------------------------------------------------------------


def test_standard_input(portal: Emulator) -> None:
    """Without a terminal each thing that would be asked for is named with its option."""
    line: list[str] = ["login"]
    for option, value in (("-e", portal.url), ("-u", portal.username)):
        code, out, err = finished(*line, stdin=subprocess.DEVNULL)
        assert (code, out) == (2, b"")
        assert f"standard input is not a terminal; give {option}" in err
        line += [option, value]
    code, out, err = finished(*line, stdin=subprocess.DEVNULL)
    assert (code, out) == (2, b"")
    assert "give --password-stdin" in err


@pytest.mark.parametrize(
    "given",
    [b"", b"\n", b"pw-\xff-7f3a\n", b"x" * 70_000],
    ids=["nothing", "empty", "bytes", "long"],
)
def test_password_on_standard_input(portal: Emulator, given: bytes) -> None:
    """What is not a password is told in a line that does not show it."""
    line = ["login", "-e", portal.url, "-u", portal.username, "--password-stdin"]
    with started(*line, stdin=subprocess.PIPE) as process:
        out, err = process.communicate(given, timeout=60)
    assert (process.returncode, out, err.count(b"\n")) == (2, b"", 1)
    assert b"password" in err
    assert b"pw-" not in err
    assert portal.log.total("portal") == 0


# --- --profile -----------------------------------------------------------------------------------------


@pytest.mark.keeps_partial
def test_named_profile(
    run: Run, portal: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--profile gives every command its portal, keys and account."""
    assert log_in(portal, "--profile", "work", "--create-key")[0] == 0
    file_id = portal.tree.file_id("/My Files/a.txt")
    assert run("cat", "-f", file_id)[0] == 2
    for file in (["-f", file_id], ["/My Files/a.txt"]):
        assert run("cat", *file, "--profile", "work") == (0, "hello", "")
    (tmp_path / "list.csv").write_text("/My Files/a.txt,copy.txt\n")
    code, _, err = run("batch", tmp_path / "list.csv", tmp_path, "--profile", "work", "--quiet")
    assert (code, err) == (0, "")
    assert (tmp_path / "copy.txt").read_bytes() == b"hello"
    # Keys of the environment win over those of the profile.
    monkeypatch.setenv("CTERA_DIRECT_ACCESS_KEY_ID", "another")
    monkeypatch.setenv("CTERA_DIRECT_SECRET_ACCESS_KEY", "another")
    assert run("cat", "-f", file_id, "--profile", "work")[0] == 1


def test_named_profile_for_another_portal_or_user(run: Run, portal: Emulator) -> None:
    """A profile is not used for another portal, nor its password for another user."""
    assert log_in(portal, "--profile", "work")[0] == 0
    requests = portal.log.total("portal")
    for command in (["ls"], ["cat", "/My Files/a.txt"], ["cat", "-f", 1]):
        code, _, err = run(*command, "--profile", "work", "-e", "other.example.com")
        assert (code, f"profile work is for {portal.url}" in err) == (2, True)
    code, _, err = run("ls", "--profile", "work", "-u", "somebody")
    assert (code, f"profile work is of user {portal.username}" in err) == (2, True)
    assert portal.log.total("portal") == requests


def test_no_secret_in_the_log(portal: Emulator) -> None:
    """-d logs what login and the commands after it do, without password and keys."""
    code, out, err = log_in(portal, "--create-key", "-d")
    shown = out + err
    for line in (["ls", "-d"], ["cat", "/My Files/a.txt", "-d"], ["logout", "--delete-key", "-d"]):
        if line[0] == "logout":
            secrets = json.loads(ProfileStore().secrets_file.read_text())["default"]
        code, data, err = finished(*line)
        assert code == 0
        shown += data.decode() + err
    assert "DEBUG" in shown
    for name in ("password", "access_key_id", "secret_access_key"):
        assert secrets[name] not in shown
