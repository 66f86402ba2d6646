"""``ctera-direct changes``: what has changed on the portal, one JSON object per line."""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import stat
from collections.abc import Sequence
from typing import Any

from ..exceptions import CursorRejectedError, PathNotFoundError
from ..namespace import Namespace
from ..types import CloudFolder, Event
from .cursor_file import CursorFile
from .errors import UsageError
from .listing import add_account
from .output import Output, complain, printable, standard_output

__all__ = ["CURSOR_REJECTED", "add_changes_arguments", "changes"]

#: The exit code for a cursor that the portal no longer takes.
CURSOR_REJECTED = 3


def add_changes_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``changes`` to its parser."""
    parser.add_argument(
        "--cursor",
        metavar="FILE",
        help="go on where this file says, and keep it up to date; without it, or if there is no such "
        "file yet, everything is written first",
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        metavar="SECONDS",
        help="wait so long for further changes, each time that there are no more, or 'forever' "
        "(default: end then)",
    )
    parser.add_argument(
        "--folder",
        dest="folders",
        action="append",
        default=[],
        metavar="NAME",
        help="only this cloud folder; may be given several times; OWNER/NAME if several users have a "
        "folder of that name",
    )
    add_account(parser)


def _seconds(text: str) -> float:
    if text == "forever":
        return math.inf
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError("not a number of seconds; use a number of 0 or more")
    return seconds


def changes(names: Namespace, options: argparse.Namespace) -> int:
    """Write the events, and keep the cursor file up to date.

    Returns:
        The exit code: 3 if the portal no longer takes the cursor.
    """
    output = standard_output()
    file = None if options.cursor is None else CursorFile(options.cursor)
    cursor = None if file is None else file.read()
    folders = _find_folders(names, options.folders) if options.folders else None
    try:
        pages = names.changes(cursor, folders, options.wait)
    except ValueError:
        if cursor is None:
            raise
        raise UsageError(
            f"--cursor {printable(options.cursor)}: it was made for other cloud folders; give the "
            "same --folder as then, or another file"
        ) from None
    try:
        for page in pages:
            if page.events:
                output.write(b"".join(map(_line, page.events)))
            if file is not None and page.cursor != cursor:
                # After a crash the lines may come twice, but never not at all.
                _flush(output)
                file.write(page.cursor)
                cursor = page.cursor
    except CursorRejectedError as error:
        advice = "" if file is None else f"; delete {printable(file.path)} for that"
        complain(f"ctera-direct changes: {error.strerror}{advice}")
        return CURSOR_REJECTED
    return 0


def _find_folders(names: Namespace, wanted: Sequence[str]) -> list[int]:
    """Return the IDs of the cloud folders of some names."""
    found: dict[str, list[CloudFolder]] = {name: [] for name in wanted}
    for folder in names.folders():
        for name in {folder.name, f"{folder.owner}/{folder.name}"} & found.keys():
            found[name].append(folder)
    for name, matches in found.items():
        if not matches:
            raise PathNotFoundError("the user sees no cloud folder of this name: see ls /", name)
        if len(matches) > 1:
            owners = ", ".join(sorted(f"{each.owner}/{each.name}" for each in matches))
            raise UsageError(
                f"--folder {printable(name)}: {len(matches)} cloud folders have this name; use one "
                f"of {printable(owners)}"
            )
    return [matches[0].folder_id for matches in found.values()]


def _flush(output: Output) -> None:
    """Bring a file to the disk. A pipe has no disk."""
    fd = output.fileno()
    if stat.S_ISREG(os.fstat(fd).st_mode):
        os.fsync(fd)


def _line(event: Event) -> bytes:
    """Return an event as a line of ASCII."""
    fields: dict[str, Any] = {
        "type": event.type,
        "name": event.name,
        "deleted": event.deleted,
        "file_id": event.file_id,
        "size": event.size,
        "modified": _time(event.modified),
        "folder_id": event.folder_id,
        "guid": event.guid,
        "parent_guid": event.parent_guid,
        "raw": event.raw,
    }
    return json.dumps(fields).encode("ascii") + b"\n"


def _time(moment: datetime.datetime | None) -> str | None:
    """Return a time as ISO 8601, with Z if it is in UTC."""
    if moment is None:
        return None
    zone = "" if moment.tzinfo is None else "Z"
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + zone
