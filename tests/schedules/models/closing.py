"""Closing the client at any moment, from any thread, once and twice."""

from __future__ import annotations

import contextlib

from ..consumers import Consumer
from ..world import Manner, World
from .engine_calls import STUCK, _any_consumer
from .registry import model


@model
def close_beside_a_slow_consumer(world: World) -> None:
    """A stream whose consumer is slow is closed from another thread: it never looks whole."""
    engine = world.engine()
    lengths = [world.rng.randint(1, 4) for _ in range(world.rng.randint(2, 6))]
    kind = world.rng.choice(("stream", "iterate", "drain", "ranges"))
    source = world.source(engine, lengths, world.rng.choice((4, 8, 1000)), Manner(slow=0.1))
    mine = Consumer(world, source, kind, slow=0.8)

    def closer() -> None:
        world.sleep(world.rng.choice((1e-5, 1e-4, 1e-3, 5e-3)))
        world.close(engine, wait=world.rng.random() < 0.7)

    world.spawn(closer)
    mine()
    world.finish()


@model
def close_amid_dispatch(world: World) -> None:
    """Calls begin while another thread closes the client."""
    engine = world.engine()
    if world.rng.random() < 0.7:
        _any_consumer(world, engine, ("iterate",), manner=Manner(slow=0.0))()
    world.spawn(_any_consumer(world, engine, manner=STUCK), "first")
    world.spawn(_any_consumer(world, engine, manner=STUCK), "second")
    world.pause(0.4)
    world.close(engine)
    world.finish()


@model
def close_of_a_stuck_thread(world: World) -> None:
    """The system gives one thread, which is stuck: a close or a cancel frees it all the same."""
    engine = world.engine(1)
    # A bare thread starts the engine's thread.
    world.library.substitutes.threads_left = 2
    source = world.source(engine, [1, 1], manner=Manner(slow=0.0, stuck=1.0))
    mine = Consumer(world, source, world.rng.choice(("stream", "iterate", "drain")))
    mine.max_workers = world.rng.choice((None, 1))

    def ender() -> None:
        world.sleep(1e-3)
        mine.stopped = True
        if mine.streamer is not None and world.rng.random() < 0.5:
            mine.streamer.stop()
        else:
            world.close(engine)

    world.spawn(ender)
    mine()
    world.join()
    world.library.substitutes.threads_left = None
    world.finish()


@model
def close_twice(world: World) -> None:
    """Two threads close the client at once, amid a call."""
    engine = world.engine()
    world.spawn(_any_consumer(world, engine, manner=STUCK), "consumer")

    def closer() -> None:
        world.pause(0.5)
        world.close(engine)

    world.spawn(closer, "closer one")
    world.spawn(closer, "closer two")
    world.finish()


@model
def close_by_the_collector(world: World) -> None:
    """The collector closes a forgotten client at any statement of any thread, also the client's own."""
    engine = world.engine()
    forgotten = world.engine()
    source = world.source(forgotten, [1, 1, 1], 1, Manner(slow=0.3))
    lost = Consumer(world, source, "iterate", leave_after=0)
    lost()
    other = world.spawn(_any_consumer(world, engine, manner=Manner(slow=0.3)), "other")
    victims = [each for each in world.scheduler.tasks if not each.done]
    world.strike(lambda: forgotten.close(wait=False), world.rng.choice([*victims, other]))
    _any_consumer(world, engine, manner=Manner(slow=0.3))()
    world.disarm()
    world.finish()


@model
def interrupted_close(world: World) -> None:
    """KeyboardInterrupt at any statement of close(): a second one ends everything."""
    engine = world.engine()
    world.spawn(_any_consumer(world, engine, manner=STUCK), "consumer")
    world.pause(0.5)
    world.closing = True

    def strike() -> None:
        raise KeyboardInterrupt

    world.strike(strike)
    with contextlib.suppress(KeyboardInterrupt):
        engine.close()
    world.disarm()
    world.close(engine)
    world.finish()


@model
def close_amid_scarce_threads(world: World) -> None:
    """The system has few threads, and another thread closes the client while calls begin."""
    engine = world.engine()
    world.scarce = True
    world.library.substitutes.threads_left = world.rng.randint(0, 3)
    world.spawn(_any_consumer(world, engine, manner=STUCK), "first")
    world.spawn(_any_consumer(world, engine, manner=Manner(slow=0.3)), "second")
    world.pause(0.5)
    world.close(engine)
    world.join()
    world.library.substitutes.threads_left = None
    world.finish()
