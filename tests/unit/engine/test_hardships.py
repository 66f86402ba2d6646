"""The engine when code of the user's, the system, or a step of its own goes wrong."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from typing import Any, Callable

import pytest

from ctera_direct_sync._base.cancellation import Cancelled, Gate
from ctera_direct_sync._base.worker_pool import WorkerPool
from ctera_direct_sync._engine import engine as engine_module
from ctera_direct_sync._engine.engine import ClientClosed
from ctera_direct_sync._engine.iteration import as_completed, in_order
from ctera_direct_sync._engine.scheduler import Scheduler
from ctera_direct_sync._engine.transfer import Transfer
from tests.support.engines import (
    PATIENCE,
    CutOff,
    Held,
    futures,
    open_engine,
    pieces,
    position,
    shared,
    transfer,
)
from tests.support.interrupts import at_statement, interrupt


def aside(call: Callable[[], Any]) -> Future[Any]:
    """The future of a call on a thread of its own."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def engine_threads() -> list[threading.Thread]:
    """The threads of engines."""
    return [each for each in threading.enumerate() if each.name.startswith("ctera-direct")]


# --- closing ---------------------------------------------------------------------------------------------


def test_close_while_the_only_thread_is_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread is idle, close() itself cuts off what stalls the others."""
    monkeypatch.setattr(engine_module, "_MAX_THREADS", 1)
    with open_engine(4) as made:
        held = Held()
        found = futures(made, shared(3, held))
        held.await_inside(1)
        assert aside(made.close).result(PATIENCE / 2) is None
        assert wait(found, PATIENCE).not_done == set()
    assert held.most == 1


def test_close_in_a_callback_ends_all_threads() -> None:
    """A close() on a worker waits for no thread, and all of them end."""
    with open_engine(2) as made:
        held = Held()
        found = futures(made, shared(2, held, max_workers=2))
        held.await_inside(2)
        threads = engine_threads()
        found[0].add_done_callback(lambda _: made.close())
        held.opened.set()
        wait(found, PATIENCE)
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.mark.parametrize("used", [False, True])
def test_close_amid_a_start(monkeypatch: pytest.MonkeyPatch, used: bool) -> None:
    """A transfer that comes after the threads have gone is refused, and its caller can drain it."""
    with open_engine(2) as made:
        if used:
            assert [each.result(PATIENCE) for each in futures(made, shared(2, position))] == [0, 1]
        late = transfer(3, position)
        monkeypatch.setattr(late, "announce", made.close)
        with pytest.raises(ClientClosed):
            made.start(late)
        assert aside(lambda: made.drain(late)).result(PATIENCE / 2) is None


def test_interrupt_right_after_the_first_thread_was_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The caller could not note the thread: it is used and ended none the less."""
    start_thread = WorkerPool.start_thread

    def start_and_strike(pool: WorkerPool, call: Any) -> None:
        start_thread(pool, call)
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    with open_engine(2) as made:
        monkeypatch.setattr(WorkerPool, "start_thread", start_and_strike)
        struck = transfer(3, position)
        with pytest.raises(KeyboardInterrupt):
            made.start(struck)
        monkeypatch.undo()
        assert aside(lambda: made.drain(struck)).result(PATIENCE / 2) is None
        assert [each.result(PATIENCE) for each in futures(made, shared(2, position))] == [0, 1]
        assert aside(made.close).result(PATIENCE / 2) is None
        assert engine_threads() == []


# --- code of the user's ----------------------------------------------------------------------------------


class _Raising(logging.Handler):
    """A log handler that ends the thread that logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Raise."""
        raise SystemExit(record.getMessage())


@pytest.fixture
def raising_log() -> Iterator[None]:
    """Loggers of the package and of the standard library whose handler raises."""
    loggers = [logging.getLogger(name) for name in ("ctera_direct_sync", "concurrent.futures")]
    handler = _Raising()
    for logger in loggers:
        logger.addHandler(handler)
    yield
    for logger in loggers:
        logger.removeHandler(handler)


@pytest.mark.parametrize("raised", [ValueError, SystemExit, GeneratorExit])
def test_callback_and_log_handler_raise(raising_log: None, raised: type[BaseException]) -> None:
    """A callback raises, and so does what logs it: no block and no worker is lost."""

    def call_back(_: Any) -> None:
        raise raised

    with open_engine(2) as made:
        held = Held()
        found = futures(made, shared(4, held, max_workers=1))
        for future in found:
            future.add_done_callback(call_back)
        held.opened.set()
        assert [future.result(PATIENCE) for future in found] == [0, 1, 2, 3]
        assert [each.result(PATIENCE) for each in futures(made, shared(2, position))] == [0, 1]


@pytest.mark.parametrize("ordered", [True, False])
def test_notices_raise(raising_log: None, ordered: bool) -> None:
    """What hears of events raises on workers: the block fails at most, and all others come."""
    caller = threading.current_thread()

    def tell(name: str, piece: Any, detail: str) -> None:
        if threading.current_thread() is not caller:
            raise SystemExit(name)

    with open_engine(2) as made:
        noticed: Transfer[Any] = Transfer(
            pieces(1, 1, 1), position, ordered=ordered, memory=1, notify=tell
        )
        made.start(noticed)
        jobs = in_order(made, noticed) if ordered else as_completed(made, noticed)
        for job in jobs:
            with pytest.raises(SystemExit):
                job.future.result()
        assert [each.result(PATIENCE) for each in futures(made, shared(2, position))] == [0, 1]


def test_queued_is_told_before_started() -> None:
    """Events of a piece come in their order, also where a consumer's step let it in."""
    told: list[tuple[str, int]] = []

    def tell(name: str, piece: Any, detail: str) -> None:
        told.append((name, piece.block))

    with open_engine(2) as made:
        noticed: Transfer[Any] = Transfer(pieces(1, 1, 1), position, memory=1, notify=tell)
        made.start(noticed)
        assert [job.future.result() for job in in_order(made, noticed)] == [0, 1, 2]
    assert told == [(name, number) for number in range(3) for name in ("queued", "started")]


# --- steps of its own ------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["add", "take", "finish", "has_runnable"])
@pytest.mark.parametrize("ordered", [True, False])
def test_failure_of_the_engine_itself(
    monkeypatch: pytest.MonkeyPatch, step: str, ordered: bool
) -> None:
    """No consumer waits for ever: each gets an error, and close() and drain() return."""
    with open_engine(2) as made:
        held = Held()
        running = transfer(4, held, ordered=ordered)
        made.start(running)
        held.await_inside(1)
        found = futures(made, shared(4, held))
        jobs = in_order(made, running) if ordered else as_completed(made, running)
        consuming = aside(lambda: [job.future.result() for job in jobs])

        def fail(*_: Any) -> Any:
            raise MemoryError(step)

        monkeypatch.setattr(Scheduler, step, fail)
        held.opened.set()
        another = transfer(1, position)
        with contextlib.suppress(ClientClosed):
            made.start(another)
        error = consuming.exception(PATIENCE)
        if error is None:
            assert sorted(consuming.result()) == [0, 1, 2, 3]
        else:
            assert isinstance(error, (RuntimeError, Cancelled, CancelledError, CutOff))
        assert not wait(found, PATIENCE).not_done
        assert aside(lambda: made.drain(running)).result(PATIENCE) is None
        assert aside(lambda: made.drain(another)).result(PATIENCE) is None
        assert aside(made.close).result(PATIENCE) is None


@pytest.mark.parametrize("ordered", [True, False])
def test_pieces_that_cannot_be_listed(ordered: bool) -> None:
    """The consumer gets what was raised, after the blocks before; the client goes on."""

    def listed() -> Any:
        yield from pieces(1, 1)
        raise MemoryError("of the listing")

    with open_engine(2) as made:
        short: Transfer[Any] = Transfer(listed(), position, ordered=ordered, memory=1)
        made.start(short)
        jobs = in_order(made, short) if ordered else as_completed(made, short)
        got: list[int] = []
        with pytest.raises(MemoryError, match="of the listing"):
            got.extend(job.future.result() for job in jobs)
        assert got == [0, 1]
        assert [each.result(PATIENCE) for each in futures(made, shared(2, position))] == [0, 1]


def test_interrupted_wait_at_a_gate() -> None:
    """An interrupt in one thread that waits takes no token from another one."""
    for number in range(1, 20):
        gate = Gate()
        other = aside(gate.wait)
        gate.open()
        gate.is_open = False  # As this thread saw it just before.

        def strike(gate: Gate = gate) -> None:
            gate.is_open = True
            interrupt()

        with contextlib.suppress(KeyboardInterrupt), at_statement(number, strike):
            gate.wait_for(0)
        gate.is_open = True
        assert other.result(PATIENCE) is None


# --- threads ---------------------------------------------------------------------------------------------


def test_pool_has_no_more_threads_than_it_may() -> None:
    """However fast tasks come, no more of them run at once than the pool may have threads."""
    pool = WorkerPool(2)
    inside, leave = threading.Semaphore(0), threading.Event()

    def work() -> bool:
        inside.release()
        return leave.wait(PATIENCE)

    found = [pool.submit(work) for _ in range(50)]
    for _ in range(2):
        assert inside.acquire(timeout=PATIENCE)
    assert not inside.acquire(timeout=0.2)
    leave.set()
    assert all(future.result(PATIENCE) for future in found)
    pool.shutdown()


def test_engine_has_no_more_threads_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that ask for more workers than a client may have threads get as many as there are."""
    monkeypatch.setattr(engine_module, "_MAX_THREADS", 3)
    with open_engine(2) as made:
        held = Held()
        found = futures(made, shared(20, held, max_workers=20))
        held.await_inside(3)
        assert len(engine_threads()) == 3
        held.opened.set()
        assert sorted(future.result(PATIENCE) for future in found) == list(range(20))
