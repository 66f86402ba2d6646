"""The portal is a part of each path: no file system reads from another portal than the path names."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import pytest

from ctera_direct_sync._core import core_of
from ctera_direct_sync._fsspec.instances import PortalHost
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.filesystem import CteraFileSystem

from .test_fsspec import host_of

HERE, THERE = b"bytes of this portal", b"bytes of the other portal"


@pytest.fixture
def other() -> Iterator[Emulator]:
    """Another portal, whose file has the same ID."""
    with Emulator() as emulator:
        assert emulator.add(THERE) == 1001
        yield emulator


@pytest.fixture(autouse=True)
def _closed(options: dict[str, Any]) -> None:
    """Every test has the options, whose fixture closes what is made."""


@pytest.fixture
def url(portal: Emulator) -> str:
    """A URL of the portal that the file system is of."""
    return f"ctera://{host_of(portal)}/{portal.add(HERE)}/x.csv"


@pytest.fixture
def foreign_url(other: Emulator) -> str:
    """The URL of the other portal's file."""
    return f"ctera://{host_of(other)}/1001/x.csv"


CALLS: dict[str, Callable[[Any, str], object]] = {
    "open": lambda fs, path: fs.open(path),
    "cat_file": lambda fs, path: fs.cat_file(path),
    "cat": lambda fs, path: fs.cat([path]),
    "cat_ranges": lambda fs, path: fs.cat_ranges([path], 0, 1),
    "info": lambda fs, path: fs.info(path),
    "exists": lambda fs, path: fs.exists(path),
    "isfile": lambda fs, path: fs.isfile(path),
    "isdir": lambda fs, path: fs.isdir(path),
    "glob": lambda fs, path: fs.glob(path),
    "find": lambda fs, path: fs.find(path),
    "walk": lambda fs, path: list(fs.walk(path)),
    "ls": lambda fs, path: fs.ls(path),
    "du": lambda fs, path: fs.du(path),
    "ukey": lambda fs, path: fs.ukey(path),
    "checksum": lambda fs, path: fs.checksum(path),
    "modified": lambda fs, path: fs.modified(path),
    "metadata": lambda fs, path: fs.metadata(path),
    "get": lambda fs, path: fs.get(path, "/nowhere/x"),
    "get_file": lambda fs, path: fs.get_file(path, "/nowhere/x"),
    "head": lambda fs, path: fs.head(path),
    "read_text": lambda fs, path: fs.read_text(path),
    "read_block": lambda fs, path: fs.read_block(path, 0, 1),
    "invalidate_cache": lambda fs, path: fs.invalidate_cache(path),
    "unstrip_protocol": lambda fs, path: fs.unstrip_protocol(path),
    "mapper": lambda fs, path: fs.get_mapper(path)[""],
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("whole", [True, False], ids=["URL", "path"])
def test_path_of_another_portal(
    fs: Any, portal: Emulator, other: Emulator, foreign_url: str, name: str, whole: bool
) -> None:
    """Each method refuses it with an error that names both portals, and asks neither."""
    path = foreign_url if whole else foreign_url.partition("://")[2]
    with pytest.raises(ValueError, match="is of portal") as caught:
        CALLS[name](fs, path)
    assert host_of(portal) in str(caught.value) and host_of(other) in str(caught.value)
    assert portal.log.total("portal") == other.log.total("portal") == 0


def test_names_carry_the_portal(fs: Any, portal: Emulator, url: str) -> None:
    """Whatever form a path is given in, what comes back begins with host and port."""
    whole = url.partition("://")[2]
    for path in (url, whole, "1001/x.csv", "ctera:///1001/x.csv", "ctera://1001/x.csv"):
        assert fs.info(path)["name"] == whole
        assert fs.ls(path, detail=False) == fs.glob(path) == fs.find(path) == [whole]
        assert fs.unstrip_protocol(path) == url
        with fs.open(path) as file:
            assert (file.path, file.full_name) == (whole, url)
    assert fs.host == host_of(portal)


@pytest.mark.parametrize(
    ("baseurl", "host", "same"),
    [
        ("https://p.example.com", "P.Example.COM", True),
        ("https://p.example.com", "p.example.com:443", True),
        ("https://P.example.com:443/prefix/", "p.example.com", True),
        ("http://p.example.com:80", "p.example.com", True),
        ("https://p.example.com:8443", "p.example.com:8443", True),
        ("https://[::1]:8443", "[::1]:8443", True),
        ("https://[::1]", "[::1]:443", True),
        ("https://p.example.com:8443", "p.example.com", False),
        ("http://p.example.com", "p.example.com:443", False),
        ("https://p.example.com", "p.example.com:x", False),
        ("https://p.example.com", "q.example.com", False),
    ],
)
def test_host_and_port(baseurl: str, host: str, same: bool) -> None:
    """Case does not matter, and a default port may be left out."""
    portal = PortalHost.of(baseurl)
    assert portal is not None
    assert portal.is_named(host) is same
    keys = {"access_key_id": "a", "secret_access_key": "b"}
    if same:
        made = CteraFileSystem(host, baseurl=baseurl, **keys)
        assert made._strip_protocol(f"ctera://{host}/12/X.csv") == f"{portal}/12/X.csv"
    else:
        with pytest.raises(ValueError, match=r"p\.example\.com"):
            CteraFileSystem(host, baseurl=baseurl, **keys)


def test_one_instance_for_each_portal(
    options: dict[str, Any], portal: Emulator, other: Emulator, url: str, foreign_url: str
) -> None:
    """fsspec.open makes a file system for each URL; several URLs of one call are of one portal."""
    theirs = {
        "baseurl": other.url,
        "access_key_id": other.access_key_id,
        "secret_access_key": other.secret_access_key,
    }
    with fsspec.open(url, **options) as here, fsspec.open(foreign_url, **theirs) as there:
        assert (here.read(), there.read()) == (HERE, THERE)
        assert here.fs is not there.fs
    both = fsspec.open_files([url, foreign_url], **options)
    with both[0] as file:
        assert file.read() == HERE
    with pytest.raises(ValueError, match="is of portal"), both[1] as file:
        pass


def test_baseurl_of_another_portal(options: dict[str, Any], foreign_url: str) -> None:
    """A URL of one portal with the baseurl of another is refused."""
    with pytest.raises(ValueError, match="baseurl"):
        fsspec.open(foreign_url, **options)


def test_environment_that_changes(
    portal: Emulator, other: Emulator, url: str, environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Portal and keys are those that the environment has at the time of the call."""
    first = fsspec.filesystem("ctera")
    assert first.cat_file("1001") == HERE
    assert fsspec.filesystem("ctera") is first
    monkeypatch.setenv("CTERA_DIRECT_URL", other.url)
    monkeypatch.setenv("CTERA_DIRECT_ACCESS_KEY_ID", other.access_key_id)
    monkeypatch.setenv("CTERA_DIRECT_SECRET_ACCESS_KEY", other.secret_access_key)
    second = fsspec.filesystem("ctera")
    assert second.cat_file("1001") == THERE
    monkeypatch.setenv("CTERA_DIRECT_SECRET_ACCESS_KEY", "another secret")
    assert fsspec.filesystem("ctera") is not second
    assert str(core_of(fsspec.filesystem("ctera").client).secret) == "another secret"


@pytest.mark.parametrize("form", ["pickle", "json"])
def test_serialised_file_system_keeps_its_portal(
    portal: Emulator,
    other: Emulator,
    url: str,
    environment: None,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    """Where the environment has another portal, loading fails rather than reads from that one."""
    made = fsspec.filesystem("ctera")
    if form == "pickle":
        data = pickle.dumps(made)
        load = lambda: pickle.loads(data)  # noqa: E731
    else:
        text = made.to_json()
        load = lambda: CteraFileSystem.from_json(text)  # noqa: E731
    assert load() is made
    CteraFileSystem.clear_instance_cache()
    assert load().cat_file("1001") == HERE
    monkeypatch.delenv("CTERA_DIRECT_URL")
    assert load().cat_file("1001") == HERE
    monkeypatch.setenv("CTERA_DIRECT_URL", other.url)
    with pytest.raises(ValueError, match="the keys in the environment are for"):
        load()


# fsspec leaves its own cache files to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("cache", ["simplecache", "filecache", "blockcache"])
def test_local_caches_keep_portals_apart(
    options: dict[str, Any], other: Emulator, url: str, foreign_url: str, tmp_path: Any, cache: str
) -> None:
    """fsspec's caches in one folder hold a file for each portal."""
    theirs = {
        "baseurl": other.url,
        "access_key_id": other.access_key_id,
        "secret_access_key": other.secret_access_key,
    }
    for _ in range(2):
        for each, keys, data in ((url, options, HERE), (foreign_url, theirs, THERE)):
            given = {cache: {"cache_storage": str(tmp_path / "cache")}, "ctera": keys}
            with fsspec.open(f"{cache}::{each}", **given) as file:
                assert file.read() == data


def test_keys_in_a_path_are_not_repeated(fs: Any) -> None:
    """A path that holds keys is refused without them."""
    with pytest.raises(ValueError, match="holds no keys") as caught:
        fs.cat_file("ctera://AKIA:hunter2@portal.example.com/12")
    assert "hunter2" not in str(caught.value)


# Its imports make the collector run, which then finds what other programs' tests left to it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_duckdb_tells_portals_apart(
    fs: Any, portal: Emulator, url: str, foreign_url: str, environment: None
) -> None:
    """DuckDB reads the right portal's bytes, and its error for the other one names both."""
    duckdb = pytest.importorskip("duckdb")
    query = "select * from read_csv('{}', header=false)"
    with duckdb.connect() as connection:
        connection.register_filesystem(fs)
        assert connection.execute(query.format(url)).fetchall() == [(HERE.decode(),)]
        with pytest.raises(duckdb.Error, match="is of portal"):
            connection.execute(query.format(foreign_url)).fetchall()


# As above.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_dask_tells_portals_apart(url: str, foreign_url: str, environment: None) -> None:
    """Dask makes one file system for all URLs of a call, which refuses another portal's."""
    pytest.importorskip("dask")
    from dask.bytes import read_bytes

    with pytest.raises(ValueError, match="is of portal"):
        read_bytes([url, foreign_url])
