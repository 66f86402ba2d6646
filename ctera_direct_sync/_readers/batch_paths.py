"""The paths of a batch's items: which ones are refused, and where the others lead."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator

from .batch_record import RECORD_NAME
from .folders import Folder, Place
from .locks import LockedFile
from .part_file import is_own_name
from .targets import descriptor_of

__all__ = ["PathResolver", "check_path", "flush_folder", "lock_folder", "make_target"]

_LOCK_NAME = ".ctera-batch.lock"
#: Names of batches' own files, and of those that are about to become them.
_OWN_NAMES = {_LOCK_NAME, RECORD_NAME, RECORD_NAME + ".new"}

#: Names of devices on Windows, with any extension.
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def check_path(path: str, *, windows: bool = os.name == "nt") -> None:
    """Raise an error for a path that might not stay in its folder.

    A path that would lead out of the folder on any system is refused on all, so that a manifest means
    the same everywhere.

    Args:
        path: The path, relative to the folder.
        windows: Whether to refuse names that Windows treats in a special way.

    Raises:
        ValueError: The path is refused; the message says why.
    """
    parts = re.split(r"[/\\]", path)
    problem = None
    if not path:
        problem = "is empty"
    elif "\0" in path:
        problem = "holds a NUL character"
    elif not parts[0] or re.match("[A-Za-z]:", path):
        problem = "is absolute: give it relative to the folder"
    elif ".." in parts:
        problem = "holds '..', which may lead out of the folder"
    elif parts[-1] in ("", "."):
        problem = "names a folder: name a file in it"
    elif is_own_name(parts[-1]) or parts[-1].lower() in _OWN_NAMES:
        problem = "is a name that downloads keep for themselves"
    elif windows and any(_is_special_on_windows(part) for part in parts):
        problem = "holds a name that Windows has another meaning for"
    if problem:
        raise ValueError(f"path {path!r} {problem}")


def _is_special_on_windows(part: str) -> bool:
    return bool(":" in part or _DEVICE.fullmatch(part) or part not in (".", part.rstrip(". ")))


class PathResolver:
    """Tells where the paths of a batch lead. Each folder is looked up once.

    A link that appears in a folder later is found when the folder is opened.

    Args:
        root: The folder of the batch, without symbolic links.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        #: The paths without symbolic links of the folders, which may not exist yet.
        self._folders: dict[str, str] = {}

    def resolve(self, path: str) -> str:
        """Return the absolute path that an item's path leads to, without symbolic links.

        Args:
            path: The path of the item, relative to the folder of the batch.

        Raises:
            ValueError: The path leads out of the folder, or is refused for another reason.
        """
        check_path(path)
        joined = os.path.join(self._root, path)
        above, name = os.path.split(joined)
        folder = self._folders.get(above)
        if folder is None:
            folder = self._folders[above] = os.path.realpath(above)
        resolved = os.path.join(folder, name)
        # On Windows, a file may have a short name, too.
        if os.name == "nt" or os.path.islink(resolved):
            if descriptor_of(joined) is not None:
                raise ValueError(
                    f"path {path!r} is an open descriptor: name a file, a batch writes no streams"
                )
            resolved = os.path.realpath(joined)
        if resolved == self._root or os.path.commonpath([self._root, resolved]) != self._root:
            raise ValueError(f"path {path!r} leads out of the folder by a symbolic link")
        return resolved


@contextlib.contextmanager
def make_target(root: Folder, resolved: str, path: str) -> Iterator[Place]:
    """Make the folders above a file, and open the last one.

    The file can then not end up elsewhere: a symbolic link that appears meanwhile is an error.

    Args:
        root: The folder of the batch.
        resolved: The absolute path of the file, without symbolic links.
        path: The path of the item, for errors.

    Yields:
        The place of the file.

    Raises:
        NotADirectoryError: A file or a symbolic link has the name of a folder.
    """
    *folders, name = _parts(root, resolved)
    with contextlib.ExitStack() as stack:
        folder = root
        for part in folders:
            try:
                folder = stack.enter_context(folder.child(part))
            except NotADirectoryError as error:
                raise NotADirectoryError(
                    errno.ENOTDIR,
                    f"path {path!r}: a file is in the place of a folder, or a folder became a symbolic "
                    "link meanwhile",
                    error.filename,
                ) from None
        yield Place(folder, name, shared=True, flush=False)


def flush_folder(root: Folder, resolved: str) -> None:
    """Flush the renamings in a folder to the disk.

    Args:
        root: The folder of the batch.
        resolved: The absolute path of the folder, without symbolic links.

    Raises:
        OSError: The folder cannot be read or flushed, or is no longer there.
    """
    with contextlib.ExitStack() as stack:
        folder = root
        for part in _parts(root, resolved):
            folder = stack.enter_context(folder.existing(part))
        folder.flush()


def _parts(root: Folder, resolved: str) -> list[str]:
    """Return the names below the folder of the batch that a path consists of."""
    # Both are absolute and without symbolic links, so one begins with the other.
    below = resolved[len(root.path) :].strip(os.sep)
    return below.split(os.sep) if below else []


@contextlib.contextmanager
def lock_folder(folder: Folder) -> Iterator[None]:
    """Keep other batches out of a folder.

    Args:
        folder: The folder, which holds a lock file meanwhile.

    Raises:
        BlockingIOError: Another batch fills the folder.
    """
    try:
        lock = LockedFile(folder, _LOCK_NAME)
    except BlockingIOError:
        raise BlockingIOError(
            errno.EAGAIN, "another batch fills this folder: wait until it is done", folder.path
        ) from None
    try:
        yield
    finally:
        lock.release(remove=True)
