"""The parts that the engine is made of, one by one: a model of a few statements meets each race soon."""

from __future__ import annotations

import contextlib
from typing import Any

from ..world import World
from .registry import model


@model
def gate(world: World) -> None:
    """All that wait at a gate pass when it opens, at once."""
    made = world.library.cancellation.Gate()
    began = world.scheduler.now
    passed: list[int] = []

    def waiter() -> None:
        made.wait()
        world.expect(made.is_open, "a closed gate was passed")
        passed.append(1)

    for number in range(2):
        world.spawn(waiter, f"waiter {number}")
    if world.rng.random() < 0.5:
        world.spawn(made.open, "opener")
    made.open()
    world.join()
    if not world.scheduler.strategy.early_timeout:
        world.expect(world.scheduler.now - began < 0.5, "a thread slept at an open gate")


@model
def interrupted_gate(world: World) -> None:
    """An interrupt of one thread at a gate takes nothing from another."""
    made = world.library.cancellation.Gate()

    def waiter() -> None:
        made.wait()

    world.spawn(waiter)
    world.spawn(made.open, "opener")

    def strike() -> None:
        raise KeyboardInterrupt

    world.strike(strike)
    with contextlib.suppress(KeyboardInterrupt):
        made.wait()
    world.disarm()
    world.join()


@model
def cancel_scope(world: World) -> None:
    """A cancel wakes a blocked thread, and never one that has gone on."""
    module = world.library.cancellation
    scope = module.CancelScope()
    early = world.scheduler.strategy.early_timeout
    event_of = world.library.package.threading.Event

    def worker() -> None:
        with contextlib.suppress(module.Cancelled):
            for _ in range(2):
                event = event_of()
                detached: list[bool] = []

                def abort(event: Any = event, detached: Any = detached) -> None:
                    # A detach waits for only a second for an abort.
                    is_late = bool(detached) and not early
                    world.expect(not is_late, "an abort came after the detach")
                    world.expect(True not in detached, "an abort came after a clean detach")
                    world.scheduler.point()
                    event.set()
                    world.scheduler.point()
                    is_late = bool(detached) and not early
                    world.expect(not is_late, "a detach returned amid an abort")

                scope.attach(abort)
                event.wait(world.rng.choice((None, None, 1e-4)))
                world.scheduler.point()
                detached.append(scope.detach())
                scope.check()

    def attaching_twice() -> None:
        """A thread that attaches anew is done with what it attached before."""
        called: list[int] = []
        with contextlib.suppress(module.Cancelled):
            scope.attach(lambda: called.append(1))
            scope.attach(lambda: called.append(2))
            count = called.count(1)
            world.scheduler.point()
            world.expect(called.count(1) == count or early, "an abort came for what is over")
            scope.detach()

    began = world.scheduler.now
    world.spawn(worker, "worker one")
    world.spawn(world.rng.choice((worker, attaching_twice)), "worker two")
    world.pause(0.5)
    scope.cancel()
    world.join()
    world.expect(early or world.scheduler.now - began < 0.5, "a thread waited for a past abort")


@model
def backoff(world: World) -> None:
    """A cancel ends a wait of the scope at once."""
    module = world.library.cancellation
    scope = module.CancelScope()
    early = world.scheduler.strategy.early_timeout

    def worker() -> None:
        with contextlib.suppress(module.Cancelled):
            scope.wait(10.0)
            world.expect(early, "a wait outlived its cancel")

    world.spawn(worker, "worker one")
    world.spawn(worker, "worker two")
    began = world.scheduler.now
    scope.cancel()
    world.join()
    if not world.scheduler.strategy.early_timeout:
        world.expect(world.scheduler.now - began < 1.0, "a cancel came late")


@model
def single_flight(world: World) -> None:
    """Callers share one call's outcome; a cancel of one of them ends that one alone."""
    module = world.library.cancellation
    flights = module.SingleFlight()
    scopes = [module.CancelScope() for _ in range(3)]
    fails = world.rng.random() < 0.3
    waits = world.rng.random() < 0.5
    calls = 0
    inside = 0

    def caller(number: int) -> None:
        scope = scopes[number]

        def call() -> int:
            nonlocal calls, inside
            calls += 1
            inside += 1
            world.expect(inside == 1, "two calls at once")
            try:
                if waits:
                    scope.wait(1e-3)
                if fails:
                    raise LookupError("injected")
                return 42
            finally:
                inside -= 1

        try:
            found = flights.run("key", call, scope)
            world.expect(found == 42, f"a caller got {found}")
        except module.Cancelled:
            world.expect(scope.cancelled, "a caller was cancelled with another one")
        except LookupError:
            world.expect(fails, "an error from nowhere")

    for number in range(world.rng.randint(2, 3)):
        world.spawn(lambda number=number: caller(number), f"caller {number}")
    if world.rng.random() < 0.7:
        world.pause(0.7)
        world.rng.choice(scopes).cancel()
    world.join()
    world.expect(not flights._flights, "a flight is left")


@model
def interrupted_flight(world: World) -> None:
    """An interrupt that strikes one caller leaves no other caller waiting."""
    module = world.library.cancellation
    flights = module.SingleFlight()
    waits = world.rng.random() < 0.5

    def caller() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            scope = module.CancelScope()

            def call() -> int:
                if waits:
                    scope.wait(1e-3)
                return 42

            found = flights.run("key", call, scope)
            world.expect(found == 42, f"a caller got {found}")
        world.disarm()

    def interrupt() -> None:
        raise KeyboardInterrupt

    tasks = [world.spawn(caller, f"caller {number}") for number in range(3)]
    world.strike(interrupt, world.rng.choice(tasks))
    world.join()
    world.expect(not flights._flights, "a flight is left")


@model
def cancel_beside_a_stuck_flight(world: World) -> None:
    """A caller that waits for another one's call is cancelled alone, at once."""
    module = world.library.cancellation
    flights = module.SingleFlight()
    scope = module.CancelScope()
    gate = module.Gate()

    def call() -> int:
        gate.wait()
        return 42

    def leader() -> None:
        world.expect(flights.run("key", call, module.CancelScope()) == 42, "another result")

    def follower() -> None:
        with contextlib.suppress(module.Cancelled):
            found = flights.run("key", lambda: 42, scope)
            world.expect(found == 42, f"a cancelled caller got {found}")

    first = world.spawn(leader)
    while not flights._flights:
        world.sleep(1e-5)
    second = world.spawn(follower)
    world.pause(0.5)
    scope.cancel()
    world.scheduler.join(second)
    world.expect(not first.done, "the leader ended")
    gate.open()
    world.join()


@model
def worker_pool(world: World) -> None:
    """Each task that a pool took is run or cancelled, and shutdown waits for its threads."""
    pool = world.library.worker_pool.WorkerPool(world.rng.randint(1, 2))
    ran: list[int] = []
    futures: list[Any] = []
    over = False

    def task(number: int) -> int:
        world.expect(not over, "a task ran after shutdown() had returned")
        world.pause(0.3)
        ran.append(number)
        if number == 1:
            raise LookupError
        return number

    def submitter(first: int) -> None:
        for number in range(first, first + 2):
            with contextlib.suppress(RuntimeError):
                futures.append((number, pool.submit(task, number)))

    other = world.spawn(lambda: submitter(10), "submitter")
    submitter(0)
    given_up = {number for number, future in futures if number == 10 and future.cancel()}
    cancels = world.rng.random() < 0.5
    # shutdown() waits for only a second for a thread that is being started.
    joined = world.rng.random() < 0.5 and not world.scheduler.strategy.early_timeout
    if joined:
        world.scheduler.join(other)
    pool.shutdown(wait=True, cancel_futures=cancels)
    over = joined
    world.join()
    if joined:
        for number, future in futures:
            world.expect(future.done(), f"task {number} is undecided")
            is_due = cancels or number in given_up
            world.expect(future.cancelled() != (number in ran), f"task {number} did not run")
            world.expect(is_due or not future.cancelled(), f"task {number} was cancelled")
            if number == 1 and not future.cancelled():
                world.expect(future.exception() is not None, "an error was lost")
        with contextlib.suppress(RuntimeError):
            pool.submit(task, 20)
            world.expect(False, "a pool that was shut down took a task")
        world.expect(not pool._running, "threads run after shutdown() had returned")


@model
def scarce_pool(world: World) -> None:
    """Where the system gives too few threads, each task still runs, or its caller gets an error."""
    pool = world.library.worker_pool.WorkerPool(world.rng.randint(1, 2))
    world.library.substitutes.threads_left = world.rng.choice((0, 1, 2))
    futures: list[Any] = []

    def submitter() -> None:
        for _ in range(2):
            with contextlib.suppress(RuntimeError):
                futures.append(pool.submit(lambda: 42))

    other = world.spawn(submitter, "submitter")
    submitter()
    world.scheduler.join(other)
    for _ in range(20):
        if all(future.done() for future in futures):
            break
        world.sleep(0.1)
    for future in futures:
        world.expect(future.done(), "a task is undecided")
        if future.done() and future.exception() is None:
            world.expect(future.result() == 42, "another result")
    world.library.substitutes.threads_left = None
    pool.shutdown()


@model
def unshared_future(world: World) -> None:
    """A worker and cancellers claim a job; consumers wait for it."""
    module = world.library.transfer
    future = module.UnsharedFuture()
    ran: list[int] = []

    def waiter() -> None:
        future.wait()
        world.expect(future.done(), "a job was passed that has not ended")

    def worker() -> None:
        if future.set_running_or_notify_cancel():
            ran.append(1)
            future.set_result(42)

    world.spawn(worker)
    world.spawn(future.cancel, "canceller")
    if world.rng.random() < 0.5:
        world.spawn(future.cancel, "second canceller")
    if world.rng.random() < 0.5:
        world.spawn(waiter)
    try:
        world.expect(future.result() == 42, "another result")
        world.expect(ran, "a result of nothing")
    except world.library.transfer.CancelledError:
        world.expect(not ran, "a job ran that was cancelled")
    world.join()
    world.expect(future.cancelled() != bool(ran), "cancelled and run, or neither")


@model
def shared_future(world: World) -> None:
    """Several threads wait for a user's future; one cancels it, one is interrupted."""
    module = world.library.transfer
    cancelled_error = world.library.package.futures.CancelledError
    future = module.SharedFuture()
    called: list[int] = []
    future.add_done_callback(lambda _: called.append(1))

    def worker() -> None:
        if future.set_running_or_notify_cancel():
            world.pause(0.3)
            future.set_result(42)

    def waiter() -> None:
        try:
            world.expect(future.result() == 42, "another result")
        except cancelled_error:
            world.expect(future.cancelled(), "CancelledError of what was not cancelled")

    cancels = world.rng.random() < 0.4
    if not cancels:
        world.spawn(worker)
        if world.rng.random() < 0.5:
            world.spawn(future.cancel, "canceller")
    world.spawn(waiter)

    def strike() -> None:
        raise KeyboardInterrupt

    began = world.scheduler.now
    if world.rng.random() < 0.4:
        world.strike(strike, most=40)
    with contextlib.suppress(KeyboardInterrupt):
        if cancels:
            future.cancel()
        else:
            waiter()
    world.disarm()
    if cancels and not future.done():  # The interrupt came before the cancel.
        future.cancel()
    world.join()
    world.expect(future.done(), "an undecided future")
    if not world.struck:
        world.expect(called == [1], f"the callback was called {len(called)} times")
    if not world.scheduler.strategy.early_timeout and not world.struck:
        world.expect(world.scheduler.now - began < 0.5, "a thread slept beside a decided future")


@model
def interrupted_submit(world: World) -> None:
    """An interrupt at any statement of submit() leaves the pool well."""
    limit = world.rng.randint(1, 2)
    pool = world.library.worker_pool.WorkerPool(limit)
    inside = 0

    def task() -> int:
        nonlocal inside
        inside += 1
        world.expect(inside <= limit + world.struck, f"{inside} tasks at once")
        world.pause(0.5)
        inside -= 1
        return 42

    futures = [pool.submit(task)] if world.rng.random() < 0.5 else []

    def strike() -> None:
        raise KeyboardInterrupt

    world.strike(strike, most=40)
    with contextlib.suppress(KeyboardInterrupt):
        for _ in range(2):
            futures.append(pool.submit(task))
    world.disarm()
    futures += [pool.submit(task) for _ in range(3)]
    for future in futures:
        world.expect(future.result() == 42, "another result")
    pool.shutdown()
