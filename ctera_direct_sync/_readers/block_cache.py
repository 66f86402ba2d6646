"""The decoded blocks of one open file: what a reader takes, and what is fetched ahead of it.

`BlockCache` begins the downloads of blocks and keeps their decoded bytes. `BlockMemory` decides what
it may keep.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from .._engine.engine import BULK, STREAM, Job, Transfer
from .._protocol.ranges import Piece
from ..exceptions import DirectIOError
from ..types import Block
from .block_memory import CachedBlock, memory_of
from .listed_file import ListedFile

__all__ = ["BlockCache"]

#: Bytes asked for at once of a plaintext object, of which any range can be fetched.
_PAGE_SIZE_BYTES = 1024 * 1024


class BlockCache:
    """The blocks of one open file.

    One thread at a time may use it. Any thread may call `close`, also from a finalizer.

    Args:
        file: The file.

    Attributes:
        blocks: The blocks by their offset.
        unread: The blocks that were fetched ahead and that the reader has not reached yet.
        awaited: The block that the reader waits for, which is not evicted.
        ahead_bytes: The charged bytes of the blocks in `unread`.
        begun_until: Everything between the reader and this offset was begun.
        last_used: When the reader last came to a block, in seconds of the memory's clock.
        closed: Whether the file was closed.
    """

    def __init__(self, file: ListedFile) -> None:
        self._file = file
        self._memory = memory_of(file.engine, file.memory)
        self.last_used = 0.0
        self.closed = False
        self.forget_parent()
        self._memory.register(self)

    def forget_parent(self) -> None:
        """Start empty in a forked child.

        The parent's downloads are left alone: to cancel them would cut the parent's connections.
        """
        self.blocks: dict[int, CachedBlock] = {}
        self.unread: dict[int, CachedBlock] = {}
        self.awaited: CachedBlock | None = None
        self.ahead_bytes = 0
        self.begun_until = 0

    def piece_at(self, offset: int) -> Piece:
        """Return the piece that holds the byte at an offset in the file.

        Args:
            offset: The offset, in bytes.

        Raises:
            DirectIOError: The block list has no such piece.
        """
        piece = next(self._pieces_from(offset), None)
        if piece is None or not piece.offset <= offset < piece.offset + piece.length:
            raise DirectIOError(
                f"The portal's block list lacks the bytes at offset {offset}", self._file.file_id
            )
        return piece

    def read(self, piece: Piece, stop: int) -> tuple[CachedBlock, bytes]:
        """Return the decoded block of a piece and its bytes, and begin the blocks that follow.

        Args:
            piece: The whole block, or a page of a plaintext object.
            stop: Where reading ahead ends. It ends earlier if the memory is full.

        Raises:
            BlockError: The block cannot be downloaded or decoded. The next call tries again.
            DirectIOError: The client was closed.
            ValueError: The file was closed meanwhile.
        """
        block: CachedBlock | None = None
        try:
            block = self._begin_awaited(piece)
            data = block.data
            self.begin_ahead(piece.offset + piece.length, stop)
            if data is None:
                data = self._wait(block, piece)
                self._memory.note_read(block, data)
            if self.closed:
                raise ValueError("I/O operation on closed file")
            return block, data
        except BaseException as error:
            self._give_up(block, error)
            if self.closed:
                raise ValueError("I/O operation on closed file") from None
            if isinstance(error, Exception) and self._file.engine.closed:
                raise self._client_closed() from None
            raise
        finally:
            self.awaited = None
            del block  # The error's traceback holds this frame.

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """Return the whole pieces that cover a range of the file, in file order."""
        return self._file.pieces(start, stop, whole=True, part_size=_PAGE_SIZE_BYTES)

    def make_room(self) -> int:
        """Evict blocks that were read from half of the memory.

        Returns:
            The bytes that may be used beside the blocks of all open files.
        """
        room = self._memory.make_room(self)
        self._memory.cancel_evicted(self._file.engine)
        return room

    def cancel_ahead(self, before: int | None = None) -> None:
        """Cancel the downloads ahead of the reader. Blocks that are decoded already stay.

        Args:
            before: Cancel only what lies before this offset; None: all.
        """
        self._memory.cancel_ahead(self, before)
        if before is None:
            self.begun_until = 0
        self._memory.cancel_evicted(self._file.engine)

    def close(self) -> None:
        """Drop all blocks, and cancel their downloads, also while another thread waits for one.

        It never waits, so a finalizer or a signal handler may call it.
        """
        self.closed = True
        for block in list(self.blocks.values()):
            transfer = block.transfer
            if transfer is not None:
                self._file.engine.cancel(transfer)
        self._memory.close(self)
        self._memory.cancel_evicted(self._file.engine)

    def _wait(self, block: CachedBlock, piece: Piece) -> bytes:
        """Return the bytes of a block, once it is downloaded."""
        job = block.job
        if job is None:
            raise DirectIOError(
                "The download was cancelled: read again",
                self._file.file_id,
                errno=errno.ECANCELED,
            )
        waits = not job.future.done()
        found = job.future.result()
        if waits:
            self._file.engine.close_stream_window()
        data = found.data
        if len(data) != piece.length or found.offset != piece.offset:
            raise DirectIOError(
                f"The block at offset {piece.offset} came with {len(data)} of {piece.length} bytes: "
                "please report this",
                self._file.file_id,
            )
        return data

    def _give_up(self, block: CachedBlock | None, error: BaseException) -> None:
        """Clean up after a read that failed, so that the next one begins the block anew."""
        if self.closed:
            self._memory.close(self)
        elif not isinstance(error, Exception):
            # An interrupted program may never read on, so no download is left running for it.
            self._memory.cancel_downloads(self)
            self.begun_until = 0
        elif block is not None:
            self._memory.remove(block)
        self._memory.cancel_evicted(self._file.engine)

    def _client_closed(self) -> DirectIOError:
        text = "The client was closed while the file was open: open it with a client that lives on"
        return DirectIOError(text, self._file.file_id, errno=errno.ECANCELED)

    def _pieces_from(self, offset: int) -> Iterator[Piece]:
        return self.pieces(offset, self._file.metadata.size)

    def _begin_awaited(self, piece: Piece) -> CachedBlock:
        """Return the block of a piece that the reader waits for. Begin its download if needed."""
        block = self._memory.find(self, piece.offset)
        if block is not None and block.data is not None:
            return block
        # A block that was begun ahead may have failed long ago, or may still be queued behind others.
        # If its future can be cancelled, it was queued.
        if (
            block is None
            or block.job is None
            or _has_failed(block.job)
            or block.job.future.cancel()
        ):
            transfer = self._new_transfer(piece, STREAM)
            block = self._memory.add_awaited(self, piece, transfer)
            self._start(block, transfer)
        return block

    def begin_ahead(self, offset: int, stop: int) -> None:
        """Begin the pieces from `offset` to `stop`, as far as they fit.

        Args:
            offset: The offset of the first byte. What was begun before is not looked at again.
            stop: The offset past the last byte.
        """
        offset = max(offset, self.begun_until)
        if offset >= stop:
            return
        share = self._memory.share(self)
        for piece in self._pieces_from(offset):
            if piece.offset >= stop:
                return
            if piece.offset not in self.blocks:
                # As bulk work it stays within the number of workers that serves best.
                transfer = self._new_transfer(piece, BULK)
                block = self._memory.add_ahead(self, piece, transfer, share)
                if block is None:
                    return
                self._start(block, transfer)
            self.begun_until = piece.offset + piece.length

    def _new_transfer(self, piece: Piece, priority: int) -> Transfer[Block]:
        return self._file.transfer(
            iter([piece]), self._file.block, priority=priority, bounded=False
        )

    def _start(self, block: CachedBlock, transfer: Transfer[Block]) -> None:
        """Start the download of a block that the memory has accepted."""
        engine = self._file.engine
        self._memory.cancel_evicted(engine)
        try:
            engine.start(transfer)
            admitted = transfer.take_admitted()
            # There is none if another thread closed the file or evicted the block.
            if admitted:
                block.job = admitted[0]
        except BaseException:
            self._memory.remove(block)
            engine.cancel(transfer)
            raise
        if self.closed or self.blocks.get(block.start) is not block:
            engine.cancel(transfer)


def _has_failed(job: Job[Block]) -> bool:
    future = job.future
    return future.done() and (future.cancelled() or future.exception() is not None)
