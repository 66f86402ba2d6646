"""Reads of an open file that fail, or are interrupted, in their middle: no byte is lost."""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ctera_direct_sync import DirectIO, DirectIOError, DownloadError
from ctera_direct_sync._core import core_of
from ctera_direct_sync._readers import (
    block_cache,
    block_memory,
    buffer_filler,
    duckdb,
    error_checking_lock,
    raw_file,
    read_buffer,
    readahead,
)
from ctera_direct_sync._readers import file as file_module
from ctera_direct_sync._readers.file import DirectFile
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults

DATA = SyntheticSource(40_000, seed=5).read(0, 40_000)
BLOCK = 10_000
#: The reads below begin here, and fail in the third block.
START = 5_000
BROKEN = 3
#: The same with a line that ends where they begin, and one that goes through the third block.
CONTENT = (
    DATA[: START - 1] + b"\n" + DATA[START : 3 * BLOCK].replace(b"\n", b"-") + DATA[3 * BLOCK :]
)


def _readinto(file: DirectFile) -> bytes:
    target = bytearray(30_000)
    return bytes(target[: file.readinto(target)])


def _readinto1(file: DirectFile) -> bytes:
    target = bytearray(30_000)
    return bytes(target[: file.readinto1(target)])


def _iterate(file: DirectFile) -> bytes:
    return b"".join(file)


def _raw_readinto(file: DirectFile) -> bytes:
    target = bytearray(30_000)
    return bytes(target[: file.raw.readinto(target)])


READS: dict[str, Callable[[DirectFile], bytes]] = {
    "read(n)": lambda file: file.read(30_000),
    "read()": lambda file: file.read(),
    "read1": lambda file: file.read1(30_000),
    "readinto": _readinto,
    "readinto1": _readinto1,
    "readline": lambda file: file.readline(),
    "readline(n)": lambda file: file.readline(30_000),
    "readlines": lambda file: b"".join(file.readlines()),
    "next": lambda file: next(file, b""),
    "iterate": _iterate,
    "raw.readall": lambda file: file.raw.readall(),
    "raw.readinto": _raw_readinto,
}


@pytest.fixture(params=["open", "fs.open"])
def file(
    request: pytest.FixtureRequest, portal: Emulator, client: DirectIO
) -> Iterator[DirectFile]:
    """CONTENT in four blocks, opened by both ways."""
    file_id = portal.add(CONTENT, block_size=BLOCK)
    if request.param == "open":
        file: DirectFile = client.open(file_id)
    else:
        file = core_of(client).open_shared(client.metadata(file_id))
    with file:
        yield file


@pytest.mark.parametrize("name", READS)
def test_failed_read_does_not_move(portal: Emulator, file: DirectFile, name: str) -> None:
    """A read that fails leaves the position, and reads that follow give every byte once."""
    portal.faults.add("storage", block=BROKEN, times=None, action=faults.status(404))
    file.seek(START)
    found = b""
    failed = 0
    while len(found) < len(DATA) - START:
        before = file.tell()
        try:
            part = READS[name](file)
            if not part:
                break
            found += part
        except DownloadError:
            failed += 1
            # An iteration has given lines before it failed, which the position counts.
            assert file.tell() == before
            portal.faults.clear()
    assert failed == 1
    assert found == CONTENT[START:]


def test_failed_iteration_stands_behind_the_last_line(portal: Emulator, file: DirectFile) -> None:
    """The lines that an iteration gave before it failed are not given again."""
    portal.faults.add("storage", block=BROKEN, times=None, action=faults.status(404))
    lines = []
    with pytest.raises(DownloadError):
        for line in file:
            lines.append(line)
    assert file.tell() == sum(map(len, lines)) == START
    portal.faults.clear()
    lines += file
    assert b"".join(lines) == CONTENT


def test_failed_peek_does_not_move(portal: Emulator, file: DirectFile) -> None:
    """A peek that fails can be tried again, too."""
    portal.faults.add("storage", block=BROKEN, action=faults.status(404))
    file.seek(2 * BLOCK)
    with pytest.raises(DownloadError):
        file.peek(10)
    assert file.tell() == 2 * BLOCK
    assert CONTENT[2 * BLOCK :].startswith(file.peek(10))


def test_text_read_can_be_tried_again(portal: Emulator, file: DirectFile) -> None:
    """TextIOWrapper.read() that fails in its middle loses nothing."""
    portal.faults.add("storage", block=BROKEN, times=None, action=faults.status(404))
    text = io.TextIOWrapper(file, "latin-1", newline="")
    with pytest.raises(DownloadError):
        text.read()
    portal.faults.clear()
    whole = text.read()
    text.detach()
    file.seek(0)
    assert whole.encode("latin-1") == file.read()


def test_text_line_can_be_tried_again_after_a_seek(portal: Emulator, file: DirectFile) -> None:
    """TextIOWrapper forgets the beginning of a line that fails: its own tell() and seek() bring it back."""
    portal.faults.add("storage", block=BROKEN, times=None, action=faults.status(404))
    text = io.TextIOWrapper(file, "latin-1", newline="")
    found = []
    place = text.tell()
    with pytest.raises(DownloadError):
        while line := text.readline():
            found.append(line)
            place = text.tell()
    portal.faults.clear()
    text.seek(place)
    found.append(text.read())
    text.detach()
    assert "".join(found).encode("latin-1") == CONTENT


# --- exceptions out of signal handlers --------------------------------------------------------------------


class _InterruptAt:
    """Raise KeyboardInterrupt at the n-th point of the file's own code where a signal can strike.

    The interpreter runs signal handlers as a Python function begins and after a call of a C function.
    """

    _files = frozenset(
        module.__file__
        for module in (
            block_cache,
            block_memory,
            buffer_filler,
            duckdb,
            error_checking_lock,
            file_module,
            raw_file,
            read_buffer,
            readahead,
        )
    )

    def __init__(self, number: int) -> None:
        self._left = number
        self.raised = False

    def __enter__(self) -> _InterruptAt:
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.setprofile(None)

    def _profile(self, frame: Any, event: str, argument: Any) -> None:
        if event not in ("call", "c_return") or frame.f_code.co_filename not in self._files:
            return
        self._left -= 1
        if not self._left:
            self.raised = True
            raise KeyboardInterrupt


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    "name", ["read(n)", "read()", "readinto", "readline", "readlines", "read1"]
)
def test_interrupted_read_does_not_move(
    portal: Emulator, serial_client: DirectIO, name: str, shared: bool
) -> None:
    """Wherever an exception out of a signal handler strikes, the position stays and no byte is lost."""
    data = DATA.replace(b"\n", b"-")
    metadata = serial_client.metadata(portal.add(data, block_size=BLOCK))
    number = 0
    while True:
        number += 1
        opened = core_of(serial_client).open_shared(metadata)
        with opened if shared else serial_client.open(metadata.file_id) as file:
            file.seek(START)
            with _InterruptAt(number) as interrupt:
                try:
                    READS[name](file)
                except KeyboardInterrupt:
                    assert file.tell() == START, number
            if not interrupt.raised:
                break
            assert data[START:].startswith(READS[name](file) or b"none"), number
            file.seek(START)
            assert file.read() == data[START:], number
    assert number > 20


def test_interrupted_read_in_place_does_not_move(
    portal: Emulator, serial_client: DirectIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for blocks that are decoded in the buffer. When the read has raised, nothing holds it."""
    monkeypatch.setattr(buffer_filler, "_MIN_DIRECT_BYTES", BLOCK)
    file_id = portal.add(DATA, block_size=BLOCK)
    number = 0
    while True:
        number += 1
        buffer = bytearray(30_000)
        with serial_client.open(file_id) as file:
            file.seek(START)
            with _InterruptAt(number) as interrupt:
                try:
                    file.readinto(buffer)
                except KeyboardInterrupt:
                    assert file.tell() == START, number
            if not interrupt.raised:
                break
            buffer.append(0)
            assert _readinto(file) == DATA[START : START + 30_000], number
            file.seek(START)
            assert file.read() == DATA[START:], number
    assert buffer == DATA[START : START + 30_000]
    assert number > 50


def test_interrupt_while_a_block_is_awaited(portal: Emulator, client: DirectIO) -> None:
    """Ctrl-C ends a read that waits, cancels what it had begun, and the next read gives all bytes."""
    file_id = portal.add(DATA, block_size=BLOCK)
    held = portal.faults.add("storage", block=BROKEN, action=faults.stall())
    main = threading.main_thread().ident
    assert main is not None

    def strike() -> None:
        if held.wait():
            signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=strike)
    with client.open(file_id) as file:
        file.seek(START)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            file.read()
        thread.join()
        assert file.tell() == START
        held.release()
        assert file.read() == DATA[START:]


def test_file_used_in_a_signal_handler(portal: Emulator, client: DirectIO) -> None:
    """A handler that reads the file that is being read gets an error, as from Python's own files."""
    file_id = portal.add(DATA, block_size=BLOCK)
    held = portal.faults.add("storage", block=BROKEN, action=faults.stall())
    main = threading.main_thread().ident
    assert main is not None
    caught: list[BaseException] = []

    def strike() -> None:
        if held.wait():
            signal.pthread_kill(main, signal.SIGUSR1)

    def handle(*_: object) -> None:
        for use in (lambda: file.read(1), lambda: file.seek(0), lambda: file.read()):
            try:
                use()
            except RuntimeError as error:
                caught.append(error)
        assert file.tell() == START
        held.release()

    before = signal.signal(signal.SIGUSR1, handle)
    thread = threading.Thread(target=strike)
    try:
        with client.open(file_id) as file:
            file.seek(START)
            thread.start()
            assert file.read() == DATA[START:]
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert len(caught) == 3


# --- counted once more ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READS)
def test_block_that_is_short_is_an_error(
    portal: Emulator, client: DirectIO, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Should a block come with fewer bytes than listed, the file itself says so: nothing is short."""
    from ctera_direct_sync._protocol.storage import Storage

    fetch = Storage.fetch_block

    def cut(storage: Storage, block_list: Any, file_id: int, piece: Any, scope: Any) -> Any:
        block = fetch(storage, block_list, file_id, piece, scope)
        short = block.data[:-1] if piece.offset == 2 * BLOCK else block.data
        return type(block)(block.file_id, block.number, block.offset, len(short), short)

    file_id = portal.add(DATA.replace(b"\n", b"-"), block_size=BLOCK)
    monkeypatch.setattr(Storage, "fetch_block", cut)
    with client.open(file_id) as file:
        file.seek(2 * BLOCK)
        with pytest.raises(DirectIOError, match="of 10000 bytes"):
            READS[name](file)
        assert file.tell() == 2 * BLOCK


def test_stop_iteration_is_not_the_end(portal: Emulator) -> None:
    """A StopIteration that a download raises does not end an iteration as if the file ended."""

    def broken() -> Any:
        raise StopIteration

    file_id = portal.add(DATA, block_size=BLOCK)
    keys = portal.access_key_id, portal.secret_access_key
    with DirectIO(portal.url, *keys, session=broken) as client, client.open(file_id) as file:
        with pytest.raises(RuntimeError):
            next(file)
        with pytest.raises(RuntimeError):
            list(file)


def test_closed_by_another_thread(portal: Emulator, client: DirectIO) -> None:
    """close() ends a read that waits in another thread: with an error, not with what there was."""
    file_id = portal.add(DATA, block_size=BLOCK)
    held = portal.faults.add("storage", block=BROKEN, action=faults.stall())
    caught: list[BaseException] = []
    file = client.open(file_id)

    def read() -> None:
        try:
            file.read()
        except ValueError as error:
            caught.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    assert held.wait()
    file.close()
    thread.join()
    assert "closed file" in str(caught[0])
