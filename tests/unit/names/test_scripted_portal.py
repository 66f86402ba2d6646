"""Answers that no emulator gives, by a scripted transport: what is malformed, odd, or refused."""

from __future__ import annotations

import datetime
import errno
from typing import Any, Callable

import pytest

from ctera_direct_sync import (
    AccessDeniedError,
    NamespaceError,
    PathNotFoundError,
)
from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._net.api_session import APIAnswer
from ctera_direct_sync._protocol.names import read_time
from tests.support.portal_script import (
    FOLDER,
    ROOT,
    Script,
    answer,
    info,
    listing,
    make_names,
    read_all,
)

# --- entries -------------------------------------------------------------------------------------

ENTRIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no file ID": ({"fileId": "absent"}, {"file_id": None}),
    "null file ID": ({"fileId": None}, {"file_id": None}),
    "file ID as text": ({"fileId": "12"}, {"file_id": 12}),
    "no size": ({"size": "absent"}, {"size": None}),
    "size as a float": ({"size": 5.0}, {"size": 5}),
    "no cloud folder": ({"cloudFolderInfo": None}, {"folder_id": None}),
    "no members but the least": (
        dict.fromkeys(
            ("fileId", "isDeleted", "size", "lastmodified", "permalink", "cloudFolderInfo"),
            "absent",
        ),
        {"size": None, "modified": None, "is_deleted": False, "permalink": None},
    ),
    "no href": ({"href": None}, {"path": "/d/a"}),
    "href of another context": ({"href": "/admin/webdav/x/a"}, {"path": "/d/a"}),
    "absolute href": (
        {"href": "https://portal.example.com/ServicesPortal/webdav/d/a%20b"},
        {"path": "/d/a b"},
    ),
    "href ends in a slash": ({"href": "/ServicesPortal/webdav/d/a/"}, {"path": "/d/a"}),
    "href is unquoted once": (
        {"href": "/ServicesPortal/webdav/d/100%2525+"},
        {"path": "/d/100%25+"},
    ),
    "no name": (
        {"name": None, "href": "/ServicesPortal/webdav/d/a"},
        {"name": "a", "path": "/d/a"},
    ),
    "a time that is none": ({"lastmodified": "yesterday"}, {"modified": None}),
}


@pytest.mark.parametrize(("changes", "expected"), ENTRIES.values(), ids=ENTRIES)
def test_entries(changes, expected):
    """What a portal leaves out, or writes otherwise, is understood."""
    (entry,) = read_all(make_names(Script(listing(info(**changes)))))
    for name, value in expected.items():
        assert getattr(entry, name) == value


MALFORMED: dict[str, Any] = {
    "isFolder missing": info(isFolder="absent"),
    "isFolder is a number": info(isFolder=1),
    "name is a number": info(name=7),  # type: ignore[arg-type]
    "file ID is a word": info(fileId="seven"),
    "size is negative": info(size=-5),
    "name is a step": info(".."),
    "name has a slash": info("a/b"),
    "name is empty": info("", href=None),
    "name has NUL": info("a\0"),
    "no name at all": info(name=None, href=None),  # type: ignore[arg-type]
    "item is a text": "a",
    "item is null": None,
}


@pytest.mark.parametrize("item", MALFORMED.values(), ids=MALFORMED)
def test_malformed_entries(item):
    """An entry that cannot be right is an error that names the folder, and is never left out."""
    script = Script(*[listing(info(), item) for _ in range(5)])
    with pytest.raises(NamespaceError, match="cannot be read") as caught:
        read_all(make_names(script))
    assert caught.value.filename == "/d"
    assert len(script.sent) == 5


def test_malformed_answer_may_be_an_accident():
    """A cut answer, an empty one, or one of another shape is asked for again."""
    script = Script(
        APIAnswer(200, {}, [], b'{"items": ['),
        APIAnswer(200, {}, [], b""),
        answer([]),
        answer({"items": [], "root": FOLDER}),
        listing(info()),
    )
    assert len(read_all(make_names(script))) == 1


@pytest.mark.parametrize(
    ("error_type", "expected"),
    [
        ("DestinationNotExists", PathNotFoundError),
        ("PermissionDenied", AccessDeniedError),
        ("Conflict", NamespaceError),
        ("<script>", NamespaceError),
    ],
)
def test_error_type_on_any_page(error_type, expected):
    """An error on a later page is raised, although its list of items is empty."""
    script = Script(listing(info("a"), info("b"), hasMore=True), listing(errorType=error_type))
    with pytest.raises(expected) as caught:
        read_all(make_names(script))
    assert caught.value.filename == "/d"
    assert "<" not in str(caught.value)


def test_listing_without_a_root():
    """A portal that tells no root in listings: what is empty is looked up, what is not is listed."""
    assert len(read_all(make_names(Script(listing(info(), root=None))))) == 1
    assert read_all(make_names(Script(listing(root=None), listing(root=FOLDER)))) == []
    with pytest.raises(PathNotFoundError):
        read_all(make_names(Script(listing(root=None), listing(root=None))))


def test_folder_among_its_own_entries():
    """A portal that lists the folder itself, as WebDAV does, adds nothing."""
    assert [each.name for each in read_all(make_names(Script(listing(FOLDER, info()))))] == ["a"]


def test_large_pages_may_be_refused():
    """A portal that refuses a large page is asked for small ones, from then on."""
    refusal = answer({"msg": "limit must not exceed 500"}, 500)
    script = Script(refusal, listing(info()), listing(info()))
    names = make_names(script)
    assert len(read_all(names)) == len(read_all(names)) == 1
    assert [sent.parameter["limit"] for sent in script.sent] == ["1000", "100", "100"]


def test_what_is_refused_in_words_is_not_asked_for_again():
    """A 500 with a message is an answer, and its message is told."""
    script = Script(*[answer({"msg": "No such\nthing?key=1", "rc": 3}, 500) for _ in range(2)])
    with pytest.raises(NamespaceError, match=r"HTTP 500, 'No such thing\?...'"):
        read_all(make_names(script))
    assert len(script.sent) == 2  # once for each size of page


def test_request():
    """A request says what PORTAL section 3 says, percent-encoded."""
    script = Script(listing())
    read_all(make_names(script), "/My Files/100% r\u00e9+#?~")
    (sent,) = script.sent
    assert (sent.method, sent.url) == ("POST", f"{ROOT}/api?format=jsonext")
    assert sent.headers == {
        "Authorization": "Bearer bearer",
        "Content-Type": "text/xml; charset=UTF-8",
    }
    assert sent.parameter == {
        "$class": "FetchResourcesParam",
        "root": "/ServicesPortal/webdav/My%20Files/100%25%20r%C3%A9%2B%23%3F~",
        "depth": "1",
        "start": "0",
        "limit": "1000",
    }


def test_name_that_is_not_utf8():
    """Bytes of an href that are not UTF-8 go back to the portal as they were."""
    script = Script(
        listing(info(name="x\ufffd", href="/ServicesPortal/webdav/d/x%FF")), listing(root=info())
    )
    names = make_names(script)
    (entry,) = read_all(names)
    names.stat(entry.path, CancelScope())
    assert script.sent[1].parameter["root"] == "/ServicesPortal/webdav/d/x%FF"


def test_search_of_a_portal_without_filters():
    """A portal that refuses filters is asked by a part of the name; contents cannot be asked for."""
    refusal = answer({"msg": "Unknown attribute"}, 400)
    script = Script(refusal, refusal, listing(info("report.pdf"), info("other")))
    pager = make_names(script).search("/d", "report", None, None, CancelScope())
    assert [entry.name for entry in pager.next_page()] == ["report.pdf"]
    assert script.sent[2].parameter["searchCriteria"] == "report"
    pager = make_names(Script(refusal, refusal)).search("/d", None, None, "words", CancelScope())
    with pytest.raises(NamespaceError, match="Unknown attribute"):
        pager.next_page()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T10:20:30", (10, 20, 30, 0)),
        ("2024-05-01T10:20:30Z", (10, 20, 30, 0)),
        ("2024-05-01T10:20:30.5", (10, 20, 30, 500_000)),
        ("2024-05-01T10:20:30.123456789+02:00", (8, 20, 30, 123_456)),
        ("2024-05-01T10:20:30-0130", (11, 50, 30, 0)),
        ("2024-05-01 10:20", (10, 20, 0, 0)),
    ],
)
def test_times(text, expected):
    """A time becomes UTC; one without a zone is taken for UTC."""
    hour, minute, second, micros = expected
    zone = datetime.timezone.utc
    assert read_time(text) == datetime.datetime(2024, 5, 1, hour, minute, second, micros, zone)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "2024",
        "2024-13-01T00:00:00",
        "0001-01-01T00:00:00+23:59",
        "now",
        "\u0662024-01-01T00:00",
    ],
)
def test_times_that_are_none(text):
    """What is not a time is None."""
    assert read_time(text) is None


# --- key pairs and cloud folders -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "resource"),
    [
        ({"username": "alice", "domain": None, "userRef": None}, "/users/alice"),
        ({"username": "a b", "domain": "corp", "userRef": "x/9"}, "/domains/corp/adUsers/a%20b"),
    ],
)
def test_user_id_by_name(who, resource):
    """A session that does not tell the user's ID has it looked up by the name."""
    script = Script(
        answer(who),
        answer({"name": "x", "uid": "42"}),
        answer({"accessKey": "A", "secretKey": "S"}),
    )
    assert make_names(script).create_key_pair(CancelScope()) == ("A", "S")
    assert script.sent[1].url == f"{ROOT}/api{resource}?format=jsonext"
    assert script.sent[2].parameter == "42"


def test_key_pair_that_is_none():
    """An answer without both keys is an error, and the call is not made again."""
    script = Script(
        answer({"userRef": "objs/42/acme/PortalUser/alice"}), answer({"accessKey": "A"})
    )
    with pytest.raises(NamespaceError, match="no key pair"):
        make_names(script).create_key_pair(CancelScope())
    assert script.sent[1].parameter == "42"


def test_cloud_folders_over_pages():
    """Pages of cloud folders overlap by one, and the owner is the name in the reference."""

    def page(*uids: int, more: bool = True) -> APIAnswer:
        objects = [
            {
                "uid": uid,
                "name": f"f{uid}",
                "owner": "objs/1/acme/PortalUser/a%20b",
                "isDeleted": uid == 3,
            }
            for uid in uids
        ]
        return answer({"hasMore": more, "objects": objects})

    script = Script(page(1, 2), page(2, 3), page(3, 4, more=False))
    folders = list(make_names(script, context="admin").folders(CancelScope()))
    assert [(each.folder_id, each.name, each.owner) for each in folders] == [
        (1, "f1", "a b"),
        (2, "f2", "a b"),
        (4, "f4", "a b"),
    ]
    assert [sent.parameter["startFrom"] for sent in script.sent] == ["0", "1", "2"]


def test_error_numbers():
    """A missing key pair is ENOENT."""
    script = Script(answer({"userRef": "objs/42/acme/PortalUser/alice"}), answer([]))
    call: Callable[..., None] = make_names(script).delete_key_pair
    with pytest.raises(NamespaceError) as caught:
        call("A", CancelScope())
    assert caught.value.errno == errno.ENOENT
