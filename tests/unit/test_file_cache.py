"""The memory of open files: counts that an interrupt left half done, shares, and the collector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync._protocol.ranges import Piece
from ctera_direct_sync._readers.block_memory import BlockMemory, CachedBlock
from ctera_direct_sync._readers.file import DirectFile
from ctera_direct_sync.emulator import Emulator, SyntheticSource
from ctera_direct_sync.types import Chunk, SignedURL
from tests.support.engines import run_inline

BLOCK = 1000


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def client(make_client: Callable[..., DirectIO]) -> DirectIO:
    """A client with memory for 32 blocks, whose downloads end as they begin."""
    client = make_client(memory=32 * BLOCK)
    return run_inline(client)


@pytest.fixture
def files(portal: Emulator, client: DirectIO) -> Iterator[list[DirectFile]]:
    """Three open files of 64 blocks."""
    file_id = portal.add(SyntheticSource(64 * BLOCK), block_size=BLOCK)
    files = [client.open(file_id) for _ in range(3)]
    yield files
    for file in files:
        file.close()


def memory_of(file: DirectFile) -> BlockMemory:
    """The memory that the file's client shares out."""
    memory: BlockMemory = file.raw._cache._memory
    return memory


def read_blocks(file: DirectFile, count: int) -> None:
    """Read block by block."""
    for _ in range(count):
        assert len(file.read(BLOCK)) == BLOCK


def test_counts_are_mended_after_an_interrupt(files: list[DirectFile]) -> None:
    """An exception amid a method leaves a mark, and the next method counts everything anew."""
    memory = memory_of(files[0])
    read_blocks(files[0], 10)
    right = memory.held_bytes
    memory._held_bytes, memory._is_dirty = 10**9, True
    files[0].raw._cache.ahead_bytes = 10**9
    memory._read.clear()
    read_blocks(files[0], 1)
    assert 0 < memory.held_bytes <= right + 20 * BLOCK
    unread = files[0].raw._cache.unread.values()
    assert files[0].raw._cache.ahead_bytes == sum(block.charged_bytes for block in unread)
    files[0].close()
    assert memory.held_bytes == 0


def test_files_that_read_on_share_what_is_fetched_ahead(files: list[DirectFile]) -> None:
    """Beside others that read ahead, a file fetches ahead within its share."""
    memory = memory_of(files[0])
    clock = memory._clock = Clock()
    for _ in range(20):
        for file in files:
            read_blocks(file, 1)
    for file in files:
        assert file.raw._cache.ahead_bytes <= 32 * BLOCK // 3
    clock.now += 10
    read_blocks(files[0], 20)
    assert files[0].raw._cache.ahead_bytes > 32 * BLOCK // 3
    assert memory.held_bytes <= 32 * BLOCK


def test_cost_of_many_downloads_under_way(
    files: list[DirectFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of a reader does not look at each of the thousand blocks that are fetched ahead of it."""
    memory, cache = BlockMemory(10**9), files[0].raw._cache
    for number in range(1000):
        piece = Piece(number, Chunk(number + 1, number * BLOCK, BLOCK, SignedURL("")), 0, BLOCK)
        assert memory.add_ahead(cache, piece, cast("Any", None), 10**9)
    looks: list[int] = []
    monkeypatch.setattr(CachedBlock, "downloaded", property(lambda block: bool(looks.append(1))))
    for _ in range(1000):
        memory.share(cache)
    assert 1000 <= len(looks) <= 50_000
    memory.close(cache)


def test_collector_amid_a_method(files: list[DirectFile]) -> None:
    """The memory of a file that the collector closes amid a method is given back after the method."""
    memory = memory_of(files[0])
    read_blocks(files[0], 3)
    read_blocks(files[1], 3)

    def close() -> None:
        files[1].close()
        assert files[1].raw._cache.blocks

    memory.run_exclusively(close)
    assert not files[1].raw._cache.blocks


def test_signal_handler_amid_a_method(files: list[DirectFile]) -> None:
    """A handler that reads another file amid a method is told so, and its file reads on later."""
    memory = memory_of(files[0])

    def handle() -> None:
        with pytest.raises(RuntimeError, match="signal handler"):
            files[0].read(10)

    memory.run_exclusively(handle)
    assert files[0].tell() == 0
    assert len(files[0].read(10)) == 10


def test_evicted_block_is_fetched_again(portal: Emulator, files: list[DirectFile]) -> None:
    """A file whose block was evicted amid it reads on as if nothing had happened."""
    data = SyntheticSource(64 * BLOCK).read(0, 64 * BLOCK)
    parts: list[bytes] = []
    reads: list[Any] = [lambda: files[0].read(300), files[0].readline, lambda: next(files[0], b"")]
    for number in range(30):
        parts.append(reads[number % 3]())
        for block in list(files[0].raw._cache.blocks.values()):
            memory_of(files[0]).remove(block)
    assert data.startswith(b"".join(parts))


def test_reads_with_the_lock_give_the_same(
    files: list[DirectFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a comparison and a store are not one step, reads take the lock, and give the same bytes."""

    def read(file: DirectFile) -> list[bytes]:
        file.seek(0)
        parts = [file.read(10), file.readline(), file.read(2500), next(file), file.read1(7)]
        return [*parts, *file]

    quick = read(files[0])
    monkeypatch.setattr("ctera_direct_sync._readers.file._HAS_ATOMIC_STEPS", False)
    assert read(files[1]) == quick
    assert b"".join(quick) == SyntheticSource(64 * BLOCK).read(0, 64 * BLOCK)
