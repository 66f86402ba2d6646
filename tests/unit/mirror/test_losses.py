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
