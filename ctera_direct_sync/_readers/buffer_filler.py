"""Reads of an open file into the caller's memory: what the file does not hold is decoded there.

A reader that goes through a file in small steps finds its blocks decoded, because they were fetched
ahead. These are copied. A large read, such as that of a whole file into an array, wants blocks that
nothing has fetched yet. To decode them to the file's own memory first would cost a copy, and the file
could not fetch more at once than that memory holds.
"""

from __future__ import annotations

import dataclasses
import errno
from typing import Callable

from .._base.cancellation import Cancelled
from .._base.sync import CancelledError
from .._engine.engine import ClientClosed
from .._protocol.ranges import Piece
from ..exceptions import DirectIOError
from .block_cache import BlockCache
from .into import Filling
from .listed_file import ListedFile
from .readahead import ReadaheadWindow, ReadRequest
from .stream import describe_end

__all__ = ["BufferFiller"]

#: A read with fewer bytes to decode in place copies them: another transfer would cost as much.
_MIN_DIRECT_BYTES = 1024 * 1024


class BufferFiller:
    """Fills memory with the bytes of an open file. One thread at a time may call `fill`.

    Args:
        file: The file.
        cache: Its decoded blocks.
        window: How far it reads ahead.
    """

    def __init__(self, file: ListedFile, cache: BlockCache, window: ReadaheadWindow) -> None:
        self._file = file
        self._cache = cache
        self._window = window
        self._filling: Filling | None = None

    def cancel(self) -> None:
        """End a `fill` that waits, after the cache was closed. Any thread may call it."""
        filling = self._filling
        if filling is not None:
            self._file.engine.cancel(filling.transfer)

    def fill(
        self,
        request: ReadRequest,
        target: memoryview,
        view: Callable[[int, ReadRequest], memoryview],
    ) -> int:
        """Fill memory with the bytes of a request. Return their number.

        Args:
            request: What to read.
            target: The memory, of the length of the request.
            view: Returns the bytes from an offset to the end of the request, or of their block.

        Raises:
            BlockError: A block cannot be downloaded or decoded.
            DirectIOError: The client was closed.
            ValueError: The file was closed meanwhile.
        """
        direct: dict[int, Piece] = {}
        try:
            if request.stop - request.start >= _MIN_DIRECT_BYTES:
                direct = self._begin(request)
                if direct:
                    self._decode(request.start, target, direct)
                    # The copies that follow must not begin again what is in the memory.
                    self._cache.begun_until = max(self._cache.begun_until, request.stop)
            return self._copy(request, target, view, direct)
        except BaseException as error:
            self._cache.begun_until = 0
            if not isinstance(error, Exception):
                # An interrupted program may never read on, so no download is left running for it.
                self._cache.cancel_ahead()
            raise

    def _copy(
        self,
        request: ReadRequest,
        target: memoryview,
        view: Callable[[int, ReadRequest], memoryview],
        direct: dict[int, Piece],
    ) -> int:
        """Copy what was not decoded in place. Return the number of bytes of the request."""
        start, stop = request.start, request.stop
        offset = start
        while offset < stop:
            piece = direct.get(offset)
            if piece is not None:
                self._window.enter(piece, request)
                offset += piece.length
                continue
            found = view(offset, request)
            target[offset - start : offset - start + len(found)] = found
            offset += len(found)
            del found
        if direct:
            self._cache.begin_ahead(stop, stop + self._window.nbytes)
        return offset - start

    def _begin(self, request: ReadRequest) -> dict[int, Piece]:
        """Return the pieces to decode in place, by offset, after beginning to fetch the others."""
        cache, start, stop = self._cache, request.start, request.stop
        # A jump cancels what was fetched ahead, so this comes before a look at what there is.
        self._window.enter(cache.piece_at(start), request)
        others: list[Piece] = []
        direct: dict[int, Piece] = {}
        for piece in cache.pieces(start, stop):
            if piece.offset in cache.blocks:
                continue
            if start <= piece.offset and piece.offset + piece.length <= stop:
                direct[piece.offset] = piece
            else:
                others.append(piece)
        if sum(piece.length for piece in direct.values()) < _MIN_DIRECT_BYTES:
            return {}
        for piece in others:
            cache.begin_ahead(piece.offset, piece.offset + piece.length)
        return direct

    def _decode(self, start: int, target: memoryview, direct: dict[int, Piece]) -> None:
        """Download pieces to their places in the memory."""
        cache, file = self._cache, self._file
        spans: list[tuple[int, int]] = []
        for offset, piece in direct.items():
            if spans and spans[-1][1] == offset:
                spans[-1] = spans[-1][0], offset + piece.length
            else:
                spans.append((offset, offset + piece.length))
        # What the open files hold and what this call holds stay within the setting together.
        bounded = dataclasses.replace(file, memory=cache.make_room())
        filling = self._filling = Filling(bounded, start, target, spans)
        try:
            if cache.closed:
                raise Cancelled
            filling.run()
        except Exception as error:
            if cache.closed:
                raise ValueError("I/O operation on closed file") from None
            if file.engine.closed or isinstance(error, (Cancelled, CancelledError, ClientClosed)):
                text = f"The read ended early: {describe_end(file, filling.transfer)}"
                raise DirectIOError(text, file.file_id, errno=errno.ECANCELED) from None
            if isinstance(error, StopIteration):
                # The user's session may raise it, which would end an iteration over the file.
                raise RuntimeError("a block's download raised StopIteration") from error
            raise
        finally:
            self._filling = None
            # The error's traceback holds this frame.
            del filling
