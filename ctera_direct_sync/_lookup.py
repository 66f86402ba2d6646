"""From what names a file to its ID: an ID, a path on the portal, or an `Entry`."""

from __future__ import annotations

import contextlib
import errno
import operator
from collections.abc import Iterable
from typing import Any, Callable

from urllib3.util import parse_url

from ._base.account import MissingAccountError
from ._base.cancellation import CancelScope, SingleFlight
from ._base.portal_address import PortalAddress
from ._net.meter import Ended
from ._protocol.names import check_path
from .exceptions import (
    IsAFolderError,
    LoginError,
    NamedFileID,
    NamespaceConnectionError,
    NamespaceError,
)
from .namespace import Namespace, find_within, listen_to, stat_within
from .settings import Settings
from .types import Entry

__all__ = ["FolderLookup", "Lookup", "as_path", "id_of", "label_of"]

#: Wanted paths of one folder from which on its listing is cheaper than a lookup of each.
_MIN_LISTED = 3
#: Failures that a lookup of each path would meet as well.
_PORTALS_OWN = (LoginError, NamespaceConnectionError)


def as_path(file: Any) -> str | None:
    """Return the plain form of a path. None: `file` is not a text, and so not a path.

    Raises:
        TypeError: It is another text than a path.
        ValueError: The path has parts that lead elsewhere.
    """
    if not isinstance(file, str):
        return None
    if not file.startswith("/"):
        advice = (
            f"pass int({file!r}) for a file ID"
            if file.isascii() and file.isdigit()
            else "a path on the portal begins with '/', such as '/My Files/a.pdf'"
        )
        raise TypeError(f"{file!r} is neither a file ID nor a path: {advice}")
    return check_path(file)


def id_of(file: Any) -> int:
    """Return the ID of a file that is named by its ID or `Entry`.

    Raises:
        IsAFolderError: The entry is a folder.
        NamespaceError: The entry has no file ID.
        TypeError: It is neither.
        ValueError: The ID is negative.
    """
    if isinstance(file, Entry):
        if file.is_dir:
            raise IsAFolderError("It is a folder: name a file in it", file.path)
        if file.file_id is None:
            raise NamespaceError(
                "The portal gives no file ID for it, so Direct IO cannot read it: ask the portal's "
                "administrator for an upgrade",
                file.path,
            )
        return NamedFileID(_check_id(file.file_id), file.path)
    try:
        number = operator.index(file)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(
            "a file is named by its ID (an int), its path on the portal (a str that begins with '/') "
            f"or its Entry, not by {type(file).__name__}"
        )
    return file if isinstance(file, NamedFileID) else _check_id(number)


def _check_id(number: int) -> int:
    if number < 0:
        raise ValueError(f"file ID {number} is negative")
    return number


def label_of(file: Any) -> Any:
    """Return what the `filename` of an error tells about a file: its path or its ID."""
    return file.path if isinstance(file, Entry) else file


class Lookup:
    """Looks paths up for one client. Thread-safe, and keeps no answer.

    Args:
        baseurl: The client's URL, for a Namespace of its own.
        settings: The client's settings, for the same.
        given: The Namespace that the client was given, or None.

    Attributes:
        listener: Called with each request of the Namespace that has ended, or None.

    Raises:
        TypeError: `given` is not a Namespace.
        ValueError: `given` is of another portal.
    """

    def __init__(self, baseurl: str, settings: Settings, given: Namespace | None) -> None:
        if given is not None and not isinstance(given, Namespace):
            raise TypeError("namespace is a Namespace, or None")
        if given is not None and _origin(given.baseurl) != _origin(baseurl):
            # The same number would be another file, or one that the user may not read.
            raise ValueError(
                f"namespace is of {given.baseurl}, but the client of {baseurl}: pass a Namespace of "
                "the client's portal"
            )
        self._baseurl = baseurl
        self._settings = settings
        self._given = given
        # One at most, made at the first path.
        self._own: dict[str, Namespace] = {}
        self.listener: Callable[[Ended], object] | None = None

    def find(self, path: str, scope: CancelScope) -> int:
        """Return the ID of the file at a path.

        Raises:
            Cancelled: `scope` was cancelled.
            NamespaceError: The path cannot be looked up, or is not a file. Subclasses say why.
            ValueError: Neither the environment nor a profile says who signs in.
        """
        return named(stat_within(self.names(), path, scope), path)

    def names(self) -> Namespace:
        """Return the Namespace to look paths up in."""
        if self._given is not None:
            return self._given
        own = self._own.get("")
        if own is None:
            # Two threads may come here at once: one Namespace is kept, the other was never used.
            own = self._own.setdefault("", self._make())
            listen_to(own, self.listener)
        return own

    @property
    def known_names(self) -> Namespace | None:
        """The Namespace to look paths up in. None: no path was looked up yet."""
        return self._given or self._own.get("")

    def listen(self, listener: Callable[[Ended], object] | None) -> None:
        """Call a function with each request of the Namespace that has ended. None: no function."""
        self.listener = listener
        names = self.known_names
        if names is not None:
            listen_to(names, listener)

    def _make(self) -> Namespace:
        try:
            return Namespace(self._baseurl, settings=self._settings)
        except MissingAccountError as error:
            raise ValueError(
                f"a path is looked up with the account of a user: set {' and '.join(error.variables)}, "
                f"{error.advice}, or pass DirectIO(namespace=Namespace(...))"
            ) from None

    def close(self) -> None:
        """Sign out, and close what the client made. A Namespace that it was given stays open."""
        for own in list(self._own.values()):
            own.close()


class FolderLookup:
    """Looks up the paths of one batch: those of one folder share its listing.

    Args:
        lookup: Looks up a single path.
        files: What names the files of the batch. Those that are not paths do not matter.
    """

    def __init__(self, lookup: Lookup, files: Iterable[Any]) -> None:
        self._lookup = lookup
        self._wanted: dict[str, set[str]] = {}
        for file in files:
            # A malformed one fails later, as an item of its own.
            with contextlib.suppress(TypeError, ValueError):
                path = as_path(file)
                if path is not None:
                    self._wanted.setdefault(_parent(path), set()).add(path)
        self._found: dict[str, dict[str, Entry]] = {}
        self._listings: SingleFlight[dict[str, Entry]] = SingleFlight()

    def find(self, path: str, scope: CancelScope) -> int:
        """Return the ID of the file at a path of the batch. Raise what `Lookup.find` does."""
        folder = _parent(path)
        entry = None
        if len(self._wanted.get(folder, ())) >= _MIN_LISTED:
            entry = self._list(folder, path, scope).get(path)
        # The portal may know more spellings of a name than the one that it lists.
        return self._lookup.find(path, scope) if entry is None else named(entry, path)

    def _list(self, folder: str, path: str, scope: CancelScope) -> dict[str, Entry]:
        """Return the wanted entries of a folder, which is listed once for all threads."""

        def fetch() -> dict[str, Entry]:
            found = self._found.get(folder)
            if found is None:
                wanted = self._wanted[folder]
                names = self._lookup.names()
                try:
                    found = find_within(names, folder, wanted, len(wanted), scope)
                except NamespaceError as error:
                    if isinstance(error, _PORTALS_OWN) or error.errno == errno.ECANCELED:
                        raise
                    # The folder cannot be listed. The lookup of each path may work, or tells its own
                    # error.
                    found = {}
                self._found[folder] = found
            return found

        try:
            return self._found.get(folder) or self._listings.run(folder, fetch, scope)
        except NamespaceError as error:
            # One file fails here, not its folder.
            error.filename = path
            raise


def named(entry: Entry, path: str) -> int:
    """Return the ID of an entry that was found by a path. Raise what `id_of` does."""
    return NamedFileID(id_of(entry), path)


def _origin(baseurl: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a portal's URL, each in one spelling."""
    address = PortalAddress.of(baseurl)
    assert address is not None  # The client and the Namespace have checked their URLs.
    host = address.host.rstrip(".")
    if not host.isascii():
        # As requests connects. Python's codec "idna" (RFC 3490) takes another host for the same one.
        with contextlib.suppress(ValueError):
            host = parse_url(f"https://{host}").host or host
    return address.scheme, host, address.port


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
