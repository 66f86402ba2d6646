"""fsspec's own abstract tests over paths of names: all of them, and none is left out.

The files of a scenario are put into the emulator where the tests write them through the file system
(`PreparedFileSystem`). `AbstractGetTests` passes as it is. The operation that the other suites test is a
write, so each of their tests must end with the error of a store that can only be read.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.tests import abstract

from ctera_direct_sync import Settings
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.filesystem import CteraFileSystem
from tests.support.file_systems import account_of, close_file_systems

#: The suites whose tests write, and what they write by.
WRITES = {
    abstract.AbstractCopyTests: "cp copies to another path of the portal",
    abstract.AbstractPutTests: "put uploads to the portal",
    abstract.AbstractPipeTests: "pipe_file writes a file",
    abstract.AbstractOpenTests: "the file is first written by open(path, 'wb')",
}


class PreparedFileSystem(CteraFileSystem):
    """The file system of a test. What a scenario needs is written into the emulator's tree."""

    portal: Emulator

    def _within(self, path: str) -> str:
        return "/" + str(self._own_path(path)).partition("/")[2]

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Make a folder."""
        self.portal.tree.mkdir(self._within(path))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a folder and those above it."""
        self.mkdir(path)

    def touch(self, path: str, truncate: bool = True, **_: Any) -> None:
        """Make an empty file."""
        self.portal.tree.create(self._within(path), b"")

    def pipe(self, path: str, value: bytes, **_: Any) -> None:
        """Make a file."""
        self.portal.tree.create(self._within(path), value)

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Delete a file or folder."""
        self.portal.tree.delete(self._within(path))


class Fixtures(abstract.AbstractFixtures):
    """The store of the abstract tests: a folder of a portal."""

    @pytest.fixture
    def fs(self, quick: Settings) -> Iterator[PreparedFileSystem]:
        """The file system of a portal of the test's own."""
        with Emulator(tree={}) as portal:
            fs = PreparedFileSystem(**account_of(portal), settings=quick)
            fs.portal = portal
            yield fs
            PreparedFileSystem.clear_instance_cache()
            close_file_systems()

    @pytest.fixture
    def fs_path(self, fs: PreparedFileSystem) -> str:
        """The cloud folder."""
        return f"{fs.host}/My Files"

    @pytest.fixture
    def local_fs(self) -> LocalFileSystem:
        """The local side."""
        return LocalFileSystem(auto_mkdir=True)

    @pytest.fixture
    def local_path(self, tmp_path: Any) -> str:
        """A folder of the test's own."""
        return str(make_path_posix(tmp_path))


class TestGet(Fixtures, abstract.AbstractGetTests):
    """Getting files, lists, folders and patterns."""


def _refused(test: Callable[..., None]) -> Callable[..., None]:
    """Return a test that passes if `test` ends because the store can only be read."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with pytest.raises(OSError) as caught:
            test(*args, **kwargs)
        assert caught.value.errno == errno.EROFS

    return run


def _refused_suite(suite: type) -> type:
    tests = {
        name: _refused(getattr(suite, name)) for name in dir(suite) if name.startswith("test_")
    }
    return type(suite.__name__, (Fixtures,), {"__doc__": WRITES[suite], **tests})


TestCopy = _refused_suite(abstract.AbstractCopyTests)
TestPut = _refused_suite(abstract.AbstractPutTests)
TestPipe = _refused_suite(abstract.AbstractPipeTests)
TestOpen = _refused_suite(abstract.AbstractOpenTests)


def test_every_suite_is_here() -> None:
    """A suite that fsspec's next release adds is noticed."""
    suites = {
        each
        for name, each in vars(abstract).items()
        if name.startswith("Abstract") and name.endswith("Tests")
    }
    assert suites == {abstract.AbstractGetTests, *WRITES}


class TestReading(Fixtures):
    """What the suites that write would read back."""

    def test_open_reads_what_is_there(self, fs: PreparedFileSystem, fs_path: str) -> None:
        """A file that was written elsewhere is read, and cannot be made anew."""
        path = f"{fs_path}/target"
        fs.pipe(path, b"data")
        with fs.open(path, "rb") as file:
            assert file.read() == b"data"
        assert fs.cat_file(path) == b"data"
        for mode in ("xb", "wb", "ab"):
            with pytest.raises(OSError) as caught:
                fs.open(path, mode)
            assert caught.value.errno == errno.EROFS
        assert fs.cat_file(path) == b"data"
