"""fsspec's own abstract tests of `get` over paths of names."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import md5
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.tests.abstract import AbstractFixtures, AbstractGetTests

from ctera_direct_sync import Settings
from ctera_direct_sync.emulator import Emulator

HASHED = {f"{md5(str(n).encode()).hexdigest()}.txt": str(n).encode() for n in range(10)}
SUBDIR = {
    "subfile1": b"subfile1",
    "subfile2": b"subfile2",
    "nesteddir": {"nestedfile": b"nestedfile"},
}
EDGE = {
    "file1": b"1",
    "file2": b"2",
    "subdir0": {
        "subfile1": b"1",
        "subfile2": b"2",
        "nesteddir": {"nestedfile": b"n"},
    },
    "subdir1": {
        "subfile1": b"1",
        "subfile2": b"2",
        "nesteddir": {"nestedfile": b"n"},
    },
}
TREE: dict[str, Any] = {
    "source": {"file1": b"file1", "file2": b"file2", "subdir": SUBDIR},
    "dir": {"file1": b"file1", "subdir": SUBDIR},
    "edge": EDGE,
    "hashed": HASHED,
    "prefix": {"subdir": {"subfile.txt": b""}, "subdir.txt": b""},
}


class TestGet(AbstractFixtures, AbstractGetTests):
    """Getting files, lists, folders and patterns."""

    #: It makes a folder on the portal, which is a write.
    test_get_directory_recursive = None

    @pytest.fixture
    def fs(self, quick: Settings) -> Iterator[Any]:
        """The file system of a portal with TREE."""
        from ctera_direct_sync._fsspec.instances import portal_clients
        from ctera_direct_sync._fsspec.names import portal_names
        from ctera_direct_sync.filesystem import CteraFileSystem

        with Emulator(tree=TREE) as portal:
            yield CteraFileSystem(
                baseurl=portal.url,
                access_key_id=portal.access_key_id,
                secret_access_key=portal.secret_access_key,
                username=portal.username,
                password=portal.password,
                settings=quick,
            )
            CteraFileSystem.clear_instance_cache()
            for each in [*portal_clients.values(), *portal_names.values()]:
                each.close()

    @pytest.fixture
    def fs_path(self, fs: Any) -> str:
        """The cloud folder."""
        return f"{fs.host}/My Files"

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self, fs_path: str) -> str:
        """Files, and a folder with files."""
        return f"{fs_path}/source"

    @pytest.fixture
    def fs_glob_edge_cases_files(self, fs_path: str) -> str:
        """Files for patterns."""
        return f"{fs_path}/edge"

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self, fs_path: str) -> str:
        """A folder and a file whose names begin alike."""
        return f"{fs_path}/prefix"

    @pytest.fixture
    def fs_10_files_with_hashed_names(self, fs_path: str) -> str:
        """Files whose names say nothing of their order."""
        return f"{fs_path}/hashed"

    @pytest.fixture
    def local_fs(self) -> LocalFileSystem:
        """The local side."""
        return LocalFileSystem(auto_mkdir=True)

    @pytest.fixture
    def local_path(self, tmp_path: Any) -> str:
        """A folder of the test's own."""
        return str(make_path_posix(tmp_path))
