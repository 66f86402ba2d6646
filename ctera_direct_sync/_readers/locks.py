"""Files that only one holder at a time may have.

Some file systems have no locks. There, two holders in one process still exclude each other.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os

from .folders import Folder, ForeignFileError

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None  # type: ignore[assignment]

__all__ = ["LockedFile"]

_log = logging.getLogger(__name__)

_WINDOWS = os.name == "nt"
#: The errors of file systems without locks, such as some network and FUSE file systems.
_NO_LOCK_ERRNOS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}

#: How often a file may disappear between its opening and its locking.
_MAX_ATTEMPTS = 1000

#: The files that this process holds on file systems without locks, by process, device and inode.
_held: dict[tuple[int, int, int], LockedFile] = {}
_warned: set[str] = set()


class LockedFile:
    """A locked file of this process's user, open for reading and writing. It is made if needed.

    `release` unlocks it. A forked child's copy of the object never does.

    Args:
        folder: The folder of the file.
        name: The name of the file.

    Attributes:
        fd: The descriptor; -1 after `release`.
        is_new: Whether the file was made, and is empty.

    Raises:
        BlockingIOError: Another object or process holds the file.
        ForeignFileError: The file belongs to another user, or has a second name (a hard link).
        FileExistsError: The name belongs to a symbolic link, or to something else than a file.
    """

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder = folder
        self._name = name
        self._process = os.getpid()
        self._key = (0, 0, 0)
        self.fd = -1
        self.is_new = False
        # A holder may remove the file between opening and locking it here. If the locked file never is
        # the one in the folder, the file system has no lasting inode numbers.
        for _ in range(_MAX_ATTEMPTS):
            if self._open():
                return
        raise self._busy()

    def __del__(self) -> None:
        # An interrupt may come between the making and the `with`, and the lock must not stay for ever.
        # This takes no lock of a thread, so the collector may call it at any moment.
        self.release(remove=False)

    def _open(self) -> bool:
        """Open and lock the file. Return False if its holder has just removed or renamed it."""
        folder, name = self._folder, self._name
        try:
            self.fd, made = folder.create(name, os.O_RDWR), True
        except FileExistsError:
            try:
                self.fd, made = folder.open_own(name, os.O_RDWR), False
            except FileNotFoundError:
                return False
        is_kept = False
        try:
            self._lock(made)
            # Now that it is locked, no holder can rename it.
            with contextlib.suppress(FileNotFoundError):
                found = os.fstat(self.fd)
                if os.path.samestat(found, folder.lstat(name)):
                    if found.st_nlink > 1:
                        raise ForeignFileError(
                            errno.EMLINK,
                            "this file of an earlier download has another name elsewhere (a hard "
                            "link): remove it",
                            folder.path_of(name),
                        )
                    is_kept = True
                    self.is_new = made and not found.st_size
        finally:
            if not is_kept:
                self.release(remove=False)
        return is_kept

    def _lock(self, made: bool) -> None:
        try:
            _lock(self.fd)
        except BlockingIOError:
            raise self._busy() from None
        except OSError as error:
            if error.errno not in _NO_LOCK_ERRNOS:
                if made:
                    with contextlib.suppress(OSError):
                        self._folder.unlink(self._name)
                error.filename = self._folder.path_of(self._name)
                raise
            self._hold_without_lock(error)

    def _hold_without_lock(self, error: OSError) -> None:
        found = os.fstat(self.fd)
        key = (os.getpid(), found.st_dev, found.st_ino)
        # setdefault is atomic, so two threads cannot both be first.
        if _held.setdefault(key, self) is not self:
            raise self._busy() from None
        self._key = key
        if "locks" not in _warned:
            _warned.add("locks")
            _log.warning(
                "%s: this file system has no locks (%s): downloads go on without; do not let two "
                "processes download to the same target there",
                self._folder.path,
                error.strerror,
            )

    def _busy(self) -> BlockingIOError:
        return BlockingIOError(
            errno.EAGAIN,
            "another download to this target is under way: wait for it, or choose another target",
            self._folder.path_of(self._name),
        )

    def is_child(self) -> bool:
        """Return whether this process is a forked child of the holder."""
        return os.getpid() != self._process

    def is_in_place(self, name: str, own: os.stat_result) -> bool:
        """Return whether a name in the folder belongs to a very file.

        Args:
            name: The name.
            own: The status of the file.
        """
        with contextlib.suppress(OSError):
            return os.path.samestat(own, self._folder.lstat(name))
        return False

    def release(self, *, remove: bool) -> None:
        """Unlock and close the file. A second call does nothing.

        Args:
            remove: Whether to remove the file before another holder can lock it.
        """
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        try:
            if self.is_child():
                return  # The lock and the file are the parent's.
            # Windows cannot remove an open file. Elsewhere the file is removed before it is unlocked, so
            # that the next holder makes a new one.
            if remove and not _WINDOWS:
                with contextlib.suppress(OSError):
                    if self.is_in_place(self._name, os.fstat(fd)):
                        self._remove()
            self._unlock(fd)
        finally:
            os.close(fd)
        if remove and _WINDOWS:
            self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._folder.unlink(self._name)

    def _unlock(self, fd: int | None = None) -> None:
        """Unlock the file, also for the copies of the descriptor in forked children."""
        if _held.get(self._key) is self:
            del _held[self._key]
        elif fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(self.fd if fd is None else fd, fcntl.LOCK_UN)


def _lock(fd: int) -> None:
    if fcntl is not None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    try:
        # Far past any data, because locks on Windows are mandatory for the range that they cover.
        os.lseek(fd, 2**62, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        raise BlockingIOError(errno.EAGAIN, "locked") from error
    finally:
        os.lseek(fd, 0, os.SEEK_SET)
