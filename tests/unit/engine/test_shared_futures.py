"""The futures that users get are futures as the standard library has them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    TimeoutError,
    as_completed,
    wait,
)

import pytest

from ctera_direct_sync._engine.engine import Engine
from ctera_direct_sync._engine.transfer import SharedFuture
from tests.support.engines import PATIENCE, Held, futures, open_engine, position, shared


@pytest.fixture
def made() -> Iterator[Engine]:
    """An engine of one worker."""
    with open_engine(1) as each:
        yield each


@pytest.mark.parametrize("timeout", [0, 0.01, -1])
def test_result_that_is_not_there_in_time(made: Engine, timeout: float) -> None:
    """A wait that is too short is a TimeoutError, and the result comes none the less."""
    held = Held()
    first, second = futures(made, shared(2, held))
    held.await_inside(1)
    for future in (first, second):
        for wait_for in (future.result, future.exception):
            with pytest.raises(TimeoutError):
                wait_for(timeout)
    held.opened.set()
    assert [first.result(PATIENCE), second.result(PATIENCE)] == [0, 1]
    assert first.exception(0) is None


def test_waits_that_are_too_short(made: Engine) -> None:
    """`wait` and `as_completed` with a timeout see what is done so far."""
    held = Held()
    found = futures(made, shared(2, held))
    held.await_inside(1)
    assert wait(found, timeout=0.01).done == set()
    with pytest.raises(TimeoutError):
        next(as_completed(found, timeout=0.01))
    held.opened.set()
    assert wait(found, PATIENCE, FIRST_COMPLETED).done
    assert {future.result() for future in as_completed(found, PATIENCE)} == {0, 1}


def test_a_cancelled_future_wakes_who_waits(made: Engine) -> None:
    """Future.cancel ends a result() that another thread is in."""
    held = Held()
    _, second = futures(made, shared(2, held))
    held.await_inside(1)
    ended: Future[object] = Future()
    second.add_done_callback(lambda future: ended.set_result(future.cancelled()))
    assert second.cancel()
    assert ended.result(PATIENCE) is True
    with pytest.raises(CancelledError):
        second.result(0)
    held.opened.set()


def test_asyncio_takes_them(made: Engine) -> None:
    """`asyncio.wrap_future` awaits them."""

    async def gather() -> list[int]:
        wrapped = [asyncio.wrap_future(each) for each in futures(made, shared(3, position))]
        return list(await asyncio.gather(*wrapped))

    assert asyncio.run(gather()) == [0, 1, 2]


def test_callback_that_waits_for_one_who_waits() -> None:
    """A thread that waits for a result has it before the callbacks run, as with the standard library."""
    done: list[bool] = []
    with open_engine(1) as made:
        held = Held()
        (future,) = futures(made, shared(1, held))
        held.await_inside(1)
        other = threading.Thread(target=future.result)
        other.start()

        def wait_for_other(_: object) -> None:
            other.join(PATIENCE)
            done.append(not other.is_alive())

        future.add_done_callback(wait_for_other)
        held.opened.set()
        future.result(PATIENCE)
    assert done == [True]


def test_future_that_was_cancelled_before_a_fork() -> None:
    """In the child, a future whose cancellation everybody was told of stays as it is."""
    future = SharedFuture()
    assert future.cancel() and not future.set_running_or_notify_cancel()
    future.abandon(RuntimeError("not used"))
    assert future.cancelled() and future.done()
    with pytest.raises(CancelledError):
        future.result(0)
