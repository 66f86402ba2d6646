"""`read_into` fills the caller's memory: all that is due, nothing outside, and nothing afterwards."""

from __future__ import annotations

import array
import ctypes
import errno
import mmap
import signal
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ctera_direct_sync import DirectIO, DownloadError, NotFoundError, Settings, StreamError, codec
from ctera_direct_sync._engine.engine import Engine
from ctera_direct_sync._net import hedging
from ctera_direct_sync._readers.listed_file import ListedFile
from ctera_direct_sync.codec import portable
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from tests.support.buffers import check_left_alone
from tests.support.sessions import ROUTES

BLOCK, SIZE = 1000, 10_500
DATA = SyntheticSource(SIZE, seed=1).read(0, SIZE)
CANARY = b"\xa5" * 64
PATIENCE_S = 30

KINDS: dict[str, dict[str, Any]] = {
    "snappy": {},
    "gzip": {"compression": "GZIP"},
    "lz4, AES-GCM": {"compression": "LZ4", "cipher": "AES-GCM"},
    "not compressed": {"compression": "NONE"},
    "plaintext": {"compression": "NONE", "cipher": None},
    # Ranges of it are fetched by requests for a part of the object.
    "parts": {"compression": "NONE", "cipher": None, "block_size": 1_000_000},
}


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of eleven blocks."""
    return portal.add(DATA, block_size=BLOCK)


def read_guarded(client: DirectIO, file_id: int, size: int, offset: int) -> bytes:
    """Read into the middle of memory, and return what was read. Nothing around it may change."""
    memory = bytearray(CANARY + bytes(size) + CANARY)
    view = memoryview(memory)[len(CANARY) : len(CANARY) + size]
    count = client.read_into(file_id, view, offset)
    assert memory.startswith(CANARY)
    assert memory.endswith(CANARY)
    assert not any(view[count:])
    return bytes(view[:count])


@pytest.mark.parametrize("backend", ["chosen", "portable"])
@ROUTES
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file(
    portal: Emulator,
    make_client: Any,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    session: Any,
    backend: str,
) -> None:
    """Whatever the file's format is, any range of it arrives, and no byte outside is touched."""
    if backend == "portable":
        monkeypatch.setattr(codec, "decode_stored_into", portable.decode_into)
    client = make_client(session=session)
    file_id = portal.add(DATA, **{"block_size": BLOCK, **KINDS[kind]})
    for offset, size in [(0, SIZE), (0, SIZE + 77), (1, SIZE), (999, 2), (1000, 2000), (10_499, 9)]:
        assert read_guarded(client, file_id, size, offset) == DATA[offset : offset + size]


@pytest.mark.parametrize("offset", [SIZE, SIZE + 1, 1 << 70])
def test_at_or_past_the_end(client: DirectIO, file_id: int, offset: int) -> None:
    """There is nothing to read, and the buffer stays as it is."""
    buffer = bytearray(CANARY)
    assert client.read_into(file_id, buffer, offset) == 0
    assert buffer == CANARY


def test_an_empty_buffer_and_an_empty_file(
    portal: Emulator, client: DirectIO, file_id: int
) -> None:
    """Nothing is due, and nothing comes."""
    assert client.read_into(file_id, bytearray()) == 0
    assert client.read_into(portal.add(b""), bytearray(5)) == 0


def test_whole_blocks_are_not_copied(
    client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The codec decodes a block that lies inside the range straight into the caller's memory."""
    buffer = bytearray(SIZE)
    first = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    addresses = set()
    decode = codec.decode_stored_into

    def note(stored: Any, out: Any, *arguments: Any, **options: Any) -> int:
        addresses.add(ctypes.addressof(ctypes.c_char.from_buffer(out)) - first)
        return decode(stored, out, *arguments, **options)

    monkeypatch.setattr(codec, "decode_stored_into", note)
    assert client.read_into(file_id, buffer) == SIZE
    assert addresses == set(range(0, SIZE, BLOCK))


@pytest.mark.parametrize(
    "make",
    [
        lambda: array.array("d", bytes(8 * 300)),
        lambda: (ctypes.c_uint32.__ctype_be__ * 600)(),
        lambda: memoryview(bytearray(2400)).cast("H", (300, 4)),
        lambda: mmap.mmap(-1, 2400),
    ],
    ids=["array", "big-endian", "two dimensions", "mmap"],
)
def test_buffers_of_any_items(client: DirectIO, file_id: int, make: Any) -> None:
    """What counts are the bytes of a buffer, not its items or its shape."""
    buffer = make()
    assert client.read_into(file_id, buffer, 300) == 2400
    assert bytes(memoryview(buffer)) == DATA[300:2700]
    if isinstance(buffer, mmap.mmap):
        buffer.close()  # BufferError if anything held it.


def test_numpy(client: DirectIO, file_id: int) -> None:
    """An array of NumPy is filled, whatever its byte order. One that is not contiguous is refused."""
    numpy = pytest.importorskip("numpy")
    for dtype in ("<u2", ">f4", "complex64"):
        filled = numpy.empty((5, 20), dtype=dtype)
        assert client.read_into(file_id, filled, 7) == filled.nbytes
        assert filled.tobytes() == DATA[7 : 7 + filled.nbytes]
    for strided in (numpy.empty(100, "u1")[::2], numpy.empty((4, 4), "u1", order="F")):
        with pytest.raises(BufferError, match="C-contiguous"):
            client.read_into(file_id, strided)


@pytest.mark.parametrize(
    ("buffer", "error"),
    [
        (b"abc", TypeError),
        (memoryview(b"abc"), TypeError),
        ("abc", TypeError),
        (5, TypeError),
        (memoryview(bytearray(9))[::3], BufferError),
    ],
)
def test_unusable_buffers(
    portal: Emulator, client: DirectIO, file_id: int, buffer: Any, error: type[Exception]
) -> None:
    """They are refused before any request."""
    with pytest.raises(error):
        client.read_into(file_id, buffer)
    assert not portal.log.total("portal")


def test_a_negative_offset(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """It is refused before any request."""
    with pytest.raises(ValueError, match="offset is -1"):
        client.read_into(file_id, bytearray(5), -1)
    assert not portal.log.total("portal")


def test_an_unknown_file(client: DirectIO) -> None:
    """The portal's refusal is raised as by the other calls."""
    with pytest.raises(NotFoundError):
        client.read_into(404, bytearray(5))


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect as Linux has it")
@pytest.mark.parametrize("kind", KINDS)
def test_guard_pages(portal: Emulator, client: DirectIO, kind: str) -> None:
    """Pages before and after the buffer that nothing may touch are not touched."""
    page = mmap.PAGESIZE
    file_id = portal.add(DATA, **{"block_size": BLOCK, **KINDS[kind]})
    memory = mmap.mmap(-1, 3 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for guard in (address, address + 2 * page):
        assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
    with memoryview(memory) as whole, whole[page : 2 * page] as middle:
        for offset in (0, 1, BLOCK, SIZE - page):
            assert client.read_into(file_id, middle, offset) == page
            assert middle == DATA[offset : offset + page]
    memory.close()


@ROUTES
@pytest.mark.parametrize("kind", ["snappy", "plaintext"])
def test_a_block_that_does_not_come(
    portal: Emulator, make_client: Any, kind: str, session: Any
) -> None:
    """The error says where the first gap is, and why. The buffer is free again."""
    client = make_client(session=session, retries=1)
    options = {**KINDS[kind], "block_size": BLOCK}
    file_id = portal.add(DATA, **options)
    portal.faults.add("storage", file_id, 4, action=faults.cut(10), times=None)
    buffer = bytearray(SIZE)
    with pytest.raises(StreamError) as caught:
        client.read_into(file_id, buffer)
    assert isinstance(caught.value.__cause__, DownloadError)
    offset = caught.value.offset
    assert offset <= 3 * BLOCK
    assert buffer[:offset] == DATA[:offset]
    buffer.append(0)  # BufferError if anything held it, even while the error is there.


def test_a_piece_that_is_lost_is_noticed(
    client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If fewer pieces are fetched than are due, that is an error at the first gap."""
    pieces = ListedFile.pieces

    def lose_one(self: ListedFile, *arguments: Any, **options: Any) -> Iterator[Any]:
        found = pieces(self, *arguments, **options)
        return (piece for piece in found if piece.block != 5)

    monkeypatch.setattr(ListedFile, "pieces", lose_one)
    with pytest.raises(StreamError, match="please report this") as caught:
        client.read_into(file_id, bytearray(SIZE), 100)
    assert (caught.value.offset, caught.value.errno) == (5 * BLOCK, errno.EIO)


def test_a_changed_file(portal: Emulator, make_client: Any, file_id: int) -> None:
    """If the file is replaced while it is read, the call raises."""
    client = make_client(max_workers=1)
    held = portal.faults.add("storage", file_id, 4, action=faults.stall())
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(client.read_into, file_id, bytearray(SIZE))
        assert held.wait()
        portal.replace(file_id, SyntheticSource(SIZE, seed=2), keep_old=False)
        held.release()
        error = reading.exception(PATIENCE_S)
    assert isinstance(error, StreamError)
    assert (error.errno, error.offset) == (errno.ESTALE, 3 * BLOCK)


# --- the end of a call -----------------------------------------------------------------------------------


@ROUTES
@pytest.mark.parametrize("kind", ["snappy", "plaintext", "parts"])
def test_closing_while_the_storage_stalls(
    portal: Emulator, make_client: Any, kind: str, session: Any
) -> None:
    """Another thread closes the client: the call raises, and the buffer is never written to again."""
    client = make_client(session=session)
    file_id = portal.add(DATA, **{"block_size": BLOCK, **KINDS[kind]})
    block = 1 if kind == "parts" else 4
    held = portal.faults.add("storage", file_id, block, action=faults.stall(10))
    buffer = bytearray(SIZE)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(client.read_into, file_id, buffer, 5)
        assert held.wait()
        client.close()
        error = reading.exception(PATIENCE_S)
    assert isinstance(error, StreamError)
    assert error.errno == errno.ECANCELED
    assert error.offset <= 3 * BLOCK
    check_left_alone(buffer, held)


class Gated:
    """Holds the threads that fetch, before they write. It notes in which order what ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, engine_waits: bool = True) -> None:
        self.order: list[str] = []
        self.inside = threading.Event()
        self.may_write = threading.Event()
        fetch_into, drain = ListedFile.fetch_into, Engine.drain

        def fetch(file: ListedFile, *arguments: Any) -> Any:
            found = fetch_into(file, *arguments)
            self.inside.set()
            assert self.may_write.wait(PATIENCE_S)
            self.order.append("thread")
            return found

        def begin_to_drain(engine: Engine, transfer: Any) -> None:
            self.may_write.set()
            (drain if engine_waits else Engine.cancel)(engine, transfer)

        monkeypatch.setattr(ListedFile, "fetch_into", fetch)
        monkeypatch.setattr(Engine, "drain", begin_to_drain)


@pytest.mark.parametrize("engine_waits", [True, False])
def test_the_call_waits_for_its_threads(
    client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch, engine_waits: bool
) -> None:
    """After a close the call raises only once the threads have ended, which may write until then.

    That holds as well if the engine believes that they have ended, as it does after an error of its own.
    """
    gated = Gated(monkeypatch, engine_waits)
    buffer = bytearray(SIZE)

    def read() -> None:
        try:
            client.read_into(file_id, buffer)
        except StreamError:
            gated.order.append("call")

    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(read)
        assert gated.inside.wait(PATIENCE_S)
        closing = pool.submit(client.close)
        reading.result(PATIENCE_S)
        closing.result(PATIENCE_S)
    assert gated.order[-1] == "call"
    assert "thread" in gated.order
    buffer.append(0)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to threads")
def test_ctrl_c(client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the call, once its threads have ended."""
    gated = Gated(monkeypatch)
    buffer = bytearray(SIZE)
    main = threading.main_thread().ident
    assert main is not None

    def strike() -> None:
        assert gated.inside.wait(PATIENCE_S)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            client.read_into(file_id, buffer)
        count = len(gated.order)
    finally:
        thread.join()
    assert count >= 1
    client.close()
    assert len(gated.order) == count
    buffer.append(0)


@ROUTES
@pytest.mark.parametrize("kind", ["snappy", "plaintext", "parts"])
def test_the_slower_of_two_requests_writes_nothing(
    portal: Emulator,
    make_client: Any,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    session: Any,
) -> None:
    """If a second request wins, the first one leaves the buffer alone from then on."""
    monkeypatch.setattr(hedging, "_FLOOR_S", 0.15)
    client = make_client(session=session, hedging=Settings().hedging)
    file_id = portal.add(DATA, **{"block_size": BLOCK, **KINDS[kind]})
    buffer = bytearray(SIZE)
    for _ in range(20):
        assert client.read_into(file_id, buffer, 1) == SIZE - 1
    held = portal.faults.add("storage", file_id, action=faults.stall(50))
    assert client.read_into(file_id, buffer, 300) == SIZE - 300
    assert buffer[: SIZE - 300] == DATA[300:]
    assert client.stats().hedges  # On a busy machine, other blocks are late as well.
    check_left_alone(buffer, held)


def test_memory_beside_the_buffer(portal: Emulator, make_client: Any) -> None:
    """The call holds the setting beside the buffer, not the file."""
    size, memory = 48 << 20, 4 << 20
    file_id = portal.add(SyntheticSource(size, seed=3), block_size=1 << 19)
    client = make_client(memory=memory)
    buffer = bytearray(size)
    tracemalloc.start()
    try:
        assert client.read_into(file_id, buffer) == size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert buffer == SyntheticSource(size, seed=3).read(0, size)
    # The emulator is in this process, and has its blocks in memory as well.
    assert peak < 0.8 * size


def test_bandwidth(portal: Emulator, make_client: Any) -> None:
    """A body that is read in small steps goes to its place as well."""
    client = make_client(bandwidth=100_000_000)
    file_id = portal.add(DATA, **KINDS["parts"])
    assert read_guarded(client, file_id, SIZE, 3) == DATA[3:]
