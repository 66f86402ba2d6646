"""From the ancestors of an object to a path that the same view of the portal takes."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from .._base.cancellation import CancelScope
from ..exceptions import AccessDeniedError, NotAFolderError, PathNotFoundError
from ..types import Ancestor, Entry, Event
from .calls import PortalCalls, Refused
from .changes import Feed
from .messages import MalformedAnswer, read_text
from .names import Names, is_name

__all__ = ["EventPaths"]

_USERS = "/Users"
#: Where a user's view has the folders of others.
_SHARED = "/Shared With Me"


class EventPaths:
    """Finds the paths of objects. Thread-safe, and keeps nothing.

    The ancestors of an object begin with its cloud folder, whose name is not yet a path: an
    administrator's paths begin with the owner, and a user sees some folders as shared ones.

    Args:
        feed: Tells the ancestors.
        names: Looks paths up.
        calls: Makes other calls.
        context: "ServicesPortal" or "admin".
    """

    def __init__(self, feed: Feed, names: Names, calls: PortalCalls, context: str) -> None:
        self._feed = feed
        self._names = names
        self._calls = calls
        self._context = context

    def find(self, event: Event, scope: CancelScope) -> str:
        """Return the path of the object of an event.

        Raises:
            PathNotFoundError: The object is gone, or this view has no path for it.
            NamespaceError: The portal does not answer, or not as it should.
            Cancelled: The scope was cancelled.
        """
        if event.deleted:
            raise PathNotFoundError("The object of the event was deleted", event.name)
        steps = self._feed.ancestors(event, scope)
        path = None
        if event.folder_id is not None:
            find = self._find_owned if self._context == "admin" else self._find_seen
            path = find(event.folder_id, steps, scope)
        elif self._context != "admin":
            path = _append("/", steps)
        if path is None:
            raise PathNotFoundError(
                "This view of the portal has no path for the cloud folder of the event: sign in as "
                "a user who sees it",
                steps[-1].name,
            )
        return path

    def _join(self, root: str, steps: list[Ancestor], scope: CancelScope) -> str | None:
        """Return the path of the last step, given that of the cloud folder. None: there is none."""
        path = _append(root, steps[1:])
        if root.rpartition("/")[2] == steps[0].name:
            return path
        # The cloud folder was renamed meanwhile, or the portal leaves it out of the ancestors.
        for found in (path, _append(root, steps)):
            try:
                return self._names.stat(found, scope).path
            except PathNotFoundError:
                continue
        return None

    # --- an administrator's view ---------------------------------------------------------------------

    def _find_owned(self, folder_id: int, steps: list[Ancestor], scope: CancelScope) -> str | None:
        root = self._ask_for_root(folder_id, scope)
        if root is None:
            root = self._look_for_root(folder_id, scope)
        return None if root is None else self._join(root, steps, scope)

    def _ask_for_root(self, folder_id: int, scope: CancelScope) -> str | None:
        """Return the path of a cloud folder, if the portal tells it by the folder's ID."""

        def read(answer: Any) -> str | None:
            if not isinstance(answer, dict):
                raise MalformedAnswer("a cloud folder is expected where it has something else")
            href = read_text(answer.get("webDavPartialUrl")) or ""
            parts = [unquote(part, errors="surrogateescape") for part in href.strip("/").split("/")]
            return "/" + "/".join(parts) if all(map(is_name, parts)) else None

        try:
            return self._calls.get(f"/objs/{folder_id}", read, scope)
        except (Refused, AccessDeniedError):
            return None

    def _look_for_root(self, folder_id: int, scope: CancelScope) -> str | None:
        """Return the path of a cloud folder by listing the folders of all users."""
        for owner in self._list(_USERS, scope):
            for folder in self._list(owner.path, scope) if owner.is_dir else ():
                if folder.folder_id == folder_id and folder.is_dir:
                    return folder.path
        return None

    # --- a user's view -------------------------------------------------------------------------------

    def _find_seen(self, folder_id: int, steps: list[Ancestor], scope: CancelScope) -> str | None:
        root = f"/{steps[0].name}"
        top = self._stat(root, scope)
        if top is not None and top.folder_id == folder_id:
            return _append(root, steps[1:])
        # What is shared may be the cloud folder or a folder in it.
        for entry in self._list(_SHARED, scope):
            for number, step in enumerate(steps):
                if entry.folder_id == folder_id and entry.name == step.name:
                    return _append(entry.path, steps[number + 1 :])
        for entry in self._list("/", scope):
            if entry.folder_id == folder_id and entry.is_dir:
                return self._join(entry.path, steps, scope)
        if top is not None and top.folder_id is None:
            # The portal does not tell the IDs of cloud folders, so the name has to do.
            return _append(root, steps[1:])
        # An administrator of the team sees the folders of all users.
        owned = self._look_for_root(folder_id, scope)
        return None if owned is None else self._join(owned, steps, scope)

    def _stat(self, path: str, scope: CancelScope) -> Entry | None:
        """Return the entry of a folder, or None if there is no such folder for this user."""
        try:
            entry = self._names.stat(path, scope)
        except (PathNotFoundError, AccessDeniedError):
            return None
        return entry if entry.is_dir else None

    def _list(self, path: str, scope: CancelScope) -> list[Entry]:
        """Return the entries of a folder that may not be there."""
        entries: list[Entry] = []
        try:
            pager = self._names.pager(path, scope)
            while not pager.complete:
                entries += pager.next_page()
        except (PathNotFoundError, AccessDeniedError, NotAFolderError):
            return []
        return entries


def _append(folder: str, steps: list[Ancestor]) -> str:
    return folder.rstrip("/") + "".join(f"/{step.name}" for step in steps)
