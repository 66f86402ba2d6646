"""One file as the ways in see it: its listing, and how its pieces become blocks."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable, Optional, TypeVar, Union

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
    """A file that was listed, the storage to fetch it from and the engine to do it on.

    ``memory``: bytes that one transfer may hold. ``file_id`` is what blocks and errors name.
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
        part_size: Optional[int] = PART_SIZE,
    ) -> Iterator[Piece]:
        """What to fetch for bytes ``start`` to ``stop`` (excluded), trimmed to them unless ``whole``.

        Plaintext objects go in parts of ``part_size``; None for blocks as they are listed.
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
    ) -> tuple[Union[bytes, memoryview], int]:
        """One piece, in ``buffer``'s memory where possible, and its CRC32C. As :meth:`Storage.fetch`."""
        data, crc32c = self.storage.fetch(self.block_list, piece, scope, buffer)
        assert crc32c is not None
        return data, crc32c

    def transfer(
        self,
        wanted: Iterator[Piece],
        work: Callable[[Piece, CancelScope], T],
        *,
        ordered: bool = True,
        priority: int = BULK,
        max_workers: Optional[int] = None,
        bounded: bool = True,
        keep: bool = True,
        shared: bool = False,
    ) -> Transfer[T]:
        """Make a transfer that is not started yet.

        Args:
            wanted: The pieces.
            work: What to do with each.
            ordered: Whether the jobs are taken in file order, not as they end.
            priority: STREAM or BULK.
            max_workers: The most jobs at once. None leaves it to the engine.
            bounded: Whether to stay within `memory`.
            keep: Whether a result counts until it is consumed.
                Otherwise its bytes are gone when `work` returns.
            shared: Whether the user gets the futures.

        Returns:
            The transfer.
        """
        return Transfer(
            wanted,
            work,
            ordered=ordered,
            shared=shared,
            priority=priority,
            max_workers=max_workers,
            memory=self.memory if bounded else None,
            working_bytes=_length if self.metadata.plaintext else _with_object,
            result_bytes=_length if keep else _nothing,
            notify=self._notify if self.observer.active else None,
            file_id=self.file_id,
        )

    def _notify(self, name: str, piece: Piece, detail: str) -> None:
        self.observer.emit(name, self.file_id, piece.chunk, piece.length, detail)


def _length(piece: Piece) -> int:
    return piece.length


def _with_object(piece: Piece) -> int:
    """Bytes held while a piece is under way: the stored object beside the plaintext of its block.

    A quarter more is what the allocator was measured to hold back for each thread.
    """
    length = piece.chunk.length
    return 2 * length + length // 4


def _nothing(piece: Piece) -> int:
    return 0
