"""The body of an ASGI response."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from ..types import Block
from .blocks import BlockIterator

if TYPE_CHECKING:
    from .._web.answer import BodyCount  # It needs werkzeug.

__all__ = ["Body"]


class Body(AsyncIterator[bytes]):
    """A text, or the bytes of blocks. It ends without an error only after all bytes that are due.

    Args:
        text: The text, which may be empty.
        blocks: The blocks that follow it.
        count: Counts them.
    """

    def __init__(
        self, text: bytes, blocks: BlockIterator | None = None, count: BodyCount | None = None
    ) -> None:
        self._text = text
        self._blocks = blocks
        self._count = count
        self._first: Block | None = None

    async def fetch_first(self) -> None:
        """Wait for the first block, so that an error until then can become a status."""
        self._first = await self._fetch()
        if self._first is None:
            assert self._count is not None
            raise self._count.ended()

    async def _fetch(self) -> Block | None:
        if self._blocks is None:
            return None
        try:
            return await self._blocks.__anext__()
        except StopAsyncIteration:
            return None

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        text, self._text = self._text, b""
        if text:
            return text
        if self._count is None:
            raise StopAsyncIteration
        block, self._first = self._first, None
        if block is None:
            block = await self._fetch()
        if not self._count.take(block):
            raise StopAsyncIteration
        assert block is not None
        return block.data

    async def aclose(self) -> None:
        """Stop the downloads, and wait until nothing of them runs any more."""
        self._first = None
        if self._blocks is not None:
            await self._blocks.aclose()

    def close(self) -> None:
        """Stop the downloads. Django calls this after each response, complete or not."""
        self._first = None
        if self._blocks is not None:
            self._blocks.close()
