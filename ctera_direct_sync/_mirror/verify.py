"""Reading a mirrored folder again, and comparing it with the checksums in its state."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Callable, Literal, NamedTuple

from .._readers.folders import Folder
from .local_names import OWN_FOLDER
from .local_tree import LocalTree, lock_own
from .state import State
from .values import split

__all__ = ["Finding", "Verdict", "verify"]

Verdict = Literal["ok", "missing", "changed", "extra"]
"""What became of a file: it is as it was mirrored, gone, different, or was never mirrored."""


class Finding(NamedTuple):
    """What was found out about one file or folder.

    Attributes:
        path: Its path in the folder.
        verdict: What became of it.
        reason: More about it, or empty.
    """

    path: str
    verdict: Verdict
    reason: str = ""


def verify(
    folder: str | os.PathLike[str], check: Callable[[], object] = lambda: None
) -> Iterator[Finding]:
    """Read every file of a mirrored folder, and compare it with its checksum.

    Args:
        folder: The folder.
        check: Called now and then. An error that it raises ends the reading.

    Yields:
        One finding for each file, mirrored or not, and one for each folder that is missing.

    Raises:
        BlockingIOError: A run is at work in the folder.
        FileNotFoundError: The folder is not mirrored.
        OSError: A folder cannot be read, or the state is damaged.
    """
    path = os.path.realpath(os.fsdecode(os.fspath(folder)))
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(Folder.open(path))
        own = LocalTree.open_own(root, make=False)
        if own is None:
            raise FileNotFoundError(
                errno.ENOENT, "no mirror was made here: name the folder that mirror was given", path
            )
        stack.callback(own.close)
        stack.callback(lock_own(own).release, remove=False)
        tree = LocalTree(root, own)
        stack.callback(tree.close)
        state = stack.enter_context(contextlib.closing(State.in_memory(own)))
        yield from _verify_folder(tree, state, "", check)
        for known in state.in_folder(f"{OWN_FOLDER}/stage").values():
            yield Finding(known.path, "missing", "a run that was cut off has yet to move it back")


def _verify_folder(
    tree: LocalTree, state: State, path: str, check: Callable[[], object]
) -> Iterator[Finding]:
    expected = state.in_folder(path)
    for found in sorted(tree.list_folder(path)):
        known = expected.pop(split(found.path)[1], None)
        if found.kind == "folder":
            if known is not None and not known.is_dir:
                yield Finding(found.path, "changed", "a folder is in the place of the file")
            yield from _verify_folder(tree, state, found.path, check)
        elif known is None:
            yield Finding(found.path, "extra")
        elif known.is_dir:
            yield Finding(found.path, "changed", "it was a folder")
            yield from _missing(state, found.path)
        elif found.kind != "file":
            yield Finding(found.path, "changed", "it is not a regular file")
        elif found.size != known.local_size:
            reason = f"it has {found.size} bytes, and had {known.local_size}"
            yield Finding(found.path, "changed", reason)
        else:
            try:
                is_right = tree.checksum(found.path, check) == known.crc32c
            except OSError as error:
                yield Finding(found.path, "changed", f"it cannot be read: {error.strerror}")
                continue
            yield Finding(
                found.path, "ok" if is_right else "changed", "" if is_right else "other bytes"
            )
    for known in expected.values():
        yield Finding(known.path, "missing")
        yield from _missing(state, known.path)


def _missing(state: State, path: str) -> Iterator[Finding]:
    for known in state.in_folder(path).values():
        yield Finding(known.path, "missing")
        yield from _missing(state, known.path)
