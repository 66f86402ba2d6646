"""Closing the client at any moment, from any thread, once and twice."""

from __future__ import annotations

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
