"""Files that a mirror must not delete, although a listing lacks them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mirror_portal import OWN, Crash, MemoryPortal, crash_after, local_files, mirror


@pytest.mark.parametrize("delete", ["trash", "remove"])
def test_a_staged_file_whose_folder_is_then_denied_is_kept(tmp_path: Path, delete: str) -> None:
    """A run is killed while two files change their names, and the user then loses the permission."""
    was_crashed = True
    steps = 0
    while was_crashed:
        portal = MemoryPortal()
        first, second = portal.add("d/a", b"first"), portal.add("d/b", b"second")
        folder = tmp_path / str(steps)
        mirror(portal, folder)
        above = portal.find("d")
        assert above is not None
        portal.move(first, above, "t")
        portal.move(second, above, "a")
        portal.move(first, above, "b")
        was_crashed = False
        try:
            with crash_after(steps):
                mirror(portal, folder, delete=delete)
        except Crash:
            was_crashed = True
        above.denied = True
        mirror(portal, folder, delete=delete)
        assert {b"first", b"second"} <= set(local_files(folder).values()), steps
        assert not list((folder / OWN / "stage").iterdir())
        steps += 3


def test_a_folder_that_is_denied_and_renamed_loses_nothing(tmp_path: Path) -> None:
    """Files that may be in a denied folder stay here, and are reported until it can be read."""
    portal = MemoryPortal()
    first, _ = portal.add("d/a", b"first"), portal.add("d/deep/b", b"second")
    mirror(portal, tmp_path)
    above = first.parent
    assert above is not None
    above.denied = True
    portal.move(above, portal.root, "d2")
    for _ in range(2):
        result = mirror(portal, tmp_path, delete="remove")
        assert {"d2", "d/a", "d/deep/b"} <= {path for path, _ in result.failed}
        assert local_files(tmp_path) == {"d/a": b"first", "d/deep/b": b"second"}
    above.denied = False
    assert mirror(portal, tmp_path).moved == 2
    assert local_files(tmp_path) == portal.files()
