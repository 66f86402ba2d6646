"""What the store cannot do says so: it writes nothing, and lists no folders."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.filesystem import CteraFileSystem


def in_transaction(fs: CteraFileSystem) -> None:
    """Begin and end a transaction as programs do."""
    with fs.transaction:
        pass


WRITES: dict[str, Callable[[Any, str], object]] = {
    "open": lambda fs, path: fs.open(path, "wb"),
    "append": lambda fs, path: fs.open(path, "ab"),
    "text": lambda fs, path: fs.open(path, "w"),
    "exclusive": lambda fs, path: fs.open(path, "xb"),
    "update": lambda fs, path: fs.open(path, "r+b"),
    "open of a new file": lambda fs, path: fs.open("99/new.csv", "wb"),
    "pipe": lambda fs, path: fs.pipe(path, b"x"),
    "pipe of many": lambda fs, path: fs.pipe({path: b"x"}),
    "pipe_file": lambda fs, path: fs.pipe_file(path, b"x"),
    "touch": lambda fs, path: fs.touch(path),
    "touch, kept": lambda fs, path: fs.touch(path, truncate=False),
    "rm": lambda fs, path: fs.rm(path),
    "rm of many": lambda fs, path: fs.rm([path], recursive=True),
    "rm_file": lambda fs, path: fs.rm_file(path),
    "delete": lambda fs, path: fs.delete(path),
    "rmdir": lambda fs, path: fs.rmdir(path),
    "mv": lambda fs, path: fs.mv(path, "1/y"),
    "mv to itself": lambda fs, path: fs.mv(path, path),
    "rename": lambda fs, path: fs.rename(path, "1/y"),
    "move": lambda fs, path: fs.move(path, "1/y"),
    "cp_file": lambda fs, path: fs.cp_file(path, "1/y"),
    "copy": lambda fs, path: fs.copy(path, "1/y"),
    "cp": lambda fs, path: fs.cp("99", "1/y", on_error="ignore"),
    "mkdir": lambda fs, path: fs.mkdir("1/y"),
    "makedir": lambda fs, path: fs.makedir("1/y"),
    "makedirs": lambda fs, path: fs.makedirs("1/y", exist_ok=True),
    "mkdirs": lambda fs, path: fs.mkdirs("1/y", exist_ok=True),
    "put": lambda fs, path: fs.put(__file__, path),
    "put of nothing": lambda fs, path: fs.put([], []),
    "put_file": lambda fs, path: fs.put_file(__file__, path),
    "put_file of a folder": lambda fs, path: fs.put_file("/tmp", path),
    "upload": lambda fs, path: fs.upload(__file__, path),
    "write_text": lambda fs, path: fs.write_text(path, "x"),
    "write_bytes": lambda fs, path: fs.write_bytes(path, b"x"),
    "transaction": lambda fs, path: in_transaction(fs),
    "start_transaction": lambda fs, path: fs.start_transaction(),
    "end_transaction": lambda fs, path: fs.end_transaction(),
    "mapper": lambda fs, path: fs.get_mapper(path).update(x=b"x"),
    "mapper's creation": lambda fs, path: fs.get_mapper("99/y", create=True),
}


@pytest.fixture
def path(portal: Emulator) -> str:
    """A file that is there."""
    return f"{portal.add(b'data')}/data.bin"


@pytest.mark.parametrize("name", WRITES)
def test_read_only(fs: CteraFileSystem, path: str, name: str) -> None:
    """Everything that would write says that the store is read-only, with EROFS."""
    with pytest.raises(OSError, match="only be read") as caught:
        WRITES[name](fs, path)
    assert caught.value.errno == errno.EROFS
    assert not fs._intrans
    assert fs.cat_file(path) == b"data"


@pytest.mark.parametrize("call", ["ls", "find", "walk", "glob"])
def test_no_listing(fs: CteraFileSystem, call: str) -> None:
    """What needs a list of the portal's files says that there is none."""
    with pytest.raises(NotImplementedError, match="file IDs"):
        list(getattr(fs, call)("*" if call == "glob" else ""))
