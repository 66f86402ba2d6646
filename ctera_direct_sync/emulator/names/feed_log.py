"""The changes of the tree in the order in which they happened, for the change feed."""

from __future__ import annotations

import threading
from typing import NamedTuple

from .nodes import Node


class Change(NamedTuple):
    """A change of an object.

    Attributes:
        node: The object.
        state: The number of the state in the object's history that the change led to.
        implied: Whether the change happened to a folder above the object alone.
    """

    node: Node
    state: int
    implied: bool


class ChangeLog:
    """All changes since the tree was made. The caller holds the tree's lock.

    Args:
        lock: The tree's lock.

    Attributes:
        changes: The changes, oldest first.
        by_guid: The objects by their identity.
        grown: Notified, with the tree's lock, when a change was added.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self.changes: list[Change] = []
        self.by_guid: dict[str, Node] = {}
        self.grown = threading.Condition(lock)

    def note(self, node: Node, *, implied: bool = False) -> None:
        """Note that an object has a new state, or another place by way of a folder above it."""
        position = len(self.changes)
        self.changes.append(Change(node, len(node.history) - 1, implied))
        if node.first_change < 0:
            node.first_change = position
            self.by_guid[node.guid] = node
        node.last_change = position
        if not implied:
            node.last_explicit = position
        self.grown.notify_all()

    def note_below(self, folder: Node) -> None:
        """Note that everything in a folder has another place."""
        for child in folder.children.values():
            self.note(child, implied=True)
            self.note_below(child)
