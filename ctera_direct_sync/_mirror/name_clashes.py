"""Entries of the portal whose names the disk cannot hold, or does not tell apart."""

from __future__ import annotations

from collections.abc import Iterator

from .local_names import find_problem
from .spill import PathMap, Spill
from .steps import Options
from .values import Known, Remote, is_below, split

__all__ = ["drop_collisions", "drop_impossible_names"]


def drop_impossible_names(
    remote: PathMap[Remote], dropped: set[str], options: Options
) -> Iterator[tuple[str, str]]:
    """Drop entries whose names the disk cannot hold.

    Args:
        remote: What the portal has.
        dropped: Takes the paths of the entries. What is in such a folder is dropped with it.
        options: How to plan.

    Yields:
        Path and reason, once for all that is in a folder.
    """
    for path in remote:
        if is_below(path, dropped):
            continue
        parent, name = split(path)
        problem = find_problem(
            name,
            is_top=not parent,
            windows=options.windows,
            max_bytes=options.max_name_bytes,
        )
        if problem is not None:
            dropped.add(path)
            yield path, f"{problem}: rename it on the portal"


def drop_collisions(
    remote: PathMap[Remote],
    known: PathMap[Known],
    kept: PathMap[str],
    dropped: set[str],
    options: Options,
    spill: Spill,
    unreadable: frozenset[str],
) -> Iterator[tuple[str, str]]:
    """Keep one of the entries that the disk takes for the same: the one that was mirrored before.

    What was mirrored and is `unreadable` also keeps its name, although a listing lacks it.

    Args:
        remote: What the portal has.
        known: What was mirrored.
        kept: As for `plan`.
        dropped: Has the paths that do not count, and takes those of the other entries.
        options: How to plan.
        spill: Makes collections.
        unreadable: As for `plan`.

    Yields:
        Path and reason of each entry that was dropped, but not of what is in a dropped folder.
    """
    if options.fold is None:
        return
    staying = spill.texts()
    for path in known if unreadable else ():
        if path not in remote and is_below(path, unreadable):
            staying[options.fold(path)] = path
    first = spill.texts()
    clashing = spill.path_set()
    for path in remote:
        key = options.fold(path)
        other = kept.get(key) or staying.get(key) or first.setdefault(key, path)
        if other != path:
            clashing.add(key)
    first.clear()
    # Folders come before what is in them, and what was mirrored before what was not.
    order = spill.texts()
    for path in remote if clashing else ():
        if options.fold(path) in clashing:
            order[f"{path.count('/'):08}{int(path not in known)}{path}"] = path
    clashing.clear()
    for path in order.values():
        if is_below(path, dropped):
            continue
        key = options.fold(path)
        other = kept.get(key) or staying.get(key) or first.setdefault(key, path)
        if other != path:
            dropped.add(path)
            reason = (
                f"this disk does not tell its name from {split(other)[1]!r}: rename one of them on "
                "the portal"
            )
            yield path, reason
    staying.clear()
    first.clear()
    order.clear()
