"""`ctera://` URLs and paths, in parts."""

from __future__ import annotations

import fnmatch
import os
from typing import Any, NamedTuple

__all__ = [
    "SCHEME",
    "Split",
    "is_file_id",
    "is_side_car",
    "may_be_host",
    "plain_names",
    "split",
    "strip_scheme",
]

SCHEME = "ctera://"
_MAX_ID_DIGITS = 30
#: Files that programs look for beside a file, or below it in a store with folders.
_SIDE_CARS = (
    *("*.ovr", "*.msk", "*.aux", "*.aux.xml"),  # GDAL
    *("_metadata", "_common_metadata", "_SUCCESS", "_delta_log"),  # Parquet, Spark, Delta
    *(".zgroup", ".zarray", ".zattrs", ".zmetadata", "zarr.json"),  # Zarr
)


class Split(NamedTuple):
    """A path in two parts."""

    host: str | None
    """The portal's host and port. None if the path begins with a file ID."""
    rest: str
    """The path within the portal."""
    is_url: bool
    """Whether the path was a URL."""


def split(path: Any) -> Split:
    """Return the parts of a URL, or of the path that fsspec makes of one.

    Raises:
        ValueError: The URL holds keys.
    """
    text = os.fspath(path) if isinstance(path, os.PathLike) else str(path)
    is_url = text.startswith(SCHEME)
    if is_url:
        text = text[len(SCHEME) :]
        if text.startswith("/"):
            return Split(None, text.strip("/"), True)
    host, _, rest = text.strip("/").partition("/")
    # Some programs put the scheme before a path without a host: then a file ID stands for it.
    if not host or is_file_id(host):
        return Split(None, text.strip("/"), is_url)
    if is_url and "@" in host:
        raise ValueError("a ctera:// URL holds no keys: give them as storage_options")
    return Split(host.lower() if is_url else host, rest.strip("/"), is_url)


def strip_scheme(path: Any) -> Any:
    """Return a path without the scheme, with the host if it has one."""
    if isinstance(path, (list, tuple)):
        return [strip_scheme(one) for one in path]
    host, rest, _ = split(path)
    return rest if host is None else f"{host}/{rest}".rstrip("/")


def is_file_id(text: str) -> bool:
    """Return whether a part of a path is a file ID."""
    return text.isascii() and text.isdigit() and len(text) <= _MAX_ID_DIGITS


def may_be_host(text: str) -> bool:
    """Return whether the first part of a path without a scheme looks like a portal's host."""
    return ("." in text or ":" in text) and not any(letter.isspace() for letter in text)


def plain_names(rest: str) -> str:
    """Return a path within a portal without a `~` that it does not need.

    `~/2026/a.csv` keeps it, since `2026/a.csv` is a file ID and a name.
    """
    first, _, names = rest.partition("/")
    if first != "~":
        return rest
    second = names.partition("/")[0]
    return rest if is_file_id(second) or second == "~" else names


def is_side_car(name: str) -> bool:
    """Return whether programs look for files of this name beside other files."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _SIDE_CARS)
