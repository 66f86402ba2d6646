"""Second requests that begin late, one after the other, or not at all: without sockets."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ctera_direct_sync._base import worker_pool
from ctera_direct_sync._base.cancellation import Cancelled, CancelScope, Race
from ctera_direct_sync._net import hedging
from ctera_direct_sync._net.errors import TransportError
from ctera_direct_sync._net.hedging import Hedging

#: Far more than any of these steps takes.
SOON_S = 20.0
ORIGIN = "http://storage.test"

_caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller")


@pytest.fixture
def track() -> Iterator[Hedging]:
    """Hedging with a budget, whose watcher runs and looks at nothing."""
    made = Hedging(1.0, 1000)
    made.samples.extend([(ORIGIN, 0.0, 0.001, 0.001, 0, False, False)] * 10)
    made.start()
    while not made.is_asleep:
        time.sleep(0.001)
    yield made
    made.close()


def run(race: Race[Any], ask: Any) -> tuple[threading.Thread, list[Any]]:
    """Run a race on a thread of its own, and return that thread and the list of its outcome."""
    found: list[Any] = []

    def call() -> None:
        try:
            found.append(race.run(ask))
        except (TransportError, Cancelled) as error:
            found.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, found


def test_a_failure_waits_for_no_twin_without_a_thread(
    track: Hedging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system gives no thread for the twin: the first request's error ends the call at once."""

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(worker_pool.WorkerPool, "_start", refuse)
    call = CancelScope()
    race: Race[Any] = Race(call, track, lambda twin, reason: "twin", 1)

    def ask(scope: Any) -> None:
        track._send(race, "late")
        raise TransportError("connection", "it failed")

    thread, found = run(race, ask)
    thread.join(SOON_S)
    is_stuck = thread.is_alive()
    call.cancel()
    thread.join()
    assert not is_stuck
    assert isinstance(found[0], TransportError)
    assert not track._running


def test_a_failure_waits_for_no_twin_that_has_not_begun(track: Hedging) -> None:
    """All threads are busy with other twins: the twin is withdrawn, and asks for nothing later."""
    release, asked = threading.Event(), []
    busy = [track._parts[0].pool.submit(release.wait) for _ in range(hedging._MAX_TWINS)]
    call = CancelScope()
    race: Race[Any] = Race(call, track, lambda twin, reason: asked.append(1), 1)

    def ask(scope: Any) -> None:
        track._send(race, "late")
        raise TransportError("connection", "it failed")

    thread, found = run(race, ask)
    thread.join(SOON_S)
    is_stuck = thread.is_alive()
    call.cancel()
    release.set()
    thread.join()
    for each in busy:
        each.result()
    assert not is_stuck
    assert isinstance(found[0], TransportError)
    track.close()
    assert not asked
    assert not track._running


def test_a_twin_takes_the_place_of_one_that_has_not_ended(track: Hedging) -> None:
    """The twin before may still be in the context of the call. The next one asks all the same."""
    inside, release = threading.Event(), threading.Event()
    callers: list[str] = []

    def ask_again(twin: Any, reason: str) -> str:
        callers.append(_caller.get())
        if reason == "first":
            inside.set()
            release.wait(SOON_S)
            raise Cancelled
        return "second"

    def ask(scope: Any) -> str:
        track._send(race, "first")
        assert inside.wait(SOON_S)
        track._send(race, "second")
        shut = threading.Event()
        scope.attach(shut.set)
        shut.wait(SOON_S / 4)
        scope.detach()
        scope.check()
        return "own"

    _caller.set("the caller")
    race: Race[Any] = Race(CancelScope(), track, ask_again, 1)
    try:
        assert race.run(ask) == "second"
    finally:
        release.set()
    assert callers == ["the caller"] * 2


def test_a_forked_child_waits_for_no_twin_of_its_parent(track: Hedging) -> None:
    """A hook forks amid a request, which then fails in the child: no thread works for its twin there."""
    inside, release = threading.Event(), threading.Event()

    def ask_again(twin: Any, reason: str) -> None:
        inside.set()
        release.wait(SOON_S)

    call, parts = CancelScope(), track._parts[0]
    race: Race[Any] = Race(call, track, ask_again, 1)

    def ask(scope: Any) -> None:
        track._send(race, "late")
        assert inside.wait(SOON_S)
        track.start_over()
        raise TransportError("connection", "it failed")

    thread, found = run(race, ask)
    thread.join(SOON_S / 4)
    is_stuck = thread.is_alive()
    call.cancel()
    release.set()
    thread.join()
    parts.closed.open()
    for pool in (parts.watcher, parts.pool):
        parts.bell.put(None)
        pool.shutdown()
    assert not is_stuck
    assert isinstance(found[0], TransportError)


def test_an_interrupted_start_is_not_repeated_at_each_request() -> None:
    """An interrupt may strike between the parts and the watcher. Requests do not make parts for ever."""
    made = Hedging(1.0, 1000)
    made.samples.extend([(ORIGIN, 0.0, 0.001, 0.001, 0, False, False)] * 10)
    made._parts.append(hedging._Parts())
    for _ in range(3):
        Race(CancelScope(), made, lambda twin, reason: None, 1).run(lambda scope: None)
    assert len(made._parts) == 1
    made.close()
