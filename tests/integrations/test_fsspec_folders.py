"""Paths of names in `ctera://` URLs: folders are listed, and files are read by their names."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from ctera_direct_sync import LoginError, Settings
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.filesystem import CteraFileSystem

ODD = ["100% +#?.txt", "%41.txt", "a[1].txt", "re\u0301sum\u00e9.pdf", " blanks ", "\U0001f4a7.bin"]
TREE: dict[str, Any] = {
    "2026": {"a.csv": b"x,y\n1,2\n", "b.csv": b"x,y\n3,4\n", "deep": {"c.csv": b"x,y\n5,6\n"}},
    "odd": {name: name.encode() for name in ODD},
    "empty": {},
    "readme.txt": b"read me",
}


@pytest.fixture
def account(quick: Settings) -> Iterator[dict[str, Any]]:
    """A portal with TREE, and the storage options for it."""
    with Emulator(tree=TREE) as portal:
        portal.tree.add_cloud_folder("2025")
        yield {
            "portal": portal,
            "baseurl": portal.url,
            "access_key_id": portal.access_key_id,
            "secret_access_key": portal.secret_access_key,
            "username": portal.username,
            "password": portal.password,
        }
        _close_all()


def _close_all() -> None:
    from ctera_direct_sync._fsspec.instances import portal_clients
    from ctera_direct_sync._fsspec.names import portal_names

    CteraFileSystem.clear_instance_cache()
    for each in [*portal_clients.values(), *portal_names.values()]:
        each.close()


@pytest.fixture
def portal(account: dict[str, Any]) -> Emulator:
    """The portal."""
    return account.pop("portal")


@pytest.fixture
def fs(portal: Emulator, account: dict[str, Any], quick: Settings) -> CteraFileSystem:
    """The file system of the portal's user."""
    return CteraFileSystem(**account, settings=quick)


@pytest.fixture
def root(fs: CteraFileSystem) -> str:
    """The path of the cloud folder."""
    return f"{fs.host}/My Files"


def test_ls_names_what_is_in_a_folder(fs: CteraFileSystem, root: str) -> None:
    """`ls` returns the paths of files and folders."""
    names = fs.ls(f"ctera://{root}/2026", detail=False)
    assert sorted(names) == [f"{root}/2026/{name}" for name in ("a.csv", "b.csv", "deep")]


def test_info_tells_size_type_and_time(fs: CteraFileSystem, root: str) -> None:
    """`info` tells what the portal knows of a file."""
    info = fs.info(f"{root}/2026/a.csv")
    assert (info["name"], info["size"], info["type"]) == (f"{root}/2026/a.csv", 8, "file")
    assert info["mtime"] == info["modified"].timestamp()
    assert info["file_id"]
    assert info["ETag"]
    assert fs.info(root)["type"] == "directory"


@pytest.mark.parametrize("name", ODD)
def test_names_are_plain_text(fs: CteraFileSystem, root: str, name: str) -> None:
    """A name with signs of URLs and patterns is found and read as it is."""
    path = f"ctera://{root}/odd/{name}"
    assert fs.cat(path) == name.encode()
    with fs.open(path) as file:
        assert file.read() == name.encode()


def test_fsspec_open_takes_the_url(fs: CteraFileSystem, root: str, account: dict[str, Any]) -> None:
    """`fsspec.open` reads a path of names."""
    with fsspec.open(f"ctera://{root}/2026/a.csv", **account) as file:
        assert file.read() == b"x,y\n1,2\n"


def test_digits_are_a_file_id(fs: CteraFileSystem, root: str) -> None:
    """A first part of digits is a file ID, also with an account."""
    file_id = fs.info(f"{root}/readme.txt")["file_id"]
    assert fs.cat(f"{fs.host}/{file_id}/readme.txt") == b"read me"


def test_tilde_leads_to_a_cloud_folder_of_digits(fs: CteraFileSystem) -> None:
    """`~` is the way to a cloud folder whose name is digits, and listings name it so."""
    assert f"{fs.host}/~/2025" in fs.ls("", detail=False)
    assert fs.isdir(f"ctera://{fs.host}/~/2025")
    assert fs.ls(f"{fs.host}/~/2025") == []


def test_errors_are_those_of_python(fs: CteraFileSystem, root: str) -> None:
    """What is not there, and a folder where a file is due, raise Python's classes."""
    with pytest.raises(FileNotFoundError):
        fs.open(f"{root}/missing")
    with pytest.raises(FileNotFoundError):
        fs.ls(f"{root}/missing")
    with pytest.raises(IsADirectoryError):
        fs.open(f"{root}/2026")
    with pytest.raises(ValueError, match=r"other\.example"):
        fs.ls("ctera://other.example/My Files")


def test_wrong_password_is_refused(
    portal: Emulator, account: dict[str, Any], quick: Settings
) -> None:
    """A wrong password raises, and `exists` does not answer False."""
    account["password"] = "wrong"
    fs = CteraFileSystem(**account, settings=quick)
    with pytest.raises(LoginError):
        fs.exists("My Files/readme.txt")


def test_password_is_hidden(fs: CteraFileSystem, portal: Emulator) -> None:
    """Repr, JSON and storage options do not show the password. A pickle has it."""
    assert portal.password not in repr(fs)
    assert portal.password not in fs.to_json()
    assert portal.password not in repr(fs.storage_options)
    assert pickle.loads(pickle.dumps(fs)) is fs


def test_users_have_file_systems_of_their_own(
    fs: CteraFileSystem, portal: Emulator, account: dict[str, Any], quick: Settings
) -> None:
    """fsspec's cache keeps the file systems of two users apart."""
    assert CteraFileSystem(**account, settings=quick) is fs
    portal.accounts.add("bob", "bobs-own")
    other = CteraFileSystem(
        **{**account, "username": "bob", "password": "bobs-own"}, settings=quick
    )
    assert other is not fs


def test_find_lists_a_tree(fs: CteraFileSystem, root: str) -> None:
    """`find`, `walk`, `du` and `tree` agree about what is below a folder."""
    expected = [f"{root}/2026/{name}" for name in ("a.csv", "b.csv", "deep/c.csv")]
    assert fs.find(f"{root}/2026") == expected
    walked = [f"{top}/{name}" for top, _, names in fs.walk(f"{root}/2026") for name in names]
    assert sorted(walked) == expected
    assert fs.du(f"{root}/2026") == 24
    assert "c.csv" in fs.tree(f"{root}/2026")
    assert fs.find(f"{root}/missing") == []
    assert fs.find(f"{root}/readme.txt") == [f"{root}/readme.txt"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("2026/*.csv", ["2026/a.csv", "2026/b.csv"]),
        ("2026/**/*.csv", ["2026/a.csv", "2026/b.csv", "2026/deep/c.csv"]),
        ("*/[ab].csv", ["2026/a.csv", "2026/b.csv"]),
        ("20?6", ["2026"]),
        ("missing/*", []),
        ("readme.txt", ["readme.txt"]),
    ],
)
def test_glob(fs: CteraFileSystem, root: str, pattern: str, expected: list[str]) -> None:
    """`glob` finds what matches."""
    assert fs.glob(f"ctera://{root}/{pattern}") == [f"{root}/{name}" for name in expected]


def test_get_copies_a_tree(fs: CteraFileSystem, root: str, tmp_path: Path) -> None:
    """A recursive `get` makes folders and files."""
    fs.get(f"{root}/2026", str(tmp_path / "copy"), recursive=True)
    assert (tmp_path / "copy" / "deep" / "c.csv").read_bytes() == b"x,y\n5,6\n"
    buffer = io.BytesIO()
    fs.get_file(f"{root}/readme.txt", buffer)
    assert buffer.getvalue() == b"read me"


def test_cached_listing_serves_until_it_is_forgotten(
    portal: Emulator, account: dict[str, Any], quick: Settings
) -> None:
    """With `use_listings_cache` a second `ls` asks nothing, until `invalidate_cache`."""
    fs = CteraFileSystem(**account, settings=quick, use_listings_cache=True)
    first = fs.ls("My Files/2026")
    asked = len(portal.log.records())
    assert fs.ls("My Files/2026") == first
    assert len(portal.log.records()) == asked
    fs.invalidate_cache()
    fs.ls("My Files/2026")
    assert len(portal.log.records()) > asked
