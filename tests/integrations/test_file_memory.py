"""The memory that all open files of a client share."""

from __future__ import annotations

import gc
from collections.abc import Callable

from ctera_direct_sync import DirectIO
from ctera_direct_sync._readers.file import DirectFile
from ctera_direct_sync.emulator import Emulator, SyntheticSource

from .conftest import Fetched

KIB = 1024
BLOCK = 10 * KIB
BLOCKS = 64
MEMORY = 32 * BLOCK


def held(file: DirectFile) -> int:
    """Bytes that all files of `file`'s client hold, as they are and as they are counted."""
    memory = file.raw._cache._memory
    blocks = [block for cache in memory._caches for block in cache.blocks.values()]
    found = sum(block.length for block in blocks)
    assert memory.held_bytes >= found
    return found


def test_many_open_files_share_one_memory(
    portal: Emulator, make_client: Callable[..., DirectIO]
) -> None:
    """Twelve files that are read to the end and stay open hold what one may hold, not twelve times that."""
    client = make_client(memory=MEMORY)
    file_id = portal.add(SyntheticSource(BLOCKS * BLOCK), block_size=BLOCK)
    files = [client.open(file_id) for _ in range(12)]
    for file in files:
        assert len(file.read()) == BLOCKS * BLOCK
        assert held(file) <= MEMORY
    for _ in range(20):
        for file in files:
            file.seek(0)
            assert len(file.read(BLOCK)) == BLOCK
            assert held(file) <= MEMORY
    for file in files:
        file.close()


def test_more_open_files_than_blocks_fit(
    portal: Emulator, make_client: Callable[..., DirectIO]
) -> None:
    """Where not even one block of each file fits, each still reads right, in its turn."""
    client = make_client(memory=3 * BLOCK)
    data = SyntheticSource(4 * BLOCK, seed=1).read(0, 4 * BLOCK)
    file_id = portal.add(data, block_size=BLOCK)
    files = [client.open(file_id) for _ in range(20)]
    parts: list[list[bytes]] = [[] for _ in files]
    for _ in range(0, len(data), 3000):
        for file, own in zip(files, parts):
            own.append(file.read(3000))
            assert held(file) <= 3 * BLOCK
    assert [b"".join(own) for own in parts] == [data] * 20
    for file in files:
        file.close()


def test_the_least_recently_used_block_goes_first(
    portal: Emulator, make_serial_client: Callable[..., DirectIO], fetched: Fetched
) -> None:
    """A file that is read again and again keeps its block while another file fills the memory."""
    client = make_serial_client(memory=8 * BLOCK)
    often = portal.add(SyntheticSource(2 * BLOCK), block_size=BLOCK)
    much = portal.add(SyntheticSource(BLOCKS * BLOCK), block_size=BLOCK)
    with client.open(often, readahead=0) as kept, client.open(much, readahead=0) as other:
        for _ in range(BLOCKS):
            kept.seek(0)
            assert len(kept.read(100)) == 100
            assert len(other.read(BLOCK)) == BLOCK
    assert fetched(often) == [1]


def test_idle_file_gives_way(
    portal: Emulator, make_serial_client: Callable[..., DirectIO], fetched: Fetched
) -> None:
    """What an idle file holds is evicted for one that is read, and is fetched again when it is wanted."""
    client = make_serial_client(memory=8 * BLOCK)
    idle_id = portal.add(SyntheticSource(4 * BLOCK), block_size=BLOCK)
    busy_id = portal.add(SyntheticSource(BLOCKS * BLOCK), block_size=BLOCK)
    with client.open(idle_id, readahead=0) as idle, client.open(busy_id) as busy:
        first = idle.read(100)
        assert len(busy.read()) == BLOCKS * BLOCK
        idle.seek(0)
        assert idle.read(100) == first
    assert fetched(idle_id) == [1, 1]
    assert sorted(fetched(busy_id)) == list(range(1, BLOCKS + 1))


def test_readers_in_turn_do_not_evict_what_the_others_fetched_ahead(
    portal: Emulator, make_serial_client: Callable[..., DirectIO], fetched: Fetched
) -> None:
    """Four files that are read block by block in turn fetch each block once."""
    client = make_serial_client(memory=MEMORY)
    ids = [portal.add(SyntheticSource(BLOCKS * BLOCK), block_size=BLOCK) for _ in range(4)]
    files = [client.open(file_id) for file_id in ids]
    for _ in range(BLOCKS):
        for file in files:
            assert len(file.read(BLOCK)) == BLOCK
            assert held(file) <= MEMORY
    for file_id in ids:
        assert fetched(file_id) == list(range(1, BLOCKS + 1))
    for file in files:
        file.close()


def test_closing_gives_back(portal: Emulator, make_client: Callable[..., DirectIO]) -> None:
    """A closed file, and one that is dropped without close, hold nothing any more."""
    client = make_client(memory=MEMORY)
    file_id = portal.add(SyntheticSource(BLOCKS * BLOCK), block_size=BLOCK)
    witness = client.open(file_id)
    memory = witness.raw._cache._memory
    with client.open(file_id) as file:
        file.read(10 * BLOCK)
        assert memory.held_bytes > 0
    assert memory.held_bytes == 0
    dropped = client.open(file_id)
    dropped.read(10 * BLOCK)
    assert memory.held_bytes > 0
    del dropped
    gc.collect()
    assert memory.held_bytes == 0
    witness.close()


def test_clients_have_a_memory_each(portal: Emulator, make_client: Callable[..., DirectIO]) -> None:
    """The number is the client's, not the process's."""
    file_id = portal.add(SyntheticSource(2 * BLOCK), block_size=BLOCK)
    with make_client().open(file_id) as one, make_client().open(file_id) as other:
        assert one.raw._cache._memory is not other.raw._cache._memory
