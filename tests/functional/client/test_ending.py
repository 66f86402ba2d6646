"""However a transfer is ended, it ends: at once, whole, and with a definite word to everyone."""

from __future__ import annotations

import errno
import gc
import io
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import ByteRange, DirectIO
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from ctera_direct_sync.exceptions import (
    DirectIOAPIError,
    DirectIOError,
    DownloadError,
    StreamError,
)

SIZE = 20_000
DATA = SyntheticSource(SIZE, seed=1).read(0, SIZE)
BLOCKS = 20


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of 20 blocks."""
    return portal.add(DATA, block_size=1000)


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """Another thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.mark.parametrize("at", ["before headers", "in the body"])
def test_stop_from_another_thread(
    portal: Emulator, client: DirectIO, file_id: int, aside: ThreadPoolExecutor, at: str
) -> None:
    """stop() ends an iteration that waits for a block, without an error; no read stays behind."""
    after = None if at == "before headers" else 10
    held = portal.faults.add("storage", block=3, times=None, action=faults.stall(after))
    streamer = client.streamer(file_id)
    taking = aside.submit(lambda: [block.number for block in streamer.start()])
    assert held.wait()
    streamer.stop()
    assert taking.result(10) in ([], [1], [1, 2])
    assert streamer.offset == 1000 * len(taking.result())


def test_leaving_the_loop_cuts_off_what_is_read(
    portal: Emulator, client: DirectIO, file_id: int
) -> None:
    """Once the loop is left no block is asked for, and those under way are cut off."""
    held = [
        portal.faults.add("storage", block=number, times=None, action=faults.stall(5))
        for number in (5, 6)
    ]
    for block in client.stream(file_id, max_workers=2):
        if block.number == 4:
            assert held[0].wait() and held[1].wait()
            break
    client.close()  # Joins both threads, which are stalled until they are cut off.
    asked = [record.block for record in portal.log.records(where="storage")]
    assert sorted(asked) == [1, 2, 3, 4, 5, 6]


def test_exception_in_the_loop(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """The body's exception is what the caller gets, and the stream is over."""
    held = portal.faults.add("storage", block=9, times=None, action=faults.stall())
    blocks = client.stream(file_id)
    with pytest.raises(ZeroDivisionError):
        for block in blocks:
            1 / (4 - block.number)
    assert block.number == 4
    blocks.close()
    assert list(blocks) == []
    held.release()


def test_generator_that_is_dropped(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """A stream that was dropped stops by itself."""
    portal.faults.add("storage", block=6, times=None, action=faults.stall())
    blocks = client.stream(file_id, max_workers=1)
    assert next(blocks).number == 1
    del blocks
    gc.collect()
    asked = portal.log.total("storage")
    assert [future.result().number for future in client.blocks(file_id, ByteRange(0, 999))] == [1]
    assert portal.log.total("storage") <= asked + 2


def test_a_stream_never_begun(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """A stream from which nothing is taken costs one listing and no block."""
    client.stream(file_id)
    streamer = client.streamer(file_id)
    streamer.stop()
    assert list(streamer.start()) == []
    assert portal.log.total("storage") == 0


def test_close_during_a_stream(
    portal: Emulator, client: DirectIO, file_id: int, aside: ThreadPoolExecutor
) -> None:
    """A stream whose client is closed says so, and where it was."""
    held = portal.faults.add("storage", block=3, times=None, action=faults.stall(5))
    got: list[int] = []

    def take() -> None:
        got.extend(block.length for block in client.stream(file_id))

    taking = aside.submit(take)
    assert held.wait()
    client.close()
    error = taking.exception(30)
    assert isinstance(error, StreamError)
    assert (error.errno, error.offset) == (errno.ECANCELED, sum(got))


def test_close_during_blocks(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int
) -> None:
    """Every future comes to an end: with its block, cancelled, or with an error that says why."""
    held = portal.faults.add("storage", times=None, skip=3, action=faults.stall())
    client = make_client()
    futures = client.blocks(file_id, max_workers=4)
    assert held.wait(4)
    client.close()
    assert not wait(futures, timeout=30).not_done
    ends = {"block": 0, "cancelled": 0, "cut": 0}
    for future in futures:
        if future.cancelled():
            ends["cancelled"] += 1
        elif future.exception() is not None:
            assert isinstance(future.exception(), DownloadError)
            assert future.exception().errno == errno.ECANCELED
            ends["cut"] += 1
        else:
            ends["block"] += 1
    assert ends == {"block": 3, "cut": 4, "cancelled": BLOCKS - 7}


def test_close_during_an_iteration(
    portal: Emulator, client: DirectIO, file_id: int, aside: ThreadPoolExecutor
) -> None:
    """iter_blocks of a client that is closed ends with an error, not as if it were complete."""
    held = portal.faults.add("storage", block=3, times=None, action=faults.stall())
    taking = aside.submit(lambda: list(client.iter_blocks(file_id)))
    assert held.wait()
    client.close()
    error = taking.exception(30)
    assert isinstance(error, DirectIOError)
    assert error.errno == errno.ECANCELED


@pytest.mark.parametrize("kind", ["path", "file object"])
def test_close_during_a_download(
    portal: Emulator,
    client: DirectIO,
    file_id: int,
    aside: ThreadPoolExecutor,
    tmp_path: Path,
    kind: str,
) -> None:
    """A download whose client is closed leaves nothing under the final name."""
    held = portal.faults.add("storage", block=3, times=None, action=faults.stall())
    target: Any = tmp_path / "target" if kind == "path" else io.BytesIO()
    loading = aside.submit(client.download, file_id, target)
    assert held.wait()
    client.close()
    error = loading.exception(10)
    assert isinstance(error, DirectIOError)
    assert error.errno == errno.ECANCELED
    assert list(tmp_path.iterdir()) == []


def test_close_during_a_listing(
    portal: Emulator, client: DirectIO, file_id: int, aside: ThreadPoolExecutor
) -> None:
    """A call that waits for the portal ends with an error of the library."""
    held = portal.faults.add("portal", times=None, action=faults.stall())
    listing = aside.submit(client.metadata, file_id)
    assert held.wait()
    client.close()
    error = listing.exception(10)
    assert isinstance(error, DirectIOAPIError)
    assert error.errno == errno.ECANCELED


def test_close_during_a_backoff(
    portal: Emulator,
    make_client: Callable[..., DirectIO],
    file_id: int,
    aside: ThreadPoolExecutor,
) -> None:
    """A caller that waits for a Retry-After of ten minutes is woken."""
    waiting = threading.Event()
    client = make_client(
        retry_timeout=3600, on_event=lambda event: event.name == "retried" and waiting.set()
    )
    portal.faults.add(
        "storage", block=3, times=None, action=faults.status(503, {"Retry-After": "600"})
    )
    taking = aside.submit(lambda: list(client.stream(file_id)))
    assert waiting.wait(30)
    client.close()
    assert isinstance(taking.exception(30), StreamError)


def test_close_on_a_worker_thread(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int
) -> None:
    """A done callback may close the client: no thread waits for itself."""
    client = make_client()
    closed = threading.Event()

    def close(_: Any) -> None:
        client.close()
        closed.set()

    futures = client.blocks(file_id, max_workers=2)
    futures[2].add_done_callback(close)
    assert closed.wait(30)
    assert not wait(futures, timeout=30).not_done


def test_cancelling_all_that_waits(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """Futures of a call that are all cancelled leave the client ready for the next."""
    held = portal.faults.add("storage", block=1, action=faults.stall())
    futures = client.blocks(file_id, max_workers=1)
    assert held.wait()
    assert all(future.cancel() for future in futures[1:])
    held.release()
    assert futures[0].result(10).number == 1
    with pytest.raises(CancelledError):
        futures[1].result()
    assert b"".join(block.data for block in client.stream(file_id)) == DATA


@pytest.mark.parametrize("number", [1, 7, 20])
def test_stream_error_tells_where_to_go_on(
    portal: Emulator, client: DirectIO, file_id: int, number: int
) -> None:
    """What came before a StreamError and what comes from its offset are together the file."""
    portal.faults.add("storage", block=number, times=None, action=faults.status(404))
    parts = []
    with pytest.raises(StreamError) as caught:
        parts.extend(block.data for block in client.stream(file_id))
    assert caught.value.offset == 1000 * (number - 1) >= len(b"".join(parts))
    assert isinstance(caught.value.__cause__, DownloadError)
    assert caught.value.__cause__.block.number == number
    portal.faults.clear()
    rest = client.stream(file_id, ByteRange(caught.value.offset))
    first = DATA[: caught.value.offset]
    assert first + b"".join(block.data for block in rest) == DATA


def test_stream_error_inside_a_range(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """The offset is the file's, also where the stream began in the middle of a block."""
    portal.faults.add("storage", block=8, times=None, action=faults.status(404))
    wanted = ByteRange(5_500, 9_499)
    got = bytearray()
    with pytest.raises(StreamError) as caught:
        for block in client.stream(file_id, wanted):
            got += block.data
    assert caught.value.offset == 7_000 == wanted.start + len(got)
    portal.faults.clear()
    for block in client.stream(file_id, ByteRange(caught.value.offset, wanted.end)):
        got += block.data
    assert got == DATA[5_500:9_500]


def test_client_that_is_dropped_leaves_no_thread(portal: Emulator, file_id: int) -> None:
    """A client that is never closed ends its threads when it is collected, and keeps no block alive."""
    before = set(threading.enumerate())
    client = DirectIO(portal.url, portal.access_key_id, portal.secret_access_key)
    assert b"".join(block.data for block in client.stream(file_id)) == DATA
    assert len([future.result() for future in client.blocks(file_id)]) == BLOCKS
    workers = set(threading.enumerate()) - before
    assert any(each.name.startswith("ctera-direct") for each in workers)
    watched = weakref.ref(client)
    del client
    gc.collect()
    assert watched() is None
    for each in workers:
        if each.name.startswith("ctera-direct"):
            each.join(30)
            assert not each.is_alive()
