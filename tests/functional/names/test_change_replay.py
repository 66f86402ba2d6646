"""Random histories of a tree: a program that replays the events has the tree in the end, crashes or not."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync import Event, Namespace, Settings
from ctera_direct_sync.emulator import Emulator, FeedOptions
from ctera_direct_sync.emulator.names.nodes import CloudFolder, Node

OPERATIONS = ("create", "mkdir", "overwrite", "rename", "move", "move away", "delete", "undelete")
NAMES = [f"{letter}{number}" for letter in "abc" for number in range(4)]

OPTIONS = st.builds(
    FeedOptions,
    history=st.sampled_from(["live", "deleted", "all"]),
    once_per_object=st.booleans(),
    events_of_children=st.booleans(),
    redeliver=st.booleans(),
    duplicates=st.booleans(),
    shuffle=st.booleans(),
    seed=st.integers(0, 1000),
    page_cap=st.integers(1, 5),
    empty_pages=st.booleans(),
    extras=st.booleans(),
)
#: A change of the tree, chosen by a number; pages to read; or a crash amid a page.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 10**6)),
        st.tuples(st.just("read"), st.integers(1, 3)),
        st.tuples(st.just("crash"), st.integers(0, 5)),
    ),
    max_size=40,
)


@pytest.fixture(scope="module")
def portal() -> Iterator[Emulator]:
    """One portal for all histories: each has cloud folders of its own."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def names(portal: Emulator) -> Iterator[Namespace]:
    """A Namespace that sees all of them."""
    settings = Settings(backoff=0.001)
    with Namespace(portal.url, bearer=portal.bearer, settings=settings) as made:
        yield made


class History:
    """Two cloud folders of the portal, which change by chance."""

    _numbers = itertools.count()

    def __init__(self, portal: Emulator) -> None:
        self._tree = portal.tree
        number = next(self._numbers)
        self._tops = [f"/One-{number}", f"/Two-{number}"]
        self.ids = [self._tree.add_cloud_folder(top[1:]) for top in self._tops]

    def roots(self) -> list[CloudFolder]:
        """Return the cloud folders."""
        return [each for each in self._tree.cloud_folders if each.uid in self.ids]

    def change(self, operation: str, number: int) -> None:
        """Change the tree, if the operation is possible."""
        chance = random.Random(number)
        live = [each for top in self.roots() for each in _below(top.root)]
        folders = [path for path, node in live if node.is_folder]
        target = f"{chance.choice(folders)}/{chance.choice(NAMES)}"
        inner = [(path, node) for path, node in live if path not in self._tops]
        path, node = chance.choice(inner) if inner else ("", None)
        data = bytes(chance.randrange(20))
        try:
            if operation == "create":
                self._tree.create(target, data)
            elif operation == "mkdir":
                self._tree.mkdir(target)
            elif operation == "undelete":
                self._undelete(chance)
            elif node is not None:
                self._change(operation, path, node, target, data)
        except (FileExistsError, ValueError, NotADirectoryError):
            pass  # The name is taken, or the target lies below the folder that is moved.

    def _change(self, operation: str, path: str, node: Node, target: str, data: bytes) -> None:
        top = f"/{path.split('/')[1]}"
        if operation == "overwrite" and not node.is_folder:
            self._tree.overwrite(path, data)
        elif operation == "rename":
            self._tree.rename(path, target.rpartition("/")[2])
        elif operation == "move":
            self._tree.move(path, top + "/" + target.split("/", 2)[2])
        elif operation == "move away":
            self._tree.move(path, target)
        elif operation == "delete":
            self._tree.delete(path)

    def _undelete(self, chance: random.Random) -> None:
        live = [each for top in self.roots() for each in _below(top.root)]
        gone = [
            (f"{path}/{child.name}", child.guid)
            for path, node in live
            if node.is_folder
            for child in node.deleted_children()
        ]
        if gone:
            path, guid = chance.choice(gone)
            self._tree.undelete(path, guid=guid)

    def tree(self) -> dict[str, Any]:
        """Return what there is: paths, and what tells one content from another."""
        return {
            path: (node.guid, None if node.is_folder else node.state.file_id)
            for top in self.roots()
            for path, node in _below(top.root)
        }


def _below(node: Node, above: str = "") -> Iterator[tuple[str, Node]]:
    path = f"{above}/{node.name}"
    yield path, node
    for child in node.children.values():
        yield from _below(child, path)


class Consumer:
    """A program that keeps the events in a table, and the cursor beside it."""

    def __init__(self, names: Namespace, folders: list[int]) -> None:
        self._names = names
        self._folders = folders
        self._table: dict[tuple[int | None, str], Event] = {}
        self._cursor: str | None = None
        self._pages: Any = None

    def read(self, count: int | None, crash_after: int | None = None) -> None:
        """Work off some pages, or all; or crash after some events of the next one."""
        if self._pages is None:
            self._pages = self._names.changes(self._cursor, self._folders)
        for page in itertools.islice(self._pages, count):
            for event in page.events[:crash_after]:
                self._table[event.folder_id, event.guid] = event
            if crash_after is not None:
                self._pages = None
                return
            self._cursor = page.cursor
        if count is None:
            self._pages = None

    def finish(self) -> None:
        """Read to the end of the feed."""
        self.read(None)
        self.read(None)

    def tree(self) -> dict[str, Any]:
        """Return the tree that the events make. What is in a deleted folder is deleted."""
        known = {event.guid: event for event in self._table.values() if event.type != "quota"}
        found = {}
        for event in known.values():
            path = self._path(event, known)
            if path is not None:
                found[path] = (event.guid, event.file_id)
        return found

    def _path(self, event: Event, known: dict[str, Event]) -> str | None:
        path = ""
        each: Event | None = event
        while each is not None and not each.deleted:
            path = f"/{each.name}{path}"
            if each.parent_guid is None:
                return path
            each = known.get(each.parent_guid)
        return None


def replay(portal: Emulator, names: Namespace, options: FeedOptions, steps: Any) -> None:
    """Run a history and its consumer, and compare both in the end."""
    portal.portal_options.feed = options
    history = History(portal)
    consumer = Consumer(names, history.ids)
    for step, number in steps:
        if step == "read":
            consumer.read(number)
        elif step == "crash":
            consumer.read(1, crash_after=number)
        else:
            history.change(step, number)
    consumer.finish()
    assert consumer.tree() == history.tree()


@hypothesis.settings(max_examples=60)
@given(OPTIONS, STEPS)
def test_replay(portal, names, options, steps):
    """Duplicates, pages that come again, lost order and crashes all end in the portal's tree."""
    replay(portal, names, options, steps)


@pytest.mark.nightly
@hypothesis.settings(max_examples=3000)
@given(OPTIONS, STEPS)
def test_many_replays(portal, names, options, steps):
    """The same, many times."""
    replay(portal, names, options, steps)
