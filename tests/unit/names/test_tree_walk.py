"""Walking a tree: one order whatever answers come first, bounded fetching, and every error told."""

from __future__ import annotations

import errno
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from ctera_direct_sync import (
    AccessDeniedError,
    Entry,
    LoginError,
    NamespaceError,
    PathNotFoundError,
)
from ctera_direct_sync._base.cancellation import Cancelled, CancelScope
from ctera_direct_sync._base.worker_pool import WorkerPool
from ctera_direct_sync._readers.glob_pattern import GlobPattern
from ctera_direct_sync._readers.tree_names import glob_tree, walk_tree

Tree = dict[str, Any]


class Pages:
    """The listing of one folder, some entries a page."""

    def __init__(self, portal: Portal, path: str, entries: list[Entry]) -> None:
        self.complete = False
        self._portal = portal
        self._path = path
        self._rest = entries

    def next_page(self) -> list[Entry]:
        """Return the next entries, when the portal says so."""
        self._portal.answer(self._path)
        size = self._portal.page_size
        page, self._rest = self._rest[:size], self._rest[size:]
        self.complete = not self._rest
        return page


class Portal:
    """Stands for `Names`: a tree of dicts, where None is a file and an error is raised.

    Args:
        tree: The tree.
        page_size: Entries of a page.
        answer: Called with the path of each request before it is answered.
    """

    def __init__(
        self,
        tree: Tree,
        page_size: int = 1000,
        answer: Callable[[str], object] = lambda path: None,
    ) -> None:
        self.tree = tree
        self.page_size = page_size
        self.asked: list[str] = []
        self._answer = answer

    def answer(self, path: str) -> None:
        """Note a request, and wait until it may be answered."""
        self.asked.append(path)
        self._answer(path)

    def _find(self, path: str) -> Any:
        node: Any = self.tree
        for part in path.split("/")[1:]:
            if part:
                if not isinstance(node, dict) or part not in node:
                    raise PathNotFoundError("unknown", path)
                node = node[part]
        return node

    @staticmethod
    def _entry(path: str, node: Any) -> Entry:
        name = path.rpartition("/")[2]
        return Entry(path, name, None, None, None, node is not None, False, None, None)

    def pager(self, path: str, scope: CancelScope) -> Pages:
        """Return the listing of a folder."""
        try:
            node = self._find(path)
        except PathNotFoundError as error:
            node = error
        if isinstance(node, Exception):
            self.answer(path)
            raise node
        entries = [self._entry(f"{path.rstrip('/')}/{name}", each) for name, each in node.items()]
        return Pages(self, path, entries)

    def stat(self, path: str, scope: CancelScope) -> Entry:
        """Return one entry."""
        self.answer(path)
        return self._entry(path, self._find(path))


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    """Threads, ended afterwards."""
    pool = WorkerPool(16)
    yield pool
    pool.shutdown()


@pytest.fixture
def walk(pool: WorkerPool) -> Callable[..., Iterator[str]]:
    """Walk the tree of a portal, and return the paths."""

    def run(
        portal: Any,
        path: str = "/",
        on_error: Callable[[NamespaceError], object] | None = None,
        scope: CancelScope | None = None,
    ) -> Iterator[str]:
        scope = scope or CancelScope()
        return (entry.path for entry in walk_tree(portal, path, pool, scope, on_error).run())

    return run


def expected(tree: Tree, path: str = "") -> list[str]:
    """Return the paths of a tree, a folder before its content."""
    found = []
    for name, node in tree.items():
        found.append(f"{path}/{name}")
        if isinstance(node, dict):
            found += expected(node, f"{path}/{name}")
    return found


def make_tree(width: int, depth: int) -> Tree:
    """Return a tree with some folders and a file at each level."""
    below = make_tree(width, depth - 1) if depth else {}
    return {**{f"d{number}": below for number in range(width)}, "file": None}


def test_order(walk):
    """The order is that of a walk of one request after the other."""
    tree = make_tree(4, 3)
    assert list(walk(Portal(tree))) == expected(tree)


@pytest.mark.parametrize("page_size", [1, 2, 3])
def test_order_over_pages(walk, page_size):
    """Folders of many pages keep the order, too."""
    tree = make_tree(4, 3)
    assert list(walk(Portal(tree, page_size))) == expected(tree)


def test_order_does_not_depend_on_the_answers(walk):
    """The first folder's answer comes last, and its entries still come first."""
    tree = {f"d{number}": {"a": None, "b": None} for number in range(10)}
    others = threading.Semaphore(0)

    def answer(path: str) -> None:
        if path == "/d0":
            for _ in range(9):
                assert others.acquire(timeout=30)
        elif path != "/":
            others.release()

    assert list(walk(Portal(tree, answer=answer))) == expected(tree)


def test_folders_are_listed_together(walk):
    """Sixteen folders are asked for before the first of them answers."""
    tree: Tree = {f"d{number}": {"a": None} for number in range(40)}
    barrier = threading.Barrier(16)
    portal = Portal(tree, answer=lambda path: None)
    first = {f"/d{number}" for number in range(16)}
    portal._answer = lambda path: barrier.wait(30) if path in first else None
    assert list(walk(portal)) == expected(tree)


def test_fetching_ahead_is_bounded(walk):
    """A consumer that stops lets a bounded number of pages be fetched, and no more."""
    tree: Tree = {f"d{number}": {"a": None} for number in range(1000)}
    portal = Portal(tree)
    walking = walk(portal)
    for _ in range(100):
        next(walking)
    assert len(portal.asked) < 50 + 64 + 16 + 2
    walking.close()


def test_memory_of_pages_ahead_is_bounded(walk):
    """Large folders are not fetched ahead beyond a number of entries."""
    tree: Tree = {f"d{number:03}": dict.fromkeys(map(str, range(1000))) for number in range(60)}
    portal = Portal(tree)
    walking = walk(portal)
    for _ in range(10):
        next(walking)
    assert len(portal.asked) <= 1 + 16 + 16 + 1
    walking.close()


@pytest.mark.nightly
def test_a_million_entries_stream_through(pool):
    """The memory of a walk does not grow with the number of entries."""

    class Folder:
        """A folder of a thousand files, or the root with a thousand folders."""

        def __init__(self, path: str) -> None:
            self.complete = False
            self._path = path

        def next_page(self) -> list[Entry]:
            """Return a thousand entries."""
            self.complete = True
            is_root = self._path == "/"
            above = self._path.rstrip("/")
            return [
                Entry(f"{above}/{n:04}", f"{n:04}", n, 1, None, is_root, False, None, None)
                for n in range(1000)
            ]

    class Million:
        """A portal with a million files."""

        def pager(self, path: str, scope: CancelScope) -> Folder:
            """Return the listing of a folder."""
            return Folder(path)

    portal: Any = Million()
    walking = walk_tree(portal, "/", pool, CancelScope(), None).run()
    tracemalloc.start()
    try:
        assert sum(1 for _ in walking) == 1_001_000
        assert tracemalloc.get_traced_memory()[1] < 60 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_nothing_is_asked_before_the_first_step(walk):
    """Making a walk sends nothing."""
    portal = Portal({"a": None})
    walk(portal)
    assert portal.asked == []


def test_error_of_a_folder_is_raised_in_its_place(walk):
    """What comes before the folder is yielded, then the error is raised."""
    denied = AccessDeniedError("no", "/b")
    walking = walk(Portal({"a": {"x": None}, "b": denied, "c": {}}))
    assert [next(walking) for _ in range(3)] == ["/a", "/a/x", "/b"]
    with pytest.raises(AccessDeniedError):
        next(walking)


def test_errors_may_be_collected(walk):
    """With on_error the walk goes on, and each unreadable folder is told once."""
    errors: list[NamespaceError] = []
    tree = {"a": AccessDeniedError("no", "/a"), "b": {"c": NamespaceError("no", "/b/c"), "d": None}}
    assert list(walk(Portal(tree), on_error=errors.append)) == ["/a", "/b", "/b/c", "/b/d"]
    assert [error.filename for error in errors] == ["/a", "/b/c"]


def test_root_that_is_missing_is_told(walk):
    """The folder to walk obeys the same rules."""
    with pytest.raises(PathNotFoundError):
        list(walk(Portal({}), "/nope"))
    errors: list[NamespaceError] = []
    assert list(walk(Portal({}), "/nope", errors.append)) == []
    assert [error.filename for error in errors] == ["/nope"]


@pytest.mark.parametrize("error", [LoginError("no"), MemoryError("no"), Cancelled()])
def test_errors_that_are_not_a_folders_end_the_walk(walk, error):
    """A refused password, say, is not collected a thousand times."""
    with pytest.raises(type(error)):
        list(walk(Portal({"a": error}), on_error=lambda error: pytest.fail("collected")))


def test_what_on_error_raises_ends_the_walk(walk):
    """The consumer's own exception goes through."""

    def refuse(error: NamespaceError) -> None:
        raise KeyError(error.filename)

    with pytest.raises(KeyError):
        list(walk(Portal({"a": AccessDeniedError("no", "/a")}), on_error=refuse))


def test_loops_are_told(walk):
    """A folder that leads back to one above it is an error, since a walk of it would not end."""

    class Looping(Portal):
        """Lists a folder below `/a` whose path is that of `/a`."""

        def pager(self, path: str, scope: CancelScope) -> Pages:
            pages = super().pager(path, scope)
            pages._rest = [
                Entry("/a", "back", None, None, None, True, False, None, None)
                if entry.name == "back"
                else entry
                for entry in pages._rest
            ]
            return pages

    errors: list[NamespaceError] = []
    portal = Looping({"a": {"b": {"back": {}}}})
    assert list(walk(portal, on_error=errors.append)) == ["/a", "/a/b", "/a"]
    assert [error.errno for error in errors] == [errno.ELOOP]


def test_deep_trees(walk):
    """The depth of a tree is not limited by Python's stack."""
    tree: Tree = {"file": None}
    for _ in range(1200):
        tree = {"d": tree}
    assert sum(1 for _ in walk(Portal(tree))) == 1201


def test_cancelling_wakes_the_consumer(walk):
    """A walk that waits for an answer ends as soon as its scope is cancelled."""
    scope = CancelScope()
    entered = threading.Event()
    release = threading.Event()

    def answer(path: str) -> None:
        entered.set()
        release.wait(30)

    def cancel() -> None:
        assert entered.wait(30)
        scope.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        with pytest.raises(Cancelled):
            list(walk(Portal({"a": {}}, answer=answer), scope=scope))
    finally:
        release.set()
        canceller.join()


def test_without_threads_the_walk_goes_on(walk, pool, monkeypatch):
    """A system that gives no thread makes the walk slower, not shorter."""

    def refuse(*arguments: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool, "submit", refuse)
    tree = make_tree(3, 2)
    assert list(walk(Portal(tree))) == expected(tree)


def run_glob(pool: WorkerPool, portal: Any, pattern: str) -> list[str]:
    """Return the paths that match a pattern."""
    walk = glob_tree(portal, GlobPattern(pattern), pool, CancelScope(), None)
    return [entry.path for entry in walk.run()]


GLOB_TREE: Tree = {
    "a": {"x": {"1.csv": None, "2.txt": None}, "y": {"3.csv": None}, "4.csv": None},
    "b": {"x": {"5.csv": None}, "z": None},
    "c.csv": {},
}


@pytest.mark.parametrize(
    ("pattern", "found", "asked"),
    [
        ("/a/*.csv", ["/a/4.csv"], ["/a"]),
        ("/*/x/*.csv", ["/a/x/1.csv", "/b/x/5.csv"], ["/", "/a/x", "/b/x", "/c.csv/x"]),
        ("/*/x", ["/a/x", "/b/x"], ["/", "/a/x", "/b/x", "/c.csv/x"]),
        ("/b/z", ["/b/z"], ["/b/z"]),
        ("/b/z/", [], ["/b/z"]),
        ("/b/*/", ["/b/x"], ["/b"]),
        ("/[ab]/x/5*", ["/b/x/5.csv"], ["/", "/a/x", "/b/x"]),
        ("/**/y/*", ["/a/y/3.csv"], ["/", "/a", "/a/x", "/a/y", "/b", "/b/x", "/c.csv"]),
        ("/nope/*", [], ["/nope"]),
    ],
)
def test_glob_asks_only_for_folders_that_can_match(pool, pattern, found, asked):
    """Each match is found, and no folder is listed in vain."""
    portal = Portal(GLOB_TREE)
    assert run_glob(pool, portal, pattern) == found
    assert sorted(portal.asked) == sorted(asked)


def test_glob_tells_of_folders_that_it_may_not_read(pool):
    """A folder that can hold a match and cannot be read is an error."""
    portal = Portal({"a": AccessDeniedError("no", "/a"), "b": {}})
    with pytest.raises(AccessDeniedError):
        run_glob(pool, portal, "/*/x*")
    assert run_glob(pool, portal, "/b*/x*") == []
