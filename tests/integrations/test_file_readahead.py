"""``DirectIO.open``: what a file fetches when, and which blocks it keeps."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from ctera_direct_sync import (
    DirectIO,
)
from ctera_direct_sync._core import core_of
from ctera_direct_sync._readers.file import DirectFile
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from tests.support.engines import FixedTuner

from .conftest import Fetched

DATA = SyntheticSource(100_003, seed=3).read(0, 100_003)


def _check_memory(file: DirectFile, memory: int) -> None:
    """What the cache holds fits the setting, but for one block that is larger than that."""
    blocks = file.raw._cache.blocks
    assert sum(block.length for block in blocks.values()) <= memory or len(blocks) == 1


# --- what is fetched when --------------------------------------------------------------------------------

BLOCK = 1000
BLOCKS = 64


@pytest.fixture
def blocks(portal: Emulator) -> int:
    """A file of 64 blocks of 1,000 bytes."""
    return portal.add(SyntheticSource(BLOCKS * BLOCK), block_size=BLOCK)


def _read_block(file: DirectFile, number: int) -> None:
    file.seek((number - 1) * BLOCK)
    assert len(file.read(BLOCK)) == BLOCK


def test_opening_fetches_no_block(
    portal: Emulator, serial_client: DirectIO, blocks: int, fetched: Fetched
) -> None:
    """Opening costs one listing."""
    serial_client.open(blocks).close()
    assert portal.log.total("portal") == 1
    assert fetched() == []


def test_readahead_doubles_as_reading_goes_on(
    serial_client: DirectIO, blocks: int, fetched: Fetched
) -> None:
    """From block to block: none ahead, then 1, 2, 4, 8 and so on, each block fetched once, in order."""
    with serial_client.open(blocks) as file:
        counts = []
        for _ in range(BLOCKS):
            file.read(BLOCK)
            counts.append(len(fetched()))
    assert counts[:8] == [1, 3, 5, 8, 13, 22, 39, BLOCKS]
    assert fetched() == list(range(1, BLOCKS + 1))


def test_readahead_is_bounded_by_its_argument(
    serial_client: DirectIO, blocks: int, fetched: Fetched
) -> None:
    """No more bytes than ``readahead`` are ever ahead of the reader."""
    with serial_client.open(blocks, readahead=3 * BLOCK) as file:
        for number in range(1, BLOCKS + 1):
            file.read(BLOCK)
            assert len(fetched()) <= min(BLOCKS, number + 3)
    assert fetched() == list(range(1, BLOCKS + 1))


def test_no_readahead(serial_client: DirectIO, blocks: int, fetched: Fetched) -> None:
    """``readahead=0``: a block is fetched when it is read."""
    with serial_client.open(blocks, readahead=0) as file:
        for number in range(1, BLOCKS + 1):
            file.read(BLOCK)
            assert fetched() == list(range(1, number + 1))


def test_readahead_is_bounded_by_memory(
    make_serial_client: Callable[..., DirectIO], blocks: int, fetched: Fetched
) -> None:
    """By default at most half of the memory is spent on blocks not read yet."""
    with make_serial_client(memory=16 * BLOCK).open(blocks) as file:
        for number in range(1, BLOCKS + 1):
            file.read(BLOCK)
            assert len(fetched()) <= number + 8
            _check_memory(file, 16 * BLOCK)
    assert fetched() == list(range(1, BLOCKS + 1))


def test_random_reads_fetch_only_themselves(
    serial_client: DirectIO, blocks: int, fetched: Fetched
) -> None:
    """Jumping about fetches each block that is read, and no other."""
    order = [40, 3, 17, 60, 20, 9, 33]
    with serial_client.open(blocks) as file:
        for number in order:
            _read_block(file, number)
    assert fetched() == order


def test_a_jump_stops_the_readahead(serial_client: DirectIO, blocks: int, fetched: Fetched) -> None:
    """After a jump reading ahead starts over, from nothing."""
    with serial_client.open(blocks) as file:
        for number in range(1, 4):
            _read_block(file, number)
        assert fetched.since(lambda: _read_block(file, 30)) == [30]
        assert fetched.since(lambda: _read_block(file, 31)) == [31, 32]
        assert fetched.since(lambda: _read_block(file, 10)) == [10]


def test_a_skip_within_what_was_read_ahead_goes_on(
    serial_client: DirectIO, blocks: int, fetched: Fetched
) -> None:
    """Skipping to a block that was fetched ahead is not a jump: nothing is fetched twice."""
    with serial_client.open(blocks) as file:
        for number in range(1, 5):
            _read_block(file, number)
        assert max(fetched()) == 8
        assert fetched.since(lambda: _read_block(file, 7)) == [9, 10, 11]
    assert sorted(fetched()) == sorted(set(fetched()))


def test_a_jump_ends_what_is_under_way(
    portal: Emulator, client: DirectIO, fetched: Fetched
) -> None:
    """Blocks that were being fetched ahead when the reader went elsewhere are cut off and forgotten."""
    file_id = portal.add(SyntheticSource(BLOCKS * BLOCK), block_size=BLOCK)
    held = portal.faults.add("storage", block=3, action=faults.stall())
    with client.open(file_id) as file:
        _read_block(file, 1)
        _read_block(file, 2)
        assert held.wait()
        _read_block(file, 40)
        assert 2 * BLOCK not in file.raw._cache.blocks
        held.release()
        _read_block(file, 3)
    assert fetched().count(3) == 2


@pytest.mark.parametrize("way", ["read", "readinto"])
def test_a_large_read_fetches_its_blocks_at_once(
    portal: Emulator, client: DirectIO, fetched: Fetched, way: str
) -> None:
    """One read over several blocks has them all under way together, and no block beyond."""
    block = 100_000
    file_id = portal.add(SyntheticSource(20 * block), block_size=block)
    held = portal.faults.add("storage", times=None, action=faults.stall())
    core_of(client).engine._tuner.limit = 8
    with client.open(file_id) as file:
        file.seek(5 * block + 7)

        def read() -> None:
            if way == "read":
                file.read(3 * block)
            else:
                file.readinto(bytearray(3 * block))

        reader = threading.Thread(target=read)
        reader.start()
        assert held.wait(hits=4)
        held.release()
        reader.join()
        assert sorted(fetched()) == [6, 7, 8, 9]


def test_large_reads_that_follow_each_other_read_ahead(
    portal: Emulator, serial_client: DirectIO, fetched: Fetched
) -> None:
    """A reader with large buffers, even with a header between them, is one that reads on."""
    block = 50_000
    file_id = portal.add(SyntheticSource(20 * block), block_size=block)
    with serial_client.open(file_id) as file:
        while file.tell() < 8 * block:
            file.read(8)
            file.read(2 * block)
        assert len(fetched()) > 16
    assert sorted(fetched()) == sorted(set(fetched()))


def test_read_to_the_end_fetches_in_parallel(
    portal: Emulator, client: DirectIO, blocks: int
) -> None:
    """read() without a size has as many blocks under way as serve."""
    held = portal.faults.add("storage", times=None, action=faults.stall())
    core_of(client).engine._tuner.limit = 4
    with client.open(blocks) as file:
        reader = threading.Thread(target=file.read)
        reader.start()
        assert held.wait(hits=4)
        held.release()
        reader.join()
        assert file.tell() == BLOCKS * BLOCK


def test_readahead_keeps_to_the_number_of_workers(
    portal: Emulator, make_client: Callable[..., DirectIO]
) -> None:
    """Reading far ahead takes no more concurrent downloads than a client may have (and the reader's)."""
    client = make_client(max_workers=2)
    file_id = portal.add(SyntheticSource(200 * BLOCK), block_size=BLOCK)
    with client.open(file_id) as file:
        while file.read(BLOCK):
            pass
    assert portal.log.most_in_flight("storage") <= 3


def test_reader_does_not_wait_behind_bulk_work(
    portal: Emulator, make_client: Callable[..., DirectIO]
) -> None:
    """A block that was to be fetched ahead but has not begun is fetched at once when it is read."""
    client = make_client(max_workers=3)
    core_of(client).engine._tuner = FixedTuner(2)
    busy = portal.add(SyntheticSource(4 * BLOCK), block_size=BLOCK)
    file_id = portal.add(SyntheticSource(BLOCKS * BLOCK), block_size=BLOCK)
    with client.open(file_id) as file:
        _read_block(file, 1)
        held = portal.faults.add("storage", file_id=busy, times=None, action=faults.stall())
        futures = client.blocks(busy)
        assert held.wait()
        for number in range(2, 10):
            _read_block(file, number)
        held.release()
        for future in futures:
            future.result()


# --- what is kept ----------------------------------------------------------------------------------------


def test_blocks_read_last_are_kept(
    make_serial_client: Callable[..., DirectIO], blocks: int, fetched: Fetched
) -> None:
    """Going back to a block read lately costs nothing; the one used longest ago has made room."""
    with make_serial_client(memory=8 * BLOCK).open(blocks) as file:
        for number in (10, 20, 30, 40, 50, 60):
            _read_block(file, number)
        assert fetched.since(lambda: _read_block(file, 10)) == []
        # A block under way counts twice. 7 are at home in the memory of 8, of which 20 is the oldest.
        for number in (5, 15):
            _read_block(file, number)
        assert fetched.since(lambda: [_read_block(file, n) for n in (60, 50, 40, 30, 10)]) == []
        assert fetched.since(lambda: _read_block(file, 20)) == [20]


def test_small_seeks_of_a_player(
    portal: Emulator, serial_client: DirectIO, fetched: Fetched
) -> None:
    """A player's pattern, the index at the end, then many small reads, fetches each block once."""
    data = SyntheticSource(2_000_000, seed=8).read(0, 2_000_000)
    file_id = portal.add(data, block_size=50_000)
    with serial_client.open(file_id) as file:
        for start in [0, 1_990_000, *range(0, 200_000, 700), *range(1_200_000, 1_300_000, 900)]:
            for offset in (start, start + 300, max(0, start - 4000)):
                file.seek(offset)
                assert file.read(188) == data[offset : offset + 188]
    assert len(fetched()) == len(set(fetched())) < 20


def test_block_larger_than_the_memory(
    portal: Emulator, make_client: Callable[..., DirectIO], fetched: Fetched
) -> None:
    """A block that is larger than the memory comes alone, one at a time."""
    file_id = portal.add(DATA, block_size=30_000)
    with make_client(memory=1000).open(file_id) as file:
        assert file.read() == DATA
        assert len(file.raw._cache.blocks) == 1
    assert portal.log.most_in_flight("storage") == 1
    assert fetched() == [1, 2, 3, 4]


def test_the_block_waited_for_is_not_evicted_by_those_ahead(
    portal: Emulator, make_serial_client: Callable[..., DirectIO], fetched: Fetched
) -> None:
    """With memory for few blocks, each is still fetched once."""
    file_id = portal.add(DATA, block_size=10_000)
    for memory in (20_000, 30_000, 40_000, 50_000, 64_000):
        before = len(fetched())
        with make_serial_client(memory=memory).open(file_id) as file:
            assert file.read() == DATA
            _check_memory(file, memory)
        with make_serial_client(memory=memory).open(file_id) as file:
            while file.read(1000):
                _check_memory(file, memory)
        assert sorted(fetched()[before:]) == sorted(2 * list(range(1, 12)))


def test_native_object_is_fetched_by_pages(portal: Emulator, serial_client: DirectIO) -> None:
    """Of one huge plaintext object a small read fetches a page, not a part of 8 MiB."""
    mib = 1024 * 1024
    file_id = portal.add(SyntheticSource(40 * mib), native=True)
    with serial_client.open(file_id) as file:
        file.seek(20 * mib + 5)
        assert len(file.read(10)) == 10
    assert sum(each.sent for each in portal.log.records(where="storage")) == mib
