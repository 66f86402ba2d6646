"""``DirectIO.open``: the interface of a binary file, and what goes wrong."""

from __future__ import annotations

import array
import errno
import io
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctera_direct_sync import (
    BlockError,
    DirectIO,
    DirectIOAPIError,
    DirectIOError,
    DownloadError,
    Settings,
)
from ctera_direct_sync._core import core_of
from ctera_direct_sync._readers.file import DirectFile
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults

from .conftest import Fetched

KIB = 1024
DATA = SyntheticSource(100_003, seed=3).read(0, 100_003)
#: Blocks of many lengths, none a round number of anything.
VARIED = (1, 7000, 40, 33_000, 999)


@pytest.fixture
def file(portal: Emulator, client: DirectIO) -> Iterator[DirectFile]:
    """DATA in blocks of various lengths, opened."""
    with client.open(portal.add(DATA, block_size=VARIED)) as file:
        yield file


# --- the interface ---------------------------------------------------------------------------------------


def test_is_a_binary_reader(file: DirectFile) -> None:
    """It is what ``open(path, 'rb')`` gives, and says so."""
    assert isinstance(file, io.BufferedReader)
    assert isinstance(file.raw, io.RawIOBase)
    assert file.readable() and file.seekable() and not file.writable() and not file.isatty()
    assert (file.mode, file.closed, file.size, file.tell()) == ("rb", False, len(DATA), 0)


def test_name_is_no_descriptor(file: DirectFile) -> None:
    """The name is the file ID as text: an integer would be taken for a file descriptor."""
    assert file.name == "1001"
    assert "name='1001'" in repr(file)
    with pytest.raises(io.UnsupportedOperation):
        file.fileno()


def test_reads(file: DirectFile) -> None:
    """read, read1, peek, readline, readlines and iteration give what a file on disk does."""
    assert file.read(0) == b""
    assert file.read(5) == DATA[:5]
    assert file.peek(10)[:1] == DATA[5:6]
    assert file.tell() == 5
    some = file.read1(10)
    assert some and DATA[5:].startswith(some)
    file.seek(0)
    assert list(file) == io.BytesIO(DATA).readlines()
    file.seek(0)
    assert file.readline() == io.BytesIO(DATA).readline()
    assert file.readlines(1) == io.BytesIO(DATA).readlines()[1:2]
    file.seek(7041)
    assert file.read() == DATA[7041:]
    assert file.read() == file.read(1) == file.readline() == b""
    file.seek(-3, os.SEEK_END)
    assert file.read(None) == DATA[-3:]


@pytest.mark.parametrize("size", [1, 100, 70_000, 200_000])
def test_readinto(file: DirectFile, size: int) -> None:
    """readinto fills bytearrays, arrays of wider items, and views, small or larger than the file."""
    for make in (bytearray, lambda n: array.array("H", bytes(n + n % 2)), _view_of_rows):
        buffer = make(size)
        file.seek(3)
        wanted = min(memoryview(buffer).nbytes, len(DATA) - 3)
        assert file.readinto(buffer) == wanted
        assert bytes(memoryview(buffer).cast("B")[:wanted]) == DATA[3 : 3 + wanted]
    target = bytearray(size)
    file.seek(3)
    count = file.readinto1(target)
    assert count > 0 and target[:count] == DATA[3 : 3 + count]


def _view_of_rows(size: int) -> memoryview:
    return memoryview(bytearray(size)).cast("B", (1, size))


def test_readinto_refuses_what_cannot_be_written(file: DirectFile) -> None:
    """Bytes and read-only views cannot be read into."""
    with pytest.raises(TypeError):
        file.readinto(b"1234")
    with pytest.raises(TypeError):
        file.readinto(memoryview(bytes(100_000)))
    assert file.tell() == 0


def test_raw_reads(file: DirectFile) -> None:
    """The raw file is usable by itself: it reads to the end of a block at most, readall to the end."""
    raw = file.raw
    assert raw.read(100) == DATA[:1]
    assert raw.read(100) == DATA[1:101]
    assert raw.readinto(bytearray()) == 0
    assert raw.tell() == 101
    assert raw.readall() == DATA[101:]
    assert raw.read(1) == b"" and raw.readall() == b""


def test_seeks(file: DirectFile, fetched: Fetched) -> None:
    """Each whence works, past the end reads nothing, and no seek fetches anything."""
    assert file.seek(10) == file.tell() == 10
    assert file.seek(5, os.SEEK_CUR) == 15
    assert file.seek(-4, os.SEEK_CUR) == 11
    assert file.seek(-1, os.SEEK_END) == len(DATA) - 1
    assert file.seek(50, os.SEEK_END) == file.tell() == len(DATA) + 50
    assert file.read(10) == file.read() == b""
    assert fetched() == []


@pytest.mark.parametrize("place", [(-1, os.SEEK_SET), (-1, os.SEEK_CUR), (-100_004, os.SEEK_END)])
def test_seek_before_the_beginning(file: DirectFile, place: tuple[int, int]) -> None:
    """Before the beginning is EINVAL, as for a file on disk, and the position stays."""
    with pytest.raises(OSError, match="beginning") as caught:
        file.seek(*place)
    assert caught.value.errno == errno.EINVAL
    assert file.tell() == 0


def test_seek_with_another_whence(file: DirectFile) -> None:
    """An unknown whence is a ValueError, in the raw file too."""
    for each in (file, file.raw):
        with pytest.raises(ValueError, match="whence"):
            each.seek(0, 9)


def test_refuses_to_write(file: DirectFile) -> None:
    """Everything that would change the file says that it cannot."""
    for refused in (
        lambda: file.write(b"x"),
        lambda: file.writelines([b"x"]),
        lambda: file.truncate(0),
        lambda: file.raw.truncate(),
    ):
        with pytest.raises(OSError):
            refused()
    assert file.read(3) == DATA[:3]


def test_closed_file(file: DirectFile) -> None:
    """After close, which may come again, each use is a ValueError."""
    raw = file.raw
    file.read(10)
    file.close()
    file.close()
    assert file.closed and raw.closed
    uses: list[Callable[[], Any]] = [
        file.read, file.tell, file.readable, file.seekable, file.readline, file.peek,
        lambda: file.read(1), lambda: file.read(10**6), lambda: file.seek(0), lambda: next(file),
        lambda: file.readinto(bytearray(10)), lambda: file.readinto(bytearray(10**6)),
        raw.tell, raw.readall, raw.readable, raw.seekable,
        lambda: raw.seek(0), lambda: raw.readinto(bytearray(1)),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(ValueError):
            use()
    assert file.size == len(DATA)


def test_detach(portal: Emulator, client: DirectIO) -> None:
    """detach() gives the raw file, which lives on, as with any BufferedReader."""
    raw = client.open(portal.add(DATA, block_size=VARIED)).detach()
    assert raw.readall() == DATA
    raw.close()


@pytest.mark.parametrize(
    "options",
    [{}, {"native": True}, {"listing": "ranged"}, {"block_size": (0, 5000, 0)}],
    ids=["encoded", "native", "ranged", "empty blocks"],
)
def test_empty_and_small_files(portal: Emulator, client: DirectIO, options: dict[str, Any]) -> None:
    """An empty file reads as nothing; small ones and empty blocks are read as any other."""
    for data in (b"", b"x", DATA[:12_345]):
        with client.open(portal.add(data, **options)) as file:
            assert file.size == len(data)
            assert file.read() == data
            assert file.seek(0, os.SEEK_END) == len(data)
            assert file.read(1) == b""


def test_file_listed_in_part(portal: Emulator, client: DirectIO) -> None:
    """A file of which the portal lists a part cannot be a file object, and the error says why."""
    file_id = portal.add(DATA, block_size=5000, listing="ranged", listed_range=(5000, 10_000))
    with pytest.raises(DirectIOAPIError, match="only a part"):
        client.open(file_id)


@pytest.mark.parametrize("readahead", [-1, "many", 1.5])
def test_readahead_argument(client: DirectIO, readahead: Any) -> None:
    """A read-ahead that is not a number of bytes is refused before the portal is asked."""
    with pytest.raises((ValueError, TypeError)):
        client.open(1, readahead=readahead)


_OPERATIONS = st.one_of(
    st.tuples(st.just("seek"), st.integers(0, 110_000), st.just(os.SEEK_SET)),
    st.tuples(st.just("seek"), st.integers(-2000, 2000), st.just(os.SEEK_CUR)),
    st.tuples(st.just("seek"), st.integers(-100_000, 10), st.just(os.SEEK_END)),
    st.tuples(st.sampled_from(["read", "readline"]), st.integers(-1, 90_000)),
    st.tuples(st.just("readinto"), st.integers(0, 90_000)),
    st.tuples(st.just("readinto"), st.integers(0, 90_000)),
    st.tuples(st.sampled_from(["tell", "__next__"])),
)


@pytest.fixture(scope="module")
def two_clients() -> Iterator[tuple[DirectIO, DirectIO, int, int]]:
    """Clients with much and with hardly any memory, and DATA encoded and as a native object."""
    with Emulator() as portal:
        keys = (portal.url, portal.access_key_id, portal.secret_access_key)
        encoded = portal.add(DATA, block_size=VARIED)
        native = portal.add(DATA, native=True)
        with DirectIO(*keys) as roomy, DirectIO(*keys, settings=Settings(memory=20_000)) as tight:
            yield roomy, tight, encoded, native


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DATA in a file of the system's own."""
    path = tmp_path_factory.mktemp("model") / "data"
    path.write_bytes(DATA)
    return path


@given(st.lists(_OPERATIONS, max_size=30), st.booleans(), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
def test_behaves_as_a_file_on_disk(
    two_clients: tuple[DirectIO, DirectIO, int, int],
    on_disk: Path,
    program: list[tuple[Any, ...]],
    tight: bool,
    native: bool,
    shared: bool,
) -> None:
    """Whatever is done in whatever order gives what ``open(path, 'rb')`` gives, in bounded memory."""
    client = two_clients[tight]
    metadata = client.metadata(two_clients[2 + native])
    opened = core_of(client).open_shared(metadata) if shared else client.open(metadata.file_id)
    with on_disk.open("rb") as model, opened as file:
        for name, *arguments in program:
            if name == "readinto":
                arguments = [bytearray(arguments[0])]
            results = [_outcome(each, name, arguments) for each in (file, model)]
            assert results[0] == results[1], (name, arguments)
            _check_memory(file, core_of(client).settings.memory)


def _outcome(file: Any, name: str, arguments: list[Any]) -> Any:
    try:
        result = getattr(file, name)(*arguments)
    except OSError as error:
        return error.errno
    except StopIteration:
        return "end"
    content = bytes(arguments[0]) if name == "readinto" else None
    return result, content, file.tell()


def _check_memory(file: DirectFile, memory: int) -> None:
    """What the cache holds fits the setting, but for one block that is larger than that."""
    blocks = file.raw._cache.blocks
    assert sum(block.length for block in blocks.values()) <= memory or len(blocks) == 1


# --- what goes wrong -------------------------------------------------------------------------------------


def test_failed_block_is_tried_anew(portal: Emulator, client: DirectIO) -> None:
    """A block that cannot be had is the error that says which; the position stays; reading goes on."""
    file_id = portal.add(DATA, block_size=10_000)
    broken = portal.faults.add("storage", block=2, times=None, action=faults.status(404))
    with client.open(file_id) as file:
        assert file.read(10_000) == DATA[:10_000]
        with pytest.raises(DownloadError) as caught:
            file.read(10)
        assert isinstance(caught.value, BlockError)
        assert caught.value.block.number == 2
        assert file.tell() == 10_000
        portal.faults.clear()
        assert broken.hits
        assert file.read() == DATA[10_000:]


def test_failure_ahead_is_met_when_it_is_reached(portal: Emulator, client: DirectIO) -> None:
    """A block that fails while it is fetched ahead harms no reader before it is read."""
    file_id = portal.add(DATA, block_size=10_000)
    broken = portal.faults.add("storage", block=4, times=None, action=faults.status(404))
    with client.open(file_id) as file:
        assert file.read(30_000) == DATA[:30_000]
        assert broken.wait()
        with pytest.raises(DownloadError):
            file.read(1)
        file.seek(45_000)
        assert file.read(10) == DATA[45_000:45_010]


def test_closed_client(portal: Emulator, client: DirectIO) -> None:
    """After the client is closed, a read that needs a block says so; closing the file still works."""
    file = client.open(portal.add(DATA, block_size=10_000))
    file.read(10)
    client.close()
    file.seek(50_000)
    with pytest.raises(DirectIOError, match="client was closed") as caught:
        file.read(10)
    assert caught.value.errno == errno.ECANCELED
    file.close()
    with pytest.raises(ValueError, match="client is closed"):
        client.open(1001)


def test_client_closed_while_reading(portal: Emulator, client: DirectIO) -> None:
    """Closing the client ends a read that waits, with ECANCELED."""
    file_id = portal.add(DATA, block_size=10_000)
    held = portal.faults.add("storage", action=faults.stall())
    caught: list[OSError] = []
    with client.open(file_id) as file:

        def read() -> None:
            try:
                file.read()
            except OSError as error:
                caught.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        assert held.wait()
        client.close()
        reader.join()
    assert caught[0].errno == errno.ECANCELED


def test_close_ends_what_is_fetched_ahead(portal: Emulator, client: DirectIO) -> None:
    """Closing the file cuts off the read-ahead; the client serves the next one."""
    file_id = portal.add(DATA, block_size=10_000)
    held = portal.faults.add("storage", block=3, times=1, action=faults.stall())
    with client.open(file_id) as file:
        file.read(20_000)
        assert held.wait()
        transfers = [each.transfer for each in file.raw._cache.blocks.values() if each.transfer]
    assert transfers
    assert all(transfer.scope.cancelled for transfer in transfers)
    held.release()
    with client.open(file_id) as file:
        assert file.read() == DATA


def test_expired_urls_are_renewed(portal: Emulator, client: DirectIO) -> None:
    """A file that is open for longer than its URLs live goes on reading."""
    with client.open(portal.add(DATA, block_size=10_000)) as file:
        assert file.read(10) == DATA[:10]
        portal.expire_urls()
        file.seek(50_000)
        assert file.read() == DATA[50_000:]
    assert portal.log.total("portal") == 2


def test_file_that_changed_is_an_error(portal: Emulator, client: DirectIO) -> None:
    """New content under the file ID while the file is open is an error, not a mixture."""
    file_id = portal.add(DATA, block_size=10_000)
    with client.open(file_id) as file:
        assert file.read(10) == DATA[:10]
        portal.replace(file_id, DATA[::-1] + b"more", keep_old=False)
        file.seek(50_000)
        with pytest.raises(BlockError, match="changed"):
            file.read(10)


# --- processes and threads -------------------------------------------------------------------------------


def test_threads_share_the_client(portal: Emulator, client: DirectIO) -> None:
    """Eight threads, each with a file of its own over one client, read what is there."""
    file_id = portal.add(DATA, block_size=VARIED)
    start = threading.Barrier(8)
    results: list[bool] = []

    def read(number: int) -> None:
        start.wait()
        with client.open(file_id) as file:
            file.seek(number * 1000)
            results.append(file.read() == DATA[number * 1000 :])

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8


_FORK = """
    import os, sys, warnings
    from ctera_direct_sync import DirectIO
    warnings.simplefilter("ignore", DeprecationWarning)  # Of fork beside threads, which is the point.
    with DirectIO() as client, client.open(int(sys.argv[1])) as file:
        parts = [file.read(20_000)]
        sys.stdin.readline()                 # Until block 3 is known to be held.
        child = os.fork()
        if child == 0:
            file.seek(0)
            ok = file.read(20_000) == parts[0] and len(file.read(10_000)) == 10_000
            file.close()
            os._exit(0 if ok else 1)
        status = os.waitpid(child, 0)[1]
        print(status, flush=True)
        parts.append(file.read())
        print(sum(map(len, parts)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_file_in_a_forked_child(portal: Emulator) -> None:
    """A child reads on with connections of its own; what the parent has under way is not disturbed."""
    file_id = portal.add(DATA, block_size=10_000)
    held = portal.faults.add("storage", block=3, action=faults.stall(after=100))
    environment = {
        **os.environ,
        "CTERA_DIRECT_URL": portal.url,
        "CTERA_DIRECT_ACCESS_KEY_ID": portal.access_key_id,
        "CTERA_DIRECT_SECRET_ACCESS_KEY": portal.secret_access_key,
    }
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_FORK), str(file_id)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert program.stdin is not None and program.stdout is not None
    with program:
        assert held.wait()
        print(file=program.stdin, flush=True)
        assert program.stdout.readline() == "0\n"
        held.release()
        assert program.stdout.read() == f"{len(DATA)}\n"
    assert program.returncode == 0
    # The child asked for block 3 anew; the parent got it by the connection that was held.
    assert [each.status for each in portal.log.records(block=3)] == [200, 200]
