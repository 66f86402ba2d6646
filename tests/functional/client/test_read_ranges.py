"""`read_ranges` returns what each range has, in the caller's memory or not, by few requests."""

from __future__ import annotations

import errno
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ctera_direct_sync import DirectIO, DirectIOError, DownloadError
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from tests.support.buffers import check_left_alone

BLOCK, SIZE = 1000, 10_500
DATA = SyntheticSource(SIZE, seed=1).read(0, SIZE)
PATIENCE_S = 30
PLAINTEXT: dict[str, Any] = {"compression": "NONE", "cipher": None}


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of eleven blocks."""
    return portal.add(DATA, block_size=BLOCK)


@pytest.mark.parametrize("options", [{}, {"compression": "LZ4", "cipher": "AES-GCM"}, PLAINTEXT])
def test_results_in_order(portal: Emulator, client: DirectIO, options: dict[str, Any]) -> None:
    """Ranges may overlap, repeat, be empty, or lie past the end, in any order, with buffers or not."""
    file_id = portal.add(DATA, block_size=BLOCK, **options)
    wanted = [
        *((5000, 100), (0, 1), (4990, 20), (5000, 100), (0, SIZE), (7, 0), (SIZE - 5, 50)),
        *((SIZE, 5), (1 << 70, 5), (999, 2), (2000, 1000), (1500, 4000)),
    ]
    buffers = [bytearray(length + 3) for _, length in wanted]
    plain = client.read_ranges(file_id, wanted)
    assert all(type(each) is bytes for each in plain)
    filled = client.read_ranges(file_id, [(*each, buffer) for each, buffer in zip(wanted, buffers)])
    assert all(type(each) is memoryview for each in filled)
    for (start, length), data, view, buffer in zip(wanted, plain, filled, buffers):
        expected = DATA[start : start + length]
        assert data == view == expected
        assert buffer == expected + bytes(len(buffer) - len(expected))


def test_no_ranges(client: DirectIO, file_id: int) -> None:
    """There is nothing to return."""
    assert client.read_ranges(file_id, []) == []


def test_thousands_of_ranges_share_requests(
    portal: Emulator, client: DirectIO, file_id: int
) -> None:
    """Each block is fetched once, however many ranges it has."""
    chosen = random.Random(5)
    wanted = [(chosen.randrange(SIZE), chosen.randrange(50)) for _ in range(5000)]
    found = client.read_ranges(file_id, wanted)
    assert found == [DATA[start : start + length] for start, length in wanted]
    assert portal.log.total("storage") == 11


def test_ranges_across_a_plaintext_object_share_a_request(
    portal: Emulator, client: DirectIO
) -> None:
    """Ranges of one stored object with small gaps come by one request."""
    file_id = portal.add(DATA, block_size=SIZE, **PLAINTEXT)
    found = client.read_ranges(file_id, [(9000, 10), (100, 10), (5000, 10)])
    assert found == [DATA[9000:9010], DATA[100:110], DATA[5000:5010]]
    assert portal.log.total("storage") == 1


def test_numpy(client: DirectIO, file_id: int) -> None:
    """Rows of an array are filled, each from its own place in the file."""
    numpy = pytest.importorskip("numpy")
    rows = numpy.zeros((3, 50), dtype=">u2")
    starts = (3, 2950, 8000)
    client.read_ranges(file_id, [(start, 100, row) for start, row in zip(starts, rows)])
    assert [row.tobytes() for row in rows] == [DATA[start : start + 100] for start in starts]


def test_arrow(client: DirectIO, file_id: int) -> None:
    """What comes becomes a buffer of pyarrow without a copy."""
    pyarrow = pytest.importorskip("pyarrow")
    memory = bytearray(2000)
    (view,) = client.read_ranges(file_id, [(500, 2000, memory)])
    buffer = pyarrow.py_buffer(view)
    assert buffer.to_pybytes() == DATA[500:2500]
    assert buffer.address == pyarrow.py_buffer(memory).address


@pytest.mark.parametrize(
    ("ranges", "error"),
    [
        ([(-1, 5)], ValueError),
        ([(0, -5)], ValueError),
        ([(0, 5, bytearray(4))], ValueError),
        ([(0, 5, b"abcde")], TypeError),
        ([(0, 5, memoryview(bytearray(15))[::3])], BufferError),
        ([(0,)], TypeError),
        ([5], TypeError),
        ([(0, 1.5)], TypeError),
    ],
)
def test_wrong_ranges(
    portal: Emulator, client: DirectIO, file_id: int, ranges: Any, error: type[Exception]
) -> None:
    """They are refused before any request, and buffers of earlier ranges are free again."""
    buffer = bytearray(5)
    with pytest.raises(error):
        client.read_ranges(file_id, [(0, 5, buffer), *ranges])
    assert not portal.log.total("portal")
    buffer.append(0)


def test_a_block_that_does_not_come(portal: Emulator, make_client: Any, file_id: int) -> None:
    """One error stands for all ranges, and the buffers are free again."""
    client = make_client(retries=0)
    portal.faults.add("storage", file_id, 4, action=faults.status(404), times=None)
    buffer = bytearray(5000)
    with pytest.raises(DownloadError) as caught:
        client.read_ranges(file_id, [(0, 5000, buffer), (9000, 5)])
    assert caught.value.block.number == 4
    buffer.append(0)


def test_closing_meanwhile(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """Another thread closes the client: the call raises, and the buffer is never written to again."""
    held = portal.faults.add("storage", file_id, 4, action=faults.stall())
    buffer = bytearray(SIZE)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(client.read_ranges, file_id, [(0, SIZE, buffer)])
        assert held.wait()
        client.close()
        error = reading.exception(PATIENCE_S)
    assert isinstance(error, DirectIOError)
    assert error.errno == errno.ECANCELED
    check_left_alone(buffer, held)
