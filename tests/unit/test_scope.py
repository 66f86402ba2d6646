"""Cancellation, and one answer shared by all who wait for it."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from ctera_direct_sync._base.cancellation import Cancelled, CancelScope, SingleFlight

PATIENCE = 10


def in_thread(call) -> Future:
    """The future of ``call``, running on a thread that ends with it."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def test_fresh_scope():
    """A scope that was not cancelled lets everything pass."""
    scope = CancelScope()
    scope.check()
    scope.wait(0)
    scope.attach(lambda: pytest.fail("nobody cancelled"))
    scope.detach()
    assert not scope.cancelled


def test_cancelled_scope():
    """After cancel, which may be repeated, every step raises."""
    scope = CancelScope()
    scope.cancel()
    scope.cancel()
    assert scope.cancelled
    for step in (scope.check, lambda: scope.wait(60), lambda: scope.attach(lambda: None)):
        with pytest.raises(Cancelled):
            step()


def test_cancel_wakes_a_wait():
    """A thread that waits for a retry is woken at once."""
    scope = CancelScope()
    waiting = in_thread(lambda: scope.wait(3600))
    scope.cancel()
    assert isinstance(waiting.exception(PATIENCE), Cancelled)


def test_cancel_aborts_all_attached_threads():
    """Each blocked thread's own abort is called."""
    scope = CancelScope()
    ready = threading.Barrier(5)
    released = [threading.Event() for _ in range(4)]
    calls: list[int] = []

    def block(number: int) -> None:
        scope.attach(lambda: (calls.append(number), released[number].set()))
        ready.wait(PATIENCE)
        assert released[number].wait(PATIENCE)
        scope.detach()
        scope.check()

    with ThreadPoolExecutor(4) as pool:
        blocked = [pool.submit(block, number) for number in range(4)]
        ready.wait(PATIENCE)
        scope.cancel()
        scope.cancel()
    assert set(calls) == {0, 1, 2, 3}
    assert all(isinstance(future.exception(), Cancelled) for future in blocked)


def test_a_later_attach_replaces_the_earlier():
    """A thread is blocked on one thing at a time: only the newest abort is called."""
    scope = CancelScope()
    calls: list[str] = []
    scope.attach(lambda: calls.append("first"))
    scope.attach(lambda: calls.append("second"))
    scope.cancel()
    assert calls == ["second"]


def test_detached_threads_are_left_alone():
    """What is no longer blocked is not aborted; detaching twice is fine."""
    scope = CancelScope()
    scope.attach(lambda: pytest.fail("detached"))
    scope.detach()
    scope.detach()
    scope.cancel()


def test_attach_after_cancel_registers_nothing():
    """An attach that raises leaves nothing behind to be aborted or kept alive."""
    scope = CancelScope()
    scope.cancel()

    class Socket:
        def shut(self) -> None:
            pytest.fail("the thread was told already")

    sock = Socket()
    with pytest.raises(Cancelled):
        scope.attach(sock.shut)
    scope.cancel()
    gone = weakref.ref(sock)
    del sock
    gc.collect()
    assert gone() is None


def test_abort_may_use_the_scope():
    """An abort runs without the scope's lock: it may attach and detach itself."""
    scope = CancelScope()
    scope.attach(scope.detach)
    done = in_thread(scope.cancel)
    assert done.result(PATIENCE) is None


# --- SingleFlight -------------------------------------------------------------------------------


class Flight:
    """A call that can be held in the air, and counts how often it began."""

    def __init__(self, outcome: object = None) -> None:
        self.outcome = outcome
        self.begun = threading.Event()
        self.land = threading.Event()
        self.count = 0

    def __call__(self) -> object:
        self.count += 1
        self.begun.set()
        assert self.land.wait(PATIENCE)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


class NoticedScope(CancelScope):
    """A scope that says when a thread has begun to wait for somebody else's flight."""

    def __init__(self) -> None:
        super().__init__()
        self.attached = threading.Event()

    def attach(self, abort) -> None:
        super().attach(abort)
        self.attached.set()


def followers(flights: SingleFlight, count: int, call) -> tuple[list[Future], list[NoticedScope]]:
    """Threads that wait for the flight under way, and their scopes."""
    scopes = [NoticedScope() for _ in range(count)]
    futures = [in_thread(lambda scope=scope: flights.run("key", call, scope)) for scope in scopes]
    assert all(scope.attached.wait(PATIENCE) for scope in scopes)
    return futures, scopes


def never() -> object:
    """A call that must not come while a flight is under way."""
    pytest.fail("a second call was made")


def test_one_call_for_all():
    """Eight who ask at once cost one call, and all get its result."""
    flights: SingleFlight = SingleFlight()
    flight = Flight(object())
    leader = in_thread(lambda: flights.run("key", flight, CancelScope()))
    assert flight.begun.wait(PATIENCE)
    others, _ = followers(flights, 7, never)
    flight.land.set()
    assert {id(future.result(PATIENCE)) for future in [leader, *others]} == {id(flight.outcome)}
    assert flight.count == 1


def test_one_call_however_the_race_ends():
    """Threads that start together never make two calls in flight at once."""
    flights: SingleFlight = SingleFlight()
    line, lock = threading.Barrier(8), threading.Lock()
    active, most = 0, 0

    def call() -> None:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        with lock:
            active -= 1

    def ask() -> None:
        for _ in range(50):
            line.wait(PATIENCE)
            flights.run("key", call, CancelScope())

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(ask) for _ in range(8)]:
            future.result()
    assert most == 1


def test_error_is_shared():
    """Everyone who waits gets the error of the call, each an object of its own to raise."""
    flights: SingleFlight = SingleFlight()
    flight = Flight(PermissionError("no"))
    leader = in_thread(lambda: flights.run("key", flight, CancelScope()))
    assert flight.begun.wait(PATIENCE)
    others, _ = followers(flights, 3, never)
    flight.land.set()
    errors = [future.exception(PATIENCE) for future in [leader, *others]]
    assert [(type(error), error.args) for error in errors] == [(PermissionError, ("no",))] * 4
    assert len({id(error) for error in errors}) == 4


@pytest.mark.parametrize("stop", [Cancelled(), KeyboardInterrupt()])
def test_cancelled_leader_hands_over(stop):
    """If the one who calls is cancelled or interrupted, one of those who wait calls in its stead."""
    flights: SingleFlight = SingleFlight()
    flight, second = Flight(stop), Flight("answer")
    second.land.set()
    leader = in_thread(lambda: flights.run("key", flight, CancelScope()))
    assert flight.begun.wait(PATIENCE)
    others, _ = followers(flights, 3, second)
    flight.land.set()
    assert leader.exception(PATIENCE) is stop
    assert [future.result(PATIENCE) for future in others] == ["answer"] * 3
    assert 1 <= second.count <= 3


def test_cancelled_follower_leaves_the_leader_alone():
    """Who is cancelled while waiting leaves at once; the call goes on for the others."""
    flights: SingleFlight = SingleFlight()
    flight = Flight("answer")
    leader = in_thread(lambda: flights.run("key", flight, CancelScope()))
    assert flight.begun.wait(PATIENCE)
    (cancelled, patient), (scope, _) = followers(flights, 2, never)
    scope.cancel()
    assert isinstance(cancelled.exception(PATIENCE), Cancelled)
    assert not leader.done()
    flight.land.set()
    assert [leader.result(PATIENCE), patient.result(PATIENCE)] == ["answer", "answer"]


def test_landed_flights_are_forgotten():
    """The next one to ask after an answer or an error causes a new call."""
    flights: SingleFlight = SingleFlight()
    answers = iter([1, 2])
    assert flights.run("key", lambda: next(answers), CancelScope()) == 1
    assert flights.run("key", lambda: next(answers), CancelScope()) == 2
    with pytest.raises(StopIteration):
        flights.run("key", lambda: next(answers), CancelScope())
    assert flights.run("key", lambda: 3, CancelScope()) == 3


def test_keys_fly_apart():
    """Another key does not wait."""
    flights: SingleFlight = SingleFlight()
    flight = Flight("slow")
    leader = in_thread(lambda: flights.run("key", flight, CancelScope()))
    assert flight.begun.wait(PATIENCE)
    assert flights.run("other", lambda: "quick", CancelScope()) == "quick"
    flight.land.set()
    assert leader.result(PATIENCE) == "slow"
