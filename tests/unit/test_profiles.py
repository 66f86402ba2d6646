"""Stored profiles as the library reads them: when, for which portal, and what can be wrong with them."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, Callable

import pytest

from ctera_direct_sync import DirectIO, Namespace
from ctera_direct_sync._base import profiles
from ctera_direct_sync._base.account import Bearer, Password
from ctera_direct_sync._core import core_of

URL = "https://portal.example.com"
OTHER = "https://other.example.com"
SECRETS = {"password": "pw-7f3a", "access_key_id": "id-91bc", "secret_access_key": "key-c04d"}
posix = pytest.mark.skipif(os.name != "posix", reason="modes of files")

Store = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the profiles, which does not exist yet."""
    monkeypatch.setenv("CTERA_DIRECT_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def store(folder: Path) -> Store:
    """Store one profile as login does, and return the folder."""

    def write(name: str = "default", url: str = URL, **fields: Any) -> Path:
        folder.mkdir(mode=0o700, exist_ok=True)
        secrets = {"url": url, "username": "alice", **fields.pop("secrets", SECRETS)}
        profile = {"url": url, "username": "alice", "context": "admin", "in_keyring": False}
        for path, record in (
            (folder / "profiles.json", {**profile, **fields}),
            (folder / "secrets.json", secrets),
        ):
            content = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps({**content, name: record}))
            path.chmod(0o600)
        return folder

    return write


def keys_of(*arguments: Any, **options: Any) -> tuple[str, str, str | None]:
    """Return URL, token and secret of a client."""
    with DirectIO(*arguments, **options) as client:
        core = core_of(client)
        return core.baseurl, core.token, core.secret


def account_of(*arguments: Any, **options: Any) -> tuple[Any, ...]:
    """Return URL, view and credentials of a Namespace."""
    with Namespace(*arguments, **options) as names:
        return names.baseurl, names.context, names._credentials


# --- what is filled in ---------------------------------------------------------------------------------


def test_suite_has_no_profile() -> None:
    """The tests never see the profiles of the person who runs them."""
    assert not profiles.ProfileFiles().folder.exists()
    with pytest.raises(ValueError, match="baseurl is missing"):
        DirectIO()


def test_profile_alone(store: Store) -> None:
    """Without arguments and environment, all comes from the profile."""
    store()
    assert keys_of() == (URL, "id-91bc", "key-c04d")
    assert account_of() == (URL, "admin", Password("alice", "pw-7f3a"))


def test_argument_wins(store: Store) -> None:
    """Each argument wins over the profile, which fills in the rest."""
    store()
    assert keys_of(URL, "other", "secret") == (URL, "other", "secret")
    assert keys_of(bearer="token") == (URL, "token", None)
    assert account_of(URL, "bob", "x") == (URL, "ServicesPortal", Password("bob", "x"))
    assert account_of(password="x") == (URL, "admin", Password("alice", "x"))
    assert account_of(bearer="token") == (URL, "ServicesPortal", Bearer("token"))
    assert account_of(context="ServicesPortal")[1] == "ServicesPortal"


def test_environment_wins(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable wins over the profile, which fills in the rest."""
    store()
    monkeypatch.setenv("CTERA_DIRECT_CONTEXT", "ServicesPortal")
    monkeypatch.setenv("CTERA_DIRECT_PASSWORD", "from-environment")
    monkeypatch.setenv("CTERA_DIRECT_BEARER", "token")
    assert account_of() == (URL, "ServicesPortal", Password("alice", "from-environment"))
    assert keys_of() == (URL, "token", None)


def test_named_profile(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """CTERA_DIRECT_PROFILE names the profile."""
    store()
    store("work", OTHER, secrets={**SECRETS, "password": "other"})
    monkeypatch.setenv("CTERA_DIRECT_PROFILE", "work")
    assert account_of()[::2] == (OTHER, Password("alice", "other"))


def test_keys_count_as_a_pair(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a pair from elsewhere is never completed by the profile's other half."""
    store()
    with pytest.raises(ValueError, match="secret_access_key is missing"):
        DirectIO(URL, "id")
    monkeypatch.setenv("CTERA_DIRECT_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(ValueError, match="access_key_id is missing"):
        DirectIO(URL)


def test_another_user(store: Store) -> None:
    """The password of one user is not used for another."""
    store()
    with pytest.raises(
        ValueError, match=r"password is missing.*\(profile default is of user alice"
    ):
        Namespace(URL, "bob")


def test_missing_account_survives_pickling(store: Store) -> None:
    """A worker process that lacks an account can tell so."""
    store()
    with pytest.raises(ValueError, match="password is missing") as caught:
        Namespace(URL, "bob")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.variables) == (str(caught.value), ["CTERA_DIRECT_PASSWORD"])


def test_path_is_looked_up_by_the_profile(store: Store) -> None:
    """A client without a Namespace makes one for the profile's account."""
    store()
    with DirectIO() as client:
        names = core_of(client)._lookup.names()
        assert names._credentials == Password("alice", "pw-7f3a")
        assert names.context == "admin"


# --- for its own portal only ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        OTHER,
        "http://portal.example.com",
        "https://portal.example.com:8443",
        "https://portal.example.com.evil.com",
        "https://portal.example.com/other",
        "https://portal.example.com.",
        "https://portal.example.com\\.evil.com",
    ],
)
def test_other_portal(store: Store, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A profile never fills in for another portal, be it named by argument or environment."""
    store()
    for arguments in ((url,), ()):
        with pytest.raises(ValueError, match=f"username is missing.*default is for {URL}"):
            Namespace(*arguments)
        with pytest.raises(ValueError, match=f"access_key_id is missing.*default is for {URL}"):
            DirectIO(*arguments)
        monkeypatch.setenv("CTERA_DIRECT_URL", url)


@pytest.mark.parametrize(
    "url", ["HTTPS://Portal.Example.com/", " https://portal.example.com:443 ", f"{URL}//"]
)
def test_same_portal(store: Store, url: str) -> None:
    """Case, a default port and a slash at the end make no other portal."""
    store()
    assert keys_of(url)[1:] == ("id-91bc", "key-c04d")


@pytest.mark.parametrize("field", ["url", "username"])
def test_secrets_of_another_account(store: Store, field: str) -> None:
    """Secrets that a killed login left beside the profile of another portal are refused."""
    store(secrets={**SECRETS, field: OTHER})
    with pytest.raises(ValueError, match="secrets of profile default are not those of alice"):
        Namespace()
    with pytest.raises(ValueError, match="not those of alice"):
        DirectIO()


def test_named_profile_of_another_portal(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that the environment names does not change the portal that is given."""
    store("work", OTHER)
    monkeypatch.setenv("CTERA_DIRECT_PROFILE", "work")
    with pytest.raises(ValueError, match=f"profile work is for {OTHER}"):
        Namespace(URL)


# --- what can be wrong ---------------------------------------------------------------------------------


BROKEN = {
    "not JSON": "{",
    "an array": "[]",
    "deeply nested": "[" * 100_000,
    "nothing": "",
    "not UTF-8": b"\xff\xfe",
    "unknown field": '{"default": {"url": "https://portal.example.com", "more": 1}}',
    "not a profile": '{"default": []}',
    "a number": '{"default": {"url": 1, "username": "a", "context": "admin", "in_keyring": false}}',
    "not a URL": '{"default": {"url": "portal", "username": "a", "context": "admin", '
    '"in_keyring": false}}',
    "no context": '{"default": {"url": "https://a", "username": "a", "context": "x", '
    '"in_keyring": false}}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_file(store: Store, content: str | bytes) -> None:
    """A broken file is told by its path, and only if something is missing."""
    path = store() / "profiles.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for make in (DirectIO, Namespace):
        with pytest.raises(ValueError, match=r"profiles\.json: .*log in again"):
            make()
        with make(URL, "id", "secret"):
            pass


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_secrets(store: Store, content: str | bytes) -> None:
    """A broken file of secrets is told by its path, or as secrets that are gone."""
    path = store() / "secrets.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"log in again|run ctera-direct login"):
        Namespace()


def test_broken_secrets_in_a_traceback(store: Store) -> None:
    """No secret of a broken file is in the error, or in the locals of its traceback."""
    path = store() / "secrets.json"
    path.write_text(json.dumps({"default": SECRETS}) + "}")
    with pytest.raises(ValueError, match=r"secrets\.json: not the JSON") as caught:
        Namespace()
    shown = "".join(
        traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    )
    for secret in SECRETS.values():
        assert secret not in shown
    assert caught.value.__context__ is None


def test_missing_profile(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that is named and not there is an error, unless nothing is missing."""
    store()
    monkeypatch.setenv("CTERA_DIRECT_PROFILE", "none")
    text = "there is no profile none; run ctera-direct login --profile none"
    with pytest.raises(ValueError, match=text):
        DirectIO()
    assert keys_of(URL, "id", "secret") == (URL, "id", "secret")


def test_profile_without_keys(store: Store) -> None:
    """Without a key pair the message says how to get one."""
    store(secrets={"password": "pw"})
    with pytest.raises(ValueError, match=r"login --create-key \(profile default has no key pair\)"):
        DirectIO()


@posix
@pytest.mark.parametrize("name", ["profiles.json", "secrets.json"])
@pytest.mark.parametrize("mode", [0o640, 0o606, 0o620])
def test_readable_by_others(store: Store, name: str, mode: int) -> None:
    """A file that others may read or change is refused."""
    path = store() / name
    path.chmod(mode)
    with pytest.raises(ValueError, match=f"{name}: others may read or change it; run chmod 600"):
        Namespace()


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("name", ["profiles.json", "secrets.json"])
def test_owned_by_another(store: Store, name: str) -> None:
    """A file of another user is refused."""
    os.chown(store() / name, 65500, 65500)
    with pytest.raises(ValueError, match=f"{name}: belongs to another user"):
        Namespace()


@posix
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
@pytest.mark.parametrize("name", ["profiles.json", "secrets.json"])
def test_not_a_file(store: Store, name: str, kind: str) -> None:
    """What is not a file of its own is refused at once."""
    path = store() / name
    moved = path.rename(path.with_suffix(".moved"))
    if kind == "link":
        path.symlink_to(moved)
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    else:
        path.mkdir(mode=0o700)
    with pytest.raises(ValueError, match=f"{name}: is (a symbolic link|not a file)"):
        Namespace()


@posix
def test_symbolic_link_to_the_folder(store: Store, tmp_path: Path) -> None:
    """The folder itself may be kept elsewhere."""
    folder = store()
    folder.symlink_to(folder.rename(tmp_path / "elsewhere"))
    assert keys_of()[0] == URL


@pytest.mark.skipif(not hasattr(os, "seteuid") or os.geteuid() != 0, reason="needs root")
def test_home_of_another_user(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that may not look into its HOME has no profile, and is told what is missing."""
    folder = store()
    os.chmod(folder, 0o000)
    os.seteuid(65500)
    try:
        with pytest.raises(ValueError, match="baseurl is missing"):
            DirectIO()
        monkeypatch.setenv("CTERA_DIRECT_PROFILE", "default")
        with pytest.raises(ValueError, match="cannot be read: Permission denied"):
            DirectIO()
    finally:
        os.seteuid(0)
        os.chmod(folder, 0o700)


def test_relative_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative folder would depend on the current one, and is refused."""
    monkeypatch.setenv("CTERA_DIRECT_CONFIG_DIR", "config")
    with pytest.raises(ValueError, match="CTERA_DIRECT_CONFIG_DIR is 'config': give an absolute"):
        DirectIO()


@posix
def test_no_home(tmp_path: Path) -> None:
    """Without a home folder no profile of the current folder is taken."""
    folder = tmp_path / "~" / ".config" / "ctera-direct"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "profiles.json").write_text("{")
    program = (
        "import os\n"
        "os.environ.pop('CTERA_DIRECT_CONFIG_DIR')\n"
        "os.path.expanduser = lambda path: path\n"
        "from ctera_direct_sync import DirectIO\n"
        "try:\n"
        "    DirectIO()\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("baseurl is missing")


# --- the keyring ---------------------------------------------------------------------------------------

BACKEND = """
import json, keyring.backend, keyring.errors
class Keyring(keyring.backend.KeyringBackend):
    priority = 1
    def get_password(self, service, username):
        if {locked}:
            raise keyring.errors.KeyringLocked("text of the backend")
        assert service == "ctera-direct-sync"
        return {answer!r}
    set_password = delete_password = None
"""


def keyring_program(tmp_path: Path, **values: Any) -> subprocess.CompletedProcess[str]:
    """Make a Namespace in a process whose keyring answers as told; print its credentials."""
    (tmp_path / "fake_backend.py").write_text(BACKEND.format(**values))
    program = (
        "import sys\n"
        "from ctera_direct_sync import Namespace\n"
        "Namespace('https://a', 'b', 'c')\n"
        "assert 'keyring' not in sys.modules and 'platformdirs' not in sys.modules\n"
        "try:\n"
        "    account = Namespace()._credentials\n"
        "    print(account[0], str(account[1]))\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "PYTHON_KEYRING_BACKEND": "fake_backend.Keyring",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


@pytest.mark.parametrize(
    ("answer", "locked", "text"),
    [
        (json.dumps({"url": URL, "username": "alice", "password": "pw"}), False, "alice pw\n"),
        (json.dumps({"url": OTHER, "username": "alice", "password": "pw"}), False, "are not those"),
        (None, False, "secrets of profile default are gone; run ctera-direct login"),
        ("pw-7f3a", False, "secrets of profile default are gone"),
        (None, True, "(KeyringLocked): unlock it, or run ctera-direct login"),
    ],
    ids=["right", "another portal", "nothing", "malformed", "locked"],
)
def test_keyring(store: Store, tmp_path: Path, answer: Any, locked: bool, text: str) -> None:
    """The keyring is loaded only if it has what is missing, and its failure is told in a line."""
    pytest.importorskip("keyring")
    store(in_keyring=True)
    done = keyring_program(tmp_path, answer=answer, locked=locked)
    assert text in done.stdout
    assert "pw-7f3a" not in done.stdout + done.stderr
    assert "text of the backend" not in done.stdout
    assert done.stdout.count("\n") == 1
