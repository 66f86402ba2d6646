"""Folders that other people may write to: what is opened in one is ours, and stays in it.

Where the platform has it, a folder is opened once and its files are named relative to that descriptor
(``openat``). A part of the path that somebody replaces by a symbolic link then changes nothing. No file
is ever opened through a symbolic link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from types import TracebackType
from typing import Any, Optional

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Folder", "ForeignFileError", "Place", "flush"]

_WINDOWS = os.name == "nt"
_HAS_DIR_FD = {os.open, os.stat, os.unlink, os.mkdir, os.rename} <= os.supports_dir_fd
_COMMON = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_FILE = _COMMON | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
# With O_PATH a folder can be opened that may be written to but not read (mode 0333).
_FOLDER = _COMMON | getattr(os, "O_PATH", 0) | getattr(os, "O_DIRECTORY", 0)

#: The longest file name on common file systems, in bytes or UTF-16 units (Windows).
_NAME_MAX_BYTES = 255

#: What the systems answer to O_NOFOLLOW at a symbolic link: Linux and macOS, FreeBSD, NetBSD.
_LINK_ERRNOS = {errno.ELOOP, errno.EMLINK, getattr(errno, "EFTYPE", errno.ELOOP)}


class ForeignFileError(PermissionError):
    """A file in a place of our own belongs to another user, or has another name elsewhere."""


class Folder:
    """A folder to open files in. A context manager; its ``path`` is for messages and programs.

    Each OSError of a method names the file by its whole path.
    """

    def __init__(self, path: str, fd: Optional[int]) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def open(cls, path: str) -> Folder:
        """Open the folder at ``path``, whose last part must not be a symbolic link."""
        return cls(path, _open_folder(path, path, None) if _HAS_DIR_FD else None)

    def child(self, name: str) -> Folder:
        """Open the folder ``name`` in this one, made if it is not there.

        Raises:
            NotADirectoryError: A file or a symbolic link is in its place.
        """
        path = self.path_of(name)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._name(name), dir_fd=self._fd)
        if not _HAS_DIR_FD or self._fd is None:
            if os.path.realpath(path) != path or not os.path.isdir(path):
                raise _not_a_folder(path)
            return Folder(path, None)
        return Folder(path, _open_folder(name, path, self._fd))

    def close(self) -> None:
        """Close the folder's descriptor; do it once nothing in the folder is needed any more."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # An interrupt may come between the opening and the `with`.
        self.close()

    def path_of(self, name: str) -> str:
        """Return the path of a file in the folder."""
        return os.path.join(self.path, name)

    def create(self, name: str, flags: int) -> int:
        """Make a new file and open it; FileExistsError where anything has the name, a link included."""
        flags |= os.O_CREAT | os.O_EXCL | _FILE
        try:
            return os.open(self._name(name), flags, 0o666, dir_fd=self._fd)
        except OSError as error:
            error.filename = self.path_of(name)
            raise

    def open_own(self, name: str, flags: int) -> int:
        """Open a file that is there: a regular one, of this process's user.

        Raises:
            ForeignFileError: The file belongs to another user.
            FileExistsError: A symbolic link, a folder, a pipe or a device has the name.
        """
        path = self.path_of(name)
        if not hasattr(os, "O_NOFOLLOW"):
            self._check_regular(self.lstat(name), path)
        try:
            fd = os.open(self._name(name), flags | _FILE, dir_fd=self._fd)
        except OSError as error:
            error.filename = path
            # A folder, a socket or a device without a driver is refused by the system's own rules.
            if error.errno in _LINK_ERRNOS | {errno.EISDIR, errno.ENXIO}:
                raise _not_a_file(path) from None
            raise
        try:
            found = os.fstat(fd)
            self._check_regular(found, path)
            if not hasattr(os, "O_NOFOLLOW") and not os.path.samestat(found, self.lstat(name)):
                raise _not_a_file(path)
            if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
                self._check_owner(found.st_uid, path)
        except BaseException:
            os.close(fd)
            raise
        return fd

    @staticmethod
    def _check_regular(found: os.stat_result, path: str) -> None:
        # Windows: a junction or another reparse point leads elsewhere, as a symbolic link does.
        reparse = getattr(found, "st_file_attributes", 0) & 0x400
        if not stat.S_ISREG(found.st_mode) or reparse:
            raise _not_a_file(path)

    def _check_owner(self, owner: int, path: str) -> None:
        """Raise ForeignFileError unless this file system gives all our files to that user.

        Network file systems may map users (``all_squash``), and FAT has one owner for all files.
        """
        name = f".ctera-{os.getpid()}-{os.urandom(8).hex()}.ctera-part"
        fd = self.create(name, os.O_WRONLY)
        try:
            ours = os.fstat(fd).st_uid
        finally:
            os.close(fd)
            self.unlink(name)
        if owner != ours:
            raise ForeignFileError(
                errno.EACCES,
                "this file of an earlier download belongs to another user: remove it, or choose "
                "another folder",
                path,
            )

    def lstat(self, name: str) -> os.stat_result:
        """Return what is known of a name; of a symbolic link itself, not of what it leads to."""
        try:
            return os.stat(self._name(name), dir_fd=self._fd, follow_symlinks=False)
        except OSError as error:
            error.filename = self.path_of(name)
            raise

    def unlink(self, name: str) -> None:
        """Remove a file, or a link, but not what it leads to."""
        os.unlink(self._name(name), dir_fd=self._fd)

    def replace(self, name: str, target: str) -> None:
        """Give a file another name, in place of what has that name."""
        try:
            if self._fd is None:
                os.replace(self._name(name), self._name(target))
            else:
                os.replace(name, target, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except OSError as error:
            error.filename, error.filename2 = self.path_of(name), self.path_of(target)
            raise

    def flush(self) -> None:
        """Make renamings durable. Windows has no way to; the folder must be readable."""
        if _WINDOWS:
            return
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
        name = self.path if self._fd is None else os.curdir
        fd = os.open(name, flags, dir_fd=self._fd)
        try:
            flush(fd)
        finally:
            os.close(fd)

    def longest_name(self) -> int:
        """Return how many bytes a file name may have: 255, or fewer, as with eCryptfs (143)."""
        try:
            where: Any = self.path if self._fd is None else self._fd
            return min(os.pathconf(where, "PC_NAME_MAX"), _NAME_MAX_BYTES)
        except (OSError, ValueError, AttributeError):
            return _NAME_MAX_BYTES

    def is_mount_point(self, name: str) -> bool:
        """Return whether a file is mounted by itself, as a Docker volume of one file. Linux only."""
        if self._fd is None or not hasattr(os, "O_PATH"):
            return False
        try:
            fd = os.open(name, os.O_PATH | _COMMON, dir_fd=self._fd)
            try:
                return _mount_id(fd) != _mount_id(self._fd)
            finally:
                os.close(fd)
        except (OSError, ValueError, IndexError):
            return False

    def _name(self, name: str) -> str:
        return self.path_of(name) if self._fd is None else name


class Place:
    """Where a file is to be: a name in an opened folder. A context manager that closes the folder.

    ``shared``: the folder is another's, which closes it.
    """

    def __init__(self, folder: Folder, name: str, *, shared: bool = False) -> None:
        self.folder = folder
        self.name = name
        self._shared = shared

    @classmethod
    def of(cls, path: str) -> Place:
        """Open the folder of a path; symbolic links in it should be resolved before."""
        folder, name = os.path.split(path)
        return cls(Folder.open(folder or os.curdir), name)

    def __fspath__(self) -> str:
        return self.folder.path_of(self.name)

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if not self._shared:
            self.folder.close()

    def check(self) -> Optional[os.stat_result]:
        """Return what is known of the file that is there, or None where nothing is.

        Raises:
            FileExistsError: Something else than a regular file has the name.
        """
        try:
            found = self.folder.lstat(self.name)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            raise _not_a_file(os.fspath(self))
        return found


def flush(fd: int) -> None:
    """Make a file, or a folder, durable."""
    os.fsync(fd)
    # macOS: fsync reaches the drive, F_FULLFSYNC the medium.
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        # Not every file system there knows it, network ones for example.
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, full)


def _open_folder(name: str, path: str, dir_fd: Optional[int]) -> Optional[int]:
    try:
        return os.open(name, _FOLDER, dir_fd=dir_fd)
    except PermissionError as error:
        error.filename = path
        if hasattr(os, "O_PATH") or dir_fd is not None:
            raise
        # A folder that cannot be read: its files are named by their whole paths.
        return None
    except OSError as error:
        error.filename = path
        # A folder that the caller named is told as the system does; below it, a link may be planted.
        if dir_fd is not None and error.errno in _LINK_ERRNOS | {errno.ENOTDIR}:
            raise _not_a_folder(path) from None
        raise


def _not_a_file(path: str) -> FileExistsError:
    return FileExistsError(
        errno.EEXIST,
        "a symbolic link, or another thing than a regular file, is here: remove it",
        path,
    )


def _not_a_folder(path: str) -> NotADirectoryError:
    return NotADirectoryError(
        errno.ENOTDIR, "a symbolic link, or another thing than a folder, is here: remove it", path
    )


def _mount_id(fd: int) -> int:
    with open(f"/proc/self/fdinfo/{fd}", "rb", buffering=0) as file:
        return int(file.read().split(b"mnt_id:")[1].split()[0])
