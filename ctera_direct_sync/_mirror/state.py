"""The state of a mirror: one SQLite database that survives crashes and power cuts.

Each group of changes is one transaction. A change on the disk that cannot be recognised afterwards is
announced first (an intent). So the next run knows what a run that was killed had done.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .._readers.folders import Folder
from .database import explained, open_temporary
from .feed_map import FEED_SCHEMA, Content, FeedMap
from .values import Known, Remote, join, split

__all__ = ["Intent", "State", "entry_of"]

_NAME = "state.db"
_VERSION = 3
#: The first schema, which lacks the column `ctime_ns`.
_VERSION_WITHOUT_CTIME = 1
#: The second schema, which lacks the column `stale`, and what the change feed has told.
_VERSION_WITHOUT_FEED = 2

_SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    parent TEXT NOT NULL,
    name TEXT NOT NULL,
    is_dir INTEGER NOT NULL,
    file_id INTEGER,
    size INTEGER,
    modified INTEGER,
    folder_id INTEGER,
    local_size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    crc32c INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL DEFAULT 0,
    stale INTEGER NOT NULL DEFAULT 0,
    UNIQUE (parent, name)
);
CREATE TABLE intents (id INTEGER PRIMARY KEY, value TEXT NOT NULL);
{FEED_SCHEMA}"""

_COLUMNS = (
    "id, parent, name, is_dir, file_id, size, modified, folder_id, local_size, mtime_ns, inode, crc32c, "
    "ctime_ns, stale"
)


class Intent(NamedTuple):
    """What is about to happen to a path: a file gets it, or the file at the path gives way, or both.

    Attributes:
        source: Where the file is now that gets the path. Empty: the path becomes free.
        entry: The entry that the state then gets. Its `id` is that of the entry that it replaces, or 0.
            If the path becomes free, the entry that the state has now.
        size: The size of the file at `source`, in bytes.
        mtime_ns: The time of its last change, in nanoseconds.
        inode: Its inode number.
        aside: Where a file is put meanwhile, in the mirror's own folder. Empty: no file needs that.
        home: Where the file at `aside` came from.
        replaced: Size in bytes, time in nanoseconds and inode number of the file that gives way, and the
            CRC32C of its bytes. None: it is not known.
    """

    source: str
    entry: Known
    size: int
    mtime_ns: int
    inode: int
    aside: str = ""
    home: str = ""
    replaced: tuple[int, int, int, int] | None = None


class State:
    """The database of one mirrored folder. Only the thread of the run uses it at any one time.

    Args:
        database: The open database.
        path: Its path, for messages.
    """

    def __init__(self, database: sqlite3.Connection, path: str) -> None:
        self._database = database
        self._path = path
        #: What the change feed has told.
        self.feed = FeedMap(database, path)

    @classmethod
    def open(cls, folder: Folder) -> State:
        """Open the database in the mirror's own folder. It is made if it does not exist.

        Args:
            folder: The mirror's own folder, which only this user may write to.

        Raises:
            FileExistsError: A symbolic link, or something else than a file, has the name.
            OSError: The database cannot be opened, is damaged, or is of a newer release.
        """
        state = cls._connect(folder)
        try:
            state._prepare()
        except BaseException:
            state.close()
            raise
        return state

    @classmethod
    def _connect(cls, folder: Folder) -> State:
        """Open the database as `open` does, but leave its tables as they are."""
        path = folder.path_of(_NAME)
        with contextlib.suppress(FileNotFoundError):
            found = folder.lstat(_NAME)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise FileExistsError(
                    errno.EEXIST, "this is not a plain file of the mirror: remove it", path
                )
        with explained(path):
            database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                # Without shared memory, which network file systems lack. The lock file keeps others out.
                database.execute("PRAGMA locking_mode = EXCLUSIVE")
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")
            except BaseException:
                database.close()
                raise
        return cls(database, path)

    @classmethod
    def copied(cls, folder: Folder | None) -> State:
        """Return a copy of a database, which is never written back.

        A large copy is in a temporary file, which SQLite removes.

        Args:
            folder: The mirror's own folder. None: it does not exist, so the copy is empty.
        """
        database = open_temporary()
        path = "(a copy of the state)" if folder is None else folder.path_of(_NAME)
        copy = cls(database, path)
        try:
            if folder is not None:
                copy._fill(folder)
            copy._prepare()
        except BaseException:
            database.close()
            raise
        return copy

    def _fill(self, folder: Folder) -> None:
        """Copy the database in the mirror's own folder, if there is one."""
        try:
            folder.lstat(_NAME)
        except FileNotFoundError:
            return
        with contextlib.ExitStack() as stack:
            if folder.is_read_only():
                # SQLite must write to read its log, so it reads a copy.
                folder = stack.enter_context(_copied(folder))
            # Only the copy gets the tables of this release.
            state = stack.enter_context(contextlib.closing(State._connect(folder)))
            with explained(state._path):
                state._database.backup(self._database)

    def _prepare(self) -> None:
        """Make the tables of a new database, and check the version of an old one."""
        with explained(self._path):
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            with self.transaction():
                self._execute_all(_SCHEMA)
                self._database.execute(f"PRAGMA user_version = {_VERSION}")
        elif version in (_VERSION_WITHOUT_CTIME, _VERSION_WITHOUT_FEED):
            add = "ALTER TABLE items ADD COLUMN {} INTEGER NOT NULL DEFAULT 0"
            with self.transaction():
                if version == _VERSION_WITHOUT_CTIME:
                    self._database.execute(add.format("ctime_ns"))
                self._database.execute(add.format("stale"))
                self._execute_all(FEED_SCHEMA)
                # What the cursor has told is not known, so the feed is read from its beginning.
                self._database.execute("DELETE FROM meta WHERE name = 'cursor'")
                self._database.execute(f"PRAGMA user_version = {_VERSION}")
        elif version != _VERSION:
            raise OSError(
                errno.EINVAL,
                f"the state is of another release (schema {version}, not {_VERSION}): use that release, "
                "or choose another folder",
                self._path,
            )

    def _execute_all(self, script: str) -> None:
        for statement in script.split(";"):
            self._database.execute(statement)

    def close(self) -> None:
        """Close the database. A second call does nothing."""
        self._database.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what the block changes, all of it or nothing."""
        with explained(self._path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise

    # --- values ----------------------------------------------------------------------------------

    def get(self, name: str) -> str | None:
        """Return a value of the mirror as a whole, or None."""
        with explained(self._path):
            row = self._database.execute(
                "SELECT value FROM meta WHERE name = ?", (name,)
            ).fetchone()
        return None if row is None else str(row[0])

    def put(self, name: str, value: str) -> None:
        """Set a value of the mirror as a whole."""
        self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    # --- entries ---------------------------------------------------------------------------------

    def entry(self, path: str) -> Known | None:
        """Return the entry of a path, or None."""
        try:
            with explained(self._path):
                row = self._database.execute(
                    f"SELECT {_COLUMNS} FROM items WHERE parent = ? AND name = ?",
                    split(path),
                ).fetchone()
        except UnicodeEncodeError:
            return None  # Such a name is never mirrored.
        return None if row is None else _known(row)

    def in_folder(self, parent: str) -> dict[str, Known]:
        """Return the entries of one folder, by name."""
        try:
            with explained(self._path):
                rows = self._database.execute(
                    f"SELECT {_COLUMNS} FROM items WHERE parent = ?",
                    (parent,),
                ).fetchall()
        except UnicodeEncodeError:
            return {}
        return {row[2]: _known(row) for row in rows}

    def names_in(self, parent: str) -> list[tuple[str, bool]]:
        """Return the names in a folder, and whether each is a folder."""
        with explained(self._path):
            rows = self._database.execute(
                "SELECT name, is_dir FROM items WHERE parent = ?", (parent,)
            ).fetchall()
        return [(str(name), bool(is_dir)) for name, is_dir in rows]

    def entries(self) -> Iterator[Known]:
        """Return all entries. The state must not change meanwhile."""
        with explained(self._path):
            for row in self._database.execute(f"SELECT {_COLUMNS} FROM items"):
                yield _known(row)

    @property
    def last_id(self) -> int:
        """The highest number of an entry, or 0."""
        with explained(self._path):
            row = self._database.execute("SELECT ifnull(max(id), 0) FROM items").fetchone()
        return int(row[0])

    def save(self, entry: Known) -> None:
        """Store an entry in the place of those that have its path or its number."""
        parent, name = split(entry.path)
        # This also replaces two entries: one that has the path, and another that has the number.
        self._database.execute(
            f"INSERT OR REPLACE INTO items ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (entry.id or None, parent, name, *entry[2:]),
        )

    def files(self) -> Iterator[tuple[str, Content]]:
        """Return path and content of each file that has an ID. The state must not change meanwhile."""
        with explained(self._path):
            for parent, name, file_id, size in self._database.execute(
                "SELECT parent, name, file_id, size FROM items WHERE file_id IS NOT NULL"
            ):
                yield join(parent, name), Content(int(file_id), size)

    def count_folders(self) -> int:
        """Return the number of folders."""
        with explained(self._path):
            row = self._database.execute("SELECT count(*) FROM items WHERE is_dir").fetchone()
        return int(row[0])

    def forget(self, entry: Known) -> None:
        """Drop an entry.

        The entry of a folder stays while the state has a file in it, at any depth. Without it, the next
        run would take that file for the user's.
        """
        if entry.is_dir:
            row = self._database.execute(
                "SELECT parent, name FROM items WHERE id = ?", (entry.id,)
            ).fetchone()
            # A folder above it may have moved during the run.
            if row is not None and self.holds_file(join(*row)):
                return
        self._database.execute("DELETE FROM items WHERE id = ?", (entry.id,))

    def move_folder(self, folder: Known, target: str) -> None:
        """Give the entry of a folder, and those of all that is in it, another path."""
        path = folder.path
        parent, name = split(target)
        self._database.execute(
            "UPDATE OR REPLACE items SET parent = ? || substr(parent, ?) "
            "WHERE parent = ? OR (parent > ? AND parent < ?)",
            (target, len(path) + 1, path, f"{path}/", f"{path}0"),
        )
        self._database.execute(
            "UPDATE OR REPLACE items SET parent = ?, name = ? WHERE id = ?",
            (parent, name, folder.id),
        )

    def holds_file(self, path: str) -> bool:
        """Return whether there is an entry of a file in a folder, at any depth."""
        # "0" is the character after "/", so the range holds the folders below, and no neighbours.
        row = self._database.execute(
            "SELECT 1 FROM items WHERE NOT is_dir AND (parent = ? OR (parent > ? AND parent < ?)) LIMIT 1",
            (path, f"{path}/", f"{path}0"),
        ).fetchone()
        return row is not None

    # --- intents ---------------------------------------------------------------------------------

    def announce(self, intents: Iterable[Intent]) -> None:
        """Store what is about to happen, in a transaction of its own."""
        with self.transaction():
            self._database.executemany(
                "INSERT INTO intents (value) VALUES (?)",
                [(json.dumps(each._asdict()),) for each in intents],
            )

    def intents(self) -> list[Intent]:
        """Return what a run has announced and not settled."""
        found = []
        with explained(self._path):
            rows = self._database.execute("SELECT id, value FROM intents ORDER BY id").fetchall()
            for number, text in rows:
                try:
                    found.append(_read_intent(json.loads(text)))
                except (AttributeError, KeyError, TypeError, ValueError):
                    raise sqlite3.DatabaseError(f"intent {number} is malformed") from None
        return found

    def settle(self) -> None:
        """Drop all intents."""
        self._database.execute("DELETE FROM intents")


def entry_of(remote: Remote, entry: Known | None = None) -> Known:
    """Return the entry of something that the portal has.

    Args:
        remote: What the portal has.
        entry: The entry whose number and local attributes it keeps, or None.
    """
    known = Known(
        0 if entry is None else entry.id,
        remote.path,
        remote.is_dir,
        remote.file_id,
        remote.size,
        remote.modified,
        remote.folder_id,
    )
    if entry is None:
        return known
    # A listing may lack the time. The older one stays then.
    is_same = (entry.file_id, entry.size) == (remote.file_id, remote.size)
    return known._replace(
        modified=entry.modified if remote.modified is None and is_same else remote.modified,
        local_size=entry.local_size,
        mtime_ns=entry.mtime_ns,
        inode=entry.inode,
        crc32c=entry.crc32c,
        ctime_ns=entry.ctime_ns,
        stale=entry.stale,
    )


def _read_intent(value: Any) -> Intent:
    if isinstance(value, list):
        # The form of the first two schemas.
        source, size, mtime_ns, inode, *members = value
        return Intent(source, Known(*members), size, mtime_ns, inode)
    replaced = value.pop("replaced")
    entry = Known(*value.pop("entry"))
    return Intent(**value, entry=entry, replaced=None if replaced is None else tuple(replaced))


def _known(row: tuple[Any, ...]) -> Known:
    number, parent, name, is_dir, *rest = row
    rest[-1] = bool(rest[-1])
    return Known(number, join(parent, name), bool(is_dir), *rest)


@contextlib.contextmanager
def _copied(folder: Folder) -> Iterator[Folder]:
    """Copy the database and its log to a temporary folder, which is removed afterwards."""
    with tempfile.TemporaryDirectory() as path:
        for name in (_NAME, f"{_NAME}-wal"):
            try:
                fd = folder.open_to_read(name)
            except FileNotFoundError:
                continue
            with open(fd, "rb") as source, open(os.path.join(path, name), "wb") as target:
                shutil.copyfileobj(source, target)
        with Folder.open(os.path.realpath(path)) as copy:
            yield copy
