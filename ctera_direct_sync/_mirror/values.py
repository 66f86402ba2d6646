"""What the planner compares: what was mirrored, what the portal has, and what is on the disk.

All paths are relative to the mirrored folder, with `/` between their parts.
"""

from __future__ import annotations

import datetime
from typing import Literal, NamedTuple

from ..types import Entry

__all__ = [
    "Known",
    "Local",
    "LocalKind",
    "Remote",
    "is_below",
    "is_other_folder",
    "is_same_content",
    "join",
    "parents_of",
    "remote_of",
    "split",
]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)

LocalKind = Literal["file", "folder", "other"]
"""What has a name on the disk. A symbolic link is "other"."""


class Remote(NamedTuple):
    """A file or folder of the portal.

    Attributes:
        path: Its path below the source.
        is_dir: Whether it is a folder.
        file_id: The file ID, or None.
        size: The size of a file in bytes, or None.
        modified: The time of a listing, in nanoseconds since the epoch, or None.
        folder_id: The ID of the cloud folder, or None.
        mtime_ns: The time that the local file gets, in nanoseconds since the epoch, or None.
    """

    path: str
    is_dir: bool
    file_id: int | None = None
    size: int | None = None
    modified: int | None = None
    folder_id: int | None = None
    mtime_ns: int | None = None


class Known(NamedTuple):
    """A file or folder that was mirrored, as the state remembers it.

    The five attributes from `local_size` on describe the local file at the time when it was mirrored.

    Attributes:
        id: Its number in the state.
        path: Where it is.
        is_dir: Whether it is a folder.
        file_id: As in `Remote`, as the next three.
        size: The size that the portal told.
        modified: The time of a listing.
        folder_id: The ID of the cloud folder.
        local_size: The size of the local file, in bytes.
        mtime_ns: The time of its last change, in nanoseconds.
        inode: Its inode number.
        crc32c: The CRC32C of its bytes.
        ctime_ns: The time of the last change of its status, in nanoseconds. 0: unknown.
        stale: Whether the change feed tells that the content is another one by now.
    """

    id: int
    path: str
    is_dir: bool
    file_id: int | None = None
    size: int | None = None
    modified: int | None = None
    folder_id: int | None = None
    local_size: int = 0
    mtime_ns: int = 0
    inode: int = 0
    crc32c: int = 0
    ctime_ns: int = 0
    stale: bool = False


class Local(NamedTuple):
    """What is at a path on the disk.

    Attributes:
        path: The path.
        kind: What it is.
        size: The size in bytes.
        mtime_ns: The time of the last change, in nanoseconds.
        inode: The inode number.
        clean: Whether it is what was mirrored. False if it was changed here, or was never mirrored.
        ctime_ns: The time of the last change of its status, in nanoseconds. 0: unknown.
    """

    path: str
    kind: LocalKind
    size: int = 0
    mtime_ns: int = 0
    inode: int = 0
    clean: bool = False
    ctime_ns: int = 0


def remote_of(entry: Entry, path: str) -> Remote:
    """Return what a listing tells of something.

    Args:
        entry: The entry of the listing.
        path: Its path below the source.
    """
    modified = None
    if entry.modified is not None:
        moment = entry.modified
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.timezone.utc)
        modified = (moment - _EPOCH) // datetime.timedelta(microseconds=1) * 1000
    return Remote(
        path,
        entry.is_dir,
        entry.file_id,
        None if entry.is_dir else entry.size,
        None if entry.is_dir else modified,
        entry.folder_id,
        modified,
    )


def is_same_content(known: Known, remote: Remote) -> bool:
    """Return whether the portal tells nothing that speaks for other bytes than those mirrored."""
    if known.is_dir != remote.is_dir:
        return False
    if remote.is_dir:
        return True
    if known.stale:
        return False
    if (known.file_id, known.size) != (remote.file_id, remote.size):
        return False
    return None in (known.modified, remote.modified) or known.modified == remote.modified


def is_other_folder(known: Known, remote: Remote) -> bool:
    """Return whether another cloud folder has taken the name of the one that was mirrored."""
    return None not in (known.folder_id, remote.folder_id) and known.folder_id != remote.folder_id


def split(path: str) -> tuple[str, str]:
    """Return the folder of a path, and its name in that folder."""
    parent, _, name = path.rpartition("/")
    return parent, name


def join(folder: str, name: str) -> str:
    """Return the path of a name in a folder, as `split` takes it apart."""
    return f"{folder}/{name}" if folder else name


def parents_of(path: str) -> list[str]:
    """Return the folders above a path, the highest first."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def is_below(path: str, folders: frozenset[str] | set[str]) -> bool:
    """Return whether a path is one of the folders, or is below one. The empty path is above all."""
    if not folders:
        return False
    return "" in folders or path in folders or any(each in folders for each in parents_of(path))
