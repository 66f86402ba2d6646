"""What the change feed has told of each object: where it is, and which version it has.

The map may hold more places of an object than it has, since events may come late, twice or in another
order. It never holds fewer: a place goes only once the state has nothing there any more. So the folders
that an event may concern can be found here, and the portal tells what is in them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..types import Event
from .database import explained

__all__ = ["FEED_SCHEMA", "Content", "FeedMap", "News", "ObjectPlace"]

ObjectPlace = tuple[str, str, str]
"""An object, its folder, and its name in that: two guids and a name."""

FEED_SCHEMA = """
CREATE TABLE objects (
    guid TEXT NOT NULL,
    parent TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (guid, parent, name)
) WITHOUT ROWID;
CREATE INDEX objects_in_folder ON objects (parent, name)
"""

_NEWS_SCHEMA = """
CREATE TEMP TABLE IF NOT EXISTS news (
    guid TEXT NOT NULL,
    parent TEXT,
    name TEXT,
    version TEXT NOT NULL,
    is_folder INTEGER NOT NULL,
    is_deleted INTEGER NOT NULL,
    PRIMARY KEY (guid, parent, name, version, is_deleted)
)
"""

#: Objects of which an event of this run told what is known.
_REPEATED_SCHEMA = "CREATE TEMP TABLE IF NOT EXISTS repeated (guid TEXT PRIMARY KEY) WITHOUT ROWID"

#: The members of an event of which one differs after an overwrite, even if file ID and size stay.
_TELLING = ("gvsn", "portal_modified_date", "file_timestamp", "modified")
#: Where the version has the times that the file itself has. A move does not change these.
_OWN_TIMES = (2, 3)
#: Where it has the size. The file ID follows.
_SIZE = -2

#: A folder path of more parts is a circle.
_MAX_DEPTH = 200
_MAX_PATHS = 64


class Content(NamedTuple):
    """What a listing tells of the content of a file, besides its time.

    Attributes:
        file_id: The file ID.
        size: The size in bytes, or None if an event does not tell it.
    """

    file_id: int
    size: int | None


class News(NamedTuple):
    """What an event tells that was not known.

    Attributes:
        guid: The object.
        parent: Its folder, or None.
        name: Its name, or None.
        is_folder: Whether it may be a folder.
        is_deleted: Whether it is gone.
        is_known_place: Whether it was at this place before.
        is_only_place: Whether it was nowhere else before, so that nothing else can be mirrored there.
        content: File ID and size, if the version is another one than at this place, and the size is as it
            was there, or may be. Else None: a listing shows another size.
        version: Its version.
        has_places: Whether it was anywhere before.
    """

    guid: str
    parent: str | None
    name: str | None
    is_folder: bool
    is_deleted: bool
    is_known_place: bool
    is_only_place: bool
    content: Content | None
    version: str
    has_places: bool


class FeedMap:
    """The objects of one cloud folder, and the news of one run.

    Args:
        database: The database of the state.
        path: Its path, for messages.
    """

    def __init__(self, database: sqlite3.Connection, path: str) -> None:
        self._database = database
        self._path = path
        self._is_inventory = False

    # --- news ------------------------------------------------------------------------------------

    def begin(self, *, is_inventory: bool) -> None:
        """Forget the news of before.

        Args:
            is_inventory: Whether the feed is read from its beginning. Then everything is news, since
                there are no events for what was deleted before.
        """
        self._is_inventory = is_inventory
        with explained(self._path):
            self._database.execute(_NEWS_SCHEMA)
            self._database.execute(_REPEATED_SCHEMA)
            self._database.execute("DELETE FROM news")
            self._database.execute("DELETE FROM repeated")

    def note(self, events: Iterable[Event], folder_id: int) -> None:
        """Keep what events tell, if it was not known, until `merge`.

        Args:
            events: The events.
            folder_id: The cloud folder, which the feed was asked for. Events of others are left out.
                An event that names none belongs to it.
        """
        judged = [(self._judge(each, can_be_known=not self._is_inventory), each) for each in events]
        repeated = [(each.guid,) for row, each in judged if row is None and not each.deleted]
        rows = [row for row, _ in judged if row is not None and row[0] in (folder_id, None)]
        with explained(self._path):
            self._database.execute("BEGIN")
            self._database.executemany(
                "INSERT OR IGNORE INTO news VALUES (?,?,?,?,?,?)", [row[1:] for row in rows]
            )
            self._database.executemany("INSERT OR IGNORE INTO repeated VALUES (?)", repeated)
            self._database.execute("COMMIT")

    def has_news(self, events: Iterable[Event], folder_id: int) -> bool:
        """Return whether events tell something that is neither in the map nor in the news."""
        for event in events:
            row = self._judge(event)
            if row is None or row[0] not in (folder_id, None):
                continue
            with explained(self._path):
                found = self._database.execute(
                    "SELECT 1 FROM news WHERE guid = ? AND parent IS ? AND name IS ? AND version = ? "
                    "AND is_deleted = ?",
                    (*row[1:5], row[6]),
                ).fetchone()
            if found is None or not _is_telling(event):
                return True
        return False

    def _judge(
        self, event: Event, *, can_be_known: bool = True
    ) -> tuple[int | None, str, str | None, str | None, str, bool, bool] | None:
        """Return the row of an event, or None if it tells nothing that matters."""
        folder_id = event.folder_id
        version = "" if event.deleted else _version_of(event)
        is_folder = event.type != "file"
        name = None if event.name is None else _escaped(event.name)
        row = (
            folder_id,
            event.guid,
            event.parent_guid,
            name,
            version,
            is_folder,
            event.deleted,
        )
        if event.parent_guid is None or name is None:
            # The cloud folder itself, or something that is not in it, such as a quota.
            is_named = folder_id is not None
            is_told = self.has_children(event.guid) or self.places(event.guid)
            return row if is_named and is_told else None
        if event.deleted:
            return row if self._old_places(event.guid) else None
        with explained(self._path):
            known = self._database.execute(
                "SELECT version FROM objects WHERE guid = ? AND parent = ? AND name = ?",
                (event.guid, event.parent_guid, name),
            ).fetchone()
        is_known = known is not None and known[0] == version and _is_telling(event)
        return None if is_known and can_be_known else row

    def is_alive(self, guid: str) -> bool:
        """Return whether the news tell that an object is there."""
        with explained(self._path):
            found = self._database.execute(
                "SELECT 1 FROM news WHERE guid = ? AND NOT is_deleted LIMIT 1", (guid,)
            ).fetchone()
        return found is not None

    def concerns(self, chain: Sequence[tuple[str, str]]) -> bool:
        """Return whether the news may tell that a folder of a chain is elsewhere.

        Args:
            chain: Object and name of folders, each of which is in the one before it.
        """
        above = None
        for guid, name in chain:
            with explained(self._path):
                # Another folder may have taken the place, or it is not told which one has.
                found = self._database.execute(
                    "SELECT 1 FROM news WHERE guid = ? OR (parent = ? AND name = ?) "
                    "OR parent IS NULL OR name IS NULL LIMIT 1",
                    (guid, above, name),
                ).fetchone()
            if found is not None:
                return True
            above = guid
        return False

    def count(self, limit: int) -> int:
        """Return the number of news, or `limit` if there are more."""
        with explained(self._path):
            row = self._database.execute(
                "SELECT count(*) FROM (SELECT 1 FROM news LIMIT ?)", (limit,)
            ).fetchone()
        return int(row[0])

    def news(self) -> Iterator[News]:
        """Return the news. The map must not change meanwhile."""
        with explained(self._path):
            for row in self._database.execute(
                "SELECT n.guid, n.parent, n.name, n.is_folder, n.is_deleted, n.version, o.version, "
                "(SELECT count(*) FROM objects WHERE guid = n.guid) "
                "FROM news n LEFT JOIN objects o "
                "ON o.guid = n.guid AND o.parent = n.parent AND o.name = n.name"
            ):
                guid, parent, name, is_folder, is_deleted, now, before, places = row
                yield News(
                    guid,
                    parent,
                    name,
                    bool(is_folder),
                    bool(is_deleted),
                    before is not None,
                    # A place without a version is one that the object has left, or may have left.
                    bool(before) and places == 1,
                    _same_size(now, before),
                    now,
                    places > 0,
                )

    def rewritten(self, news: News) -> Iterator[tuple[str, Content]]:
        """Return name and content of a file at its old places, if it was written since it was there.

        Only the time of the file tells so, if it is finer than the seconds of a listing: a move gives
        another version as well.
        """
        content = _content_of(news.version)
        if content is None:
            return
        with explained(self._path):
            rows = self._database.execute(
                "SELECT name, version FROM objects WHERE guid = ? AND version != ''", (news.guid,)
            ).fetchall()
        for name, before in rows:
            old, new = json.loads(before), json.loads(news.version)
            is_later = any(
                None not in (old[each], new[each]) and old[each] != new[each] for each in _OWN_TIMES
            )
            if is_later and old[_SIZE] == content.size:
                yield str(name), content

    # --- places ----------------------------------------------------------------------------------

    def has_children(self, guid: str) -> bool:
        """Return whether an object is the folder of another."""
        with explained(self._path):
            found = self._database.execute(
                "SELECT 1 FROM objects WHERE parent = ? LIMIT 1", (guid,)
            ).fetchone()
        return found is not None

    def places(self, guid: str) -> list[tuple[str, str]]:
        """Return folder and name of each place that an object had or has."""
        with explained(self._path):
            rows = self._database.execute(
                "SELECT parent, name FROM objects WHERE guid = ? UNION "
                "SELECT parent, name FROM news WHERE guid = ? AND NOT is_deleted "
                "AND parent IS NOT NULL AND name IS NOT NULL",
                (guid, guid),
            ).fetchall()
        return [(str(parent), str(name)) for parent, name in rows]

    def _old_places(self, guid: str) -> list[tuple[str, str]]:
        with explained(self._path):
            rows = self._database.execute(
                "SELECT parent, name FROM objects WHERE guid = ?", (guid,)
            ).fetchall()
        return [(str(parent), str(name)) for parent, name in rows]

    def is_moved(self, guid: str) -> bool:
        """Return whether the news tell a new place of an object, or of a folder above it."""
        seen: set[str] = set()
        waiting = [guid]
        while waiting:
            each = waiting.pop()
            if each in seen:
                continue
            seen.add(each)
            places = self.places(each)
            if set(places) != set(self._old_places(each)):
                return True
            waiting += [parent for parent, _ in places]
        return False

    def paths(self, guid: str, known: dict[str, frozenset[str] | None]) -> frozenset[str] | None:
        """Return the paths below the source that an object had or has.

        Args:
            guid: The object.
            known: The paths that are known, by object. What is found out is added.

        Returns:
            The paths. None: the map does not tell where the object is.
        """
        return self._paths(guid, known, 0)

    def _paths(
        self, guid: str, known: dict[str, frozenset[str] | None], depth: int
    ) -> frozenset[str] | None:
        if guid in known:
            return known[guid]
        places = self.places(guid)
        if not places or depth > _MAX_DEPTH:
            return None
        # A circle has no path.
        known[guid] = None
        found: set[str] = set()
        for parent, name in places:
            above = self._paths(parent, known, depth + 1)
            if above is None or len(found) > _MAX_PATHS:
                return None
            found.update(f"{path}/{name}" if path else name for path in above)
        known[guid] = frozenset(found)
        return known[guid]

    def in_folder(self, guid: str) -> dict[str, list[str]]:
        """Return the objects that were or are in a folder, by name."""
        found: dict[str, list[str]] = {}
        with explained(self._path):
            for name, each in self._database.execute(
                "SELECT name, guid FROM objects WHERE parent = ? UNION "
                "SELECT name, guid FROM news WHERE parent = ? AND NOT is_deleted "
                "AND name IS NOT NULL",
                (guid, guid),
            ):
                found.setdefault(str(name), []).append(str(each))
        return found

    def named(self, name: str) -> list[str]:
        """Return some objects of a name."""
        with explained(self._path):
            rows = self._database.execute(
                "SELECT guid FROM objects WHERE name = ? UNION "
                "SELECT guid FROM news WHERE name = ? AND NOT is_deleted LIMIT 10",
                (name, name),
            ).fetchall()
        return [str(row[0]) for row in rows]

    # --- changes, in a transaction of the state -----------------------------------------------------

    def merge(self) -> None:
        """Take the news into the map.

        A place of which the news do not tell has no version any more: an event that tells it again is
        news, although it may be equal to the one of before. Two versions of one place have no order, so
        the place then has none.
        """
        of_news = "" if self._is_inventory else "WHERE guid IN (SELECT guid FROM news)"
        self._database.execute(f"UPDATE objects SET version = '' {of_news}")
        self._database.execute(
            "INSERT OR REPLACE INTO objects SELECT guid, parent, name, "
            "CASE WHEN count(*) > 1 THEN '' ELSE version END FROM news "
            "WHERE NOT is_deleted AND parent IS NOT NULL AND name IS NOT NULL "
            "GROUP BY guid, parent, name"
        )
        self._database.execute(
            "UPDATE objects SET version = '' WHERE guid IN (SELECT guid FROM news WHERE is_deleted)"
        )

    def doubt(self, unfound: Iterable[ObjectPlace]) -> None:
        """Take the versions from objects of which one run told several places, after the last `drop`.

        Such an object is at one of them only, so an event that tells any of them again is news.

        Args:
            unfound: Object, folder and name of places where nothing was found. They lose theirs, too.
        """
        self._database.executemany(
            "UPDATE objects SET version = '' WHERE guid = ? AND parent = ? AND name = ?", unfound
        )
        self._database.execute(
            "UPDATE objects SET version = '' WHERE guid IN (SELECT guid FROM news "
            "WHERE NOT is_deleted GROUP BY guid HAVING count(*) > 1 "
            "UNION SELECT guid FROM repeated WHERE guid IN (SELECT guid FROM news)) "
            "AND (SELECT count(*) FROM objects o WHERE o.guid = objects.guid) > 1"
        )

    def drop(self, guid: str, parent: str, name: str) -> None:
        """Drop a place of an object, where the state has nothing any more."""
        self._database.execute(
            "DELETE FROM objects WHERE guid = ? AND parent = ? AND name = ?", (guid, parent, name)
        )


def _escaped(name: str) -> str:
    """Return a name as SQLite can hold it, without half a surrogate pair. No such name is mirrored."""
    return name.encode("utf-8", "backslashreplace").decode()


def _version_of(event: Event) -> str:
    return json.dumps([event.raw.get(name) for name in _TELLING] + [event.size, event.file_id])


def _same_size(now: str, before: str | None) -> Content | None:
    if before is None or now == before:
        return None
    content = _content_of(now)
    # If the version of before is not certain, what is mirrored may be older.
    if content is not None and before and json.loads(before)[_SIZE] != content.size:
        return None
    return content


def _content_of(version: str) -> Content | None:
    if not version:
        return None
    size, file_id = json.loads(version)[_SIZE:]
    return None if file_id is None else Content(int(file_id), size)


def _is_telling(event: Event) -> bool:
    """Return whether an event would differ after any change of its object."""
    return event.deleted or any(event.raw.get(name) is not None for name in _TELLING)
