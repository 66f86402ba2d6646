"""Reading a mirrored folder, or that of a batch, again, and comparing it with its checksums.

The checksums of a mirror are in its state, those of a batch in its record. Journals beside the files
have those of older batches and of single downloads.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Callable, Literal, NamedTuple

from .._readers.batch_record import RECORD_NAME, read_record
from .._readers.folders import Folder, Place
from .._readers.journal import Completion, read_completion
from .._readers.part_file import OwnNames, is_journal, is_own_name, name_of_target
from .asides import Asides
from .local_tree import LocalTree
from .own_folder import STAGE_FOLDER, lock_own, open_own
from .recovery import recover
from .report import Report
from .state import State
from .values import join, split

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
    """Read every file of a mirrored folder, or of one that batches filled, and compare it.

    Args:
        folder: The folder.
        check: Called now and then. An error that it raises ends the reading.

    Yields:
        One finding for each file, known or not, and one for each mirrored folder that is missing.

    Raises:
        BlockingIOError: A run is at work in the folder.
        FileNotFoundError: Neither a mirror nor a batch has left checksums in the folder.
        OSError: A folder cannot be read, or the state is damaged.
    """
    path = os.path.realpath(os.fsdecode(os.fspath(folder)))
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(Folder.open(path))
        own = open_own(root, make=False)
        if own is None:
            tree = LocalTree(root, None)
            stack.callback(tree.close)
            count = 0
            recorded: dict[str, Completion] = {}
            for finding in _verify_batch(tree, "", recorded, check):
                count += finding.verdict != "extra"
                yield finding
            for missing in sorted(recorded):
                count += 1
                yield Finding(missing, "missing")
            if not count:
                raise FileNotFoundError(
                    errno.ENOENT,
                    "no checksums are here: name the folder that mirror or batch was given",
                    path,
                )
            return
        stack.callback(own.close)
        # Nothing can run in a folder on a medium that cannot be written.
        if not own.is_read_only():
            stack.callback(lock_own(own).release, remove=False)
        tree = LocalTree(root, own)
        stack.callback(tree.close)
        state = stack.enter_context(contextlib.closing(State.copied(own)))
        if state.get("source") is None:
            raise FileNotFoundError(
                errno.ENOENT,
                "the state of the mirror is missing or empty, so there are no checksums: run the mirror "
                "again",
                own.path,
            )
        # A run that was killed may have renamed files that the state does not know yet.
        recover(state, tree, Asides(tree, "", Report(), change=False))
        yield from _verify_folder(tree, state, "", check)
        for known in state.in_folder(STAGE_FOLDER).values():
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
        else:
            yield _compare(tree, found.path, known.crc32c, check)
    for known in expected.values():
        yield Finding(known.path, "missing")
        yield from _missing(state, known.path)


def _compare(tree: LocalTree, path: str, crc32c: int, check: Callable[[], object]) -> Finding:
    """Read a file, and compare it."""
    try:
        is_right = tree.checksum(path, check) == crc32c
    except OSError as error:
        return Finding(path, "changed", f"it cannot be read: {error.strerror}")
    return Finding(path, "ok") if is_right else Finding(path, "changed", "other bytes")


def _verify_batch(
    tree: LocalTree, path: str, recorded: dict[str, Completion], check: Callable[[], object]
) -> Iterator[Finding]:
    """Compare the files of a folder with the journals beside them, and with the record of batches.

    Args:
        tree: The folder of the batch.
        path: The folder in it.
        recorded: What the records say, by path. That of the folder is added, since each folder may be
            the folder of a batch. Files that are found are taken out.
        check: Called now and then.
    """
    entries = sorted(tree.list_folder(path))
    if any(split(each.path)[1] == RECORD_NAME for each in entries):
        # The record of a folder above may be older, and the other way round.
        for inner, completion in read_record(tree.folder(path)).items():
            target = join(path, inner)
            above = recorded.get(target)
            found_file = tree.find(target)
            is_of_above = (
                above is not None
                and found_file is not None
                and (above.size, above.mtime_ns) == (found_file.size, found_file.mtime_ns)
            )
            if not is_of_above:
                recorded[target] = completion
    journals = {split(each.path)[1] for each in entries if is_journal(split(each.path)[1])}
    for found in entries:
        name = split(found.path)[1]
        if found.kind == "folder":
            yield from _verify_batch(tree, found.path, recorded, check)
            continue
        if is_own_name(name) or name == RECORD_NAME:
            continue
        folder = tree.folder(path)
        journal = OwnNames.of(Place(folder, name, shared=True)).journal
        journals.discard(journal)
        # A journal is newer: a batch removes it once the record has the file.
        known = read_completion(folder, journal) or recorded.get(found.path)
        recorded.pop(found.path, None)
        if known is None:
            yield Finding(found.path, "extra")
        elif found.kind != "file":
            yield Finding(found.path, "changed", "it is not a regular file")
        elif found.size != known.size:
            reason = f"it has {found.size} bytes, and had {known.size}"
            yield Finding(found.path, "changed", reason)
        else:
            yield _compare(tree, found.path, known.crc32c, check)
    for journal in sorted(journals):
        if read_completion(tree.folder(path), journal) is not None:
            target = join(path, name_of_target(journal))
            recorded.pop(target, None)
            yield Finding(target, "missing")


def _missing(state: State, path: str) -> Iterator[Finding]:
    for known in state.in_folder(path).values():
        yield Finding(known.path, "missing")
        yield from _missing(state, known.path)
