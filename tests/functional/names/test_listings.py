"""Looking up and listing: every name is a text, and whatever a portal may do is understood."""

from __future__ import annotations

import datetime
import itertools
import pickle
from pathlib import PurePosixPath
from typing import Any

import pytest

from ctera_direct_sync import (
    AccessDeniedError,
    DirectIO,
    Entry,
    NamespaceError,
    NotAFolderError,
    PathNotFoundError,
)

from .conftest import ODD_NAMES

HOME = {"ServicesPortal": "/My Files", "admin": "/Users/Demo User/My Files"}


@pytest.mark.parametrize("json_answers", [True, False], ids=["json", "xml"])
@pytest.mark.parametrize("context", HOME)
def test_odd_names(portal, make_names, context, json_answers):
    """Names come out as they are, in both dialects and both contexts, and lead back to their entry."""
    portal.portal_options.json_answers = json_answers
    names = make_names(context=context)
    folder = f"{HOME[context]}/odd"
    entries = list(names.listdir(folder))
    assert sorted(entry.name for entry in entries) == sorted(ODD_NAMES)
    for entry in entries:
        assert entry.path == f"{folder}/{entry.name}"
        assert names.stat(entry.path) == entry
        assert names.exists(entry.path)


@pytest.mark.parametrize("json_answers", [True, False], ids=["json", "xml"])
def test_entry(portal, names, json_answers):
    """An entry tells what the portal tells."""
    portal.portal_options.json_answers = json_answers
    when = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    file_id = portal.tree.create("/My Files/x.bin", b"12345", modified=when.timestamp())
    entry = names.stat("/My Files/x.bin")
    assert entry == Entry(
        "/My Files/x.bin", "x.bin", file_id, 5, when, False, False, entry.permalink, 1
    )
    assert entry.permalink
    folder = names.stat("/My Files/reports")
    assert (folder.is_dir, folder.size, folder.folder_id) == (True, None, 1)
    root = names.stat("/")
    assert (root.path, root.is_dir, root.modified, root.folder_id) == ("/", True, None, None)


def test_entries_are_values(names):
    """An entry is frozen, hashable and picklable, and its repr is short."""
    entry = names.stat("/My Files/readme.txt")
    assert pickle.loads(pickle.dumps(entry)) == entry
    assert len({entry, names.stat(entry.path)}) == 1
    assert repr(entry) == f"<Entry '/My Files/readme.txt', 13 bytes, file_id={entry.file_id}>"
    with pytest.raises(AttributeError):
        entry.path = "/"


OPTIONS: dict[str, dict[str, Any]] = {
    "slash": {"href_ends_in_slash": True},
    "folder IDs": {"folders_have_ids": True},
    "folder size null": {"folder_size": "null"},
    "folder size total": {"folder_size": "total"},
    "folders first": {"order": "folders-first"},
    "order of creation": {"order": "created"},
    "reversed": {"order": "reversed"},
    "errors in JSON": {"json_errors": True},
    "stat tells an error type": {"stat_error_type": True},
    "pages of one": {"page_cap": 1},
    "small pages only": {"max_limit": 100},
    "no root in listings": {"root_in_listings": False},
    "pages of two": {"page_cap": 2},
    "XML": {"json_answers": False},
    "no fresh cookies": {"fresh_cookie_on_refusal": False},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_whatever_the_portal_does(portal, names, options):
    """Listing, looking up and failing are the same whatever the portal does where portals differ."""
    for name, value in options.items():
        setattr(portal.portal_options, name, value)
    found = list(names.listdir("/My Files"))
    assert sorted(entry.path for entry in found) == [
        "/My Files/empty",
        "/My Files/odd",
        "/My Files/readme.txt",
        "/My Files/reports",
    ]
    assert [entry.size for entry in found if entry.is_dir] == [None, None, None]
    assert [names.stat(entry.path) for entry in found] == found
    assert list(names.listdir("/My Files/empty")) == []
    assert sum(1 for _ in names.walk("/My Files")) == 11 + len(ODD_NAMES)
    assert not names.exists("/My Files/nope")
    with pytest.raises(PathNotFoundError):
        names.listdir("/My Files/nope")
    with pytest.raises(NotAFolderError):
        names.listdir("/My Files/readme.txt")


@pytest.mark.parametrize("cap", [None, 7])
def test_many_pages(portal, names, cap):
    """A folder of many pages is listed complete."""
    portal.portal_options.page_cap = cap
    for number in range(250 if cap else 1050):
        portal.tree.create(f"/My Files/many/{number:04}", b"")
    listed = [entry.name for entry in names.listdir("/My Files/many")]
    assert listed == [f"{number:04}" for number in range(250 if cap else 1050)]


def test_removed_while_listing(portal, names):
    """Entries that move to a page that was read before are not missed."""
    portal.portal_options.page_cap = 10
    for number in range(50):
        portal.tree.create(f"/My Files/many/{number:02}", b"")
    listing = names.listdir("/My Files/many")
    first = [entry.name for entry in itertools.islice(listing, 10)]
    for name in first[:6]:
        portal.tree.delete(f"/My Files/many/{name}")
    assert first + [entry.name for entry in listing] == [f"{number:02}" for number in range(50)]


def test_deleted_entries(portal, names):
    """Deleted entries are listed on request alone, and told apart by their IDs."""
    ids = []
    for content in (b"one", b"two", b"three"):
        ids.append(portal.tree.create("/My Files/twin.txt", content))
        portal.tree.delete("/My Files/twin.txt")
    ids.append(portal.tree.create("/My Files/twin.txt", b"live"))
    twins = [
        entry
        for entry in names.listdir("/My Files", include_deleted=True)
        if entry.name == "twin.txt"
    ]
    assert sorted((entry.is_deleted, entry.file_id) for entry in twins) == [
        (False, ids[3]),
        *((True, file_id) for file_id in ids[:3]),
    ]
    live = [entry for entry in names.listdir("/My Files") if entry.name == "twin.txt"]
    assert [entry.file_id for entry in live] == [ids[3]]
    portal.tree.delete("/My Files/twin.txt")
    assert not names.exists("/My Files/twin.txt")


@pytest.mark.parametrize("denied", ["errorType", "403"])
def test_no_permission(portal, names, denied):
    """A folder that may not be read is an AccessDeniedError, never an empty folder."""
    portal.portal_options.denied = denied
    portal.tree.deny("/My Files/reports/2025")
    with pytest.raises(AccessDeniedError) as caught:
        names.listdir("/My Files/reports/2025")
    assert caught.value.filename == "/My Files/reports/2025"
    errors: list[NamespaceError] = []
    paths = [entry.path for entry in names.walk("/My Files/reports", errors.append)]
    assert "/My Files/reports/2025" in paths
    assert "/My Files/reports/2026/notes.txt" in paths
    assert [error.filename for error in errors] == ["/My Files/reports/2025"]
    with pytest.raises(AccessDeniedError):
        list(names.walk("/My Files/reports"))


def test_first_page_is_fetched_by_the_call(portal, names):
    """Nothing is sent before the first call, and an unknown path raises in the call itself."""
    assert portal.log.total("portal") == 0
    with pytest.raises(PathNotFoundError):
        names.listdir("/nope")
    names.walk("/My Files")
    names.glob("/My Files/*")
    names.folders()
    assert [record.call for record in portal.requests] == ["login", "fetchResources"]


def test_nothing_is_cached(portal, names):
    """What changes on the portal shows in the next call."""
    before = names.stat("/My Files/readme.txt")
    after = portal.tree.overwrite("/My Files/readme.txt", b"changed")
    assert names.stat("/My Files/readme.txt").file_id == after != before.file_id
    portal.tree.delete("/My Files/readme.txt")
    assert not names.exists("/My Files/readme.txt")


@pytest.mark.parametrize("path", ["My Files", "", "/a/../b", "/./a", "/a\0b", "/\ud800"])
def test_paths_that_cannot_be(names, path):
    """A path begins with a slash, and holds no steps that lead elsewhere."""
    for call in (names.stat, names.listdir, names.exists, names.versions):
        with pytest.raises(ValueError, match="path"):
            call(path)


def test_spellings_of_a_path(names):
    """Slashes too many do no harm, and a path object is a path."""
    assert names.stat("//My Files///reports/").path == "/My Files/reports"
    assert names.stat(PurePosixPath("/My Files/reports")).is_dir
    with pytest.raises(TypeError):
        names.stat(b"/My Files")


def test_search(portal, names):
    """A search finds by a part of the name, by extension and by content."""
    assert [entry.path for entry in names.search("/My Files", name="BUDGET")] == [
        "/My Files/reports/2025/budget.xlsx",
        "/My Files/reports/2026/budget.xlsx",
    ]
    found = names.search("/My Files/reports", name="a", extension=".pdf")
    assert [entry.name for entry in found] == ["a.pdf"]
    assert [entry.name for entry in names.search("/My Files", content="brown")] == ["notes.txt"]
    with pytest.raises(ValueError, match="search needs"):
        names.search("/My Files")
    with pytest.raises(PathNotFoundError):
        names.search("/nope", name="a")


@pytest.mark.parametrize("infinity", ["all", "children"])
def test_search_of_an_older_portal(portal, names, infinity):
    """A portal that ignores the filters, and answers with something else, is asked in the old way."""
    portal.portal_options.search_filters = False
    portal.portal_options.infinity = infinity
    assert [entry.name for entry in names.search("/My Files", name="notes")] == ["notes.txt"]
    assert {entry.name for entry in names.search("/My Files", extension="pdf")} == {
        "a.pdf",
        "b.pdf",
        "r\u00e9sum\u00e9.pdf",
        "re\u0301sume\u0301.pdf",
    }
    with pytest.raises(NamespaceError, match="does not know this kind of search"):
        names.search("/My Files", name="notes", content="fox")


def test_shared_folders(portal, make_names):
    """What others share is listed, walked and downloaded like the user's own."""
    portal.accounts.add("ann", "pw", full_name="Ann Lee")
    portal.tree.share("/My Files/reports", "ann")
    names = make_names("ann", "pw")
    walked = [entry.path for entry in names.walk("/")]
    budget = next(path for path in walked if path.endswith("2026/budget.xlsx"))
    assert budget.startswith("/Shared With Me/")
    assert names.stat(budget).file_id == portal.tree.file_id("/My Files/reports/2026/budget.xlsx")


def test_versions(portal, names):
    """The path of a previous version is looked up like any other."""
    portal.tree.overwrite("/My Files/reports/a.pdf", b"newer")
    versions = names.versions("/My Files/reports/a.pdf")
    assert [version.current for version in versions] == [False, True]
    assert versions[0].started < versions[1].started
    assert [names.stat(version.path).size for version in versions] == [6, 5]
    with pytest.raises(PathNotFoundError):
        names.versions("/My Files/nope")
    portal.portal_options.versions = False
    with pytest.raises(NamespaceError, match="refuses the call"):
        names.versions("/My Files/readme.txt")


def test_folders(portal, make_names):
    """Administrators list all cloud folders, users those that they see."""
    portal.accounts.add("ann", "pw", full_name="Ann Lee")
    team = portal.tree.add_cloud_folder("Team", {}, owner="ann")
    for number in range(120):
        portal.tree.add_cloud_folder(f"Extra {number}", owner="ann")
    everything = list(make_names(context="admin").folders())
    assert len(everything) == 122
    assert [(each.name, each.owner) for each in everything if each.folder_id == team] == [
        ("Team", "ann")
    ]
    mine = list(make_names("ann", "pw").folders())
    assert len(mine) == 121
    assert {each.owner for each in mine} == {"Ann Lee"}


def test_key_pair(portal, names):
    """A key pair that was made here downloads what was found here, until it is deleted."""
    pair = names.create_key_pair()
    entry = names.stat("/My Files/readme.txt")
    with DirectIO(portal.url, *pair) as client, client.open(entry.file_id) as file:
        assert file.read() == b"read me first"
    assert str(pair.secret_access_key) not in repr(pair)
    assert str(pair.access_key_id) not in repr(pair)
    assert pickle.loads(pickle.dumps(pair)) == pair
    names.delete_key_pair(pair.access_key_id)
    with pytest.raises(NamespaceError, match="no key pair") as caught:
        names.delete_key_pair(pair.access_key_id)
    assert str(pair.access_key_id) not in str(caught.value)


def test_user_of_a_directory(portal, make_names):
    """A user of a directory signs in with domain and name, and can make a key pair."""
    portal.accounts.add("bob", "pw", full_name="Bob", domain="corp", role="ReadWriteAdmin")
    names = make_names("corp\\bob", "pw")
    names.delete_key_pair(names.create_key_pair().access_key_id)
