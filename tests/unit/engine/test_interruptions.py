"""Whatever strikes a consumer, at any of its statements, leaves the engine well."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait
from typing import Any, Callable

import pytest

from ctera_direct_sync._base.cancellation import Cancelled
from ctera_direct_sync._base.worker_pool import WorkerPool
from ctera_direct_sync._engine.engine import STREAM, ClientClosed, Engine
from ctera_direct_sync._engine.iteration import as_completed, in_order
from tests.support.engines import (
    PATIENCE,
    CutOff,
    Held,
    engine_threads,
    futures,
    open_engine,
    position,
    shared,
    transfer,
)
from tests.support.interrupts import at_statement, interrupt

#: More statements than any consumer here runs on its own thread.
MANY = 1000
#: Fewer statements than any of them runs: a test that ends below it has struck nothing.
FEW = 20
COUNT = 6


def consume_in_order(made: Engine) -> list[int]:
    """Take a transfer's results as a stream does."""
    started = transfer(COUNT, position, memory=2, priority=STREAM)
    try:
        made.start(started)
        return [job.future.result() for job in in_order(made, started)]
    finally:
        made.cancel(started)


def consume_as_completed(made: Engine) -> list[int]:
    """Take a transfer's results as a download does."""
    started = transfer(COUNT, position, memory=2, ordered=False)
    try:
        made.start(started)
        return sorted(job.future.result() for job in as_completed(made, started))
    finally:
        made.drain(started)


def consume_futures(made: Engine) -> list[int]:
    """Take a transfer's results as a caller of blocks() does."""
    return [future.result() for future in futures(made, shared(COUNT, position))]


CONSUMERS: list[Callable[[Engine], list[int]]] = [
    consume_in_order,
    consume_as_completed,
    consume_futures,
]


def check_well(made: Engine) -> None:
    """A new call gets all of its results; close ends all threads."""
    found = futures(made, shared(3, position, max_workers=2))
    assert not wait(found, timeout=PATIENCE).not_done
    made.close()
    assert engine_threads() == []


@pytest.mark.parametrize("consume", CONSUMERS)
def test_interrupt_at_any_statement(consume):
    """After a KeyboardInterrupt other calls go on, and close returns."""
    for number in range(1, MANY):
        with open_engine(2) as made:
            made.start(transfer(1, position))
            try:
                with at_statement(number, interrupt) as statements:
                    assert consume(made) == list(range(COUNT))
            except KeyboardInterrupt:
                pass
            check_well(made)
        if statements.count < number:
            assert number > FEW
            return
    pytest.fail("the consumer has more statements than this test strikes")


@pytest.mark.parametrize("consume", CONSUMERS)
def test_close_in_a_signal_handler_at_any_statement(consume):
    """close() amid any step of the thread that it interrupts ends everything, and returns."""
    for number in range(1, MANY):
        with open_engine(2) as made:
            try:
                with at_statement(number, made.close) as statements:
                    assert consume(made) == list(range(COUNT))
            except (Cancelled, CancelledError, ClientClosed, CutOff):
                pass
            assert made.closed or statements.count < number
            made.close()
            assert engine_threads() == []
        if statements.count < number:
            assert number > FEW
            return
    pytest.fail("the consumer has more statements than this test strikes")


@pytest.mark.parametrize("consume", CONSUMERS)
def test_collector_ends_an_iteration_at_any_statement(consume):
    """A forgotten iteration that ends amid another call costs that call nothing."""
    for number in range(1, MANY):
        with open_engine(2) as made:
            started = transfer(100, position, memory=2, ordered=False)

            def forgotten(made: Engine = made, started: Any = started) -> Iterator[int]:
                try:
                    made.start(started)
                    for job in as_completed(made, started):
                        yield job.position
                finally:
                    made.cancel(started)

            iteration = forgotten()
            next(iteration)
            with at_statement(number, iteration.close) as statements:
                assert consume(made) == list(range(COUNT))
            iteration.close()
            made.drain(started)
            check_well(made)
        if statements.count < number:
            assert number > FEW
            return
    pytest.fail("the consumer has more statements than this test strikes")


def test_close_at_any_statement_of_close(monkeypatch):
    """A signal handler may close what the main thread is closing."""
    for number in range(1, MANY):
        with open_engine(2) as made:
            held = Held()
            started = transfer(4, held)
            made.start(started)
            held.await_inside(1)
            with at_statement(number, made.close) as statements:
                made.close()
            assert engine_threads() == []
        if statements.count < number:
            assert number > FEW
            return
    pytest.fail("close has more statements than this test strikes")


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_callback_that_raises_costs_no_worker(raised, caplog):
    """A done callback may raise anything: later blocks, later callbacks and other calls go on."""
    called: list[int] = []

    def fail(future: Any) -> None:
        raise raised("from a callback")

    with open_engine(2) as made:
        held = Held()
        found = futures(made, shared(3, held, max_workers=1))
        held.await_inside(1)
        for future in found:
            future.add_done_callback(fail)
            future.add_done_callback(lambda future: called.append(future.result()))
        held.opened.set()
        assert not wait(found, timeout=PATIENCE).not_done
        check_well(made)
    assert called == [0, 1, 2]
    assert "a done callback raised" in caplog.text


def test_callback_on_the_callers_thread_raises_there():
    """A callback that is added to a finished future runs at once, and its caller gets what it raises."""

    def leave(future: Any) -> None:
        raise SystemExit

    with open_engine(1) as made:
        (future,) = futures(made, shared(1, position))
        future.result(PATIENCE)
        with pytest.raises(SystemExit):
            future.add_done_callback(leave)


def test_future_whose_lock_is_left_locked_costs_no_worker(monkeypatch):
    """An interrupt in concurrent.futures can leave a future locked: the worker goes on without it."""
    monkeypatch.setattr("ctera_direct_sync._engine.engine._MAX_PUBLISH_S", 0.01)
    with open_engine(1) as made:
        held = Held()
        first, second = futures(made, shared(2, held, max_workers=1))
        held.await_inside(1)
        with first._condition:  # As if never released.
            held.opened.set()
            assert second.result(PATIENCE) == 1
            check_well(made)
        assert first.result(PATIENCE) == 0


# --- threads that cannot be started ---------------------------------------------------------------


@pytest.fixture
def few_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the system give only so many threads more."""

    def allow(count: int) -> None:
        left = [None] * count
        start = WorkerPool._start_thread

        def refuse(pool: WorkerPool, task: Any) -> None:
            if not left:
                raise RuntimeError("can't start new thread")
            left.pop()
            start(pool, task)

        monkeypatch.setattr(WorkerPool, "_start_thread", refuse)
        if not count:
            monkeypatch.setattr("ctera_direct_sync._base.worker_pool.start_new_thread", _no_thread)

    return allow


def _no_thread(*arguments: object) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("consume", CONSUMERS)
def test_fewer_threads_than_wanted(few_threads, consume, count, caplog):
    """The threads that can be started do all the work; the log says once that they are few."""
    few_threads(count)
    with open_engine(8) as made:
        for _ in range(3):
            assert consume(made) == list(range(COUNT))
        held = Held()
        found = futures(made, shared(8, held, max_workers=8))
        held.await_inside(count)
        held.opened.set()
        assert not wait(found, timeout=PATIENCE).not_done
    assert caplog.text.count("no more threads can be started") == 1


def test_fewer_threads_as_the_program_ends(few_threads, caplog):
    """The log blames no limit when threads are refused at the end, also to a call that has just begun."""
    few_threads(1)
    with open_engine(8) as made:
        made.end_transfers(0)
        assert consume_futures(made) == list(range(COUNT))
    assert not caplog.text


@pytest.mark.parametrize("consume", CONSUMERS)
def test_no_thread_at_all(few_threads, consume):
    """Without any thread the call fails at once, and says what to do."""
    few_threads(0)
    with open_engine(2) as made, pytest.raises(OSError, match="ulimit -u"):
        consume(made)


def test_drain_waits_through_interrupts(monkeypatch):
    """What a worker writes to is closed only after it: an interrupt waits for that."""
    inside, leave = threading.Event(), threading.Event()
    left: list[bool] = []

    def work(piece: Any, scope: Any) -> None:
        inside.set()
        assert leave.wait(PATIENCE)
        left.append(True)

    with open_engine(1) as made:
        started = transfer(1, work)
        made.start(started)
        assert inside.wait(PATIENCE)
        cancel, calls = made.cancel, []

        def struck(each: Any) -> None:
            cancel(each)
            calls.append(each)
            if len(calls) == 3:
                leave.set()
            else:
                raise KeyboardInterrupt

        monkeypatch.setattr(made, "cancel", struck)
        with pytest.raises(KeyboardInterrupt):
            made.drain(started)
        assert left == [True]
