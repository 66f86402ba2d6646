"""Two names of the portal that the disk takes for the same, and a listing that lacks one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.folding_disk import fold_disk
from tests.support.mirror_portal import MemoryPortal, local_files, mirror


def run_told(portal: MemoryPortal, folder: Path, **options: Any) -> list[tuple[str, str]]:
    """Run the mirror dry and for real. Both tell the same. Return the steps."""
    hidden = portal.hidden
    told: list[list[tuple[str, str]]] = []
    failed = []
    for is_dry in (True, False):
        portal.hidden = set(hidden)
        steps: list[tuple[str, str]] = []
        result = mirror(
            portal,
            folder,
            dry_run=is_dry,
            on_step=lambda step, _, steps=steps: steps.append((step.kind, step.path)),
            **options,
        )
        told.append(steps)
        failed.append(result.failed)
    assert failed[0] == failed[1]
    assert told[0] == told[1]
    ((path, reason),) = failed[0]
    assert (path, "does not tell its name from 'A'" in reason) == ("a", True)
    return told[0]


@pytest.fixture
def portal(monkeypatch: pytest.MonkeyPatch) -> MemoryPortal:
    """A portal that tells names apart which the disk takes for the same."""
    fold_disk(monkeypatch)
    return MemoryPortal()


@pytest.mark.parametrize("delete", ["trash", "remove", "keep"])
@pytest.mark.parametrize("is_folder", [False, True])
def test_file_that_a_listing_lacks(
    portal: MemoryPortal, tmp_path: Path, delete: str, is_folder: bool
) -> None:
    """A mirrored file stays if the portal still has it, although the listing has another spelling."""
    node = portal.add("A", b"mirrored")
    mirror(portal, tmp_path, delete=delete)
    portal.add("a", folder=is_folder)
    portal.hidden = {"A"}
    assert run_told(portal, tmp_path, delete=delete) == []
    assert local_files(tmp_path) == {"A": b"mirrored"}
    # The next listing is whole.
    assert run_told(portal, tmp_path, delete=delete) == []
    assert local_files(tmp_path) == {"A": b"mirrored"}
    portal.delete(node)
    result = mirror(portal, tmp_path, delete=delete)
    assert (result.failed, (tmp_path / "a").is_dir()) == ([], is_folder)


@pytest.mark.parametrize("is_folder", [False, True])
def test_folder_that_a_listing_lacks(portal: MemoryPortal, tmp_path: Path, is_folder: bool) -> None:
    """A mirrored folder keeps its name and its files, and nothing takes its place."""
    portal.add("A/x", b"mirrored")
    mirror(portal, tmp_path)
    portal.add("a", folder=is_folder)
    portal.hidden = {"A", "A/x"}
    assert run_told(portal, tmp_path) == []
    assert local_files(tmp_path) == {"A/x": b"mirrored"}


def test_many_names(portal: MemoryPortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a listing lacks stays, also if the collections of the plan are in a database."""
    monkeypatch.setattr("ctera_direct_sync._mirror.spill.Spill.max_in_memory", 1)
    for name in ("A", "b", "c", "d"):
        portal.add(name, b"mirrored")
    mirror(portal, tmp_path)
    portal.add("a", b"new")
    portal.hidden = {"A"}
    assert run_told(portal, tmp_path) == []
    assert local_files(tmp_path) == dict.fromkeys("Abcd", b"mirrored")


def test_edited_file_whose_other_spelling_is_a_new_file(
    portal: MemoryPortal, tmp_path: Path
) -> None:
    """The user's file gets the name of a conflict copy, and the next run has nothing to report."""
    node = portal.add("a", b"mirrored")
    mirror(portal, tmp_path)
    (tmp_path / "a").write_bytes(b"of the user")
    portal.delete(node)
    portal.add("A", b"new")
    ((path, reason),) = mirror(portal, tmp_path).conflicts
    assert path == "a" and "it was changed here, and the portal has another file" in reason
    assert sorted(local_files(tmp_path).values()) == [b"new", b"of the user"]
    result = mirror(portal, tmp_path)
    assert (result.failed, result.conflicts, result.unchanged) == ([], [], 1)
