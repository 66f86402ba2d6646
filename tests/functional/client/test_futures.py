"""What ``blocks`` returns are futures as of concurrent.futures, in every respect."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    ThreadPoolExecutor,
    as_completed,
    wait,
)

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync._core import core_of
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from ctera_direct_sync.exceptions import DownloadError

SIZE = 10_000
DATA = SyntheticSource(SIZE, seed=1).read(0, SIZE)


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of ten blocks."""
    return portal.add(DATA, block_size=1000)


def test_in_file_order(client: DirectIO, file_id: int) -> None:
    """The list is in file order, in whatever order the blocks come."""
    futures = client.blocks(file_id)
    assert all(isinstance(future, Future) for future in futures)
    assert [future.result().offset for future in futures] == list(range(0, SIZE, 1000))


def test_as_completed_gives_what_is_there(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """A block that stalls does not hold up the others."""
    held = portal.faults.add("storage", block=1, action=faults.stall())
    futures = client.blocks(file_id, max_workers=2)
    finished = as_completed(futures)
    assert {next(finished).result().number for _ in range(9)} == set(range(2, 11))
    held.release()
    assert next(finished).result().number == 1


def test_wait_and_callbacks(client: DirectIO, file_id: int) -> None:
    """wait, done callbacks and the state of each future agree."""
    futures = client.blocks(file_id)
    called: list[int] = []
    everything = threading.Event()

    def note(future: Future) -> None:
        called.append(future.result().number)
        if len(called) == len(futures):
            everything.set()

    for future in futures:
        future.add_done_callback(note)
    assert wait(futures, return_when=FIRST_COMPLETED, timeout=30).done
    assert not wait(futures, timeout=30).not_done
    assert everything.wait(30)
    assert sorted(called) == list(range(1, 11))
    assert all(future.done() and not future.cancelled() for future in futures)


def test_cancelled_before_its_turn_is_never_fetched(
    portal: Emulator, client: DirectIO, file_id: int
) -> None:
    """Of futures cancelled in the queue the storage never hears; the others come."""
    held = portal.faults.add("storage", block=1, action=faults.stall())
    futures = client.blocks(file_id, max_workers=1)
    assert held.wait()
    assert not futures[0].cancel()
    assert all(future.cancel() for future in futures[3:8])
    held.release()
    kept = futures[:3] + futures[8:]
    assert [future.result().number for future in kept] == [1, 2, 3, 9, 10]
    for future in futures[3:8]:
        with pytest.raises(CancelledError):
            future.result()
    assert {record.block for record in portal.log.records(where="storage")} == {1, 2, 3, 9, 10}


def test_several_calls_at_once(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """Calls from several threads, under way together, each get their own blocks."""
    other = portal.add(DATA[::-1], block_size=700)
    together = threading.Barrier(6)
    found: dict[int, bytes] = {}

    def call(index: int) -> None:
        together.wait(30)
        futures = client.blocks(file_id if index % 2 else other)
        found[index] = b"".join(future.result().data for future in futures)

    threads = [threading.Thread(target=call, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {index: DATA if index % 2 else DATA[::-1] for index in range(6)}


def test_max_workers_is_obeyed(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """So many requests at once as the call says: not fewer, not more."""
    held = portal.faults.add("storage", action=faults.stall(), times=7)
    futures = client.blocks(file_id, max_workers=7)
    assert held.wait(7)
    held.release()
    wait(futures)
    assert portal.log.most_in_flight("storage") == 7


def test_failure_is_the_futures_own(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """A block that cannot be had fails its future alone, with an error that names it."""
    portal.faults.add("storage", block=4, times=None, action=faults.status(404))
    futures = client.blocks(file_id)
    error = futures[3].exception(timeout=30)
    assert isinstance(error, DownloadError)
    assert error.block == (file_id, 4, 3000, 1000)
    assert [future.result().number for index, future in enumerate(futures) if index != 3] == [
        1, 2, 3, 5, 6, 7, 8, 9, 10
    ]  # fmt: skip


def test_a_callback_may_call_the_client(client: DirectIO, file_id: int) -> None:
    """A done callback runs on a worker thread, and may start further transfers from there."""
    again: list[Future] = []
    started = threading.Event()

    def more(_: Future) -> None:
        again.extend(client.blocks(file_id))
        started.set()

    client.blocks(file_id)[9].add_done_callback(more)
    assert started.wait(30)
    assert b"".join(future.result(timeout=30).data for future in again) == DATA


def test_closed_client(
    make_client: Callable[..., DirectIO], portal: Emulator, file_id: int
) -> None:
    """After close every way in says so, and nothing is asked of anyone."""
    client = make_client()
    metadata = client.metadata(file_id)
    execute = client.executor(metadata)
    client.close()
    client.close()
    asked = len(portal.requests)
    for call in (client.metadata, client.blocks, client.stream, client.open):
        with pytest.raises(ValueError, match="closed"):
            call(file_id)
    with pytest.raises(ValueError, match="closed"):
        execute()
    assert len(portal.requests) == asked


def test_streams_are_within_the_clients_number(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int
) -> None:
    """40 streams of a client with four workers are four downloads at once; a call's own come on top."""
    held = portal.faults.add("storage", times=None, action=faults.stall())
    client = make_client(max_workers=4)
    metadata = client.metadata(file_id)
    with ThreadPoolExecutor(40) as pool:
        begun = threading.Barrier(41)

        def consume() -> bytes:
            streamer = core_of(client).streamer(metadata, None)
            begun.wait(20)
            return b"".join(block.data for block in streamer.start())

        streams = [pool.submit(consume) for _ in range(40)]
        begun.wait(20)
        assert held.wait(4)
        own = client.executor(metadata, max_workers=2)()
        assert held.wait(6)
        assert not held.wait(7, timeout=0.5)
        held.release()
        assert len({future.result(60) for future in streams}) == 1
        assert len([future.result(60) for future in own]) == len(metadata.chunks)


def test_block_number_that_cannot_be(portal: Emulator, client: DirectIO) -> None:
    """A number that no block can have is reported as that, and not as a lack of memory."""
    metadata = client.metadata(portal.add(DATA, cipher="AES-GCM"))
    metadata.chunks = tuple(chunk._replace(number=-1) for chunk in metadata.chunks)
    (future,) = client.executor(metadata)()
    with pytest.raises(DownloadError, match="-1 is not a block number") as caught:
        future.result()
    assert caught.value.errno == errno.EINVAL
