"""What the portal says about a file or folder, in each listing."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote

from .accounts import Accounts
from .nodes import CloudFolder, Node, State, content_facts
from .options import PortalOptions
from .views import Container, Place
from .wire import CLASS

#: Folders have IDs from here on if the options say so, far above those of files.
_FIRST_FOLDER_ID = 10**9


class Describer:
    """Writes the ResourceInfo of objects. One is made for each answer.

    Args:
        accounts: The users.
        options: How the portal behaves.
        context: The context that the paths are for.
    """

    def __init__(self, accounts: Accounts, options: PortalOptions, context: str) -> None:
        self._accounts = accounts
        self._options = options
        self._context = context
        # A page has many items of one folder, so what these have in common is written once.
        self._parents: dict[tuple[str, ...], str] = {}
        self._cloud_folders: dict[int, dict[str, Any]] = {}

    def info(self, place: Place) -> dict[str, Any]:
        """Return the ResourceInfo of an object."""
        if isinstance(place.item, Container):
            return self._container_info(place)
        return self._node_info(place, place.item)

    def _container_info(self, place: Place) -> dict[str, Any]:
        return {
            CLASS: "ResourceInfo",
            "name": place.parts[-1] if place.parts else "",
            "href": self._href(place.parts, True),
            "isFolder": True,
            "isDeleted": False,
            "size": 0 if self._options.folder_size == "zero" else None,
            "lastmodified": None,
            "permalink": None,
            "cloudFolderInfo": None,
            "scope": place.scope,
            "permission": "ReadOnly",
            "extension": None,
            "isShared": False,
            "hasLinks": False,
        }

    def _node_info(self, place: Place, node: Node) -> dict[str, Any]:
        state = node.state_at(place.moment) or node.history[0]
        size, modified = self._facts(node, state)
        info: dict[str, Any] = {
            CLASS: "ResourceInfo",
            "name": state.name,
            "href": self._href(place.parts, node.is_folder),
            "isFolder": node.is_folder,
            "isDeleted": state.deleted,
            "size": size,
            "lastmodified": format_local_time(modified, self._options.utc_offset_s),
            "permalink": f"/ServicesPortal/#/cloudDrive/{node.guid}",
            "cloudFolderInfo": self._cloud_folder_info(node.cloud_folder),
            "scope": place.scope,
            "permission": "ReadWrite",
            "extension": None if node.is_folder else extension_of(state.name),
            "isShared": place.scope == "Shared",
            "hasLinks": False,
        }
        file_id = state.file_id if self._options.files_have_ids else None
        if node.is_folder and self._options.folders_have_ids:
            file_id = _FIRST_FOLDER_ID + node.history[0].change
        if file_id is not None:
            info["fileId"] = file_id
        return info

    def _facts(self, node: Node, state: State) -> tuple[int | None, float]:
        if not node.is_folder:
            return content_facts(state)
        if self._options.folder_size == "total":
            return _total(node), state.modified
        return (0 if self._options.folder_size == "zero" else None), state.modified

    def _cloud_folder_info(self, folder: CloudFolder) -> dict[str, Any]:
        if folder.uid not in self._cloud_folders:
            owner = self._accounts.get(folder.owner)
            self._cloud_folders[folder.uid] = {
                CLASS: "CloudFolderInfo",
                "uid": folder.uid,
                "name": folder.name,
                "groupUid": owner.uid,
                "passphraseProtected": False,
                "ownerUid": owner.uid,
                "ownerFriendlyName": owner.full_name,
            }
        return self._cloud_folders[folder.uid]

    def _href(self, parts: tuple[str, ...], is_folder: bool) -> str:
        slash = "/" if is_folder and self._options.href_ends_in_slash else ""
        if not parts:
            return format_reference((), self._context) + slash
        above = parts[:-1]
        if above not in self._parents:
            self._parents[above] = format_reference(above, self._context)
        return f"{self._parents[above]}/{quote(parts[-1], safe='')}{slash}"


def split_reference(reference: str, context: str) -> tuple[str, ...] | None:
    """Return the parts of a percent-encoded path below `/{context}/webdav`, or None."""
    start = f"/{context}/webdav"
    if reference != start and not reference.startswith(f"{start}/"):
        return None
    return tuple(unquote(part) for part in reference[len(start) :].split("/") if part)


def format_reference(parts: Sequence[str], context: str) -> str:
    """Return the percent-encoded path of some parts, below `/{context}/webdav`."""
    return f"/{context}/webdav" + "".join(f"/{quote(part, safe='')}" for part in parts)


def extension_of(name: str) -> str:
    """Return the extension of a file name without its dot, or an empty text."""
    stem, dot, extension = name.rpartition(".")
    return extension if dot and stem else ""


def format_local_time(seconds: float, utc_offset_s: int) -> str:
    """Return a time in seconds since the epoch as the portal's local time, without a zone."""
    return _format_whole_seconds(int(seconds) + utc_offset_s)


@functools.lru_cache(maxsize=1024)
def _format_whole_seconds(seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def _total(folder: Node) -> int:
    return sum(
        _total(child) if child.is_folder else content_facts(child.state)[0]
        for child in folder.children.values()
    )
