"""Errors of a command: what the user reads, in one line, with what to do."""

from __future__ import annotations

import errno
import os

from ..exceptions import BlockError, DirectIOError, NamespaceError, StreamError
from .output import TargetError, printable

__all__ = ["UsageError", "explain", "explain_item", "shortage"]


class UsageError(Exception):
    """Arguments that contradict each other or the environment. The text says how."""


_ADVICE = {
    errno.ENOSPC: "free some space, or choose another place",
    getattr(errno, "EDQUOT", None): "free some of your quota, or choose another place",
    errno.EFBIG: "see the limit of file sizes (ulimit -f), and that of the file system",
    errno.EACCES: "choose a place that you may write to",
    errno.EPERM: "choose a place that you may write to",
    errno.EROFS: "choose a place that can be written to",
    errno.ENOENT: "make its folder first",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def explain(error: Exception) -> str:
    """Return one line that says what went wrong, with which file, and what to do."""
    if isinstance(error, StreamError):
        cause = error.__cause__
        where = f"{cause.block}" if isinstance(cause, BlockError) else f"file {error.filename}"
        return f"{error.strerror} ({where}); --range {error.offset}- gives the rest"
    if isinstance(error, BlockError):
        return f"{error.strerror} ({error.block})"
    if isinstance(error, NamespaceError):
        text = str(error.strerror)
        return text if error.filename is None else f"{printable(str(error.filename))}: {text}"
    if isinstance(error, DirectIOError):
        text = str(error.strerror)
        return text if error.filename is None else f"{text} (file {error.filename})"
    if isinstance(error, OSError):
        text = error.strerror or str(error) or type(error).__name__
        if error.filename is not None:
            text = f"{os.fsdecode(error.filename)}: {text}"
        advice = _ADVICE.get(error.errno) if isinstance(error, TargetError) else None
        return f"{text}: {advice}" if advice else text
    return str(error)


def shortage(error: BaseException) -> str | None:
    """Return one line about a lack of threads or memory. None: the error is a different one."""
    if isinstance(error, MemoryError):
        return "no memory is left: raise the limit of memory (ulimit -v), or end other programs"
    if "can't start new thread" in str(error):
        return (
            "no thread can be started: raise the limit of processes (ulimit -u, or the pids limit of "
            "the container)"
        )
    return None


def explain_item(error: Exception) -> str:
    """Return one line about an item of a batch that failed."""
    text = explain(error)
    is_ours = isinstance(error, (DirectIOError, BlockingIOError)) or not isinstance(error, OSError)
    advice = None if is_ours else _ADVICE.get(getattr(error, "errno", None))
    return f"{text}: {advice}" if advice else text
