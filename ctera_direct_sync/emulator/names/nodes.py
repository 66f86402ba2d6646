"""The files and folders of the tree, each with the history of its states."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from ..sources import FileSource, Source


class State(NamedTuple):
    """What a file or folder was from one change to the next.

    Attributes:
        change: The number of the change in the whole tree, which rises by 1.
        since: The time of the change, in microseconds since the epoch.
        parent: The folder that the object is in. None for the root of a cloud folder.
        name: The object's name.
        deletion: 0 while the object is live; in the trash, the number of the call that deleted it.
        file_id: The ID that Direct IO serves the content under, if any.
        source: The content of a file.
        modified: The time of the last write to the content, in seconds since the epoch.
    """

    change: int
    since: int
    parent: Node | None
    name: str
    deletion: int
    file_id: int | None
    source: Source | None
    modified: float

    @property
    def deleted(self) -> bool:
        """Whether the object is in the trash."""
        return self.deletion != 0


class Node:
    """A file or a folder. It stays the same object when it gets another name or place.

    Attributes:
        guid: The identity, which stays the same when the object is renamed, moved or overwritten.
        cloud_folder: The cloud folder that the object is in.
        is_folder: Whether the object is a folder.
        history: The states, oldest first. The last one is today's.
        children: Of a folder: the live objects in it, by name.
        former: Of a folder: objects that were deleted in it, or moved out of it, as keys.
        denied: Whether permission to list the folder is refused.
        ordered: Of a folder: its last listing, and the order and filter of that listing.
        first_change: The position of its first change in the log of changes. -1: there is none yet.
        last_change: The position of its last change there.
        last_explicit: The position of its last change there that is not implied by a folder's.
    """

    __slots__ = (
        *("guid", "cloud_folder", "is_folder", "history", "children", "former", "denied"),
        *("ordered", "first_change", "last_change", "last_explicit"),
    )

    def __init__(self, cloud_folder: CloudFolder, state: State, is_folder: bool) -> None:
        self.guid = cloud_folder.next_guid()
        self.cloud_folder = cloud_folder
        self.is_folder = is_folder
        self.history = [state]
        self.children: dict[str, Node] = {}
        self.former: dict[Node, None] = {}
        self.denied = False
        self.ordered: tuple[tuple[str, bool], list[Node]] | None = None
        self.first_change = self.last_change = self.last_explicit = -1

    @property
    def state(self) -> State:
        """Today's state."""
        return self.history[-1]

    @property
    def name(self) -> str:
        """Today's name."""
        return self.history[-1].name

    def state_at(self, moment: int | None) -> State | None:
        """Return the state at a time in microseconds, or today's. None: there was no such object."""
        if moment is None:
            return self.history[-1]
        return next((state for state in reversed(self.history) if state.since <= moment), None)

    def children_at(self, moment: int) -> list[Node]:
        """Return the live objects that a folder had at a time in microseconds."""
        found = []
        for node in (*self.children.values(), *self.former):
            state = node.state_at(moment)
            if state is not None and state.parent is self and not state.deleted:
                found.append(node)
        return found

    def deleted_children(self) -> list[Node]:
        """Return the objects that were deleted in a folder."""
        return [node for node in self.former if node.state.deleted and node.state.parent is self]


class CloudFolder:
    """A cloud folder: the unit of ownership and of the change feed.

    Attributes:
        uid: The folder's ID.
        owner: The user name of its owner.
        uuid: What the identities of its objects begin with.
        root: The folder itself, as an object. Its name is the cloud folder's.
        is_deleted: Whether the cloud folder was deleted.
    """

    def __init__(self, uid: int, owner: str, state: State) -> None:
        self.uid = uid
        self.owner = owner
        self.uuid = str(uuid.uuid4())
        self._objects = 0
        self.is_deleted = False
        self.root = Node(self, state, is_folder=True)

    @property
    def name(self) -> str:
        """The cloud folder's name."""
        return self.root.name

    def next_guid(self) -> str:
        """Return the identity of a new object."""
        self._objects += 1
        return f"{self.uuid}:{self._objects}"


def content_facts(state: State) -> tuple[int, float]:
    """Return the size of a file in bytes, and when it was last written in seconds since the epoch.

    A file on disk may change without a word to the tree, so it is asked.
    """
    if state.source is None:
        return 0, state.modified
    if isinstance(state.source, FileSource):
        try:
            status = state.source.path.stat()
        except OSError:
            return state.source.size, state.modified
        return status.st_size, status.st_mtime
    return state.source.size, state.modified
