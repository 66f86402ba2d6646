"""Errors as callers of fsspec expect them: those of the library that are Python's own as well."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from ..exceptions import DirectIOError, NotFoundError, UnAuthorized

__all__ = [
    "GONE",
    "AccessRefusedError",
    "NoSuchFileError",
    "first_error",
    "make_incomplete_error",
    "translate",
    "translated",
    "without_missing",
]

#: Errors that say that no file is at a path, and so leave nothing unread.
GONE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)

_PUBLIC_MODULE = "ctera_direct_sync.filesystem"


class NoSuchFileError(NotFoundError, FileNotFoundError):
    """The portal knows no file with the path's ID. It is a NotFoundError and a FileNotFoundError."""

    __module__ = _PUBLIC_MODULE


class AccessRefusedError(UnAuthorized, PermissionError):
    """The portal refuses the key or the file. It is an UnAuthorized and a PermissionError."""

    __module__ = _PUBLIC_MODULE


def first_error(found: Sequence[Any]) -> DirectIOError | None:
    """Return the first error among results, or None."""
    return next((each for each in found if isinstance(each, DirectIOError)), None)


def without_missing(found: dict[Any, Any]) -> dict[Any, Any]:
    """Return results without those that are errors of files that are gone. Raise any other error.

    Otherwise a wrong password, or a portal that cannot be reached, would pass for an empty folder.
    """
    for result in found.values():
        if isinstance(result, BaseException) and not isinstance(result, GONE):
            raise result
    return {key: result for key, result in found.items() if not isinstance(result, GONE)}


def make_incomplete_error(got: int, expected: int, file_id: int) -> DirectIOError:
    """Return the error of a read that got another number of bytes than it should."""
    return DirectIOError(f"{got} bytes came where {expected} were due: try again", file_id)


def translate(error: DirectIOError, path: str) -> DirectIOError:
    """Return an error of the library as one that is a FileNotFoundError or PermissionError, too."""
    for own, python, both in (
        (NotFoundError, FileNotFoundError, NoSuchFileError),
        (UnAuthorized, PermissionError, AccessRefusedError),
    ):
        if isinstance(error, own) and not isinstance(error, python):
            named: Any = str(path)  # fsspec's callers know the path, not the file ID.
            translated = both(error.strerror or "", named, errno=error.errno)
            translated.__cause__ = error
            return translated
    return error


@contextlib.contextmanager
def translated(path: str) -> Iterator[None]:
    """Translate the errors that the block raises. The original error becomes the cause."""
    try:
        yield
    except DirectIOError as error:
        translated = translate(error, path)
        if translated is error:
            raise
        raise translated from error
