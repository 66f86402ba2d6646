"""A file that was unpickled, and is opened at its first use."""

from __future__ import annotations

import errno
import io
from typing import TYPE_CHECKING, Callable, NamedTuple

from ..exceptions import DirectIOError
from .client_lease import ClientLease
from .duckdb import duckdb_positions
from .listed_file import ListedFile
from .raw_file import PickledState, RawDirectFile

if TYPE_CHECKING:
    from .._core import ClientCore

__all__ = ["OpenPickled", "Opened", "PickledFile"]


class Opened(NamedTuple):
    """The result of opening a file.

    Attributes:
        file: The file, whose block list is complete.
        client: The client that the file belongs to.
        lease: The lease of the client, if other files share it.
    """

    file: ListedFile
    client: ClientCore
    lease: ClientLease | None = None


class OpenPickled:
    """Opens a pickled file, with a client that the unpickled files share.

    Args:
        state: What the pickle holds.
    """

    def __init__(self, state: PickledState) -> None:
        self.state = state

    def __call__(self) -> Opened:
        """Fetch the block list of the file.

        Raises:
            DirectIOError: The file has changed since it was pickled (ESTALE), or cannot be listed.
        """
        state = self.state
        lease = ClientLease(state.kind, state.state)
        try:
            file = lease.client.whole(lease.client.metadata(state.file_id))
            if file.metadata.fingerprint != state.fingerprint:
                raise DirectIOError(
                    "The file has changed since the open file was pickled: open it anew",
                    state.file_id,
                    errno=errno.ESTALE,
                )
        except BaseException:
            lease.end()
            raise
        return Opened(file, lease.client, lease)


class PickledFile(RawDirectFile):
    """A raw file that was unpickled. It is opened at its first use, which raises what goes wrong.

    Unpickling itself must not fail. An error amid it ends the connections of Dask's workers, for
    example, and the program that waits for them then waits for ever. A use that fails can be repeated.

    Args:
        file_id: The file ID.
        position: The offset of the next byte to read.
        readahead: The argument that the file was opened with.
        open_again: Lists the file. It raises DirectIOError (ESTALE) if the file has changed.
        is_shared: Whether fsspec opened the file.
    """

    def __init__(
        self,
        file_id: int,
        position: int,
        readahead: int | None,
        open_again: Callable[[], Opened],
        is_shared: bool = False,
    ) -> None:
        self._open_again: Callable[[], Opened] | None = open_again
        self._lease: ClientLease | None = None
        self._set_position(position, file_id, readahead, duckdb_positions() if is_shared else None)

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        self.open()
        return self._size

    @size.setter
    def size(self, size: int) -> None:
        self._size = size

    @property
    def is_open(self) -> bool:
        """Whether the file was opened."""
        return self._open_again is None

    def open(self) -> None:
        """Open the file if it is not open yet."""
        if not self.is_open:
            self._lock.run(self._open)

    def close(self) -> None:
        """Give back the memory, and cancel what is being fetched."""
        if not self.is_open:
            self.position = -1
            io.RawIOBase.close(self)
            return
        super().close()
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.end(close_client=not self._finalizing)

    def _open(self) -> None:
        """Open the file, under the lock."""
        self.check_open()
        if self._open_again is None:
            return
        opened = self._open_again()
        self._set_file(opened.file, opened.client)
        self._lease, self._open_again = opened.lease, None
        if self.closed:  # Another thread closed it meanwhile.
            self._cache.close()
            if opened.lease is not None:
                opened.lease.end()

    def _claim(self) -> int:
        self._open()
        return super()._claim()

    def peek(self, limit: int) -> bytes:
        """Return at most `limit` of the next bytes, from one block, without moving."""
        self.open()
        return super().peek(limit)

    def pickled_state(self) -> PickledState:
        """Return what a pickle of the file holds; of an unopened one, what its own pickle held."""
        again = self._open_again
        if not isinstance(again, OpenPickled):
            return super().pickled_state()
        self.check_open()
        return again.state._replace(position=self.tell())
