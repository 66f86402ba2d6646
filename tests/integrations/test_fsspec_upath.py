"""`UPath("ctera://...")` over paths of names: what universal-pathlib expects of a path."""

from __future__ import annotations

import errno
import os
import pickle
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from ctera_direct_sync import AccessDeniedError, LoginError, Settings
from ctera_direct_sync.emulator import Emulator
from tests.support.file_systems import account_of, close_file_systems, count_requests

upath = pytest.importorskip("upath", minversion="0.3.8")

HELLO = b"hello world"
TREE: dict[str, Any] = {
    "t": {
        "file1.txt": HELLO,
        "file2.txt": HELLO,
        "file 100% #3?.txt": HELLO,
        "folder1": {"file3.txt": HELLO, "file4.tar.gz": HELLO, "deep": {"file5.txt": HELLO}},
        "empty": {},
    }
}
FILES = ["file1.txt", "file2.txt", "file 100% #3?.txt"]


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with TREE, and a cloud folder whose name is digits."""
    with Emulator(tree=TREE) as portal:
        portal.tree.add_cloud_folder("2026", {"q1": {"a.csv": b"x\n"}})
        yield portal
        close_file_systems()


@pytest.fixture
def options(portal: Emulator, quick: Settings) -> dict[str, Any]:
    """The storage options of the portal's user."""
    return {**account_of(portal), "settings": quick}


@pytest.fixture
def host(portal: Emulator) -> str:
    """Host and port of the portal."""
    return portal.url.partition("://")[2]


@pytest.fixture
def path(host: str, options: dict[str, Any]) -> Any:
    """The path of the folder of TREE."""
    return upath.UPath(f"ctera://{host}/My Files/t", **options)


# --- the path alone --------------------------------------------------------------------------------------


def test_class_comes_from_the_entry_point(path: Any) -> None:
    """`UPath` makes a path of the class that the package registers, and warns of nothing."""
    from upath.registry import get_upath_class

    assert type(path).__name__ == "CteraPath"
    assert get_upath_class("ctera") is type(path)
    assert path.protocol == "ctera"


@pytest.mark.parametrize("where", ["p.example.com", "p.example.com:8443", "localhost:80"])
def test_parts(where: str) -> None:
    """Host and port are the drive; each name is a part. Nothing is asked."""
    path = upath.UPath(f"ctera://{where}/My Files/r e/a#1?.tar.gz")
    assert path.parts == (f"{where}/", "My Files", "r e", "a#1?.tar.gz")
    assert (path.drive, path.root, path.anchor) == (where, "/", f"{where}/")
    assert (path.name, path.stem, path.suffix) == ("a#1?.tar.gz", "a#1?.tar", ".gz")
    assert path.suffixes == [".tar", ".gz"]
    assert path.path == f"{where}/My Files/r e/a#1?.tar.gz"
    assert str(path) == path.as_uri() == f"ctera://{path.path}"
    assert path.is_absolute()


def test_parents_end_at_the_portal() -> None:
    """The last parent is the portal's root, which is its own parent."""
    path = upath.UPath("ctera://p.example.com:81/My Files/r/a.csv")
    assert [each.path for each in path.parents] == [
        "p.example.com:81/My Files/r",
        "p.example.com:81/My Files",
        "p.example.com:81/",
    ]
    root = path.parents[-1]
    assert root.parent.path == root.path == path.anchor
    assert root.parts == ("p.example.com:81/",)
    assert str(root) == "ctera://p.example.com:81/"
    assert all(each.is_absolute() for each in path.parents)


def test_joining() -> None:
    """Names, several at once, and trailing slashes are joined as by `pathlib`."""
    path = upath.UPath("ctera://p.example.com/My Files")
    joined = path / "r" / "a.csv"
    assert (
        joined == path.joinpath("r", "a.csv") == path.joinpath("r/a.csv") == path / "r/" / "a.csv"
    )
    assert str(joined) == "ctera://p.example.com/My Files/r/a.csv"
    assert path.joinpath("/Team/b.csv").path == "p.example.com/Team/b.csv"
    assert joined.with_name("b.csv").path.endswith("/r/b.csv")
    assert joined.with_suffix(".parquet").name == "a.parquet"
    assert joined.with_stem("b").name == "b.csv"
    assert joined.with_segments("p.example.com/x", "y").path == "p.example.com/x/y"
    with pytest.raises(ValueError):
        joined.with_name("a/b")


def test_relative_paths() -> None:
    """A path is relative to its parents, and matches patterns."""
    path = upath.UPath("ctera://p.example.com/My Files")
    child = path / "r" / "a.csv"
    assert str(child.relative_to(path)) == "r/a.csv"
    assert child.is_relative_to(path) and not path.is_relative_to(child)
    assert not child.is_relative_to(upath.UPath("/My Files"))
    assert child.full_match("**/*.csv") and not child.full_match("*.txt")


def test_tilde_is_a_part() -> None:
    """`~/2026` leads to a cloud folder whose name is digits."""
    path = upath.UPath("ctera://p.example.com/~/2026/q1/a.csv")
    assert path.parts == ("p.example.com/", "~", "2026", "q1", "a.csv")
    assert path.parent.parent.name == "2026"
    assert path.expanduser() == path


def test_file_ids_have_names() -> None:
    """The form with a file ID keeps ID and name as parts."""
    path = upath.UPath("ctera://p.example.com/12345/t.csv")
    assert path.parts == ("p.example.com/", "12345", "t.csv")
    assert path.suffix == ".csv"


def test_equality_and_hash(path: Any, options: dict[str, Any]) -> None:
    """Paths are equal if path and options are. Options do not count for the hash."""
    same = upath.UPath(str(path), **options)
    assert same == path and hash(same) == hash(path)
    other = upath.UPath(str(path), **{**options, "username": "bob"})
    assert other != path and hash(other) == hash(path)
    assert upath.UPath(path) == path
    assert upath.UPath(path.path, "x", protocol="ctera", **path.storage_options) == path / "x"


def test_pickles(path: Any) -> None:
    """A pickled path reads where it is loaded."""
    again = pickle.loads(pickle.dumps(path / "file1.txt"))
    assert (again, again.parts) == (path / "file1.txt", (path / "file1.txt").parts)
    assert again.storage_options == path.storage_options
    assert again.read_bytes() == HELLO


def test_secrets_are_hidden(path: Any, portal: Emulator) -> None:
    """Neither the path nor its options show a secret."""
    text = f"{path!r} {path} {path.storage_options!r} {(path / 'x')!r} {path.fs!r} {path.stat()!r}"
    for secret in (portal.password, portal.secret_access_key, portal.access_key_id):
        assert secret not in text


def test_options_are_those_of_the_file_system(path: Any, host: str) -> None:
    """The options of a path make the file system that it uses."""
    plain = {name: value for name, value in path.fs.storage_options.items() if name != "settings"}
    assert {**path.storage_options, "settings": None} == {**plain, "settings": None}
    fs = fsspec.filesystem("ctera", **path.storage_options)
    assert fs is path.fs
    assert fs.cat((path / "file1.txt").path) == HELLO


# --- reading ---------------------------------------------------------------------------------------------


def test_kinds(path: Any) -> None:
    """A path knows files, folders, and what is not there."""
    assert path.exists() and path.is_dir() and not path.is_file()
    file = path / "file1.txt"
    assert file.exists() and file.is_file() and not file.is_dir()
    missing = path / "missing"
    assert not (missing.exists() or missing.is_file() or missing.is_dir())
    for other in ("symlink", "socket", "fifo", "mount", "block_device", "char_device"):
        assert not getattr(file, f"is_{other}")()
    assert file.info.is_file() and path.info.is_dir() and not missing.info.exists()


def test_stat(path: Any) -> None:
    """`stat` has size, kind and time, in the form of `os.stat_result`."""
    file = (path / "file1.txt").stat()
    assert file.st_size == len(HELLO)
    assert stat.S_ISREG(file.st_mode) and stat.S_ISDIR(path.stat().st_mode)
    assert file.st_mtime == path.fs.info((path / "file1.txt").path)["mtime"]
    assert len(tuple(file)) == os.stat_result.n_sequence_fields
    assert all(isinstance(each, int) for each in tuple(file))
    with pytest.raises(FileNotFoundError):
        (path / "missing").stat()


def test_iterdir(path: Any, portal: Emulator) -> None:
    """`iterdir` lists the folder once. A file or a missing folder is an error."""
    found: list[Any] = []
    assert count_requests(portal, lambda: found.extend(path.iterdir()))["list"] == 1
    assert sorted(each.name for each in found) == sorted([*FILES, "folder1", "empty"])
    assert all(each.exists() for each in found)
    assert list((path / "folder1/").iterdir()) == list((path / "folder1").iterdir())
    assert list((path / "empty").iterdir()) == []
    with pytest.raises(NotADirectoryError):
        next((path / "file1.txt").iterdir())
    with pytest.raises(FileNotFoundError):
        next((path / "missing").iterdir())


def test_root_lists_cloud_folders(path: Any) -> None:
    """The root's entries are the cloud folders, also one whose name is digits."""
    root = path.parents[-1]
    found = {each.name: each for each in root.iterdir()}
    assert {"My Files", "2026"} <= set(found)
    assert found["2026"].parts[-2:] == ("~", "2026")
    assert found["2026"].is_dir()
    assert (found["2026"] / "q1" / "a.csv").read_bytes() == b"x\n"
    assert next(iter(found["2026"].parent.iterdir())).exists()
    assert [each.name for each in root.glob("2*")] == ["2026"]
    assert [each.name for each in root.glob("~/2026/*/*.csv")] == ["a.csv"]


@pytest.mark.parametrize("pattern", ["*.txt", "*", "**/*.txt", "folder1/*", "*/*.gz", "file[12]*"])
def test_glob_finds_what_pathlib_finds(path: Any, tmp_path: Path, pattern: str) -> None:
    """`glob` and `rglob` find what `pathlib` finds in the same tree on the disk."""
    _write(tmp_path, TREE["t"])
    for method in ("glob", "rglob"):
        found = [str(each.relative_to(path)) for each in getattr(path, method)(pattern)]
        wanted = [
            each.relative_to(tmp_path).as_posix() for each in getattr(tmp_path, method)(pattern)
        ]
        assert sorted(found) == sorted(set(wanted)), method


def _write(folder: Path, tree: dict[str, Any]) -> None:
    for name, content in tree.items():
        if isinstance(content, dict):
            (folder / name).mkdir()
            _write(folder / name, content)
        else:
            (folder / name).write_bytes(content)


@pytest.mark.parametrize("top_down", [True, False])
def test_walk_goes_where_os_walk_goes(path: Any, tmp_path: Path, top_down: bool) -> None:
    """`walk` yields the folders of the tree, each listed once."""
    _write(tmp_path, TREE["t"])
    walked = {
        str(top.relative_to(path)): (sorted(folders), sorted(files))
        for top, folders, files in path.walk(top_down=top_down)
    }
    wanted = {
        Path(top).relative_to(tmp_path).as_posix(): (sorted(folders), sorted(files))
        for top, folders, files in os.walk(tmp_path)
    }
    assert walked == wanted
    tops = [top for top, _, _ in path.walk(top_down=top_down)]
    places = [str(top.relative_to(path)) for top in tops]
    assert places.index(".") == (0 if top_down else len(places) - 1)


def test_walk_leaves_out_no_refused_folder(path: Any, portal: Emulator) -> None:
    """A folder that may not be read is an error, unless a function takes it."""
    portal.tree.deny("My Files/t/folder1")
    with pytest.raises(AccessDeniedError):
        list(path.walk())
    errors: list[OSError] = []
    assert len(list(path.walk(on_error=errors.append))) == 2
    assert [type(error) for error in errors] == [AccessDeniedError]


def test_open_and_read(path: Any) -> None:
    """Files are read as text and as bytes, also with signs of URLs and patterns in their names."""
    file = path / "file1.txt"
    with file.open() as text, file.open("rb") as binary:
        assert (text.read(), binary.read()) == (HELLO.decode(), HELLO)
    with file.open("r", encoding="ascii", errors="strict", block_size=8192) as text:
        assert text.read() == HELLO.decode()
    assert file.read_text(encoding="ascii") == HELLO.decode()
    assert [(path / name).read_bytes() for name in FILES] == [HELLO] * 3


def test_copies_to_other_file_systems(path: Any, tmp_path: Path) -> None:
    """`copy` and `copy_into` bring files and folders to a local folder."""
    (path / "file1.txt").copy(upath.UPath(tmp_path / "copied.txt"))
    assert (tmp_path / "copied.txt").read_bytes() == HELLO
    path.joinpath("folder1").copy_into(upath.UPath(tmp_path))
    assert (tmp_path / "folder1" / "deep" / "file5.txt").read_bytes() == HELLO
    with pytest.raises(FileNotFoundError):
        (path / "file1.txt").copy(upath.UPath(tmp_path / "no" / "x.txt"))


def test_samefile(path: Any) -> None:
    """A file is the same as itself, and not the same as a file with the same content."""
    file = path / "file1.txt"
    assert file.samefile(file) and file.samefile(file.path)
    assert not file.samefile(path / "file2.txt")


WRITES = {
    "write_text": lambda path: (path / "x").write_text("x"),
    "write_bytes": lambda path: (path / "x").write_bytes(b"x"),
    "open": lambda path: (path / "x").open("wb"),
    "append": lambda path: (path / "file1.txt").open("ab"),
    "mkdir": lambda path: (path / "x").mkdir(),
    "mkdir, there": lambda path: path.mkdir(),
    "move_into": lambda path: (path / "file1.txt").move_into(upath.UPath(tempfile.gettempdir())),
    "mkdir, parents": lambda path: (path / "x" / "y").mkdir(parents=True, exist_ok=True),
    "touch": lambda path: (path / "x").touch(),
    "unlink": lambda path: (path / "file1.txt").unlink(),
    "rmdir": lambda path: (path / "empty").rmdir(),
    "rename": lambda path: (path / "file1.txt").rename(path / "x"),
    "move": lambda path: (path / "file1.txt").move(path / "x"),
    "copy here": lambda path: (path / "file1.txt").copy(path / "x"),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes_are_refused(path: Any, name: str) -> None:
    """Each method that writes raises OSError, and changes nothing."""
    before = sorted(each.path for each in path.rglob("*"))
    with pytest.raises(OSError, match="only be read") as caught:
        WRITES[name](path)
    assert caught.value.errno == errno.EROFS
    assert isinstance(caught.value, NotImplementedError) or name in ("open", "append")
    assert sorted(each.path for each in path.rglob("*")) == before


@pytest.mark.parametrize("name", ["cwd", "home", "readlink", "owner", "group"])
def test_what_a_portal_does_not_have(path: Any, name: str) -> None:
    """Links, owners and a current folder do not exist: universal-pathlib's own error says so."""
    with pytest.raises(NotImplementedError):
        getattr(path, name)()


def test_errors_are_not_swallowed(path: Any, options: dict[str, Any]) -> None:
    """A wrong password is an error of each method, not a path that does not exist."""
    refused = upath.UPath(str(path), **{**options, "password": "wrong"})
    for ask in (refused.exists, refused.is_dir, refused.is_file, refused.stat, refused.info.exists):
        with pytest.raises(LoginError):
            ask()
    for many in (
        refused.iterdir,
        refused.walk,
        lambda: refused.glob("*"),
        lambda: refused.rglob("*"),
    ):
        with pytest.raises(LoginError):
            list(many())
