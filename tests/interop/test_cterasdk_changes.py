"""The emulator's change feed by someone else's judgement: the vendor's Notification Service client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from typing import Any, Callable
from urllib.parse import urlsplit

import pytest

from ctera_direct_sync import Namespace, Settings
from ctera_direct_sync.emulator import Emulator

pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 10), reason="cterasdk 2.20.50 needs Python 3.10"),
    # The collector warns of connections that the vendor's client leaves open.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TREE = {"a.txt": b"alpha", "docs": {"b.txt": b"beta", "old": {"c.txt": b"gamma"}}}
TIMEOUT_S = 30


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with a tree; TLS, for the vendor's client takes a port with https alone."""
    with Emulator(tls=True, tree=TREE) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def vendor() -> Iterator[Any]:
    """The vendor's package, whose import makes an event loop for its synchronous clients."""
    import cterasdk
    import cterasdk.clients.clients
    import cterasdk.settings

    yield cterasdk
    cterasdk.clients.clients.event_loop.close()


@pytest.fixture
def run(
    portal: Emulator, vendor: Any
) -> Callable[[Callable[[Any], Coroutine[Any, Any, Any]]], Any]:
    """Run a coroutine with the vendor's client, signed in as an administrator."""

    async def session(work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        parts = urlsplit(portal.url)
        async with vendor.AsyncGlobalAdmin(parts.hostname, parts.port) as admin:
            await admin.login(portal.username, portal.password)
            try:
                return await asyncio.wait_for(work(admin), TIMEOUT_S)
            finally:
                await admin.logout()

    def run_once(work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vendor.settings.core.asyn.settings.connector, "ssl", False)
            return asyncio.run(session(work))

    return run_once


async def read_all(admin: Any, cursor: str | None = None) -> tuple[list[Any], str | None]:
    """Return all events after a cursor, as the vendor's client reads them, and the last cursor."""
    from cterasdk.asynchronous.core.types import Event

    events = []
    more = True
    while more:
        page = await admin.notifications.get(cursor=cursor, max_results=2)
        events += [Event.from_server_object(each) for each in page.objects]
        cursor, more = page.cursor, page.more
    return events, cursor


@pytest.mark.parametrize("version", ["8.2.1400.1", "8.3.1000.10"])
def test_inventory(portal, run, version):
    """Every object comes, with the members that the client knows and no other, before 8.2.1500.30 too."""
    portal.portal_options.version = version
    events, _ = run(read_all)
    assert sorted(event.name for event in events) == sorted(n.name for n in portal.tree.walk())
    found = next(event for event in events if event.name == "b.txt")
    assert (found.type, found.size, found.deleted, found.folder_id) == ("file", 4, False, 1)
    assert found.id == portal.tree.file_id("/My Files/docs/b.txt")
    assert found.portal_modified_date.endswith("Z")
    assert (found.file_timestamp is None) is (version == "8.2.1400.1")


def test_same_events_as_ours(portal, run):
    """Both clients read the same, and either goes on where it was."""
    theirs, cursor = run(read_all)
    settings = Settings()
    settings.api.ssl = False
    account = (portal.url, portal.username, portal.password)
    with Namespace(*account, context="admin", settings=settings) as names:
        pages = list(names.changes())
        ours = [event for page in pages for event in page.events]
        portal.tree.delete("/My Files/docs/b.txt")
        after = [event for page in names.changes(pages[-1].cursor) for event in page.events]
    assert [(e.guid, e.name, e.file_id, e.deleted) for e in ours] == [
        (e.guid, e.name, e.id, e.deleted) for e in theirs
    ]
    (theirs_after,), _ = run(lambda admin: read_all(admin, cursor))
    assert [(event.guid, event.deleted) for event in after] == [(theirs_after.guid, True)]


def test_changes_and_ancestors(portal, run):
    """The long poll tells of a change, and the ancestors lead to the object."""

    async def work(admin: Any) -> Any:
        _, cursor = await read_all(admin)
        quiet = await admin.notifications.changes(cursor, timeout=50)
        waiting = asyncio.create_task(admin.notifications.changes(cursor, timeout=20_000))
        await asyncio.sleep(0)
        portal.tree.overwrite("/My Files/docs/old/c.txt", b"delta")
        told = await waiting
        (event,), _ = await read_all(admin, cursor)
        steps = await admin.notifications.ancestors(event)
        return quiet, told, event, steps

    quiet, told, event, steps = run(work)
    assert (quiet, told) == (False, True)
    assert (event.name, event.size) == ("c.txt", 5)
    assert [step.name for step in steps] == ["My Files", "docs", "old", "c.txt"]
    assert steps[-1].guid == event.guid


def test_cloud_folders(portal, run):
    """The client names the folders that it follows, and learns how many it may name."""
    from cterasdk.exceptions.notifications import TooManyVolumesRequestedError

    portal.accounts.add("ann", "pw", full_name="Ann Lee")
    portal.tree.add_cloud_folder("Team", {"t.txt": b"t"}, owner="ann")

    async def work(admin: Any) -> Any:
        page = await admin.notifications.get([2])
        portal.portal_options.feed.folder_limit = 1
        with pytest.raises(TooManyVolumesRequestedError) as caught:
            await admin.notifications.get([1, 2])
        return [each.name for each in page.objects], caught.value.max_size

    assert run(work) == (["Team", "t.txt"], "1")


def test_errors(portal, run):
    """A refused cursor and an object that is gone are the errors that the client expects."""
    from cterasdk.exceptions.notifications import AncestorsError, NotificationsError

    async def work(admin: Any) -> None:
        events, _ = await read_all(admin)
        with pytest.raises(NotificationsError):
            await admin.notifications.get(cursor="garbage")
        event = next(each for each in events if each.name == "a.txt")
        portal.tree.delete("/My Files/a.txt")
        with pytest.raises(AncestorsError):
            await admin.notifications.ancestors(event)

    run(work)


def test_service(portal, run):
    """The client's service hands out the inventory, then each change, and saves the cursors."""

    async def work(admin: Any) -> Any:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        saved: asyncio.Queue[str] = asyncio.Queue()
        admin.notifications.service.run(queue, saved.put)
        names = []

        async def take(count: int) -> None:
            for _ in range(count):
                names.append((await queue.get()).name)
                queue.task_done()
            await saved.get()

        try:
            await take(len(list(portal.tree.walk())))
            portal.tree.create("/My Files/docs/new.txt", b"new")
            await take(1)
            portal.tree.move("/My Files/docs/new.txt", "/My Files/moved.txt")
            await take(1)
        finally:
            await admin.notifications.service.stop()
        return names

    names = run(work)
    assert sorted(names[:-2]) == ["My Files", "a.txt", "b.txt", "c.txt", "docs", "old"]
    assert names[-2:] == ["new.txt", "moved.txt"]
