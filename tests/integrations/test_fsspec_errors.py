"""Errors that fsspec, pyarrow and DuckDB may not swallow: a refused login, and a portal out of reach."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import pytest

from ctera_direct_sync import (
    AccessDeniedError,
    LoginError,
    NamespaceConnectionError,
    NamespaceError,
    Settings,
)
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.filesystem import CteraFileSystem
from tests.support.file_systems import account_of, close_file_systems

TREE: dict[str, Any] = {"t": {"a.csv": b"x\n1\n", "deep": {"b.csv": b"x\n2\n"}, "secret": {}}}
FOLDER, FILE = "My Files/t", "My Files/t/a.csv"

CALLS: dict[str, Callable[[Any], object]] = {
    "exists": lambda fs: fs.exists(FILE),
    "lexists": lambda fs: fs.lexists(FILE),
    "isfile": lambda fs: fs.isfile(FILE),
    "isdir": lambda fs: fs.isdir(FOLDER),
    "info": lambda fs: fs.info(FILE),
    "ls": lambda fs: fs.ls(FOLDER),
    "find": lambda fs: fs.find(FOLDER),
    "find, folders": lambda fs: fs.find(FOLDER, withdirs=True),
    "find, depth": lambda fs: fs.find(FOLDER, maxdepth=1),
    "walk": lambda fs: list(fs.walk(FOLDER)),
    "walk, omit": lambda fs: list(fs.walk(FOLDER, on_error="omit")),
    "walk, raise": lambda fs: list(fs.walk(FOLDER, on_error="raise")),
    "du": lambda fs: fs.du(FOLDER),
    "glob": lambda fs: fs.glob(f"{FOLDER}/*.csv"),
    "glob, deep": lambda fs: fs.glob(f"{FOLDER}/**/*.csv"),
    "glob, folders": lambda fs: fs.glob(f"{FOLDER}/*/"),
    "glob, plain": lambda fs: fs.glob(FILE),
    "expand_path": lambda fs: fs.expand_path(f"{FOLDER}/*.csv"),
    "expand_path, recursive": lambda fs: fs.expand_path(FOLDER, recursive=True),
    "cat": lambda fs: fs.cat(FILE),
    "cat, omit": lambda fs: fs.cat([FILE], on_error="omit"),
    "cat, recursive": lambda fs: fs.cat(FOLDER, recursive=True, on_error="omit"),
    "cat_ranges": lambda fs: fs.cat_ranges([FILE], 0, 1, on_error="raise"),
    "open": lambda fs: fs.open(FILE),
    "get": lambda fs: fs.get(FILE, "/nowhere/x"),
    "get, recursive": lambda fs: fs.get(FOLDER, "/nowhere/x", recursive=True),
    "modified": lambda fs: fs.modified(FILE),
    "ukey": lambda fs: fs.ukey(FILE),
    "size": lambda fs: fs.size(FILE),
    "sizes": lambda fs: fs.sizes([FILE]),
    "tree": lambda fs: fs.tree(FOLDER),
    "mapper, in": lambda fs: "a.csv" in fs.get_mapper(FOLDER),
    "mapper, keys": lambda fs: list(fs.get_mapper(FOLDER)),
    "mapper, get": lambda fs: fs.get_mapper(FOLDER).get("a.csv"),
    "mapper, omit": lambda fs: fs.get_mapper(FOLDER).getitems(["a.csv"], on_error="omit"),
    "mapper, check": lambda fs: fs.get_mapper(FOLDER, check=True),
}


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with TREE."""
    with Emulator(tree=TREE) as portal:
        yield portal
        close_file_systems()


@pytest.fixture
def account(portal: Emulator, quick: Settings) -> dict[str, Any]:
    """The storage options of the portal's user, with settings that are quick to fail."""
    return {**account_of(portal), "settings": quick}


@pytest.fixture
def refused(account: dict[str, Any]) -> CteraFileSystem:
    """A file system with a wrong password."""
    return CteraFileSystem(**{**account, "password": "wrong"})


@pytest.fixture
def anonymous(account: dict[str, Any]) -> CteraFileSystem:
    """A file system without an account."""
    del account["username"], account["password"]
    return CteraFileSystem(**account)


@pytest.fixture
def unreachable(portal: Emulator, account: dict[str, Any]) -> CteraFileSystem:
    """A file system whose portal has gone."""
    fs = CteraFileSystem(**account)
    portal.stop()
    return fs


@pytest.mark.parametrize("name", CALLS)
def test_wrong_password_is_a_login_error(refused: CteraFileSystem, name: str) -> None:
    """No call takes a wrong password for a missing file, or for one that may not be read."""
    with pytest.raises(LoginError) as caught:
        CALLS[name](refused)
    assert not isinstance(caught.value, (PermissionError, FileNotFoundError))


@pytest.mark.parametrize("name", CALLS)
def test_missing_account_is_a_login_error(anonymous: CteraFileSystem, name: str) -> None:
    """Nor does a call take a path of names for a missing file because no account is given."""
    with pytest.raises(LoginError, match="username and password"):
        CALLS[name](anonymous)


@pytest.mark.parametrize("name", CALLS)
def test_portal_out_of_reach_is_an_error(unreachable: CteraFileSystem, name: str) -> None:
    """Nor does a call take a network failure for a missing file."""
    with pytest.raises(NamespaceConnectionError):
        CALLS[name](unreachable)


@pytest.mark.parametrize(
    "name", [name for name in CALLS if name.startswith(("find", "walk", "glob", "du", "cat, rec"))]
)
def test_folder_that_may_not_be_read(portal: Emulator, account: dict[str, Any], name: str) -> None:
    """A refused folder amid a tree is an error of each call that would list it."""
    portal.tree.deny("My Files/t/secret")
    fs = CteraFileSystem(**account)
    if name in ("find, depth", "glob", "glob, folders", "glob, plain"):
        CALLS[name](fs)  # The folder itself is not listed.
        return
    with pytest.raises(AccessDeniedError):
        CALLS[name](fs)


@pytest.mark.parametrize("topdown", [True, False])
def test_walk_tells_a_function_each_error(
    portal: Emulator, account: dict[str, Any], topdown: bool
) -> None:
    """A function as `on_error` gets the error of a folder below the first, and the walk goes on."""
    portal.tree.deny("My Files/t/secret")
    fs = CteraFileSystem(**account)
    errors: list[OSError] = []
    walked = list(fs.walk(FOLDER, topdown=topdown, on_error=errors.append))
    assert [type(each) for each in errors] == [AccessDeniedError]
    assert errors[0].filename == "/My Files/t/secret"
    tops = [top.partition("/")[2] for top, _, _ in walked]
    assert tops == ([FOLDER, f"{FOLDER}/deep"] if topdown else [f"{FOLDER}/deep", FOLDER])


def test_walk_can_be_directed(account: dict[str, Any]) -> None:
    """A caller that removes the name of a folder between two steps leaves that folder out."""
    fs = CteraFileSystem(**account)
    tops = []
    for top, folders, _ in fs.walk(FOLDER):
        tops.append(top)
        if "deep" in folders:
            folders.remove("deep")
    assert [top.partition("/")[2] for top in tops] == [FOLDER, f"{FOLDER}/secret"]


def test_omit_leaves_out_what_is_gone(account: dict[str, Any]) -> None:
    """`cat` and the mapper leave out missing files if they are told to omit errors."""
    fs = CteraFileSystem(**account)
    missing = f"{FOLDER}/missing.csv"
    assert list(fs.cat([FILE, missing, FOLDER], on_error="omit")) == [fs._strip_protocol(FILE)]
    mapper = fs.get_mapper(FOLDER)
    assert mapper.getitems(["a.csv", "missing.csv"], on_error="omit") == {"a.csv": b"x\n1\n"}
    assert "missing.csv" not in mapper


def test_damaged_file_is_not_omitted(portal: Emulator, account: dict[str, Any]) -> None:
    """A file that cannot be read whole is an error also where errors are omitted."""
    from ctera_direct_sync.emulator import faults

    portal.faults.add("storage", action=faults.status(404), times=100)
    fs = CteraFileSystem(**account)
    with pytest.raises(OSError):
        fs.cat([FILE], on_error="omit")
    with pytest.raises(OSError):
        fs.get_mapper(FOLDER).getitems(["a.csv"], on_error="omit")


def test_pyarrow_tells_a_login_error(refused: CteraFileSystem) -> None:
    """pyarrow raises the login error itself, whether it looks for a file or a folder."""
    dataset = pytest.importorskip("pyarrow.dataset")
    path = f"{refused.host}/{FOLDER}"
    with pytest.raises(LoginError):
        dataset.dataset(path, filesystem=refused, format="csv")
    with pytest.raises(LoginError):
        dataset.dataset([f"{path}/a.csv"], filesystem=refused, format="csv").to_table()


@pytest.mark.parametrize("pattern", ["a.csv", "*.csv", "**/*.csv"])
def test_duckdb_tells_a_login_error(refused: CteraFileSystem, pattern: str) -> None:
    """DuckDB's error says that the login was refused, not that no file matches."""
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        connection.register_filesystem(refused)
        url = f"ctera://{refused.host}/{FOLDER}/{pattern}"
        with pytest.raises(duckdb.Error, match="LoginError"):
            connection.execute(f"select * from read_csv('{url}')").fetchall()


def test_pandas_and_fsspec_tell_a_login_error(account: dict[str, Any]) -> None:
    """`fsspec.open` and pandas raise the login error itself."""
    pandas = pytest.importorskip("pandas")
    account["password"] = "wrong"
    url = f"ctera://{account['baseurl'].partition('://')[2]}/{FILE}"
    with pytest.raises(LoginError):
        pandas.read_csv(url, storage_options=account)
    with pytest.raises(LoginError), fsspec.open(url, **account):
        pass
    with pytest.raises(LoginError):
        fsspec.open_files(f"{url[:-5]}*.csv", **account)


def test_wrong_password_is_sent_once(portal: Emulator, refused: CteraFileSystem) -> None:
    """Portals lock accounts, so many calls send a wrong password once."""
    for name in ("exists", "find", "cat, recursive", "walk"):
        with pytest.raises(NamespaceError) as caught:
            CALLS[name](refused)
        assert caught.value.errno == errno.EACCES
    assert len(portal.log.records(call="login")) == 1
