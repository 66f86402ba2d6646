"""Callers that take a file's bytes by one of the library's ways, and judge what they got."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any, Callable

from ctera_direct_sync.exceptions import DirectIOError

from .world import World

__all__ = ["KINDS", "Consumer"]

#: What may be used to take bytes.
KINDS = ("stream", "iterate", "futures", "ranges", "drain")


class Consumer:
    """Takes all bytes of a file, and checks them.

    Args:
        world: The run.
        source: The file.
        kind: One of `KINDS`.
        max_workers: The most downloads at once.
        slow: How likely it sleeps after each block.
        leave_after: After how many blocks it leaves the loop. None: it stays to the end.
    """

    def __init__(
        self,
        world: World,
        source: Any,
        kind: str,
        *,
        max_workers: int | None = None,
        slow: float = 0.2,
        leave_after: int | None = None,
    ) -> None:
        self.world = world
        self.source = source
        self.kind = kind
        self.storage = source.storage
        self.max_workers = max_workers
        self.slow = slow
        self.leave_after = leave_after
        #: Whether somebody asked for an early end without an error.
        self.stopped = False
        #: Whether this caller may be hit by KeyboardInterrupt.
        self.may_be_interrupted = False
        self.error: BaseException | None = None
        self.ended_well = False
        self.delivered: dict[int, bytes] = {}
        self.streamer: Any = None
        self.iterator: Iterator[Any] | None = None
        self.on_block: Callable[[], object] = lambda: None
        self.storage.keeps_books = kind in ("stream", "iterate")

    def __call__(self) -> None:
        """Take the bytes, and judge."""
        try:
            getattr(self, "_" + self.kind)()
            self.ended_well = True
        except BaseException as error:
            # Its frames would keep alive what is ended when it is dropped.
            interrupted = isinstance(error, KeyboardInterrupt)
            self.error = error.with_traceback(None) if interrupted else error
            if interrupted:
                # Struck in its own loop, a caller must drop the iterator, or its downloads go on.
                self.iterator = None
        self._judge()

    # --- the ways --------------------------------------------------------------------------------------

    def _stream(self) -> None:
        module = self.world.library.module("_readers.stream")
        self.streamer = module.Streamer(self.source, 0, self.storage.size, self.max_workers)
        if self.stopped:
            self.streamer.stop()
        iterator = self.iterator = self.streamer.start()
        offset = 0
        for block in iterator:
            self._take(block.offset, block.data)
            self._expect(block.offset == offset, f"{block.offset} came where {offset} is next")
            offset += block.length
            del block
            if self._leaves():
                iterator.close()
                return

    def _iterate(self) -> None:
        module = self.world.library.module("_readers.stream")
        iterator = self.iterator = module.iterate(
            self.source, 0, self.storage.size, self.max_workers
        )
        for block in iterator:
            self._take(block.offset, block.data)
            del block
            if self._leaves():
                iterator.close()
                return

    def _futures(self) -> None:
        futures = self.start_futures()
        for future in futures:
            block = future.result()
            self._take(block.offset, block.data)

    def start_futures(self) -> list[Any]:
        """Return the futures of all blocks, which are under way."""
        source = self.source
        transfer = source.transfer(
            source.pieces(0, self.storage.size, whole=True, part_size=None),
            source.block,
            max_workers=self.max_workers,
            bounded=False,
            shared=True,
        )
        try:
            source.engine.start(transfer)
            futures = [job.future for job in transfer.take_admitted()]
        except BaseException:
            source.engine.cancel(transfer)
            raise
        count = len(self.storage.metadata.chunks)
        self._expect(len(futures) == count, f"{len(futures)} futures of {count}")
        self.world.futures += futures
        return futures

    def _ranges(self) -> None:
        module = self.world.library.module("_readers.multi_range")
        size = self.storage.size
        spans = [(0, size // 2), (size // 2, size)]
        reader = module.MultiRangeReader(self.source, spans)
        fail_fast = self.world.rng.random() < 0.5
        error = None
        for (start, stop), data in zip(spans, reader.read(fail_fast=fail_fast)):
            if isinstance(data, DirectIOError):
                error = data
            elif start < stop:
                self._take(start, data)
        if error is not None:
            raise error

    def _drain(self) -> None:
        """As a download to a path does: workers write, and none may once the file is closed."""
        library, source = self.world.library, self.source
        engine = source.engine
        closed = False
        written: dict[int, bytes] = {}

        def work(piece: Any, scope: Any) -> tuple[int, int]:
            data = source.storage.fetch(source.block_list, piece, scope).data
            scope.check()
            self.world.pause(0.3)  # A write to a disk takes its time, and is not cut off.
            self.world.scheduler.point()
            self._expect(not closed, "a worker wrote to a closed file")
            written[piece.offset] = data
            return piece.offset, len(data)

        transfer = source.transfer(
            source.pieces(0, self.storage.size, whole=True),
            work,
            ordered=False,
            max_workers=self.max_workers,
            keep=False,
        )
        count = 0
        try:
            engine.start(transfer)
            for job in library.iteration.as_completed(engine, transfer):
                offset, length = job.future.result()
                self._expect(offset in written, "a job ended before it wrote")
                count += length
                self._leaves()
        finally:
            engine.drain(transfer)
            closed = True
        self._expect(count == self.storage.size, f"{count} of {self.storage.size} bytes were told")
        for offset, data in written.items():
            self._take(offset, data)

    # --- judging ---------------------------------------------------------------------------------------

    def _take(self, offset: int, data: bytes) -> None:
        self._expect(offset not in self.delivered, f"the block at {offset} came twice")
        self.delivered[offset] = bytes(data)

    def _leaves(self) -> bool:
        """Pause, perhaps; give the last block back. Return whether to leave the loop."""
        self.on_block()
        self.world.pause(self.slow)
        if self.delivered:
            self.storage.release(next(reversed(self.delivered)))
        if self.leave_after is not None and len(self.delivered) > self.leave_after:
            self.stopped = True
            return True
        return False

    def _expect(self, condition: object, text: str) -> None:
        self.world.expect(condition, f"{self.kind}: {text}")

    def _judge(self) -> None:
        for offset, data in self.delivered.items():
            expected = self.storage.data[offset : offset + len(data)]
            self._expect(data == expected, f"wrong bytes at {offset}")
        total = sum(map(len, self.delivered.values()))
        if self.ended_well:
            is_whole = total == self.storage.size
            self._expect(is_whole or self.stopped, f"a clean end after {total} bytes")
            return
        self._expect(self._is_due(self.error), f"{type(self.error).__name__}: {self.error}")

    def _is_due(self, error: BaseException | None) -> bool:
        """Return whether something that happened in the run explains an error."""
        if isinstance(error, KeyboardInterrupt):
            return self.may_be_interrupted and self.world.struck
        library = self.world.library
        if isinstance(error, library.package.futures.CancelledError):
            return self.world.closing or self.stopped
        # A download tells its caller of these by an error of its own.
        if self.kind == "drain" and isinstance(error, library.cancellation.Cancelled):
            return self.world.closing or self.stopped
        if isinstance(error, DirectIOError):
            if error.errno == errno.ECANCELED:
                return self.world.closing or self.stopped
            if error.errno == errno.EAGAIN:
                return self.world.scarce
            return self.storage.failed
        if isinstance(error, RuntimeError):
            return self.world.forked and "forked" in str(error)
        return self.world.closing and "closed" in str(error) and isinstance(error, ValueError)
