"""The thread that iterates for a consumer on an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

from ctera_direct_sync import Block
from ctera_direct_sync._aio.bridge import BlockPump
from tests.support.loops import run

BLOCK = Block(1, 1, 0, 3, b"abc")


def test_close_waits_for_a_step_under_way() -> None:
    """After ``close`` no step of the iterator runs, however late the stop takes effect."""
    entered, go_on = threading.Event(), threading.Event()
    told: list[str] = []

    def begin() -> Iterator[Block]:
        yield BLOCK
        entered.set()
        assert go_on.wait(20)
        told.append("a step ended")

    async def read() -> None:
        pump = BlockPump(begin, lambda: told.append("stop"))
        assert await pump.take() is BLOCK
        await asyncio.to_thread(entered.wait)
        closing = asyncio.ensure_future(pump.close())
        for _ in range(100):
            await asyncio.sleep(0)
        assert told == ["stop"]
        assert not closing.done()
        go_on.set()
        await closing
        assert told == ["stop", "a step ended"]
        assert await pump.take() is None

    run(read())


def test_close_closes_an_iterator_that_rests() -> None:
    """Between two steps no thread runs. Then the iterator itself is closed."""
    told: list[str] = []

    def begin() -> Iterator[Block]:
        try:
            yield Block(1, 1, 0, 1 << 21, bytes(1 << 21))
            yield BLOCK
            yield BLOCK
        finally:
            told.append("closed")

    async def read() -> None:
        pump = BlockPump(begin, lambda: None)
        await pump.take()
        await pump.close()
        assert told == ["closed"]

    run(read())
