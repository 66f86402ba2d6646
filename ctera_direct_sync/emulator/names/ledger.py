"""The changes of the tree, step by step: each one gives a file or folder a new state."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from ..catalog import Catalog
from ..options import FileOptions
from ..sources import FileSource, Source
from .feed_log import ChangeLog
from .nodes import Node, State
from .options import PortalOptions
from .wire import is_xml_text, replace_non_xml

_MAX_NAME_LENGTH = 255


class Ledger:
    """Applies changes to files and folders. The caller holds the lock, except for `together`.

    Args:
        catalog: Where contents are kept, under the IDs that Direct IO serves.
        options: How the portal behaves.
        file_options: How contents are stored.
        clock: Returns the time, in seconds since the epoch.

    Attributes:
        lock: Guards the whole tree.
        log: All changes so far.
    """

    def __init__(
        self,
        catalog: Catalog,
        options: PortalOptions,
        file_options: FileOptions,
        clock: Callable[[], float],
    ) -> None:
        self.lock = threading.RLock()
        self.log = ChangeLog(self.lock)
        self._catalog = catalog
        self._options = options
        self._file_options = file_options
        self._clock = clock
        self._changes = 0
        self._deletions = 0
        self._last_moment = 0
        self._moment: int | None = None
        self._by_id: dict[int, Node] = {}

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Hold the lock, and let all changes inside happen at the same time."""
        with self.lock:
            is_outermost = self._moment is None
            if is_outermost:
                self._moment = self.now()
            try:
                yield
            finally:
                if is_outermost:
                    self._moment = None

    def now(self) -> int:
        """Return a time in microseconds since the epoch that is later than all before.

        Changes that happen together have the same time.
        """
        with self.lock:
            if self._moment is not None:
                return self._moment
            self._last_moment = max(int(self._clock() * 1e6), self._last_moment + 1)
            return self._last_moment

    def first_state(
        self,
        parent: Node | None,
        name: str,
        file_id: int | None = None,
        source: Source | None = None,
        modified: float | None = None,
    ) -> State:
        """Return the state of a new object."""
        if modified is None:
            modified = self._modified(source)
        self._changes += 1
        return State(self._changes, self.now(), parent, name, 0, file_id, source, modified)

    def add_folder(self, parent: Node, name: str) -> Node:
        """Add a folder, and return it.

        Raises:
            ValueError: The name cannot be.
        """
        state = self.first_state(parent, require_name(name))
        return self._attach_new(Node(parent.cloud_folder, state, is_folder=True))

    def add_file(
        self,
        parent: Node,
        name: str,
        source: Source,
        modified: float | None = None,
        options: FileOptions | None = None,
    ) -> int:
        """Add a file with a content, and return its ID.

        Raises:
            ValueError: The name cannot be.
        """
        require_name(name)
        file_id = self._catalog.add(source, options or self._file_options, name, None)
        self.adopt_file(parent, name, file_id, source, modified)
        return file_id

    def adopt_file(
        self,
        parent: Node,
        name: str,
        file_id: int,
        source: Source,
        modified: float | None = None,
    ) -> Node:
        """Add a file whose content is in the catalog already, and return it."""
        state = self.first_state(parent, name, file_id, source, modified)
        return self._attach_new(Node(parent.cloud_folder, state, is_folder=False))

    def overwrite(self, node: Node, source: Source, modified: float | None) -> int:
        """Give a file new content, and return its ID from now on."""
        old_id = node.state.file_id
        options = self._file_options if old_id is None else self._catalog.options(old_id)
        if old_id is None or self._options.file_id_changes_on_write:
            new_id = self._catalog.add(source, options, node.name, None)
            if not self._options.versions_have_ids:
                self._forget(node)
        else:
            new_id = old_id
            self._keep_old_content(node, options)
            self._catalog.replace(new_id, source, {}, keep_old=True)
        self._write(node, new_id, source, modified)
        return new_id

    def note_replaced(self, file_id: int, source: Source) -> None:
        """Note that the catalog has new content under the ID of a file, if the tree has that file."""
        node = self._by_id.get(file_id)
        if node is not None and node.state.file_id == file_id:
            node.history[-1] = node.state._replace(file_id=None)
            self._write(node, file_id, source, None)

    def place(self, node: Node, parent: Node, name: str) -> None:
        """Rename or move a file or folder inside its cloud folder.

        Raises:
            FileExistsError: The name is taken.
            ValueError: The name cannot be.
        """
        require_name(name)
        if parent.children.get(name, node) is not node:
            raise FileExistsError(f"there is a file or folder: {name}")
        if self._options.file_id_changes_on_move:
            self._change_id(node)
        self._append(node, parent=parent, name=name)
        self.log.note_below(node)

    def copy(self, node: Node, parent: Node, name: str) -> None:
        """Copy a file or folder, with all that is in it."""
        if not node.is_folder:
            old = node.state
            if old.source is not None:
                options = None if old.file_id is None else self._catalog.options(old.file_id)
                self.add_file(parent, name, old.source, old.modified, options)
            return
        copy = self.add_folder(parent, name)
        for child in list(node.children.values()):
            self.copy(child, copy, child.name)

    def delete(self, node: Node) -> None:
        """Move a file, or a folder with all that is in it, to the trash."""
        self._deletions += 1
        self._delete(node, self._deletions)

    def undelete(self, node: Node) -> None:
        """Bring an object back from the trash, with all that was deleted along with it."""
        deletion = node.state.deletion
        source = node.state.source
        if source is not None and node.state.file_id is None:
            file_id = self._catalog.add(source, self._file_options, node.name, None)
            node.history[-1] = node.state._replace(file_id=file_id)
        elif self._options.file_id_changes_on_undelete:
            self._change_id(node)
        self._append(node, deletion=0)
        for child in node.deleted_children():
            if child.state.deletion == deletion:
                self.undelete(child)

    def _delete(self, node: Node, deletion: int, implied: bool = False) -> None:
        for child in list(node.children.values()):
            self._delete(child, deletion, implied=True)
        if not self._options.deleted_have_ids:
            self._forget(node)
        self._append(node, implied, deletion=deletion)

    def _write(self, node: Node, file_id: int, source: Source, modified: float | None) -> None:
        if modified is None:
            modified = self._modified(source)
        self._append(node, file_id=file_id, source=source, modified=modified)

    def _append(self, node: Node, implied: bool = False, **changes: object) -> None:
        """Give an object a new state, which differs from the last one by some members.

        Args:
            node: The object.
            implied: Whether the change happens to a folder above the object.
            **changes: The members of `State` that differ.
        """
        self._changes += 1
        old = node.state
        state = old._replace(change=self._changes, since=self.now(), **changes)  # type: ignore[arg-type]
        if old.parent is not None:
            if old.parent.children.get(old.name) is node:
                del old.parent.children[old.name]
            old.parent.ordered = None
            if old.parent is not state.parent or state.deleted:
                old.parent.former[node] = None
        node.history.append(state)
        if not state.deleted:
            self._attach(node)
        self.log.note(node, implied=implied)

    def _attach_new(self, node: Node) -> Node:
        self._attach(node)
        self.log.note(node)
        return node

    def _attach(self, node: Node) -> Node:
        state = node.state
        if state.file_id is not None:
            self._by_id[state.file_id] = node
        if state.parent is not None:
            state.parent.children[state.name] = node
            state.parent.former.pop(node, None)
            state.parent.ordered = None
        return node

    def _modified(self, source: Source | None) -> float:
        return source.path.stat().st_mtime if isinstance(source, FileSource) else self._clock()

    def _change_id(self, node: Node) -> None:
        """Serve the content of a file under another ID."""
        state = node.state
        if state.file_id is not None and state.source is not None:
            options = self._catalog.options(state.file_id)
            new_id = self._catalog.add(state.source, options, state.name, None)
            self._catalog.remove(state.file_id)
            node.history[-1] = state._replace(file_id=new_id)

    def _forget(self, node: Node) -> None:
        """Stop serving the content of a file's last state."""
        state = node.state
        if state.file_id is not None:
            self._catalog.remove(state.file_id)
            node.history[-1] = state._replace(file_id=None)

    def _keep_old_content(self, node: Node, options: FileOptions) -> None:
        """Give the old content another ID, because the new content is going to get its ID."""
        state = node.state
        old_id = None
        if self._options.versions_have_ids and state.source is not None:
            old_id = self._catalog.add(state.source, options, state.name, None)
        node.history[-1] = state._replace(file_id=old_id)


def require_name(name: str) -> str:
    """Return a name, if the portal can hold it.

    Raises:
        ValueError: It cannot.
    """
    is_good = 0 < len(name) <= _MAX_NAME_LENGTH and name not in (".", "..") and "/" not in name
    if not is_good or not is_xml_text(name):
        raise ValueError(f"not a name for a file or folder: {name!r}")
    return name


def free_name(parent: Node, name: str) -> str:
    """Return a name for a file on disk that XML can hold and that is free in a folder."""
    name = candidate = replace_non_xml(name)
    number = 1
    while candidate in parent.children:
        number += 1
        candidate = f"{name} ({number})"
    return candidate
