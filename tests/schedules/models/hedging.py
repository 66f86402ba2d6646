"""Requests that are sent twice: who wins, who is cut, and who ends with the client."""

from __future__ import annotations

import contextlib
from typing import Any

from ..world import World
from .registry import model

#: Where the requests go. Only the watcher looks at it.
ORIGIN = "http://storage.test"
#: Longer than any request takes that is not stuck, the time of a look of the watcher included.
SOON_S = 5.0


class Requests:
    """Makes requests that answer, fail or get stuck, as chance says.

    Args:
        world: The run.
        twins_answer: Whether second requests always answer.
    """

    def __init__(self, world: World, twins_answer: bool = False) -> None:
        self.world = world
        self.inside = 0
        self.sent = 0
        self.failed: list[str] = []
        self.errors = world.library.module("_net.errors")
        self._choices = {"first": self._choose(), "twin": "answer"}
        if not twins_answer:
            self._choices["twin"] = self._choose()

    def _choose(self) -> str:
        return self.world.rng.choice(("answer", "answer", "fail", "stuck", "stuck"))

    @property
    def may_hang(self) -> bool:
        """Whether nothing but a cancel ends the call."""
        return "answer" not in self._choices.values() and "stuck" in self._choices.values()

    def send(self, name: str, scope: Any) -> str:
        """Make a request: block on a socket, which a cut or a cancel of the scope shuts."""
        world = self.world
        world.expect(not world.over, "a request began after close() had returned")
        scope.check()
        self.sent += 1
        self.inside += 1
        scope.origin = ORIGIN
        scope.sent_at = world.library.sync.monotonic()
        choice = self._choices[name]
        seconds = None if choice == "stuck" else world.rng.choice((1e-5, 1e-3, 0.02))
        event = world.library.package.threading.Event()
        try:
            scope.attach(event.set)
            try:
                woken = event.wait(seconds)
            finally:
                scope.detach()
            scope.check()
            world.expect(not woken, "a request was shut that nothing has cut")
            if choice == "fail":
                self.failed.append(name)
                raise self.errors.TransportError("connection", f"{name} failed")
            return name
        finally:
            scope.sent_at = 0.0
            self.inside -= 1

    def send_again(self, twin: Any, reason: str) -> str:
        """Make a second request."""
        return self.send("twin", twin)


@model
def race(world: World) -> None:
    """One of two requests wins, the other one is cut, and a failure counts once."""
    _race(world, moves=0)


@model
def moved_race(world: World) -> None:
    """The same, while the first request is moved to another connection."""
    _race(world, moves=world.rng.randint(1, 2))


def _race(world: World, moves: int) -> None:
    library = world.library
    cancellation, hedging = library.module("_base.cancellation"), library.module("_net.hedging")
    track = hedging.Hedging(1.0, 100)
    track.is_asleep = False
    track._parts.append(hedging._Parts())
    requests = Requests(world)
    call = cancellation.CancelScope()
    made = cancellation.Race(call, track, requests.send_again, 1)
    cancels = requests.may_hang or world.rng.random() < 0.2

    def watch() -> None:
        """Do what the watcher does: move, send twins, and cut those whose first request has failed."""
        for _ in range(moves):
            world.pause()
            if not (made.is_over or made.has_failed):
                made.move()
        for _ in range(world.rng.randint(1, 2)):
            world.pause()
            if not (made.is_over or made.has_failed):
                track._send(made, "late")
        while not made.is_over and not made.has_failed:
            world.sleep(0.01)
        world.sleep(0.05)
        if made.has_failed and made.twin is not None:
            made.twin.cut()

    def cancel() -> None:
        world.sleep(world.rng.choice((0.0, 1e-4, 0.01, 0.2)))
        call.cancel()

    world.spawn(watch)
    if cancels or requests._choices["first"] == "stuck":
        # A twin that comes too late for its race, or none, leaves the first request to its timeout.
        world.spawn(cancel)
    began = world.scheduler.now
    try:
        found = made.run(requests.send, "first")
        world.expect(found in ("first", "twin"), f"the race gave {found!r}")
        world.expect(found not in requests.failed, "a request that failed has won")
        world.expect(made.is_lost == (found == "twin"), "the loser's result was delivered")
        is_moving = made.is_cut and made._is_moving  # It came to its end meanwhile.
        world.expect(made.is_lost or is_moving or not made.is_cut, "the winner was cut")
    except cancellation.Cancelled:
        world.expect(call.cancelled, "a call was cut with one of its requests")
    except requests.errors.TransportError as error:
        world.expect(error.reason == "first failed", f"the call failed of {error.reason!r}")
        # A twin that has begun is waited for, also where it took the place of another one.
        has_begun = made.twin is not None and made.twin._claims[:1] == [True]
        is_answered = has_begun and requests._choices["twin"] == "answer"
        early = world.scheduler.strategy.early_timeout
        world.expect(early or call.cancelled or not is_answered, "an answer came too late")
    early = world.scheduler.strategy.early_timeout
    world.expect(early or world.scheduler.now - began < SOON_S, "a race ended late")
    world.expect(not track.races, "a race is left")
    world.join()
    # What is under way was cut, so the end does not wait for a timeout.
    track.close()
    world.expect(requests.inside == 0, "a request outlives its race")
    world.expect(not track._running, "a twin is counted that has ended")


@model
def watcher(world: World) -> None:
    """A request that is late gets a twin, however late the watcher was woken; a close ends both."""
    library = world.library
    cancellation, hedging = library.module("_base.cancellation"), library.module("_net.hedging")
    track = hedging.Hedging(1.0, 100)
    for _ in range(10):
        track.samples.append((ORIGIN, 0.0, 0.001, 0.001, 0, False, False))
    closes = world.rng.random() < 0.3
    calls = [cancellation.CancelScope() for _ in range(world.rng.randint(1, 2))]
    requests: list[Requests] = []

    def caller(call: Any) -> None:
        for _ in range(world.rng.randint(1, 2)):
            one = Requests(world, twins_answer=True)
            requests.append(one)
            made = cancellation.Race(call, track, one.send_again, 1)
            with contextlib.suppress(one.errors.TransportError):
                try:
                    made.run(one.send, "first")
                except cancellation.Cancelled:
                    world.expect(call.cancelled, "a call was cut with one of its requests")
                    return
            # The next race may begin at the very moment at which the watcher falls asleep.
            sleepy = began + hedging._PERIOD_S + world.rng.uniform(1e-4, 3e-4)
            world.sleep(max(0.0, sleepy - world.scheduler.now))

    def close() -> None:
        world.sleep(world.rng.choice((0.0, 0.01, 0.4)))
        world.closing = True
        for call in calls:
            call.cancel()
        track.close()

    began = world.scheduler.now
    for call in calls:
        world.spawn(lambda call=call: caller(call), "caller")
    if closes:
        world.spawn(close)
    world.join()
    early = world.scheduler.strategy.early_timeout
    world.expect(early or world.scheduler.now - began < SOON_S, "a late request got no twin")
    track.close()
    world.over = True
    world.expect(not any(one.inside for one in requests), "a request outlives the client")
    world.expect(not track.races and not track._running, "a race or a twin is left")
