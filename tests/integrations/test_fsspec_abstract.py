"""fsspec's own abstract tests of `get` over file IDs.

Run: the tests of ``AbstractGetTests`` that get single files or lists of them. Their names stand for
file IDs here (``fs_join``), and the files are put into the emulator rather than written by fsspec.

Not run are the tests that get folders or patterns (``test_get_directory_*``, ``test_get_glob_*``): there is
no call to list files by their IDs. ``test_fsspec_folder_abstract.py`` runs them, and all other suites, over
paths of names.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import md5
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.tests.abstract import AbstractFixtures, AbstractGetTests

from ctera_direct_sync.emulator import Emulator

HASHED = {f"{md5(str(n).encode()).hexdigest()}.txt": str(n) for n in range(10)}


class CteraFixtures(AbstractFixtures):
    """The store of the abstract tests: a portal whose files have IDs where the tests have names."""

    @pytest.fixture
    def fs(self, fs: Any) -> Any:
        """The file system of the portal, under the name that the abstract fixtures override."""
        return fs

    @pytest.fixture
    def fs_path(self) -> str:
        """Paths begin with a file ID: there is nothing above them."""
        return ""

    @pytest.fixture
    def ids(self, portal: Emulator) -> dict[str, int]:
        """The files of the abstract tests' scenarios."""
        content = {name: name for name in ("file1", "file2", "subfile1", "subfile2")}
        return {
            name: portal.add(text.encode(), name=name)
            for name, text in {**content, **HASHED}.items()
        }

    @pytest.fixture
    def fs_join(self, ids: dict[str, int]) -> Callable[..., str]:
        """``source/file1`` is ``<the ID of file1>/file1``."""

        def join(*parts: str) -> str:
            name = parts[-1]
            return f"{ids[name]}/{name}" if name in ids else "/".join(filter(None, parts))

        return join

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self, ids: dict[str, int]) -> str:
        """The source folder, which is but a name here."""
        return "source"

    @pytest.fixture
    def fs_10_files_with_hashed_names(self, ids: dict[str, int]) -> str:
        """The same, for files whose names say nothing of their order."""
        return "source"

    @pytest.fixture
    def local_fs(self) -> LocalFileSystem:
        """The local side."""
        return LocalFileSystem(auto_mkdir=True)

    @pytest.fixture
    def local_path(self, tmp_path: Any) -> str:
        """A folder of the test's own."""
        return str(make_path_posix(tmp_path))


NEEDS_LISTING = [
    name
    for name in dir(AbstractGetTests)
    if name.startswith(("test_get_directory", "test_get_glob"))
]


class TestGet(CteraFixtures, AbstractGetTests):
    """Getting single files and lists of files."""


for _name in NEEDS_LISTING:
    setattr(TestGet, _name, None)


def test_all_that_can_be_run_is_run() -> None:
    """fsspec's next release may add tests: this list says which there are, and which are run."""
    every = {name for name in dir(AbstractGetTests) if name.startswith("test_")}
    assert every - set(NEEDS_LISTING) >= {
        "test_get_file_to_existing_directory",
        "test_get_file_to_new_directory",
        "test_get_file_to_file_in_existing_directory",
        "test_get_file_to_file_in_new_directory",
        "test_get_list_of_files_to_existing_directory",
        "test_get_list_of_files_to_new_directory",
        "test_get_with_source_and_destination_as_list",
    }
