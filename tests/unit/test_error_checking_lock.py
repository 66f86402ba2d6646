"""The lock that signal handlers and finalizers may find taken by their own thread."""

from __future__ import annotations

import threading

import pytest

from ctera_direct_sync._readers.error_checking_lock import ErrorCheckingLock


@pytest.fixture
def lock() -> ErrorCheckingLock:
    """A lock whose refusal is known."""
    return ErrorCheckingLock("refused")


def test_result_and_arguments(lock: ErrorCheckingLock) -> None:
    """`run` passes its arguments on, and returns the result."""
    assert lock.run(divmod, 7, 2) == (3, 1)


def test_nested_call_is_refused(lock: ErrorCheckingLock) -> None:
    """A call from within another one raises, and the lock works afterwards."""
    with pytest.raises(RuntimeError, match="refused"):
        lock.run(lock.run, divmod, 7, 2)
    assert lock.run(divmod, 7, 2) == (3, 1)


def test_nested_call_of_another_lock_is_accepted(lock: ErrorCheckingLock) -> None:
    """Two locks do not take each other for themselves."""
    other = ErrorCheckingLock("refused")
    assert lock.run(other.run, divmod, 7, 2) == (3, 1)


def test_interrupted_call_releases_the_lock(lock: ErrorCheckingLock) -> None:
    """An exception of any kind leaves the lock free."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lock.run(interrupted)
    assert lock.run(divmod, 7, 2) == (3, 1)


def test_threads_wait_for_each_other(lock: ErrorCheckingLock) -> None:
    """A call of another thread is not refused: it waits until the first call has ended."""
    is_inside, may_end = threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        is_inside.set()
        assert may_end.wait(30)
        order.append("first")

    threads = [threading.Thread(target=lock.run, args=(first,))]
    threads[0].start()
    assert is_inside.wait(30)
    threads.append(threading.Thread(target=lock.run, args=(order.append, "second")))
    threads[1].start()
    may_end.set()
    for thread in threads:
        thread.join()
    assert order == ["first", "second"]


def test_deferred_call_runs_at_once_if_the_lock_is_free(lock: ErrorCheckingLock) -> None:
    """Without a holder, `defer` does not put the call off."""
    done: list[int] = []
    lock.defer(lambda: done.append(1))
    assert done == [1]


def test_deferred_call_of_the_holder_runs_after_its_call(lock: ErrorCheckingLock) -> None:
    """A finalizer amid a call does not wait: its own call runs as soon as the lock is free."""
    done: list[str] = []

    def call() -> None:
        lock.defer(lambda: done.append("deferred"))
        done.append("call")

    lock.run(call)
    assert done == ["call", "deferred"]


def test_deferred_call_of_another_thread_does_not_wait(lock: ErrorCheckingLock) -> None:
    """`defer` returns while another thread has the lock, whose holder then runs the call."""
    done: list[str] = []

    def call() -> None:
        thread = threading.Thread(target=lock.defer, args=(lambda: done.append("deferred"),))
        thread.start()
        thread.join()
        done.append("call")

    lock.run(call)
    assert done == ["call", "deferred"]


def test_interrupted_deferred_call_is_not_lost(lock: ErrorCheckingLock) -> None:
    """A deferred call that an exception ends runs again before the next call."""
    done: list[str] = []
    interrupts = [KeyboardInterrupt()]

    def deferred() -> None:
        if interrupts:
            raise interrupts.pop()
        done.append("deferred")

    with pytest.raises(KeyboardInterrupt):
        lock.defer(deferred)
    lock.run(done.append, "call")
    assert done == ["deferred", "call"]


def test_call_from_within_a_deferred_one_is_refused(lock: ErrorCheckingLock) -> None:
    """A signal handler amid a deferred call is told so, instead of waiting for its own thread."""

    def attempt() -> None:
        refused: list[bool] = []

        def deferred() -> None:
            with pytest.raises(RuntimeError, match="refused"):
                lock.run(divmod, 7, 2)
            refused.append(True)

        lock.defer(deferred)
        assert refused
        finished.append(True)

    finished: list[bool] = []
    # A daemon thread, since it would wait for ever without the refusal.
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(30)
    assert finished
