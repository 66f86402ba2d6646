"""Which names of the portal the local disk can hold."""

from __future__ import annotations

import os
import re
import unicodedata

__all__ = ["OWN_FOLDER", "find_problem", "fold_name"]

#: The folder of the mirror's own files, in the mirrored folder.
OWN_FOLDER = ".ctera-mirror"

#: Names of devices on Windows, with any extension.
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])( *\..*)?", re.IGNORECASE
)
_FORBIDDEN_ON_WINDOWS = re.compile(r'[<>:"|?*\\\x00-\x1f]')
_SURROGATE = re.compile("[\ud800-\udfff]")


def find_problem(
    name: str, *, is_top: bool, windows: bool = os.name == "nt", max_bytes: int = 255
) -> str | None:
    """Return why the local disk cannot hold a name, or None if it can.

    Args:
        name: One part of a path.
        is_top: Whether it is in the mirrored folder itself.
        windows: Whether the rules of Windows hold.
        max_bytes: The longest name, in bytes; on Windows in UTF-16 units.
    """
    if name in ("", ".", ".."):
        return f"the name {name!r} leads elsewhere on this system"
    if "/" in name or "\0" in name:
        return "the name holds a slash or a NUL character"
    is_ascii = name.isascii()
    if not is_ascii and _SURROGATE.search(name):
        return "the name is not valid Unicode"
    if is_top and fold_name(name) == OWN_FOLDER:
        return "the mirror keeps this name for its own files"
    if windows:
        if _FORBIDDEN_ON_WINDOWS.search(name):
            return "the name holds a character that Windows does not allow"
        if _DEVICE.fullmatch(name):
            return "the name is that of a device on Windows"
        if name != name.rstrip(". "):
            return "the name ends in a dot or blank, which Windows drops"
        length = len(name.encode("utf-16-le")) // 2
    elif is_ascii:
        length = len(name)
    else:
        try:
            length = len(os.fsencode(name))
        except UnicodeEncodeError:
            return "the name has letters that this system's encoding lacks"
    if length > max_bytes:
        return f"the name is longer than the {max_bytes} bytes that this disk allows"
    return None


def fold_name(name: str) -> str:
    """Return a text that is equal for names that a disk may take for the same.

    Such disks ignore the case of letters, or how an accent is written.
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFD", name).casefold())
