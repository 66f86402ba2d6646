"""One file of the portal: its block list, and how its pieces become blocks."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable, TypeVar

from .._base.buffers import PooledBuffer
from .._base.cancellation import CancelScope
from .._base.observer import Observer
from .._engine.engine import BULK, Engine, Transfer
from .._protocol.block_list import RenewableBlockList
from .._protocol.ranges import PART_SIZE, Piece, pieces
from .._protocol.storage import Storage
from ..types import Block, Metadata

__all__ = ["ListedFile"]

T = TypeVar("T")


@dataclass(frozen=True)
class ListedFile:
    """A file whose block list was fetched, and what downloads it.

    Attributes:
        engine: The engine that runs the transfers.
        storage: The object storage that has the blocks.
        block_list: The block list, which can be renewed.
        file_id: The file ID that blocks and errors name.
        memory: Bytes that one transfer may hold.
        observer: The observer that is told what happens to each block.
    """

    engine: Engine
    storage: Storage
    block_list: RenewableBlockList
    file_id: int
    memory: int
    observer: Observer

    @property
    def metadata(self) -> Metadata:
        """The newest block list."""
        return self.block_list.metadata

    def pieces(
        self,
        start: int,
        stop: int,
        *,
        whole: bool = False,
        part_size: int | None = PART_SIZE,
    ) -> Iterator[Piece]:
        """Return the pieces that cover a range of the file, in file order.

        Args:
            start: The offset of the first byte.
            stop: The offset past the last byte.
            whole: Whether to return whole pieces. Otherwise they are trimmed to the range.
            part_size: The most bytes of a piece of a plaintext object. None: blocks as listed.
        """
        parts = part_size if self.metadata.plaintext else None
        return pieces(self.metadata.chunks, start, stop, whole=whole, part_size=parts)

    @property
    def block(self) -> Callable[[Piece, CancelScope], Block]:
        """The function that fetches one piece and returns it as a block.

        It raises what `Storage.fetch` raises.
        """
        return functools.partial(self.storage.fetch_block, self.block_list, self.file_id)

    def fetch_into(
        self, buffer: PooledBuffer, piece: Piece, scope: CancelScope
    ) -> tuple[bytes | memoryview, int]:
        """Fetch one piece into a buffer.

        Args:
            buffer: The memory for the bytes. The result lies elsewhere if they do not fit into it.
            piece: The piece.
            scope: The scope that cancels the work.

        Returns:
            The bytes, and their CRC32C.

        Raises:
            Exception: As `Storage.fetch`.
        """
        data, crc32c = self.storage.fetch(self.block_list, piece, scope, buffer)
        assert crc32c is not None
        return data, crc32c

    def transfer(
        self,
        pieces_to_fetch: Iterator[Piece],
        work: Callable[[Piece, CancelScope], T],
        *,
        ordered: bool = True,
        priority: int = BULK,
        max_workers: int | None = None,
        bounded: bool = True,
        keep: bool = True,
        shared: bool = False,
    ) -> Transfer[T]:
        """Make a transfer that is not started yet.

        Args:
            pieces_to_fetch: The pieces.
            work: The function that fetches a piece.
            ordered: Whether the jobs are consumed in file order, instead of as they end.
            priority: STREAM or BULK.
            max_workers: The most jobs at once. None leaves it to the engine.
            bounded: Whether to stay within `memory`.
            keep: Whether a result is charged until it is consumed. Otherwise its bytes are gone when
                `work` returns.
            shared: Whether the user gets the futures.

        Returns:
            The transfer.
        """
        if self.observer.surround is not None:
            work = self.observer.surround(work, self.file_id)
        return Transfer(
            pieces_to_fetch,
            work,
            ordered=ordered,
            shared=shared,
            priority=priority,
            max_workers=max_workers,
            memory=self.memory if bounded else None,
            working_bytes=_length if self.metadata.plaintext else _length_with_object,
            result_bytes=_length if keep else _zero,
            notify=self._notify if self.observer.active else None,
            file_id=self.file_id,
        )

    def _notify(self, name: str, piece: Piece, detail: str) -> None:
        self.observer.emit(name, self.file_id, piece.chunk, piece.length, detail)


def _length(piece: Piece) -> int:
    return piece.length


def _length_with_object(piece: Piece) -> int:
    """Return the bytes that a piece in progress holds: its stored object beside the plaintext.

    Measurements showed that the allocator holds back a quarter more for each thread.
    """
    length = piece.chunk.length
    return 2 * length + length // 4


def _zero(piece: Piece) -> int:
    return 0
