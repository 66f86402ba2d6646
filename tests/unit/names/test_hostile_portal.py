"""Misleading answers of a portal, or of something between: none becomes a wrong or a short result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest

from ctera_direct_sync import LoginError, NamespaceError, NotAFolderError
from ctera_direct_sync._base.account import Password
from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._net.api_session import APIAnswer
from ctera_direct_sync._protocol.names import Names
from ctera_direct_sync._protocol.sign_in import read_cookies
from ctera_direct_sync.types import Token
from tests.support.portal_script import (
    FOLDER,
    LOGIN,
    ROOT,
    Script,
    Sent,
    answer,
    info,
    listing,
    make_names,
    read_all,
)

PASSWORD = Password("alice", Token("secret"))


def search_all(names: Names, **criteria: str) -> list[str]:
    """Return the paths of all that a search below /d finds."""
    given = [criteria.get(name) for name in ("name", "extension", "content")]
    pager = names.search("/d", *given, CancelScope())
    found = []
    while not pager.complete:
        found += [entry.path for entry in pager.next_page()]
    return found


# --- where entries are ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "href",
    [
        "/admin/webdav/d/x/a",
        "/ServicesPortal/other/d/x/a",
        "https://elsewhere.example.com/admin/webdav/d/x/a",
        "/ServicesPortal/webdav/../d/a",
        "/ServicesPortal/webdav/d/%2E%2E/a",
        "a",
        "",
        None,
    ],
)
def test_what_a_search_finds_has_a_path_or_is_an_error(href: str | None) -> None:
    """A search finds entries in folders below, so an entry without a path of its own is an error."""
    script = Script(*[listing(info("a", href=href)) for _ in range(5)])
    with pytest.raises(NamespaceError, match="no path below this context") as caught:
        search_all(make_names(script), name="a")
    assert caught.value.filename == "/d"


def test_a_search_of_an_older_portal_has_paths_or_is_an_error() -> None:
    """The same holds where a portal does not know the filters."""
    refusal = answer({"msg": "Unknown attribute"}, 400)
    script = Script(refusal, refusal, *[listing(info("a", href="/x")) for _ in range(5)])
    with pytest.raises(NamespaceError, match="no path below this context"):
        search_all(make_names(script), name="a")


@pytest.mark.parametrize(
    ("href", "path"),
    [
        ("/tenant/ServicesPortal/webdav/d/x/a", "/d/x/a"),
        ("https://portal.example.com/tenant/ServicesPortal/webdav/d/x/a", "/d/x/a"),
        ("/ServicesPortal/webdav/d/x/a", "/d/x/a"),
        (
            "/ServicesPortal/webdav/tenant/ServicesPortal/webdav/a",
            "/tenant/ServicesPortal/webdav/a",
        ),
    ],
)
def test_a_portal_below_a_path(href: str, path: str) -> None:
    """A reverse proxy may put the path of the portal's URL in front of each reference."""
    calls = make_names(Script(listing(info("a", href=href))))._calls
    assert search_all(Names(calls, "ServicesPortal", "/tenant"), name="a") == [path]


@pytest.mark.parametrize("name", [".", "..", "", "a/b", "../a", "/", "a\0b"])
@pytest.mark.parametrize("with_href", [True, False])
def test_names_that_lead_elsewhere(name: str, with_href: bool) -> None:
    """No name of an entry is a step or a path: programs join names to folders of their disk."""
    href = f"/ServicesPortal/webdav/d/{quote(name, safe='')}" if with_href else None
    script = Script(*[listing(info(name, href=href)) for _ in range(5)])
    if name == "" and with_href:
        return  # It is the folder itself.
    with pytest.raises(NamespaceError):
        read_all(make_names(script))


@pytest.mark.parametrize("step", ["..", ".", "%2e%2e", "%2E", "x%2F.."])
def test_references_that_lead_elsewhere(step: str) -> None:
    """A reference with steps in it is not followed: the entry is in the folder that was listed."""
    href = f"/ServicesPortal/webdav/d/{step}"
    (entry,) = read_all(make_names(Script(listing(info("a", href=href)))))
    assert entry.path == "/d/a"


@pytest.mark.parametrize(
    "name",
    ["a\\b", "..\\a", "C:", "a\nb", "\x01", "~", "-rf", "con", " ", "a ", ".a", "...", "\u202ea"],
)
def test_odd_names_stay_as_they_are(name: str) -> None:
    """What is a name on the portal comes out as it is, and goes back as it is."""
    href = f"/ServicesPortal/webdav/d/{quote(name, safe='')}"
    script = Script(listing(info(name, href=href)), listing(root=info(name, href=href)))
    names = make_names(script)
    (entry,) = read_all(names)
    assert (entry.name, entry.path) == (name, f"/d/{name}")
    assert names.stat(entry.path, CancelScope()) == entry
    assert script.sent[1].parameter["root"] == href


# --- what a listing has --------------------------------------------------------------------------


def test_deleted_entries_of_one_name_without_ids() -> None:
    """Deleted entries of one name are told apart by size and time where they have no ID."""
    first = info("a", isDeleted=True, fileId=None, size=1)
    second = info("a", isDeleted=True, fileId=None, size=2)
    third = info("a", isDeleted=True, fileId=None, size=2, lastmodified="2024-05-02T10:20:30")
    script = Script(listing(first, second, third))
    pager = make_names(script).pager("/d", CancelScope(), include_deleted=True)
    assert len(pager.next_page()) == 3


def test_folders_of_one_name_that_several_users_share() -> None:
    """Shared folders of one name are told apart by their cloud folders."""
    folders = [
        info("a", isFolder=True, fileId=None, cloudFolderInfo={"uid": uid}) for uid in (1, 2)
    ]
    assert [entry.folder_id for entry in read_all(make_names(Script(listing(*folders))))] == [1, 2]


def test_a_file_that_lists_itself() -> None:
    """A portal may list a file as its only entry, and tell no root: it is not an empty folder."""
    itself = info("d", href="/ServicesPortal/webdav/d")
    with pytest.raises(NotAFolderError):
        read_all(make_names(Script(listing(itself, root=None))))


def test_an_empty_folder_that_lists_itself() -> None:
    """A folder that lists itself alone is empty."""
    assert read_all(make_names(Script(listing(FOLDER, root=None)))) == []


@pytest.mark.parametrize(
    "document",
    [{"$class": "Error", "msg": "Busy"}, {}, {"root": None}, {"items": [], "root": None}],
)
def test_what_does_not_answer_is_not_a_missing_path(document: dict[str, Any]) -> None:
    """An answer of another kind does not tell that a path is not there: programs would go on without it."""
    script = Script(*[answer(document)] * 5)
    with pytest.raises(NamespaceError, match="cannot be read") as caught:
        make_names(script).stat("/d", CancelScope())
    assert not isinstance(caught.value, FileNotFoundError)
    assert len(script.sent) == 5


# --- cloud folders -------------------------------------------------------------------------------


class Drives(Script):
    """A list of cloud folders, of which an administrator asks for pages."""

    def __init__(self, uids: Sequence[int], *, cap: int = 50, ignores_start: bool = False) -> None:
        super().__init__()
        self.uids = list(uids)
        self.cap = cap
        self.ignores_start = ignores_start

    def request(self, method: str, url: str, scope: Any, headers: Any, body: Any = None,
                timeouts: Any = None) -> APIAnswer:  # fmt: skip
        """Return a page."""
        self.sent.append(Sent(method, url, headers, body))
        assert len(self.sent) < 500
        start = 0 if self.ignores_start else int(self.sent[-1].parameter["startFrom"])
        objects = [{"uid": uid, "name": f"f{uid}"} for uid in self.uids[start : start + self.cap]]
        return answer({"hasMore": start + self.cap < len(self.uids), "objects": objects})


def test_cloud_folders_of_a_portal_that_ignores_the_position() -> None:
    """The same page again and again is an error, and does not go on for ever."""
    names = make_names(Drives(range(200), ignores_start=True), context="admin")
    with pytest.raises(NamespaceError, match="goes on but gives nothing more"):
        list(names.folders(CancelScope()))


def test_cloud_folders_of_a_portal_that_gives_none() -> None:
    """Empty pages that promise more are an error."""
    script = Script(*[answer({"hasMore": True, "objects": []})] * 300)
    with pytest.raises(NamespaceError, match="goes on but gives nothing more"):
        list(make_names(script, context="admin").folders(CancelScope()))


@pytest.mark.parametrize("cap", [2, 7, 50, 500])
def test_cloud_folders_that_move_forward_are_not_missed(cap: int) -> None:
    """A cloud folder that is removed meanwhile moves others to a page that was read before."""
    drives = Drives(range(120), cap=cap)
    folders = make_names(drives, context="admin").folders(CancelScope())
    found = [next(folders).folder_id]
    del drives.uids[:1]
    found += [folder.folder_id for folder in folders]
    assert found == list(range(120))


# --- pages that are none -------------------------------------------------------------------------

LABELLED = [
    (b'{"errorType": null}', True),
    (b" [1]", True),
    (b"<obj/>", True),
    (b'<?xml version="1.0" encoding="UTF-8"?>\n<val>x</val>', True),
    (b"\xef\xbb\xbf<list/>", True),
    (b"<html><body>", False),
    (b'<?xml version="1.0"?><!DOCTYPE html><html>', False),
    (b"", False),
    (b"Please sign in", False),
]


@pytest.mark.parametrize(("body", "is_data"), LABELLED)
def test_data_that_is_called_a_page(body: bytes, is_data: bool) -> None:
    """What is JSON or the portal's XML is data, also where a server calls everything text/html."""
    headers = {"content-type": "text/html;charset=ISO-8859-1"}
    labelled = APIAnswer(200, headers, [], body)
    script = Script(LOGIN, labelled, LOGIN, *[labelled] * 9)
    with pytest.raises(NamespaceError) as caught:
        make_names(script, PASSWORD).stat("/d", CancelScope())
    assert isinstance(caught.value, LoginError) == (not is_data)


def test_a_listing_that_is_called_a_page() -> None:
    """A listing under a wrong label is a listing, and costs no second sign-in."""
    page = listing(info())
    page.headers = {"content-type": "text/html"}
    script = Script(APIAnswer(200, {"content-type": "text/html"}, ["JSESSIONID=1"],
                              b"<val>Login succeed</val>"), page)  # fmt: skip
    assert len(read_all(make_names(script, PASSWORD))) == 1


# --- signing in ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "came",
    [
        APIAnswer(302, {"location": "/ServicesPortal/login.html?error=1"}, [], b""),
        APIAnswer(303, {"location": f"{ROOT}/login.html"}, ["JSESSIONID=1"], b""),
        answer({"msg": "Invalid username or password"}, 500),
        APIAnswer(401, {}, [], b""),
        APIAnswer(403, {}, [], b""),
    ],
)
def test_a_refusal_is_never_asked_for_again(came: APIAnswer) -> None:
    """However the portal refuses a password, it is sent once: portals count, and lock accounts."""
    script = Script(came)
    names = make_names(script, PASSWORD)
    for _ in range(3):
        with pytest.raises(LoginError):
            names.stat("/", CancelScope())
    assert len(script.sent) == 1


@pytest.mark.parametrize(
    ("set_cookies", "expected"),
    [
        (["rememberMe=deleteMe; Path=/; Max-Age=0", "JSESSIONID=1"], "JSESSIONID=1"),
        (["JSESSIONID=1; Path=/", "JSESSIONID=gone; Path=/; max-age=-1"], None),
        (["JSESSIONID=1; Max-Age=00"], None),
        (["JSESSIONID=1; Max-Age=3600"], "JSESSIONID=1"),
        (["JSESSIONID=1; Max-Age="], "JSESSIONID=1"),
        (["JSESSIONID=1; Path=/ServicesPortal/api"], "JSESSIONID=1"),
        (["JSESSIONID=1; Path=/ServicesPortal/webdav"], None),
        (["JSESSIONID=1; Path=/ServicesPortal/ap"], None),
    ],
)
def test_cookies_that_are_removed_or_belong_elsewhere(
    set_cookies: list[str], expected: str | None
) -> None:
    """A cookie counts if it would be sent to the calls of the context, and was not removed."""
    assert read_cookies(set_cookies, ROOT) == expected
