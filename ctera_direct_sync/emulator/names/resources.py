"""The calls that name files: fetchResources and listSnapshots."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import Any, Callable, NamedTuple, Optional
from urllib.parse import quote, unquote

from .accounts import Accounts
from .calls import RequestError
from .nodes import Node, State, content_facts
from .options import PortalOptions
from .tree import Tree
from .views import (
    PREVIOUS_VERSIONS,
    Container,
    Item,
    PermissionDenied,
    Place,
    View,
    format_moment,
    place_in,
)
from .wire import CLASS

#: The largest file that is read for a search by content, in bytes.
_MAX_SEARCHED_BYTES = 16 * 1024 * 1024
_DEFAULT_LIMIT = 100


class _Page(NamedTuple):
    """The parameters of fetchResources."""

    depth: str
    start: int
    limit: int
    include_deleted: bool
    filters: tuple[Callable[[Node], bool], ...]


class Resources:
    """Answers the calls that list, stat and search.

    Args:
        tree: The files and folders.
        accounts: The users.
        options: How the portal behaves.
    """

    def __init__(self, tree: Tree, accounts: Accounts, options: PortalOptions) -> None:
        self._tree = tree
        self._accounts = accounts
        self._options = options

    def fetch(self, view: View, context: str, parameter: Any) -> dict[str, Any]:
        """Return the answer to fetchResources.

        Raises:
            RequestError: The parameter is not one of fetchResources.
        """
        page = self._page(parameter)
        parts = split_reference(str(parameter.get("root") or ""), context)
        if parts is None:
            return _answer(None, [], False, "DestinationNotExists")
        try:
            with self._tree.lock:
                return self._fetch(view, context, parts, page)
        except PermissionDenied:
            if self._options.denied == "403":
                raise RequestError(403, "Permission denied") from None
            return _answer(None, [], False, "PermissionDenied")

    def snapshots(self, view: View, context: str, reference: Any) -> list[dict[str, Any]]:
        """Return the answer to listSnapshots.

        Raises:
            RequestError: The path is unknown, or the user may not look there.
        """
        parts = split_reference(str(reference or ""), context)
        with self._tree.lock:
            try:
                place = None if parts is None else view.find(parts)
            except PermissionDenied:
                raise RequestError(403, "Permission denied") from None
            if place is None:
                raise RequestError(500, "There is no such path")
            return self._snapshots(view, place, context)

    def info(self, context: str, place: Place) -> dict[str, Any]:
        """Return what the portal says about an object."""
        if isinstance(place.item, Container):
            return self._container_info(context, place)
        return self._node_info(context, place, place.item)

    def lastmodified(self, seconds: float) -> str:
        """Return a time in seconds since the epoch as the portal's local time, without a zone."""
        local = int(seconds) + self._options.utc_offset_s
        moment = datetime.datetime.fromtimestamp(local, datetime.timezone.utc)
        return moment.strftime("%Y-%m-%dT%H:%M:%S")

    def _page(self, parameter: Any) -> _Page:
        if not isinstance(parameter, dict):
            raise RequestError(500, "fetchResources needs an object of FetchResourcesParam")
        try:
            start = int(parameter.get("start") or 0)
            limit = int(parameter.get("limit") or _DEFAULT_LIMIT)
        except ValueError:
            raise RequestError(500, "start and limit must be numbers") from None
        if start < 0 or limit < 1:
            raise RequestError(500, "start must not be negative, and limit must be positive")
        if self._options.page_cap is not None:
            limit = min(limit, self._options.page_cap)
        return _Page(
            str(parameter.get("depth") or "1"),
            start,
            limit,
            parameter.get("includeDeleted") == "true",
            tuple(self._filters(parameter)),
        )

    def _filters(self, parameter: dict[str, Any]) -> Iterator[Callable[[Node], bool]]:
        criteria = parameter.get("searchCriteria")
        if criteria:
            yield _name_filter("contains", str(criteria))
        if self._options.search_filters:
            for each in parameter.get("searchFilters") or []:
                yield _parse_filter(each)

    def _fetch(
        self, view: View, context: str, parts: tuple[str, ...], page: _Page
    ) -> dict[str, Any]:
        place = view.find(parts)
        if place is None:
            told = page.depth != "0" or self._options.stat_error_type
            return _answer(None, [], False, "DestinationNotExists" if told else None)
        root = self.info(context, place)
        if page.depth == "0":
            return _answer(root, [], False)
        items: Sequence[Place]
        if page.filters or (page.depth == "Infinity" and self._options.infinity == "all"):
            found = [
                each
                for each in self._below(view, place, page.include_deleted, page.depth)
                if _matches(each.item, page.filters)
            ]
            total = len(found)
            items = found[page.start : page.start + page.limit]
        else:
            listed = self._listed(view, place, page.include_deleted)
            total = len(listed)
            items = [place_in(place, item) for item in listed[page.start : page.start + page.limit]]
        infos = [self.info(context, each) for each in items]
        return _answer(root, infos, page.start + page.limit < total)

    @staticmethod
    def _listed(view: View, place: Place, include_deleted: bool) -> Sequence[Item]:
        if isinstance(place.item, Node) and not place.item.is_folder:
            return []
        return view.items(place, include_deleted)

    def _below(
        self, view: View, folder: Place, include_deleted: bool, depth: str
    ) -> Iterator[Place]:
        queue = [folder]
        while queue:
            place = queue.pop(0)
            try:
                items = self._listed(view, place, include_deleted)
            except PermissionDenied:
                if place is folder:
                    raise
                continue
            for item in items:
                found = place_in(place, item)
                yield found
                if depth == "Infinity" and _may_hold(item):
                    queue.append(found)

    def _snapshots(self, view: View, place: Place, context: str) -> list[dict[str, Any]]:
        node = place.item
        top = view.find(place.parts[: place.top])
        if not isinstance(node, Node) or top is None or not isinstance(top.item, Node):
            raise RequestError(500, "The path has no previous versions")
        snapshots = []
        times = sorted(_change_times(node))
        for index, moment in enumerate(times):
            rest = _path_at(node, moment, top.item)
            if rest is None:
                continue
            last = index + 1 == len(times)
            until = self._tree.now() if last else times[index + 1]
            base = (*place.parts[: place.top], PREVIOUS_VERSIONS, format_moment(moment))
            snapshots.append(
                {
                    CLASS: "SnapshotResp",
                    "url": format_reference(base, context),
                    "path": "".join(f"/{quote(part, safe='')}" for part in rest),
                    "current": last,
                    "startTimestamp": format_moment(moment),
                    "calculatedTimestamp": format_moment(until),
                }
            )
        return snapshots

    def _container_info(self, context: str, place: Place) -> dict[str, Any]:
        return {
            CLASS: "ResourceInfo",
            "name": place.parts[-1] if place.parts else "",
            "href": self._href(place.parts, context, True),
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

    def _node_info(self, context: str, place: Place, node: Node) -> dict[str, Any]:
        state = node.state_at(place.moment) or node.history[0]
        size, modified = self._facts(node, state)
        info: dict[str, Any] = {
            CLASS: "ResourceInfo",
            "name": state.name,
            "href": self._href(place.parts, context, node.is_folder),
            "isFolder": node.is_folder,
            "isDeleted": state.deleted,
            "size": size,
            "lastmodified": self.lastmodified(modified),
            "permalink": f"/ServicesPortal/#/cloudDrive/{node.guid}",
            "cloudFolderInfo": self._cloud_folder_info(node),
            "scope": place.scope,
            "permission": "ReadWrite",
            "extension": None if node.is_folder else extension_of(state.name),
            "isShared": place.scope == "Shared",
            "hasLinks": False,
        }
        file_id = state.file_id
        if node.is_folder and self._options.folders_have_ids:
            file_id = folder_id(node)
        if file_id is not None:
            info["fileId"] = file_id
        return info

    def _facts(self, node: Node, state: State) -> tuple[Optional[int], float]:
        if not node.is_folder:
            return content_facts(state)
        if self._options.folder_size == "total":
            return _total(node), state.modified
        return (0 if self._options.folder_size == "zero" else None), state.modified

    def _cloud_folder_info(self, node: Node) -> dict[str, Any]:
        folder = node.cloud_folder
        owner = self._accounts.get(folder.owner)
        return {
            CLASS: "CloudFolderInfo",
            "uid": folder.uid,
            "name": folder.name,
            "groupUid": owner.uid,
            "passphraseProtected": False,
            "ownerUid": owner.uid,
            "ownerFriendlyName": owner.full_name,
        }

    def _href(self, parts: tuple[str, ...], context: str, is_folder: bool) -> str:
        slash = "/" if is_folder and self._options.href_ends_in_slash else ""
        return format_reference(parts, context) + slash


def split_reference(reference: str, context: str) -> Optional[tuple[str, ...]]:
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


def folder_id(folder: Node) -> int:
    """Return a number for a folder that is not the ID of a file."""
    return 10**9 + folder.history[0].change


def _answer(
    root: Any, items: list[dict[str, Any]], has_more: bool, error: Optional[str] = None
) -> dict[str, Any]:
    return {
        CLASS: "FetchResourcesResp",
        "errorType": error,
        "hasMore": has_more,
        "root": root,
        "items": items,
    }


def _matches(item: Item, filters: tuple[Callable[[Node], bool], ...]) -> bool:
    if not filters:
        return True
    return isinstance(item, Node) and all(accepts(item) for accepts in filters)


def _may_hold(item: Item) -> bool:
    return isinstance(item, Container) or (item.is_folder and not item.state.deleted)


def _parse_filter(value: Any) -> Callable[[Node], bool]:
    if not isinstance(value, dict):
        raise RequestError(500, "a search filter is an object")
    field, operator = value.get("field"), value.get("operator")
    text = str(value.get("value") or "")
    if field == "name" and operator in ("eq", "neq", "contains"):
        return _name_filter(str(operator), text)
    if field == "extension" and operator in ("eq", "neq"):
        return _extension_filter(str(operator), text)
    if field == "content" and operator == "contains":
        return lambda node: _content_contains(node, text)
    raise RequestError(500, f"a search cannot filter {field} by {operator}")


def _name_filter(operator: str, text: str) -> Callable[[Node], bool]:
    wanted = text.lower()
    if operator == "contains":
        return lambda node: wanted in node.name.lower()
    if operator == "eq":
        return lambda node: node.name.lower() == wanted
    return lambda node: node.name.lower() != wanted


def _extension_filter(operator: str, text: str) -> Callable[[Node], bool]:
    wanted = text.lower().lstrip(".")

    def accepts(node: Node) -> bool:
        if node.is_folder:
            return False
        return (extension_of(node.name).lower() == wanted) is (operator == "eq")

    return accepts


def _content_contains(node: Node, text: str) -> bool:
    source = node.state.source
    if source is None or source.size > _MAX_SEARCHED_BYTES:
        return False
    return text.encode("utf-8").lower() in bytes(source.read(0, source.size)).lower()


def _change_times(node: Node) -> set[int]:
    """Return when a file, or anything in a folder, became what it then was."""
    if not node.is_folder:
        return {state.since for state in node.history if not state.deleted}
    times = {state.since for state in node.history}
    for child in (*node.children.values(), *node.former):
        times |= _change_times(child)
        times |= {state.since for state in child.history}
    return times


def _path_at(node: Node, moment: int, top: Node) -> Optional[list[str]]:
    """Return the path that an object had at a time, below the folder `top`, or None."""
    parts: list[str] = []
    while node is not top:
        state = node.state_at(moment)
        if state is None or state.deleted or state.parent is None:
            return None
        parts.insert(0, state.name)
        node = state.parent
    return parts


def _total(folder: Node) -> int:
    return sum(
        _total(child) if child.is_folder else content_facts(child.state)[0]
        for child in folder.children.values()
    )
