"""Readers above the engine: the cache of open files, renewal of a block list, batches."""

from __future__ import annotations

import contextlib
import errno
from types import SimpleNamespace
from typing import Any

from ctera_direct_sync.exceptions import DirectIOError
from ctera_direct_sync.types import Download, Metadata

from ..consumers import Consumer
from ..world import FILE_ID, Manner, Storage, World, block_of
from .registry import model


def _open(world: World, engine: Any, *, memory: int, manner: Manner, lengths: Any = None) -> Any:
    """Return an open file whose storage is its attribute `storage`."""
    module = world.library.module("_readers.file")
    # Without the locks of the fast ways, threads may be switched only where CPython does so.
    module._HAS_ATOMIC_STEPS = False
    lengths = lengths or [world.rng.randint(2, 6) for _ in range(world.rng.randint(2, 5))]
    source = world.source(engine, lengths, memory, manner)
    source.storage.keeps_books = False
    made = module.open_file(source, world.rng.choice((None, 0, 8)))
    made.storage = source.storage
    return made


def _memory_of(world: World, engine: Any) -> Any:
    return world.library.module("_readers.block_memory")._memories[engine]


def _check_memory(world: World, engine: Any) -> None:
    """Check that the files of an engine hold nothing once they are closed."""
    memory = _memory_of(world, engine)
    world.expect(memory.held_bytes == 0, f"closed files hold {memory.held_bytes} bytes")
    world.expect(not memory._downloading and not memory._read, "closed files hold blocks")


def _read_some(world: World, file: Any, count: int, may_close: bool = False) -> None:
    """Read at a few places, and compare."""
    data = file.storage.data
    for _ in range(count):
        try:
            if world.rng.random() < 0.4:
                file.seek(world.rng.randrange(len(data)))
            start = file.tell()
            size = world.rng.randint(1, 8)
            found = file.read(size)
        except DirectIOError as error:
            is_due = world.closing if error.errno == errno.ECANCELED else file.storage.failed
            world.expect(is_due, f"a read failed: {error}")
            if world.closing:
                return
            try:
                moved = file.tell() != start
            except ValueError:
                world.expect(may_close, "the file is closed")
                return
            world.expect(not moved, "a read that failed moved the position")
        except ValueError as error:
            world.expect(may_close or world.closing, f"a read failed: {error}")
            return
        else:
            world.expect(found == data[start : start + size], f"wrong bytes at {start}")
        world.pause(0.1)


@model
def open_files(world: World) -> None:
    """Two files share the memory of their client; one may be closed while it is read."""
    engine = world.engine()
    memory = world.rng.choice((1, 8, 20, 100))
    manner = world.rng.choice((Manner(slow=0.3), Manner(slow=0.3, failing=0.1)))
    first = _open(world, engine, memory=memory, manner=manner)
    second = _open(world, engine, memory=memory, manner=manner)
    closes = world.rng.random()

    def other() -> None:
        _read_some(world, second, 4, may_close=True)
        second.close()

    world.spawn(other)
    if closes < 0.3:
        world.spawn(second.close, "closer")
    elif closes < 0.5:
        world.spawn(lambda: world.close(engine), "closer")
    _read_some(world, first, 5)
    first.close()
    world.join()
    _check_memory(world, engine)
    world.finish()


@model
def shared_file(world: World) -> None:
    """Two threads read one file from its one position: each byte goes to one of them."""
    engine = world.engine()
    manner = world.rng.choice((Manner(slow=0.2), Manner(slow=0.2, failing=0.2)))
    file = _open(world, engine, memory=world.rng.choice((1, 30)), manner=manner)
    data = file.storage.data
    taken: list[bytes] = []

    def reader() -> None:
        while True:
            try:
                found = file.read(3)
            except DirectIOError:
                world.expect(file.storage.failed, "a read failed")
                continue
            if not found:
                return
            taken.append(found)

    world.spawn(reader, "other")
    reader()
    world.join()
    # Each byte of the file has a value of its own.
    taken.sort(key=lambda part: data.index(part))
    world.expect(b"".join(taken) == data, f"{taken} of {data!r}")
    file.close()
    _check_memory(world, engine)
    world.finish()


@model
def interrupted_read(world: World) -> None:
    """KeyboardInterrupt at any statement of a read: the next read goes on from the same place."""
    engine = world.engine()
    file = _open(world, engine, memory=world.rng.choice((1, 12, 100)), manner=Manner(slow=0.3))
    other = _open(world, engine, memory=100, manner=Manner(slow=0.3))
    data = file.storage.data

    def strike() -> None:
        raise KeyboardInterrupt

    world.spawn(lambda: _read_some(world, other, 3), "other")
    offset = 0
    world.strike(strike)
    while True:
        found: bytes | None = None
        try:
            found = file.read(4)
        except KeyboardInterrupt:
            offset = file.tell()  # The interrupt may have come right after the step.
            continue
        if not found:
            break
        world.expect(found == data[offset : offset + 4], f"wrong bytes at {offset}")
        offset += len(found)
    world.disarm()
    world.expect(offset == len(data), f"the file ended at {offset} of {len(data)}")
    file.close()
    world.join()
    other.close()
    _check_memory(world, engine)
    world.finish()


@model
def file_closed_by_the_collector(world: World) -> None:
    """A forgotten file is closed at any statement of a thread that reads another one."""
    engine = world.engine()
    file = _open(world, engine, memory=world.rng.choice((8, 40)), manner=Manner(slow=0.3))
    forgotten = [_open(world, engine, memory=40, manner=Manner(slow=0.3))]
    forgotten[0].read(3)

    def collect() -> None:
        if forgotten:
            forgotten.pop().close()

    world.strike(collect)
    _read_some(world, file, 5)
    world.disarm()
    collect()
    file.close()
    world.join()
    _check_memory(world, engine)
    world.finish()


@model
def fork_with_open_files(world: World) -> None:
    """A fork between two reads, while another thread reads: the child goes on with both files."""
    engine = world.engine()
    memory = world.rng.choice((8, 40))
    mine = _open(world, engine, memory=memory, manner=Manner(slow=0.3))
    other = _open(world, engine, memory=memory, manner=Manner(slow=0.3))
    world.spawn(lambda: _read_some(world, other, 4), "other")
    _read_some(world, mine, world.rng.randint(0, 3))
    world.fork()
    _read_some(world, mine, 3)
    _read_some(world, other, 3)
    mine.close()
    other.close()
    _check_memory(world, engine)
    world.finish()


# --- expiry --------------------------------------------------------------------------------------------


class _ExpiringStorage:
    """A storage that refuses the URLs of the first list, and lists again as the real one does."""

    def __init__(self, world: World, inner: Storage, portal: Any) -> None:
        self._world = world
        self._inner = inner
        self._portal = portal
        self.buffers = inner

    def fetch(self, listing: Any, piece: Any, scope: Any, buffer: Any = None) -> Any:
        """Return the bytes of a piece, after a renewal if its URL has expired."""
        for _ in range(4):
            metadata = listing.metadata
            self._world.scheduler.point()
            if any(metadata is fresh for fresh in self._portal.lists):
                return self._inner.fetch(listing, piece, scope, buffer)
            is_same = listing.renew(metadata, scope)
            self._world.expect(is_same, "the file is told to have changed")
        raise DirectIOError("the URL is refused again and again", FILE_ID, errno=errno.EACCES)

    def fetch_block(self, listing: Any, file_id: int, piece: Any, scope: Any) -> Any:
        """Return a piece as a block."""
        return block_of(self, listing, file_id, piece, scope)


def _make_portal(world: World, metadata: Metadata) -> Any:
    """Return a portal whose lists are made on the spot, one at a time for each file."""
    kind = world.library.module("_protocol.portal").Portal

    class FakePortal(kind):  # type: ignore[misc,valid-type]
        """A portal without HTTP."""

        def __init__(self) -> None:
            super().__init__("http://p", "token", None, None)
            self.connect(None)
            self.inside = 0
            self.lists: list[Metadata] = []

        def fetch_block_list(self, file_id: int, scope: Any) -> Metadata:
            """Return a new list, after a while in which a cancel may come."""
            world.expect(self.inside == 0, "two lists of a file at once")
            self.inside += 1
            try:
                scope.wait(world.rng.choice((1e-5, 1e-3)))
                made = Metadata(
                    FILE_ID,
                    metadata.size,
                    metadata.chunks,
                    compressed=False,
                    compression_library="NONE",
                )
                self.lists.append(made)
                return made
            finally:
                self.inside -= 1

    return FakePortal()


@model
def expiry(world: World) -> None:
    """URLs expire under two calls for one file; the call that lists again may be stopped."""
    engine = world.engine(2)
    lengths = [2] * world.rng.randint(2, 3)
    sources = [world.source(engine, lengths, 1000, Manner(slow=0.2)) for _ in range(2)]
    portal = _make_portal(world, sources[0].storage.metadata)
    consumers = []
    for source in sources:
        # Both lists are old ones.
        storage = source.storage
        expiring = _ExpiringStorage(world, storage, portal)
        kind = type(source)
        block_list = type(source.block_list)(storage.metadata, portal)
        made = kind(engine, expiring, block_list, FILE_ID, 1000, source.observer)
        consumer = Consumer(world, source, world.rng.choice(("stream", "iterate")), slow=0.0)
        consumer.source = made
        consumers.append(consumer)
    stopped, other = consumers
    world.spawn(other, "other")
    if world.rng.random() < 0.8:

        def stopper() -> None:
            world.sleep(world.rng.choice((1e-5, 2e-4, 1e-3)))
            stopped.stopped = True
            if stopped.streamer is not None:
                stopped.streamer.stop()

        stopped.kind = "stream"
        world.spawn(stopper)
    stopped()
    world.join()
    world.expect(len(portal.lists) <= 2, f"the file was listed {len(portal.lists)} times")
    world.finish()


# --- batches -------------------------------------------------------------------------------------------


@model
def batch(world: World) -> None:
    """Each item of a batch has one result; an early end leaves no download."""
    module = world.library.module("_readers.batch")
    cancellation = world.library.cancellation
    count = world.rng.randint(1, 4)
    leaves = world.rng.random() < 0.4
    cancels = world.rng.random() < 0.3
    scope = cancellation.CancelScope()
    over = False
    inside = 0
    told: list[Any] = []

    def fetch(file_id: int, target: Any, scope: Any, **more: Any) -> Any:
        nonlocal inside
        scope.check()
        world.expect(not over, "a download began after the batch had ended")
        inside += 1
        try:
            return download(file_id, scope, more["progress"])
        finally:
            world.pause(0.3)  # What tidies up is not cut off.
            inside -= 1

    def download(file_id: int, scope: Any, progress: Any) -> Any:
        if world.rng.random() < 0.3 and progress is not None:
            progress(1, 2)
        scope.wait(world.rng.choice((1e-5, 1e-3)))
        world.expect(not over, "a download went on after the batch had ended")
        if file_id == 2:
            raise world.rng.choice((LookupError, SystemExit))
        return SimpleNamespace(download=Download("x", 1, 0, 0.0), unchanged=False)

    class Root:
        """Stands for the folder."""

        path = "/folder"

    @contextlib.contextmanager
    def prepared(root: Any, place: str, path: str) -> Any:
        yield place

    made = module._Batch(fetch, scope, Root(), True, lambda *news: told.append(news))
    made._claim_path = lambda item, position, claimed: item.path
    items = [module.BatchItem(number, f"{number}") for number in range(count)]
    results: dict[int, Any] = {}
    if cancels:
        world.spawn(scope.cancel, "canceller")
    with (
        world.patched(module, "make_target", prepared),
        world.patched(module, "flush_folder", lambda root, folder: None),
    ):
        iterator = made.run(items, world.rng.choice((1, 2, None)))
        for position, result in iterator:
            world.expect(position not in results, f"item {position} ended twice")
            results[position] = result
            if leaves:
                break
        iterator.close()
        over = True
        world.expect(not inside, f"{inside} downloads are under way after the batch had ended")
        world.join()
    world.expect(leaves or len(results) == count, f"{len(results)} results of {count}")
    for position, result in results.items():
        is_due = result.ok or cancels or position == 2
        world.expect(is_due, f"item {position} failed: {result.error!r}")
        world.expect(position != 2 or not result.ok, "an error was lost")
    world.sleep(1e-3)  # A bare thread that has started another one may still have to end.
    alive = [task.name for task in world.scheduler.tasks if not task.done]
    early = world.scheduler.strategy.early_timeout
    world.expect(early or len(alive) == 1, f"threads are left: {alive}")
