"""What a user sees at which path: the tree, seen from one context."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import NamedTuple, Union

from .accounts import Accounts, User
from .nodes import Node
from .options import PortalOptions
from .tree import SHARED, USERS, Tree

#: The folder of a cloud folder that leads to its content at earlier times.
PREVIOUS_VERSIONS = "PreviousVersions"
_MOMENT = "%Y-%m-%dT%H:%M:%S.%f"
_EPOCH = datetime.datetime(1970, 1, 1)


class PermissionDenied(Exception):
    """The user may not see what is at a path."""


class Container(NamedTuple):
    """A folder that is not in a cloud folder, such as the root or `Users`.

    Attributes:
        name: The folder's name. The root's is empty.
        scope: What kind of folder it is, in the portal's words.
    """

    name: str
    scope: str


Item = Union[Node, Container]


class Place(NamedTuple):
    """What is at a path.

    Attributes:
        parts: The path's parts, without the context.
        item: The object.
        moment: The time that it is seen at, in microseconds since the epoch. None: today.
        scope: What kind of object it is, in the portal's words.
        top: How many parts lead to the cloud folder, or shared folder, that the object is in.
    """

    parts: tuple[str, ...]
    item: Item
    moment: int | None
    scope: str
    top: int = 0


class View:
    """The tree as one user sees it in one context.

    Args:
        tree: The tree.
        accounts: The users.
        options: How the portal behaves.
        user: Who looks.
        context: `ServicesPortal` or `admin`.
    """

    def __init__(
        self, tree: Tree, accounts: Accounts, options: PortalOptions, user: User, context: str
    ) -> None:
        self._tree = tree
        self._accounts = accounts
        self._options = options
        self._user = user
        self._context = context

    def find(self, parts: tuple[str, ...], include_deleted: bool = False) -> Place | None:
        """Return what is at a path, or None.

        Args:
            parts: The path's parts, without the context.
            include_deleted: Whether to look into the trash where there is no live object.

        Raises:
            PermissionDenied: The user may not look there.
        """
        with self._tree.lock:
            place = Place((), Container("", "Root"), None, "Root")
            while len(place.parts) < len(parts):
                name = parts[len(place.parts)]
                child = self._child(place, name, include_deleted)
                if child is None and name == PREVIOUS_VERSIONS:
                    child = self._at_moment(place, parts)
                if child is None:
                    return None
                place = child
            return place

    def items(self, place: Place, include_deleted: bool = False) -> Sequence[Item]:
        """Return what is in a folder, in the portal's order.

        Raises:
            PermissionDenied: The user may not list the folder.
        """
        with self._tree.lock:
            if isinstance(place.item, Container):
                return self._container_items(place)
            if place.item.denied:
                raise PermissionDenied
            if place.moment is not None:
                return self._sorted(place.item.children_at(place.moment), place.moment)
            return self._today(place.item, include_deleted)

    def _child(self, place: Place, name: str, include_deleted: bool) -> Place | None:
        if isinstance(place.item, Container):
            if place.scope == "UsersFoldersContainer" and not self._user.sees_users:
                raise PermissionDenied
            found = (item for item in self._container_items(place) if item.name == name)
            item = next(found, None)
            return None if item is None else place_in(place, item)
        folder = place.item
        if not folder.is_folder:
            return None
        if folder.denied:
            raise PermissionDenied
        if place.moment is None:
            child = folder.children.get(name)
            if child is None and include_deleted:
                child = next(
                    (each for each in folder.deleted_children() if each.name == name), None
                )
        else:
            nodes = folder.children_at(place.moment)
            child = next((node for node in nodes if name_of(node, place.moment) == name), None)
        return None if child is None else place_in(place, child)

    @staticmethod
    def _at_moment(place: Place, parts: tuple[str, ...]) -> Place | None:
        at = len(place.parts)
        if place.moment is not None or at != place.top or len(parts) < at + 2:
            return None
        moment = parse_moment(parts[at + 1])
        if moment is None:
            return None
        return place._replace(parts=parts[: at + 2], moment=moment)

    def _container_items(self, place: Place) -> list[Item]:
        scope = place.scope
        if scope == "Root":
            return self._root_items()
        if scope == "UsersContainer":
            users = [
                Container(user.full_name, "UsersFoldersContainer") for user in self._everyone()
            ]
            return list(users)
        if scope == "UsersFoldersContainer":
            owner = self._accounts.with_full_name(place.parts[1])
            return [] if owner is None else [each.root for each in self._tree.owned_by(owner)]
        if scope == "SharedContainer":
            return list(self._tree.shared_with(self._user))
        return []

    def _root_items(self) -> list[Item]:
        if self._context == "admin":
            return [
                Container("backupFolders", "BackupsContainer"),
                Container("backups", "BackupsContainer"),
                Container(USERS, "UsersContainer"),
            ]
        items: list[Item] = [each.root for each in self._tree.owned_by(self._user)]
        items.sort(key=lambda item: item.name)
        if self._tree.shared_with(self._user):
            items.append(Container(SHARED, "SharedContainer"))
        if self._user.is_administrator:
            items.append(Container(USERS, "UsersContainer"))
        return items

    def _everyone(self) -> list[User]:
        return sorted(self._accounts.users(), key=lambda user: user.full_name)

    def _today(self, folder: Node, include_deleted: bool) -> list[Node]:
        key = (self._options.order, include_deleted)
        if folder.ordered is None or folder.ordered[0] != key:
            nodes = list(folder.children.values())
            if include_deleted:
                nodes += folder.deleted_children()
            folder.ordered = (key, self._sorted(nodes, None))
        return folder.ordered[1]

    def _sorted(self, nodes: list[Node], moment: int | None) -> list[Node]:
        order = self._options.order
        if order == "created":
            return sorted(nodes, key=lambda node: node.history[0].change)
        by_name = sorted(nodes, key=lambda node: name_of(node, moment), reverse=order == "reversed")
        if order == "folders-first":
            by_name.sort(key=lambda node: not node.is_folder)
        return by_name


def place_in(folder: Place, item: Item) -> Place:
    """Return the place of an item of a folder."""
    if isinstance(item, Container):
        return Place((*folder.parts, item.name), item, None, item.scope)
    parts = (*folder.parts, name_of(item, folder.moment))
    return Place(parts, item, folder.moment, scope_of(item, folder.scope), folder.top or len(parts))


def name_of(node: Node, moment: int | None) -> str:
    """Return the name of an object at a time in microseconds, or today's."""
    state = node.state_at(moment)
    return node.name if state is None else state.name


def scope_of(item: Item, within: str) -> str:
    """Return what kind of object an item is, in the portal's words.

    Args:
        item: The object.
        within: What kind of object the folder is that it is in.
    """
    if isinstance(item, Container):
        return item.scope
    if within == "SharedContainer":
        return "Shared"
    return "Personal" if item.state.parent is None else "InsideCloudFolder"


def format_moment(moment: int) -> str:
    """Return a time in microseconds since the epoch as text."""
    return (_EPOCH + datetime.timedelta(microseconds=moment)).strftime(_MOMENT)


def parse_moment(text: str) -> int | None:
    """Return the time in microseconds since the epoch that `format_moment` wrote, or None."""
    try:
        moment = datetime.datetime.strptime(text, _MOMENT)
    except ValueError:
        return None
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1)
