"""A bandwidth limit over real connections: what it slows down, and what it must not break."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ctera_direct_sync import BlockEvent, DirectIO, Settings, StreamError
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.settings import Endpoint
from tests.support.engines import PATIENCE
from tests.support.sessions import ROUTES

from .test_processes import fork_warns, in_child, needs_fork

#: Random, so that it is stored in its own size.
DATA = random.Random(1).randbytes(400_000)
BLOCK = 50_000


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of eight blocks."""
    return portal.add(DATA, block_size=BLOCK)


@pytest.fixture
def short_expiry() -> Iterator[Emulator]:
    """A portal whose URLs are valid for a moment."""
    with Emulator(expire=0.4) as emulator:
        yield emulator


def timed(read: Callable[[], bytes]) -> float:
    """Return the seconds that `read` takes to return the file."""
    began = time.monotonic()
    assert read() == DATA
    return time.monotonic() - began


def read_all(client: DirectIO, file_id: int) -> bytes:
    """Return the file by a stream."""
    return b"".join(block.data for block in client.stream(file_id))


@ROUTES
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_download_keeps_to_the_limit(session: Any, tls: bool) -> None:
    """A file takes at least its size divided by the rate, on each route."""
    with Emulator(tls=tls) as portal:
        file_id = portal.add(DATA, block_size=BLOCK)
        settings = Settings(bandwidth=800_000)
        settings.api.ssl = settings.storage.ssl = portal.ca_bundle or True
        account = portal.url, portal.access_key_id, portal.secret_access_key
        with DirectIO(*account, settings=settings, session=session) as client:
            assert timed(lambda: read_all(client, file_id)) > 0.8 * len(DATA) / 800_000


def test_calls_share_the_limit(make_client: Any, file_id: int) -> None:
    """Two calls of one client at once take as long as both one after the other."""
    client = make_client(bandwidth="1.6M")
    with ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        found = list(pool.map(lambda _: read_all(client, file_id), range(2)))
    assert found == [DATA, DATA]
    assert time.monotonic() - began > 0.8 * 2 * len(DATA) / 1_600_000


@ROUTES
@pytest.mark.parametrize(
    "action",
    [faults.chunked(), faults.chunked(size=30_000), faults.content_length(None)],
    ids=["small chunks", "large chunks", "close"],
)
def test_bodies_without_a_length(
    make_client: Any, portal: Emulator, file_id: int, session: Any, action: Any
) -> None:
    """A body in chunks, or one that ends with its connection, is limited, too, and comes whole."""
    portal.faults.add("storage", action=action, times=None)
    client = make_client(bandwidth=1_600_000, session=session)
    assert timed(lambda: read_all(client, file_id)) > 0.8 * len(DATA) / 1_600_000


def test_parts_of_a_plaintext_object(make_client: Any, portal: Emulator) -> None:
    """Parts of one large object are limited, too."""
    file_id = portal.add(DATA, block_size=len(DATA), cipher=None, compression="NONE")
    client = make_client(bandwidth=1_600_000)
    with client.open(file_id, readahead=0) as file:
        assert timed(file.read) > 0.8 * len(DATA) / 1_600_000


@ROUTES
def test_it_can_be_changed_while_running(make_client: Any, file_id: int, session: Any) -> None:
    """A download that would take an hour ends at once when the limit is taken off."""
    client = make_client(bandwidth=1000, session=session)
    stream = client.stream(file_id)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: b"".join(block.data for block in stream))
        client.settings.bandwidth = None
        assert reading.result(PATIENCE) == DATA


def test_it_can_be_set_while_running(portal: Emulator, file_id: int) -> None:
    """A limit that is set amid a download holds for the blocks that follow."""
    began: list[float] = []

    def limit(event: BlockEvent) -> None:
        # The only worker sets it, so that no further block is on its way.
        if event.name == "decoded" and not began:
            began.append(time.monotonic())
            client.settings.bandwidth = 800_000

    keys = portal.access_key_id, portal.secret_access_key
    with DirectIO(portal.url, *keys, on_event=limit) as client:
        blocks = client.stream(file_id, max_workers=1)
        assert b"".join(block.data for block in blocks) == DATA
        # Seven blocks take 0.44 s, and a limit lets a little pass at once.
        assert time.monotonic() - began[0] > 0.15


def test_a_client_has_its_own_limit(make_client: Any) -> None:
    """An assignment to one client's settings changes no other's, nor the settings that it was made of."""
    given = Settings(bandwidth="2M")
    with DirectIO("http://a", "key", "c2VjcmV0", settings=given) as client:
        client.settings.bandwidth = None
        assert given.bandwidth == "2M"
        assert make_client().settings.bandwidth is None
        with pytest.raises(ValueError, match=r"settings\.bandwidth: '2X'"):
            client.settings.bandwidth = "2X"
        assert client.settings.bandwidth is None


# --- time-outs -------------------------------------------------------------------------------------------


@ROUTES
def test_no_read_times_out(make_client: Any, portal: Emulator, session: Any) -> None:
    """A block that takes longer than the read timeout comes at its first attempt."""
    file_id = portal.add(DATA[:200_000], block_size=200_000)
    client = make_client(
        bandwidth=100_000, retries=0, storage=Endpoint(timeout=1.5), session=session
    )
    assert read_all(client, file_id) == DATA[:200_000]


def test_retries_are_given_their_time(make_client: Any, portal: Emulator) -> None:
    """What the limit takes does not count for `retry_timeout`: a block that is cut is tried again."""
    file_id = portal.add(DATA[:100_000], block_size=100_000)
    portal.faults.add("storage", action=faults.cut(after=80_000), times=1)
    client = make_client(bandwidth=100_000, retries=1, backoff=0, retry_timeout=0.7)
    assert read_all(client, file_id) == DATA[:100_000]


def test_urls_that_expire_meanwhile(short_expiry: Emulator) -> None:
    """URLs that expire because the limit makes the file slow are renewed."""
    file_id = short_expiry.add(DATA[:120_000], block_size=10_000)
    account = short_expiry.url, short_expiry.access_key_id, short_expiry.secret_access_key
    with DirectIO(*account, settings=Settings(bandwidth=100_000)) as client:
        assert read_all(client, file_id) == DATA[:120_000]
    assert short_expiry.log.total("portal") > 1


def test_few_blocks_are_read_at_once(make_client: Any, file_id: int) -> None:
    """A low rate has few connections, however many workers a call asks for."""
    running, most = set(), 0

    def note(event: BlockEvent) -> None:
        nonlocal most
        if event.name == "started":
            running.add(event.number)
        elif event.name == "decoded":
            running.discard(event.number)
        most = max(most, len(running))

    client = make_client(bandwidth=130_000, on_event=note)
    client.settings.bandwidth = 100_000
    stream = client.stream(file_id, max_workers=8)
    data = [next(stream).data, next(stream).data]
    client.settings.bandwidth = "off"
    assert most <= 2
    assert b"".join([*data, *(block.data for block in stream)]) == DATA


# --- ends ------------------------------------------------------------------------------------------------


@ROUTES
def test_a_close_ends_the_waiting(make_client: Any, file_id: int, session: Any) -> None:
    """Closing the client ends a download at once that waits for the bandwidth."""
    begun = threading.Event()

    def note(event: BlockEvent) -> None:
        if event.name == "first-byte":
            begun.set()

    client = make_client(bandwidth=1000, on_event=note, session=session)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_all, client, file_id)
        assert begun.wait(PATIENCE)
        client.close()
        with pytest.raises(StreamError):
            reading.result(PATIENCE)


@needs_fork
@fork_warns
def test_a_forked_child_goes_on(make_client: Any, file_id: int) -> None:
    """A child that is forked while its parent waits for bandwidth has a limit of its own."""
    begun = threading.Event()

    def note(event: BlockEvent) -> None:
        if event.name == "first-byte":
            begun.set()

    client = make_client(bandwidth=1000, on_event=note)
    parent = os.getpid()

    def work() -> None:
        assert os.getpid() != parent
        client.settings.bandwidth = 4_000_000
        assert read_all(client, file_id) == DATA

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_all, client, file_id)
        assert begun.wait(PATIENCE)
        in_child(work)
        client.settings.bandwidth = None
        assert reading.result(PATIENCE) == DATA
