"""An open file in several threads, in a forked child, and pickled for another process."""

from __future__ import annotations

import _thread
import asyncio
import collections
import copy
import errno
import functools
import io
import os
import pickle
import queue
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ctera_direct_sync import DirectIO, DirectIOError, Settings, UnAuthorized
from ctera_direct_sync._core import core_of
from ctera_direct_sync._readers.file import DirectFile
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults

DATA = SyntheticSource(100_003, seed=3).read(0, 100_003)
BLOCK = 10_000


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """DATA in blocks of 10,000 bytes."""
    return portal.add(DATA, block_size=BLOCK)


@pytest.fixture(params=["open", "fs.open", "fs.open beside DuckDB"])
def file(
    request: pytest.FixtureRequest,
    client: DirectIO,
    file_id: int,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[DirectFile]:
    """The file, opened by both ways, with and without DuckDB in the process."""
    monkeypatch.delitem(sys.modules, "duckdb", raising=False)
    monkeypatch.delitem(sys.modules, "_duckdb", raising=False)
    if request.param == "open":
        file: DirectFile = client.open(file_id)
    else:
        if request.param != "fs.open":
            monkeypatch.setitem(sys.modules, "duckdb", types.ModuleType("duckdb"))
        file = core_of(client).open_shared(client.metadata(file_id))
    with file:
        yield file


def elsewhere(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a thread of its own."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


# --- threads ----------------------------------------------------------------------------------------------


def test_one_position(file: DirectFile) -> None:
    """A read is from where the file was moved last, by whichever thread."""
    elsewhere(lambda: file.seek(100))
    assert file.tell() == 100
    elsewhere(lambda: file.seek(50_000))
    assert file.read(10) == DATA[50_000:50_010]
    file.seek(7)
    assert elsewhere(lambda: file.seek(200)) == 200
    assert elsewhere(file.tell) == file.tell() == 200
    assert file.read(10) == DATA[200:210]
    assert elsewhere(lambda: file.read(10)) == DATA[210:220]
    assert elsewhere(file.readline) == io.BytesIO(DATA[220:]).readline()


def test_to_thread(portal: Emulator, client: DirectIO) -> None:
    """Calls that asyncio spreads over threads read what one thread would, in each of 100 files."""
    metadata = client.metadata(portal.add(DATA[:3000], block_size=700))

    async def read() -> bytes:
        with core_of(client).open_shared(metadata) as file:
            await asyncio.to_thread(file.seek, 1_000)
            await asyncio.to_thread(file.seek, 10)
            parts = []
            while part := await asyncio.to_thread(file.read, 500):
                parts.append(part)
                if len(parts) == 2:
                    await asyncio.to_thread(file.seek, 0, os.SEEK_CUR)
            return b"".join(parts)

    async def main() -> list[bytes]:
        return await asyncio.gather(*(read() for _ in range(100)))

    assert asyncio.run(main()) == [DATA[10:3000]] * 100


@pytest.mark.parametrize("way", ["read", "readline", "next", "iterate", "readinto"])
def test_concurrent_reads_share_out_the_bytes(file: DirectFile, way: str) -> None:
    """Threads that read one file at the same time get each byte once between them, as from a disk."""
    start = threading.Barrier(4)
    parts: list[bytes] = []

    def readinto() -> bytes:
        target = bytearray(777)
        return bytes(target[: file.readinto(target)])

    reads: dict[str, Callable[[], Iterator[bytes]]] = {
        "read": lambda: iter(lambda: file.read(777), b""),
        "readline": lambda: iter(file.readline, b""),
        "next": lambda: iter(lambda: next(file, b""), b""),
        "iterate": lambda: iter(file),
        "readinto": lambda: iter(readinto, b""),
    }

    def read() -> None:
        start.wait()
        parts.extend(reads[way]())

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if way in ("read", "readinto"):
        expected = [DATA[at : at + 777] for at in range(0, len(DATA), 777)]
    else:
        expected = io.BytesIO(DATA).readlines()
    assert sorted(parts) == sorted(expected)


class _NativeThread:
    """A thread that calls methods as DuckDB's do: no Python function is beneath the call."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        calls = map(functools.partial.__call__, iter(self._calls.get, None))
        _thread.start_new_thread(collections.deque, (map(self._results.put, calls), 0))

    def __call__(self, method: Callable[..., Any], *arguments: Any) -> Any:
        self._calls.put(functools.partial(method, *arguments))
        return self._results.get(timeout=30)

    def end(self) -> None:
        self._calls.put(None)


@pytest.mark.parametrize("file", ["fs.open beside DuckDB"], indirect=True)
def test_native_threads_read_where_they_moved(file: DirectFile) -> None:
    """DuckDB's threads seek and then read with no lock of theirs: each reads where it moved."""
    native, other = _NativeThread(), _NativeThread()
    # The thread that runs the query moves first; the others move before it reads.
    file.seek(5)
    native(file.seek, 25_000)
    other(file.seek, 60_000)
    assert file.read(100) == DATA[5:105]
    assert native(file.read, 100) == DATA[25_000:25_100]
    assert other(file.tell) == 60_000
    assert other(file.read, 50) == DATA[60_000:60_050]
    # A thread that did not move goes on from where the file stands.
    assert native(file.read, 10) == DATA[60_050:60_060]
    native.end()
    other.end()


@pytest.mark.parametrize("file", ["open", "fs.open"], indirect=True)
def test_native_threads_of_other_programs(file: DirectFile) -> None:
    """Where DuckDB is not in the process, there is one position for native threads, too."""
    native = _NativeThread()
    file.seek(5)
    native(file.seek, 25_000)
    assert file.read(100) == DATA[25_000:25_100]
    native.end()


# --- fork -------------------------------------------------------------------------------------------------


def _in_child(work: Callable[[], bool]) -> int:
    """The status of a forked child that does `work`; a hang ends by a signal."""
    child = os.fork()
    if child == 0:
        status = 2
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("seeks", [True, False])
def test_fork_while_a_thread_reads(
    portal: Emulator, file: DirectFile, file_id: int, seeks: bool
) -> None:
    """The child reads the file that a thread of its parent is reading, from where that read began."""
    held = portal.faults.add("storage", block=5, action=faults.stall())
    found: list[bytes] = []
    file.seek(45_000)
    reader = threading.Thread(target=lambda: found.append(file.read(10)))
    reader.start()
    assert held.wait()

    def work() -> bool:
        if seeks:
            file.seek(5)
            return file.read(10) == DATA[5:15] and file.readline() == next(io.BytesIO(DATA[15:]))
        return file.tell() == 45_000 and file.read() == DATA[45_000:]

    assert _in_child(work) == 0
    held.release()
    reader.join()
    assert found == [DATA[45_000:45_010]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_another_file_of_the_client_in_a_child(
    portal: Emulator, client: DirectIO, file_id: int
) -> None:
    """A child opens, reads and closes files while its parent's thread is amid a read."""
    held = portal.faults.add("storage", block=5, action=faults.stall())
    with client.open(file_id) as file:
        reader = threading.Thread(target=file.read)
        reader.start()
        assert held.wait()

        def work() -> bool:
            with client.open(file_id) as other:
                other.seek(60_000)
                right = other.read() == DATA[60_000:]
            file.close()
            return right

        assert _in_child(work) == 0
        held.release()
        reader.join()


# --- pickling ---------------------------------------------------------------------------------------------


def test_pickled_file_reopens_at_its_position(client: DirectIO, file_id: int) -> None:
    """A pickled file opens again where it stood, with a client of its own that it closes."""
    with client.open(file_id, readahead=0) as file:
        file.seek(12_345)
        dumped = pickle.dumps(file)
    client.close()
    with pickle.loads(dumped) as again, pickle.loads(dumped) as once_more:
        assert isinstance(again, DirectFile)
        assert (again.tell(), again.size, again.name) == (12_345, len(DATA), str(file_id))
        assert again.read(10) == DATA[12_345:12_355]
        # They share one client, which goes on until the last of them is closed.
        again.close()
        assert once_more.read() == DATA[12_345:]


def test_copied_file_has_a_position_of_its_own(client: DirectIO, file_id: int) -> None:
    """copy.copy opens the file once more."""
    with client.open(file_id) as file:
        file.seek(10)
        with copy.copy(file) as other:
            assert other.read(5) == DATA[10:15]
            assert file.tell() == 10


def test_pickled_file_that_changed(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """A file that changed since it was pickled does not go on in other content."""
    with client.open(file_id) as file:
        dumped = pickle.dumps(file)
    portal.replace(file_id, DATA[::-1])
    with pickle.loads(dumped) as again:
        for use in (again.read, again.readline, again.peek, lambda: again.size):
            with pytest.raises(DirectIOError, match="changed") as caught:
                use()
            assert caught.value.errno == errno.ESTALE


def test_pickled_file_loads_without_its_portal(portal: Emulator, file_id: int) -> None:
    """What loads a pickle never fails for the portal's sake; each use tries again to open the file."""
    with DirectIO(
        portal.url, portal.access_key_id, portal.secret_access_key, settings=Settings(retries=0)
    ) as client:
        file = client.open(file_id)
        file.seek(7)
        dumped = pickle.dumps(file)
    portal.faults.add("portal", file_id, action=faults.status(401), times=2)
    with pickle.loads(dumped) as again:
        assert (again.tell(), again.name, again.closed) == (7, str(file_id), False)
        for _ in range(2):
            with pytest.raises(UnAuthorized):
                again.read(5)
            assert again.tell() == 7
        with pickle.loads(pickle.dumps(again)) as third:
            assert third.seek(-5, os.SEEK_END) == len(DATA) - 5
            assert third.read() == DATA[-5:]
        assert again.read(5) == DATA[7:12]
    unused = pickle.loads(dumped)
    unused.close()
    with pytest.raises(ValueError, match="closed"):
        unused.read()


def test_what_cannot_be_pickled(client: DirectIO, file_id: int) -> None:
    """A closed file, and a raw one, say what to do."""
    file = client.open(file_id)
    with pytest.raises(TypeError, match=r"DirectIO\.open"):
        pickle.dumps(file.raw)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        pickle.dumps(file)


def test_pickled_file_that_is_dropped(client: DirectIO, file_id: int) -> None:
    """An unpickled file that is dropped without close leaves its client to the next one that ends."""
    with client.open(file_id) as file:
        dumped = pickle.dumps(file)
    dropped = pickle.loads(dumped)
    assert dropped.read(5) == DATA[:5]
    del dropped
    with pickle.loads(dumped) as again:
        assert again.read(5) == DATA[:5]


# --- integers ---------------------------------------------------------------------------------------------


class _Index:
    """An integer that is not an int, as numpy's are."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __index__(self) -> int:
        return self._value


def test_takes_any_integer(file: DirectFile) -> None:
    """Sizes, offsets and whence are any integers, counted as Python's whatever their width."""
    assert file.seek(_Index(30_000)) == 30_000
    assert file.seek(_Index(5), _Index(os.SEEK_CUR)) == 30_005
    for read in (file.read, file.read1, file.readline, lambda size: file.peek(size)[:5]):
        file.seek(30_000)
        assert DATA[30_000:30_005].startswith(read(_Index(5)))
    file.seek(0)
    assert file.readlines(_Index(1)) == io.BytesIO(DATA).readlines(1)
    for wrong in (1.5, "1", b"1"):
        for call in (file.read, file.read1, file.readline, file.readlines, file.peek, file.seek):
            with pytest.raises(TypeError):
                call(wrong)  # type: ignore[operator]


def test_numpy_integers(file: DirectFile) -> None:
    """numpy's narrow integers neither overflow nor warn; numpy's arrays can be read into."""
    numpy = pytest.importorskip("numpy")
    for place, size in (
        (40_000, numpy.int16(2000)),
        (70_000, numpy.uint16(30_003)),
        (9, numpy.int8(100)),
    ):
        file.seek(place)
        assert file.read(size) == DATA[place : place + int(size)]
        file.seek(place)
        assert file.seek(size, 1) == place + int(size)
    assert file.seek(numpy.int16(-5000), numpy.int8(2)) == len(DATA) - 5000
    for kind in ("<i4", ">i4", ">f8", "V8"):
        array = numpy.zeros(1000, kind)
        file.seek(9_000)
        assert file.readinto(array) == array.nbytes
        assert array.tobytes() == DATA[9_000 : 9_000 + array.nbytes]


def test_readahead_is_any_integer(client: DirectIO, file_id: int) -> None:
    """readahead=, too."""
    numpy = pytest.importorskip("numpy")
    with client.open(file_id, readahead=numpy.int16(20_000)) as file:
        assert file.read() == DATA


def test_far_beyond_two_gib(portal: Emulator, client: DirectIO) -> None:
    """A 32-bit length is right at an offset of more bits."""
    numpy = pytest.importorskip("numpy")
    big = portal.add(SyntheticSource(3 * 2**30), block_size=2**20)
    with client.open(big) as file:
        file.seek(5 * 2**29)
        assert len(file.read(numpy.int32(2000))) == 2000
        assert file.tell() == 5 * 2**29 + 2000
