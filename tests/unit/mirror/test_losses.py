"""Files that a mirror must not delete, although a listing lacks them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Callable

import pytest

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._mirror.local_tree import LocalTree
from ctera_direct_sync._mirror.runner import MirrorOptions, run_mirror
from ctera_direct_sync.exceptions import NamespaceError, NotAFolderError, PathNotFoundError
from ctera_direct_sync.types import Entry
from tests.support import mirror_portal
from tests.support.mirror_portal import (
    OWN,
    SOURCE,
    Crash,
    MemoryPortal,
    crash_after,
    local_files,
    mirror,
)


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


@pytest.mark.parametrize("feed", ["off", "on"])
def test_a_denied_folder_stops_no_deletion_that_the_portal_names(tmp_path: Path, feed: str) -> None:
    """What the portal lists as deleted is deleted here. What may have moved into the folder stays."""
    portal = MemoryPortal()
    portal.feed = feed
    secret = portal.add("secret", folder=True)
    secret.denied = True
    deleted, moved = portal.add("d/deleted", b"deleted"), portal.add("d/moved", b"moved")
    replaced = portal.add("d/replaced", b"replaced")
    mirror(portal, tmp_path)
    portal.delete(deleted)
    portal.move(moved, secret, "moved")
    portal.move(replaced, secret, "replaced")
    portal.delete(portal.add("d/replaced", b"another"))
    for _ in range(2):
        result = mirror(portal, tmp_path, delete="trash")
        assert local_files(tmp_path) == {"d/moved": b"moved", "d/replaced": b"replaced"}
        assert {path for path, _ in result.failed} == {"secret", "d/moved", "d/replaced"}
    secret.denied = False
    assert mirror(portal, tmp_path).moved == 2
    assert local_files(tmp_path) == portal.files()


@pytest.mark.parametrize("is_known", [False, True])
def test_a_file_that_moves_out_of_a_denied_folder(tmp_path: Path, is_known: bool) -> None:
    """It comes at its new path. What is mirrored of the denied folder stays, until it can be read."""
    portal = MemoryPortal()
    node = portal.add("secret/a", b"a")
    secret = portal.node("secret")
    secret.denied = not is_known
    mirror(portal, tmp_path)
    secret.denied = True
    portal.move(node, portal.root, "b")
    for _ in range(2):
        mirror(portal, tmp_path)
        assert local_files(tmp_path) == {"b": b"a", **({"secret/a": b"a"} if is_known else {})}
    secret.denied = False
    mirror(portal, tmp_path)
    assert local_files(tmp_path) == {"b": b"a"}


def test_a_folder_of_a_file_that_stays_is_not_forgotten(tmp_path: Path) -> None:
    """A file that stays because of a denied folder is deleted once that folder can be read."""
    portal = MemoryPortal()
    first = portal.add("d/a", b"first")
    mirror(portal, tmp_path)
    above = first.parent
    assert above is not None
    above.denied = True
    portal.move(above, portal.root, "d2")
    for _ in range(2):
        mirror(portal, tmp_path)
    portal.delete(above)
    assert mirror(portal, tmp_path).deleted == 1
    assert local_files(tmp_path) == {}
    assert not (tmp_path / "d").exists()


def test_a_listing_that_lacks_a_file_once_is_read_again(tmp_path: Path) -> None:
    """A page that shifts hides a file from the first listing, and the second one has it."""
    portal = MemoryPortal()
    portal.add("d/a")
    mirror(portal, tmp_path)
    portal.hidden = {"d/a"}
    result = mirror(portal, tmp_path)
    assert (result.unchanged, result.failed, portal.walks) == (1, [], 3)


def test_a_listing_that_always_lacks_a_file_stops_the_run(tmp_path: Path) -> None:
    """The portal has a file that its listing lacks, so the listing proves nothing."""

    class Incomplete(MemoryPortal):
        def walk(self, path: str, on_error: Callable[[NamespaceError], object]) -> Iterator[Entry]:
            self.hidden = {"d/a"}
            return super().walk(path, on_error)

    portal = MemoryPortal()
    portal.add("d/a", b"here")
    mirror(portal, tmp_path)
    incomplete = Incomplete()
    incomplete.root = portal.root
    incomplete.add("new")
    with pytest.raises(NamespaceError, match="listing") as caught:
        mirror(incomplete, tmp_path)
    assert caught.value.filename == "/My Files/source/d/a"
    assert local_files(tmp_path) == {"d/a": b"here"}


@pytest.mark.parametrize("error", [PathNotFoundError, NotAFolderError])
def test_a_folder_that_cannot_be_listed_is_reported(
    tmp_path: Path, error: type[NamespaceError]
) -> None:
    """A portal lists a folder in its parent, and then says that there is no such folder."""

    class Lost(MemoryPortal):
        def walk(self, path: str, on_error: Callable[[NamespaceError], object]) -> Iterator[Entry]:
            for entry in super().walk(path, on_error):
                if not entry.path.startswith(f"{SOURCE}/d/"):
                    yield entry
            on_error(error("not here", f"{SOURCE}/d"))

    portal = Lost()
    portal.add("d/a", b"here")
    readable = MemoryPortal()
    readable.root = portal.root
    mirror(readable, tmp_path)
    result = mirror(portal, tmp_path)
    assert [path for path, _ in result.failed] == ["d"]
    assert (result.deleted, portal.walks) == (0, 2)
    assert local_files(tmp_path) == {"d/a": b"here"}


def test_a_deletion_without_an_event_goes_to_the_trash(tmp_path: Path) -> None:
    """A portal may hide a folder from a user, so a listing alone removes nothing for good."""
    portal = MemoryPortal()
    portal.add("d/a", b"hidden")
    mirror(portal, tmp_path)
    above = portal.find("d")
    assert above is not None
    portal.delete(above)
    assert mirror(portal, tmp_path, delete="remove").deleted == 1
    assert b"hidden" in local_files(tmp_path / OWN / "trash").values()


def test_another_user_is_refused(tmp_path: Path) -> None:
    """Another user may see less, and what that user does not see must not be deleted."""
    portal = MemoryPortal()
    portal.add("d/a", b"first")
    mirror(portal, tmp_path, user="ann")
    with pytest.raises(ValueError, match="'ann' made this mirror"):
        mirror(portal, tmp_path, user="bob")
    assert mirror(portal, tmp_path, user="Ann").ok
    assert mirror(portal, tmp_path).ok


@pytest.mark.parametrize(("source", "is_admin"), [("/Shared With Me", False), ("/Users/Ann", True)])
def test_a_cloud_folder_without_an_id_of_its_own_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, is_admin: bool
) -> None:
    """The place of a folder tells that it is a cloud folder, even if the portal gives no ID."""
    monkeypatch.setattr(mirror_portal, "SOURCE", source.rstrip("/"))
    portal = MemoryPortal()
    portal.add("d/deep/a", b"first")
    portal.add("other/b", b"second")
    options = MirrorOptions(is_admin=is_admin)
    run_mirror(portal, portal.fetch, CancelScope(), source, tmp_path, options)
    for path, is_gone in (("d/deep", False), ("d", True)):
        node = portal.find(path)
        assert node is not None
        portal.delete(node)
        with pytest.raises(NamespaceError, match="is gone") if is_gone else nullcontext():
            run_mirror(portal, portal.fetch, CancelScope(), source, tmp_path, options)


def test_a_file_that_cannot_leave_the_stage_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed run left a file in the mirror's own folder, and no run can move it back."""
    portal = MemoryPortal()
    first, second = portal.add("a", b"first"), portal.add("b", b"second")
    mirror(portal, tmp_path)
    portal.move(first, portal.root, "t")
    portal.move(second, portal.root, "a")
    portal.move(first, portal.root, "b")
    stage = tmp_path / OWN / "stage"
    original = LocalTree.rename

    def rename(tree: LocalTree, source: str, *arguments: Any) -> int:
        if source.startswith(f"{OWN}/stage/"):
            raise Crash
        return original(tree, source, *arguments)

    def refuse(tree: LocalTree, source: str, *arguments: Any) -> int:
        if source.startswith(f"{OWN}/stage/"):
            raise PermissionError(errno.EACCES, "Permission denied", source)
        return original(tree, source, *arguments)

    monkeypatch.setattr(LocalTree, "rename", rename)
    with pytest.raises(Crash):
        mirror(portal, tmp_path)
    staged = sorted(f"{OWN}/stage/{each.name}" for each in stage.iterdir())
    monkeypatch.setattr(LocalTree, "rename", refuse)
    assert sorted(path for path, _ in mirror(portal, tmp_path).failed) == staged != []
    assert local_files(tmp_path) == portal.files()
    monkeypatch.undo()
    assert mirror(portal, tmp_path).ok
