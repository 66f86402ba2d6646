"""Event loops for tests: coroutines run to their end, warnings are errors, and idle ticks are counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

__all__ = ["Ticks", "run", "until"]

T = TypeVar("T")

#: Seconds that a test waits for what must happen.
PATIENCE = 20


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new loop in debug mode. What the loop would only log fails the test."""
    told: list[dict[str, Any]] = []

    async def main() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        return await asyncio.wait_for(work, 60)

    result = asyncio.run(main(), debug=True)
    assert told == []
    return result


async def until(condition: Any) -> None:
    """Wait until a condition holds, and let the loop run meanwhile."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen"
        await asyncio.sleep(0.001)


class Ticks:
    """Counts how often the loop runs a task that does nothing else."""

    def __init__(self) -> None:
        self.count = 0

    async def _tick(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def counted(self) -> AsyncIterator[Ticks]:
        """Tick as long as the context lasts."""
        task = asyncio.ensure_future(self._tick())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
