"""Airflow's `ObjectStoragePath` over `ctera://` paths.

`make test-heavy` sets AIRFLOW_HOME, which Airflow reads when it is imported.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath

from ctera_direct_sync import LoginError
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.filesystem import CteraFileSystem

TREE: dict[str, Any] = {"t": {"a.csv": b"x\n1\n", "b.csv": b"x\n2\n", "deep": {"c.csv": b"x\n3\n"}}}


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with TREE."""
    with Emulator(tree=TREE) as portal:
        yield portal
    CteraFileSystem.clear_instance_cache()


@pytest.fixture
def connection(portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ID of a connection with the portal's account, which Airflow finds in the environment."""
    address = portal.url.partition("://")[2]
    host, _, port = address.partition(":")
    monkeypatch.setenv(
        "AIRFLOW_CONN_PORTAL",
        json.dumps(
            {
                "conn_type": "ctera",
                "schema": "http",
                "host": host,
                "port": int(port),
                "login": portal.username,
                "password": portal.password,
                "extra": {
                    "access_key_id": portal.access_key_id,
                    "secret_access_key": portal.secret_access_key,
                },
            }
        ),
    )
    return "portal"


@pytest.fixture
def path(portal: Emulator, connection: str) -> ObjectStoragePath:
    """The folder of TREE, by the connection."""
    host = portal.url.partition("://")[2]
    # Airflow keeps one store for each connection. This one is the test's own.
    return ObjectStoragePath(f"ctera://{host}/My Files/t", conn_id=connection)


@pytest.fixture(autouse=True)
def _no_store_is_kept() -> Iterator[None]:
    """Airflow keeps stores for as long as the process lives, and each test has another portal."""
    yield
    from airflow.sdk.io import store

    store._STORE_CACHE.clear()


def test_reads_and_lists(path: ObjectStoragePath) -> None:
    """A path is listed, searched and read."""
    assert sorted(each.name for each in path.iterdir()) == ["a.csv", "b.csv", "deep"]
    assert sorted(each.name for each in path.rglob("*.csv")) == ["a.csv", "b.csv", "c.csv"]
    assert (path / "a.csv").read_bytes() == b"x\n1\n"
    with (path / "deep" / "c.csv").open("rb") as file:
        assert file.read() == b"x\n3\n"
    assert path.is_dir() and (path / "b.csv").is_file() and not (path / "missing").exists()
    assert (path / "b.csv").stat().st_size == 4
    assert path.name == "t" and (path / "a.csv").suffix == ".csv"


def test_copies_to_a_local_folder(path: ObjectStoragePath, tmp_path: Path) -> None:
    """A file is copied to another store."""
    (path / "a.csv").copy(ObjectStoragePath(f"file://{tmp_path}/copy.csv"))
    assert (tmp_path / "copy.csv").read_bytes() == b"x\n1\n"


def test_account_of_the_environment(portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a connection the environment has portal, keys and account."""
    for name, value in {
        "URL": portal.url,
        "USERNAME": portal.username,
        "PASSWORD": portal.password,
        "ACCESS_KEY_ID": portal.access_key_id,
        "SECRET_ACCESS_KEY": portal.secret_access_key,
    }.items():
        monkeypatch.setenv(f"CTERA_DIRECT_{name}", value)
    host = portal.url.partition("://")[2]
    assert ObjectStoragePath(f"ctera://{host}/My Files/t/a.csv").read_bytes() == b"x\n1\n"


def test_serialized_path_reads_again(path: ObjectStoragePath, portal: Emulator) -> None:
    """What goes from task to task names path and connection, and no secret."""
    sent = (path / "a.csv").serialize()
    text = json.dumps(sent, default=repr) + repr(path) + str(path)
    for secret in (portal.password, portal.secret_access_key, portal.access_key_id):
        assert secret not in text
    again = ObjectStoragePath.deserialize(sent, 1)
    assert again.read_bytes() == b"x\n1\n"


def test_wrong_password(portal: Emulator, connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong password is the library's own error."""
    known = json.loads(os.environ["AIRFLOW_CONN_PORTAL"])
    monkeypatch.setenv("AIRFLOW_CONN_PORTAL", json.dumps({**known, "password": "wrong"}))
    host = portal.url.partition("://")[2]
    path = ObjectStoragePath(f"ctera://{host}/My Files/t/a.csv", conn_id=connection)
    with pytest.raises(LoginError):
        path.exists()
    with pytest.raises(LoginError):
        path.read_bytes()


def test_writes_are_refused(path: ObjectStoragePath) -> None:
    """Writing raises OSError."""
    with pytest.raises(OSError, match="only be read"):
        (path / "new").write_bytes(b"x")
