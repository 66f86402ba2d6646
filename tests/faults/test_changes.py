"""The change feed under faults of the portal: all events or an error, never a silent gap, and no secret."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from ctera_direct_sync import ChangePage, Namespace, NamespaceError, Settings
from ctera_direct_sync.emulator import Emulator, faults
from tests.support.tracebacks import told_by_library

PASSWORD = "pa55-w0rd-never-shown"
TREE = {f"folder-{number}": {"a.txt": b"a", "b.txt": b"b"} for number in range(4)}
COUNT = 1 + 3 * len(TREE)
CALLS = ("metadata/list", "metadata/longpoll", "metadata/ancestors")


def replace_member(name: str, value: Any) -> faults.Action:
    """Return the fault that gives a member of an answer another value."""
    return faults.answer(
        lambda answer: {**answer, name: value} if isinstance(answer, dict) else value
    )


TRANSIENT: dict[str, Callable[[], faults.Action]] = {
    "reset": faults.reset,
    "reset amid the body": lambda: faults.reset(15),
    "cut": faults.cut,
    "cut amid the body": lambda: faults.cut(15),
    "stall": faults.stall,
    "stall amid the body": lambda: faults.stall(15),
    "short": lambda: faults.short(1),
    "chunked and cut": lambda: faults.chunked(cut=15),
    "garbage": faults.garbage,
    "429": lambda: faults.status(429, {"Retry-After": "0"}),
    "408": lambda: faults.status(408),
    "500": lambda: faults.status(500),
    "502 with a page": lambda: faults.status(502, {"Content-Type": "text/html"}, b"<html>bad"),
    "503": lambda: faults.status(503),
    "504": lambda: faults.status(504),
    "session over by 302": lambda: faults.redirect("/ServicesPortal/login.html"),
    "session over by 401": lambda: faults.status(401),
    "session over by a page": faults.page,
    "truncated JSON": lambda: faults.replace(lambda body: body[:-5]),
    "empty": lambda: faults.replace(b""),
    "XML": lambda: faults.replace(b"<val>x</val>"),
    "wrong shape": lambda: faults.answer(lambda answer: {"x": answer}),
    "null": lambda: faults.answer(lambda answer: None),
}
#: What one call does not mend by itself.
LASTING = {
    name: make for name, make in TRANSIENT.items() if name not in ("stall", "stall amid the body")
}
LASTING["403"] = lambda: faults.status(403)
LASTING["404"] = lambda: faults.status(404)


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal whose feed has five pages."""
    with Emulator(username="eve", password=PASSWORD, tree=TREE) as emulator:
        emulator.portal_options.feed.page_cap = 3
        yield emulator


@pytest.fixture
def names(portal: Emulator) -> Iterator[Namespace]:
    """A Namespace whose retries take milliseconds, and whose patience half a second."""
    settings = Settings(backoff=0.001, max_backoff=0.002)
    settings.api.timeout = (5.0, 0.5)
    with Namespace(portal.url, "eve", PASSWORD, settings=settings) as made:
        yield made


def guids_in(pages: Any) -> list[str]:
    """Return the identities in all events of some pages."""
    return [event.guid for page in pages for event in page.events]


def assert_no_secret(names: Namespace, *texts: str) -> None:
    """Neither the password nor the session is in a text."""
    session = names._sign_in._session
    cookies = [] if session is None else [str(each) for each in session.headers.values()]
    secrets = [PASSWORD, *cookies, *(each.rpartition("=")[2] for each in cookies)]
    for text in texts:
        for secret in secrets:
            assert secret not in text


@pytest.mark.parametrize("make", TRANSIENT.values(), ids=TRANSIENT)
def test_reading_recovers(portal, names, caplog, make):
    """A page that fails once is asked for again: each event comes exactly once."""
    caplog.set_level(logging.DEBUG)
    fault = portal.faults.add("portal", call="metadata/list", skip=2, action=make())
    found = guids_in(names.changes())
    assert fault.hits == 1
    assert len(found) == len(set(found)) == COUNT
    assert_no_secret(names, caplog.text)
    portal.faults.clear()


@pytest.mark.parametrize("make", LASTING.values(), ids=LASTING)
def test_reading_fails(portal, names, caplog, make):
    """A page that fails for good is an error, after which the same iterator has the rest."""
    caplog.set_level(logging.DEBUG)
    portal.faults.add("portal", call="metadata/list", skip=2, times=None, action=make())
    pages = names.changes()
    found: list[ChangePage] = []
    with pytest.raises(NamespaceError) as caught:
        found.extend(iter(pages))
    assert len(guids_in(found)) == 6
    error = caught.value
    assert error.__context__ is None
    assert pickle.loads(pickle.dumps(error)).strerror == error.strerror
    assert_no_secret(names, told_by_library(error), caplog.text)
    portal.faults.clear()
    seen = guids_in(found) + guids_in(pages)
    assert len(seen) == len(set(seen)) == COUNT


@pytest.mark.parametrize("make", TRANSIENT.values(), ids=TRANSIENT)
def test_waiting_recovers(portal, names, make):
    """A long poll that fails once loses nothing."""
    (end,) = (page.cursor for page in names.changes() if not page.more)
    pages = names.changes(end, wait=0.5)
    next(pages)
    fault = portal.faults.add("portal", call="metadata/longpoll", action=make())
    portal.tree.create("/My Files/new.txt", b"new")
    while not (found := next(pages).events):
        pass
    assert [event.name for event in found] == ["new.txt"]
    assert fault.hits == 1
    portal.faults.clear()


@pytest.mark.parametrize("make", LASTING.values(), ids=LASTING)
def test_waiting_fails(portal, names, caplog, make):
    """A portal that only fails to wait gives an error or the events, and never an early end."""
    caplog.set_level(logging.DEBUG)
    (end,) = (page.cursor for page in names.changes() if not page.more)
    pages = names.changes(end, wait=20)
    next(pages)
    portal.faults.add("portal", call="metadata/longpoll", times=None, action=make())
    portal.tree.create("/My Files/new.txt", b"new")
    try:
        found = next(pages).events
    except NamespaceError as error:
        assert_no_secret(names, told_by_library(error), caplog.text)
    else:
        assert [event.name for event in found] == ["new.txt"]
    portal.faults.clear()


@pytest.mark.parametrize("make", TRANSIENT.values(), ids=TRANSIENT)
def test_path_recovers(portal, names, make):
    """Ancestors that fail to come once are asked for again."""
    event = next(event for page in names.changes() for event in page.events if event.size)
    portal.faults.add("portal", call="metadata/ancestors", action=make())
    assert names.path_of(event) == "/My Files/folder-0/a.txt"
    portal.faults.clear()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("session_over", ["302", "401", "html"])
def test_session_ends_anywhere(portal, names, call, session_over):
    """A session that ends before any call is renewed, once, and nothing is lost."""
    portal.portal_options.session_over = session_over
    pages = names.changes(wait=0.05)
    found = []
    for page in pages:
        found += page.events
        portal.accounts.expire_sessions()
    assert len(found) == COUNT
    if call == "metadata/ancestors":
        portal.accounts.expire_sessions()
        assert names.path_of(found[-1]).startswith("/My Files/folder-3/")
    elif call == "metadata/longpoll":
        assert portal.log.records(call=call)
    assert portal.log.total("portal") < 60


WRONG = {
    "has_more": ["yes", 1, None, []],
    "cursor": [5, {}, ["c"], True],
    "entries": ["x", {}, 5, True, [5], [None], [[]], [{"type": "file"}]],
}


@pytest.mark.parametrize(
    ("member", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_wrong_types(portal, names, member, value):
    """A member of another type is an error after the retries, and no event is skipped meanwhile."""
    portal.faults.add(
        "portal", call="metadata/list", skip=1, times=None, action=replace_member(member, value)
    )
    pages = names.changes()
    found = guids_in([next(pages)])
    with pytest.raises(NamespaceError, match="cannot be read"):
        next(pages)
    portal.faults.clear()
    found += guids_in(pages)
    assert len(found) == len(set(found)) == COUNT


@pytest.mark.parametrize("call", CALLS)
def test_portal_that_quotes_secrets(portal, names, caplog, call):
    """A refusal whose words hold the password or the session is told without its words."""
    caplog.set_level(logging.DEBUG)
    pages = names.changes(wait=5)
    events = next(pages).events
    session = names._sign_in._session
    assert session is not None
    for secret in (PASSWORD, str(session.headers["Cookie"])):
        body = json.dumps({"details": [{"error": f"wrong: {secret}"}]}).encode()
        for status in (400, 403, 500):
            portal.faults.add(
                "portal", call=call, times=None, action=faults.status(status, {}, body)
            )
            with pytest.raises(NamespaceError) as caught:
                if call == "metadata/ancestors":
                    names.path_of(events[0])
                for _ in names.changes(wait=5):
                    pass
            assert_no_secret(names, told_by_library(caught.value), caplog.text)
            portal.faults.clear()
