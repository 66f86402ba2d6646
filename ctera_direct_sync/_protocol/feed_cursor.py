"""The cursors that callers keep: the portal's cursor, and the cloud folders that it was given for.

A portal's cursor is opaque and bound to its set of folders (PORTAL section 5). With another set it may
be refused, or skip what is new in the set. Therefore the text that a caller saves holds both.
"""

from __future__ import annotations

import base64
import binascii
import json
import operator
import re
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple, NoReturn

from ..exceptions import NamespaceError
from ..types import CloudFolder

__all__ = ["MAX_CURSOR_LENGTH", "FeedCursor", "check_cursor", "check_folders"]

#: The longest cursor. A portal's cursor has one position for each folder, of some 100 characters.
MAX_CURSOR_LENGTH = 4 * 1024 * 1024

#: The version, a checksum of the rest, and the rest: JSON in base64 (RFC 4648, section 5).
_FORM = re.compile(r"ctera-feed-(\d{1,9})\.([0-9a-f]{8})\.([A-Za-z0-9_-]+)\Z")
_VERSION = 1
_FOLDERS = re.compile(r"(?:\d{1,19}(?:,\d{1,19})*)?\Z", re.ASCII)
_MAX_FOLDER_ID = 2**63 - 1


class FeedCursor(NamedTuple):
    """A position in the change feed of a set of cloud folders."""

    position: str | None
    """The portal's cursor, or None for the beginning."""
    folders: tuple[int, ...]
    """The IDs of the folders, in ascending order. None of them: all that the user may see."""

    def pack(self) -> str:
        """Return the text for the caller.

        Raises:
            NamespaceError: The portal's cursor is longer than any should be.
        """
        members = {"cursor": self.position, "folders": ",".join(map(str, self.folders))}
        body = json.dumps(members, separators=(",", ":")).encode("ascii")
        packed = base64.urlsafe_b64encode(body).rstrip(b"=")
        text = f"ctera-feed-{_VERSION}.{zlib.crc32(packed):08x}.{packed.decode('ascii')}"
        if len(text) > MAX_CURSOR_LENGTH:
            raise NamespaceError(
                f"The portal's cursor makes {len(text)} characters, and {MAX_CURSOR_LENGTH} are "
                "allowed: follow fewer cloud folders at once"
            )
        return text

    @classmethod
    def unpack(cls, text: str) -> FeedCursor:
        """Return the cursor of a text.

        Raises:
            ValueError: The text is not a cursor, or was cut or changed.
        """
        text = text.strip() if len(text) <= 2 * MAX_CURSOR_LENGTH else text
        if len(text) > MAX_CURSOR_LENGTH:
            raise ValueError(f"a cursor has at most {MAX_CURSOR_LENGTH} characters: {_ADVICE}")
        match = _FORM.match(text)
        if match is None:
            raise ValueError(f"this text is not a cursor of the change feed: {_ADVICE}")
        version, checksum, packed = match.groups()
        if int(version) != _VERSION:
            raise ValueError(
                f"the cursor has version {int(version)}, and this release reads {_VERSION}: use "
                "the release that made it, or start again without a cursor"
            )
        if int(checksum, 16) != zlib.crc32(packed.encode("ascii")):
            raise ValueError(f"the cursor was cut or changed: {_ADVICE}")
        try:
            body = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
            members = json.loads(body, parse_int=_refuse, parse_float=_refuse)
            return cls(*_read(members))
        except (binascii.Error, ValueError, RecursionError):
            pass
        raise ValueError(f"this text is not a cursor of the change feed: {_ADVICE}")


_ADVICE = "pass what ChangePage.cursor gave, or start again without a cursor"


def _read(members: Any) -> tuple[str | None, tuple[int, ...]]:
    if not isinstance(members, dict) or set(members) != {"cursor", "folders"}:
        raise ValueError
    position, folders = members["cursor"], members["folders"]
    if not isinstance(position, (str, type(None))) or not isinstance(folders, str):
        raise ValueError
    if position == "" or not _FOLDERS.match(folders):
        raise ValueError
    ids = tuple(map(int, folders.split(","))) if folders else ()
    if list(ids) != sorted(set(ids)) or any(each > _MAX_FOLDER_ID for each in ids):
        raise ValueError
    return position, ids


def _refuse(text: str) -> NoReturn:
    raise ValueError


def check_folders(folders: Iterable[int | CloudFolder] | None) -> tuple[int, ...]:
    """Return the IDs of some cloud folders in ascending order. Nothing means all folders.

    Raises:
        TypeError: It is not an iterable of IDs and `CloudFolder`s.
        ValueError: There is no folder, or an ID cannot be.
    """
    if folders is None:
        return ()
    if isinstance(folders, (str, bytes, CloudFolder)) or not isinstance(folders, Iterable):
        raise TypeError("folders is a list of cloud folders: put a single one into a list")
    ids = {_check_folder(folder) for folder in folders}
    if not ids:
        raise ValueError("folders is empty: name a cloud folder, or pass None for all of them")
    return tuple(sorted(ids))


def _check_folder(folder: Any) -> int:
    value = folder.folder_id if isinstance(folder, CloudFolder) else folder
    if isinstance(value, (bool, str)) or not hasattr(type(value), "__index__"):
        raise TypeError(
            f"folders holds IDs (int) and CloudFolders, not {type(folder).__name__}: "
            "Namespace.folders() gives them"
        )
    number = operator.index(value)
    if not 0 <= number <= _MAX_FOLDER_ID:
        raise ValueError(f"{number} is not the ID of a cloud folder")
    return number


def check_cursor(cursor: Any, folders: tuple[int, ...]) -> FeedCursor:
    """Return where to begin.

    Args:
        cursor: What the caller saved, or None.
        folders: The folders that the caller asks for now.

    Raises:
        TypeError: The cursor is not a text.
        ValueError: The text is not a cursor, or one for another set of folders.
    """
    if cursor is None:
        return FeedCursor(None, folders)
    if not isinstance(cursor, str):
        raise TypeError(f"a cursor is a str, not {type(cursor).__name__}")
    found = FeedCursor.unpack(cursor)
    if found.folders != folders:
        raise ValueError(
            f"the cursor is for {_list(found.folders)}, and changes() was called for "
            f"{_list(folders)}: pass the same folders, or start again without a cursor"
        )
    return found


def _list(folders: tuple[int, ...]) -> str:
    if not folders:
        return "all cloud folders"
    shown = ", ".join(map(str, folders[:5]))
    return f"the cloud folders {shown}{', ...' if len(folders) > 5 else ''}"
