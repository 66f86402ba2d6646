"""Renaming a file to a name that must be free, in one step. Python's own functions cannot do so."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from typing import Any

__all__ = ["rename_exclusively"]

#: <linux/fs.h>, RENAME_NOREPLACE, and <sys/stdio.h> of macOS, RENAME_EXCL.
_FLAG = 4 if sys.platform == "darwin" else 1
#: <fcntl.h>, AT_FDCWD: paths are relative to the present folder.
_PRESENT_FOLDER = -2 if sys.platform == "darwin" else -100
_FUNCTION = "renameatx_np" if sys.platform == "darwin" else "renameat2"

#: The kernel, a filter of system calls, or the file system does not know the call.
_UNSUPPORTED_ERRNOS = {
    errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP,
}  # fmt: skip


def rename_exclusively(
    source_fd: int | None, source: str, target_fd: int | None, target: str
) -> bool:
    """Rename a file or folder, unless the new name is taken.

    Args:
        source_fd: A descriptor of the folder that `source` is relative to. None: `source` is a whole path.
        source: The present name.
        target_fd: The same for `target`.
        target: The new name.

    Returns:
        False if this system or disk cannot do it. Nothing was changed then.

    Raises:
        FileExistsError: The new name is taken.
    """
    rename = _find_function()
    if rename is None:
        return False
    done = rename(
        _PRESENT_FOLDER if source_fd is None else source_fd,
        os.fsencode(source),
        _PRESENT_FOLDER if target_fd is None else target_fd,
        os.fsencode(target),
        _FLAG,
    )
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED_ERRNOS:
        return False
    raise OSError(number, os.strerror(number), source, None, target)


@functools.lru_cache(maxsize=1)
def _find_function() -> Any:
    """Return the function of the C library, or None."""
    if not sys.platform.startswith(("linux", "darwin")):
        return None
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), _FUNCTION)
    except (AttributeError, OSError):
        return None
    function.argtypes = (
        ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint,
    )  # fmt: skip
    function.restype = ctypes.c_int
    return function
