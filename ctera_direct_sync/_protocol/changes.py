"""The change feed of a portal: pages of events by a cursor, and the wait for more (PORTAL section 5)."""

from __future__ import annotations

import datetime
import logging
import math
import re
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple, TypeVar

from .._base.cancellation import CancelScope
from .._base.sync import monotonic
from ..exceptions import (
    CursorRejectedError,
    NamespaceError,
    PathNotFoundError,
    TooManyFoldersError,
)
from ..types import Ancestor, ChangePage, Event
from .calls import PortalCalls, Refused
from .feed_cursor import FeedCursor
from .messages import MalformedAnswer, read_boolean, read_integer, read_text
from .names import is_name, read_time

__all__ = ["ChangePages", "ChangeReader", "Feed"]

_log = logging.getLogger(__name__)

T = TypeVar("T")

#: Events that a page is asked to hold, as the vendor's client does. A portal may give fewer.
_PAGE_LIMIT = 2000
#: Seconds of one long poll, as the vendor's client asks for. Proxies cut connections that are idle for 60.
_POLL_S = 10.0
#: Seconds that the answer to a long poll may be late, if the read timeout is not shorter.
_MAX_MARGIN_S = 30.0
#: A wait of 31 years does not end.
_FOREVER_S = 1e9
#: A portal that does not keep a long poll waiting is asked after a delay, which doubles up to a limit.
_QUICK_S = 1.0
_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 10.0
_MAX_DOUBLINGS = 20

_TOO_MANY = re.compile(r"size must be between\s+\d{1,9}\s+and\s+(\d{1,9})", re.ASCII)
_ZONE = re.compile(r"(?:Z|[+-]\d\d:?\d\d)\s*\Z", re.ASCII | re.IGNORECASE)
#: The members with a time, the file's own first. `modified` is from portals before 8.2.1500.30.
_TIMES = ("file_timestamp", "portal_modified_date", "modified")
#: The only type whose members are known. What a folder's type is called is not (PORTAL section 5).
_FILE = "file"


class FeedPage(NamedTuple):
    """A page as the portal gave it."""

    events: list[Event]
    """The events."""
    position: str | None
    """The portal's cursor. None: still at the beginning."""
    has_more: bool
    """Whether the portal says that more follow at once."""


class Feed:
    """Asks a portal for changes. Thread-safe, and keeps nothing.

    Args:
        calls: Makes the calls.
        timeouts: Seconds to connect, and to wait for bytes.
    """

    def __init__(self, calls: PortalCalls, timeouts: tuple[float, float]) -> None:
        self._calls = calls
        self._connect_timeout_s = timeouts[0]
        self._margin_s = min(timeouts[1], _MAX_MARGIN_S)

    def read(self, cursor: FeedCursor, scope: CancelScope) -> FeedPage:
        """Return the page at a cursor.

        Raises:
            CursorRejectedError: The portal does not take the cursor.
            TooManyFoldersError: It does not take so many folders.
            AccessDeniedError: The user may not read the feed.
            LoginError: The portal refuses the credentials.
            NamespaceError: The portal does not answer, or not as it should.
            Cancelled: The scope was cancelled.
        """
        try:
            return self._list(cursor, _PAGE_LIMIT, scope)
        except Refused as caught:
            refused = caught
        raise self._judge(refused, cursor, scope).with_traceback(None)

    def _list(self, cursor: FeedCursor, limit: int, scope: CancelScope) -> FeedPage:
        document = {
            "folder_ids": list(cursor.folders),
            "cursor": cursor.position,
            "max_results": limit,
        }
        return self._calls.post(
            "/metadata/list", document, lambda answer: _read_page(answer, cursor), scope
        )

    def _judge(self, refused: Refused, cursor: FeedCursor, scope: CancelScope) -> NamespaceError:
        """Return the error for a page that the portal refuses."""
        if refused.status == 400:
            too_many = _find_limit(refused, cursor)
            if too_many is not None:
                return too_many
        if cursor.position is None:
            if refused.status == 404:
                return NamespaceError(
                    "The portal has no change feed in this context: use context='admin', or a "
                    "portal of 2024 or later"
                )
            return refused.error
        if refused.status != 400:
            # The status for a cursor that is not taken is not certain. Without it the portal answers?
            try:
                self._list(cursor._replace(position=None), 1, scope)
            except Refused:
                return refused.error
        came = f", {refused.message!r}" if refused.message else ""
        return CursorRejectedError(
            f"The portal no longer takes this cursor (HTTP {refused.status}{came}): start again "
            "without a cursor, which reads everything"
        )

    def poll(self, cursor: FeedCursor, seconds: float, scope: CancelScope) -> bool | None:
        """Wait until there are changes after a cursor.

        Args:
            cursor: The cursor, which is not at the beginning.
            seconds: How long the portal waits at most.
            scope: The cancel scope of the call.

        Returns:
            Whether there are changes, or None if the portal did not say so in time.

        Raises:
            Refused: The portal refuses the call.
            TooManyFoldersError: It does not take so many folders.
            NamespaceError: As `read` raises.
            Cancelled: The scope was cancelled.
        """

        def read(answer: Any) -> bool | None:
            changes = read_boolean(_object(answer).get("changes"))
            if changes is None:
                raise MalformedAnswer("changes is missing")
            return changes

        document = {
            "folder_ids": list(cursor.folders),
            "cursor": cursor.position,
            "timeout": max(1, math.ceil(seconds * 1000)),
        }
        too_many: NamespaceError | None = None
        try:
            # A proxy that gives up, or a portal that counts in seconds, proves nothing about changes.
            return self._calls.post(
                "/metadata/longpoll",
                document,
                read,
                scope,
                timeouts=(self._connect_timeout_s, seconds + self._margin_s),
                on_timeout=lambda: None,
            )
        except Refused as caught:
            too_many = _find_limit(caught, cursor) if caught.status == 400 else None
            if too_many is None:
                raise
        raise too_many

    def ancestors(self, event: Event, scope: CancelScope) -> list[Ancestor]:
        """Return the way from the cloud folder to the object of an event, both included.

        Raises:
            PathNotFoundError: The portal does not know the object any more.
            NamespaceError: As `read` raises.
            Cancelled: The scope was cancelled.
        """
        document = {"folder_id": event.folder_id, "guid": event.guid}
        refused: Refused | None = None
        steps: list[Ancestor] | None = None
        try:
            steps = self._calls.post(
                "/metadata/ancestors",
                document,
                lambda answer: _read_ancestors(answer, event),
                scope,
            )
        except Refused as caught:
            refused = caught
        if steps:
            return steps
        came = f" ({refused.message!r})" if refused is not None and refused.message else ""
        raise PathNotFoundError(
            f"The portal does not know the object of the event any more{came}: was it deleted?",
            event.name,
        )


# --- reading the feed to its end ------------------------------------------------------------------


class _State(NamedTuple):
    """How far a reading came."""

    cursor: FeedCursor
    """Where the next page begins."""
    more: bool = True
    """Whether the portal says that it follows at once."""
    deadline: float | None = None
    """When to stop waiting, or None while there is no wait."""
    idle: int = 0
    """How many answers in a row came at once without anything new."""
    poll_refused: bool = False
    """Whether the portal refused the last long poll."""
    mark: str | None = None
    """A cursor of the pages that follow each other at once, to notice one that comes again."""
    steps: int = 0
    """How many such pages came since the mark was set."""
    stride: int = 1
    """After how many of them it is set anew."""


class ChangeReader:
    """Reads the feed page by page. Not thread-safe.

    After an error the next call asks for the same page again.

    Args:
        feed: Asks the portal.
        cursor: Where to begin.
        wait: Seconds to wait for more where there is none, or None.
    """

    def __init__(self, feed: Feed, cursor: FeedCursor, wait: float | None) -> None:
        self._feed = feed
        self._wait = wait
        #: How far the reading came. `ChangePages` puts it back if a page does not reach its caller.
        self.state = _State(cursor)

    @property
    def complete(self) -> bool:
        """Whether everything was read that was asked for."""
        return self._wait is None and not self.state.more

    def next_page(self, scope: CancelScope) -> ChangePage | None:
        """Return the next page, or None at the end.

        Raises:
            NamespaceError: As `Feed.read` raises.
            Cancelled: The scope was cancelled.
        """
        state: _State | None = self.state
        if not self.state.more:
            state = None if self._wait is None else self._await_changes(self.state, scope)
        if state is None:
            return None
        page = self._feed.read(state.cursor, scope)
        cursor = state.cursor._replace(position=page.position)
        packed = cursor.pack()
        if page.has_more:
            state = _note_step(state, page.position)
        else:
            state = state._replace(mark=None, steps=0, stride=1)
        if page.events and page.position != state.cursor.position:
            state = state._replace(deadline=None, idle=0)
        self.state = state._replace(cursor=cursor, more=page.has_more)
        return ChangePage(page.events, packed, page.has_more)

    def _await_changes(self, state: _State, scope: CancelScope) -> _State | None:
        """Wait until it is worth to ask. Return the state then, or None if the time is over."""
        assert self._wait is not None
        if state.deadline is None:
            is_finite = self._wait < _FOREVER_S
            state = state._replace(deadline=monotonic() + self._wait if is_finite else math.inf)
        assert state.deadline is not None
        while True:
            if state.idle:
                delay = _FIRST_DELAY_S * 2.0 ** min(state.idle - 1, _MAX_DOUBLINGS)
                _wait(min(delay, _MAX_DELAY_S, state.deadline - monotonic()), scope)
            remaining = state.deadline - monotonic()
            if remaining <= 0:
                return None
            if state.cursor.position is None:
                # There is no cursor to wait with: the feed is empty so far.
                _wait(min(remaining, _POLL_S), scope)
                return state
            started = monotonic()
            changes, refusal = self._poll(state.cursor, min(remaining, _POLL_S), scope)
            if refusal is not None and state.poll_refused:
                raise refusal
            is_quick = monotonic() - started < min(_QUICK_S, 0.5 * remaining)
            state = state._replace(
                poll_refused=refusal is not None, idle=state.idle + 1 if is_quick else 0
            )
            if changes is not False:
                return state

    def _poll(
        self, cursor: FeedCursor, seconds: float, scope: CancelScope
    ) -> tuple[bool | None, NamespaceError | None]:
        """Return what a long poll tells, and the error if the portal refuses it.

        A refusal may mean the cursor, which reading the next page tells for certain.
        """
        try:
            return self._feed.poll(cursor, seconds, scope), None
        except Refused as caught:
            return None, caught.error.with_traceback(None)


class ChangePages(Iterator[ChangePage]):
    """The pages of a reading, for the caller. After an error the same page is asked for again.

    A generator would end instead, as if everything had come.

    Args:
        reader: Reads the pages.
        fetch: Calls its `next_page`. It is not called once the reading is complete.
    """

    def __init__(self, reader: ChangeReader, fetch: Callable[[], ChangePage | None]) -> None:
        self._reader = reader
        self._fetch = fetch
        self._done = False

    def __next__(self) -> ChangePage:
        before = self._reader.state
        try:
            if not self._done:
                # What came to its end ends, even if the Namespace was closed meanwhile.
                page = None if self._reader.complete else self._fetch()
                if page is not None:
                    return page
                self._done = True
        except BaseException:
            # An interrupt after the page came would skip it.
            self._reader.state = before
            raise
        raise StopIteration


def _wait(seconds: float, scope: CancelScope) -> None:
    if seconds > 0:
        scope.wait(seconds)
    else:
        scope.check()


def _note_step(state: _State, position: str | None) -> _State:
    """Note a page that another one follows at once. Raise if the pages go round in a circle.

    R. P. Brent, "An improved Monte Carlo factorization algorithm", 1980: one cursor is remembered, and
    replaced after 1, 2, 4, 8, ... steps. That finds a circle of any length.
    """
    if state.mark is not None and position == state.mark:
        raise NamespaceError(
            "The portal says that the feed goes on but leads back to where it was: try again, and "
            "report it to the portal's administrator"
        )
    steps = state.steps + 1
    if state.mark is None or steps >= state.stride:
        return state._replace(mark=position, steps=0, stride=2 * state.stride)
    return state._replace(steps=steps)


# --- reading answers ------------------------------------------------------------------------------


def _find_limit(refused: Refused, cursor: FeedCursor) -> TooManyFoldersError | None:
    """Return the error for too many folders, if the portal's words mean that."""
    match = _TOO_MANY.search(refused.message or "")
    if match is None:
        return None
    limit = int(match.group(1))
    return TooManyFoldersError(
        f"The portal follows at most {limit} cloud folders at once, not {len(cursor.folders)}: "
        "follow them in several groups, or all with folders=None",
        limit,
    )


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedAnswer("an object is expected where it has something else")
    return value


def _read_page(answer: Any, cursor: FeedCursor) -> FeedPage:
    page = _object(answer)
    if "entries" not in page or not isinstance(page["entries"], (list, type(None))):
        raise MalformedAnswer("the list of events is missing")
    has_more = read_boolean(page.get("has_more"))
    if has_more is None:
        raise MalformedAnswer("has_more is missing")
    position = read_text(page.get("cursor")) or None
    events = [_read_event(_object(item)) for item in page["entries"] or []]
    if position is None:
        if events or has_more:
            raise MalformedAnswer("the cursor is missing")
        # Nothing came, so the position is as before.
        position = cursor.position
    if has_more and position == cursor.position:
        raise MalformedAnswer("it says that the feed goes on, but the cursor stays where it was")
    return FeedPage(events, position, has_more)


def _read_event(item: dict[str, Any]) -> Event:
    kind, guid = read_text(item.get("type")), read_text(item.get("guid"))
    deleted = read_boolean(item.get("deleted"))
    if not kind or not guid or deleted is None:
        raise MalformedAnswer(
            "an event has no type, no guid, or does not tell whether it is deleted"
        )

    def get(read: Callable[[Any], T | None], name: str) -> T | None:
        if kind == _FILE:
            return read(item.get(name))
        # What other types of objects tell under a name is not known. It stays in `raw`.
        try:
            return read(item.get(name))
        except MalformedAnswer:
            return None

    return Event(
        kind,
        guid,
        get(read_text, "parent_guid"),
        get(read_integer, "folder_id"),
        get(read_text, "name"),
        deleted,
        get(read_integer, "size"),
        get(read_integer, "id"),
        _read_time(item),
        item,
    )


def _read_time(item: dict[str, Any]) -> datetime.datetime | None:
    """Return the first time that an event has. It has a zone only if the portal tells one."""
    for name in _TIMES:
        value = item.get(name)
        text = value if isinstance(value, str) else ""
        time = read_time(text)
        if time is not None:
            return time if _ZONE.search(text) else time.replace(tzinfo=None)
    return None


def _read_ancestors(answer: Any, event: Event) -> list[Ancestor]:
    """Return the ancestors in order, the object last. Nothing means that it is gone."""
    if not isinstance(answer, list):
        raise MalformedAnswer("the list of ancestors is missing")
    steps: list[Ancestor] = []
    for each in answer:
        item = _object(each)
        if read_boolean(item.get("deleted")):
            return []
        name, guid = read_text(item.get("name")), read_text(item.get("guid"))
        if not guid or name is None or not is_name(name):
            raise MalformedAnswer("an ancestor has no name or no guid")
        steps.append(Ancestor(name, guid, read_text(item.get("parent_guid"))))
    if not steps:
        return []
    if len({step.guid for step in steps}) != len(steps):
        raise MalformedAnswer("an ancestor comes twice")
    steps = _sort(steps, event)
    if steps[-1].guid == event.guid:
        return steps
    # Portals of 2024 left the object itself out. It may have been moved since the event.
    is_known = len(steps) > 1 and steps[-1].parent_guid
    is_elsewhere = not is_known and event.parent_guid not in (None, steps[-1].guid)
    if is_elsewhere or any(step.guid == event.guid for step in steps):
        raise MalformedAnswer("the ancestors do not lead to the object")
    if event.name is None or not is_name(event.name):
        raise MalformedAnswer("neither the ancestors nor the event tell the object's name")
    return [*steps, Ancestor(event.name, event.guid, steps[-1].guid)]


def _sort(steps: list[Ancestor], event: Event) -> list[Ancestor]:
    """Return the ancestors from the cloud folder on."""
    parents = [step.parent_guid for step in steps]
    if all(parent is None or parent == "" for parent in parents[1:]) and len(steps) > 1:
        # They do not tell their order, but which one the object or its folder is.
        return steps[::-1] if steps[0].guid in (event.guid, event.parent_guid) else steps
    known = {step.guid for step in steps}
    children = {step.parent_guid: step for step in steps if step.parent_guid in known}
    first = [step for step in steps if step.parent_guid not in known]
    found = first[:1]
    while found and found[-1].guid in children:
        found.append(children.pop(found[-1].guid))
    if len(first) != 1 or len(found) != len(steps):
        raise MalformedAnswer("the ancestors do not lead from one to the next")
    return found
