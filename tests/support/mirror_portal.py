"""A portal in memory for mirrors, and what a mirror of it must hold."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import itertools
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from ctera_direct_sync import codec
from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._mirror.local_tree import LocalTree
from ctera_direct_sync._mirror.runner import MirrorOptions, run_mirror
from ctera_direct_sync._mirror.state import State
from ctera_direct_sync._readers.folders import Folder, Place
from ctera_direct_sync.exceptions import (
    AccessDeniedError,
    CursorRejectedError,
    NamespaceError,
    NotAFolderError,
    NotFoundError,
    PathNotFoundError,
)
from ctera_direct_sync.types import ChangePage, Entry, Event, Mirrored

SOURCE = "/My Files/source"
OWN = ".ctera-mirror"
#: A file system in memory, if there is one: a transaction waits for the disk.
MEMORY = next((p for p in ("/dev/shm",) if os.access(p, os.W_OK)), None)
_EPOCH = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)


class Node:
    """A file or folder of the portal."""

    def __init__(self, name: str, parent: Node | None, number: int, data: bytes | None) -> None:
        self.name = name
        self.parent = parent
        self.guid = f"g:{number}"
        self.data = data
        self.file_id = number
        self.modified = number
        self.denied = False
        self.version = number
        # How often it was moved with a folder above it.
        self.carried = 0
        # When its bytes were written, finer than a listing tells.
        self.written = number
        self.children: dict[str, Node] = {}
        self.deleted: list[Node] = []

    @property
    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.data is None

    @property
    def path(self) -> str:
        """The path below the source."""
        if self.parent is None:
            return ""
        above = self.parent.path
        return f"{above}/{self.name}" if above else self.name

    def lineage(self) -> Iterator[Node]:
        """Return the node, and all folders above it."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    def below(self) -> Iterator[Node]:
        """Return everything in a folder, a folder before what is in it."""
        for child in list(self.children.values()):
            yield child
            yield from child.below()


class MemoryPortal:
    """A tree that changes, and its listing. File IDs change when a file is written.

    Attributes:
        root: The source.
        hidden: Paths that the next walk leaves out, as a page that shifts does.
        new_id_on_move: Whether a move gives a file another ID.
        fetched: The paths of all downloads.
        on_fetch: Called with the path before each download.
        walk_error: The error that ends the next walk.
        is_gone: Whether the source has vanished.
        folder_id: The cloud folder of the source.
        feed: What the change feed does: "off", "on", or "again", which tells everything each time.
        children_events: Whether a folder that moves has events for what is in it.
        fine_times: Whether an event tells when the bytes of its file were written.
        order: Shuffles the events of a page, or None.
        walks: The number of walks.
        listings: The number of folders that were listed one by one.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.root = Node("source", None, next(self._numbers), None)
        self.hidden: set[str] = set()
        self.new_id_on_move = False
        self.fetched: list[str] = []
        self.on_fetch: Callable[[str], object] = lambda path: None
        self.walk_error: NamespaceError | None = None
        self.is_gone = False
        self.folder_id = 7
        self.feed = "off"
        self.children_events = False
        self.fine_times = False
        self.order: random.Random | None = None
        self.walks = 0
        self.listings = 0
        self._shifts = 0
        self._cursors: dict[str, dict[str, Event]] = {}

    def content(self, kind: str = "portal") -> bytes:
        """Return bytes that are like no others."""
        number = next(self._numbers)
        return f"{kind} {number:08d} ".encode() + b"." * (number % 3)

    def nodes(self) -> list[Node]:
        """Return all files and folders."""
        return list(self.root.below())

    def files(self) -> dict[str, bytes]:
        """Return the bytes of all files, by path."""
        return {node.path: node.data for node in self.nodes() if node.data is not None}

    def find(self, path: str) -> Node | None:
        """Return the node of a path, or None."""
        node: Node | None = self.root
        for part in path.split("/") if path else ():
            node = node.children.get(part) if node is not None else None
        return node

    def node(self, path: str) -> Node:
        """Return the node of a path, which exists."""
        node = self.find(path)
        assert node is not None
        return node

    def add(self, path: str, data: bytes | None = None, *, folder: bool = False) -> Node:
        """Add a file, or a folder, and the folders above it."""
        above, _, name = path.rpartition("/")
        parent = self.find(above)
        if parent is None:
            parent = self.add(above, folder=True)
        content = None if folder else (self.content() if data is None else data)
        node = Node(name, parent, next(self._numbers), content)
        assert name not in parent.children and parent.is_dir
        parent.children[name] = node
        return node

    def write(self, node: Node, data: bytes | None = None) -> None:
        """Give a file other bytes."""
        node.data = self.content() if data is None else data
        node.file_id = next(self._numbers)
        node.modified = node.version = node.written = node.file_id

    def write_secretly(self, node: Node) -> None:
        """Give a file other bytes, of which only the feed's version number tells."""
        assert node.data is not None
        node.version = node.written = next(self._numbers)
        node.data = f"secret {node.version:020d}".encode()[-len(node.data) :].rjust(len(node.data))

    def move(self, node: Node, parent: Node, name: str) -> None:
        """Rename or move a file or folder."""
        assert node.parent is not None and name not in parent.children
        del node.parent.children[node.name]
        node.parent, node.name = parent, name
        parent.children[name] = node
        node.version = next(self._numbers)
        for each in node.below():
            each.carried += 1
        if self.new_id_on_move:
            for each in [node, *node.below()]:
                each.file_id = next(self._numbers)

    def swap(self, one: Node, other: Node) -> None:
        """Let two files or folders change places."""
        assert one.parent is not None and other.parent is not None
        (parent, name), (to, new) = (one.parent, one.name), (other.parent, other.name)
        self.move(one, self.root, "swapped")
        self.move(other, parent, name)
        self.move(one, to, new)

    def delete(self, node: Node) -> None:
        """Delete a file or folder."""
        assert node.parent is not None
        del node.parent.children[node.name]
        node.parent.deleted.append(node)

    # --- what a mirror asks ------------------------------------------------------------------------

    def entry(self, node: Node) -> Entry:
        """Return what a listing tells of a node."""
        path = f"{SOURCE}/{node.path}" if node.path else SOURCE
        size = None if node.data is None else len(node.data)
        modified = _EPOCH + datetime.timedelta(seconds=node.modified)
        file_id = None if node.is_dir else node.file_id
        return Entry(
            path, node.name, file_id, size, modified, node.is_dir, False, None, self.folder_id
        )

    def stat(self, path: str) -> Entry:
        """Return the entry of a path."""
        assert (path + "/").startswith(SOURCE + "/"), path
        node = self.find(path[len(SOURCE) + 1 :])
        if node is None or self.is_gone:
            raise PathNotFoundError("nothing here", path)
        if any(each.denied for each in node.lineage() if each is not node):
            raise AccessDeniedError("denied", path)
        return self.entry(node)

    def walk(self, path: str, on_error: Callable[[NamespaceError], object]) -> Iterator[Entry]:
        """Return everything below a folder."""
        assert (path + "/").startswith(SOURCE + "/")
        top = self.find(path[len(SOURCE) + 1 :])
        self.walks += path == SOURCE
        hidden, self.hidden = self.hidden, set()
        # What shifts a page is a change, of which the feed tells.
        self._shifts += bool(hidden)
        error, self.walk_error = self.walk_error, None

        def visit(folder: Node) -> Iterator[Entry]:
            if folder.denied:
                on_error(AccessDeniedError("denied", self.entry(folder).path))
                return
            for child in list(folder.children.values()):
                if child.path in hidden:
                    continue
                yield self.entry(child)
                yield from visit(child)

        if top is None or any(each.denied for each in top.lineage() if each is not top):
            on_error((PathNotFoundError if top is None else AccessDeniedError)("not here", path))
            return
        yield from visit(top)
        if error is not None:
            on_error(error)

    def listdir(self, path: str, *, include_deleted: bool = False) -> Iterator[Entry]:
        """Return what is in a folder."""
        folder = self.find(path[len(SOURCE) + 1 :])
        if folder is None:
            raise PathNotFoundError("nothing here", path)
        if any(each.denied for each in folder.lineage()):
            raise AccessDeniedError("denied", path)
        if not folder.is_dir:
            raise NotAFolderError("a file", path)
        self.listings += 1
        hidden, self.hidden = self.hidden, set()
        self._shifts += bool(hidden)
        for child in list(folder.children.values()):
            if child.path not in hidden:
                yield self.entry(child)
        if include_deleted:
            for child in folder.deleted:
                yield dataclasses.replace(self.entry(child), is_deleted=True)

    def path_of(self, event: Event) -> str:
        """Return the path of the object of an event."""
        node = next((each for each in self.nodes() if each.guid == event.guid), None)
        if node is None:
            raise PathNotFoundError("nothing here", event.name)
        return f"{SOURCE}/{node.path}"

    def _facts(self) -> dict[str, Event]:
        """Return the event that tells the present state of each object, by its identity."""
        facts = {}
        shifted = [Node(f"shifted-{n}", self.root, -n, b"") for n in range(1, self._shifts + 1)]
        for node in [*self.nodes(), *shifted]:
            raw = {"gvsn": f"{node.version}.{node.carried if self.children_events else 0}"}
            if self.fine_times and not node.is_dir:
                raw["file_timestamp"] = f"2024-05-01T10:20:30.{node.written:06}Z"
            facts[node.guid] = Event(
                "folder" if node.is_dir else "file",
                node.guid,
                None if node.parent is None else node.parent.guid,
                7,
                node.name,
                False,
                None if node.data is None else len(node.data),
                None if node.is_dir else node.file_id,
                None,
                raw,
            )
        return facts

    def changes(self, cursor: str | None, folder_id: int) -> Iterator[ChangePage]:
        """Return what is not as it was at the cursor. Permissions have no events."""
        assert folder_id == 7
        if self.feed == "off":
            raise AccessDeniedError("no feed for you")
        if cursor is not None and cursor not in self._cursors:
            raise CursorRejectedError("start again")
        now = self._facts()
        before = {} if cursor is None else self._cursors[cursor]
        told = {} if self.feed == "again" else before
        events = [
            event
            for guid, event in now.items()
            if guid not in told
            or (told[guid].parent_guid, told[guid].name) != (event.parent_guid, event.name)
            or told[guid].raw != event.raw
        ]
        events += [
            dataclasses.replace(event, deleted=True)
            for guid, event in before.items()
            if guid not in now
        ]
        if self.order is not None:
            events += self.order.sample(events, len(events) // 2)
            self.order.shuffle(events)
        new = str(len(self._cursors))
        self._cursors[new] = now
        half = len(events) // 2
        yield ChangePage(events[:half], cursor or new, True)
        yield ChangePage(events[half:], new, False)

    def reject_cursors(self) -> None:
        """Take no cursor of before any more."""
        self._cursors = {f"rejected {n}": {} for n in range(len(self._cursors))}

    def fetch(
        self, file: Entry, place: Place, scope: CancelScope, progress: Any, finish: Any
    ) -> int:
        """Download a file."""
        path = file.path[len(SOURCE) + 1 :]
        self.on_fetch(path)
        data = next((n.data for n in self.nodes() if n.file_id == file.file_id), None)
        if data is None:
            raise NotFoundError("no such file", file.file_id)
        self.fetched.append(path)
        with contextlib.suppress(FileNotFoundError):
            place.folder.unlink(place.name)
        fd = place.folder.create(place.name, os.O_WRONLY)
        try:
            os.write(fd, data)
            finish(fd)
        finally:
            os.close(fd)
        return codec.crc32c(data)


class Clock:
    """A time that goes on by an hour at each question."""

    def __init__(self) -> None:
        self.now = datetime.datetime(2024, 6, 1, tzinfo=datetime.timezone.utc)

    def __call__(self) -> datetime.datetime:
        """Return the time."""
        self.now += datetime.timedelta(hours=1)
        return self.now


def mirror(source: MemoryPortal, folder: Path, **options: Any) -> Mirrored:
    """Run a mirror of the portal in memory."""
    options.setdefault("max_files", 2)
    options.setdefault("portal", "portal in memory")
    found = run_mirror(
        source, source.fetch, CancelScope(), SOURCE, folder, MirrorOptions(**options)
    )
    return found.mirrored


def local_files(folder: Path, *, own: bool = False) -> dict[str, bytes]:
    """Return the bytes of all files in a folder, by path. Without `own`, leave out the mirror's own."""
    found = {}
    for above, folders, names in os.walk(folder):
        if not own and OWN in folders:
            folders.remove(OWN)
        for name in names:
            path = Path(above, name)
            if not path.is_symlink():
                found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


class Crash(BaseException):
    """The run is cut off here."""


@contextlib.contextmanager
def crash_after(steps: int, error: BaseException | None = None) -> Iterator[list[str]]:
    """Cut a run off before its step of that number, counted from 0. Yield the steps done.

    Args:
        steps: The number of steps.
        error: What each further step raises. None: `Crash`.
    """
    done: list[str] = []

    def step(name: str) -> None:
        if len(done) >= steps:
            raise Crash(name) if error is None else error
        done.append(name)

    def replace(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            step(f"before {name}")
            result = original(*arguments, **options)
            step(f"after {name}")
            return result

        patch.setattr(owner, name, call)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename", "move_aside", "make_folder", "remove", "remove_folder", "flush"):
            replace(LocalTree, name)
        for name in ("move", "move_to_free"):
            replace(Folder, name)
        for name in ("announce", "save", "forget", "settle"):
            replace(State, name)
        yield done


@contextlib.contextmanager
def refuse_steps(numbers: set[int]) -> Iterator[None]:
    """Refuse some renames and removals in the mirrored folder, counted from 0, as for a file in use."""
    count = itertools.count()

    def replace(name: str) -> None:
        original = getattr(LocalTree, name)

        def call(tree: LocalTree, path: str, *arguments: Any, **options: Any) -> Any:
            # The mirror's own files are in use by the mirror alone.
            if not path.startswith(OWN) and next(count) in numbers:
                raise PermissionError(errno.EACCES, "the file is in use", path)
            return original(tree, path, *arguments, **options)

        patch.setattr(LocalTree, name, call)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename", "move_aside", "remove", "remove_folder"):
            replace(name)
        yield


def empty(folder: Path) -> None:
    """Remove everything in a folder."""
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
