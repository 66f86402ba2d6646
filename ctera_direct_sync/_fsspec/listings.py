"""From a path to the block list of a file."""

from __future__ import annotations

import contextlib
import copy
import errno
import time
from collections import OrderedDict
from typing import Any, Callable

from .._core import core_of
from ..client import DirectIO
from ..exceptions import DirectIOError, IsAFolderError, LoginError, NamespaceError
from ..types import Metadata
from .errors import translate, translated
from .files import Listed
from .instances import PortalHost, shared_client
from .names import PortalNames
from .paths import (
    SCHEME,
    is_file_id,
    is_side_car,
    may_be_host,
    plain_names,
    split,
    strip_scheme,
)
from .read_only import ReadOnlyFileSystem
from .sightings import Sightings, shrink

__all__ = ["ListedFileSystem"]


class _Paths:
    """The method `_strip_protocol`, of the class and of an instance, which knows its own host."""

    def __get__(
        self, instance: ListedFileSystem | None, owner: type | None = None
    ) -> Callable[[Any], Any]:
        return strip_scheme if instance is None else instance._own_path


class ListedFileSystem(ReadOnlyFileSystem):
    """A file system that lists files by their ID, and keeps the block lists for a while."""

    _strip_protocol = _Paths()

    host: str
    """The portal's host, with the port unless it is the default one."""
    _portal: PortalHost
    _client: DirectIO
    _sightings: Sightings
    _listings: OrderedDict[int, Listed]
    _max_listings: int | None
    _expiry: float | None
    #: None: no account is known so far.
    _known_names: PortalNames | None

    @property
    def _names(self) -> PortalNames | None:
        """What looks up paths of names. None: there is no account.

        Only a path of names may ask for it: it may read the stored profile, and unlock the keyring.
        """
        if self._known_names is None:
            self._known_names = self._stored_names()
        return self._known_names

    def _stored_names(self) -> PortalNames | None:
        """Return what looks up paths of names with the account of the stored profile, or None."""
        raise NotImplementedError

    @property
    def client(self) -> DirectIO:
        """The client, which equal file systems share. If it was closed, a new one is made."""
        if core_of(self._client).closed:
            self._client = shared_client(copy.copy(self._client))
        return self._client

    # --- names -----------------------------------------------------------------------------------------

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        text = str(path)
        if not text.startswith(SCHEME):
            return {}
        host = split(text).host
        return {"host": host} if host else {}

    def unstrip_protocol(self, name: str) -> str:
        """Return the whole URL of a path of this file system."""
        return f"{SCHEME}{self._own_path(name)}"

    def _own_path(self, path: Any) -> Any:
        """Return a path with the portal's host.

        Raises:
            ValueError: The path is of another portal.
        """
        if isinstance(path, (list, tuple)):
            return [self._own_path(one) for one in path]
        parts = split(path)
        rest = parts.rest
        if parts.host is not None and not self._portal.is_named(parts.host):
            is_host = may_be_host(parts.host) and is_file_id(rest.partition("/")[0])
            if parts.is_url or is_host:
                raise ValueError(
                    f"the path is of portal {parts.host}, but this file system is of portal "
                    f"{self.host}: make one for {parts.host}, as fsspec.open does for each URL"
                )
            rest = f"{parts.host}/{rest}"
        return f"{self.host}/{plain_names(rest)}".rstrip("/")

    def _folder_of(self, path: str) -> str:
        """Return the folder that lists a path of this file system. That of `~/2026` is the root."""
        return str(self._own_path(path.rpartition("/")[0] or self.host))

    def _is_named(self, path: str) -> bool:
        """Return whether a path is one of names, and there is an account to look it up by."""
        first = self._own_path(path)[len(self.host) + 1 :].partition("/")[0]
        return not is_file_id(first) and self._names is not None

    def _named(self, path: str, *, fresh: bool = False) -> dict[str, Any]:
        """Return what the portal says of a path of names."""
        assert self._names is not None
        path = self._own_path(path)
        if fresh:
            self.dircache.pop(self._folder_of(path), None)
        for found in self.dircache.get(self._folder_of(path), None) or ():
            if found["name"] == path:
                return dict(found)
        return self._names.info(path)

    @staticmethod
    def _file_id_of(named: dict[str, Any]) -> int:
        """Return the file ID of what was found by its name."""
        if named["type"] == "directory":
            raise IsAFolderError("this is a folder: give the path of a file", named["name"])
        if named["file_id"] is None:
            text = "the portal gives no file ID for this file, so it cannot be read"
            raise NamespaceError(text, named["name"], errno=errno.ENODATA)
        return int(named["file_id"])

    def _file_id_and_name(self, path: str) -> tuple[int, str]:
        if self._is_named(path):
            return self._file_id_of(self._named(path)), ""
        within = self._own_path(path)[len(self.host) + 1 :]
        self._require_account(within)
        first, _, name = within.partition("/")
        if not first:
            raise FileNotFoundError(
                errno.ENOENT,
                "this is the portal itself: a file is ctera://<portal-host>/<file_id>[/name.ext], or a "
                "path of names",
                str(path),
            )
        return int(first), name.strip("/")

    def _require_account(self, within: str) -> None:
        """Raise LoginError for a path of names, if there is no account to look it up by.

        Args:
            within: The path without the host.
        """
        first = within.partition("/")[0]
        if first and not is_file_id(first) and self._names is None:
            raise LoginError(
                "this is not <file_id>[/name.ext] but a path of names, which is looked up with an "
                "account: give username and password as storage_options, set "
                "CTERA_DIRECT_USERNAME and CTERA_DIRECT_PASSWORD, or run ctera-direct login",
                f"/{within}",
            )

    def _file_id(self, path: str) -> int:
        return self._file_id_and_name(path)[0]

    def _check_name(self, path: str, file_id: int, name: str, asking: bool) -> None:
        """Raise FileNotFoundError if `name` cannot be the name of the file.

        Args:
            path: The path, for the message.
            file_id: The file's ID.
            name: What follows the ID in the path.
            asking: Whether the caller only asks for the file. Then the name of a side-car is taken for
                that of a missing file.
        """
        known = self._sightings.names.get(file_id, name)
        if "/" in name:
            raise FileNotFoundError(
                errno.ENOENT, f"file {file_id} is not a folder: nothing lies below it", str(path)
            )
        if name and known != name:
            raise FileNotFoundError(
                errno.ENOENT,
                f"file {file_id} was first asked for as {known!r}, and has no other name here: use "
                "that name, or the file ID alone; invalidate_cache() forgets the name",
                str(path),
            )
        if asking and file_id not in self._sightings.names and is_side_car(name):
            raise FileNotFoundError(
                errno.ENOENT,
                f"{name!r} is looked for beside other files, and file {file_id} was not read under "
                "this name: use the file ID alone",
                str(path),
            )

    # --- listings --------------------------------------------------------------------------------------

    def metadata(self, path: str) -> Metadata:
        """Return the block list of a file, at most `listings_expiry_time` seconds old."""
        return self._listed(path).metadata

    def listed(self, path: str) -> Listed:
        """Return the block list of a file as `metadata` does, with the time of the request."""
        return self._listed(path)

    def _listed(
        self,
        path: str,
        *,
        asking: bool = False,
        fresh: bool = False,
        named: dict[str, Any] | None = None,
    ) -> Listed:
        """Return the block list of a file. From now on the name in the path, if any, is the file's.

        Args:
            path: The path.
            asking: As for `_check_name`.
            fresh: Whether to ask the portal, whatever is known.
            named: What a listing of the same call told of the path, or None.
        """
        if self._is_named(path):
            return self._listed_by_name(path, fresh, named)
        file_id, name = self._file_id_and_name(path)
        self._check_name(path, file_id, name, asking)
        known = self._listed_by_id(path, file_id, fresh)
        self._keep_name(path, file_id, name)
        return known

    def _listed_by_name(
        self, path: str, fresh: bool, given: dict[str, Any] | None = None
    ) -> Listed:
        """Return the block list of a file by its path of names.

        An ID that the portal no longer knows is looked up once more: the file may have been replaced
        since.
        """
        for is_last in (False, True):
            named = given if given is not None and not (fresh or is_last) else None
            if named is None:
                named = self._named(path, fresh=fresh or is_last)
            file_id = self._file_id_of(named)
            known = self._listings.get(file_id)
            is_same = known is not None and known.named is not None
            is_same = is_same and known.named["ETag"] == named["ETag"]  # type: ignore
            try:
                known = self._listed_by_id(path, file_id, fresh or not is_same)
            except FileNotFoundError:
                if is_last:
                    raise
            else:
                known.named = named
                return known
        raise AssertionError

    def _listed_by_id(self, path: str, file_id: int, fresh: bool) -> Listed:
        known = None if fresh else self._listings.get(file_id)
        if known is None or self._is_expired(known):
            asked = time.monotonic()
            with translated(path):
                known = Listed(self.client.metadata(file_id))
            known.asked = asked
            self._listings[file_id] = known
            with contextlib.suppress(KeyError):  # Another thread was faster.
                self._listings.move_to_end(file_id)
            if self._max_listings is not None:
                shrink(self._listings, self._max_listings)
        return known

    def _keep_name(self, path: str, file_id: int, name: str) -> None:
        if name and self._sightings.name(file_id, name) != name:
            # Meanwhile another thread was first, with another name.
            self._check_name(path, file_id, name, asking=False)

    def _is_expired(self, listed: Listed) -> bool:
        return self._expiry is not None and time.monotonic() - listed.asked >= self._expiry

    def describe(self, path: str, listed: Listed) -> dict[str, Any]:
        """Return what `info` says of a file that was listed before."""
        metadata = listed.metadata
        if listed.named is not None and self._is_named(path):
            known = dict(listed.named)
        else:
            seen = self._sightings.first_seen(metadata.file_id, listed)
            known = {"ETag": listed.fingerprint, "mtime": seen.timestamp()}
        return {
            **known,
            "name": self._own_path(path),
            "size": metadata.size,
            "type": "file",
            "file_id": metadata.file_id,
            "blocks": len(metadata.chunks),
            "encrypted": metadata.encrypted,
            "compression": metadata.compression_library,
        }

    def invalidate_listing(self, path: str) -> None:
        """Forget the block list of a file, so that the next call asks the portal."""
        if not self._is_named(path):
            self._listings.pop(self._file_id(path), None)
            return
        path = self._own_path(path)
        self.dircache.pop(path, None)
        self.dircache.pop(self._folder_of(path), None)
        for file_id, listed in list(self._listings.items()):
            if listed.named is not None and listed.named["name"] == path:
                self._listings.pop(file_id, None)

    def read_failed(self, path: str, listed: Listed, error: DirectIOError) -> DirectIOError:
        """Note that blocks of `listed` could not be read, and return the error to raise.

        The file may have been replaced, so the next call lists it anew.
        """
        file_id = listed.metadata.file_id
        if error.errno != errno.ECANCELED and self._listings.get(file_id) is listed:
            self._listings.pop(file_id, None)
        return translate(error, path)
