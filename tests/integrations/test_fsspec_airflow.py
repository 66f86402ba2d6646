"""What the provider for Airflow makes of a connection. `make test-heavy` tests it with Airflow itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ctera_direct_sync.emulator import Emulator
from tests.support.file_systems import close_file_systems, variables_of

provider = pytest.importorskip("ctera_direct_sync._fsspec.airflow")


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with a file."""
    with Emulator(tree={"a.csv": b"x\n"}) as portal:
        yield portal
        close_file_systems()


@pytest.fixture
def connection(portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The connection `portal`, as Airflow would find it."""
    host, _, port = portal.url.partition("://")[2].partition(":")
    connection = SimpleNamespace(
        host=host,
        port=int(port),
        schema="http",
        login=portal.username,
        password=portal.password,
        extra_dejson={
            "access_key_id": portal.access_key_id,
            "secret_access_key": portal.secret_access_key,
        },
    )
    sdk = ModuleType("airflow.sdk")
    hook = SimpleNamespace(get_connection={"portal": connection}.__getitem__)
    sdk.BaseHook = hook  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "airflow", ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.sdk", sdk)
    return connection


def read(fs: Any) -> bytes:
    """Return what the file system reads."""
    content: bytes = fs.cat("My Files/a.csv")
    return content


def test_airflow_finds_the_provider() -> None:
    """The entry point leads to a module that serves the scheme."""
    found = entry_points()
    select = getattr(found, "select", None)  # Python 3.9 has a dictionary.
    group = "apache_airflow_provider"
    points = select(group=group) if select else found.get(group, ())  # type: ignore[attr-defined]
    (point,) = [each for each in points if each.value.startswith("ctera_direct_sync.")]
    info = point.load()()
    assert info["package-name"] == "ctera-direct-sync"
    assert info["filesystems"] == [provider.__name__]
    assert provider.schemes == ["ctera"]


def test_connection_has_host_and_port(connection: SimpleNamespace) -> None:
    """Portal, account and keys come from the connection."""
    assert read(provider.get_fs("portal")) == b"x\n"


def test_connection_has_a_url(portal: Emulator, connection: SimpleNamespace) -> None:
    """The host may be the portal's whole URL."""
    connection.host, connection.port, connection.schema = portal.url, None, None
    assert read(provider.get_fs("portal", {})) == b"x\n"


def test_storage_options_win(portal: Emulator, connection: SimpleNamespace) -> None:
    """Options of the path win over the connection."""
    connection.password = "wrong"
    assert read(provider.get_fs("portal", {"password": portal.password})) == b"x\n"


def test_https_is_the_default(connection: SimpleNamespace) -> None:
    """A connection without a schema is one over https."""
    connection.schema, connection.port, connection.host = None, None, "portal.example.com"
    assert provider.get_fs("portal").storage_options["baseurl"] == "https://portal.example.com"


def test_environment(portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a connection all comes from the environment."""
    for name, value in variables_of(portal).items():
        monkeypatch.setenv(name, value)
    assert read(provider.get_fs(None)) == b"x\n"
