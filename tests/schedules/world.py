"""What a model is made of: an engine, files that a stand-in for the storage serves, and checks.

`World` is one run of one model, in a `Library`.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Callable, NamedTuple

from ctera_direct_sync.exceptions import BlockInfo, DirectIOError, DownloadError
from ctera_direct_sync.types import Block, Chunk, Metadata, SignedURL

from .library import Library
from .scheduler import Task
from .strategies import Strategy, scenario_of, strategy_of

__all__ = ["PROMPT", "Manner", "Storage", "World", "block_of", "run"]

FILE_ID = 7


class Manner(NamedTuple):
    """How the stand-in for the storage behaves.

    Attributes:
        slow: How likely a fetch waits for a while.
        stuck: How likely a fetch waits until a cancel cuts it off.
        failing: How likely a fetch fails.
    """

    slow: float = 0.5
    stuck: float = 0.0
    failing: float = 0.0


#: A storage that answers soon or late, and never fails.
PROMPT = Manner()


class Storage:
    """Stands in for the storage of one file, and keeps books of its own about memory.

    Args:
        world: The run.
        lengths: The lengths of the file's blocks.
        memory: The bytes that one transfer may hold.
        manner: How it behaves.
    """

    def __init__(
        self, world: World, lengths: Sequence[int], memory: int, manner: Manner = PROMPT
    ) -> None:
        self._world = world
        self._memory = memory
        self._manner = manner
        self._rng = random.Random(world.rng.random())
        chunks, offset = [], 0
        for number, length in enumerate(lengths, 1):
            chunks.append(Chunk(number, offset, length, SignedURL("http://h/x")))
            offset += length
        self.size = offset
        self.metadata = Metadata(
            FILE_ID, offset, chunks, compressed=False, compression_library="NONE"
        )
        self.data = bytes(index * 7 % 251 for index in range(offset))
        self.buffers = self
        self.failed = False
        self.fetched: list[int] = []
        self.held: dict[int, int] = {}
        self.inside = 0
        #: Whether what is fetched counts until `release`.
        self.keeps_books = True

    # What a download borrows its buffers by.

    def acquire(self) -> Storage:
        """Return a buffer that is not used."""
        return self

    def __enter__(self) -> Storage:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def fetch(self, listing: Any, piece: Any, scope: Any, buffer: Any = None) -> Any:
        """Return the bytes of a piece, soon or late, or fail, as the manner says."""
        world, rng, manner = self._world, self._rng, self._manner
        world.expect(not world.over, "a download began after close() had returned")
        point = world.scheduler.point
        scope.check()
        self.fetched.append(piece.offset)
        self.inside += 1
        if self.keeps_books:
            self.held[piece.offset] = piece.length
            total = sum(self.held.values())
            world.expect(
                total <= self._memory or len(self.held) == 1,
                f"{total} bytes are held where {self._memory} may be",
            )
        try:
            point()
            chance = rng.random()
            if chance < manner.stuck:
                self._block(scope, None)
            elif chance < manner.stuck + manner.slow / 2:
                self._block(scope, rng.choice((1e-5, 1e-3, 0.02)))
            elif chance < manner.stuck + manner.slow:
                scope.wait(rng.choice((1e-5, 1e-3, 0.02)))
            point()
            if rng.random() < manner.failing:
                self.failed = True
                raise DownloadError("injected", BlockInfo(FILE_ID, piece.chunk.number, 0, 0))
            data = self.data[piece.offset : piece.offset + piece.length]
            return world.library.module("_protocol.storage").Fetched(
                data, None if buffer is None else 0
            )
        except BaseException:
            self.held.pop(piece.offset, None)
            raise
        finally:
            self.inside -= 1

    def fetch_block(self, block_list: Any, file_id: int, piece: Any, scope: Any) -> Block:
        """Return a piece as a block."""
        return block_of(self, block_list, file_id, piece, scope)

    def release(self, offset: int) -> None:
        """Note that the consumer holds a result no longer."""
        self.held.pop(offset, None)

    def _block(self, scope: Any, seconds: float | None) -> None:
        """Block as on a socket, which a cancel shuts."""
        event = self._world.library.package.threading.Event()
        scope.attach(event.set)
        try:
            event.wait(seconds)
        finally:
            scope.detach()
        scope.check()


def block_of(storage: Any, block_list: Any, file_id: int, piece: Any, scope: Any) -> Block:
    """Return a piece as a block, as the real storage does."""
    data = bytes(storage.fetch(block_list, piece, scope).data)
    return Block(file_id, piece.chunk.number, piece.offset, len(data), data)


class World:
    """One run of a model.

    Attributes:
        rng: For the options of the model.
        forked: Whether this is a forked child.
        closing: Whether a close has begun, so that calls may end with ECANCELED.
        over: Whether a close that waits has returned, so that nothing may run.
        problems: What was found.
    """

    def __init__(self, library: Library, seed: int) -> None:
        self.library = library
        self.scheduler = library.scheduler
        self.rng = random.Random(seed)
        self.closing = False
        self.forked = False
        self.over = False
        #: Whether the system may give too few threads.
        self.scarce = False
        self.struck = False
        self.problems: list[str] = []
        #: Futures that users have.
        self.futures: list[Any] = []
        self.engines: list[Any] = []
        self._spawned: list[Task] = []

    # --- tasks ---------------------------------------------------------------------------------------

    def spawn(self, function: Callable[[], object], name: str = "") -> Task:
        """Start a thread of the user's. An error of it is a problem."""
        task = self.scheduler.spawn(function, name or getattr(function, "__name__", "task"))
        self._spawned.append(task)
        return task

    def join(self) -> None:
        """Wait for the threads of the user's."""
        for task in list(self._spawned):
            if task in self.scheduler.tasks:
                self.scheduler.join(task)

    def pause(self, chance: float = 0.3) -> None:
        """Let the current task sleep for a while, by chance."""
        if self.rng.random() < chance:
            self.sleep(self.rng.choice((1e-5, 1e-4, 5e-3)))

    def sleep(self, seconds: float) -> None:
        """Let the current task sleep."""
        self.library.sync.sleep(seconds)

    def strike(
        self,
        action: Callable[[], object],
        task: Task | None = None,
        most: int | None = None,
    ) -> None:
        """Have `action` happen on a task, as a signal handler does: at any of its statements.

        Args:
            action: What happens. It may raise.
            task: The task. None: the current one.
            most: The last statement that may be struck. None: one far away.
        """
        target = task or self.scheduler.current
        assert target is not None
        at = self.rng.randint(1, most or self.rng.choice((30, 150, 600)))

        def strike() -> None:
            self.struck = True
            action()

        self.scheduler.strike(target, at, strike)

    def disarm(self) -> None:
        """Let no strike come any more on the current task."""
        task = self.scheduler.current
        assert task is not None
        task.action = None

    def fork(self) -> None:
        """Go on as a forked child, in which the current task is alone."""
        self.scheduler.fork()
        self.library.substitutes.pid += 1
        self._spawned = [task for task in self._spawned if task in self.scheduler.tasks]
        for hook in self.library.substitutes.after_fork:
            hook()

    # --- verdicts ------------------------------------------------------------------------------------

    def expect(self, condition: object, text: str) -> None:
        """Note a problem unless the condition holds."""
        if not condition:
            self.problems.append(text)

    # --- what is tested ------------------------------------------------------------------------------

    def engine(self, max_workers: int | None = None) -> Any:
        """Return an engine, of 1 to 3 workers unless the number is given."""
        count = max_workers or self.rng.randint(1, 3)
        made = self.library.engine.Engine(count, cancelled_error=_cut_off, forked_error=_forked)
        self.engines.append(made)
        return made

    def source(
        self,
        engine: Any,
        lengths: Sequence[int] | None = None,
        memory: int | None = None,
        manner: Manner = PROMPT,
        hook: Callable[[Any], object] | None = None,
    ) -> Any:
        """Return a listed file. Its `storage` is a `Storage`."""
        rng = self.rng
        if lengths is None:
            lengths = [rng.randint(1, 9) for _ in range(rng.randint(1, 5))]
        if memory is None:
            memory = rng.choice((1, 5, 10, 20, 1000))
        storage = Storage(self, lengths, memory, manner)
        module = self.library.module("_protocol.block_list")
        block_list = module.RenewableBlockList(storage.metadata, None)
        observer = self.library.module("_base.observer").Observer(hook)
        kind = self.library.module("_readers.listed_file").ListedFile
        return kind(engine, storage, block_list, FILE_ID, memory, observer)

    def close(self, engine: Any, wait: bool = True) -> None:
        """Close an engine, and note that calls may end from now on."""
        self.closing = True
        engine.close(wait)
        if wait:
            self.over = True

    def settle(self, engine: Any, requests_s: float = 0.0) -> None:
        """Wait until no thread of the engine has anything to do.

        Args:
            engine: The engine.
            requests_s: How long requests may go on, besides the ten seconds that any work may take.
        """
        for step_s in [0.05] * 200 + [5.0] * int(requests_s / 5.0):
            if engine._mail:
                engine._ring()
            is_quiet = engine._idle == engine._threads and not engine._mail
            if is_quiet and not engine._is_starting_thread:
                return
            self.sleep(step_s)
        self.problems.append(
            f"the engine does not come to rest: {len(engine._mail)} letters, "
            f"{engine._threads} threads, {engine._idle} idle"
        )

    def check_rest(self, engine: Any) -> None:
        """Check the books of an engine none of whose transfers goes on."""
        scheduler = engine._scheduler
        self.expect(scheduler.running == 0, f"at rest {scheduler.running} jobs run")
        self.expect(not scheduler.transfers, "at rest transfers are registered")
        for transfer in self._transfers_of(engine):
            self.expect(not transfer.queue, f"at rest {len(transfer.queue)} jobs are queued")
        self.check_transfers(engine)

    def _transfers_of(self, engine: Any) -> list[Any]:
        """Return the transfers that were started on an engine of this process."""
        # An interrupt may have struck the constructor of one.
        generation, new = engine._generation, self.library.transfer.State.NEW
        return [
            transfer
            for transfer in self.library.transfers
            if getattr(transfer, "generation", -1) == generation and transfer.state is not new
        ]

    def check_transfers(self, engine: Any) -> None:
        """Check that every transfer of the engine has ended, and each of its futures with it."""
        for transfer in self._transfers_of(engine):
            name = f"transfer {transfer.schedule_number} ({transfer.state.value})"
            self.expect(transfer.running == 0, f"{name} has {transfer.running} running jobs")
            self.expect(transfer.ended.is_open, f"{name} has not ended")
            self.expect(transfer.charged_bytes >= 0, f"{name} holds {transfer.charged_bytes} bytes")

    def finish(self) -> None:
        """Wait for all threads, close the engines, and check that nothing is left."""
        self.join()
        for engine in self.engines:
            if not engine.closed:
                self.settle(engine)
                self.check_rest(engine)
            self.close(engine)
            self.expect(engine._failure is None, f"the engine failed: {engine._failure!r}")
            self.expect(engine._threads == 0, f"{engine._threads} threads live after close()")
            self.check_transfers(engine)
        self.expect(all(future.done() for future in self.futures), "an undecided future")

    @contextlib.contextmanager
    def patched(self, owner: Any, name: str, value: Any) -> Iterator[None]:
        """Replace an attribute of the package in a `with` statement."""
        before = getattr(owner, name)
        setattr(owner, name, value)
        try:
            yield
        finally:
            setattr(owner, name, before)


def _cut_off(piece: Any, file_id: int | None) -> BaseException:
    return DirectIOError("cut off", file_id, errno=errno.ECANCELED)


def _forked(piece: Any, file_id: int | None) -> BaseException:
    return DirectIOError("begun before the fork", file_id, errno=errno.ECANCELED)


Model = Callable[[World], None]


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
        problem: What was found. None: nothing.
        steps: How many statements ran.
        signature: The same for the same schedule.
        strategy: How it was scheduled.
        places: The switches, if they were asked for.
    """

    problem: str | None
    steps: int
    signature: int
    strategy: str
    places: Sequence[str]


def run(
    library: Library,
    name: str,
    model: Model,
    seed: int,
    *,
    strategy: Strategy | None = None,
    trace: bool = False,
) -> Outcome:
    """Run a model once, under the schedule that the seed stands for.

    Args:
        library: The package.
        name: The model's name.
        model: The model. It runs on the main task.
        seed: The seed.
        strategy: What schedules it. None: what the seed stands for.
        trace: Whether to record where tasks are switched.
    """
    if strategy is None:
        if name not in library.steps:
            library.steps[name] = 1000
            first = run(library, name, model, 0, strategy=Strategy(random.Random(0)))
            library.steps[name] = max(50, first.steps)
        strategy = strategy_of(seed, library.steps[name])
    scheduler = library.scheduler
    library.reset()
    scheduler.reset(strategy)
    if trace:
        scheduler.places = []
    world = World(library, scenario_of(seed))

    scheduler.spawn(lambda: model(world), "main")
    problems: list[str] = []

    def note_unraisable(unraisable: Any) -> None:
        # Python drops an interrupt that strikes a finalizer. Anything else is an error of a finalizer.
        if not scheduler.frozen and not isinstance(unraisable.exc_value, KeyboardInterrupt):
            problems.append(f"a finalizer raised {unraisable.exc_value!r}")

    # The collector would run finalizers at other statements each time.
    was_enabled = gc.isenabled()
    gc.disable()
    hook, sys.unraisablehook = sys.unraisablehook, note_unraisable
    try:
        scheduler.run()
    except Exception as error:
        problems.append(f"{type(error).__name__}: {error}")
    finally:
        # What tasks find while they are killed does not count.
        problems[:0] = world.problems
        scheduler.kill()
        sys.unraisablehook = hook
        if was_enabled:
            gc.enable()
    problems += [
        f"{task.name} died of {_describe(task.error)}" for task in scheduler.tasks if task.error
    ]
    if problems and scheduler.struck_at:
        problems.append(f"struck {scheduler.struck_at}")
    return Outcome(
        "; ".join(problems) or None,
        scheduler.steps,
        hash(tuple(scheduler.trace)),
        strategy.name,
        scheduler.places or (),
    )


def _describe(error: BaseException) -> str:
    rows = [f"{type(error).__name__}: {error}"]
    frame = error.__traceback__
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename.rsplit("/", 1)[-1]
        rows.append(f"      {file}:{frame.tb_lineno} {frame.tb_frame.f_code.co_name}")
        frame = frame.tb_next
    return "\n".join(rows)
