"""The tree of names: cloud folders and what is in them, changed from Python."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Optional, Union

from ..catalog import Catalog
from ..options import FileOptions
from ..sources import FileSource, Source, open_source
from .accounts import Accounts, User
from .nodes import CloudFolder, Node, State
from .options import PortalOptions
from .wire import is_xml_text, replace_non_xml

#: What may stand for a file's content: bytes, a path, or a source such as `SyntheticSource`.
Content = Union[bytes, str, "os.PathLike[str]", Source]
#: A folder as a dict: names, and the content of files, or further dicts for folders.
Folder = Mapping[str, Any]

USERS = "Users"
SHARED = "Shared With Me"
_MAX_NAME = 255


class Tree:
    """The cloud folders of all users, and what is in them. Thread-safe.

    A path is `/Users/<owner's full name>/<cloud folder>/...`, or `/<cloud folder>/...` for the folders
    of the default user.

    Args:
        catalog: Where the contents are kept, under the IDs that Direct IO serves.
        accounts: The users.
        options: How the portal behaves.
        file_options: How contents are stored.
        clock: Returns the time, in seconds since the epoch.
    """

    def __init__(
        self,
        catalog: Catalog,
        accounts: Accounts,
        options: PortalOptions,
        file_options: FileOptions,
        clock: Callable[[], float],
    ) -> None:
        self.lock = threading.RLock()
        self.cloud_folders: list[CloudFolder] = []
        self._catalog = catalog
        self._accounts = accounts
        self._options = options
        self._file_options = file_options
        self._clock = clock
        self._changes = 0
        self._deletions = 0
        self._last_moment = 0
        self._moment: Optional[int] = None
        self._last_folder_uid = 0
        self._shares: dict[str, list[Node]] = {}
        self.default_user: Optional[User] = None

    def add_cloud_folder(
        self, name: str, content: Optional[Folder] = None, *, owner: Optional[str] = None
    ) -> int:
        """Add a cloud folder, and return its ID.

        Args:
            name: The name of the cloud folder.
            content: What is in it, as a dict.
            owner: The login name of its owner. By default the default user's.

        Raises:
            ValueError: The owner has a cloud folder of that name, or a name cannot be.
        """
        user = self._user(owner)
        with self._together():
            if any(each.name == name for each in self.owned_by(user)):
                raise ValueError(f"{user.full_name} has a cloud folder {name!r}")
            self._last_folder_uid += 1
            state = self._next_state(None, _checked(name), None, None, None)
            folder = CloudFolder(self._last_folder_uid, user.login_name, state)
            self.cloud_folders.append(folder)
            if content is not None:
                self._fill(folder.root, content)
            return folder.uid

    def owned_by(self, user: User) -> list[CloudFolder]:
        """Return the live cloud folders of a user."""
        with self.lock:
            return [
                folder
                for folder in self.cloud_folders
                if folder.owner == user.login_name and not folder.is_deleted
            ]

    def shared_with(self, user: User) -> list[Node]:
        """Return the live folders that are shared with a user."""
        with self.lock:
            shared = self._shares.get(user.login_name, [])
            return [node for node in shared if not node.state.deleted]

    def node(self, path: str) -> Node:
        """Return the file or folder at a path.

        Raises:
            FileNotFoundError: There is no such file or folder.
        """
        parts = [part for part in path.split("/") if part]
        with self.lock:
            if len(parts) > 1 and parts[0] == USERS:
                user = self._accounts.with_full_name(parts[1])
                parts = parts[2:]
            else:
                user = self.default_user
            folders = [] if user is None else self.owned_by(user)
            node = next((each.root for each in folders if parts and each.name == parts[0]), None)
            for part in parts[1:]:
                node = None if node is None else node.children.get(part)
            if node is None:
                raise FileNotFoundError(f"no such file or folder: {path}")
            return node

    def file_id(self, path: str) -> int:
        """Return the ID of the file at a path.

        Raises:
            FileNotFoundError: There is no such file.
        """
        file_id = self.node(path).state.file_id
        if file_id is None:
            raise FileNotFoundError(f"not a file with an ID: {path}")
        return file_id

    def create(
        self,
        path: str,
        data: Content,
        *,
        modified: Optional[float] = None,
        options: Optional[FileOptions] = None,
    ) -> int:
        """Create a file, and the folders above it. Return the file's ID.

        Args:
            path: Where the file is to be.
            data: Its content: bytes, a path on disk, or a source such as `SyntheticSource`.
            modified: The time of its last write, in seconds since the epoch. By default now, or the
                time of the file on disk.
            options: How the content is stored. By default as the emulator's other files are.

        Raises:
            FileExistsError: There is such a file or folder.
            ValueError: A name cannot be.
        """
        with self._together():
            parent, name = self._parent(path, make=True)
            if name in parent.children:
                raise FileExistsError(f"there is a file or folder: {path}")
            return self._new_file(parent, name, open_source(data), modified, options)

    def mkdir(self, path: str) -> None:
        """Create a folder, and those above it.

        Raises:
            FileExistsError: There is such a file or folder.
            ValueError: A name cannot be.
        """
        with self._together():
            parent, name = self._parent(path, make=True)
            if name in parent.children:
                raise FileExistsError(f"there is a file or folder: {path}")
            self._new_folder(parent, name)

    def overwrite(self, path: str, data: Content, *, modified: Optional[float] = None) -> int:
        """Give a file other content, and return its ID from now on.

        Raises:
            FileNotFoundError: There is no such file.
            IsADirectoryError: It is a folder.
        """
        with self._together():
            node = self.node(path)
            if node.is_folder:
                raise IsADirectoryError(f"a folder has no content: {path}")
            old, source = node.state, open_source(data)
            file_id = old.file_id
            options = self._catalog.options(file_id) if file_id else self._file_options
            if file_id is None or self._options.file_id_changes_on_write:
                new_id = self._catalog.add(source, options, node.name, None)
                if file_id is not None and not self._options.versions_have_ids:
                    self._forget(node)
            else:
                self._keep_old_content(node, options)
                self._catalog.replace(file_id, source, {}, keep_old=True)
                new_id = file_id
            when = self._clock() if modified is None else modified
            self._change(node, old.parent, old.name, 0, new_id, source, when)
            return new_id

    def rename(self, path: str, name: str) -> None:
        """Give a file or folder another name in the same folder.

        Raises:
            FileExistsError: The name is taken.
            FileNotFoundError: There is no such file or folder.
            ValueError: The name cannot be, or the path is a cloud folder's.
        """
        with self._together():
            node = self.node(path)
            if node.state.parent is None:
                raise ValueError(f"{path} is a cloud folder, which keeps its name")
            self._place(node, node.state.parent, name)

    def move(self, path: str, target: str) -> None:
        """Move a file or folder to another path.

        In another cloud folder it becomes a new object, and the old one is deleted.

        Raises:
            FileExistsError: There is something at the target.
            FileNotFoundError: There is no such file or folder.
            ValueError: A name cannot be, the path is a cloud folder's, or the target is below it.
        """
        with self._together():
            node = self.node(path)
            if node.state.parent is None:
                raise ValueError(f"{path} is a cloud folder, which keeps its place")
            parent, name = self._parent(target, make=True)
            if any(each is node for each in _lineage(parent)):
                raise ValueError(f"{target} is below {path}")
            if parent.cloud_folder is node.cloud_folder:
                self._place(node, parent, name)
                return
            if name in parent.children:
                raise FileExistsError(f"there is a file or folder: {target}")
            self._copy(node, parent, name)
            self.delete(path)

    def delete(self, path: str) -> None:
        """Move a file, or a folder with all that is in it, to the trash.

        Raises:
            FileNotFoundError: There is no such file or folder.
        """
        with self._together():
            node = self.node(path)
            if node.state.parent is None:
                node.cloud_folder.is_deleted = True
            self._deletions += 1
            self._delete(node, self._deletions)

    def undelete(self, path: str, *, guid: Optional[str] = None) -> None:
        """Bring a file or folder back from the trash, with all that was deleted along with it.

        Args:
            path: Where it was.
            guid: Which of several objects of that name. By default the one deleted last.

        Raises:
            FileExistsError: There is a live file or folder of that name.
            FileNotFoundError: There is no such object in the trash.
        """
        with self._together():
            parent, name = self._parent(path, make=False)
            found = [
                node
                for node in parent.deleted_children()
                if node.name == name and guid in (None, node.guid)
            ]
            if not found:
                raise FileNotFoundError(f"not in the trash: {path}")
            if name in parent.children:
                raise FileExistsError(f"there is a file or folder: {path}")
            node = max(found, key=lambda each: each.state.change)
            self._undelete(node)

    def share(self, path: str, user: str) -> None:
        """Share a folder or file with a user, who sees it in `Shared With Me`.

        Args:
            path: What to share.
            user: The login name of the user.
        """
        with self.lock:
            self._shares.setdefault(self._user(user).login_name, []).append(self.node(path))

    def deny(self, path: str) -> None:
        """Refuse to list a folder, and all below it. The folder itself stays visible."""
        with self.lock:
            self.node(path).denied = True

    def allow(self, path: str) -> None:
        """Take a `deny` back."""
        with self.lock:
            self.node(path).denied = False

    def adopt_folder(self, root: Node, folder: Path, names: Mapping[str, int]) -> None:
        """Show the files of a folder on disk, which the catalog knows, as the content of a folder.

        Args:
            root: The folder to show them in.
            folder: The folder on disk.
            names: The IDs of the files, by their path below the folder, with slashes.
        """
        with self._together():
            for path in sorted(each for each in folder.rglob("*") if each.is_dir()):
                self._adopt_folders(root, path.relative_to(folder).parts)
            for name, file_id in names.items():
                *above, last = name.split("/")
                parent = self._adopt_folders(root, above)
                source = self._catalog.listed(file_id).source
                state = self._next_state(
                    parent, _free_name(parent, last), file_id, source, self._modified(source)
                )
                self._attach(Node(root.cloud_folder, state, is_folder=False))

    def walk(self) -> Iterator[Node]:
        """Yield every live file and folder, a folder before what is in it."""
        with self.lock:
            found = [each.root for each in self.cloud_folders if not each.is_deleted]
            for node in found:
                found.extend(node.children.values())
        yield from found

    def now(self) -> int:
        """Return a time in microseconds since the epoch that is later than all that came before.

        All changes of one call happen at the same time.
        """
        with self.lock:
            if self._moment is None:
                self._last_moment = max(int(self._clock() * 1e6), self._last_moment + 1)
                return self._last_moment
            return self._moment

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """Hold the lock, and let all changes happen at the same time."""
        with self.lock:
            outermost = self._moment is None
            if outermost:
                self._moment = self.now()
            try:
                yield
            finally:
                if outermost:
                    self._moment = None

    # Private: each method below expects that the lock is held.

    def _user(self, login_name: Optional[str]) -> User:
        if login_name is not None:
            return self._accounts.get(login_name)
        if self.default_user is None:
            raise ValueError("the emulator has no default user: name the owner")
        return self.default_user

    def _parent(self, path: str, make: bool) -> tuple[Node, str]:
        above, _, name = path.rstrip("/").rpartition("/")
        try:
            node = self.node(above)
        except FileNotFoundError:
            if not make or not above.strip("/"):
                raise
            parent, folder = self._parent(above, make)
            if folder in parent.children:
                raise
            node = self._new_folder(parent, folder)
        if not node.is_folder:
            raise NotADirectoryError(f"not a folder: {above}")
        return node, name

    def _fill(self, folder: Node, content: Folder) -> None:
        for name, value in content.items():
            if isinstance(value, Mapping):
                self._fill(self._new_folder(folder, name), value)
            else:
                self._new_file(folder, name, open_source(value), None, None)

    def _adopt_folders(self, root: Node, parts: Any) -> Node:
        node = root
        for part in parts:
            name = replace_non_xml(part)
            child = node.children.get(name)
            if child is None or not child.is_folder:
                child = self._new_folder(node, _free_name(node, part))
            node = child
        return node

    def _new_folder(self, parent: Node, name: str) -> Node:
        state = self._next_state(parent, _checked(name), None, None, None)
        return self._attach(Node(parent.cloud_folder, state, is_folder=True))

    def _new_file(
        self,
        parent: Node,
        name: str,
        source: Source,
        modified: Optional[float],
        options: Optional[FileOptions],
    ) -> int:
        _checked(name)
        file_id = self._catalog.add(source, options or self._file_options, name, None)
        when = self._modified(source) if modified is None else modified
        state = self._next_state(parent, name, file_id, source, when)
        self._attach(Node(parent.cloud_folder, state, is_folder=False))
        return file_id

    def _modified(self, source: Source) -> float:
        if isinstance(source, FileSource):
            return source.path.stat().st_mtime
        return self._clock()

    def _next_state(
        self,
        parent: Optional[Node],
        name: str,
        file_id: Optional[int],
        source: Optional[Source],
        modified: Optional[float],
    ) -> State:
        self._changes += 1
        when = self._clock() if modified is None else modified
        return State(self._changes, self.now(), parent, name, 0, file_id, source, when)

    def _attach(self, node: Node) -> Node:
        parent = node.state.parent
        if parent is not None:
            parent.children[node.name] = node
            parent.ordered = None
        return node

    def _change(
        self,
        node: Node,
        parent: Optional[Node],
        name: str,
        deletion: int,
        file_id: Optional[int],
        source: Optional[Source],
        modified: float,
    ) -> None:
        self._changes += 1
        state = State(self._changes, self.now(), parent, name, deletion, file_id, source, modified)
        old = node.state.parent
        if old is not None:
            if old.children.get(node.name) is node:
                del old.children[node.name]
            old.ordered = None
            if (old is not parent or deletion) and node not in old.former:
                old.former.append(node)
        node.history.append(state)
        if not deletion:
            self._attach(node)

    def _place(self, node: Node, parent: Node, name: str) -> None:
        _checked(name)
        if parent.children.get(name, node) is not node:
            raise FileExistsError(f"there is a file or folder: {name}")
        old = node.state
        file_id = old.file_id
        if file_id is not None and self._options.file_id_changes_on_move:
            file_id = self._other_id(file_id, name, old.source)
        self._change(node, parent, name, 0, file_id, old.source, old.modified)

    def _copy(self, node: Node, parent: Node, name: str) -> None:
        if not node.is_folder:
            old = node.state
            if old.source is not None:
                options = self._catalog.options(old.file_id) if old.file_id else None
                self._new_file(parent, name, old.source, old.modified, options)
            return
        copy = self._new_folder(parent, name)
        for child in list(node.children.values()):
            self._copy(child, copy, child.name)

    def _delete(self, node: Node, deletion: int) -> None:
        for child in list(node.children.values()):
            self._delete(child, deletion)
        if not self._options.deleted_have_ids:
            self._forget(node)
        old = node.state
        self._change(node, old.parent, old.name, deletion, old.file_id, old.source, old.modified)

    def _undelete(self, node: Node) -> None:
        old = node.state
        file_id = old.file_id
        if old.source is not None:
            if file_id is None:
                file_id = self._catalog.add(old.source, self._file_options, old.name, None)
            elif self._options.file_id_changes_on_undelete:
                file_id = self._other_id(file_id, old.name, old.source)
        self._change(node, old.parent, old.name, 0, file_id, old.source, old.modified)
        for child in node.deleted_children():
            if child.state.deletion == old.deletion:
                self._undelete(child)

    def _other_id(self, file_id: int, name: str, source: Optional[Source]) -> int:
        options = self._catalog.options(file_id)
        if source is None:
            raise ValueError(f"the file {file_id} has no content")
        new_id = self._catalog.add(source, options, name, None)
        self._catalog.remove(file_id)
        return new_id

    def _forget(self, node: Node) -> None:
        """Serve the content of a node's last state no more."""
        state = node.state
        if state.file_id is not None:
            self._catalog.remove(state.file_id)
            node.history[-1] = state._replace(file_id=None)

    def _keep_old_content(self, node: Node, options: FileOptions) -> None:
        """Give the content that is about to be replaced under its ID another ID."""
        state = node.state
        old_id = None
        if self._options.versions_have_ids and state.source is not None:
            old_id = self._catalog.add(state.source, options, state.name, None)
        node.history[-1] = state._replace(file_id=old_id)


def _lineage(node: Optional[Node]) -> Iterator[Node]:
    while node is not None:
        yield node
        node = node.state.parent


def _checked(name: str) -> str:
    """Return a name if the portal can hold it.

    Raises:
        ValueError: It cannot.
    """
    if name in ("", ".", "..") or "/" in name or len(name) > _MAX_NAME or not is_xml_text(name):
        raise ValueError(f"not a name for a file or folder: {name!r}")
    return name


def _free_name(parent: Node, name: str) -> str:
    """Return a name that XML can hold and that is free, for a file on disk of any name."""
    name = candidate = replace_non_xml(name)
    number = 1
    while candidate in parent.children:
        number += 1
        candidate = f"{name} ({number})"
    return candidate
