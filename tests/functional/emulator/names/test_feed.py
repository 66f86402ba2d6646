"""The emulator's change feed: what each change of the tree tells, and each unknown as an option."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ctera_direct_sync.emulator import Emulator, faults

FILE, FOLDER = "file", "folder"


def names(events: list[Any]) -> list[tuple[str, bool]]:
    """Return the names of events, and whether the objects are gone."""
    return [(event["name"], event["deleted"]) for event in events]


@pytest.fixture
def end(admin: Any) -> str:
    """The cursor of the end of the feed."""
    return admin.all_changes()[1]


def test_inventory(emulator, admin):
    """The first reading tells each live object once, a folder before what is in it."""
    events, _ = admin.all_changes()
    assert [event["name"] for event in events] == [
        *("My Files", "a.txt", "B.txt", "docs", "report.pdf", "old", "notes.TXT", "empty")
    ]
    by_name = {event["name"]: event for event in events}
    report = by_name["report.pdf"]
    assert report["parent_guid"] == by_name["docs"]["guid"]
    assert (report["type"], report["size"]) == (FILE, 4)
    assert report["id"] == emulator.tree.file_id("/My Files/docs/report.pdf")
    assert by_name["docs"]["type"] == FOLDER
    assert {event["folder_id"] for event in events} == {1}
    assert by_name["My Files"]["parent_guid"] is None


def test_changes(emulator, admin, end):
    """Each change tells the state that it led to, under the same identity."""
    guid = emulator.tree.node("/My Files/a.txt").guid
    emulator.tree.overwrite("/My Files/a.txt", b"longer text")
    (written,), cursor = admin.all_changes(end)
    assert (written["guid"], written["size"], written["deleted"]) == (guid, 11, False)
    emulator.tree.move("/My Files/a.txt", "/My Files/empty/c.txt")
    (moved,), cursor = admin.all_changes(cursor)
    assert (moved["guid"], moved["name"]) == (guid, "c.txt")
    assert moved["parent_guid"] == emulator.tree.node("/My Files/empty").guid
    emulator.tree.delete("/My Files/empty/c.txt")
    emulator.tree.create("/My Files/new.txt", b"new")
    events, cursor = admin.all_changes(cursor)
    assert names(events) == [("c.txt", True), ("new.txt", False)]
    emulator.tree.undelete("/My Files/empty/c.txt")
    (back,), _ = admin.all_changes(cursor)
    assert (back["guid"], back["deleted"]) == (guid, False)


@pytest.mark.parametrize("of_children", [False, True])
def test_events_of_children(emulator, admin, end, of_children):
    """A folder that is renamed or deleted brings events of its content, or none."""
    emulator.portal_options.feed.events_of_children = of_children
    emulator.tree.rename("/My Files/docs", "papers")
    events, cursor = admin.all_changes(end)
    below = [("report.pdf", False), ("old", False), ("notes.TXT", False)] if of_children else []
    assert names(events) == [("papers", False), *below]
    emulator.tree.delete("/My Files/papers/old")
    events, cursor = admin.all_changes(cursor)
    below = [("notes.TXT", True)] if of_children else []
    assert names(events) == [*below, ("old", True)]
    emulator.tree.undelete("/My Files/papers/old")
    assert names(admin.all_changes(cursor)[0]) == [("old", False), ("notes.TXT", False)]


def test_history(emulator, admin):
    """The first reading may hold deleted objects, or every change."""
    emulator.tree.delete("/My Files/a.txt")
    emulator.tree.rename("/My Files/B.txt", "b.txt")
    options = emulator.portal_options.feed
    assert ("a.txt", True) not in names(admin.all_changes()[0])
    options.history = "deleted"
    events = names(admin.all_changes()[0])
    assert ("a.txt", True) in events
    assert ("B.txt", False) not in events
    options.history, options.once_per_object = "all", False
    events = names(admin.all_changes()[0])
    assert events[-2:] == [("a.txt", True), ("b.txt", False)]
    assert ("B.txt", False) in events


def test_object_changed_during_the_inventory(emulator, admin):
    """What changes between two pages of the first reading is not lost."""
    page = admin.changes(max_results=3)
    emulator.tree.rename("/My Files/a.txt", "z.txt")
    emulator.tree.rename("/My Files/docs", "papers")
    emulator.tree.create("/My Files/new.txt", b"")
    events = page["entries"] + admin.all_changes(page["cursor"], max_results=3)[0]
    latest = {event["guid"]: event["name"] for event in events}
    assert set(latest.values()) == {
        *("My Files", "z.txt", "B.txt", "papers", "report.pdf", "old", "notes.TXT", "empty"),
        "new.txt",
    }


def test_redelivery(emulator, admin):
    """Pages and events that come again, twice and in another order end in the same state."""
    options = emulator.portal_options.feed
    options.redeliver = options.duplicates = options.shuffle = options.empty_pages = True
    options.history, options.once_per_object, options.seed = "all", False, 3
    for number in range(10):
        emulator.tree.create(f"/My Files/many/{number}", b"")
        emulator.tree.rename(f"/My Files/many/{number}", f"{number}.txt")
    events, _ = admin.all_changes(max_results=4)
    assert len(events) > 40
    latest = {event["guid"]: event["name"] for event in events}
    assert sorted(latest.values()) == sorted(node.name for node in emulator.tree.walk())


def test_times_of_older_portals(emulator, admin):
    """Before 8.2.1500.30 an event has one time, `modified`."""
    emulator.portal_options.version = "8.2.1400.5"
    event = admin.changes()["entries"][1]
    assert event["modified"].endswith("Z")
    assert "file_timestamp" not in event
    emulator.portal_options.version = "8.2.1500.30"
    emulator.portal_options.feed.zone = ""
    event = admin.changes()["entries"][1]
    assert "modified" not in event
    assert len(event["portal_modified_date"]) == 19


def test_unknown_types_and_members(emulator, admin):
    """A later portal tells more."""
    emulator.portal_options.feed.extras = True
    events, _ = admin.all_changes()
    assert "quota" in {event["type"] for event in events}
    assert events[-1]["tags"] == {"of": ["a", "later", "portal"]}


def test_cursors(emulator, admin, end):
    """Cursors are refused that are malformed, for other folders, too old, or not wanted any more."""
    options = emulator.portal_options.feed

    def refused(cursor: str, *folders: int) -> bool:
        response = admin.ask("list", folder_ids=list(folders), cursor=cursor)
        if response.status_code == 200:
            return False
        assert response.status_code == options.cursor_status
        assert response.json() == {"details": [{"error": options.cursor_words}]}
        return True

    assert not refused(end)
    assert refused("garbage")
    assert refused(end, 1)
    options.bound_cursors = False
    assert not refused(end, 1)
    options.cursors_valid = 1
    assert not refused(end := admin.all_changes()[1])
    assert refused(end)
    options.cursors_valid = None
    emulator.feed.reject_cursors()
    options.cursor_status, options.cursor_words = 410, "gone"
    assert refused(end)


def test_page_sizes(emulator, admin):
    """A page holds as many events as were asked for, or as the portal allows."""
    assert len(admin.changes(max_results=3)["entries"]) == 3
    emulator.portal_options.feed.page_cap = 2
    page = admin.changes(max_results=3)
    assert len(page["entries"]) == 2
    assert page["has_more"]
    assert admin.ask("list", folder_ids=[], cursor=None, max_results=0).status_code == 400


def test_folders(emulator, admin, make_caller):
    """The folders may be named, so many at once; those of others are not for every user."""
    emulator.accounts.add("ann", "pw", full_name="Ann Lee")
    team = emulator.tree.add_cloud_folder("Team", {"plan.txt": b"plan"}, owner="ann")
    assert names(admin.changes(None, team)["entries"]) == [("Team", False), ("plan.txt", False)]
    ann = make_caller(name="ann", password="pw")
    assert names(ann.changes()["entries"]) == [("Team", False), ("plan.txt", False)]
    assert ann.ask("list", folder_ids=[1], cursor=None).status_code == 403
    emulator.portal_options.feed.folder_limit = 1
    response = admin.ask("list", folder_ids=[1, team], cursor=None)
    assert response.status_code == 400
    assert response.json() == {"details": [{"error": "size must be between 0 and 1"}]}
    emulator.portal_options.feed.served = "admin"
    assert ann.ask("list", folder_ids=[], cursor=None).status_code == 404


def test_long_poll(emulator, admin, end):
    """A long poll ends as soon as there is a change, or after its time."""
    ask = {"folder_ids": [], "cursor": end}
    assert admin.ask("longpoll", **ask, timeout=10).json() == {"changes": False}
    assert admin.ask("longpoll", **ask, timeout="10").json() == {"changes": False}
    timer = threading.Timer(0.05, lambda: emulator.tree.create("/My Files/new", b""))
    timer.start()
    assert admin.ask("longpoll", **ask, timeout=30_000).json() == {"changes": True}
    timer.join()
    assert admin.ask("longpoll", **ask, timeout=-1).status_code == 400
    emulator.portal_options.feed.poll_limit = 100
    assert admin.ask("longpoll", **ask, timeout=101).status_code == 400


def test_stopping_ends_long_polls(admin, emulator, end):
    """The emulator does not wait for a long poll when it stops."""
    answers = []

    def poll() -> None:
        answers.append(admin.ask("longpoll", folder_ids=[], cursor=end, timeout=600_000))

    asked = emulator.faults.add("portal", call="metadata/longpoll", action=faults.delay(0))
    thread = threading.Thread(target=poll)
    thread.start()
    assert asked.wait(1, 30)
    emulator.feed.stop()
    thread.join(30)
    assert answers[0].json() == {"changes": False}
    emulator.feed.start()


def test_ancestors(emulator, admin, end):
    """The ancestors lead from the cloud folder to the object, in an order that may differ."""
    guid = emulator.tree.node("/My Files/docs/old/notes.TXT").guid

    def ancestors() -> list[str]:
        return [each["name"] for each in admin.ask("ancestors", folder_id=1, guid=guid).json()]

    assert ancestors() == ["My Files", "docs", "old", "notes.TXT"]
    options = emulator.portal_options.feed
    options.ancestors_end_in_object = False
    options.ancestor_order = "reversed"
    assert ancestors() == ["old", "docs", "My Files"]
    assert admin.ask("ancestors", folder_id=2, guid=guid).status_code == 404
    emulator.tree.delete("/My Files/docs/old/notes.TXT")
    assert admin.ask("ancestors", folder_id=1, guid=guid).status_code == 404
    options.ancestors_of_deleted = "tell"
    assert ancestors() == ["old", "docs", "My Files"]


def test_session_over(emulator, admin, end):
    """Without a session the feed redirects, as the rest of the API does."""
    emulator.accounts.expire_sessions()
    response = admin.ask("list", folder_ids=[], cursor=end)
    assert response.status_code == 302
    assert response.headers["Location"] == "/ServicesPortal/login.html"


def test_options_are_checked(emulator):
    """An option that is not known, or a value that cannot be, is refused."""
    with pytest.raises(AttributeError, match="not an option"):
        emulator.portal_options.feed.histroy = "all"
    with pytest.raises(ValueError, match="history must be"):
        emulator.portal_options.feed.history = "none"
    with pytest.raises(ValueError, match="page_cap must be"):
        emulator.portal_options.feed.page_cap = 0


def test_moving_to_another_cloud_folder(emulator, admin, end):
    """An object that leaves its cloud folder is deleted there, and a new one elsewhere."""
    other = emulator.tree.add_cloud_folder("Other", {})
    emulator.tree.move("/My Files/a.txt", "/Other/a.txt")
    events, _ = admin.all_changes(end)
    told = [(each["name"], each["folder_id"], each["deleted"]) for each in events]
    assert told == [("Other", other, False), ("a.txt", other, False), ("a.txt", 1, True)]


def test_feed_of_a_new_emulator_refuses_old_cursors(end):
    """A cursor belongs to the emulator that gave it."""
    with Emulator() as other:
        assert not other.feed.wait(None, (), {9}, 0)
        with pytest.raises(Exception, match="Invalid cursor"):
            other.feed.wait(end, (), {1}, 0)
