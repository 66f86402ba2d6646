"""A user's program, for type checkers: everything public as it is meant to be typed. Never run."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Callable, Optional

import requests
from typing_extensions import assert_type

import ctera_direct_sync as ctera_direct
from ctera_direct_sync import (
    Ancestor,
    BatchItem,
    BatchResult,
    Block,
    BlockError,
    BlockEvent,
    ByteRange,
    ChangePage,
    Chunk,
    CloudFolder,
    DirectIO,
    DirectIOAPIError,
    DirectIOError,
    Download,
    Event,
    Metadata,
    Namespace,
    NotFoundError,
    ObjectNotFoundError,
    Settings,
    Streamer,
    StreamError,
)
from ctera_direct_sync.codec import DecodedBlock, decode
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.exceptions import BlockInfo
from ctera_direct_sync.settings import Endpoint
from ctera_direct_sync.types import BlockEventName, Outcome
from ctera_direct_sync.wsgi import FileResponse, file_response


def session() -> requests.Session:
    """A factory as ``DirectIO(session=...)`` wants it."""
    return requests.Session()


def heard(event: BlockEvent) -> None:
    """A listener."""
    name: BlockEventName = event.name
    assert_type(name, BlockEventName)
    assert_type(event.nbytes, int)


def clients() -> None:
    """Each way to make one."""
    DirectIO()
    DirectIO("https://tenant.ctera.com", "id", "secret")
    DirectIO(bearer="token", settings=Settings(max_workers=4), session=session, on_event=heard)
    with DirectIO() as client:
        assert_type(client, DirectIO)


def blocks(client: DirectIO, part: ByteRange | None) -> None:
    """Futures, iterators, streams."""
    futures = client.blocks(12345, part, max_workers=3)
    assert_type(futures, list[Future[Block]])
    for future in as_completed(futures):
        block = future.result()
        assert_type(block, Block)
        assert_type(
            (block.file_id, block.number, block.offset, block.length), tuple[int, int, int, int]
        )
        assert_type(block.data, bytes)
    assert_type(client.iter_blocks(12345), Iterator[Block])
    assert_type(client.stream(12345, byte_range=ByteRange(0, 99)), Iterator[Block])
    streamer = client.streamer(12345)
    assert_type(streamer, Streamer)
    assert_type(streamer.start(), Iterator[Block])
    assert_type(streamer.offset, int)
    assert_type(streamer.stop(), None)


def changes(names: Namespace, saved: str | None) -> None:
    """The change feed, with each form of its arguments."""
    pages = names.changes(saved, folders=[16, CloudFolder(20, "Team", None)], wait=math.inf)
    assert_type(pages, Iterator[ChangePage])
    for page in pages:
        assert_type((page.cursor, page.more), tuple[str, bool])
        for event in page.events:
            assert_type(event, Event)
            assert_type((event.file_id, event.id), tuple[Optional[int], Optional[int]])
            assert_type(names.path_of(event), str)
            assert_type(names.ancestors(event), list[Ancestor])


def listing(client: DirectIO) -> None:
    """Block lists, and fetching from them elsewhere."""
    metadata = client.metadata(12345)
    assert_type(metadata, Metadata)
    assert_type(metadata.size, int)
    assert_type(metadata.encrypted, bool)
    assert_type(metadata.chunks, tuple[Chunk, ...])
    again = Metadata.deserialize(metadata.serialize())
    execute = client.executor(again, byte_range=ByteRange(10))
    assert_type(execute, Callable[[], "list[Future[Block]]"])


def files(client: DirectIO) -> None:
    """To paths, to file objects, as file objects."""
    done = client.download(12345, Path("a.pdf"), resume=True, progress=lambda done, total: None)
    assert_type(done, Download)
    assert_type(done.path, Optional[str])
    assert_type((done.size, done.crc32c, done.seconds), tuple[int, int, float])
    client.download(12345, io.BytesIO())
    with open("b.pdf", "wb") as target:
        client.download(12345, target, byte_range=ByteRange(0, 10), max_workers=2)
    with client.open(12345, readahead=0) as file:
        assert_type(file.read(10), bytes)
        assert_type(file.size, int)
        reader: io.BufferedReader = file
        reader.seek(0)


def shown(item: BatchItem, done: int, total: int) -> None:
    """A batch's progress."""


def batches(client: DirectIO) -> None:
    """Many files, in each form of an item."""
    results = client.download_many(
        [(1, "a"), (2, "b", None), (3, "c", "sha256:..."), BatchItem(4, "d")],
        Path("folder"),
        max_files=2,
        resume=False,
        progress=shown,
    )
    assert_type(results, list[BatchResult])
    for result in results:
        assert_type(result.item.checksum, Optional[str])
        outcome: Outcome = result.outcome
        assert_type(outcome, Outcome)
        assert_type(result.download, Optional[Download])
        assert_type(result.error, Optional[Exception])
        assert_type(result.ok, bool)


def errors(client: DirectIO) -> None:
    """Exceptions, and what they carry."""
    same: type[NotFoundError] = ObjectNotFoundError
    try:
        client.metadata(12345)
    except same as error:
        api: DirectIOAPIError = error
        assert_type(api.errno, Optional[int])
    except BlockError as error:
        assert_type(error.block, BlockInfo)
        assert_type(error.block.number, Optional[int])
    except StreamError as error:
        assert_type(error.offset, int)
    except DirectIOError as error:
        system: OSError = error
        raise system from None


def settings() -> None:
    """One client's, and the process's."""
    own = Settings(retries=0, checksums="all", api=Endpoint(ssl=Path("ca.pem"), timeout=5))
    Settings(checksums=["md5", "sha256"], tune_allocator=False, filter_logs=False)
    own.api.ssl = "ca.pem"
    own.storage.timeout = (5.0, 30.0)
    own.memory = 1024
    assert_type(own.max_workers, int)
    ctera_direct.settings.max_workers = 8
    ctera_direct.settings.api.timeout = (5.0, 30.0)
    assert_type(ctera_direct.settings.memory, int)
    ctera_direct.settings.sessions.ctera_direct.api.ssl = False


def web(client: DirectIO) -> None:
    """A WSGI application."""
    response = file_response(client, 12345, {"REQUEST_METHOD": "GET"}, filename="a.pdf")
    assert_type(response, FileResponse)
    assert_type(response.headers, list[tuple[str, str]])


def codec() -> None:
    """One object by hand."""
    decoded = decode(b"", key=b"0" * 16, cipher="AES-GCM", compression="LZ4", length=0, number=1)
    assert_type(decoded, DecodedBlock)
    assert_type((decoded.data, decoded.crc32c), tuple[bytes, int])


def tests(ctera_portal: Emulator, ctera_client: DirectIO) -> None:
    """A test with the fixtures."""
    file_id = ctera_portal.add(b"data", name="a.txt", block_size=2)
    assert_type(file_id, int)
    fault = ctera_portal.faults.add("storage", file_id, times=None, action=faults.status(503))
    assert_type(fault.hits, int)
    assert_type(ctera_client.metadata(file_id), Metadata)
    ctera_portal.portal_options.page_cap = 10
    assert_type(ctera_portal.tree.create("/My Files/a.txt", b"data"), int)
