"""Paths of names after `ctera-direct login`: the stored profile gives the account."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import LoginError, Settings
from ctera_direct_sync.cli.profiles import Profile, ProfileStore
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.filesystem import CteraFileSystem
from ctera_direct_sync.types import Token
from tests.support.file_systems import account_of, close_file_systems, variables_of

FILE, DATA = "My Files/t/a.csv", b"x\n1\n"


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with one file."""
    with Emulator(tree={"t": {"a.csv": DATA}}) as portal:
        yield portal
        close_file_systems()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the profiles, without any account in the environment."""
    monkeypatch.setenv("CTERA_DIRECT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for name in ("URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "BEARER"):
        monkeypatch.delenv(f"CTERA_DIRECT_{name}", raising=False)
    return tmp_path / "config"


def log_in(portal: Emulator, password: str | None = None) -> None:
    """Store what login does for the portal's user."""
    secrets = {
        "password": Token(password or portal.password),
        "access_key_id": Token(portal.access_key_id),
        "secret_access_key": Token(portal.secret_access_key),
    }
    profile = Profile(portal.url, portal.username, "ServicesPortal", False)
    ProfileStore().write("default", profile, secrets)


def keys_of(portal: Emulator) -> dict[str, Any]:
    """The storage options of the portal without an account."""
    return {
        name: value
        for name, value in account_of(portal).items()
        if name not in ("username", "password")
    }


def test_profile_alone(portal: Emulator, quick: Settings) -> None:
    """The portal's URL is enough: the keys and the account are stored."""
    log_in(portal)
    fs = CteraFileSystem(baseurl=portal.url, settings=quick)
    assert fs.ls("My Files/t", detail=False) == [f"{fs.host}/{FILE}"]
    assert fs.cat(FILE) == DATA


def test_profile_names_the_portal(portal: Emulator, quick: Settings) -> None:
    """Without a URL, the file system is of the profile's portal, and its JSON names that."""
    log_in(portal)
    fs = CteraFileSystem(settings=quick)
    assert fs.cat(FILE) == DATA
    assert portal.url in fs.to_json()


def test_profile_completes_the_user(portal: Emulator, quick: Settings) -> None:
    """A password that is missing comes from the profile of that user, and of no other."""
    log_in(portal)
    fs = CteraFileSystem(baseurl=portal.url, username=portal.username, settings=quick)
    assert fs.cat(FILE) == DATA
    with pytest.raises(ValueError, match="password is missing"):
        CteraFileSystem(baseurl=portal.url, username="bob", settings=quick)


def test_options_win(portal: Emulator, quick: Settings) -> None:
    """An account that is given as options is used, and not the stored one."""
    log_in(portal, "stale")
    assert CteraFileSystem(**account_of(portal), settings=quick).cat(FILE) == DATA


def test_environment_wins(
    portal: Emulator, quick: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account in the environment is used, and not the stored one."""
    log_in(portal, "stale")
    for name, value in variables_of(portal).items():
        monkeypatch.setenv(name, value)
    assert CteraFileSystem(settings=quick).cat(FILE) == DATA


def test_file_ids_need_no_profile(portal: Emulator, quick: Settings, folder: Path) -> None:
    """A profile that cannot be read matters to paths of names alone."""
    file_id = portal.add(DATA)
    folder.mkdir(mode=0o700)
    (folder / "profiles.json").write_text("{")
    (folder / "profiles.json").chmod(0o600)
    fs = CteraFileSystem(**keys_of(portal), settings=quick)
    assert fs.cat(f"{file_id}/a.csv") == DATA
    assert fs.find(f"{file_id}/a.csv") == [f"{fs.host}/{file_id}/a.csv"]
    with pytest.raises(ValueError, match="not the JSON that login wrote"):
        fs.cat(FILE)


def test_login_after_the_file_system(portal: Emulator, quick: Settings) -> None:
    """A file system that had no account finds the one that is stored later."""
    fs = CteraFileSystem(**keys_of(portal), settings=quick)
    with pytest.raises(LoginError, match="run ctera-direct login"):
        fs.cat(FILE)
    log_in(portal)
    assert fs.cat(FILE) == DATA


def test_profile_of_another_portal(portal: Emulator, quick: Settings) -> None:
    """The stored account goes to its own portal alone."""
    with Emulator() as other:
        log_in(other)
        fs = CteraFileSystem(**keys_of(portal), settings=quick)
        with pytest.raises(LoginError, match="path of names"):
            fs.cat(FILE)
    assert not list(portal.log.records(call="login"))


def test_environment_of_another_portal(
    portal: Emulator, quick: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account in the environment that is another portal's is not sent here."""
    with Emulator() as other:
        fs = CteraFileSystem(**keys_of(portal), settings=quick)
        for name, value in variables_of(other).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(LoginError, match="path of names"):
            fs.cat(FILE)
    assert not list(portal.log.records(call="login"))
