"""A disk that ignores the case of letters and the form of accents, on top of one that does not."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest

from ctera_direct_sync._mirror import runner
from ctera_direct_sync._mirror.local_names import fold_name
from ctera_direct_sync._readers.folders import Folder

#: Methods of `Folder` whose first argument is a name that may exist in another spelling.
_NAMED = (
    "create", "open_own", "lstat", "unlink", "make_folder", "remove_folder", "existing", "child",
    "open_to_read",
)  # fmt: skip
_MOVES = ("move", "move_exclusively", "move_to_free")


def fold_disk(patch: pytest.MonkeyPatch) -> None:
    """Let all folders take names for the same that differ in case or form, until the patch is undone."""
    for method in _NAMED:
        patch.setattr(Folder, method, _spelled(getattr(Folder, method)))
    for method in _MOVES:
        patch.setattr(Folder, method, _moving(getattr(Folder, method)))
    # A dry run must not write, so it guesses by the system.
    patch.setattr(runner._Run, "_guess_fold", lambda run: fold_name)


def find_spelling(folder: Folder, name: str) -> str:
    """Return the spelling that a name has in a folder, or the name if there is none."""
    where = folder.path if folder._fd is None else f"/proc/self/fd/{folder._fd}"
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = os.listdir(where)
    if name in names:
        return name
    return next((each for each in names if fold_name(each) == fold_name(name)), name)


def _spelled(original: Any) -> Any:
    def call(folder: Folder, name: str, *arguments: Any, **options: Any) -> Any:
        return original(folder, find_spelling(folder, name), *arguments, **options)

    return call


def _moving(original: Any) -> Any:
    def call(folder: Folder, name: str, to: Folder, target: str) -> Any:
        source = find_spelling(folder, name)
        other = find_spelling(to, target)
        if other != target:
            # Another spelling of its own is free. That of another file is taken.
            is_itself = os.path.samestat(folder.lstat(source), to.lstat(other))
            target = target if is_itself and fold_name(source) == fold_name(target) else other
        return original(folder, source, to, target)

    return call
