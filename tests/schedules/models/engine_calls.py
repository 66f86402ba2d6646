"""Calls that share an engine, and what users do to them: stop, cancel, interrupt, forget, fork."""

from __future__ import annotations

import contextlib
from typing import Any

from ..consumers import KINDS, Consumer
from ..world import Manner, World
from .registry import model

FAILING = Manner(slow=0.4, failing=0.15)
STUCK = Manner(slow=0.3, stuck=0.4)


def _any_consumer(
    world: World, engine: Any, kinds: tuple[str, ...] = KINDS, **more: Any
) -> Consumer:
    rng = world.rng
    manner = more.pop("manner", None) or rng.choice((Manner(), Manner(slow=0.0), FAILING))
    source = world.source(engine, manner=manner, hook=more.pop("hook", None))
    limit = rng.choice((None, None, 1, 2))
    return Consumer(world, source, rng.choice(kinds), max_workers=limit, **more)


@model
def consume(world: World) -> None:
    """One caller takes a file by any way, with any memory."""
    engine = world.engine()
    _any_consumer(world, engine)()
    world.finish()


@model
def stream(world: World) -> None:
    """A stream of little memory: each block waits for the one before to be consumed."""
    engine = world.engine()
    lengths = [world.rng.randint(1, 4) for _ in range(world.rng.randint(2, 5))]
    memory = world.rng.choice((1, 4, 6))
    source = world.source(engine, lengths, memory, Manner(slow=0.2))
    Consumer(world, source, world.rng.choice(("stream", "iterate")), slow=0.0)()
    world.finish()


@model
def two_calls(world: World) -> None:
    """Two callers at once, of any kinds."""
    engine = world.engine()
    world.spawn(_any_consumer(world, engine), "other")
    _any_consumer(world, engine)()
    world.finish()


@model
def stream_beside_bulk(world: World) -> None:
    """A stream begins beside bulk work, which yields for a moment and then goes on."""
    engine = world.engine()
    bulk = _any_consumer(world, engine, ("iterate", "drain"), manner=Manner(slow=0.2))
    world.spawn(bulk, "bulk")
    world.pause()
    engine.open_stream_window()
    _any_consumer(world, engine, ("stream", "ranges"), manner=Manner(slow=0.2))()
    world.finish()


@model
def stop(world: World) -> None:
    """Another thread stops a stream; a download may be stuck until then."""
    engine = world.engine()
    if world.rng.random() < 0.5:  # The engine has threads, which read the stop amid the start.
        source = world.source(engine, [1], manner=Manner(slow=0.0))
        Consumer(world, source, "iterate", slow=0.0)()
    mine = _any_consumer(world, engine, ("stream",), manner=STUCK, slow=0.5)

    def stopper() -> None:
        while mine.streamer is None or mine.streamer._transfer is None:
            world.sleep(1e-5)
        world.pause(0.7)
        mine.stopped = True
        mine.streamer.stop()

    world.spawn(stopper)
    mine()
    world.expect(mine.error is None, f"a stopped stream raised {mine.error!r}")
    world.finish()


@model
def stuck_beside(world: World) -> None:
    """A call whose downloads are all stuck holds up no other."""
    engine = world.engine(2)
    source = world.source(engine, [1], manner=Manner(slow=0.0, stuck=1.0))
    stuck = Consumer(world, source, world.rng.choice(("stream", "iterate", "drain")))
    world.spawn(stuck, "stuck")
    _any_consumer(world, engine)()
    world.close(engine)
    world.finish()


@model
def leave(world: World) -> None:
    """A loop is left early, while downloads are under way and perhaps stuck."""
    engine = world.engine()
    manner = Manner(slow=0.3)
    mine = _any_consumer(world, engine, ("stream", "iterate"), manner=manner)
    mine.leave_after = world.rng.randint(0, 2)
    world.spawn(_any_consumer(world, engine), "other")
    mine()
    world.finish()


@model
def cancel_futures(world: World) -> None:
    """Single futures are cancelled by one thread while another waits for all."""
    engine = world.engine()
    futures_of = world.library.package.futures
    mine = _any_consumer(world, engine, ("futures",), manner=Manner(slow=0.6))
    futures = mine.start_futures()
    cancelled: list[Any] = []

    def canceller() -> None:
        for future in futures:
            if world.rng.random() < 0.6 and future.cancel():
                cancelled.append(future)

    world.spawn(canceller)
    for future in futures:
        try:
            block = future.result()
        except futures_of.CancelledError:
            world.expect(future.cancelled(), "CancelledError of a future that is not cancelled")
        else:
            world.expect(not future.cancelled(), "a cancelled future has a result")
            chunk = mine.storage.data[block.offset : block.offset + block.length]
            world.expect(block.data == chunk, "wrong bytes")
    world.join()
    world.expect(all(future.done() for future in futures), "an undecided future")
    fetched = mine.storage.fetched
    begun = {chunk.offset for chunk in mine.storage.metadata.chunks}
    world.expect(len(fetched) == len(set(fetched)), "a block was fetched twice")
    for future, offset in zip(futures, sorted(begun)):
        if future in cancelled:
            world.expect(offset not in fetched, "a cancelled block was fetched")
    world.finish()


@model
def wait_for_futures(world: World) -> None:
    """Two threads wait for the same futures, by `result`, `wait` and `as_completed`."""
    engine = world.engine()
    futures_of = world.library.package.futures
    mine = _any_consumer(world, engine, ("futures",))
    futures = mine.start_futures()

    def waiter() -> None:
        how = world.rng.randrange(3)
        if how == 0:
            done = futures_of.wait(futures).done
        elif how == 1:
            done = set(futures_of.as_completed(futures))
        else:
            done = {future for future in futures if future.exception() or True}
        world.expect(len(done) == len(futures), "not all futures ended")

    world.spawn(waiter)
    waiter()
    world.finish()


@model
def callbacks(world: World) -> None:
    """Done callbacks raise, start more downloads, cancel, or close the client."""
    engine = world.engine()
    mine = _any_consumer(world, engine, ("futures",), manner=Manner(slow=0.4))
    more: list[Any] = []
    called: list[Any] = []
    choice = world.rng.randrange(4)

    def callback(future: Any) -> None:
        called.append(future)
        if choice == 0:
            raise SystemExit
        if choice == 1 and len(more) < 2:
            other = _any_consumer(world, engine, ("futures",), manner=Manner(slow=0.0))
            with contextlib.suppress(ValueError):
                more.extend(other.start_futures())
        elif choice == 2:
            for each in futures:
                each.cancel()
        elif choice == 3:
            world.closing = True
            engine.close()

    try:
        futures = mine.start_futures()
        for future in futures:
            future.add_done_callback(callback)
    except SystemExit:  # A callback of a future that is done already runs here.
        pass
    except ValueError:
        world.expect(world.closing, "a start was refused")
    world.library.package.futures.wait([*futures, *more])
    world.expect(all(future.done() for future in futures), "an undecided future")
    world.expect(len(called) <= len(futures), "a callback was called twice")
    if choice == 2 or choice == 1:
        world.settle(engine)
        world.expect(len(called) == len(futures), "a callback was not called")
    world.finish()


@model
def scarce_threads(world: World) -> None:
    """The system gives no thread, or only a few."""
    engine = world.engine()
    world.scarce = True
    world.library.substitutes.threads_left = world.rng.randint(0, 4)
    world.spawn(_any_consumer(world, engine), "other")
    _any_consumer(world, engine)()
    world.join()
    world.library.substitutes.threads_left = None
    world.finish()


@model
def interrupt(world: World) -> None:
    """KeyboardInterrupt at any statement of a caller; another one goes on."""
    engine = world.engine()
    kinds = ("stream", "iterate", "drain", "ranges", "futures")
    mine = _any_consumer(world, engine, kinds, manner=Manner(slow=0.3))
    mine.may_be_interrupted = True
    world.spawn(_any_consumer(world, engine, manner=Manner(slow=0.3)), "other")

    def strike() -> None:
        raise KeyboardInterrupt

    world.strike(strike)
    with contextlib.suppress(KeyboardInterrupt):
        mine()
        world.disarm()
    world.disarm()
    # Without its list, the futures of an interrupted call are left to themselves.
    after = _any_consumer(world, engine, manner=Manner(slow=0.0))
    after()
    world.finish()


@model
def close_in_a_signal_handler(world: World) -> None:
    """A signal handler closes the client, or stops the stream, at any statement of a caller."""
    engine = world.engine()
    mine = _any_consumer(world, engine, manner=Manner(slow=0.3, stuck=0.1))
    stops = world.rng.random() < 0.3
    world.spawn(_any_consumer(world, engine, manner=Manner(slow=0.3)), "other")

    def handler() -> None:
        if stops and mine.streamer is not None:
            mine.stopped = True
            mine.streamer.stop()
        world.closing = True
        engine.close()

    world.strike(handler)
    if mine.storage._manner.stuck:
        world.spawn(lambda: (world.sleep(1.0), world.close(engine)), "closer")
    mine()
    world.disarm()
    world.finish()


@model
def collector(world: World) -> None:
    """The collector ends a forgotten stream at any statement of any thread."""
    engine = world.engine()
    forgotten = _any_consumer(world, engine, ("stream", "iterate"), manner=Manner(slow=0.2))
    module = world.library.module("_readers.stream")
    if forgotten.kind == "stream":
        iterator = module.Streamer(forgotten.source, 0, forgotten.storage.size).start()
    else:
        iterator = module.iterate(forgotten.source, 0, forgotten.storage.size)
    with contextlib.suppress(Exception):
        next(iterator)
    other = world.spawn(_any_consumer(world, engine, manner=Manner(slow=0.3)), "other")
    victims = [other, world.scheduler.current]
    victims += [task for task in world.scheduler.tasks if task not in victims and not task.done]
    garbage = [iterator]
    del iterator

    def collect() -> None:
        if garbage:
            garbage.pop().close()

    world.strike(collect, world.rng.choice(victims))
    _any_consumer(world, engine, manner=Manner(slow=0.3))()
    world.disarm()
    world.join()
    collect()
    world.finish()


@model
def fork(world: World) -> None:
    """A fork between two steps of a caller or in its hook, whatever the other threads are amid.

    In the child, calls of the parent fail and new ones work.
    """
    engine = world.engine()
    forked = False
    world.forked = False
    main = world.scheduler.current
    kinds = ("stream", "iterate", "futures")
    in_hook = world.rng.random() < 0.5

    def fork_now() -> None:
        nonlocal forked
        if not forked:
            forked = True
            world.closing = world.forked = True  # Calls of the parent end with ECANCELED.
            world.fork()

    def hook(event: Any) -> None:
        if in_hook and world.scheduler.current is main and world.rng.random() < 0.3:
            fork_now()

    mine = _any_consumer(world, engine, kinds, manner=Manner(slow=0.3), hook=hook)
    world.spawn(_any_consumer(world, engine, manner=Manner(slow=0.3)), "other")
    if not in_hook:
        mine.on_block = fork_now
    mine()
    fork_now()
    world.closing = False
    _any_consumer(world, engine)()
    world.finish()


@model
def exit_of_the_program(world: World) -> None:
    """The program ends while downloads are under way, perhaps stuck."""
    engine = world.engine()
    mine = _any_consumer(world, engine, manner=STUCK)
    other = world.spawn(mine, "consumer")
    world.sleep(1e-4 if world.rng.random() < 0.5 else 1e-2)
    for _ in range(3):
        world.closing = True
        engine.end_transfers(2.0)
        world.sleep(1e-3)
        if other.done:
            break
    world.close(engine)
    world.finish()


@model
def hooks(world: World) -> None:
    """The on_event hook raises, closes the client, or begins another download, on any thread."""
    engine = world.engine()
    choice = world.rng.randrange(4)
    begun: list[Any] = []
    main = world.scheduler.current

    def hook(event: Any) -> None:
        if world.rng.random() > 0.3:
            return
        if choice == 0:
            raise LookupError("a hook that raises")
        if choice == 1 and world.scheduler.current is not main:
            raise SystemExit
        if choice == 2 and len(begun) < 2:
            begun.append(1)
            other = _any_consumer(world, engine, ("futures",), manner=Manner(slow=0.0))
            other.start_futures()
        if choice == 3:
            world.closing = True
            engine.close()

    mine = _any_consumer(world, engine, manner=Manner(slow=0.3), hook=hook)
    mine()
    world.library.package.futures.wait(world.futures)
    world.finish()
