"""Answers of the change feed that no emulator gives, by a scripted transport."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctera_direct_sync import (
    CursorRejectedError,
    Event,
    NamespaceConnectionError,
    NamespaceError,
    PathNotFoundError,
    TooManyFoldersError,
)
from ctera_direct_sync._base.account import Bearer
from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._base.retry import RetryPolicy
from ctera_direct_sync._net.api_session import APIAnswer
from ctera_direct_sync._net.errors import TransportError
from ctera_direct_sync._protocol.calls import PortalCalls
from ctera_direct_sync._protocol.changes import ChangePages, ChangeReader, Feed
from ctera_direct_sync._protocol.feed_cursor import FeedCursor
from ctera_direct_sync._protocol.sign_in import SignIn
from ctera_direct_sync.types import Token
from tests.support.interrupts import at_statement, interrupt
from tests.support.portal_script import ROOT, Script, answer

START = FeedCursor("c0", (16, 20))
RETRIES = 4
EVENT = Event("file", "g3", "g2", 16, "report.pdf", False, 1, 1, None, {})


def make_feed(script: Script) -> Feed:
    """Return a feed that uses a script, and retries without a delay."""
    policy = RetryPolicy(RETRIES, 0.0, 0.0, 60.0)
    sign_in = SignIn(script, ROOT, Bearer(Token("bearer")), policy)  # type: ignore[arg-type]
    return Feed(PortalCalls(script, ROOT, sign_in, policy), (10.0, 60.0))  # type: ignore[arg-type]


def make_reader(script: Script, cursor: FeedCursor = START, wait: float | None = None) -> Any:
    """Return a reader that begins at a cursor."""
    return ChangeReader(make_feed(script), cursor, wait)


def event(**changes: Any) -> dict[str, Any]:
    """Return an event as the portal sends it; "absent" leaves a member out."""
    members = {
        "type": "file",
        "guid": "4fbc5aca:562",
        "parent_guid": "4fbc5aca:7",
        "folder_id": 16,
        "name": "report.pdf",
        "deleted": False,
        "size": 4071685,
        "id": 14390,
        "file_timestamp": "2024-05-01T10:20:30Z",
        "portal_modified_date": "2024-05-01T10:21:02Z",
        **changes,
    }
    return {name: value for name, value in members.items() if value != "absent"}


def page(*events: Any, cursor: Any = "c1", has_more: Any = False, **more: Any) -> APIAnswer:
    """Return a page of the feed."""
    return answer({"entries": list(events), "has_more": has_more, "cursor": cursor, **more})


def read(script: Script) -> Event:
    """Return the event of a page."""
    (found,) = make_reader(script).next_page(CancelScope()).events
    return found


def test_requests():
    """The requests say what PORTAL section 5 says."""
    script = Script(page(), answer({"changes": True}), page())
    reader = make_reader(script, wait=30)
    reader.next_page(CancelScope())
    reader.next_page(CancelScope())
    assert [sent.url.rpartition("/v2/api")[2] for sent in script.sent] == [
        *("/metadata/list", "/metadata/longpoll", "/metadata/list")
    ]
    assert script.sent[0].url == f"{ROOT}/v2/api/metadata/list"
    assert script.sent[0].headers == {
        "Authorization": "Bearer bearer",
        "Content-Type": "application/json",
    }
    assert json.loads(script.sent[0].body or b"") == {
        "folder_ids": [16, 20],
        "cursor": "c0",
        "max_results": 2000,
    }
    assert json.loads(script.sent[1].body or b"") == {
        "folder_ids": [16, 20],
        "cursor": "c1",
        "timeout": 10_000,
    }


EVENTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no members but the least": (
        dict.fromkeys(
            ("parent_guid", "folder_id", "size", "id", "file_timestamp", "portal_modified_date"),
            "absent",
        ),
        {"parent_guid": None, "folder_id": None, "size": None, "file_id": None, "modified": None},
    ),
    "all null": (
        dict.fromkeys(("parent_guid", "folder_id", "name", "size", "id", "file_timestamp")),
        {"parent_guid": None, "folder_id": None, "name": None, "size": None, "file_id": None},
    ),
    "no name": ({"name": "absent", "deleted": True}, {"name": None}),
    "file ID as text": ({"id": "14390"}, {"file_id": 14390}),
    "a time that is none": (
        {"file_timestamp": "yesterday", "portal_modified_date": 5, "modified": None},
        {"modified": None},
    ),
    "other type with other members": (
        {"type": "quota", "size": "12 GB", "name": {"de": "x"}, "id": [1]},
        {"type": "quota", "size": None, "name": None, "file_id": None},
    ),
}


@pytest.mark.parametrize(("changes", "expected"), EVENTS.values(), ids=EVENTS)
def test_events(changes, expected):
    """What a portal leaves out, or a later one tells, is understood."""
    found = read(Script(page(event(**changes))))
    for name, value in expected.items():
        assert getattr(found, name) == value
    assert found.raw == event(**changes)


def test_times():
    """The file's own time comes first, and a zone is told by the portal or not at all."""
    found = read(Script(page(event(file_timestamp="2024-05-01T12:20:30+02:00"))))
    assert found.modified is not None
    assert found.modified.isoformat() == "2024-05-01T10:20:30+00:00"
    found = read(Script(page(event(file_timestamp=None, portal_modified_date="2024-05-01T10:21"))))
    assert found.modified is not None
    assert found.modified.isoformat() == "2024-05-01T10:21:00"
    old = event(
        file_timestamp="absent", portal_modified_date="absent", modified="2024-05-01T09:00Z"
    )
    found = read(Script(page(old)))
    assert found.modified is not None
    assert found.modified.isoformat() == "2024-05-01T09:00:00+00:00"


MALFORMED: dict[str, APIAnswer] = {
    "no object": answer([]),
    "null": answer(None),
    "empty": APIAnswer(200, {}, [], b""),
    "cut": APIAnswer(200, {}, [], b'{"entries": ['),
    "no entries": answer({"has_more": False, "cursor": "c1"}),
    "entries is an object": page(cursor="c1", entries={}),
    "no has_more": answer({"entries": [], "cursor": "c1"}),
    "has_more is a number": page(has_more=1),
    "cursor is a number": page(cursor=1),
    "cursor is an object": page(cursor={}),
    "no cursor with events": page(event(), cursor=None),
    "no cursor with more": page(cursor="", has_more=True),
    "cursor does not move": page(event(), cursor="c0", has_more=True),
    "event is a text": page("a"),
    "event is null": page(None),
    "no type": page(event(type="absent")),
    "no guid": page(event(guid=None)),
    "empty guid": page(event(guid="")),
    "guid is a number": page(event(guid=5)),
    "no deleted": page(event(deleted="absent")),
    "deleted is a number": page(event(deleted=0)),
    "size is negative": page(event(size=-5)),
    "size is a word": page(event(size="large")),
    "id is a fraction": page(event(id=1.5)),
    "id is huge": page(event(id=2**64)),
    "name is a number": page(event(name=7)),
    "folder is a text": page(event(folder_id="My Files")),
    "one bad event among good ones": page(event(), event(guid=None), event()),
}


@pytest.mark.parametrize("wrong", MALFORMED.values(), ids=MALFORMED)
def test_malformed_pages(wrong):
    """A page that cannot be right is asked for again, and then an error; no event is left out."""
    script = Script(*[wrong] * (RETRIES + 1))
    reader = make_reader(script)
    with pytest.raises(NamespaceError, match="cannot be read"):
        reader.next_page(CancelScope())
    assert len(script.sent) == RETRIES + 1
    assert len(make_reader(Script(wrong, page(event()))).next_page(CancelScope()).events) == 1


def test_page_without_a_cursor():
    """A page that has nothing, and no cursor, leaves the position as it was."""
    reader = make_reader(Script(page(cursor=None)))
    assert FeedCursor.unpack(reader.next_page(CancelScope()).cursor) == START
    reader = make_reader(Script(page(cursor="")), FeedCursor(None, ()))
    assert FeedCursor.unpack(reader.next_page(CancelScope()).cursor) == FeedCursor(None, ())
    assert page(entries=None).status == 200
    assert make_reader(Script(page(entries=None))).next_page(CancelScope()).events == []


@pytest.mark.parametrize("length", [2, 3, 7])
def test_pages_that_go_round(length):
    """Cursors that lead back to where they were end in an error, not in an endless feed."""
    pages = [page(event(), cursor=f"c{number % length}", has_more=True) for number in range(1, 200)]
    reader = make_reader(Script(*pages))
    seen = 0
    with pytest.raises(NamespaceError, match="leads back to where it was"):
        for _ in pages:
            reader.next_page(CancelScope())
            seen += 1
    assert seen < 4 * length + 2


def test_long_feed_is_no_circle():
    """Thousands of pages with cursors of their own are read."""
    pages = [page(cursor=f"c{number}", has_more=True) for number in range(1, 3000)]
    reader = make_reader(Script(*pages, page(cursor="end")))
    for _ in pages:
        assert reader.next_page(CancelScope()).more
    assert not reader.next_page(CancelScope()).more
    assert reader.complete
    assert reader.next_page(CancelScope()) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
MEMBERS = st.dictionaries(st.sampled_from([*event(), "modified", "x"]), JSON)


@settings(max_examples=50)
@given(st.lists(MEMBERS | JSON, max_size=3), JSON, st.booleans() | JSON)
def test_any_page(changes, cursor, has_more):
    """Any JSON is a page or a NamespaceError. Each event of a page has what its class says."""
    items = [event(**each) if isinstance(each, dict) else each for each in changes]
    script = Script(*[page(*items, cursor=cursor, has_more=has_more)] * (RETRIES + 1))
    try:
        found = make_reader(script).next_page(CancelScope())
    except NamespaceError:
        return
    assert len(found.events) == len(items)
    assert isinstance(has_more, (bool, str))
    for each in found.events:
        assert isinstance(each.type, str)
        assert isinstance(each.guid, str)
        assert isinstance(each.deleted, bool)
        assert isinstance(each.name, (str, type(None)))
        for number in (each.size, each.file_id, each.folder_id):
            assert number is None or (isinstance(number, int) and number >= 0)


@settings(max_examples=50)
@given(st.lists(JSON, max_size=4) | JSON)
def test_any_ancestors(steps):
    """Any JSON is a way that ends in the object, or a NamespaceError."""
    script = Script(*[answer(steps)] * (RETRIES + 1))
    try:
        found = make_feed(script).ancestors(EVENT, CancelScope())
    except NamespaceError:
        return
    assert found[-1].guid == EVENT.guid


# --- refusals ----------------------------------------------------------------------------------------


def refusal(status: int, words: str) -> APIAnswer:
    """Return a refusal in the words of v2."""
    return answer({"details": [{"error": words}]}, status)


TOO_MANY = refusal(400, "size must be between 0 and 32")


def test_too_many_folders():
    """The limit is read from the portal's words, of any call that names folders."""
    with pytest.raises(
        TooManyFoldersError, match="at most 32 cloud folders at once, not 2"
    ) as caught:
        make_reader(Script(TOO_MANY)).next_page(CancelScope())
    assert caught.value.limit == 32
    reader = make_reader(Script(page(), TOO_MANY), wait=5)
    reader.next_page(CancelScope())
    with pytest.raises(TooManyFoldersError):
        reader.next_page(CancelScope())


def test_rejected_cursor():
    """A 400 is the cursor's fault at once; another refusal only if the beginning can be read."""
    with pytest.raises(CursorRejectedError, match="HTTP 400, 'stale'"):
        make_reader(Script(refusal(400, "stale"))).next_page(CancelScope())
    with pytest.raises(CursorRejectedError, match="HTTP 410"):
        make_reader(Script(refusal(410, "stale"), page())).next_page(CancelScope())
    script = Script(refusal(410, "closed"), refusal(410, "closed"))
    with pytest.raises(NamespaceError, match="HTTP 410, 'closed'") as caught:
        make_reader(script).next_page(CancelScope())
    assert not isinstance(caught.value, CursorRejectedError)
    assert json.loads(script.sent[1].body or b"")["cursor"] is None


def test_refusal_at_the_beginning():
    """Without a cursor a 400 is told in the portal's words."""
    reader = make_reader(Script(refusal(400, "no such folder")), FeedCursor(None, (9,)))
    with pytest.raises(NamespaceError, match="no such folder") as caught:
        reader.next_page(CancelScope())
    assert not isinstance(caught.value, CursorRejectedError)


# --- waiting -----------------------------------------------------------------------------------------

RESET = TransportError("connection", "connection reset by peer")
SILENCE = TransportError("timeout", "nothing came within the read timeout")


def test_failures_of_a_long_poll():
    """Connection errors, busy portals and answers that make no sense are repeated by the policy."""
    troubles = [RESET, answer({}, 503), answer({"changes": None}), answer([])]
    script = Script(page(), *troubles, answer({"changes": True}), page(event(), cursor="c2"))
    reader = make_reader(script, wait=30)
    reader.next_page(CancelScope())
    assert len(reader.next_page(CancelScope()).events) == 1
    script = Script(page(), *[RESET] * (RETRIES + 1))
    reader = make_reader(script, wait=30)
    reader.next_page(CancelScope())
    with pytest.raises(NamespaceConnectionError):
        reader.next_page(CancelScope())


@pytest.mark.parametrize("silence", [SILENCE, answer({}, 504), answer({}, 408)])
def test_silence_of_a_long_poll(silence):
    """A long poll without an answer in time proves nothing: the page is asked for."""
    script = Script(page(), silence, page(event(), cursor="c2"))
    reader = make_reader(script, wait=30)
    reader.next_page(CancelScope())
    assert len(reader.next_page(CancelScope()).events) == 1


def test_error_of_a_wait_can_be_repeated():
    """After an error the same page is asked for again."""
    denied = answer({}, 403)
    script = Script(page(), answer({"changes": True}), denied, answer({"changes": True}), page())
    reader = make_reader(script, wait=30)
    reader.next_page(CancelScope())
    with pytest.raises(NamespaceError):
        reader.next_page(CancelScope())
    assert reader.next_page(CancelScope()).events == []
    cursors = [json.loads(sent.body or b"")["cursor"] for sent in script.sent]
    assert cursors == ["c0", "c1", "c1", "c1", "c1"]


def test_interrupt_anywhere():
    """An interrupt at any statement leaves the reading where it was: each page reaches the caller."""
    pages = {
        None: page(event(guid="1"), cursor="c1", has_more=True),
        "c1": page(event(guid="2"), cursor="c2"),
    }
    for number in itertools.count(1):
        iterator = make_pages(Endless(pages))
        seen = []
        with at_statement(number, interrupt) as statements, contextlib.suppress(KeyboardInterrupt):
            for found in iterator:
                seen.append(found.events[0].guid)
        if statements.count < number:
            break
        seen += [found.events[0].guid for found in iterator]
        assert seen == ["1", "2"], number
    assert number > 100


def make_pages(script: Script) -> ChangePages:
    """Return the pages of a feed from its beginning."""
    reader = make_reader(script, FeedCursor(None, ()))
    return ChangePages(reader, lambda: reader.next_page(CancelScope()))


class Endless(Script):
    """Gives the page of the cursor that is asked for, as often as it is."""

    def __init__(self, pages: dict[Any, APIAnswer]) -> None:
        super().__init__()
        self._pages = pages

    def request(self, *arguments: Any) -> APIAnswer:
        """Give the page."""
        return self._pages[json.loads(arguments[4])["cursor"]]


def test_waiting_without_a_cursor():
    """A feed that is empty so far has nothing to wait with, and is asked again after the wait."""
    script = Script(page(cursor=None), page(cursor=None))
    reader = make_reader(script, FeedCursor(None, ()), wait=0.05)
    assert reader.next_page(CancelScope()).events == []
    assert reader.next_page(CancelScope()).events == []
    assert reader.next_page(CancelScope()) is None
    assert {sent.url.rpartition("/")[2] for sent in script.sent} == {"list"}


def test_read_timeout_of_a_long_poll():
    """The read timeout is above the time of the poll."""
    timeouts = []

    class Timed(Script):
        def request(self, *arguments: Any) -> APIAnswer:
            timeouts.append(arguments[5])
            return super().request(*arguments)

    script = Timed(answer({"changes": False}))
    assert make_feed(script).poll(START, 10.0, CancelScope()) is False
    assert timeouts == [(10.0, 40.0)]


# --- ancestors ---------------------------------------------------------------------------------------


def step(name: str, guid: str, parent: str | None = None) -> dict[str, Any]:
    """Return an ancestor as the portal sends it."""
    return {"name": name, "guid": guid, "parent_guid": parent}


WAY = [step("My Files", "g1"), step("docs", "g2", "g1"), step("report.pdf", "g3", "g2")]


@pytest.mark.parametrize(
    "steps",
    [
        WAY,
        WAY[::-1],
        [WAY[1], WAY[2], WAY[0]],
        WAY[:2],
        [{"name": each["name"], "guid": each["guid"]} for each in WAY],
        [{"name": each["name"], "guid": each["guid"]} for each in reversed(WAY)],
        [{"name": each["name"], "guid": each["guid"]} for each in WAY[:2]],
        [{"name": each["name"], "guid": each["guid"]} for each in (WAY[1], WAY[0])],
    ],
)
def test_ancestors(steps):
    """The way is found by what the ancestors tell of each other, or of the event."""
    found = make_feed(Script(answer(steps))).ancestors(EVENT, CancelScope())
    assert [each.name for each in found] == ["My Files", "docs", "report.pdf"]
    assert found[-1].guid == "g3"


@pytest.mark.parametrize("gone", [answer([]), answer([*WAY[:2], {**WAY[2], "deleted": True}])])
def test_ancestors_of_a_gone_object(gone):
    """No ancestors, or a deleted one, mean that there is no path."""
    with pytest.raises(PathNotFoundError):
        make_feed(Script(gone)).ancestors(EVENT, CancelScope())


WRONG_WAYS: dict[str, Any] = {
    "no list": {},
    "null": None,
    "a text": ["docs"],
    "no name": [step("", "g1"), *WAY[1:]],
    "no guid": [{"name": "My Files"}, *WAY[1:]],
    "a name that leads elsewhere": [WAY[0], step("..", "g2", "g1"), WAY[2]],
    "a name with a slash": [WAY[0], step("a/b", "g2", "g1"), WAY[2]],
    "a gap": [WAY[0], step("report.pdf", "g3", "g9")],
    "twice": [*WAY, WAY[2]],
    "a circle": [step("a", "g1", "g2"), step("b", "g2", "g1")],
    "two of one parent": [WAY[0], WAY[1], step("other", "g4", "g1"), WAY[2]],
    "beyond the object": [*WAY, step("below", "g4", "g3")],
    "another object without parents": [{"name": "a", "guid": "g1"}, {"name": "b", "guid": "g9"}],
}


@pytest.mark.parametrize("steps", WRONG_WAYS.values(), ids=WRONG_WAYS)
def test_wrong_ancestors(steps):
    """A way that cannot be right is an error, and never a path."""
    with pytest.raises(NamespaceError, match="cannot be read"):
        make_feed(Script(*[answer(steps)] * (RETRIES + 1))).ancestors(EVENT, CancelScope())


@pytest.mark.parametrize("name", [".", "..", "../a", "a/b", "/", "", "a\0b"])
def test_event_whose_name_leads_elsewhere(name):
    """Ancestors that leave the object out are completed by the event's name only if it is one."""
    event = dataclasses.replace(EVENT, name=name)
    script = Script(*[answer(WAY[:2])] * (RETRIES + 1))
    with pytest.raises(NamespaceError, match="cannot be read"):
        make_feed(script).ancestors(event, CancelScope())
