"""The calls that name files: fetchResources and listSnapshots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from .accounts import Accounts
from .calls import RequestError
from .describe import Describer, format_reference, split_reference
from .nodes import Node
from .options import PortalOptions
from .search import Filter, name_filter, parse_filter
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

_DEFAULT_LIMIT = 100


class _Page(NamedTuple):
    """The parameters of fetchResources."""

    depth: str
    start: int
    limit: int
    include_deleted: bool
    filters: tuple[Filter, ...]


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
        if self._options.max_limit is not None and limit > self._options.max_limit:
            raise RequestError(500, f"limit must not exceed {self._options.max_limit}")
        if self._options.page_cap is not None:
            limit = min(limit, self._options.page_cap)
        return _Page(
            str(parameter.get("depth") or "1"),
            start,
            limit,
            parameter.get("includeDeleted") == "true",
            tuple(self._filters(parameter)),
        )

    def _filters(self, parameter: dict[str, Any]) -> Iterator[Filter]:
        criteria = parameter.get("searchCriteria")
        if criteria:
            yield name_filter("contains", str(criteria))
        if self._options.search_filters:
            for each in parameter.get("searchFilters") or []:
                yield parse_filter(each)

    def _fetch(
        self, view: View, context: str, parts: tuple[str, ...], page: _Page
    ) -> dict[str, Any]:
        place = view.find(parts, page.include_deleted)
        if place is None:
            told = page.depth != "0" or self._options.stat_error_type
            return _answer(None, [], False, "DestinationNotExists" if told else None)
        describer = Describer(self._accounts, self._options, context)
        root = describer.info(place)
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
        infos = [describer.info(each) for each in items]
        shown_root = root if self._options.root_in_listings else None
        return _answer(shown_root, infos, page.start + page.limit < total)

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


def _answer(
    root: Any, items: list[dict[str, Any]], has_more: bool, error: str | None = None
) -> dict[str, Any]:
    return {
        CLASS: "FetchResourcesResp",
        "errorType": error,
        "hasMore": has_more,
        "root": root,
        "items": items,
    }


def _matches(item: Item, filters: tuple[Filter, ...]) -> bool:
    if not filters:
        return True
    return isinstance(item, Node) and all(accepts(item) for accepts in filters)


def _may_hold(item: Item) -> bool:
    return isinstance(item, Container) or item.is_folder


def _change_times(node: Node) -> set[int]:
    """Return when a file, or anything in a folder, became what it then was."""
    if not node.is_folder:
        return {state.since for state in node.history if not state.deleted}
    times = {state.since for state in node.history}
    for child in (*node.children.values(), *node.former):
        times |= _change_times(child)
        times |= {state.since for state in child.history}
    return times


def _path_at(node: Node, moment: int, top: Node) -> list[str] | None:
    """Return the path that an object had at a time, below the folder `top`, or None."""
    parts: list[str] = []
    while node is not top:
        state = node.state_at(moment)
        if state is None or state.deleted or state.parent is None:
            return None
        parts.insert(0, state.name)
        node = state.parent
    return parts
