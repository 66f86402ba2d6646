"""Asynchronous iterators over the blocks of a file, and over the bytes of a response."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Iterator

from .._core import ClientCore, label_of
from .._protocol.ranges import clip
from ..exceptions import DirectIOError, StreamError
from ..types import Block, ByteRange, FileRef, Metadata
from .bridge import BlockPump, Stopper

__all__ = ["BlockIterator", "BlockSource"]


class BlockSource:
    """Lists a file, and iterates over its blocks. All of it runs on one thread at a time.

    Args:
        core: The client.
        file: The file, or its block list.
        byte_range: The range. None: the whole file.
        max_workers: The most concurrent downloads. None leaves it to the client.
        in_order: Whether to stream the range, rather than whole blocks as they complete.

    Attributes:
        in_order: As the argument.
        due: Offset of the first byte that is due, and of the one past the last. None before the listing.
        label: What errors name the file by.
        stop: Cuts off what is under way. Any thread may call it, also a finalizer.
    """

    def __init__(
        self,
        core: ClientCore,
        file: FileRef | Metadata,
        byte_range: ByteRange | None,
        max_workers: int | None,
        in_order: bool,
    ) -> None:
        self._core = core
        self._file = file
        self._byte_range = byte_range
        self._max_workers = max_workers
        self.in_order = in_order
        self.label = file.file_id if isinstance(file, Metadata) else label_of(file)
        self.due: tuple[int, int] | None = None
        self._stopper = Stopper()
        self.stop = self._stopper.stop

    def begin(self) -> Iterator[Block]:
        """List the file, and return an iterator over its blocks.

        Raises:
            DirectIOError: As `DirectIO.stream` raises, or `stop` was called.
        """
        core, file, byte_range = self._core, self._file, self._byte_range
        metadata = (
            file
            if isinstance(file, Metadata)
            else core.list_cancellable(file, self._stopper.cancel_by)
        )
        self.due = clip(byte_range, metadata.size)
        if self.in_order:
            streamer = core.streamer(metadata, byte_range, self._max_workers)
            self._stopper.cancel_by(streamer.stop)
            return streamer.start()
        return core.iterate(metadata, byte_range, self._max_workers, self._stopper.cancel_by)


class BlockIterator(AsyncIterator[Block]):
    """Iterates over blocks, for one task at a time. It ends without an error only if all were delivered.

    It need not be closed: an iterator that is dropped stops its downloads. So does a cancelled wait.
    After `aclose`, and after a wait that was cancelled, a further step raises.
    """

    def __init__(self, source: BlockSource) -> None:
        self._source = source
        self._pump = BlockPump(source.begin, source.stop)
        self._is_busy = False
        self._has_failed = False
        self._delivered = 0

    def __aiter__(self) -> BlockIterator:
        return self

    async def __anext__(self) -> Block:
        if self._is_busy:
            raise RuntimeError("another task waits for the next block: one task uses an iterator")
        if self._has_failed:
            raise self._ended()
        self._is_busy = True
        try:
            block = await self._pump.take()
        except BaseException as error:
            # Also a cancellation, or the end of the event loop.
            is_ours, self._has_failed = self._has_failed, True
            self._pump.stop()
            if is_ours and isinstance(error, DirectIOError):
                # It would say that the client was closed.
                raise self._ended() from None
            raise
        finally:
            self._is_busy = False
        if block is None:
            self._check_whole()
            raise StopAsyncIteration
        self._count(block)
        return block

    def _count(self, block: Block) -> None:
        """Count the bytes of a block that are due. Whole blocks reach over the ends of a range."""
        assert self._source.due is not None
        start, stop = self._source.due
        first, last = block.offset, block.offset + len(block.data)
        if self._source.in_order and first != start + self._delivered:
            self._has_failed = True
            self._pump.stop()
            raise self._ended()
        self._delivered += max(0, min(stop, last) - max(start, first))

    def _check_whole(self) -> None:
        # Counted once more, by what left the library: a short iteration must not look whole.
        if self._has_failed or not self._is_complete():
            raise self._ended()

    def _is_complete(self) -> bool:
        due = self._source.due
        return due is not None and self._delivered == due[1] - due[0]

    def _ended(self) -> DirectIOError:
        """Return the error of an iteration that ends before all was delivered."""
        source = self._source
        if source.due is None:
            text = "The blocks ended before the first: the iterator or the client was closed"
            return DirectIOError(text, source.label, errno=errno.ECANCELED)
        start, stop = source.due
        text = f"it was closed or cancelled after {self._delivered} of {stop - start} bytes"
        if not source.in_order:
            return DirectIOError(
                f"The blocks ended early: {text}", source.label, errno=errno.ECANCELED
            )
        offset = start + self._delivered
        return StreamError(
            f"The stream ended at offset {offset}, where it can be resumed: {text}",
            source.label,
            offset,
            errno=errno.ECANCELED,
        )

    async def aclose(self) -> None:
        """Stop the downloads, and wait until nothing of the iteration runs any more.

        A task that waits for the next block gets an error.
        """
        self._has_failed = self._has_failed or not self._is_complete()
        await self._pump.close()

    def close(self) -> None:
        """Stop the downloads, and wait for nothing."""
        self._has_failed = self._has_failed or not self._is_complete()
        self._pump.stop()

    def __del__(self) -> None:
        # A finalizer may run anywhere, under any lock. This takes none.
        pump = getattr(self, "_pump", None)
        if pump is not None:
            pump.stop()
