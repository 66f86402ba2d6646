"""What a client tells of its own work: requests, bytes, retries, waits, and times of each host."""

from __future__ import annotations

import json
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from ctera_direct_sync import DirectIO, Namespace, Settings, Stats
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.exceptions import DownloadConnectionError, NotFoundError

BLOCK_SIZE = 32 * 1024
DATA = os.urandom(20 * BLOCK_SIZE)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Return a portal whose objects are the files' own bytes."""
    with Emulator(cipher=None, compression="NONE") as made:
        yield made


def connect(emulator: Emulator, **settings: object) -> DirectIO:
    """Return a client with short delays between attempts, which sends no request twice."""
    chosen = Settings(**{"backoff": 0.01, "max_backoff": 0.01, **settings})  # type: ignore[arg-type]
    if hasattr(chosen, "hedging"):
        chosen.hedging = 0
    return DirectIO(
        emulator.url, emulator.access_key_id, emulator.secret_access_key, settings=chosen
    )


def read(client: DirectIO, file_id: int, **options: int) -> int:
    """Read a file to its end, and return the number of its bytes."""
    return sum(block.length for block in client.stream(file_id, **options))


def test_a_new_client_has_done_nothing(emulator: Emulator) -> None:
    """All numbers are zero, and no quantile is known."""
    with connect(emulator) as client:
        stats = client.stats()
    for endpoint in (stats.portal, stats.storage):
        assert endpoint == (0, 0, 0, 0, ())
    assert (stats.delivered, dict(stats.retries), stats.renewals) == (0, {}, 0)
    assert stats.waits == (0, 0, 0)


def test_requests_and_bytes(emulator: Emulator) -> None:
    """Portal and storage are counted apart, and the bytes are those of the file."""
    file_id = emulator.add(DATA, block_size=BLOCK_SIZE)
    with connect(emulator) as client:
        assert read(client, file_id) == len(DATA)
        stats = client.stats()
        assert (stats.portal.requests, stats.portal.errors) == (1, 0)
        assert (stats.storage.requests, stats.storage.errors) == (20, 0)
        assert stats.storage.received == stats.delivered == len(DATA)
        assert stats.portal.received > 0
        assert 1 <= stats.storage.connections <= 20
        assert stats.seconds > 0


def test_times_of_a_host(emulator: Emulator) -> None:
    """The time to the first byte holds the portal's latency, and the quantiles are in order."""
    emulator.latency = 0.02
    file_id = emulator.add(DATA, block_size=BLOCK_SIZE)
    with connect(emulator) as client:
        read(client, file_id)
        (host,) = client.stats().storage.hosts
    assert host.host == emulator.url.partition("://")[2].rstrip("/")
    first_byte, speed = host.first_byte, host.speed
    assert 0.02 <= first_byte.p50 <= first_byte.p90 <= first_byte.p99 < 5
    assert 0 < speed.p50 <= speed.p90 <= speed.p99


def test_numbers_stay_after_close(emulator: Emulator) -> None:
    """A closed client still tells what it has done, and has no connection."""
    file_id = emulator.add(DATA, block_size=BLOCK_SIZE)
    with connect(emulator) as client:
        read(client, file_id)
        before = client.stats()
    after = client.stats()
    assert after.storage.connections == after.portal.connections == 0
    assert after.storage.hosts == before.storage.hosts
    assert after.delivered == len(DATA)


def test_retries_by_cause(emulator: Emulator) -> None:
    """A retry counts under the class of the error that it cures, with its delay and its request."""
    file_id = emulator.add(DATA, block_size=BLOCK_SIZE)
    emulator.faults.add("storage", block=3, times=2, action=faults.status(503))
    with connect(emulator) as client:
        read(client, file_id)
        stats = client.stats()
    assert stats.retries == {"DownloadError": 2}
    assert (stats.storage.requests, stats.storage.errors) == (22, 2)
    assert 0 < stats.waits.backoff <= 0.02


def test_renewals(emulator: Emulator) -> None:
    """A refused URL that is listed anew is a renewal, and not a retry."""
    file_id = emulator.add(DATA, block_size=BLOCK_SIZE)
    with connect(emulator) as client:
        stream = client.stream(file_id, max_workers=1)
        next(stream)
        emulator.expire_urls()
        assert sum(block.length for block in stream) == len(DATA) - BLOCK_SIZE
        stats = client.stats()
    assert stats.renewals >= 1
    assert stats.retries == {}
    assert stats.portal.requests == 1 + stats.renewals


def test_errors_without_an_answer(emulator: Emulator) -> None:
    """A connection that is reset is an error of the host."""
    file_id = emulator.add(DATA, block_size=BLOCK_SIZE)
    emulator.faults.add("storage", times=None, action=faults.reset())
    with connect(emulator, retries=1) as client:
        with pytest.raises(DownloadConnectionError):
            client.blocks(file_id)[0].result()
        stats = client.stats()
    assert stats.storage.errors >= 2
    assert stats.storage.hosts[0].first_byte.p50 is None
    assert stats.retries == {"DownloadConnectionError": stats.retries["DownloadConnectionError"]}


def test_bodies_that_break_off(emulator: Emulator) -> None:
    """A body that is cut short is an error, and its bytes count as received."""
    file_id = emulator.add(DATA, block_size=BLOCK_SIZE)
    emulator.faults.add("storage", block=1, times=1, action=faults.cut(1000))
    with connect(emulator) as client:
        read(client, file_id)
        stats = client.stats()
    assert stats.storage.errors == 1
    assert stats.delivered == len(DATA)


def test_errors_of_the_portal(emulator: Emulator) -> None:
    """A refused listing is an error of the portal alone."""
    with connect(emulator) as client:
        with pytest.raises(NotFoundError):
            client.metadata(999_999)
        stats = client.stats()
    assert (stats.portal.requests, stats.portal.errors) == (1, 1)
    assert stats.storage.requests == 0


def test_waits_for_bandwidth(emulator: Emulator) -> None:
    """The seconds that the limit took are told, and no speed is measured meanwhile."""
    file_id = emulator.add(DATA, block_size=BLOCK_SIZE)
    with connect(emulator, bandwidth=4_000_000) as client:
        read(client, file_id)
        stats = client.stats()
    assert stats.waits.bandwidth > 0.05
    assert stats.storage.hosts[0].speed.p50 is None


def test_waits_for_memory(emulator: Emulator) -> None:
    """A consumer that takes nothing leaves no memory for the next blocks."""
    file_id = emulator.add(DATA, block_size=BLOCK_SIZE)
    with connect(emulator, memory=4 * BLOCK_SIZE) as client:
        blocks = client.stream(file_id)
        next(blocks)
        deadline = time.monotonic() + 20
        while not client.stats().waits.memory and time.monotonic() < deadline:
            time.sleep(0.005)
        assert client.stats().waits.memory > 0
        assert sum(len(block.data) for block in blocks) == len(DATA) - BLOCK_SIZE


def test_names_count_as_the_portals() -> None:
    """Looking up a path is a request to the portal."""
    with (
        Emulator(tree={"a.bin": DATA}) as emulator,
        Namespace(emulator.url, emulator.username, emulator.password) as names,
    ):
        with DirectIO(
            emulator.url, emulator.access_key_id, emulator.secret_access_key, namespace=names
        ) as client:
            client.metadata("/My Files/a.bin")
            stats = client.stats()
        assert stats.portal.requests >= 3  # Signing in, the lookup, the block list.
        assert len(stats.portal.hosts) == 1


def test_threads_lose_no_count(emulator: Emulator) -> None:
    """Calls of many threads at once add up."""
    file_id = emulator.add(DATA, block_size=BLOCK_SIZE)
    with connect(emulator) as client:

        def work() -> None:
            for _ in range(5):
                read(client, file_id)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stats = client.stats()
    assert stats.portal.requests == 40
    assert stats.storage.requests == 800
    assert stats.delivered == 40 * len(DATA)


def test_json_and_pickle(emulator: Emulator) -> None:
    """The numbers survive both, and hold no secret."""
    file_id = emulator.add(DATA, block_size=BLOCK_SIZE)
    with connect(emulator) as client:
        read(client, file_id)
        stats = client.stats()
        shown = repr(stats)
        url = str(client.metadata(file_id).chunks[0].url)
    assert pickle.loads(pickle.dumps(stats)) == stats
    plain = json.loads(json.dumps(stats.serialize()))
    assert set(plain) == set(Stats._fields)
    assert (
        plain["storage"]["hosts"][0]["first_byte"]["p50"] == stats.storage.hosts[0].first_byte.p50
    )
    for text in (shown, json.dumps(plain)):
        assert "?" not in text
        assert url.partition("?")[2] not in text
        assert emulator.secret_access_key not in text
        assert emulator.access_key_id not in text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_begins_at_zero(emulator: Emulator) -> None:
    """The child tells of its own work alone, and the parent keeps its numbers."""
    file_id = emulator.add(DATA, block_size=BLOCK_SIZE)
    emulator.faults.add("storage", block=3, times=1, action=faults.status(503))
    with connect(emulator) as client:
        read(client, file_id)
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            signal.alarm(60)
            try:
                first = client.stats()
                read(client, file_id)
                second = client.stats()
                zero = (first.storage.requests, first.portal.requests, first.delivered)
                told = [*zero, dict(first.retries), second.storage.requests, second.delivered]
                os.write(writing, json.dumps(told).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = json.loads(pipe.read())
        os.waitpid(pid, 0)
        assert told == [0, 0, 0, {}, 20, len(DATA)]
        assert client.stats().storage.requests == 21
