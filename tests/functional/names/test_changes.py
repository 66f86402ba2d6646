"""The change feed through a portal: reading, following, resuming, and the paths of events."""

from __future__ import annotations

import errno
import itertools
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ctera_direct_sync import (
    AccessDeniedError,
    ChangePage,
    CursorRejectedError,
    Event,
    NamespaceError,
    PathNotFoundError,
    TooManyFoldersError,
)
from ctera_direct_sync.emulator import faults


def names_of(pages: Iterable[ChangePage]) -> list[str]:
    """Return the names of all events of some pages."""
    return [str(event.name) for page in pages for event in page.events]


def cursor_of(pages: Iterable[ChangePage]) -> str:
    """Return the cursor of the last page."""
    return list(pages)[-1].cursor


@pytest.fixture
def end(names: Any) -> str:
    """The cursor of the end of the feed."""
    return cursor_of(names.changes())


def test_inventory(portal, names):
    """Without a cursor everything comes, each file with the ID that Direct IO takes."""
    pages = list(names.changes())
    events = {event.name: event for page in pages for event in page.events}
    assert sorted(names_of(pages)) == sorted(node.name for node in portal.tree.walk())
    event = events["a.pdf"]
    assert (event.type, event.size, event.deleted) == ("file", 6, False)
    assert event.file_id == event.id == portal.tree.file_id("/My Files/reports/a.pdf")
    assert event.parent_guid == events["reports"].guid
    assert event.folder_id == events["My Files"].folder_id == 1
    assert event.modified is not None
    assert event.modified.tzinfo is not None
    assert event.raw["acl"].startswith("O:S-1")
    assert [page.more for page in pages] == [*[True] * (len(pages) - 1), False]


def test_changes_since_a_cursor(portal, names, end):
    """A cursor gives what changed since, and no more."""
    assert [page.events for page in names.changes(end)] == [[]]
    portal.tree.create("/My Files/new.txt", b"new")
    portal.tree.delete("/My Files/readme.txt")
    (page,) = names.changes(end)
    assert [(event.name, event.deleted) for event in page.events] == [
        ("new.txt", False),
        ("readme.txt", True),
    ]
    assert names_of(names.changes(page.cursor)) == []


def test_many_pages(portal, names):
    """Pages follow each other, and any of their cursors is where to go on."""
    portal.portal_options.feed.page_cap = 3
    portal.portal_options.feed.empty_pages = True
    pages = list(names.changes())
    told = names_of(pages)
    assert sorted(told) == sorted(node.name for node in portal.tree.walk())
    assert any(not page.events for page in pages)
    for number, page in enumerate(pages):
        rest = names_of(pages[number + 1 :])
        assert names_of(names.changes(page.cursor)) == rest


def test_unknown_events_and_members(portal, names):
    """What a later portal tells is delivered, with all its members."""
    portal.portal_options.feed.extras = True
    events = [event for page in names.changes() for event in page.events]
    assert any(event.type == "quota" and event.folder_id is None for event in events)
    assert events[-1].raw["tags"] == {"of": ["a", "later", "portal"]}


@pytest.mark.parametrize(
    ("version", "zone"), [("8.2.1500.29", "Z"), ("8.3.1", "+02:00"), ("8.2.1500.29", "")]
)
def test_times(portal, names, version, zone):
    """A time is in UTC if the portal tells its zone, and has no zone if not."""
    portal.portal_options.version = version
    portal.portal_options.feed.zone = zone
    (page,) = names.changes()
    for event in page.events:
        assert event.modified is not None
        assert event.modified.utcoffset() == (None if not zone else event.modified.utcoffset())
        assert (event.modified.tzinfo is None) is (not zone)


def test_folders(portal, names, make_names):
    """Some folders are followed by ID or by CloudFolder, and their cursor is theirs alone."""
    other = portal.tree.add_cloud_folder("Other", {"o.txt": b"o"})
    third = portal.tree.add_cloud_folder("Third", {"t.txt": b"t"})
    found = {folder.name: folder for folder in names.folders()}
    pages = list(names.changes(folders=[found["Other"], third, third]))
    assert names_of(pages) == ["Other", "o.txt", "Third", "t.txt"]
    cursor = pages[-1].cursor
    assert names_of(names.changes(cursor, folders=iter([third, other]))) == []
    for folders in (None, [other], [other, third, 1]):
        with pytest.raises(ValueError, match="pass the same folders"):
            names.changes(cursor, folders=folders)


def test_too_many_folders(portal, names):
    """The error tells how many folders the portal takes."""
    portal.portal_options.feed.folder_limit = 2
    portal.portal_options.feed.served = "both"
    uids = [portal.tree.add_cloud_folder(f"F{number}") for number in range(3)]
    pages = names.changes(folders=uids)
    for _ in range(2):
        with pytest.raises(
            TooManyFoldersError, match="at most 2 cloud folders at once, not 3"
        ) as caught:
            next(pages)
        assert caught.value.limit == 2
    portal.portal_options.feed.folder_limit = 3
    cursor = cursor_of(pages)
    portal.portal_options.feed.folder_limit = 2
    with pytest.raises(TooManyFoldersError):
        next(names.changes(cursor, folders=uids))


@pytest.mark.parametrize("status", [400, 404, 410, 422, 500])
def test_rejected_cursor(portal, names, end, status):
    """Whatever status refuses a cursor, the error says to start again, and that works."""
    options = portal.portal_options.feed
    options.cursor_status, options.cursor_words = status, "This cursor is of no use"
    portal.feed.reject_cursors()
    for wait in (None, 1):
        with pytest.raises(CursorRejectedError, match=r"of no use.*start again") as caught:
            list(names.changes(end, wait=wait))
        assert caught.value.errno == errno.ESTALE
    assert names_of(names.changes())


def test_cursor_rejected_while_following(portal, names, end):
    """A long poll that refuses the cursor ends in the same error."""
    pages = names.changes(end, wait=math.inf)
    assert next(pages).events == []
    portal.feed.reject_cursors()
    with pytest.raises(CursorRejectedError):
        next(pages)


def test_refusal_without_a_cursor(portal, names):
    """What is refused at the beginning is not the cursor's fault."""
    portal.portal_options.feed.served = "admin"
    with pytest.raises(NamespaceError, match="no change feed in this context") as caught:
        next(names.changes())
    assert not isinstance(caught.value, CursorRejectedError)


def test_no_permission(portal, make_names):
    """A folder that the user may not follow is told as such."""
    portal.accounts.add("eve", "pw")
    eve = make_names("eve", "pw")
    with pytest.raises(AccessDeniedError, match="Permission denied"):
        next(eve.changes(folders=[1]))
    assert [page.events for page in eve.changes()] == [[]]


# --- waiting ---------------------------------------------------------------------------------------


def test_waiting(portal, names, end):
    """With `wait` the iteration goes on until nothing came for so long."""
    pages = names.changes(end, wait=0.3)
    assert next(pages).events == []
    for number in range(3):
        portal.tree.create(f"/My Files/{number}", b"")
        assert names_of([next(pages)]) == [str(number)]
    assert list(pages) == []
    assert list(pages) == []
    assert portal.log.records(call="metadata/longpoll")


def test_change_ends_a_long_poll(portal, names, end):
    """A change is delivered as soon as the long poll tells of it."""
    pages = names.changes(end, wait=10**400)
    next(pages)
    asked = portal.faults.add("portal", call="metadata/longpoll", action=faults.delay(0))
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(next, pages)
        assert asked.wait(1, 30)
        portal.tree.create("/My Files/new", b"")
        assert names_of([future.result(30)]) == ["new"]
    assert len(portal.log.records(call="metadata/longpoll")) == 1


@pytest.mark.parametrize("poll", ["at-once", "always-true"])
def test_portal_that_does_not_wait(portal, names, end, poll):
    """A portal that answers a long poll at once is not asked without a pause."""
    portal.portal_options.feed.poll = poll
    pages = names.changes(end, wait=1.0)
    assert names_of(pages) == []
    assert len(portal.log.records(call="metadata/longpoll")) < 8
    pages = names.changes(end, wait=30)
    next(pages)
    portal.tree.create("/My Files/new", b"")
    assert "new" in (name for page in pages for name in names_of([page]))


def test_long_poll_without_an_answer(portal, make_names, end, quick):
    """A portal that is silent beyond the time of the poll is asked for the page instead."""
    quick.api.timeout = 0.2
    names = make_names(settings=quick)
    portal.faults.add("portal", call="metadata/longpoll", times=None, action=faults.stall())
    pages = names.changes(end, wait=0.2)
    next(pages)
    portal.tree.create("/My Files/new", b"")
    assert names_of([next(pages)]) == ["new"]
    portal.faults.clear()
    assert names_of(pages) == []


def test_portal_that_refuses_to_wait(portal, names, end):
    """A portal that refuses a long poll, and takes its cursor, is told by the portal's words."""
    portal.portal_options.feed.poll_limit = 0
    pages = names.changes(end, wait=60)
    next(pages)
    portal.tree.create("/My Files/new", b"")
    assert names_of([next(pages)]) == ["new"]
    with pytest.raises(NamespaceError, match="timeout is out of range"):
        next(pages)


# --- ends ------------------------------------------------------------------------------------------


def test_closing_ends_a_long_poll(portal, names, end):
    """Closing from another thread ends the wait at once with ECANCELED."""
    pages = names.changes(end, wait=math.inf)
    next(pages)
    asked = portal.faults.add("portal", call="metadata/longpoll", action=faults.delay(0))
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(next, pages)
        assert asked.wait(1, 30)
        names.close()
        error = future.exception(timeout=30)
    assert isinstance(error, NamespaceError)
    assert error.errno == errno.ECANCELED
    with pytest.raises(NamespaceError):
        next(pages)


def test_closing_between_two_pages(portal, names, end):
    """A reading that is not at its end raises; one that has everything ends."""
    portal.portal_options.feed.page_cap = 3
    unfinished, finished = names.changes(), names.changes(end)
    next(unfinished)
    next(finished)
    names.close()
    assert list(finished) == []
    with pytest.raises(NamespaceError) as caught:
        next(unfinished)
    assert caught.value.errno == errno.ECANCELED
    with pytest.raises(ValueError, match="closed"):
        names.changes()


def test_arguments(names, end):
    """What cannot be is refused by the call itself."""
    for arguments, error, text in [
        ({"cursor": "garbage"}, ValueError, "not a cursor"),
        ({"cursor": end[:-1]}, ValueError, "cut or changed"),
        ({"cursor": ""}, ValueError, "not a cursor"),
        ({"cursor": 5}, TypeError, "a cursor is a str"),
        ({"folders": []}, ValueError, "folders is empty"),
        ({"folders": [-1]}, ValueError, "not the ID of a cloud folder"),
        ({"folders": ["My Files"]}, TypeError, r"Namespace.folders\(\) gives them"),
        ({"folders": "16"}, TypeError, "put a single one into a list"),
        ({"folders": 16}, TypeError, "put a single one into a list"),
        ({"wait": -1}, ValueError, "0 or more"),
        ({"wait": math.nan}, ValueError, "0 or more"),
    ]:
        with pytest.raises(error, match=text):
            names.changes(**arguments)


def test_nothing_is_sent_before_the_first_step(portal, names):
    """Making the iterator costs no request."""
    names.changes(wait=5)
    assert portal.requests == []


# --- paths -----------------------------------------------------------------------------------------


def event_of(names: Any, name: str) -> Event:
    """Return the last event of an object of some name."""
    events = [event for page in names.changes() for event in page.events if event.name == name]
    return events[-1]


ORDERS = list(itertools.product(["sorted", "reversed", "shuffled"], [True, False], [True, False]))


@pytest.mark.parametrize(("order", "has_object", "has_parents"), ORDERS)
def test_ancestors(portal, names, order, has_object, has_parents):
    """The cloud folder comes first and the object last, however the portal sorts them."""
    options = portal.portal_options.feed
    options.ancestor_order, options.ancestors_end_in_object = order, has_object
    options.ancestors_have_parents, options.seed = has_parents, 2
    event = event_of(names, "notes.txt")
    if order == "shuffled" and not has_parents:
        with pytest.raises(NamespaceError, match="ancestors"):
            names.ancestors(event)
        return
    steps = names.ancestors(event)
    assert [step.name for step in steps] == ["My Files", "reports", "2026", "notes.txt"]
    assert steps[-1].guid == event.guid
    assert names.path_of(event) == "/My Files/reports/2026/notes.txt"


def test_path_of_a_moved_object(portal, names):
    """The path is where the object is now, and leads to it."""
    event = event_of(names, "a.pdf")
    portal.tree.move("/My Files/reports/a.pdf", "/My Files/empty/z.pdf")
    assert names.path_of(event) == "/My Files/empty/z.pdf"
    assert names.stat(names.path_of(event)).file_id == event.file_id


@pytest.mark.parametrize("status", [400, 404, 410, 500])
def test_path_of_a_gone_object(portal, names, status):
    """An object that is gone has no path, whatever the portal answers."""
    portal.portal_options.feed.ancestors_status = status
    event = event_of(names, "a.pdf")
    portal.tree.delete("/My Files/reports/a.pdf")
    for ask in (names.path_of, names.ancestors):
        with pytest.raises(PathNotFoundError, match="was it deleted"):
            ask(event)


def test_path_of_a_deleted_event(portal, names, end):
    """The event of a deletion has no path, and costs no request."""
    portal.tree.delete("/My Files/reports/a.pdf")
    (page,) = names.changes(end)
    asked = portal.log.total("portal")
    with pytest.raises(PathNotFoundError, match="was deleted"):
        names.path_of(page.events[0])
    assert portal.log.total("portal") == asked


def test_path_in_an_administrators_view(portal, make_names):
    """An administrator's paths begin with the owner, also where the portal does not tell the path."""
    portal.accounts.add("ann", "pw", full_name="Ann L\u00e9e %2F")
    portal.tree.add_cloud_folder("Te am", {"sub": {"plan.txt": b"plan"}}, owner="ann")
    admin = make_names(context="admin")
    event = event_of(admin, "plan.txt")
    expected = "/Users/Ann L\u00e9e %2F/Te am/sub/plan.txt"
    assert admin.path_of(event) == expected
    assert admin.stat(expected).file_id == event.file_id
    for action in (
        faults.answer(lambda value: {**value, "webDavPartialUrl": None}),
        faults.answer(lambda value: {**value, "webDavPartialUrl": "Users/Ann/../Te%20am"}),
        faults.answer(lambda value: {**value, "webDavPartialUrl": "Users/Ann/Te%00am"}),
        faults.status(404, {}, b'{"msg": "no"}'),
    ):
        portal.faults.add("portal", call="objs", action=action)
        assert admin.path_of(event) == expected
    assert admin.path_of(event_of(admin, "Te am")) == "/Users/Ann L\u00e9e %2F/Te am"


def test_path_of_shared_folders(portal, make_names):
    """A user sees the folders of others as shared ones, and an own folder of the same name first."""
    portal.accounts.add("ann", "pw", full_name="Ann Lee")
    portal.accounts.add("bob", "pw", full_name="Bob")
    portal.tree.add_cloud_folder("Team", {"sub": {"plan.txt": b"plan"}}, owner="ann")
    portal.tree.add_cloud_folder("Team", {"own.txt": b"own"}, owner="bob")
    portal.tree.share("/Users/Ann Lee/Team", "bob")
    bob = make_names("bob", "pw")
    assert bob.path_of(event_of(bob, "plan.txt")) == "/Shared With Me/Team/sub/plan.txt"
    assert bob.path_of(event_of(bob, "own.txt")) == "/Team/own.txt"
    for name in ("plan.txt", "own.txt"):
        event = event_of(bob, name)
        assert bob.stat(bob.path_of(event)).file_id == event.file_id


def test_path_of_a_cloud_folder_without_its_id(portal, names):
    """The event of a cloud folder may not tell the folder's ID: its name is looked up."""
    portal.portal_options.feed.root_events = "without-id"
    event = event_of(names, "My Files")
    assert event.folder_id is None
    assert names.path_of(event) == "/My Files"


@pytest.mark.parametrize("context", ["ServicesPortal", "admin"])
def test_path_if_the_cloud_folder_is_left_out(portal, make_names, context):
    """Ancestors that begin below the cloud folder, or with its former name, give the same path."""
    names = make_names(context=context)
    event = event_of(names, "notes.txt")
    expected = names.path_of(event)
    for edit in (
        lambda steps: [{**steps[1], "parent_guid": None}, *steps[2:]],
        lambda steps: [{**steps[0], "name": "Former"}, *steps[1:]],
    ):
        portal.faults.add("portal", call="metadata/ancestors", action=faults.answer(edit))
        assert names.path_of(event) == expected


def test_path_without_ids_of_cloud_folders(portal, names):
    """A portal that tells no ID of a cloud folder in listings is asked by the folder's name."""

    def forget(answer: Any) -> Any:
        for item in [answer["root"] or {}, *answer["items"]]:
            item["cloudFolderInfo"] = None
        return answer

    event = event_of(names, "notes.txt")
    portal.faults.add("portal", call="fetchResources", times=None, action=faults.answer(forget))
    assert names.path_of(event) == "/My Files/reports/2026/notes.txt"
