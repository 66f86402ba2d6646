"""Collections of a plan that leave memory for a temporary database once they are large.

The planner compares and orders paths. These collections let it do so without a bound on their number:
they behave the same in memory and in the database, and always yield paths in the same order. The
database is a file without a name, which the system removes at the end of the process at the latest.
"""

from __future__ import annotations

import bisect
import errno
import itertools
import marshal
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, Callable, Generic, TypeVar

from .database import open_temporary

__all__ = ["ItemList", "PathMap", "PathSet", "Spill"]

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")

#: Items that are read from the database at once.
_PAGE_ITEMS = 500


class Spill:
    """Makes the collections of one run, and has their temporary database.

    Only the thread of the run uses it at any one time.

    Attributes:
        max_in_memory: The most items of a collection that are kept in memory. Some hundred bytes each,
            and a run has a dozen large collections.
    """

    max_in_memory = 4000

    def __init__(self) -> None:
        self._database: sqlite3.Connection | None = None
        self._numbers = itertools.count(1)

    def path_map(
        self, pack: Callable[[_Value], Any], unpack: Callable[[Any], _Value]
    ) -> PathMap[_Value]:
        """Return an empty map.

        Args:
            pack: Turns a value into plain tuples, texts and numbers.
            unpack: Turns these into a value again.
        """
        return PathMap(self, pack, unpack)

    def texts(self) -> PathMap[str]:
        """Return an empty map of texts."""
        return PathMap(self, _same, _same)

    def path_set(self) -> PathSet:
        """Return an empty set."""
        return PathSet(self)

    def item_list(
        self, pack: Callable[[_Value], Any], unpack: Callable[[Any], _Value]
    ) -> ItemList[_Value]:
        """Return an empty list.

        Args:
            pack: As for `path_map`.
            unpack: As for `path_map`.
        """
        return ItemList(self, pack, unpack)

    def close(self) -> None:
        """Remove the database. The collections cannot be used any more."""
        if self._database is not None:
            self._database.close()

    # --- for the collections ---------------------------------------------------------------------

    def make_table(self, columns: str) -> str:
        """Make a table, and return its name."""
        if self._database is None:
            self._database = open_temporary()
            # If it cannot be written, the run ends.
            self._database.execute("PRAGMA journal_mode = OFF")
        name = f"t{next(self._numbers)}"
        self.execute(f"CREATE TABLE {name} ({columns})")
        return name

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Execute a statement, and return its rows."""
        assert self._database is not None
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise _explained(error) from error

    def insert(self, table: str, rows: Iterable[tuple[Any, Any]]) -> None:
        """Insert rows of two values, and replace those that have their key."""
        assert self._database is not None
        try:
            self._database.execute("BEGIN")
            self._database.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise _explained(error) from error


class _Collection(Generic[_Value]):
    """A collection whose values may be in a table of the database.

    Args:
        spill: Has the database.
        pack: Turns a value into plain tuples, texts and numbers.
        unpack: Turns these into a value again.
    """

    def __init__(
        self, spill: Spill, pack: Callable[[_Value], Any], unpack: Callable[[Any], _Value]
    ) -> None:
        self._spill = spill
        self._pack = pack
        self._unpack = unpack
        # The name of the table, or an empty text.
        self._table = ""

    def _dump(self, value: _Value) -> bytes:
        return marshal.dumps(self._pack(value))

    def _load(self, data: bytes) -> _Value:
        return self._unpack(marshal.loads(data))

    def _drop_table(self) -> None:
        table, self._table = self._table, ""
        if table:
            self._spill.execute(f"DROP TABLE {table}")


class PathMap(_Collection[_Value]):
    """A map from paths to values, which yields the paths in the order of their code points."""

    def __init__(
        self, spill: Spill, pack: Callable[[_Value], Any], unpack: Callable[[Any], _Value]
    ) -> None:
        super().__init__(spill, pack, unpack)
        # The newest items. The table has the others, and older values of these.
        self._recent: dict[str, _Value] = {}
        # The paths of `_recent` in order, until it gets another one.
        self._order: list[str] | None = None
        # How often the map has changed, so that a reading meanwhile cannot miss anything.
        self._changes = 0

    def get(self, path: str) -> _Value | None:
        """Return the value of a path, or None."""
        value = self._recent.get(path)
        if value is not None or not self._table or path in self._recent:
            return value
        rows = self._spill.execute(
            f"SELECT value FROM {self._table} WHERE path = ?", (_encoded(path),)
        )
        return self._load(rows[0][0]) if rows else None

    def __getitem__(self, path: str) -> _Value:
        value = self.get(path)
        if value is None:
            raise KeyError(path)
        return value

    def __contains__(self, path: str) -> bool:
        if path in self._recent or not self._table:
            return path in self._recent
        found = self._spill.execute(
            f"SELECT 1 FROM {self._table} WHERE path = ?", (_encoded(path),)
        )
        return bool(found)

    def __setitem__(self, path: str, value: _Value) -> None:
        if path not in self._recent:
            self._order = None
            self._changes += 1
            if len(self._recent) >= self._spill.max_in_memory:
                self._move_out()
        self._recent[path] = value

    def discard(self, path: str) -> None:
        """Drop a path, if the map has it."""
        self._changes += 1
        if self._recent.pop(path, None) is not None:
            self._order = None
        if self._table:
            self._spill.execute(f"DELETE FROM {self._table} WHERE path = ?", (_encoded(path),))

    def setdefault(self, path: str, value: _Value) -> _Value:
        """Return the value of a path, which gets one if it has none."""
        found = self.get(path)
        if found is None:
            self[path] = found = value
        return found

    def __bool__(self) -> bool:
        if self._recent or not self._table:
            return bool(self._recent)
        return bool(self._spill.execute(f"SELECT 1 FROM {self._table} LIMIT 1"))

    def __len__(self) -> int:
        if not self._table:
            return len(self._recent)
        self._move_out()
        return int(self._spill.execute(f"SELECT count(*) FROM {self._table}")[0][0])

    def __iter__(self) -> Iterator[str]:
        """Return the paths, in their order. The map must not change meanwhile."""
        return _guarded(self._paths(), self._count_changes)

    def _paths(self) -> Iterator[str]:
        if not self._table:
            yield from self._sorted()
            return
        self._move_out()
        for path, _ in self._read_between("", None, "NULL"):
            yield _decoded(path)

    def values(self) -> Iterator[_Value]:
        """Return the values, in the order of their paths."""
        for _, value in self.items():
            yield value

    def items(self) -> Iterator[tuple[str, _Value]]:
        """Return paths and values, in the order of the paths. The map must not change meanwhile."""
        return _guarded(self._between("", None), self._count_changes)

    def below(self, path: str) -> Iterator[tuple[str, _Value]]:
        """Return the paths in a folder, and their values, as `items` does."""
        # "0" is the character after "/".
        return _guarded(self._between(f"{path}/", f"{path}0"), self._count_changes)

    def drop_below(self, path: str) -> None:
        """Drop all paths in a folder."""
        start, stop = f"{path}/", f"{path}0"
        self._order = None
        self._changes += 1
        for each in [each for each in self._recent if start <= each < stop]:
            del self._recent[each]
        if self._table:
            self._spill.execute(
                f"DELETE FROM {self._table} WHERE path >= ? AND path < ?",
                (_encoded(start), _encoded(stop)),
            )

    def clear(self) -> None:
        """Drop all paths."""
        self._recent.clear()
        self._order = None
        self._changes += 1
        self._drop_table()

    def _count_changes(self) -> int:
        return self._changes

    def _between(self, start: str, stop: str | None) -> Iterator[tuple[str, _Value]]:
        if self._table:
            self._move_out()
            for path, value in self._read_between(start, stop, "value"):
                yield _decoded(path), self._load(value)
            return
        order = self._sorted()
        last = len(order) if stop is None else bisect.bisect_left(order, stop)
        for index in range(bisect.bisect_left(order, start), last):
            yield order[index], self._recent[order[index]]

    def _sorted(self) -> list[str]:
        """Return the paths that are in memory, in their order."""
        if self._order is None:
            self._order = sorted(self._recent)
        return self._order

    def _read_between(
        self, start: str, stop: str | None, column: str
    ) -> Iterator[tuple[bytes, bytes]]:
        # No cursor stays open, so the table can be dropped at any time.
        compare, key = ">=", _encoded(start)
        limit = "" if stop is None else "AND path < ?"
        values = () if stop is None else (_encoded(stop),)
        while True:
            rows = self._spill.execute(
                f"SELECT path, {column} FROM {self._table} WHERE path {compare} ? {limit} "
                f"ORDER BY path LIMIT {_PAGE_ITEMS}",
                (key, *values),
            )
            yield from rows
            if len(rows) < _PAGE_ITEMS:
                return
            compare, key = ">", rows[-1][0]

    def _move_out(self) -> None:
        """Move the newest items to the database."""
        if not self._recent:
            return
        if not self._table:
            self._table = self._spill.make_table("path BLOB PRIMARY KEY, value BLOB NOT NULL")
        self._spill.insert(
            self._table,
            ((_encoded(path), self._dump(value)) for path, value in self._recent.items()),
        )
        self._recent.clear()
        self._order = None


class PathSet:
    """A set of paths, which yields them in the order of their code points.

    Args:
        spill: Has the database.
    """

    def __init__(self, spill: Spill) -> None:
        self._map: PathMap[bool] = spill.path_map(_same, _same)

    def add(self, path: str) -> None:
        """Add a path."""
        self._map[path] = True

    def update(self, paths: Iterable[str]) -> None:
        """Add paths."""
        for path in paths:
            self._map[path] = True

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and path in self._map

    def __bool__(self) -> bool:
        return bool(self._map)

    def __iter__(self) -> Iterator[str]:
        return iter(self._map)

    def below(self, path: str) -> Iterator[str]:
        """Return the paths in a folder. The set must not change meanwhile."""
        for each, _ in self._map.below(path):
            yield each

    def clear(self) -> None:
        """Drop all paths."""
        self._map.clear()


class ItemList(_Collection[_Value]):
    """A list that grows at its end."""

    def __init__(
        self, spill: Spill, pack: Callable[[_Value], Any], unpack: Callable[[Any], _Value]
    ) -> None:
        super().__init__(spill, pack, unpack)
        # The last items. The table has those before.
        self._recent: list[_Value] = []
        self._stored = 0

    def append(self, value: _Value) -> None:
        """Add an item."""
        if len(self._recent) >= self._spill.max_in_memory:
            if not self._table:
                self._table = self._spill.make_table("id INTEGER PRIMARY KEY, value BLOB NOT NULL")
            self._spill.insert(
                self._table,
                (
                    (number, self._dump(each))
                    for number, each in enumerate(self._recent, self._stored)
                ),
            )
            self._stored += len(self._recent)
            self._recent.clear()
        self._recent.append(value)

    def __len__(self) -> int:
        return self._stored + len(self._recent)

    def __iter__(self) -> Iterator[_Value]:
        """Return the items. The list must not change meanwhile."""
        return _guarded(self._forwards(), self.__len__)

    def __reversed__(self) -> Iterator[_Value]:
        """Return the items, the last first. The list must not change meanwhile."""
        return _guarded(self._backwards(), self.__len__)

    def _forwards(self) -> Iterator[_Value]:
        for start in range(0, self._stored, _PAGE_ITEMS):
            yield from self._page(start)
        yield from self._recent

    def _backwards(self) -> Iterator[_Value]:
        yield from reversed(self._recent)
        if self._stored:
            last = (self._stored - 1) // _PAGE_ITEMS * _PAGE_ITEMS
            for start in range(last, -1, -_PAGE_ITEMS):
                yield from reversed(self._page(start))

    def _page(self, start: int) -> list[_Value]:
        rows = self._spill.execute(
            f"SELECT value FROM {self._table} WHERE id >= ? AND id < ? ORDER BY id",
            (start, start + _PAGE_ITEMS),
        )
        return [self._load(value) for (value,) in rows]

    def clear(self) -> None:
        """Drop all items."""
        self._recent.clear()
        self._stored = 0
        self._drop_table()


def _guarded(items: Iterator[_Item], version: Callable[[], int]) -> Iterator[_Item]:
    """Return items. If their collection changes meanwhile, the plan would lack some: that is an error."""
    before = version()
    for each in items:
        yield each
        if version() != before:
            raise RuntimeError("a collection of the plan changed while it was read: report this")


def _same(value: Any) -> Any:
    return value


def _encoded(path: str) -> bytes:
    """Return a key that has the order of the path. Names on the disk may not be valid Unicode."""
    return path.encode("utf-8", "surrogatepass")


def _decoded(key: bytes) -> str:
    return key.decode("utf-8", "surrogatepass")


def _explained(error: sqlite3.Error) -> OSError:
    text = str(error)
    is_full = "full" in text
    advice = (
        "free some space in the folder for temporary files, or name another one by SQLITE_TMPDIR"
        if is_full
        else "look at the folder for temporary files, or name another one by SQLITE_TMPDIR"
    )
    return OSError(
        errno.ENOSPC if is_full else errno.EIO,
        f"the plan is too large for memory, and cannot be written ({text}): {advice}",
    )
