"""Opening files in folders that other users may write to.

A file that is opened for writing belongs to this process's user, and lies in the folder. No file is
ever opened through a symbolic link.

If the platform allows it, a folder is opened once, and its files are named relative to that descriptor
(`openat`). So it changes nothing if a part of the path becomes a symbolic link meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from types import TracebackType
from typing import Any

from .exclusive_rename import rename_exclusively

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Folder", "ForeignFileError", "Place", "flush", "is_reparse_point"]

_WINDOWS = os.name == "nt"
_HAS_DIR_FD = {os.open, os.stat, os.unlink, os.mkdir, os.rename} <= os.supports_dir_fd
_COMMON_FLAGS = (
    getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
)
_FILE_FLAGS = _COMMON_FLAGS | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
# O_PATH also opens a folder that may be written to but not read (mode 0333).
_FOLDER_FLAGS = _COMMON_FLAGS | getattr(os, "O_PATH", 0) | getattr(os, "O_DIRECTORY", 0)

#: The longest file name on common file systems, in bytes or UTF-16 units (Windows).
_NAME_MAX_BYTES = 255

#: The errors of O_NOFOLLOW at a symbolic link: Linux and macOS, FreeBSD, NetBSD.
_LINK_ERRNOS = {errno.ELOOP, errno.EMLINK, getattr(errno, "EFTYPE", errno.ELOOP)}

#: The errors of `link` where a file cannot get a second name: such as FAT, and files of other users.
_NO_LINK_ERRNOS = {
    errno.EPERM, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP,
}  # fmt: skip


class ForeignFileError(PermissionError):
    """A part file, journal or lock file belongs to another user, or has a second name (a hard link)."""


class Folder:
    """A folder to open files in, and a context manager that closes it.

    Each OSError of a method names the file by its whole path.

    Args:
        path: The path of the folder.
        fd: A descriptor of the folder; None: its files are named by their whole paths.

    Attributes:
        path: The path of the folder, for messages.
    """

    def __init__(self, path: str, fd: int | None) -> None:
        self.path = path
        self._fd = fd
        # What comes before a name: messages need paths of files that are nowhere in trouble, so it is fast.
        self._prefix = os.path.join(path, "")

    @classmethod
    def open(cls, path: str) -> Folder:
        """Open the folder at a path, whose last part must not be a symbolic link."""
        return cls(path, _open_folder(path, path, None) if _HAS_DIR_FD else None)

    def child(self, name: str) -> Folder:
        """Open a folder in this one. It is made if it does not exist.

        Args:
            name: The name of the folder.

        Raises:
            NotADirectoryError: The name belongs to a file or a symbolic link.
        """
        path = self.path_of(name)
        if _HAS_DIR_FD and self._fd is not None:
            # Most folders exist: many files have the same one.
            with contextlib.suppress(FileNotFoundError):
                return Folder(path, _open_folder(name, path, self._fd))
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._name(name), dir_fd=self._fd)
        if not _HAS_DIR_FD or self._fd is None:
            if os.path.realpath(path) != path or not os.path.isdir(path):
                raise _not_a_folder(path)
            return Folder(path, None)
        return Folder(path, _open_folder(name, path, self._fd))

    def existing(self, name: str) -> Folder:
        """Open a folder in this one, which must exist.

        Args:
            name: The name of the folder.

        Raises:
            FileNotFoundError: There is nothing of this name.
            NotADirectoryError: The name belongs to a file or a symbolic link.
        """
        path = self.path_of(name)
        if not _HAS_DIR_FD or self._fd is None:
            found = self.lstat(name)
            if not stat.S_ISDIR(found.st_mode) or os.path.realpath(path) != path:
                raise _not_a_folder(path)
            return Folder(path, None)
        return Folder(path, _open_folder(name, path, self._fd))

    def close(self) -> None:
        """Close the descriptor of the folder. Its methods can no longer be used."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # An interrupt may come between the opening and the `with`.
        self.close()

    def path_of(self, name: str) -> str:
        """Return the path of a file in the folder."""
        return self._prefix + name

    def create(self, name: str, flags: int) -> int:
        """Make a new file and open it.

        Args:
            name: The name of the file.
            flags: Flags for `os.open`.

        Returns:
            The descriptor.

        Raises:
            FileExistsError: The name is taken, if only by a symbolic link.
        """
        flags |= os.O_CREAT | os.O_EXCL | _FILE_FLAGS
        try:
            return os.open(self._name(name), flags, 0o666, dir_fd=self._fd)
        except OSError as error:
            error.filename = self.path_of(name)
            raise

    def open_own(self, name: str, flags: int) -> int:
        """Open an existing regular file of this process's user.

        Args:
            name: The name of the file.
            flags: Flags for `os.open`.

        Returns:
            The descriptor.

        Raises:
            ForeignFileError: The file belongs to another user.
            FileExistsError: The name belongs to a symbolic link, a folder, a pipe or a device.
        """
        path = self.path_of(name)
        if not hasattr(os, "O_NOFOLLOW"):
            self._check_regular(self.lstat(name), path)
        try:
            fd = os.open(self._name(name), flags | _FILE_FLAGS, dir_fd=self._fd)
        except OSError as error:
            error.filename = path
            # The system itself refuses a folder, a socket and a device without a driver.
            if error.errno in _LINK_ERRNOS | {errno.EISDIR, errno.ENXIO}:
                raise _not_a_file(path) from None
            raise
        try:
            found = os.fstat(fd)
            self._check_regular(found, path)
            if not hasattr(os, "O_NOFOLLOW") and not os.path.samestat(found, self.lstat(name)):
                raise _not_a_file(path)
            if not self.is_own(found):
                raise ForeignFileError(
                    errno.EACCES,
                    "this file of an earlier download belongs to another user: remove it, or choose "
                    "another folder",
                    path,
                )
        except BaseException:
            os.close(fd)
            raise
        return fd

    @staticmethod
    def _check_regular(found: os.stat_result, path: str) -> None:
        if not stat.S_ISREG(found.st_mode) or is_reparse_point(found):
            raise _not_a_file(path)

    def is_own(self, found: os.stat_result) -> bool:
        """Return whether something has the owner that a new file of this process in the folder gets.

        Network file systems may map users (`all_squash`), and FAT has one owner for all files. So if
        the owner is another user, a file is made, and removed.

        Args:
            found: The status.

        Raises:
            OSError: No file can be made.
        """
        if not hasattr(os, "geteuid") or found.st_uid == os.geteuid():
            return True
        name = f".ctera-{os.getpid()}-{os.urandom(8).hex()}.ctera-part"
        fd = self.create(name, os.O_WRONLY)
        try:
            return os.fstat(fd).st_uid == found.st_uid
        finally:
            os.close(fd)
            self.unlink(name)

    def lstat(self, name: str) -> os.stat_result:
        """Return the status of a name: of a symbolic link itself, not of the file that it leads to."""
        try:
            return os.stat(self._name(name), dir_fd=self._fd, follow_symlinks=False)
        except OSError as error:
            error.filename = self.path_of(name)
            raise

    def unlink(self, name: str) -> None:
        """Remove a file, or a symbolic link itself."""
        try:
            os.unlink(self._name(name), dir_fd=self._fd)
        except OSError as error:
            error.filename = self.path_of(name)
            raise

    def replace(self, name: str, target: str) -> None:
        """Rename a file, and replace the file that has the new name.

        Args:
            name: The present name.
            target: The new name.
        """
        self.move(name, self, target)

    def move(self, name: str, folder: Folder, target: str) -> None:
        """Rename a file or folder into another folder. A file that has the new name is replaced.

        Args:
            name: The present name in this folder.
            folder: The other folder, on the same disk.
            target: The new name.
        """
        try:
            if self._fd is None or folder._fd is None:
                os.replace(self.path_of(name), folder.path_of(target))
            else:
                os.replace(name, target, src_dir_fd=self._fd, dst_dir_fd=folder._fd)
        except OSError as error:
            error.filename, error.filename2 = self.path_of(name), folder.path_of(target)
            raise

    def move_exclusively(self, name: str, folder: Folder, target: str) -> bool:
        """Rename a file or folder into another folder in one step, unless the new name is taken.

        Args:
            name: The present name in this folder.
            folder: The other folder, on the same disk.
            target: The new name.

        Returns:
            False if this system or disk cannot do it. Nothing was changed then.

        Raises:
            FileExistsError: The new name is taken.
        """
        try:
            if _WINDOWS:
                os.rename(self.path_of(name), folder.path_of(target))
                return True
            return rename_exclusively(self._fd, self._name(name), folder._fd, folder._name(target))
        except OSError as error:
            error.filename, error.filename2 = self.path_of(name), folder.path_of(target)
            raise

    def move_to_free(self, name: str, folder: Folder, target: str) -> None:
        """Rename a file into another folder, and never replace what has the new name.

        Without hard links and `move_exclusively`, what gets the new name at the very moment is still
        replaced. With hard links alone, what gets the old name at the very moment is removed.

        Args:
            name: The present name in this folder.
            folder: The other folder, on the same disk.
            target: The new name.

        Raises:
            FileExistsError: The new name is taken.
        """
        if self.move_exclusively(name, folder, target):
            return
        try:
            # A renaming would replace the file. A link never does.
            if self._fd is None or folder._fd is None:
                os.link(self.path_of(name), folder.path_of(target), follow_symlinks=False)
            else:
                os.link(
                    name,
                    target,
                    src_dir_fd=self._fd,
                    dst_dir_fd=folder._fd,
                    follow_symlinks=False,
                )
        except OSError as error:
            if error.errno in _NO_LINK_ERRNOS:
                self.move(name, folder, target)
                return
            error.filename, error.filename2 = self.path_of(name), folder.path_of(target)
            raise
        except NotImplementedError:
            self.move(name, folder, target)
            return
        try:
            self.unlink(name)
        except OSError as error:
            with contextlib.suppress(OSError):
                folder.unlink(target)
            error.filename, error.filename2 = self.path_of(name), folder.path_of(target)
            raise

    def make_folder(self, name: str, mode: int = 0o777) -> None:
        """Make a folder in this one."""
        try:
            os.mkdir(self._name(name), mode, dir_fd=self._fd)
        except OSError as error:
            error.filename = self.path_of(name)
            raise

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder."""
        try:
            os.rmdir(self._name(name), dir_fd=self._fd)
        except OSError as error:
            error.filename = self.path_of(name)
            raise

    def names(self) -> list[tuple[str, os.stat_result]]:
        """Return the names in the folder, each with its status. Symbolic links are not followed.

        The folder must be readable. What is removed meanwhile is left out.
        """
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
        fd = None
        found = []
        try:
            if self._fd is not None:
                fd = os.open(os.curdir, flags, dir_fd=self._fd)
            with os.scandir(self.path if fd is None else fd) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        # On Windows, only os.lstat tells the inode number.
                        status = (
                            self.lstat(entry.name)
                            if _WINDOWS
                            else entry.stat(follow_symlinks=False)
                        )
                        found.append((entry.name, status))
        except OSError as error:
            error.filename = self.path
            raise
        finally:
            if fd is not None:
                os.close(fd)
        return found

    def open_to_read(self, name: str) -> int:
        """Open a regular file of any user for reading. Return the descriptor.

        Raises:
            FileExistsError: The name belongs to something else than a regular file.
        """
        path = self.path_of(name)
        self._check_regular(self.lstat(name), path)
        try:
            fd = os.open(self._name(name), os.O_RDONLY | _FILE_FLAGS, dir_fd=self._fd)
        except OSError as error:
            error.filename = path
            if error.errno in _LINK_ERRNOS:
                raise _not_a_file(path) from None
            raise
        try:
            self._check_regular(os.fstat(fd), path)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def is_read_only(self) -> bool:
        """Return whether nothing in the folder can change, as on a medium that is read-only."""
        return not os.access(self.path, os.W_OK)

    def flush(self) -> None:
        """Flush renamings to the disk. The folder must be readable. On Windows this does nothing."""
        if _WINDOWS:
            return
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
        name = self.path if self._fd is None else os.curdir
        try:
            fd = os.open(name, flags, dir_fd=self._fd)
        except OSError as error:
            error.filename = self.path
            raise
        try:
            flush(fd)
        finally:
            os.close(fd)

    def longest_name(self) -> int:
        """Return how many bytes a file name may have: 255, or fewer, such as 143 (eCryptfs)."""
        try:
            where: Any = self.path if self._fd is None else self._fd
            return min(os.pathconf(where, "PC_NAME_MAX"), _NAME_MAX_BYTES)
        except (OSError, ValueError, AttributeError):
            return _NAME_MAX_BYTES

    def is_mount_point(self, name: str) -> bool:
        """Return whether a file is a mount point, such as a Docker volume of one file. Linux only."""
        if self._fd is None or not hasattr(os, "O_PATH"):
            return False
        try:
            fd = os.open(name, os.O_PATH | _COMMON_FLAGS, dir_fd=self._fd)
            try:
                return _mount_id(fd) != _mount_id(self._fd)
            finally:
                os.close(fd)
        except (OSError, ValueError, IndexError):
            return False

    def _name(self, name: str) -> str:
        return self.path_of(name) if self._fd is None else name


class Place:
    """The place of a file: a name in an opened folder.

    It is a context manager that closes the folder.

    Args:
        folder: The folder.
        name: The name in the folder.
        shared: Whether the caller closes the folder, instead of the context manager.
        flush: Whether who renames a file to this place flushes the folder. Otherwise the caller does.

    Attributes:
        folder: The folder.
        name: The name in the folder.
        flush: As the argument.
    """

    def __init__(
        self, folder: Folder, name: str, *, shared: bool = False, flush: bool = True
    ) -> None:
        self.folder = folder
        self.name = name
        self.flush = flush
        self._shared = shared

    @classmethod
    def of(cls, path: str) -> Place:
        """Open the folder of a path, from which symbolic links should be resolved before."""
        folder, name = os.path.split(path)
        return cls(Folder.open(folder or os.curdir), name)

    def __fspath__(self) -> str:
        return self.folder.path_of(self.name)

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._shared:
            self.folder.close()

    def check(self) -> os.stat_result | None:
        """Return the status of the file, or None if the name is free.

        Raises:
            FileExistsError: The name belongs to something else than a regular file.
        """
        try:
            found = self.folder.lstat(self.name)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            raise _not_a_file(os.fspath(self))
        return found


def is_reparse_point(found: os.stat_result) -> bool:
    """Return whether something is a junction or the like, which leads elsewhere as a link. Windows only."""
    return bool(getattr(found, "st_file_attributes", 0) & 0x400)


def flush(fd: int) -> None:
    """Flush a file or a folder to the disk, by its descriptor."""
    os.fsync(fd)
    # On macOS, fsync only reaches the drive. F_FULLFSYNC reaches the medium.
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)
    if full_sync is not None:
        # Some file systems do not know it, such as network ones.
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, full_sync)


def _open_folder(name: str, path: str, dir_fd: int | None) -> int | None:
    try:
        return os.open(name, _FOLDER_FLAGS, dir_fd=dir_fd)
    except PermissionError as error:
        error.filename = path
        if hasattr(os, "O_PATH") or dir_fd is not None:
            raise
        # The folder cannot be read, so its files are named by their whole paths.
        return None
    except OSError as error:
        error.filename = path
        # Below the folder that the caller named, another user may have planted a link.
        if dir_fd is not None and error.errno in _LINK_ERRNOS | {errno.ENOTDIR}:
            raise _not_a_folder(path) from None
        raise


def _not_a_file(path: str) -> FileExistsError:
    return FileExistsError(
        errno.EEXIST,
        "a symbolic link, or something else than a regular file, is here: remove it",
        path,
    )


def _not_a_folder(path: str) -> NotADirectoryError:
    return NotADirectoryError(
        errno.ENOTDIR, "a symbolic link, or something else than a folder, is here: remove it", path
    )


def _mount_id(fd: int) -> int:
    with open(f"/proc/self/fdinfo/{fd}", "rb", buffering=0) as file:
        return int(file.read().split(b"mnt_id:")[1].split()[0])
