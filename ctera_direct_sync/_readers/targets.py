"""Streams as targets of a download: they are written in order, and never replaced by a renaming.

A stream is a pipe, a device, a socket or an open descriptor. A path names a descriptor if it leads to
`/dev/fd/N` or `/proc/self/fd/N`, as `/dev/stdout` does. A regular file behind a descriptor is written
at the descriptor's offset, as `cat >> file` does in a shell.
"""

from __future__ import annotations

import errno
import io
import os
import re
import select
import stat
from typing import TYPE_CHECKING

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["StreamFile", "descriptor_of", "is_stream", "open_stream", "read_all"]

#: How many symbolic links a path may lead through: the limit of Linux (path_resolution(7)).
_MAX_LINKS = 40

_READ_SIZE_BYTES = 1024 * 1024
_NOT_OPEN = "it is closed, or not open for writing"
_BINARY = getattr(os, "O_BINARY", 0)
_NO_TERMINAL = getattr(os, "O_NOCTTY", 0)


def is_stream(path: str) -> bool:
    """Return whether a path names a stream."""
    if _is_descriptor(*_before_descriptor(path)):
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def descriptor_of(path: str) -> int | None:
    """Return the number of the descriptor of this process that a path names, or None."""
    folder, name = _before_descriptor(path)
    if not _is_descriptor(folder, name):
        return None
    # The name of a process in /proc depends on the PID namespace that /proc was mounted for.
    own = os.path.realpath("/proc/self")
    return int(name) if folder == "/dev/fd" or folder.startswith(f"{own}/") else None


def open_stream(path: str) -> StreamFile:
    """Open a stream for writing, at the offset of its descriptor or at its end.

    Args:
        path: A path for which `is_stream` is true.

    Raises:
        OSError: The stream cannot be written to. The file name of the error is `path`.
    """
    number = descriptor_of(path)
    try:
        if number is not None:
            # A copy shares the offset and O_APPEND. To open the path again would begin at offset 0.
            fd = os.dup(number)
        else:
            # Without O_CREAT and O_TRUNC a path that became a regular file meanwhile stays as it is.
            fd = os.open(path, os.O_WRONLY | _BINARY | _NO_TERMINAL)
        try:
            _check(fd, number is not None)
        except BaseException:
            os.close(fd)
            raise
    except OSError as error:
        reason = _NOT_OPEN if error.errno == errno.EBADF else error.strerror
        raise OSError(error.errno, reason, path) from None
    return StreamFile(fd, path)


def _check(fd: int, is_own: bool) -> None:
    """Raise OSError for a descriptor that is not a stream, or cannot be written to."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "the target is a folder: name a file in it")
    if stat.S_ISREG(mode) and not is_own:
        # The other process's next write would go to its own offset, over the bytes written here.
        raise OSError(
            errno.EINVAL, "the target is a file that another process has open: give its own path"
        )
    if fcntl is not None and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, _NOT_OPEN)


_FOLDERS = re.compile("/dev/fd|/proc/[0-9]+(/task/[0-9]+)?/fd")


def _is_descriptor(folder: str, name: str) -> bool:
    return bool(_FOLDERS.fullmatch(folder) and re.fullmatch("[0-9]{1,9}", name))


def _before_descriptor(path: str) -> tuple[str, str]:
    """Return the folder and the name that a path leads to. Links of descriptors are not followed.

    `/proc/self/fd/1` is itself a link, to the open file. To follow it would lose the descriptor.
    """
    folder, name = os.path.split(path)
    for _ in range(_MAX_LINKS):
        folder = os.path.realpath(folder or os.curdir)
        if _is_descriptor(folder, name):
            break
        try:
            link = os.readlink(os.path.join(folder, name)) if name else ""
        except (OSError, ValueError):
            break
        if not link:
            break
        folder, name = os.path.split(os.path.join(folder, link))
    return folder, name


class StreamFile(io.RawIOBase):
    """A file object that writes to a descriptor. Each call writes all bytes.

    If the descriptor is in non-blocking mode and full, `write` waits until it takes more.

    Args:
        fd: The descriptor.
        name: The path, for messages.
        closefd: Whether `close` closes the descriptor.

    Attributes:
        name: The path, for messages.
        written: Bytes written so far.
    """

    def __init__(self, fd: int, name: str, *, closefd: bool = True) -> None:
        super().__init__()
        self.name = name
        self.written = 0
        self._fd = fd
        self._closefd = closefd

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Write all of `data`. Return its length in bytes."""
        with memoryview(data) as given, given.cast("B") as view:
            done = 0
            while done < len(view):
                try:
                    count = os.write(self._fd, view[done:])
                except BlockingIOError:
                    _wait(self._fd, writing=True)
                    continue
                if not count:
                    raise OSError(errno.EIO, "it takes no more bytes", self.name)
                done += count
                self.written += count
            return done

    def check(self, expected: int) -> None:
        """Raise OSError unless exactly `expected` bytes were written."""
        if self.written != expected:
            raise OSError(
                errno.EIO, f"{self.written} of {expected} bytes were written: begin anew", self.name
            )

    def close(self) -> None:
        """Close the file object, and its descriptor if `closefd` was true."""
        if not self.closed:
            super().close()
            if self._closefd:
                os.close(self._fd)


def read_all(fd: int) -> bytes:
    """Return all bytes up to the end of a descriptor, which may be in non-blocking mode."""
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(fd, _READ_SIZE_BYTES)
        except BlockingIOError:
            _wait(fd, writing=False)
            continue
        if not part:
            return b"".join(parts)
        parts.append(part)


def _wait(fd: int, *, writing: bool) -> None:
    """Wait until a descriptor is ready, or broken: the next call on it then raises."""
    if hasattr(select, "poll"):
        poller = select.poll()
        poller.register(fd, select.POLLOUT if writing else select.POLLIN)
        poller.poll()
    else:  # On Windows, and in programs that gevent has patched.
        select.select([] if writing else [fd], [fd] if writing else [], [])
