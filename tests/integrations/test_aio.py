"""``aio.stream`` and ``aio.iter_blocks``: whole or an error, bounded, and nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ctera_direct_sync import (
    Block,
    ByteRange,
    DirectIO,
    DirectIOError,
    DownloadError,
    NotFoundError,
    StreamError,
    aio,
)
from ctera_direct_sync._core import core_of
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from tests.support.loops import Ticks, run, until
from tests.support.streams import stream_blocks

MIB = 1024 * 1024
DATA = SyntheticSource(50_000, seed=5).read(0, 50_000)

#: The two iterators.
WAYS = [aio.stream, aio.iter_blocks]
Way = Callable[..., AsyncIterator[Block]]


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """DATA in five blocks."""
    return portal.add(DATA, block_size=10_000)


def bridge_threads() -> list[threading.Thread]:
    """The threads that wait for event loops."""
    return [each for each in threading.enumerate() if each.name == "ctera-direct-aio"]


async def gather(blocks: AsyncIterator[Block]) -> bytes:
    """Return the bytes of blocks in the order of their offsets."""
    found = [block async for block in blocks]
    found.sort(key=lambda block: block.offset)
    return b"".join(block.data for block in found)


# --- what is delivered -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("byte_range", "wanted"),
    [
        (None, DATA),
        (ByteRange(9_999, 20_000), DATA[9_999:20_001]),
        (ByteRange(49_999), DATA[49_999:]),
        (ByteRange(50_000), b""),
    ],
)
def test_stream(
    client: DirectIO, file_id: int, byte_range: ByteRange | None, wanted: bytes
) -> None:
    """A stream gives the range in order, and ends."""

    async def read() -> bytes:
        return b"".join([block.data async for block in aio.stream(client, file_id, byte_range)])

    assert run(read()) == wanted


def test_iter_blocks(client: DirectIO, file_id: int) -> None:
    """Whole blocks come as they complete, those that a range touches."""
    assert run(gather(aio.iter_blocks(client, file_id))) == DATA
    part = aio.iter_blocks(client, file_id, ByteRange(15_000, 25_000))
    assert run(gather(part)) == DATA[10_000:30_000]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_sizes(client: DirectIO, portal: Emulator, way: Way, size: int) -> None:
    """Empty files, single bytes and hundreds of small blocks come whole."""
    data = SyntheticSource(size, seed=size).read(0, size)
    file_id = portal.add(data, block_size=1000)
    assert run(gather(way(client, file_id))) == data


def test_path(client: DirectIO, portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is named by its path, as elsewhere."""
    monkeypatch.setenv("CTERA_DIRECT_USERNAME", portal.username)
    monkeypatch.setenv("CTERA_DIRECT_PASSWORD", portal.password)
    portal.tree.create("/My Files/a.bin", DATA)
    assert run(gather(aio.stream(client, "/My Files/a.bin"))) == DATA


def test_many_at_once(client: DirectIO, file_id: int) -> None:
    """Streams of one client run side by side on one loop."""

    async def read() -> list[bytes]:
        return await asyncio.gather(*(gather(aio.stream(client, file_id)) for _ in range(20)))

    assert run(read()) == [DATA] * 20


def test_one_client_on_several_loops(client: DirectIO, file_id: int) -> None:
    """A client belongs to no loop."""
    assert [run(gather(aio.stream(client, file_id))) for _ in range(3)] == [DATA] * 3


# --- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_error_of_the_listing(client: DirectIO, way: Way) -> None:
    """What the portal refuses is raised by the first step, as itself."""

    async def read() -> None:
        blocks = way(client, 99)
        with pytest.raises(NotFoundError):
            await blocks.__anext__()
        with pytest.raises(DirectIOError):
            await blocks.__anext__()

    run(read())


def test_error_of_a_block(client: DirectIO, portal: Emulator, file_id: int) -> None:
    """All blocks before a failed one are delivered. The error says where to resume, and why."""
    portal.faults.add("storage", block=3, times=None, action=faults.status(404))
    got: list[bytes] = []

    async def read() -> None:
        async for block in aio.stream(client, file_id):
            got.append(block.data)

    with pytest.raises(StreamError) as caught:
        run(read())
    assert b"".join(got) == DATA[:20_000]
    assert caught.value.offset == 20_000
    assert isinstance(caught.value.__cause__, DownloadError)


def test_error_of_a_block_in_no_order(client: DirectIO, portal: Emulator, file_id: int) -> None:
    """``iter_blocks`` raises the error of the block."""
    portal.faults.add("storage", block=3, times=None, action=faults.status(404))
    with pytest.raises(DownloadError):
        run(gather(aio.iter_blocks(client, file_id)))


@pytest.mark.parametrize("way", WAYS)
def test_arguments(client: DirectIO, file_id: int, way: Way) -> None:
    """Wrong arguments are refused by the call itself."""
    with pytest.raises(TypeError):
        way(client, file_id, (0, 9))
    with pytest.raises(ValueError, match="max_workers"):
        way(client, file_id, max_workers=0)


@pytest.mark.parametrize("way", WAYS)
def test_closed_client(client: DirectIO, file_id: int, way: Way) -> None:
    """A client that is closed already is a ValueError, as elsewhere."""
    client.close()
    with pytest.raises(ValueError, match="closed"):
        run(gather(way(client, file_id)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["portal", "storage"])
def test_client_closed_meanwhile(
    client: DirectIO, portal: Emulator, file_id: int, way: Way, where: str
) -> None:
    """Closing the client ends a waiting consumer by an error."""
    held = portal.faults.add(where, times=None, action=faults.stall())

    async def read() -> None:
        task = asyncio.ensure_future(gather(way(client, file_id)))
        await asyncio.to_thread(held.wait)
        await asyncio.to_thread(client.close)
        with pytest.raises(DirectIOError):
            await task

    run(read())


@pytest.mark.parametrize("count", [0, 1, 4])
@pytest.mark.parametrize("way", WAYS)
def test_short_iteration_raises(
    client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch, way: Way, count: int
) -> None:
    """Bytes are counted once more at the end: what is short never ends as if it were whole."""
    blocks = list(client.stream(file_id))[:count]
    stream_blocks(client, monkeypatch, blocks)
    monkeypatch.setattr(core_of(client), "iterate", lambda *_: iter(blocks))
    with pytest.raises(DirectIOError, match=f"after {10_000 * count} of 50000 bytes"):
        run(gather(way(client, file_id)))


def test_gap_raises(client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream whose block is missing raises at the gap, although later blocks came."""
    blocks = list(client.stream(file_id))
    stream_blocks(client, monkeypatch, blocks[:2] + blocks[3:])
    with pytest.raises(StreamError) as caught:
        run(gather(aio.stream(client, file_id)))
    assert caught.value.offset == 20_000


# --- early ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["portal", "storage"])
def test_cancelled_task(
    client: DirectIO, portal: Emulator, file_id: int, way: Way, where: str
) -> None:
    """A cancelled task ends at once, whatever it waits for, and its thread with it."""
    held = portal.faults.add(where, times=None, action=faults.stall())

    async def read() -> None:
        task = asyncio.ensure_future(gather(way(client, file_id)))
        await asyncio.to_thread(held.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not bridge_threads())

    run(read())


@pytest.mark.parametrize("way", WAYS)
def test_step_after_a_cancelled_wait(
    client: DirectIO, portal: Emulator, file_id: int, way: Way
) -> None:
    """An iterator whose wait was cut off raises from then on, rather than end."""
    held = portal.faults.add("storage", times=None, action=faults.stall())

    async def read() -> None:
        blocks = way(client, file_id)
        step = asyncio.ensure_future(blocks.__anext__())
        await asyncio.to_thread(held.wait)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        for _ in range(2):
            with pytest.raises(DirectIOError, match="cancelled after 0 of 50000 bytes"):
                await blocks.__anext__()

    run(read())


@pytest.mark.parametrize("way", WAYS)
def test_break(make_client: Callable[..., DirectIO], portal: Emulator, way: Way) -> None:
    """Leaving the loop stops the downloads without a word, although nothing was closed."""
    client = make_client(memory=4 * MIB)
    file_id = portal.add(SyntheticSource(200 * MIB, kind="random"), native=True)

    async def read() -> None:
        async for _ in way(client, file_id):
            break
        await until(lambda: not bridge_threads())

    run(read())
    asked = portal.log.total("storage")
    assert asked < 25
    # A client with nothing under way ends nothing when it is closed.
    client.close()


@pytest.mark.parametrize("way", WAYS)
def test_aclose(client: DirectIO, portal: Emulator, file_id: int, way: Way) -> None:
    """After ``aclose`` nothing runs, and a further step is an error. It may be called again."""
    held = portal.faults.add("storage", block=5, times=None, action=faults.stall())

    async def read() -> None:
        blocks: Any = way(client, file_id)
        await blocks.__anext__()
        await asyncio.to_thread(held.wait)
        await blocks.aclose()
        # What it promises is that no step of the iteration runs. The thread's own last steps follow.
        await until(lambda: not bridge_threads())
        with pytest.raises(DirectIOError):
            await blocks.__anext__()
        await blocks.aclose()

    run(read())


def test_aclose_before_the_first_step(client: DirectIO, portal: Emulator, file_id: int) -> None:
    """An iterator that was closed before its first step asks for nothing, and gives an error."""

    async def read() -> None:
        blocks: Any = aio.stream(client, file_id)
        await blocks.aclose()
        with pytest.raises(DirectIOError, match="before the first"):
            await blocks.__anext__()

    run(read())
    assert portal.log.total("portal") == 0


def test_aclose_beside_a_waiting_task(client: DirectIO, portal: Emulator, file_id: int) -> None:
    """A task that waits for a block gets an error if another task closes its iterator."""
    held = portal.faults.add("storage", times=None, action=faults.stall())

    async def read() -> None:
        blocks: Any = aio.stream(client, file_id)
        step = asyncio.ensure_future(blocks.__anext__())
        await asyncio.to_thread(held.wait)
        await blocks.aclose()
        with pytest.raises(StreamError):
            await step

    run(read())


def test_two_tasks(client: DirectIO, portal: Emulator, file_id: int) -> None:
    """A second task that takes a step at the same time is refused, and the first goes on."""
    held = portal.faults.add("storage", times=None, action=faults.stall())

    async def read() -> bytes:
        blocks: Any = aio.stream(client, file_id)
        step = asyncio.ensure_future(blocks.__anext__())
        await asyncio.to_thread(held.wait)
        with pytest.raises(RuntimeError, match="another task"):
            await blocks.__anext__()
        portal.faults.clear()
        held.release()
        first = await step
        return first.data + await gather(blocks)

    assert run(read()) == DATA


@pytest.mark.parametrize("way", WAYS)
def test_loop_that_is_closed(client: DirectIO, portal: Emulator, file_id: int, way: Way) -> None:
    """A loop that is closed under a waiting task leaves no thread, and no word of asyncio's."""
    held = portal.faults.add("storage", times=None, action=faults.stall())
    loop = asyncio.new_event_loop()
    blocks: Any = way(client, file_id)
    steps = [blocks.__anext__()]

    async def begin() -> None:
        # The bare coroutine: asyncio itself complains of a task that its closed loop did not finish.
        with contextlib.suppress(StopIteration):
            steps[0].send(None)
        await asyncio.to_thread(held.wait)

    loop.run_until_complete(begin())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    steps.clear()
    gc.collect()
    for thread in bridge_threads():
        thread.join(20)
    assert not bridge_threads()


def test_interrupted_run(client: DirectIO, portal: Emulator, file_id: int) -> None:
    """``asyncio.run`` that ends while a task streams cancels it, and leaves nothing behind."""
    held = portal.faults.add("storage", times=None, action=faults.stall())
    tasks: list[asyncio.Future[bytes]] = []

    async def begin() -> None:
        tasks.append(asyncio.ensure_future(gather(aio.stream(client, file_id))))
        await asyncio.to_thread(held.wait)

    run(begin())
    assert tasks[0].cancelled()
    for thread in bridge_threads():
        thread.join(20)
    assert not bridge_threads()


# --- pace --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_consumer_that_pauses(
    make_client: Callable[..., DirectIO], portal: Emulator, way: Way
) -> None:
    """The downloads wait for the consumer, and a pause occupies no thread."""
    client = make_client(memory=8 * MIB)
    file_id = portal.add(SyntheticSource(100 * MIB, kind="random"), block_size=MIB)

    async def read() -> int:
        total = 0
        blocks = way(client, file_id)
        total += len((await blocks.__anext__()).data)
        await until(lambda: not bridge_threads())
        # The window of the stream, the blocks that wait here, and those under way.
        assert portal.log.total("storage") <= 20
        async for block in blocks:
            total += len(block.data)
        return total

    assert run(read()) == 100 * MIB


@pytest.mark.parametrize("way", WAYS)
def test_loop_runs_on_while_blocks_are_waited_for(
    client: DirectIO, portal: Emulator, file_id: int, way: Way
) -> None:
    """While a consumer waits for portal and storage, the loop runs other tasks as if it were alone."""
    held = [
        portal.faults.add(each, times=1, action=faults.stall()) for each in ("portal", "storage")
    ]

    async def read() -> bytes:
        async with Ticks().counted() as ticks:
            task = asyncio.ensure_future(gather(way(client, file_id)))
            for each in held:
                await asyncio.to_thread(each.wait)
                seen = ticks.count
                await until(lambda seen=seen: ticks.count > seen + 1000)
                each.release()
            return await task

    assert run(read()) == DATA


@pytest.mark.parametrize("way", WAYS)
def test_loop_runs_on_while_blocks_are_there(
    make_client: Callable[..., DirectIO], portal: Emulator, way: Way
) -> None:
    """A consumer of blocks that have all come lets the loop run other tasks after each."""
    client = make_client()
    file_id = portal.add(bytes(300_000), block_size=1000)

    async def read() -> tuple[int, int]:
        count = 0
        async with Ticks().counted() as ticks:
            async for _ in way(client, file_id):
                count += 1
            return count, ticks.count

    count, ticks = run(read())
    assert count == 300
    assert ticks >= count


@pytest.mark.parametrize("way", WAYS)
def test_complete_iteration_stays_complete(client: DirectIO, file_id: int, way: Way) -> None:
    """After the last byte, each further step ends the iteration, also after ``aclose``."""

    async def read() -> None:
        blocks: Any = way(client, file_id)
        assert await gather(blocks) == DATA
        assert await gather(blocks) == b""
        await blocks.aclose()
        assert await gather(blocks) == b""

    run(read())
