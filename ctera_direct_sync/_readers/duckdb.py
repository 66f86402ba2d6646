"""The positions of DuckDB's threads in a file that they share."""

from __future__ import annotations

import sys

from .._base.sync import get_ident

__all__ = ["DuckDBPositions", "duckdb_positions"]


class DuckDBPositions:
    """Where each of DuckDB's threads has moved a file that they share.

    DuckDB calls `seek` and then `read` from several threads, with no lock in between. It expects each
    read to start where the same thread moved. No other program does: pyarrow holds a lock.

    DuckDB's own threads can be told from others: no Python function is beneath their calls. Until such
    a thread calls, this object has no effect. From then on the thread that runs the query has a
    position of its own, too.
    """

    def __init__(self) -> None:
        self._positions: dict[int, int] = {}
        self._serves_duckdb = False

    def __bool__(self) -> bool:
        """Return whether the next read must call `take`."""
        return bool(self._positions)

    def note(self, position: int) -> None:
        """Note that the calling thread moved to `position`."""
        self._serves_duckdb = self._serves_duckdb or _is_native_thread()
        self._positions[get_ident()] = position

    def tell(self, position: int) -> int:
        """Return where the calling thread would read.

        Args:
            position: The position of the file itself.
        """
        if not self._serves_duckdb:
            return position
        return self._positions.get(get_ident(), position)

    def take(self, position: int) -> int:
        """Return where the calling thread reads, and forget where it moved.

        Args:
            position: The position of the file itself.
        """
        self._serves_duckdb = self._serves_duckdb or _is_native_thread()
        own = self._positions.pop(get_ident(), None)
        if self._serves_duckdb and own is not None:
            return own
        # Any thread's read continues from the position of the file.
        self._positions.clear()
        return position

    def put_back(self, position: int) -> None:
        """Undo `take` after a read that failed."""
        if self._serves_duckdb:
            self._positions[get_ident()] = position


def duckdb_positions() -> DuckDBPositions | None:
    """Return positions for DuckDB's threads if DuckDB is in the process, else None."""
    if sys.modules.keys().isdisjoint(("duckdb", "_duckdb")):
        return None
    return DuckDBPositions()


def _is_native_thread() -> bool:
    """Return whether no Python function of the program is beneath the call, on this thread."""
    frame = sys._getframe(1)
    package = __name__.partition(".")[0]
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame = frame.f_back  # type: ignore[assignment]
    return frame is None
