"""A folder that may not be read any more, is renamed, and whose place a file takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mirror_portal import MemoryPortal, local_files, mirror


@pytest.mark.xfail(
    reason="what was in the folder stays as a conflict copy, although the user changed nothing",
    strict=True,
)
def test_folder_that_comes_back_under_another_name(tmp_path: Path) -> None:
    """Once the permission is back, the local folder has the portal's files, and no others."""
    source = MemoryPortal()
    file, folder = source.add("a"), source.add("d/a").parent
    assert folder is not None
    mirror(source, tmp_path)
    folder.denied = True
    source.move(folder, source.root, "swapped")
    source.move(file, source.root, "d")
    source.move(folder, source.root, "a")
    result = mirror(source, tmp_path)
    assert all("files of your own" not in reason for _, reason in result.conflicts)
    folder.denied = False
    mirror(source, tmp_path)
    mirror(source, tmp_path)
    assert local_files(tmp_path) == source.files()
