"""What a file system knows of a portal's names: the one place here that uses a `Namespace`."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from fsspec.utils import tokenize

from .._base.account import MissingAccountError, Password, choose_account, from_environment
from .._base.cancellation import CancelScope
from ..exceptions import NamespaceError, PathNotFoundError
from ..namespace import Namespace, find_within
from ..settings import Settings
from ..types import Entry, Token
from .paths import is_file_id

__all__ = ["PortalNames", "portal_names", "shared_names"]

#: Paths of one folder from which on its listing is cheaper than a lookup of each.
_MIN_LISTED = 3

#: One Namespace for all file systems with the same portal, account and settings.
portal_names: weakref.WeakValueDictionary[tuple[Any, ...], Namespace] = (
    weakref.WeakValueDictionary()
)


def shared_names(
    baseurl: str,
    username: str | None,
    password: str | None,
    bearer: str | None,
    context: str | None,
    settings: Settings | None,
    *,
    use_environment: bool,
    use_profile: bool = False,
) -> Namespace | None:
    """Return the Namespace of an account, or None without an account.

    Args:
        baseurl: The portal's URL.
        username: The user name, or None.
        password: The password, or None.
        bearer: A bearer token, which counts if there is no user name.
        context: The view, or None for the default one.
        settings: Settings, or None for the default ones.
        use_environment: Whether an account in the environment is one of this portal. If not, the profile
            does not count either: to read it would be to read the environment.
        use_profile: Whether the stored profile is read if user name and password are missing. It is
            read anyway if one of the two is missing.

    Raises:
        ValueError: One half of the account is missing, an argument is malformed, or the profile that is
            needed cannot be read.
    """
    # A traceback may show these.
    password, bearer = password and Token(password), bearer and Token(bearer)
    if use_environment:
        username = username or os.environ.get("CTERA_DIRECT_USERNAME")
        password = password or from_environment("CTERA_DIRECT_PASSWORD")
        if bool(username) != bool(password) or (use_profile and not username):
            with contextlib.suppress(MissingAccountError):
                account = choose_account(baseurl, username, password)
                assert isinstance(account.credentials, Password)
                username, password = account.credentials
                context = context or account.context
    if not username and not password:
        if not bearer:
            return None
    elif not username or not password:
        missing = "password" if username else "username"
        raise ValueError(
            f"{missing} is missing: give both as storage_options, or set "
            f"CTERA_DIRECT_{missing.upper()}"
        )
    else:
        bearer = None
    made = Namespace(baseurl, username, password, bearer=bearer, context=context, settings=settings)
    # The secrets stay Tokens, whose repr hides them. They compare as the text that they hold.
    options = tuple(sorted((name, repr(value)) for name, value in vars(made.settings).items()))
    key = (made.baseurl, made.context, username, password, bearer, options)
    found = portal_names.setdefault(key, made)
    if found.closed:
        found = portal_names[key] = made
    return found


class PortalNames:
    """The names of a portal as paths of a file system: `<host>/My Files/a.csv`.

    Args:
        namespace: The signed-in view.
        host: What the file system's paths begin with.
    """

    def __init__(self, namespace: Namespace, host: str) -> None:
        self._namespace = namespace
        self._host = host

    def info(self, path: str) -> dict[str, Any]:
        """Return what the portal says of a file or folder, as fsspec's `info` does."""
        within = self._within(path)
        if within == "/":
            return {"name": self._host, "size": 0, "type": "directory", "file_id": None}
        return self._describe(self._namespace.stat(within))

    def listdir(self, path: str) -> list[dict[str, Any]]:
        """Return what is in a folder. Raise NotADirectoryError for a file."""
        return [self._describe(entry) for entry in self._namespace.listdir(self._within(path))]

    def walk(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield everything below a folder, several folders at a time."""
        return map(self._describe, self._namespace.walk(self._within(path)))

    def glob(self, pattern: str) -> Iterator[dict[str, Any]]:
        """Yield what matches a pattern. Only folders that can hold a match are listed."""
        return map(self._describe, self._namespace.glob(self._within(pattern)))

    def find_all(self, paths: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return what `info` does for those of several paths that share a folder, which is listed.

        What is missing in the answer has to be looked up by itself, which raises the error that is due.
        """
        folders: dict[str, set[str]] = {}
        for path in paths:
            within = self._within(path)
            folders.setdefault(within.rpartition("/")[0] or "/", set()).add(within)
        found: list[Entry] = []
        for folder, wanted in folders.items():
            if len(wanted) >= _MIN_LISTED:
                with contextlib.suppress(NamespaceError):
                    entries = find_within(
                        self._namespace, folder, wanted, len(wanted), CancelScope()
                    )
                    found.extend(entries.values())
        return {info["name"]: info for info in map(self._describe, found)}

    def is_about(self, error: PathNotFoundError, path: str) -> bool:
        """Return whether an error is about the path itself, and not about something below it."""
        return bool(error.filename == self._within(path))

    def _within(self, path: str) -> str:
        within = path[len(self._host) + 1 :]
        if within == "~" or within.startswith("~/"):
            within = within[2:]
        return f"/{within}"

    def _describe(self, entry: Entry) -> dict[str, Any]:
        within = entry.path.strip("/")
        first = within.partition("/")[0]
        if is_file_id(first) or first == "~":
            within = f"~/{within}"
        found: dict[str, Any] = {
            "name": f"{self._host}/{within}",
            "size": 0 if entry.is_dir else entry.size,
            "type": "directory" if entry.is_dir else "file",
            "file_id": entry.file_id,
        }
        if entry.modified is not None:
            found.update(mtime=entry.modified.timestamp(), modified=entry.modified)
        if not entry.is_dir:
            found["ETag"] = tokenize(entry.file_id, entry.size, str(entry.modified))
        return found
