"""``open().readinto`` decodes whole blocks into the caller's memory, and copies the rest."""

from __future__ import annotations

import ctypes
import errno
import mmap
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ctera_direct_sync import DirectIO, DirectIOError, DownloadError, codec
from ctera_direct_sync._core import core_of
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from tests.support.buffers import check_left_alone

from .conftest import Fetched

BLOCK = 512 * 1024
BLOCKS = 6
SIZE = BLOCKS * BLOCK - 1000
DATA = SyntheticSource(SIZE, seed=9).read(0, SIZE)
PATIENCE_S = 30

KINDS: dict[str, dict[str, Any]] = {
    "snappy": {"block_size": BLOCK},
    "not compressed": {"compression": "NONE", "block_size": BLOCK},
    "plaintext": {"compression": "NONE", "cipher": None, "block_size": BLOCK},
    "native": {"native": True},
}


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of six blocks, the last one shorter."""
    return portal.add(DATA, block_size=BLOCK)


class Places:
    """Notes where in a buffer the codec writes blocks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, buffer: bytearray) -> None:
        self.offsets: list[int] = []
        first = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        decode = codec.decode_stored_into

        def note(stored: Any, out: Any, *arguments: Any, **options: Any) -> int:
            self.offsets.append(ctypes.addressof(ctypes.c_char.from_buffer(out)) - first)
            return decode(stored, out, *arguments, **options)

        monkeypatch.setattr(codec, "decode_stored_into", note)


def test_whole_blocks_are_decoded_in_place(
    client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch, fetched: Fetched
) -> None:
    """Blocks that lie inside of the read are decoded at their places, and each is fetched once."""
    buffer = bytearray(SIZE)
    places = Places(monkeypatch, buffer)
    with client.open(file_id) as file:
        assert file.readinto(buffer) == SIZE
        assert file.tell() == SIZE
    assert buffer == DATA
    assert sorted(places.offsets) == list(range(0, SIZE, BLOCK))
    assert sorted(fetched()) == list(range(1, BLOCKS + 1))


def test_blocks_at_the_edges_are_copied(
    client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch, fetched: Fetched
) -> None:
    """A read that begins and ends amid blocks decodes those between in place."""
    buffer = bytearray(4 * BLOCK)
    places = Places(monkeypatch, buffer)
    with client.open(file_id) as file:
        file.seek(BLOCK + 10)
        assert file.readinto(buffer) == len(buffer)
        assert buffer == DATA[BLOCK + 10 : 5 * BLOCK + 10]
        assert file.read(7) == DATA[5 * BLOCK + 10 : 5 * BLOCK + 17]
    assert sorted(places.offsets) == [number * BLOCK - 10 for number in (1, 2, 3)]
    assert sorted(fetched()) == [2, 3, 4, 5, 6]


def test_blocks_that_the_file_has_are_copied(
    client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch, fetched: Fetched
) -> None:
    """A block that was read before is not fetched again."""
    buffer = bytearray(SIZE)
    places = Places(monkeypatch, buffer)
    with client.open(file_id, readahead=0) as file:
        file.seek(2 * BLOCK)
        file.read(10)
        file.seek(0)
        assert file.readinto(buffer) == SIZE
    assert buffer == DATA
    assert sorted(places.offsets) == [number * BLOCK for number in (0, 1, 3, 4, 5)]
    assert sorted(fetched()) == list(range(1, BLOCKS + 1))


@pytest.mark.parametrize("kind", KINDS)
def test_any_range_of_any_kind(portal: Emulator, client: DirectIO, kind: str) -> None:
    """Whatever the format is, and wherever a read begins and ends, its bytes arrive."""
    file_id = portal.add(DATA, **KINDS[kind])
    with client.open(file_id) as file:
        for start, length in [
            (0, SIZE),
            (BLOCK, 3 * BLOCK),
            (1, SIZE - 2),
            (BLOCK - 1, 2 * BLOCK + 2),
            (3 * BLOCK, SIZE),
        ]:
            buffer = bytearray(length)
            file.seek(start)
            count = file.readinto(buffer)
            assert count == min(length, SIZE - start)
            assert buffer == DATA[start : start + length] + bytes(length - count)
            assert file.tell() == start + count


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect as Linux has it")
@pytest.mark.parametrize("kind", KINDS)
def test_guard_pages(portal: Emulator, client: DirectIO, kind: str) -> None:
    """Pages before and after the buffer that nothing may touch are not touched."""
    page = mmap.PAGESIZE
    size = 5 * BLOCK
    file_id = portal.add(DATA, **KINDS[kind])
    memory = mmap.mmap(-1, size + 2 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for guard in (address, address + page + size):
        assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
    with (
        memoryview(memory) as whole,
        whole[page : page + size] as middle,
        client.open(file_id) as file,
    ):
        for start in (0, 1, BLOCK - 1001):
            file.seek(start)
            assert file.readinto(middle) == size
            assert middle == DATA[start : start + size]
    memory.close()


def test_all_blocks_are_under_way_together(
    portal: Emulator, client: DirectIO, file_id: int
) -> None:
    """The blocks at the edges, which are copied, do not wait for the others."""
    held = portal.faults.add("storage", times=None, action=faults.stall())
    core_of(client).engine._tuner.limit = 8
    buffer = bytearray(5 * BLOCK)
    with client.open(file_id, readahead=0) as file, ThreadPoolExecutor(1) as pool:
        file.seek(10)
        reading = pool.submit(file.readinto, buffer)
        assert held.wait(hits=BLOCKS)
        held.release()
        assert reading.result(PATIENCE_S) == len(buffer)
    assert buffer == DATA[10 : 10 + len(buffer)]


def test_reads_that_follow_each_other_read_ahead(
    portal: Emulator, serial_client: DirectIO, fetched: Fetched
) -> None:
    """A reader with large buffers gets the next blocks fetched ahead, and each block once."""
    size = 24 * BLOCK
    file_id = portal.add(SyntheticSource(size), block_size=BLOCK)
    buffer = bytearray(4 * BLOCK)
    with serial_client.open(file_id) as file:
        assert file.readinto(buffer) == len(buffer)
        assert len(fetched()) > 4
        while file.readinto(buffer):
            pass
    assert sorted(fetched()) == list(range(1, 25))


def test_blocks_that_were_read_make_room(
    portal: Emulator, make_client: Callable[..., DirectIO]
) -> None:
    """A file whose memory is full of blocks that were read still fetches several at once."""
    client = make_client(memory=8 * BLOCK)
    core_of(client).engine._tuner.limit = 8
    full = portal.add(SyntheticSource(12 * BLOCK), block_size=BLOCK)
    file_id = portal.add(DATA, block_size=BLOCK, compression="NONE", cipher=None)
    with client.open(full) as file, client.open(file_id) as other, ThreadPoolExecutor(1) as pool:
        file.read()
        held = portal.faults.add("storage", file_id, times=None, action=faults.stall())
        reading = pool.submit(other.readinto, bytearray(SIZE))
        assert held.wait(hits=4)
        held.release()
        assert reading.result(PATIENCE_S) == SIZE


def test_a_failed_read_does_not_move(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """A block that cannot be had ends the read by its error, and the buffer is free again."""
    portal.faults.add("storage", file_id, 3, times=None, action=faults.status(404))
    buffer = bytearray(SIZE)
    with client.open(file_id) as file:
        file.seek(5)
        with pytest.raises(DownloadError) as caught:
            file.readinto(buffer)
        assert caught.value.block.number == 3
        assert file.tell() == 5
        buffer.append(0)  # BufferError if anything held it, even while the error is there.
        portal.faults.clear()
        assert file.readinto(buffer) == SIZE - 5
    assert buffer[: SIZE - 5] == DATA[5:]


@pytest.mark.parametrize("what", ["file", "client"])
def test_closed_by_another_thread(
    portal: Emulator, client: DirectIO, file_id: int, what: str
) -> None:
    """The read ends by an error, and the buffer is not written to afterwards."""
    held = portal.faults.add("storage", file_id, 3, action=faults.stall(10))
    buffer = bytearray(SIZE)
    file = client.open(file_id)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(file.readinto, buffer)
        assert held.wait()
        (file if what == "file" else client).close()
        error = reading.exception(PATIENCE_S)
    if what == "file":
        assert isinstance(error, ValueError)
    else:
        assert isinstance(error, DirectIOError)
        assert error.errno == errno.ECANCELED
    check_left_alone(buffer, held)
    file.close()
