"""The mirror's own folder in the mirrored one: making it, opening it, and locking it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from .._readers.folders import Folder, ForeignFileError
from .._readers.locks import LockedFile
from .local_names import OWN_FOLDER

__all__ = [
    "ASIDE_FOLDER",
    "DOWNLOADS_FOLDER",
    "STAGE_FOLDER",
    "TRASH_FOLDER",
    "lock_own",
    "open_own",
]

_LOCK_NAME = "lock"
_SUBFOLDERS = ("stage", "aside", "trash", "downloads")

#: The folders of the files that are between their old and their new path, of those that give way, of
#: those that were deleted, and of downloads that are not in their place yet.
STAGE_FOLDER, ASIDE_FOLDER, TRASH_FOLDER, DOWNLOADS_FOLDER = (
    f"{OWN_FOLDER}/{name}" for name in _SUBFOLDERS
)


def open_own(root: Folder, *, make: bool) -> Folder | None:
    """Open the mirror's own folder, which only this user may enter.

    Args:
        root: The mirrored folder.
        make: Whether to make it if it does not exist.

    Raises:
        ForeignFileError: It belongs to another user.
        NotADirectoryError: A file or a symbolic link has its name.
    """
    try:
        if make:
            with contextlib.suppress(FileExistsError):
                root.make_folder(OWN_FOLDER, 0o700)
        found = root.lstat(OWN_FOLDER)
    except FileNotFoundError:
        if make:
            raise
        return None
    own = root.existing(OWN_FOLDER)
    try:
        is_own = False
        # Where no file can be made, the owner is another user.
        with contextlib.suppress(OSError):
            is_own = own.is_own(found)
        if not is_own:
            raise ForeignFileError(
                errno.EACCES,
                "this folder of a mirror belongs to another user: mirror as that user, or choose "
                "another folder",
                own.path,
            )
        if make and os.name != "nt" and stat.S_IMODE(found.st_mode) != 0o700:
            # Some file systems, such as FAT, have no permissions.
            with contextlib.suppress(OSError):
                os.chmod(own.path, 0o700)
        if make:
            for name in _SUBFOLDERS:
                with contextlib.suppress(FileExistsError):
                    own.make_folder(name, 0o700)
                    # A power cut must not take the state away, and leave the files.
                    own.flush()
                    root.flush()
    except BaseException:
        own.close()
        raise
    return own


def lock_own(own: Folder) -> LockedFile:
    """Keep other runs out of a mirrored folder, until the lock is released.

    Args:
        own: The mirror's own folder.

    Raises:
        BlockingIOError: Another run is at work.
    """
    try:
        return LockedFile(own, _LOCK_NAME)
    except BlockingIOError:
        raise BlockingIOError(
            errno.EAGAIN,
            "another run is at work in this folder: wait until it is done",
            os.path.dirname(own.path),
        ) from None
