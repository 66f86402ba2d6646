"""The change feed: pages of events by a cursor, the wait for more, and the ancestors of an object."""

from __future__ import annotations

import base64
import binascii
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from .calls import RequestError
from .describe import format_local_time
from .feed_disk import FolderWatch
from .feed_log import ChangeLog
from .nodes import Node, State, content_facts
from .options import PortalOptions
from .tree import Tree

#: Since this version, events have `file_timestamp` and `portal_modified_date`.
_NEW_TIMES = (8, 2, 1500, 30)
_POLL_STEP_S = 0.1
#: How often something comes again, if the options say so.
_CHANCE = 0.4


class Cursor(NamedTuple):
    """A position in the feed, which a client passes on as it got it.

    Attributes:
        position: The number of the first change that was not delivered.
        inventory: The number of the first change that is told as such. The objects of earlier changes
            are told in their present state.
        folders: The folders that the cursor was given for.
        serial: The number of the cursor among all that were given.
        issued: When it was given, in seconds since the epoch.
        feed: The feed that gave it.
        pause: Whether the next page is an empty one.
        again: Whether the next page is one that came before.
    """

    position: int
    inventory: int
    folders: tuple[int, ...]
    serial: int
    issued: float
    feed: str
    pause: bool = False
    again: bool = False

    def pack(self) -> str:
        """Return the text that goes to the client."""
        return base64.b64encode(json.dumps(self._asdict()).encode()).decode()

    @classmethod
    def unpack(cls, text: str) -> Cursor:
        """Return the cursor of a text.

        Raises:
            ValueError: The text is not a cursor.
        """
        try:
            members = json.loads(base64.b64decode(text, validate=True))
            return cls(**{**members, "folders": tuple(members["folders"])})
        except (binascii.Error, ValueError, TypeError, KeyError):
            raise ValueError("not a cursor") from None


class Feed:
    """The change feed of all cloud folders. Thread-safe.

    Args:
        tree: The files and folders.
        log: Their changes.
        options: How the portal behaves.
        clock: Returns the time, in seconds since the epoch.
    """

    def __init__(
        self,
        tree: Tree,
        log: ChangeLog,
        options: PortalOptions,
        clock: Callable[[], float],
    ) -> None:
        self._tree = tree
        self._log = log
        self._options = options
        self._clock = clock
        self._id = uuid.uuid4().hex
        self._serial = 0
        self._rejected = 0
        self._stopping = threading.Event()
        self._watch: FolderWatch | None = None

    def watch(self, watch: FolderWatch) -> None:
        """Look for changes of a folder on disk when the feed is asked for its end."""
        self._watch = watch

    def scan(self) -> None:
        """Take over what changed in the folder on disk that the emulator serves."""
        if self._watch is not None:
            self._watch.scan()

    def reject_cursors(self) -> None:
        """Refuse every cursor that was given so far."""
        with self._tree.lock:
            self._rejected = self._serial

    def start(self) -> None:
        """Let long polls wait again."""
        self._stopping.clear()

    def stop(self) -> None:
        """End the long polls under way."""
        self._stopping.set()
        with self._log.grown:
            self._log.grown.notify_all()

    # What is asked.

    def page(
        self, text: str | None, folders: tuple[int, ...], visible: Collection[int], limit: int
    ) -> dict[str, Any]:
        """Return a page of the feed.

        Args:
            text: The cursor. None: from the beginning.
            folders: The folders that were asked for. None of them: all.
            visible: The folders that the caller may see.
            limit: How many events the page may have.

        Raises:
            RequestError: The cursor is refused.
        """
        options = self._options.feed
        if options.page_cap is not None:
            limit = min(limit, options.page_cap)
        wanted = set(visible) & set(folders or visible)
        with self._tree.lock:
            cursor = self._read(text, folders)
            left = len(self._log.changes) - (0 if cursor is None else cursor.position)
        # Only the last page must have what other programs did right before. A scan may take long.
        is_last = self._watch is None or cursor is None or left <= limit
        if is_last:
            self.scan()
        with self._tree.lock:
            end = len(self._log.changes)
            start = cursor or Cursor(
                0, 0 if options.history == "all" else end, folders, 0, 0.0, self._id
            )
            self._serial += 1
            chance = random.Random(f"{options.seed}/{self._serial}")
            position = start.position
            found: list[tuple[int, dict[str, Any]]] = []
            while position < end and len(found) < limit and not start.pause:
                state = self._told(position, start.inventory, wanted)
                if state is not None:
                    found.append((position, self._event(self._log.changes[position].node, state)))
                position += 1
            again = options.redeliver and not start.again and chance.random() < _CHANCE
            if again and position > start.position:
                position = chance.randrange(start.position, position)
            pause = options.empty_pages and not start.pause
            cursor = Cursor(
                position,
                start.inventory,
                folders,
                self._serial,
                self._clock(),
                self._id,
                pause,
                bool(again),
            )
            return {
                "entries": self._entries(found, chance),
                "has_more": position < end or pause or not is_last,
                "cursor": cursor.pack(),
            }

    def wait(
        self,
        text: str | None,
        folders: tuple[int, ...],
        visible: Collection[int],
        seconds: float,
    ) -> bool:
        """Return whether there is something to tell, after a wait at most.

        Args:
            text: The cursor.
            folders: The folders that were asked for. None of them: all.
            visible: The folders that the caller may see.
            seconds: How long to wait.

        Raises:
            RequestError: The cursor is refused.
        """
        wanted = set(visible) & set(folders or visible)
        deadline = time.monotonic() + (seconds if self._options.feed.poll == "wait" else 0.0)
        with self._tree.lock:
            cursor = self._read(text, folders)
        position = 0 if cursor is None else cursor.position
        inventory = 0 if cursor is None else cursor.inventory
        self.scan()
        while True:
            if self._watch is not None:
                self._watch.scan(soon=True)
            with self._log.grown:
                if self._options.feed.poll == "always-true":
                    return True
                while position < len(self._log.changes):
                    if self._told(position, inventory, wanted) is not None:
                        return True
                    position += 1
                remaining = deadline - time.monotonic()
                if remaining <= 0 or self._stopping.is_set():
                    return False
                self._log.grown.wait(min(remaining, _POLL_STEP_S))

    def ancestors(
        self, folder: int | None, guid: str, visible: Collection[int]
    ) -> list[dict[str, Any]]:
        """Return the way from the cloud folder to an object.

        Raises:
            RequestError: The object is not known.
        """
        options = self._options.feed
        with self._tree.lock:
            node = self._log.by_guid.get(guid)
            is_known = (
                node is not None
                and node.cloud_folder.uid in visible
                and folder in (None, node.cloud_folder.uid)
            )
            if node is None or not is_known:
                raise RequestError(options.ancestors_status, "Object not found")
            if node.state.deleted and options.ancestors_of_deleted == "refuse":
                raise RequestError(options.ancestors_status, "Object not found")
            steps: list[Node] = []
            each: Node | None = node
            while each is not None:
                steps.insert(0, each)
                each = each.state.parent
            if not options.ancestors_end_in_object:
                steps.pop()
            found = [self._ancestor(step) for step in steps]
        if options.ancestor_order == "reversed":
            found.reverse()
        elif options.ancestor_order == "shuffled":
            random.Random(options.seed).shuffle(found)
        return found

    # How it is told.

    def _read(self, text: str | None, folders: tuple[int, ...]) -> Cursor | None:
        """Return the cursor of a request, or None for the beginning."""
        if not text:
            return None
        options = self._options.feed
        refusal = RequestError(options.cursor_status, options.cursor_words)
        try:
            cursor = Cursor.unpack(text)
        except ValueError:
            raise refusal from None
        keep, age = options.cursors_valid, options.cursor_age_s
        if (
            cursor.feed != self._id
            or cursor.serial <= self._rejected
            or (options.bound_cursors and cursor.folders != folders)
            or (keep is not None and cursor.serial <= self._serial - keep)
            or (age is not None and self._clock() - cursor.issued > age)
        ):
            raise refusal
        return cursor

    def _told(self, position: int, inventory: int, wanted: Collection[int]) -> State | None:
        """Return the state that the event of a change tells, or None if there is no event."""
        node, number, implied = self._log.changes[position]
        options = self._options.feed
        if node.cloud_folder.uid not in wanted:
            return None
        if node is node.cloud_folder.root and options.root_events == "none":
            return None
        if position < inventory:
            is_told = not node.state.deleted or options.history != "live"
            return node.state if is_told and node.first_change == position else None
        if implied and not options.events_of_children:
            return None
        if options.once_per_object:
            last = node.last_change if options.events_of_children else node.last_explicit
            if last != position:
                return None
        return node.history[number]

    def _entries(
        self, found: list[tuple[int, dict[str, Any]]], chance: random.Random
    ) -> list[dict[str, Any]]:
        options = self._options.feed
        if options.duplicates:
            found = found + [each for each in found if chance.random() < _CHANCE]
        if options.shuffle or options.duplicates:
            found = _mix(found, chance, options.shuffle)
        entries = [event for _, event in found]
        if options.extras and entries:
            entries.insert(
                chance.randrange(len(entries) + 1),
                {
                    "type": "quota",
                    "guid": f"quota:{self._serial}",
                    "deleted": False,
                    "name": "Quota",
                },
            )
        return entries

    def _event(self, node: Node, state: State) -> dict[str, Any]:
        options = self._options.feed
        is_root = node is node.cloud_folder.root
        event: dict[str, Any] = {
            "type": options.folder_type if node.is_folder else "file",
            "guid": node.guid,
            "parent_guid": None if state.parent is None else state.parent.guid,
            "folder_id": node.cloud_folder.uid,
            "name": state.name,
            "deleted": state.deleted,
        }
        if is_root and options.root_events == "without-id":
            del event["folder_id"]
        if not node.is_folder:
            size, modified = content_facts(state)
            event["size"] = size
            event["id"] = state.file_id
        else:
            modified = state.modified
        noted = state.since / 1e6
        if self._is_old():
            event["modified"] = self._time(noted)
            return self._with_extras(event)
        event.update(
            file_timestamp=self._time(modified),
            portal_modified_date=self._time(noted),
            gvsn=str(state.change),
            acl="O:S-1-5-21-1-2-3-500G:DU",
            virtual_portal_id=1,
        )
        return self._with_extras(event)

    def _with_extras(self, event: dict[str, Any]) -> dict[str, Any]:
        if self._options.feed.extras:
            event["tags"] = {"of": ["a", "later", "portal"]}
        return event

    def _ancestor(self, node: Node) -> dict[str, Any]:
        step: dict[str, Any] = {
            "type": "file" if not node.is_folder else self._options.feed.folder_type,
            "name": node.name,
            "guid": node.guid,
        }
        if self._options.feed.ancestors_have_parents:
            parent = node.state.parent
            step["parent_guid"] = None if parent is None else parent.guid
        return step

    def _time(self, seconds: float) -> str:
        zone = self._options.feed.zone
        return format_local_time(seconds, 0 if zone else self._options.utc_offset_s) + zone

    def _is_old(self) -> bool:
        version = tuple(int(part) for part in self._options.version.split("."))
        return version < _NEW_TIMES


def _mix(
    found: list[tuple[int, dict[str, Any]]], chance: random.Random, shuffle: bool
) -> list[tuple[int, dict[str, Any]]]:
    """Return events in random order, or in their own, in which those of one object keep theirs."""
    mixed = list(found)
    if shuffle:
        chance.shuffle(mixed)
    else:
        mixed.sort(key=lambda each: each[0])
    ordered: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for each in sorted(found, key=lambda each: each[0], reverse=True):
        ordered.setdefault(each[1]["guid"], []).append(each)
    return [ordered[event["guid"]].pop() for _, event in mixed]
