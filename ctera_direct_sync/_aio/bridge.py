"""Blocking work on threads, for consumers on an asyncio event loop.

A thread here only waits: the client's own threads fetch and decode the blocks. It tells the event loop of
each step by `call_soon_threadsafe`, and never waits for the loop. So a loop that is closed, or that never
runs again, holds no thread up.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections import deque
from collections.abc import Iterator
from typing import Callable, TypeVar

from .._base.sync import Lock, Thread
from ..types import Block

__all__ = ["BlockPump", "Stopper", "run_on_thread", "tell_loop"]

T = TypeVar("T")

#: Bytes of finished blocks that wait for the consumer. A larger block waits alone. With small blocks, one
#: switch between the threads brings several.
_AHEAD_BYTES = 1024 * 1024

_THREAD_NAME = "ctera-direct-aio"


class Stopper:
    """Cuts off the work that is under way, by a function that the work itself gives."""

    def __init__(self) -> None:
        self._cancel: Callable[[], object] | None = None
        self._is_stopped = False

    def cancel_by(self, cancel: Callable[[], object]) -> None:
        """Take the function that cuts the work off from now on. It is called at once after `stop`."""
        self._cancel = cancel
        # `stop` sets the flag before it reads the function. So at least one of the two calls it.
        if self._is_stopped:
            cancel()

    def stop(self) -> None:
        """Cut the work off. Any thread may call it, also a finalizer."""
        self._is_stopped = True
        if self._cancel is not None:
            self._cancel()


class BlockPump:
    """Iterates over blocks on a thread, a little ahead of one consumer on an event loop.

    The thread runs only while there is room for blocks. A consumer that pauses occupies none.

    Args:
        begin: Returns the iterator. It is called on the thread.
        stop: Ends the iteration soon. Any thread may call it, also a finalizer.
    """

    def __init__(self, begin: Callable[[], Iterator[Block]], stop: Callable[[], object]) -> None:
        self._begin = begin
        self._stop = stop
        # Held for a few statements only, by the thread of the loop as well.
        self._lock = Lock()
        self._iterator: Iterator[Block] | None = None
        self._blocks: deque[Block] = deque()
        self._nbytes = 0
        self._is_running = False
        self._has_ended = False
        self._error: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] = []

    async def take(self) -> Block | None:
        """Return the next block, or None after the last one. Raise what the iterator raised."""
        await self._await_block()
        with self._lock:
            error, block = None, None
            if self._blocks:
                block = self._blocks.popleft()
                self._nbytes -= len(block.data)
            else:
                error, self._error = self._error, None
            # The next blocks are fetched while the consumer works on this one.
            wants_thread = self._claim_thread(self._nbytes < _AHEAD_BYTES)
        if wants_thread:
            self._start_thread()
        if error is None:
            return block
        try:
            raise error
        finally:
            del error  # Its traceback holds this frame.

    async def _await_block(self) -> None:
        """Wait until a block is there, or the end."""
        is_first = True
        while True:
            with self._lock:
                if self._blocks or self._has_ended:
                    break
                waiter = self._add_waiter()
                wants_thread = self._claim_thread(True)
            if wants_thread:
                self._start_thread()
            await waiter
            is_first = False
        if is_first:
            # A loop over blocks that are all there must let other tasks run, too.
            await asyncio.sleep(0)

    def stop(self) -> None:
        """Stop the downloads, and wait for nothing. It takes no lock, so a finalizer may call it."""
        self._stop()

    async def close(self) -> None:
        """Stop the downloads, and wait until the thread has ended. A consumer that waits is woken."""
        self._stop()
        while True:
            with self._lock:
                if not self._is_running:
                    break
                waiter = self._add_waiter()
            await waiter
        with self._lock:
            self._has_ended = True
            iterator, self._iterator = self._iterator, None
            self._blocks.clear()
            waiters = self._take_waiters()
        _wake(waiters)
        close = getattr(iterator, "close", None)
        if close is not None:
            close()

    # --- the thread ------------------------------------------------------------------------------

    def _claim_thread(self, is_wanted: bool) -> bool:
        """Return whether the caller must start the thread. It holds the lock."""
        if not is_wanted or self._is_running or self._has_ended:
            return False
        self._is_running = True
        return True

    def _start_thread(self) -> None:
        try:
            _start_thread(self._run)
        except BaseException as error:
            # The system gives no thread. The iteration cannot go on, and must not look whole.
            self._stop()
            self._end(None)
            raise error

    def _run(self) -> None:
        error = None
        try:
            if self._iterator is None:
                self._iterator = self._begin()
            for block in self._iterator:
                if not self._put(block):
                    return
                del block
        except BaseException as raised:  # noqa: BLE001 - the consumer gets it
            error = raised
        self._end(error)

    def _put(self, block: Block) -> bool:
        """Hand a block over. Return whether there is room for more."""
        with self._lock:
            self._blocks.append(block)
            self._nbytes += len(block.data)
            waiters = self._take_waiters()
            # A consumer that waits takes the block at once.
            self._is_running = has_room = bool(waiters) or self._nbytes < _AHEAD_BYTES
        _wake(waiters)
        return has_room

    def _end(self, error: BaseException | None) -> None:
        with self._lock:
            self._iterator = None
            self._error = error
            self._has_ended = True
            self._is_running = False
            waiters = self._take_waiters()
        _wake(waiters)

    # --- those that wait -------------------------------------------------------------------------

    def _add_waiter(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def _take_waiters(self) -> list[asyncio.Future[None]]:
        waiters, self._waiters = self._waiters, []
        return waiters


async def run_on_thread(work: Callable[[], T], cancel: Callable[[], object]) -> T:
    """Return what blocking work returns, which runs on a thread of its own.

    If the task is cancelled, the work is cut off, and its end is waited for, so that nothing is written
    after that. A second cancellation ends this wait as well.

    Args:
        work: The work.
        cancel: Ends the work soon. It is called on the thread of the loop.

    Returns:
        The result.

    Raises:
        Exception: What the work raised.
    """
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as raised:  # noqa: BLE001 - raised below
            errors.append(raised)
        _wake([ended])

    _start_thread(run)
    try:
        await asyncio.shield(ended)
    except asyncio.CancelledError:
        cancel()
        await asyncio.shield(ended)
        raise
    except GeneratorExit:  # The loop was closed: nothing can be waited for.
        cancel()
        raise
    if errors:
        try:
            raise errors.pop()
        finally:
            del errors, run  # The traceback holds this frame, and `run` holds the list.
    return results.pop()


def tell_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Have an event loop call a function soon. A closed loop has no task that waits for that."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call)


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        tell_loop(waiter.get_loop(), lambda waiter=waiter: _resolve(waiter))  # type: ignore[misc]


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _start_thread(run: Callable[[], object]) -> None:
    # As asyncio.to_thread, which keeps context variables for the program's hooks.
    context = contextvars.copy_context()
    Thread(target=context.run, args=(run,), name=_THREAD_NAME, daemon=True).start()
