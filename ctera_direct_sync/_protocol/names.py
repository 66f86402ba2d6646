"""Names on a portal: listing, looking up, searching, versions, cloud folders, key pairs (PORTAL 2 to 4)."""

from __future__ import annotations

import contextlib
import datetime
import errno
import re
import unicodedata
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Callable, Generic, NamedTuple, TypeVar
from urllib.parse import quote, unquote, urlsplit

from .._base.cancellation import CancelScope
from ..exceptions import (
    AccessDeniedError,
    NamespaceError,
    NotAFolderError,
    PathNotFoundError,
)
from ..types import CloudFolder, Entry, KeyPair, Token, Version
from .calls import PortalCalls, Refused
from .messages import MalformedAnswer, read_boolean, read_integer, read_text

__all__ = ["Names", "Page", "Pager", "check_path", "is_name", "join_path", "read_time"]

T = TypeVar("T")
E = TypeVar("E")

#: Entries that a page is asked to hold. A portal may give fewer.
_PAGE_LIMIT = 1000
#: What the vendor's client asks for, so each portal takes it.
_SMALL_PAGE_LIMIT = 100
#: Cloud folders that a page is asked to hold, as the vendor's client does.
_FOLDER_LIMIT = 50

#: Entries of one listing that are remembered, to tell those that come twice.
_REMEMBERED = 10_000
#: Pages in a row without anything new after which a listing is given up. Entries that the user may not see
#: can fill many.
_MAX_IDLE_PAGES = 200
#: Steps back in a row after which a listing is given up.
_MAX_STEPS_BACK = 20

_MAX_WORD = 40
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?"
    r"\s*(Z|[+-]\d\d:?\d\d)?\Z",
    re.ASCII | re.IGNORECASE,
)
#: Names that are not names of entries, but steps of a path.
_STEPS = frozenset({"", ".", ".."})


# --- paths ---------------------------------------------------------------------------------------


def check_path(path: Any) -> str:
    """Return a path in its plain form: one slash before each part, and none at the end but for "/".

    Raises:
        TypeError: It is not a text.
        ValueError: It does not begin with a slash, or has parts that lead elsewhere.
    """
    if hasattr(path, "__fspath__"):
        path = path.__fspath__()
    if not isinstance(path, str):
        raise TypeError(f"a path is a str that begins with '/', not {type(path).__name__}")
    if not path.startswith("/"):
        raise ValueError(f"{path!r}: a path on the portal begins with '/', such as '/My Files'")
    parts = [part for part in path.split("/") if part]
    if any(part in _STEPS for part in parts) or "\0" in path:
        raise ValueError(f"{path!r}: '.', '..' and NUL cannot be parts of a path on the portal")
    return "/" + "/".join(parts)


def join_path(folder: str, name: str) -> str:
    """Return the path of something in a folder."""
    return f"/{name}" if folder == "/" else f"{folder}/{name}"


def is_name(text: str) -> bool:
    """Return whether a text from the portal can be a name: programs join names to folders of their disk."""
    return text not in _STEPS and "/" not in text and "\0" not in text


class _Paths:
    """Translates between paths and the ``/{context}/webdav/...`` of the wire.

    Args:
        context: "ServicesPortal" or "admin".
        base_path: The path of the portal's URL. A reverse proxy may put it in front of each ``href``.
    """

    def __init__(self, context: str, base_path: str = "") -> None:
        self._prefix = f"/{context}/webdav"
        self._base_path = base_path.rstrip("/")
        self._last_folder = ("/", f"{self._prefix}/")

    def _encode_folder(self, folder: str) -> str:
        """Return the beginning of the ``href`` of what is in a folder."""
        known, encoded = self._last_folder
        if known != folder:
            encoded = self.encode(folder) + "/"
            # One assignment, since threads share it.
            self._last_folder = (folder, encoded)
        return encoded

    def encode(self, path: str) -> str:
        """Return a path for the wire: percent-encoded UTF-8, with unreserved characters as they are."""
        encoded = None
        with contextlib.suppress(UnicodeEncodeError):
            # Bytes that are not UTF-8 came from the portal in this form, and go back as they were.
            encoded = quote(path, safe="/", errors="surrogateescape")
        if encoded is None:
            raise ValueError(f"{path!r}: the path holds half a surrogate pair, which is not text")
        return self._prefix if path == "/" else self._prefix + encoded

    def decode(self, href: str, folder: str | None = None) -> str | None:
        """Return the path of an ``href``, unquoted once, or None if it is not below this context.

        Args:
            href: The ``href``.
            folder: The folder that was listed, whose own part need not be unquoted each time.
        """
        if folder is not None:
            above = self._encode_folder(folder)
            name = href[len(above) :]
            if href.startswith(above) and name and name[0] != "." and "/" not in name:
                if "%" in name:
                    name = unquote(name, errors="surrogateescape")
                if "/" not in name and name not in _STEPS:
                    return join_path(folder, name)
        text = urlsplit(href).path if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", href) else href
        if self._base_path and text.startswith(f"{self._base_path}{self._prefix}"):
            text = text[len(self._base_path) :]
        if text != self._prefix and not text.startswith(self._prefix + "/"):
            return None
        decoded = unquote(text[len(self._prefix) :], errors="surrogateescape")
        parts = [part for part in decoded.split("/") if part]
        return None if any(part in _STEPS for part in parts) else "/" + "/".join(parts)


# --- pages ---------------------------------------------------------------------------------------


class Page(NamedTuple):
    """A part of a listing."""

    entries: list[Any]
    """The entries."""
    has_more: bool
    """Whether the portal says that more follow."""
    is_folder: bool | None
    """Whether what was listed is a folder, or None if the portal does not tell it."""


def _key_of_entry(entry: Entry) -> Hashable:
    """Return what tells an entry from the others of a listing.

    Several deleted entries of one folder may share a name. So may folders that several users share.
    """
    key = (entry.path, entry.file_id, entry.folder_id, entry.is_deleted)
    if entry.is_deleted and entry.file_id is None:
        return (*key, entry.size, entry.modified)
    return key


class Pager(Generic[E]):
    """Reads one listing page by page, complete and without duplicates. Not thread-safe.

    The portal has no cursor: a page is asked for by its first position. What is added or removed
    meanwhile shifts the positions, so that an entry comes twice or never. Therefore each page is asked
    for from the last entry of the one before. If the new page does not begin with an entry that came
    before, entries were removed, and what moved forward is looked for by stepping back. Pages of a single
    entry leave no room for an overlap.

    Args:
        fetch: Returns the page at a position, of a number of entries at most.
        path: The folder, for errors.
        limit: Entries that a page is asked to hold.
        wanted: Whether an entry belongs into the listing. Others count as positions alone.
        key: Returns what tells an entry from the others.
    """

    def __init__(
        self,
        fetch: Callable[[int, int], Page],
        path: str | None,
        limit: int = _PAGE_LIMIT,
        wanted: Callable[[E], bool] = lambda entry: True,
        key: Callable[[Any], Hashable] = _key_of_entry,
    ) -> None:
        self._fetch = fetch
        self._wanted = wanted
        self._key = key
        self._path = path
        self._limit = limit
        # The keys of what came, oldest first.
        self._seen: dict[Hashable, None] = {}
        self._forgot = False
        self._start = 0
        self._step_back = 0
        self._steps_back = 0
        self._idle_pages = 0
        #: Whether everything came.
        self.complete = False

    def next_page(self) -> list[E]:
        """Return the next entries. The list may be empty, also before the end.

        Raises:
            NamespaceError: The listing cannot be had complete.
        """
        page = self._fetch(self._start, self._limit)
        keys = [self._key(entry) for entry in page.entries]
        if self._start and self._has_gap(keys):
            self._go_back()
            return []
        new: list[E] = []
        for key, entry in zip(keys, page.entries):
            if key in self._seen:
                # It moves to the end of what is remembered.
                del self._seen[key]
            else:
                new.append(entry)
            self._seen[key] = None
        while len(self._seen) > max(_REMEMBERED, 4 * len(keys)):
            del self._seen[next(iter(self._seen))]
            self._forgot = True
        self.complete = not page.has_more
        if not self.complete:
            self._advance(len(keys), bool(new))
        return [entry for entry in new if self._wanted(entry)]

    def _has_gap(self, keys: list[Hashable]) -> bool:
        """Return whether entries may be missing between what came and this page."""
        if self._step_back < 0:  # There was nothing to overlap with.
            return False
        return not keys or keys[0] not in self._seen

    def _go_back(self) -> None:
        self._step_back = max(self._limit, 2 * self._step_back)
        self._steps_back += 1
        if self._steps_back > _MAX_STEPS_BACK or (self._step_back > _REMEMBERED and self._forgot):
            what = "The list of cloud folders" if self._path is None else "The folder"
            raise NamespaceError(
                f"{what} changes too fast to list it complete: try again later",
                self._path,
                errno=errno.EAGAIN,
            )
        self._start = max(0, self._start - self._step_back)

    def _advance(self, count: int, has_new: bool) -> None:
        self._idle_pages = 0 if has_new else self._idle_pages + 1
        if self._idle_pages > _MAX_IDLE_PAGES:
            raise NamespaceError(
                "The portal says that the listing goes on but gives nothing more: try again, and "
                "report it to the portal's administrator",
                self._path,
            )
        if has_new:
            self._step_back = self._steps_back = 0
        if count > 1:
            self._start += count - 1
            self._step_back = max(0, self._step_back)
        elif count == 1:
            # An overlap of one would leave nothing for a portal that gives one at a time.
            self._start += 1
            self._step_back = -1
        elif self._idle_pages % 2 == 0:
            # Empty twice: the portal may leave out what the user may not see. Look behind it, but no
            # further than the smallest page may reach: the portal may give less than it is asked for.
            self._start += min(self._limit, _SMALL_PAGE_LIMIT)
            self._step_back = -1


# --- calls ---------------------------------------------------------------------------------------


class Names:
    """Asks a portal for names. Thread-safe, and keeps nothing that was listed.

    Args:
        calls: Makes the calls.
        context: "ServicesPortal" or "admin".
        base_path: The path of the portal's URL, such as ``/tenant``.
    """

    def __init__(self, calls: PortalCalls, context: str, base_path: str = "") -> None:
        self._calls = calls
        self._context = context
        self._paths = _Paths(context, base_path)
        self._page_limit = _PAGE_LIMIT

    def stat(self, path: str, scope: CancelScope) -> Entry:
        """Return the entry of a path.

        Raises:
            PathNotFoundError: There is nothing at the path.
            AccessDeniedError: The user may not read it.
            NamespaceError: The portal does not answer, or not as it should.
        """

        def read(answer: Any) -> Entry:
            listing = _read_listing(answer, path)
            root = listing.get("root")
            if root is None:
                # What has no root either, but is not an answer to this call, does not tell that nothing is
                # there.
                _need(read_boolean(listing.get("hasMore")), "hasMore")
                raise _not_found(path)
            entry = self._read_entry(root, path, None)
            if entry.is_deleted:
                raise _not_found(path)
            return entry

        parameters = {"depth": 0, "start": 0, "limit": _SMALL_PAGE_LIMIT}
        return _told(lambda: self._fetch(path, parameters, read, scope))

    def pager(
        self,
        path: str,
        scope: CancelScope,
        *,
        include_deleted: bool = False,
        owners: dict[int, str | None] | None = None,
    ) -> Pager[Entry]:
        """Return a reader of a folder's listing.

        Its pages raise what `stat` does, and NotAFolderError.

        Args:
            path: The folder.
            scope: The cancel scope of the listing.
            include_deleted: Whether deleted entries belong into it.
            owners: Takes the owner's name of each cloud folder that is listed, by its ID.
        """
        parameters: dict[str, Any] = {"depth": 1}
        if include_deleted:
            parameters["includeDeleted"] = True

        def fetch(start: int, limit: int) -> Page:
            page = _told(lambda: self._fetch_page(path, parameters, start, limit, scope, owners))
            if start == 0:
                self._check_folder(path, page, scope)
            return page

        def is_wanted(entry: Entry) -> bool:
            return entry.path != path and (include_deleted or not entry.is_deleted)

        return Pager(fetch, path, self._page_limit, is_wanted)

    def search(
        self,
        path: str,
        name: str | None,
        extension: str | None,
        content: str | None,
        scope: CancelScope,
    ) -> Pager[Entry]:
        """Return a reader of what a search below a folder finds. Its pages raise what `stat` does."""
        filters = [
            {"$class": "SearchFilter", "field": field, "operator": operator, "value": value}
            for field, operator, value in (
                ("name", "contains", name),
                ("extension", "eq", extension),
                ("content", "contains", content),
            )
            if value is not None
        ]
        parameters: dict[str, Any] = {"depth": "Infinity", "searchFilters": filters}

        def fetch(start: int, limit: int) -> Page:
            nonlocal parameters
            error: NamespaceError | None = None
            try:
                page = self._fetch_page(path, parameters, start, limit, scope, is_deep=True)
            except Refused as caught:
                error = caught.error
            else:
                is_ignored = "searchFilters" in parameters and any(
                    entry.path != path and not _fits(entry, name, extension)
                    for entry in page.entries
                )
                # What a portal answers that ignores the filters may not even be everything.
                if start or not is_ignored:
                    return page
            # Older portals search by a part of the name alone.
            if content is not None or "searchFilters" not in parameters:
                text = "The portal does not know this kind of search: search by name alone"
                raise (error or NamespaceError(text, path)).with_traceback(None)
            part = name if name is not None else f".{extension}"
            parameters = {"depth": "Infinity", "searchCriteria": part}
            return _told(
                lambda: self._fetch_page(path, parameters, start, limit, scope, is_deep=True)
            )

        def is_wanted(entry: Entry) -> bool:
            if entry.path == path or entry.is_deleted:
                return False
            return _fits(entry, name, extension)

        return Pager(fetch, path, self._page_limit, is_wanted)

    def versions(self, path: str, scope: CancelScope) -> list[Version]:
        """Return the previous versions of a file or folder. Raise as `stat` does."""

        def read(answer: Any) -> list[Version]:
            return [self._read_version(item) for item in _read_list(answer)]

        try:
            return self._calls.execute(
                "listSnapshots", self._paths.encode(path), read, scope, path=path, is_listing=True
            )
        except Refused as caught:
            error = caught.error
        # The portal's words do not tell an unknown path from other refusals.
        self.stat(path, scope)
        raise error.with_traceback(None)

    def folders(self, scope: CancelScope) -> Iterator[CloudFolder]:
        """Yield the cloud folders: all for an administrator, a user's own in a user's view."""
        if self._context == "admin":
            yield from self._all_folders(scope)
            return
        # An entry does not tell the owner, so it is noted beside the entries.
        owners: dict[int, str | None] = {}
        pager = self.pager("/", scope, owners=owners)
        seen: set[int] = set()
        while not pager.complete:
            for entry in pager.next_page():
                if entry.folder_id is None or entry.folder_id in seen or not entry.is_dir:
                    continue
                seen.add(entry.folder_id)
                yield CloudFolder(entry.folder_id, entry.name, owners.get(entry.folder_id))

    def _all_folders(self, scope: CancelScope) -> Iterator[CloudFolder]:
        def fetch(start: int, limit: int) -> Page:
            parameter = {
                "include": ["name", "uid", "owner", "isDeleted"],
                "startFrom": start,
                "countLimit": limit,
            }
            return _told(
                lambda: self._calls.execute(
                    "query",
                    parameter,
                    _read_folders,
                    scope,
                    resource="/cloudDrives",
                    kind="db",
                    is_listing=True,
                )
            )

        pager: Pager[_ListedFolder] = Pager(
            fetch,
            None,
            _FOLDER_LIMIT,
            lambda listed: not listed.is_deleted,
            lambda listed: listed.folder.folder_id,
        )
        while not pager.complete:
            for listed in pager.next_page():
                yield listed.folder

    def create_key_pair(self, scope: CancelScope) -> KeyPair:
        """Make a key pair for Direct IO."""

        def read(answer: Any) -> KeyPair:
            keys = [read_text(_member(answer, name)) for name in ("accessKey", "secretKey")]
            if not keys[0] or not keys[1]:
                raise MalformedAnswer("it has no key pair")
            return KeyPair(Token(keys[0]), Token(keys[1]))

        uid = self._user_id(scope)
        # A second pair that nothing knows of would stay on the portal.
        return _told(
            lambda: self._calls.execute("createApiKey", uid, read, scope, repeatable=False)
        )

    def delete_key_pair(self, access_key_id: str, scope: CancelScope) -> None:
        """Delete a key pair of the user. NamespaceError, ENOENT, if there is no such pair."""
        wanted = Token(access_key_id)

        def read(answer: Any) -> int | None:
            for item in _read_list(answer):
                if read_text(_member(item, "accessKey")) == wanted:
                    return _need(read_integer(_member(item, "uid")), "uid")
            return None

        uid = self._user_id(scope)
        key = _told(lambda: self._calls.execute("getApiKeys", uid, read, scope, may_be_empty=True))
        if key is None:
            raise NamespaceError(
                "The user has no key pair with this access key ID: was it deleted before?",
                errno=errno.ENOENT,
            )
        _told(lambda: self._calls.execute("deleteApiKey", key, _ignore, scope, may_be_empty=True))

    def _user_id(self, scope: CancelScope) -> int:
        """Return the ID of the user who is signed in."""

        def read_session(answer: Any) -> tuple[int | None, str, str | None]:
            reference = read_text(_member(answer, "userRef"))
            # objs/{uid}/{tenant}/PortalUser/{name}
            parts = (reference or "").strip("/").split("/")
            uid = read_integer(parts[1]) if parts[0] == "objs" and len(parts) > 1 else None
            name = read_text(_member(answer, "username"))
            return uid, name or "", read_text(_member(answer, "domain"))

        def read_user(answer: Any) -> int | None:
            return read_integer(_member(answer, "uid"))

        uid, name, domain = _told(lambda: self._calls.get("/currentSession", read_session, scope))
        if uid is not None:
            return uid
        resource = f"/domains/{domain}/adUsers/{name}" if domain else f"/users/{name}"
        uid = _told(
            lambda: self._calls.execute(
                "get-multi", ["/name", "/uid"], read_user, scope, resource=resource, kind="db"
            )
        )
        if uid is None:
            raise NamespaceError("The portal does not tell the user's ID: sign in as a local user")
        return uid

    # --- listings --------------------------------------------------------------------------------

    def _fetch_page(
        self,
        path: str,
        parameters: Mapping[str, Any],
        start: int,
        limit: int,
        scope: CancelScope,
        owners: dict[int, str | None] | None = None,
        *,
        is_deep: bool = False,
    ) -> Page:
        # The largest page that a portal takes is not known, so a refusal is met with a small one.
        limits = [min(limit, self._page_limit)]
        if limits[0] > _SMALL_PAGE_LIMIT:
            limits.append(_SMALL_PAGE_LIMIT)
        refusal: Refused | None = None
        for size in limits:
            try:
                page = self._fetch(
                    path,
                    {**parameters, "start": start, "limit": size},
                    lambda answer: self._read_page(answer, path, owners, is_deep=is_deep),
                    scope,
                )
            except Refused as caught:
                refusal = refusal or caught
                continue
            self._page_limit = size
            return page
        assert refusal is not None
        raise Refused(refusal.error)

    def _fetch(
        self,
        path: str,
        parameters: Mapping[str, Any],
        read: Callable[[Any], T],
        scope: CancelScope,
    ) -> T:
        parameter = {
            "$class": "FetchResourcesParam",
            "root": self._paths.encode(path),
            **parameters,
        }
        return self._calls.execute(
            "fetchResources", parameter, read, scope, path=path, is_listing=True
        )

    def _read_page(
        self, answer: Any, path: str, owners: dict[int, str | None] | None, *, is_deep: bool
    ) -> Page:
        listing = _read_listing(answer, path)
        # Without an `href`, the path of something deep below is not known.
        folder = None if is_deep else path
        entries = [
            self._read_entry(item, None, folder) for item in _read_list(listing.get("items"))
        ]
        if owners is not None:
            _note_owners(listing.get("items"), owners)
        root = listing.get("root")
        is_folder = None if root is None else read_boolean(_member(root, "isFolder"))
        return Page(entries, _need(read_boolean(listing.get("hasMore")), "hasMore"), is_folder)

    def _check_folder(self, path: str, page: Page, scope: CancelScope) -> None:
        """Raise unless the first page of a listing is that of a folder that exists."""
        is_folder = page.is_folder
        if is_folder is None:
            # A portal may list what was asked for among its own entries.
            own = (entry.is_dir for entry in page.entries if entry.path == path)
            is_folder = next(own, None)
        if is_folder is None and not page.entries and not page.has_more:
            # Nothing tells an empty folder from a path that is unknown.
            is_folder = self.stat(path, scope).is_dir
        if is_folder is False:
            raise NotAFolderError("The path is a file: list the folder that it is in", path)

    def _read_entry(self, item: Any, path: str | None, folder: str | None) -> Entry:
        """Return what a ResourceInfo tells.

        Args:
            item: The ResourceInfo.
            path: Its path, if it was asked for.
            folder: The folder that was listed otherwise.
        """
        href = read_text(_member(item, "href"))
        name = read_text(item.get("name"))
        found = path or (self._paths.decode(href, folder) if href else None)
        if name is None and found is not None:
            name = found.rpartition("/")[2]
        if name is None:
            raise MalformedAnswer("an entry has no name")
        if found is None and folder is None:
            raise MalformedAnswer("an entry has no path below this context")
        if path is None and not is_name(name):
            raise MalformedAnswer("an entry's name leads elsewhere")
        is_folder = _need(read_boolean(item.get("isFolder")), "isFolder")
        info = item.get("cloudFolderInfo")
        return Entry(
            found if found is not None else join_path(folder or "/", name),
            name,
            read_integer(item.get("fileId")),
            None if is_folder else read_integer(item.get("size")),
            read_time(read_text(item.get("lastmodified"))),
            is_folder,
            bool(read_boolean(item.get("isDeleted"))),
            read_text(item.get("permalink")),
            read_integer(info.get("uid")) if isinstance(info, dict) else None,
        )

    def _read_version(self, item: Any) -> Version:
        href = (read_text(_member(item, "url")) or "") + (read_text(item.get("path")) or "")
        path = self._paths.decode(href)
        if path is None:
            raise MalformedAnswer("a version has no path")
        started = read_time(read_text(item.get("startTimestamp")))
        return Version(path, started, bool(read_boolean(item.get("current"))))


# --- reading answers -----------------------------------------------------------------------------


def _told(call: Callable[[], T]) -> T:
    """Return what `call` returns. A refusal becomes the error for the caller."""
    try:
        return call()
    except Refused as caught:
        error = caught.error
    raise error.with_traceback(None)


def _not_found(path: str) -> PathNotFoundError:
    return PathNotFoundError("There is nothing at this path, or the user may not see it", path)


def _read_listing(answer: Any, path: str) -> dict[str, Any]:
    """Return the answer of fetchResources, or raise the error that it holds."""
    if not isinstance(answer, dict):
        raise MalformedAnswer("it is not a listing")
    kind = read_text(answer.get("errorType"))
    if not kind:
        return answer
    if kind == "DestinationNotExists":
        raise _not_found(path)
    if kind == "PermissionDenied":
        raise AccessDeniedError("The user may not read this path: ask for the right", path)
    shown = kind if kind.isascii() and kind.isalnum() and len(kind) <= _MAX_WORD else "..."
    raise NamespaceError(f"The portal cannot list this path ({shown}): see its log", path)


def _read_list(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise MalformedAnswer("a list is expected where it has something else")


def _member(item: Any, name: str) -> Any:
    if not isinstance(item, dict):
        raise MalformedAnswer("an object is expected where it has something else")
    return item.get(name)


def _need(value: T | None, name: str) -> T:
    if value is None:
        raise MalformedAnswer(f"{name} is missing")
    return value


def _ignore(answer: Any) -> None:
    """Read nothing."""


class _ListedFolder(NamedTuple):
    """A cloud folder in the list of all."""

    folder: CloudFolder
    """The folder."""
    is_deleted: bool
    """Whether it was deleted."""


def _read_folders(answer: Any) -> Page:
    """Return a page of cloud folders."""
    items = _read_list(_member(answer, "objects"))
    has_more = _need(read_boolean(answer.get("hasMore")), "hasMore")
    folders = []
    for item in items:
        uid = _need(read_integer(_member(item, "uid")), "uid")
        name = _need(read_text(item.get("name")), "name")
        folder = CloudFolder(uid, name, _read_owner(item.get("owner")))
        folders.append(_ListedFolder(folder, bool(read_boolean(item.get("isDeleted")))))
    return Page(folders, has_more, None)


def _note_owners(items: Any, owners: dict[int, str | None]) -> None:
    """Note the owner's name of each cloud folder among some items, by its ID."""
    for item in _read_list(items):
        info = _member(item, "cloudFolderInfo")
        uid = read_integer(_member(info, "uid")) if info is not None else None
        if uid is not None:
            owners[uid] = read_text(info.get("ownerFriendlyName"))


def _read_owner(value: Any) -> str | None:
    """Return the name in a reference such as ``objs/12/acme/PortalUser/alice``."""
    text = read_text(value)
    if not text or not text.startswith("objs/"):
        return text or None
    before, kind, name = text.partition("/PortalUser/")
    return unquote(name) if kind else unquote(before.rpartition("/")[2])


def read_time(text: str | None) -> datetime.datetime | None:
    """Return a time in UTC, or None if it is none. A time without a zone is taken for UTC."""
    if not text:
        return None
    if len(text) == 19 and text[10] == "T":
        # The portal's usual form. The standard library reads it faster.
        with contextlib.suppress(ValueError):
            return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.timezone.utc)
    match = _TIME.match(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(number or 0) for number in match.groups()[:6])
    fraction, zone = match.groups()[6:]
    micros = int((fraction or "0")[:6].ljust(6, "0"))
    utc = datetime.timezone.utc
    try:
        time = datetime.datetime(year, month, day, hour, minute, second, micros, utc)
        if zone and zone.upper() != "Z":
            minutes = int(zone[1:3]) * 60 + int(zone[-2:])
            time -= datetime.timedelta(minutes=-minutes if zone[0] == "-" else minutes)
    except (ValueError, OverflowError):
        return None
    return time


def _fits(entry: Entry, name: str | None, extension: str | None) -> bool:
    """Return whether an entry is what a search by name and extension may find."""
    own = _fold(entry.name)
    if name is not None and _fold(name) not in own:
        return False
    return extension is None or (not entry.is_dir and own.endswith(_fold(f".{extension}")))


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
