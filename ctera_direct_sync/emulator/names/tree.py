"""The tree of names: cloud folders and what is in them, changed from Python."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Union

from ..catalog import Catalog
from ..options import FileOptions
from ..sources import Source, open_source
from .accounts import Accounts, User
from .feed_disk import FolderWatch
from .feed_log import ChangeLog
from .ledger import Ledger, free_name, require_name
from .nodes import CloudFolder, Node
from .options import PortalOptions
from .wire import replace_non_xml

#: What may stand for a file's content: bytes, a path, or a source such as `SyntheticSource`.
Content = Union[bytes, str, "os.PathLike[str]", Source]
#: A folder as a dict: names, and the content of files, or further dicts for folders.
Folder = Mapping[str, Any]

USERS = "Users"
SHARED = "Shared With Me"


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

    Attributes:
        cloud_folders: The cloud folders of all users, also deleted ones.
        default_user: The user whose paths need no owner, or None.
    """

    def __init__(
        self,
        catalog: Catalog,
        accounts: Accounts,
        options: PortalOptions,
        file_options: FileOptions,
        clock: Callable[[], float],
    ) -> None:
        self.cloud_folders: list[CloudFolder] = []
        self.default_user: User | None = None
        self._ledger = Ledger(catalog, options, file_options, clock)
        self._catalog = catalog
        self._accounts = accounts
        self._last_folder_uid = 0
        self._shares: dict[str, list[Node]] = {}

    @property
    def lock(self) -> threading.RLock:
        """What guards the tree, for a caller that must see several things at one time."""
        return self._ledger.lock

    @property
    def log(self) -> ChangeLog:
        """All changes so far."""
        return self._ledger.log

    def now(self) -> int:
        """Return a time in microseconds since the epoch that is later than all changes so far."""
        return self._ledger.now()

    def add_cloud_folder(
        self, name: str, content: Folder | None = None, *, owner: str | None = None
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
        with self._ledger.together():
            if any(each.name == name for each in self.owned_by(user)):
                raise ValueError(f"{user.full_name} has a cloud folder {name!r}")
            self._last_folder_uid += 1
            state = self._ledger.first_state(None, require_name(name))
            folder = CloudFolder(self._last_folder_uid, user.login_name, state)
            self.cloud_folders.append(folder)
            self._ledger.log.note(folder.root)
            if content is not None:
                self._fill(folder.root, content)
            return folder.uid

    def owned_by(self, user: User) -> list[CloudFolder]:
        """Return the live cloud folders of a user."""
        with self._ledger.lock:
            return [
                folder
                for folder in self.cloud_folders
                if folder.owner == user.login_name and not folder.is_deleted
            ]

    def shared_with(self, user: User) -> list[Node]:
        """Return the live folders that are shared with a user."""
        with self._ledger.lock:
            shared = self._shares.get(user.login_name, [])
            return [node for node in shared if not node.state.deleted]

    def node(self, path: str) -> Node:
        """Return the file or folder at a path.

        Raises:
            FileNotFoundError: There is no such file or folder.
        """
        parts = [part for part in path.split("/") if part]
        with self._ledger.lock:
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
        modified: float | None = None,
        options: FileOptions | None = None,
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
        with self._ledger.together():
            parent, name = self._parent(path, make=True)
            if name in parent.children:
                raise FileExistsError(f"there is a file or folder: {path}")
            return self._ledger.add_file(parent, name, open_source(data), modified, options)

    def mkdir(self, path: str) -> None:
        """Create a folder, and those above it.

        Raises:
            FileExistsError: There is such a file or folder.
            ValueError: A name cannot be.
        """
        with self._ledger.together():
            parent, name = self._parent(path, make=True)
            if name in parent.children:
                raise FileExistsError(f"there is a file or folder: {path}")
            self._ledger.add_folder(parent, name)

    def overwrite(self, path: str, data: Content, *, modified: float | None = None) -> int:
        """Give a file other content, and return its ID from now on.

        Raises:
            FileNotFoundError: There is no such file.
            IsADirectoryError: It is a folder.
        """
        with self._ledger.together():
            node = self.node(path)
            if node.is_folder:
                raise IsADirectoryError(f"a folder has no content: {path}")
            return self._ledger.overwrite(node, open_source(data), modified)

    def note_replaced(self, file_id: int, source: Source) -> None:
        """Note that a file of the catalog has new content. The tree may not have the file."""
        with self._ledger.together():
            self._ledger.note_replaced(file_id, source)

    def rename(self, path: str, name: str) -> None:
        """Give a file or folder another name in the same folder.

        Raises:
            FileExistsError: The name is taken.
            FileNotFoundError: There is no such file or folder.
            ValueError: The name cannot be, or the path is a cloud folder's.
        """
        with self._ledger.together():
            node = self.node(path)
            if node.state.parent is None:
                raise ValueError(f"{path} is a cloud folder, which keeps its name")
            self._ledger.place(node, node.state.parent, name)

    def move(self, path: str, target: str) -> None:
        """Move a file or folder to another path.

        In another cloud folder it becomes a new object, and the old one is deleted.

        Raises:
            FileExistsError: There is something at the target.
            FileNotFoundError: There is no such file or folder.
            ValueError: A name cannot be, the path is a cloud folder's, or the target is below it.
        """
        with self._ledger.together():
            node = self.node(path)
            if node.state.parent is None:
                raise ValueError(f"{path} is a cloud folder, which keeps its place")
            parent, name = self._parent(target, make=True)
            if any(each is node for each in _lineage(parent)):
                raise ValueError(f"{target} is below {path}")
            if parent.cloud_folder is node.cloud_folder:
                self._ledger.place(node, parent, name)
                return
            if name in parent.children:
                raise FileExistsError(f"there is a file or folder: {target}")
            self._ledger.copy(node, parent, name)
            self.delete(path)

    def delete(self, path: str) -> None:
        """Move a file, or a folder with all that is in it, to the trash.

        Raises:
            FileNotFoundError: There is no such file or folder.
        """
        with self._ledger.together():
            node = self.node(path)
            if node.state.parent is None:
                node.cloud_folder.is_deleted = True
            self._ledger.delete(node)

    def undelete(self, path: str, *, guid: str | None = None) -> None:
        """Bring a file or folder back from the trash, with all that was deleted along with it.

        Args:
            path: Where it was.
            guid: Which of several objects of that name. By default the one deleted last.

        Raises:
            FileExistsError: There is a live file or folder of that name.
            FileNotFoundError: There is no such object in the trash.
        """
        with self._ledger.together():
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
            self._ledger.undelete(node)

    def share(self, path: str, user: str) -> None:
        """Share a folder or file with a user, who sees it in `Shared With Me`.

        Args:
            path: What to share.
            user: The login name of the user.
        """
        with self._ledger.lock:
            self._shares.setdefault(self._user(user).login_name, []).append(self.node(path))

    def deny(self, path: str) -> None:
        """Refuse to list a folder, and all below it. The folder itself stays visible."""
        with self._ledger.lock:
            self.node(path).denied = True

    def allow(self, path: str) -> None:
        """Take a `deny` back."""
        with self._ledger.lock:
            self.node(path).denied = False

    def adopt_folder(self, root: Node, folder: Path, names: Mapping[str, int]) -> FolderWatch:
        """Show the files of a folder on disk, which the catalog knows, as the content of a folder.

        Args:
            root: The folder to show them in.
            folder: The folder on disk.
            names: The IDs of the files, by their path below the folder, with slashes.

        Returns:
            What looks for later changes of the folder on disk.
        """
        nodes: dict[str, Node] = {}
        with self._ledger.together():
            for path in sorted(each for each in folder.rglob("*") if each.is_dir()):
                nodes[path.relative_to(folder).as_posix()] = self._adopt_folders(
                    root, path.relative_to(folder).parts
                )
            for name, file_id in names.items():
                *above, last = name.split("/")
                parent = self._adopt_folders(root, above)
                source = self._catalog.listed(file_id).source
                nodes[name] = self._ledger.adopt_file(
                    parent, free_name(parent, last), file_id, source
                )
        return FolderWatch(self._ledger, root, folder, nodes)

    def walk(self) -> Iterator[Node]:
        """Yield every live file and folder, a folder before what is in it."""
        with self._ledger.lock:
            found = [each.root for each in self.cloud_folders if not each.is_deleted]
            for node in found:
                found.extend(node.children.values())
        yield from found

    # The methods below expect that the lock is held.

    def _user(self, login_name: str | None) -> User:
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
            node = self._ledger.add_folder(parent, folder)
        if not node.is_folder:
            raise NotADirectoryError(f"not a folder: {above}")
        return node, name

    def _fill(self, folder: Node, content: Folder) -> None:
        for name, value in content.items():
            if isinstance(value, Mapping):
                self._fill(self._ledger.add_folder(folder, name), value)
            else:
                self._ledger.add_file(folder, name, open_source(value))

    def _adopt_folders(self, root: Node, parts: Any) -> Node:
        node = root
        for part in parts:
            name = replace_non_xml(part)
            child = node.children.get(name)
            if child is None or not child.is_folder:
                child = self._ledger.add_folder(node, free_name(node, part))
            node = child
        return node


def _lineage(node: Node | None) -> Iterator[Node]:
    while node is not None:
        yield node
        node = node.state.parent
