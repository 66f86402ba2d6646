"""Entries of the portal whose names the disk cannot hold, or does not tell apart."""

from __future__ import annotations

from collections.abc import Mapping

from .local_names import find_problem
from .steps import Options
from .values import Known, Remote, split

__all__ = ["drop_collisions", "drop_impossible_names"]


def drop_impossible_names(remote: dict[str, Remote], options: Options) -> list[tuple[str, str]]:
    """Drop entries whose names the disk cannot hold.

    Args:
        remote: What the portal has, by path. The entries are dropped from it.
        options: How to plan.

    Returns:
        Path and reason, once for all that is in a folder.
    """
    failed: list[tuple[str, str]] = []
    dropped: set[str] = set()
    for path in sorted(remote, key=lambda each: each.split("/")):
        parent, name = split(path)
        if parent in dropped:
            dropped.add(path)
            continue
        problem = find_problem(
            name,
            is_top=not parent,
            windows=options.windows,
            max_bytes=options.max_name_bytes,
        )
        if problem is not None:
            dropped.add(path)
            failed.append((path, f"{problem}: rename it on the portal"))
    for path in dropped:
        del remote[path]
    return failed


def drop_collisions(
    remote: dict[str, Remote],
    known: Mapping[str, Known],
    kept: Mapping[str, str],
    options: Options,
) -> list[tuple[str, str]]:
    """Keep one of the entries that the disk takes for the same: the one that was mirrored before.

    Args:
        remote: What the portal has, by path. The other entries are dropped from it.
        known: What was mirrored, by path.
        kept: As for `plan`.
        options: How to plan.

    Returns:
        Path and reason of each entry that was dropped, but not of what is in a dropped folder.
    """
    failed: list[tuple[str, str]] = []
    if options.fold is None:
        return failed
    first: dict[str, str] = dict(kept)
    dropped: set[str] = set()
    order = sorted(remote, key=lambda each: (each.count("/"), each not in known, each))
    for path in order:
        if split(path)[0] in dropped:
            dropped.add(path)
            continue
        other = first.setdefault(options.fold(path), path)
        if other != path:
            dropped.add(path)
            reason = (
                f"this disk does not tell its name from {split(other)[1]!r}: rename one of them on "
                "the portal"
            )
            failed.append((path, reason))
    for path in dropped:
        del remote[path]
    return failed
