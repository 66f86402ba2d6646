"""The mirror's own files: downloads, files that give way, staged files, and the trash."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import Callable

from .._readers.folders import Folder
from .._readers.part_file import is_own_name
from .local_names import OWN_FOLDER
from .local_tree import LocalTree
from .own_folder import ASIDE_FOLDER, DOWNLOADS_FOLDER, STAGE_FOLDER, TRASH_FOLDER
from .values import Local, split

__all__ = [
    "downloaded_path",
    "list_aside",
    "open_downloads",
    "purge_downloads",
    "purge_trash",
    "restamp_trash",
    "staged_path",
    "trash_path",
]


def staged_path(number: int) -> str:
    """Return the path that a file has between its old and its new one.

    Args:
        number: The number of its entry in the state.
    """
    return f"{STAGE_FOLDER}/{number}"


def list_aside(tree: LocalTree) -> list[Local]:
    """Return the files that gave way, and did not go anywhere else yet."""
    return tree.list_folder(ASIDE_FOLDER)


# --- downloads ---------------------------------------------------------------------------------------


def downloaded_path(name: str) -> str:
    """Return the path of a download."""
    return f"{DOWNLOADS_FOLDER}/{name}"


def open_downloads(tree: LocalTree) -> Folder:
    """Open the folder of downloads that are not in their place yet. The caller closes it."""
    return tree.folder(OWN_FOLDER).existing(split(DOWNLOADS_FOLDER)[1])


def purge_downloads(tree: LocalTree, *, keep_parts: bool, needed: Collection[str] = ()) -> None:
    """Remove what earlier runs left.

    Args:
        tree: The mirrored folder.
        keep_parts: Whether to keep the parts of large files, from which a download continues.
        needed: Paths to keep.
    """
    for found in tree.list_folder(DOWNLOADS_FOLDER):
        parent, name = split(found.path)
        if found.path not in needed and not (keep_parts and is_own_name(name)):
            tree.folder(parent).unlink(name)


# --- the trash ---------------------------------------------------------------------------------------


def trash_path(tree: LocalTree, run: str, path: str) -> str:
    """Return a free path in the trash, and make the folders above it.

    Args:
        tree: The mirrored folder.
        run: The time of the run.
        path: Where the file was.
    """
    folder = f"{TRASH_FOLDER}/{run}"
    tree.make_folder(folder)
    *above, name = path.split("/")
    for part in above:
        # A file of the same name may have gone to the trash before.
        folder = next(
            each
            for each in _numbered(f"{folder}/{part}")
            if (found := tree.find(each)) is None or found.kind == "folder"
        )
        tree.make_folder(folder)
    return next(each for each in _numbered(f"{folder}/{name}") if tree.find(each) is None)


def purge_trash(tree: LocalTree, is_old: Callable[[str], bool]) -> None:
    """Remove old runs from the trash.

    Args:
        tree: The mirrored folder.
        is_old: Returns whether the files of a run, which is named by its time, may go.
    """
    for run in tree.list_folder(TRASH_FOLDER):
        if run.kind == "folder" and is_old(split(run.path)[1]):
            _remove_tree(tree, run.path)


def restamp_trash(tree: LocalTree, is_ahead: Callable[[str], bool], stamp: str) -> None:
    """Give a run whose time is still to come the present time, so that its files do not stay for ever.

    If several runs have such times, the next runs see to the others.

    Args:
        tree: The mirrored folder.
        is_ahead: Returns whether the time of a run is still to come.
        stamp: The present time.
    """
    target = f"{TRASH_FOLDER}/{stamp}"
    for run in tree.list_folder(TRASH_FOLDER):
        if run.kind == "folder" and is_ahead(split(run.path)[1]) and tree.find(target) is None:
            tree.rename(run.path, target, run)


def _remove_tree(tree: LocalTree, path: str) -> None:
    for found in tree.list_folder(path):
        if found.kind == "folder":
            _remove_tree(tree, found.path)
        else:
            parent, name = split(found.path)
            tree.folder(parent).unlink(name)
    tree.remove_folder(path)


def _numbered(path: str) -> Iterator[str]:
    """Return a path, and then paths with a number behind it. They never end."""
    yield path
    for number in itertools.count(2):
        yield f"{path}.{number}"
