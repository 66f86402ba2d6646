"""From what names a file to its ID, and the listings that the paths of one batch share."""

from __future__ import annotations

import errno
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ctera_direct_sync import _lookup
from ctera_direct_sync._base.cancellation import Cancelled, CancelScope
from ctera_direct_sync._lookup import FolderLookup, as_path, id_of, label_of, named
from ctera_direct_sync.exceptions import (
    AccessDeniedError,
    IsAFolderError,
    LoginError,
    NamedFileID,
    NamespaceConnectionError,
    NamespaceError,
    NamespaceTimeout,
    NotAFolderError,
    PathNotFoundError,
)
from ctera_direct_sync.types import Entry


def entry_at(path: str, file_id: int | None = 1, *, is_dir: bool = False) -> Entry:
    """Return an entry."""
    name = path.rpartition("/")[2]
    return Entry(path, name, file_id, 0, None, is_dir, False, None, None)


# --- what names a file ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "path"),
    [("/a/b", "/a/b"), ("/a//b/", "/a/b"), ("/", "/"), (12, None), (b"/a", None), (None, None)],
)
def test_as_path(given: Any, path: str | None) -> None:
    """A text is a path in its plain form, and nothing else is."""
    assert as_path(given) == path


@pytest.mark.parametrize("given", ["a/b", "", "12", " /a"])
def test_texts_that_are_not_paths(given: str) -> None:
    """A text that does not begin with a slash is refused, also one of digits."""
    with pytest.raises(TypeError, match="neither a file ID nor a path"):
        as_path(given)


@pytest.mark.parametrize("given", ["/a/../b", "/./a", "/a\0"])
def test_paths_that_lead_elsewhere(given: str) -> None:
    """A path with steps in it is refused."""
    with pytest.raises(ValueError, match="cannot be parts"):
        as_path(given)


def test_ids_of_entries() -> None:
    """An entry counts by its ID, and keeps its path for errors."""
    found = id_of(entry_at("/a", 7))
    assert found == 7
    assert isinstance(found, NamedFileID)
    assert found.path == "/a"
    assert pickle.loads(pickle.dumps(found)).path == "/a"
    assert id_of(found) is found


def test_entries_without_an_id() -> None:
    """A folder and an entry without an ID have errors of their own, which name the path."""
    with pytest.raises(IsAFolderError) as folder:
        id_of(entry_at("/a", 7, is_dir=True))
    with pytest.raises(NamespaceError) as without:
        id_of(entry_at("/b", None))
    assert (folder.value.filename, without.value.filename) == ("/a", "/b")


@pytest.mark.parametrize("given", [True, 5])
def test_numbers(given: int) -> None:
    """Whatever counts as an index is an ID."""
    assert id_of(given) == given


@pytest.mark.parametrize("given", [1.0, "1", None, b"1", ("/a",)])
def test_what_names_no_file(given: Any) -> None:
    """Nothing else names a file."""
    with pytest.raises(TypeError, match="a file is named by"):
        id_of(given)


def test_negative_ids() -> None:
    """A negative ID is refused, also in an entry."""
    for given in (-1, entry_at("/a", -1)):
        with pytest.raises(ValueError, match="negative"):
            id_of(given)


def test_labels() -> None:
    """Errors name an entry by its path, and all else as it is."""
    assert label_of(entry_at("/a")) == "/a"
    assert label_of("/b") == "/b"
    assert label_of(3) == 3


def test_the_wanted_path_is_the_name() -> None:
    """The name of an ID is the path that was asked for, not another spelling of it."""
    assert named(entry_at("/re\u0301s", 3), "/r\u00e9s").path == "/r\u00e9s"  # type: ignore[attr-defined]


# --- the paths of a batch ------------------------------------------------------------------------


class Portal:
    """What a batch asks for: listings and single lookups, each noted."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = {entry.path: entry for entry in entries}
        self.listed: list[str] = []
        self.looked_up: list[str] = []
        self.error: BaseException | None = None
        self.lock = threading.Lock()
        self.gate: threading.Event | None = None
        self.entered = threading.Event()

    # As `Lookup` has it.

    def names(self) -> Portal:
        """Return the Namespace."""
        return self

    def find(self, path: str, scope: CancelScope) -> int:
        """Look a single path up."""
        with self.lock:
            self.looked_up.append(path)
        if path not in self.entries:
            raise PathNotFoundError("nothing", path)
        return named(self.entries[path], path)

    def list(
        self, folder: str, wanted: set[str], count: int, scope: CancelScope
    ) -> dict[str, Entry]:
        """Return the wanted entries of a folder."""
        with self.lock:
            self.listed.append(folder)
        self.entered.set()
        if self.gate is not None:
            self.gate.wait(30)
        scope.check()
        if self.error is not None:
            raise self.error
        assert count == len(wanted)
        return {path: entry for path, entry in self.entries.items() if path in wanted}


@pytest.fixture
def portal(monkeypatch: pytest.MonkeyPatch) -> Portal:
    """A portal with two folders."""
    entries = [entry_at(f"/a/{n}", n) for n in range(5)]
    entries += [entry_at("/b/0", 10), entry_at("/b/1", 11), entry_at("/a/folder", 12, is_dir=True)]
    made = Portal(entries)
    monkeypatch.setattr(_lookup, "find_within", lambda names, *arguments: names.list(*arguments))
    return made


ALL = [f"/a/{n}" for n in range(5)]


def test_many_paths_share_a_listing(portal: Portal) -> None:
    """From three paths of a folder on, one listing finds them all."""
    folders = FolderLookup(portal, ALL)  # type: ignore[arg-type]
    assert [folders.find(path, CancelScope()) for path in ALL] == [0, 1, 2, 3, 4]
    assert portal.listed == ["/a"]
    assert portal.looked_up == []


def test_few_paths_are_looked_up(portal: Portal) -> None:
    """Two paths of a folder are not worth a listing. What is not a path does not count."""
    files = ["/b/0", "/b/1", 5, "x", entry_at("/b/2"), "/b/../c", None]
    folders = FolderLookup(portal, files)  # type: ignore[arg-type]
    assert [folders.find(path, CancelScope()) for path in ("/b/0", "/b/1")] == [10, 11]
    assert portal.listed == []


def test_each_path_counts_once(portal: Portal) -> None:
    """The same path many times is one lookup's worth, however it is spelled."""
    folders = FolderLookup(portal, ["/b/0", "/b//0", "/b/0/"] * 5)  # type: ignore[arg-type]
    assert folders.find("/b/0", CancelScope()) == 10
    assert portal.listed == []


def test_what_is_not_listed_is_looked_up(portal: Portal) -> None:
    """A path that the listing lacks is looked up by itself: another spelling may be known."""
    folders = FolderLookup(portal, [*ALL, "/a/none"])  # type: ignore[arg-type]
    with pytest.raises(PathNotFoundError) as missing:
        folders.find("/a/none", CancelScope())
    assert missing.value.filename == "/a/none"
    assert portal.looked_up == ["/a/none"]
    assert folders.find("/a/1", CancelScope()) == 1
    assert portal.listed == ["/a"]


def test_a_folder_in_a_batch(portal: Portal) -> None:
    """A path that is a folder is an error of that item, which names it."""
    folders = FolderLookup(portal, [*ALL, "/a/folder"])  # type: ignore[arg-type]
    with pytest.raises(IsAFolderError) as folder:
        folders.find("/a/folder", CancelScope())
    assert folder.value.filename == "/a/folder"


@pytest.mark.parametrize(
    "error",
    [
        PathNotFoundError("x", "/a"),
        NotAFolderError("x", "/a"),
        AccessDeniedError("x", "/a"),
        NamespaceTimeout("x", "/a"),
        NamespaceError("changes too fast", "/a", errno=errno.EAGAIN),
    ],
)
def test_a_folder_that_cannot_be_listed(error: NamespaceError, portal: Portal) -> None:
    """Its paths are looked up one by one, and it is not listed again."""
    portal.error = error
    folders = FolderLookup(portal, ALL)  # type: ignore[arg-type]
    assert [folders.find(path, CancelScope()) for path in ALL] == [0, 1, 2, 3, 4]
    assert portal.listed == ["/a"]
    assert portal.looked_up == ALL


@pytest.mark.parametrize(
    "error",
    [
        LoginError("x"),
        NamespaceConnectionError("x", "/a"),
        NamespaceError("closed", "/a", errno=errno.ECANCELED),
    ],
)
def test_a_portal_that_does_not_answer(error: NamespaceError, portal: Portal) -> None:
    """A failure of the portal itself is the item's, under its own path; the next item asks again."""
    portal.error = error
    folders = FolderLookup(portal, ALL)  # type: ignore[arg-type]
    with pytest.raises(type(error)) as caught:
        folders.find("/a/3", CancelScope())
    assert caught.value.filename == "/a/3"
    assert portal.looked_up == []
    portal.error = None
    assert folders.find("/a/3", CancelScope()) == 3
    assert portal.listed == ["/a", "/a"]


def test_threads_share_the_listing(portal: Portal) -> None:
    """Threads that come while the folder is listed wait for that listing."""
    portal.gate = threading.Event()
    folders = FolderLookup(portal, ALL)  # type: ignore[arg-type]
    with ThreadPoolExecutor(5) as threads:
        futures = [threads.submit(folders.find, path, CancelScope()) for path in ALL]
        portal.gate.set()
        assert [future.result(30) for future in futures] == [0, 1, 2, 3, 4]
    assert portal.listed == ["/a"]


def test_a_cancelled_leader_leaves_the_listing_to_another(portal: Portal) -> None:
    """The end of one item is not the end of those that wait for the same listing."""
    portal.gate = threading.Event()
    folders = FolderLookup(portal, ALL)  # type: ignore[arg-type]
    scope = CancelScope()
    with ThreadPoolExecutor(2) as threads:
        leader = threads.submit(folders.find, "/a/0", scope)
        assert portal.entered.wait(30)
        follower = threads.submit(folders.find, "/a/1", CancelScope())
        scope.cancel()
        portal.gate.set()
        assert isinstance(leader.exception(30), Cancelled)
        assert follower.result(30) == 1


def test_one_item_does_not_rename_the_error_of_another(portal: Portal) -> None:
    """Threads that share a failed listing each get an error of their own."""
    portal.gate = threading.Event()
    portal.error = NamespaceConnectionError("x", "/a")
    folders = FolderLookup(portal, ALL)  # type: ignore[arg-type]
    with ThreadPoolExecutor(5) as threads:
        futures = [threads.submit(folders.find, path, CancelScope()) for path in ALL]
        portal.gate.set()
        errors = [future.exception(30) for future in futures]
    assert [error.filename for error in errors] == ALL  # type: ignore[union-attr]


def test_paths_of_the_root(portal: Portal) -> None:
    """The root is a folder, too."""
    for name in "xyz":
        portal.entries[f"/{name}"] = entry_at(f"/{name}", 20)
    folders = FolderLookup(portal, ["/x", "/y", "/z"])  # type: ignore[arg-type]
    assert folders.find("/y", CancelScope()) == 20
    assert portal.listed == ["/"]
