"""Standard output and standard error of a command: every byte is written, or the failure is told."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .._readers.targets import StreamFile, open_stream

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "Output",
    "OutputClosed",
    "TargetError",
    "complain",
    "is_same_file",
    "json_event",
    "print_text",
    "printable",
    "settle",
    "standard_output",
    "write_output",
]

#: What messages call descriptor 1.
_STANDARD_OUTPUT = "standard output"


class TargetError(OSError):
    """What the system says about the file or stream that a command writes."""

    @classmethod
    def of(cls, name: str, error: OSError) -> TargetError:
        """Return the error with the name of what could not be written."""
        return cls(error.errno, f"cannot be written: {error.strerror or error}", name)


class OutputClosed(Exception):
    """The reader of a stream went away before all was written.

    Attributes:
        name: The stream, or None for standard output.
    """

    def __init__(self, name: str | None) -> None:
        super().__init__(name)
        self.name = name


class Output:
    """A stream that a command writes to, and counts.

    Its errors are told from those of the download that fills it: `TargetError`, and `OutputClosed` where
    the reader went away.
    """

    def __init__(self, stream: StreamFile, name: str | None = None) -> None:
        self._stream = stream
        self._name = name

    @classmethod
    def open(cls, path: str) -> Output:
        """Open the pipe, device or descriptor that a path names."""
        try:
            return cls(open_stream(path), path)
        except OSError as error:
            raise TargetError.of(path, error) from error

    @property
    def name(self) -> str:
        """What messages call the stream."""
        return self._name or _STANDARD_OUTPUT

    @property
    def written(self) -> int:
        """Bytes written so far."""
        return self._stream.written

    def fileno(self) -> int:
        """Return the stream's descriptor."""
        return self._stream.fileno()

    def write(self, data: Buffer) -> int:
        """Write all of `data`; return its length in bytes."""
        try:
            return self._stream.write(data)
        except BrokenPipeError:
            raise OutputClosed(self._name) from None
        except OSError as error:
            raise TargetError.of(self.name, error) from error

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def standard_output() -> Output:
    """Return standard output as a stream of bytes; TargetError where it was closed from the start."""
    if sys.stdout is None:
        raise TargetError.of(_STANDARD_OUTPUT, OSError(errno.EBADF, "it is closed"))
    return Output(StreamFile(1, _STANDARD_OUTPUT, closefd=False))


def write_output(data: bytes) -> None:
    """Write lines to standard output."""
    standard_output().write(data)


def print_text(text: str) -> None:
    """Print to ``sys.stdout``, which a program that runs a command may have replaced."""
    if sys.stdout is None or _is_descriptor(sys.stdout, 1):
        write_output(text.encode("utf-8", "backslashreplace"))
    else:
        sys.stdout.write(text)


def json_event(event: str, members: Mapping[str, Any]) -> str:
    """Return what happened just now as a JSON object, for a log.

    Args:
        event: What happened.
        members: More about it.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "event": event, **members})


def printable(text: str) -> str:
    """Return the text without characters that move a terminal's cursor or forge a line of a log."""
    if text.isprintable():
        return text
    # Python calls no space printable but U+0020. The others, such as U+3000, are harmless.
    return "".join(
        c
        if c.isprintable() or unicodedata.category(c) == "Zs"
        else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def complain(line: str) -> None:
    """Write a line to standard error.

    What cannot be written is dropped. The exit code still tells that something went wrong.
    """
    with contextlib.suppress(OSError, ValueError):
        if _is_descriptor(sys.stderr, 2):
            sys.stderr.flush()
            data = f"{line}\n".encode("utf-8", "backslashreplace")
            StreamFile(2, "standard error", closefd=False).write(data)
        else:
            print(line, file=sys.stderr, flush=True)


def settle() -> None:
    """Drop what ``sys.stdout`` and ``sys.stderr`` hold and cannot write.

    The interpreter tries again at its end, and turns the exit code into 120 where that fails.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - kept open


def is_same_file(fd: int, other: int) -> bool:
    """Return whether two descriptors lead to the same file, pipe or device."""
    try:
        one, two = os.fstat(fd), os.fstat(other)
    except OSError:
        return False
    if stat.S_ISCHR(one.st_mode) and stat.S_ISCHR(two.st_mode):
        return one.st_rdev == two.st_rdev
    return os.path.samestat(one, two)


def _is_descriptor(stream: Any, number: int) -> bool:
    try:
        return bool(stream.fileno() == number)
    except (AttributeError, OSError, ValueError):
        return False
