"""The file in which ``changes`` keeps its cursor. It is replaced at once, and only its owner reads it."""

from __future__ import annotations

import contextlib
import os

from .._protocol.feed_cursor import MAX_CURSOR_LENGTH, FeedCursor
from .._readers.folders import Place, flush
from ..exceptions import NamespaceError

__all__ = ["CursorFile"]

_MODE = 0o600


class CursorFile:
    """A file that holds one cursor. It need not exist yet; its folder must.

    Args:
        path: The path of the file. A symbolic link is followed.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._real_path = os.path.realpath(path)

    def read(self) -> str | None:
        """Return the cursor, or None if there is no file.

        Raises:
            NamespaceError: The file holds something else than a cursor.
            OSError: The file cannot be read.
        """
        with Place.of(self._real_path) as place:
            if place.check() is None:
                return None
            fd = place.folder.open_own(place.name, os.O_RDONLY)
            with open(fd, "rb") as file:
                content = file.read(MAX_CURSOR_LENGTH + 2)
        problem = "the file is empty"
        try:
            text = content.decode("ascii").strip()
            if text:
                FeedCursor.unpack(text)
                return text
        except ValueError as error:
            is_text = not isinstance(error, UnicodeError)
            problem = str(error).partition(":")[0] if is_text else "this is not a cursor"
        raise NamespaceError(
            f"{problem}: choose another file, or delete this one to read everything again",
            self.path,
        )

    def write(self, cursor: str) -> None:
        """Replace the file by one with another cursor. After a crash it holds one of the two, whole.

        Raises:
            OSError: The file cannot be written.
        """
        with Place.of(self._real_path) as place:
            place.check()
            new_name = f".{place.name}.new"
            with contextlib.suppress(FileNotFoundError):
                place.folder.unlink(new_name)  # A killed process may have left it.
            fd = place.folder.create(new_name, os.O_WRONLY)
            try:
                with open(fd, "wb") as file:
                    if hasattr(os, "fchmod"):
                        os.fchmod(fd, _MODE)
                    file.write(cursor.encode("ascii") + b"\n")
                    file.flush()
                    flush(fd)
                place.folder.replace(new_name, place.name)
            except BaseException:
                with contextlib.suppress(OSError):
                    place.folder.unlink(new_name)
                raise
            place.folder.flush()
