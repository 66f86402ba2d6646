"""Running one cell of the matrix, and looking for what must not be said on the way."""

from __future__ import annotations

import base64
import contextlib
import errno
import io
import itertools
import json
import logging
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from typing import Any, NamedTuple
from unittest import mock

import ctera_direct_sync.settings
from ctera_direct_sync import BlockEvent, DirectIO, Settings
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.exceptions import DirectIOError, StreamError
from tests.faults.matrix import BLOCK_SIZES, RETRIES, TIMEOUT, Cell, Row, World, concerned
from tests.faults.own_events import SoftLimit
from tests.support.belongings import outliving
from tests.support.telemetry import telemetry

#: What stands in every signed URL of the emulator, and in no message of the library.
_SIGNED = ("X-Amz-", "Signature", "?X-", "password@")


class Result(NamedTuple):
    """What came of a cell: its word for the table, requests to the broken side, and slips."""

    outcome: str
    requests: int
    secrets: list[str]
    wrong: list[str]


class Worlds:
    """Emulators for cells, made once."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._file_ids = itertools.count(1001)
        self.emulator = self._stack.enter_context(Emulator())
        self.other = self._stack.enter_context(Emulator())

    def __enter__(self) -> Worlds:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def world(self, cell: Cell) -> Iterator[World]:
        """A file of its own, with the cell's fault waiting for the first request."""
        options = {"block_size": BLOCK_SIZES, **cell.row.options}
        file_id = self.emulator.add(cell.row.data, file_id=next(self._file_ids), **options)
        world = World(self.emulator, file_id, self.other)
        self.emulator.log.clear()
        cell.row.arrange(world)
        around = cell.row.around or (lambda _: contextlib.nullcontext())
        try:
            with around(world):
                yield world
        finally:
            self.emulator.faults.clear()
            self.emulator.remove(file_id)


def settings(row: Row) -> Settings:
    """Settings under which every cell ends soon, and pauses of a busy machine are not timeouts."""
    chosen = Settings(retries=RETRIES, backoff=0.001, max_backoff=0.002, retry_timeout=20.0)
    silence = TIMEOUT if "stall" in row.name else 20.0
    chosen.api.timeout = chosen.storage.timeout = (10.0, silence)
    return chosen


# --- what must not be said ------------------------------------------------------------------------------


class Ears(logging.Handler):
    """Hears every log line of every logger, at DEBUG, as it would be written to a file."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line, and the record's arguments as a structured logger would write them."""
        self.lines.append(f"{self.format(record)} {record.args!r}")


@contextlib.contextmanager
def listening() -> Iterator[Ears]:
    """All logging of the process, in the hands of Ears."""
    root, ears = logging.getLogger(), Ears()
    names = ["", "ctera_direct_sync", "urllib3", "requests", "concurrent.futures"]
    levels = {name: logging.getLogger(name).level for name in names}
    root.addHandler(ears)
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        yield ears
    finally:
        root.removeHandler(ears)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def told_by(error: BaseException) -> str:
    """All that a printed error shows, its causes and its frames' locals included."""
    story = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join([str(error), repr(error), *story.format()])


def secrets_of(world: World) -> list[str]:
    """What must not be found anywhere, but in requests."""
    emulator, key = world.emulator, world.emulator.file_key(world.file_id)
    wrapped = emulator.listing(world.file_id).get("encrypt_info", {}).get("wrapped_key")
    return [
        emulator.access_key_id, emulator.secret_access_key, emulator.bearer,
        repr(key)[2:-1], key.hex(), base64.b64encode(key).decode(),
        *([wrapped] if wrapped else []), *_SIGNED,
    ]  # fmt: skip


def slips(texts: list[str], secrets: list[str]) -> list[str]:
    """The lines that hold a secret, and which kind it is."""
    found = []
    for text in texts:
        for line in text.splitlines():
            if any(secret in line for secret in secrets):
                found.append(line[:300])
    return found


# --- the ways in ---------------------------------------------------------------------------------------


class Attempt:
    """One way in, at work: what it got, and what was said."""

    def __init__(self, world: World, row: Row) -> None:
        self.world = world
        self.row = row
        self.pieces: dict[int, bytes] = {}
        self.said: list[str] = []
        self.wrong: list[str] = []

    def keys(self) -> tuple[Any, ...]:
        """Positional arguments of a client."""
        emulator = self.world.emulator
        return emulator.url, emulator.access_key_id, self.row.secret or emulator.secret_access_key

    def note(self, event: BlockEvent) -> None:
        """The client's on_event hook."""
        self.said.append(repr(event))

    def take(self, block: Any) -> None:
        """A block that came."""
        self.said.append(repr(block))
        self.pieces[block.offset] = bytes(block.data)


def by_metadata(client: DirectIO, attempt: Attempt) -> bool:
    """The listing alone."""
    metadata = client.metadata(attempt.world.file_id)
    attempt.said += [repr(metadata), repr(metadata.chunks), repr(metadata.encryption_key)]
    return True


def by_blocks(client: DirectIO, attempt: Attempt) -> bool:
    """Futures: whatever comes is taken, then the first error in file order is raised."""
    futures = client.blocks(attempt.world.file_id)
    attempt.said.append(repr(futures))
    for future in as_completed(futures):
        if not future.cancelled() and future.exception() is None:
            attempt.take(future.result())
    for future in futures:
        future.result()
    return False


def by_iter_blocks(client: DirectIO, attempt: Attempt) -> bool:
    """In no order."""
    for block in client.iter_blocks(attempt.world.file_id):
        attempt.take(block)
    return False


def by_stream(client: DirectIO, attempt: Attempt) -> bool:
    """In order; the error's offset must be where the data ended."""
    end = 0
    try:
        for block in client.stream(attempt.world.file_id):
            attempt.take(block)
            end = block.offset + block.length
    except StreamError as error:
        if error.offset != end:
            attempt.wrong.append(f"offset {error.offset} after {end} bytes")
        raise
    return False


def by_download(client: DirectIO, attempt: Attempt) -> bool:
    """To a path, where nothing may be left after an error."""
    with tempfile.TemporaryDirectory(prefix="ctera-cell-") as folder:
        path = os.path.join(folder, "target")
        try:
            attempt.said.append(repr(client.download(attempt.world.file_id, path)))
        finally:
            attempt.pieces = _whole(path)
            if set(os.listdir(folder)) - {"target"}:
                attempt.wrong.append(f"left behind: {os.listdir(folder)}")
    return False


def by_open(client: DirectIO, attempt: Attempt) -> bool:
    """As a file, in small reads; of a large one, which is about ranges, the last bytes."""
    with client.open(attempt.world.file_id) as file:
        attempt.said.append(repr(file))
        if attempt.row.ranged:
            file.seek(-1000, os.SEEK_END)
        while data := file.read(300):
            attempt.pieces[file.tell() - len(data)] = data
    return attempt.row.ranged


def _whole(path: str) -> dict[int, bytes]:
    if not os.path.exists(path):
        return {}
    with open(path, "rb") as file:
        return {0: file.read()}


_BY: dict[str, Callable[[DirectIO, Attempt], bool]] = {
    "metadata": by_metadata, "blocks": by_blocks, "iter_blocks": by_iter_blocks,
    "stream": by_stream, "download": by_download, "open": by_open,
}  # fmt: skip


def _library(way: str, attempt: Attempt) -> str:
    """The outcome of a way in of the library."""
    error: BaseException | None = None
    with DirectIO(*attempt.keys(), settings=settings(attempt.row), on_event=attempt.note) as client:
        with telemetry.recording(client):
            try:
                partial = _BY[way](client, attempt)
            except Exception as caught:
                error = caught
        attempt.said += [repr(client.stats()), json.dumps(client.stats().serialize())]
    attempt.said += telemetry.take()
    if error is None:
        return _judge_recovered(attempt, partial)
    # Errors of values that came from outside must be the library's; the class alone is compared.
    attempt.said.append(told_by(error))
    if isinstance(error, SoftLimit):
        return "SoftLimit"
    if isinstance(error, StreamError) and error.errno != errno.ECANCELED:
        return f"StreamError ({type(error.__cause__).__name__})"
    if isinstance(error, DirectIOError):
        if error.filename != attempt.world.file_id or not error.errno or not error.strerror:
            attempt.wrong.append(f"{error!r} lacks file, errno or text")
        if error.errno == errno.ECANCELED:
            return "ECANCELED"
        return type(error).__name__
    return f"leaked {type(error).__name__}: {error}"


def _judge_recovered(attempt: Attempt, partial: bool) -> str:
    if (
        not partial
        and b"".join(attempt.pieces[at] for at in sorted(attempt.pieces)) != attempt.row.data
    ):
        attempt.wrong.append("incomplete, and no error")
    return "recovered"


@contextlib.contextmanager
def _defaults(row: Row) -> Iterator[None]:
    """The process's default settings as the cells need them, for what takes no settings."""
    with mock.patch.multiple(ctera_direct_sync.settings, **vars(settings(row))):
        yield


class _Output(io.TextIOWrapper):
    """A standard stream that keeps what is written."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def text(self) -> str:
        """What was written."""
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]


def _command_line(attempt: Attempt) -> str:
    """The outcome of ``ctera-direct download -d``: exit code, and one line that says why."""
    from ctera_direct_sync.cli import program as cli

    url, key, secret = attempt.keys()
    environment = {
        "CTERA_DIRECT_URL": url,
        "CTERA_DIRECT_ACCESS_KEY_ID": key,
        "CTERA_DIRECT_SECRET_ACCESS_KEY": secret,
    }
    out, err = _Output(), _Output()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ctera-cell-"))
        stack.enter_context(mock.patch.dict(os.environ, environment))
        stack.enter_context(mock.patch.multiple(sys, stdout=out, stderr=err))
        stack.enter_context(_defaults(attempt.row))
        path = os.path.join(folder, "target")
        arguments = ["download", "-d", "--quiet", "-f", str(attempt.world.file_id), "-p", path]
        try:
            code = cli.main(arguments)
        except SoftLimit:
            return "SoftLimit"
        attempt.pieces = _whole(path)
        if set(os.listdir(folder)) - {"target"}:
            attempt.wrong.append(f"left behind: {os.listdir(folder)}")
    attempt.said += [out.text(), err.text()]
    if "Traceback" not in err.text() and code == 1:
        attempt.wrong.append("-d shows no traceback")
    if not code:
        return _judge_recovered(attempt, partial=False)
    # The emulator runs in this process, so "-d" shows its lines too, and at any moment.
    said = [line for line in err.text().splitlines() if "ctera_direct_sync.emulator" not in line]
    last = said[-1] if said else ""
    if not last.startswith("ctera-direct download: "):
        attempt.wrong.append(f"the last line on stderr is {last!r}")
    return f"exit {code}"


def run(worlds: Worlds, cell: Cell) -> Result:
    """Run one cell."""
    before = set(threading.enumerate())
    with worlds.world(cell) as world, listening() as ears:
        attempt = Attempt(world, cell.row)
        outcome = _command_line(attempt) if cell.way == "CLI" else _library(cell.way, attempt)
        if outcome == "recovered" and not concerned(cell):
            outcome = "not concerned" if cell.row.outcome != "recovered" else outcome
        for offset, data in attempt.pieces.items():
            if cell.row.data[offset : offset + len(data)] != data:
                attempt.wrong.append(f"wrong bytes at {offset}")
        requests = _requests(cell, world)
        found = slips(attempt.said + ears.lines, secrets_of(world))
    # A connection of the emulator may still wait for the kernel to tell it that the client has gone.
    left = outliving(before, but="ctera-emulator")
    attempt.wrong += [f"left behind: thread {thread.name!r}" for thread in left]
    return Result(outcome, requests, found, attempt.wrong)


def _requests(cell: Cell, world: World) -> int:
    log = world.emulator.log
    if cell.row.at_portal:
        return len(log.records(where="portal"))
    native = world.emulator.files[world.file_id].blocks == 1
    return len(log.records(where="storage", block=1 if native else 2))
