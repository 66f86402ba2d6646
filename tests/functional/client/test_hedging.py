"""What is late is asked for a second time: the first whole answer wins, and the other one is cut."""

from __future__ import annotations

import functools
import gc
import os
import threading
import time
from typing import Any, Callable

import pytest

from ctera_direct_sync import BlockEvent, ByteRange, DirectIO, DownloadError, Namespace, Settings
from ctera_direct_sync._core import core_of
from ctera_direct_sync._net import hedging
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from ctera_direct_sync.settings import Endpoint
from tests.support.sessions import ROUTES

BLOCK, COUNT = 40_000, 20
SIZE = BLOCK * COUNT
DATA = SyntheticSource(SIZE, seed=3, kind="random").read(0, SIZE)
#: Far more than a twin takes to begin, and far less than a stalled answer: that takes a minute.
SOON_S = 20


PLACES = pytest.mark.parametrize("after", [None, 0, 20_000], ids=["no answer", "head", "body"])


@pytest.fixture(autouse=True)
def _low_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback answers within a millisecond: nothing has to wait 300 of them to be late."""
    monkeypatch.setattr(hedging, "_FLOOR_S", 0.15)


@pytest.fixture
def quick(quick: Settings) -> Settings:
    """Settings with which requests are sent twice, as with the shipped ones."""
    quick.hedging = Settings().hedging
    return quick


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of 20 blocks."""
    return portal.add(DATA, block_size=BLOCK)


def read_all(client: DirectIO, file_id: int, **options: Any) -> bytes:
    """Return the file, or a part of it."""
    blocks = client.iter_blocks(file_id, **options)
    return b"".join(block.data for block in sorted(blocks, key=lambda block: block.offset))


def warmed(client: DirectIO, file_id: int) -> Any:
    """Return the hedging of a client that knows how long the storage takes.

    On a busy machine a request of these may have been late already.
    """
    assert read_all(client, file_id) == DATA
    return core_of(client).hedging


def await_true(condition: Callable[[], object]) -> None:
    """Wait until something is so. A twin counts its win after it has won."""
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def read_beside_twin(client: DirectIO, portal: Emulator, file_id: int, action: Any) -> None:
    """Read the file. The answer for block 7 comes once a second request has met `action`."""
    first = portal.faults.add("storage", file_id, 7, action=faults.stall())
    twin = portal.faults.add("storage", file_id, 7, action=action, times=None)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(read_all(client, file_id)))
    reader.start()
    assert first.wait(timeout=SOON_S)
    assert twin.wait(timeout=SOON_S)
    first.release()
    reader.join(SOON_S)
    assert found == [DATA]


@PLACES
@ROUTES
def test_a_stalled_block_is_asked_for_again(
    make_client: Any, portal: Emulator, file_id: int, session: Any, after: int | None
) -> None:
    """Wherever the answer stops, a second request brings the block soon."""
    events: list[BlockEvent] = []
    client = make_client(session=session, on_event=events.append)
    made = warmed(client, file_id)
    portal.faults.add("storage", file_id, 7, action=faults.stall(after))
    began = time.monotonic()
    assert read_all(client, file_id) == DATA
    assert time.monotonic() - began < SOON_S
    await_true(lambda: made.wins)
    names = [event.name for event in events if event.number == 7]
    assert "hedged" in names
    assert "retried" not in names
    assert not made.races


def test_the_parts_of_a_plaintext_object(make_client: Any, portal: Emulator) -> None:
    """A range of an object is asked for again, too."""
    file_id = portal.add(DATA, block_size=BLOCK, cipher=None, compression="NONE")
    client = make_client()
    made = warmed(client, file_id)
    portal.faults.add("storage", file_id, 1, action=faults.stall(5))
    with client.open(file_id, readahead=0) as file:
        file.seek(100)
        assert file.read(1000) == DATA[100:1100]
    await_true(lambda: made.wins)


@pytest.mark.parametrize("min_speed", [None, 1])
def test_over_tls(min_speed: float | None) -> None:
    """A connection over TLS is cut as any other."""
    with Emulator(tls=True) as portal:
        file_id = portal.add(DATA, block_size=BLOCK)
        endpoint = Endpoint(ssl=False, min_speed=min_speed)
        settings = Settings(api=endpoint, storage=endpoint)
        with DirectIO(
            portal.url, portal.access_key_id, portal.secret_access_key, settings=settings
        ) as client:
            made = warmed(client, file_id)
            portal.faults.add("storage", file_id, 7, action=faults.stall(10_000))
            assert read_all(client, file_id) == DATA
            await_true(lambda: made.wins)


def test_no_share_no_twins(make_client: Any, portal: Emulator, file_id: int) -> None:
    """With `hedging=0` a stalled block waits for its timeout, and no thread watches."""
    client = make_client(hedging=0, storage=Endpoint(timeout=(5, 1)))
    made = warmed(client, file_id)
    portal.faults.add("storage", file_id, 7, action=faults.stall())
    began = time.monotonic()
    assert read_all(client, file_id) == DATA
    assert time.monotonic() - began > 0.9
    assert made.twins == 0
    assert not made.bells


def test_a_twin_that_fails(make_client: Any, portal: Emulator, file_id: int) -> None:
    """A second request that is refused changes nothing for the first one, and is not retried."""
    events: list[BlockEvent] = []
    client = make_client(on_event=events.append)
    made = warmed(client, file_id)
    wins = made.wins
    read_beside_twin(client, portal, file_id, faults.status(403))
    assert made.wins == wins
    assert "retried" not in {event.name for event in events}


def test_a_first_request_that_fails(make_client: Any, portal: Emulator, file_id: int) -> None:
    """The second request goes on where the first one fails: that is not a retry."""
    events: list[BlockEvent] = []
    client = make_client(on_event=events.append)
    made = warmed(client, file_id)
    first = portal.faults.add("storage", file_id, 7, action=faults.stall())
    twin = portal.faults.add("storage", file_id, 7, action=faults.stall())
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(read_all(client, file_id)))
    reader.start()
    assert first.wait(timeout=SOON_S)
    assert twin.wait(timeout=SOON_S)
    # The first one fails while the second one is under way.
    await_true(lambda: len(made.races) == 1)
    (race,) = [reference() for reference in made.races.values()]
    race._attachment.abort()
    await_true(functools.partial(getattr, race, "has_failed"))
    del race
    twin.release()
    reader.join(SOON_S)
    assert found == [DATA]
    assert "retried" not in {event.name for event in events}


def test_a_damaged_twin_does_not_win(make_client: Any, portal: Emulator, file_id: int) -> None:
    """A second answer that is cut short does not win."""
    client = make_client()
    made = warmed(client, file_id)
    wins = made.wins
    read_beside_twin(client, portal, file_id, faults.short())
    assert made.wins == wins


@ROUTES
def test_closing_cuts_both(make_client: Any, portal: Emulator, file_id: int, session: Any) -> None:
    """A close ends the first request, the second one and the watcher."""
    client = make_client(session=session)
    warmed(client, file_id)
    stalled = portal.faults.add("storage", file_id, 7, action=faults.stall(), times=None)
    future = client.blocks(file_id)[6]
    assert stalled.wait(2, timeout=SOON_S)
    began = time.monotonic()
    client.close()
    assert time.monotonic() - began < SOON_S
    with pytest.raises(DownloadError, match="cut off"):
        future.result(SOON_S)


def test_an_abandoned_client_leaves_no_thread(portal: Emulator, file_id: int) -> None:
    """The watcher does not keep a client alive, and ends with it."""
    client = DirectIO(portal.url, portal.access_key_id, portal.secret_access_key)
    assert warmed(client, file_id).bells
    del client
    gc.collect()  # The client and its core refer to each other.
    await_true(
        lambda: not any(thread.name.startswith("ctera-direct_") for thread in threading.enumerate())
    )


def test_a_storage_that_is_slow_as_a_whole(
    make_client: Any, portal: Emulator, file_id: int
) -> None:
    """Where most requests are late at once, none is sent twice."""
    client = make_client()
    made = warmed(client, file_id)
    twins = made.twins
    stalled = portal.faults.add("storage", file_id, action=faults.stall(), times=None)
    futures = client.blocks(file_id, max_workers=COUNT)
    assert stalled.wait(COUNT, timeout=SOON_S)
    late_at = time.monotonic() + 4 * hedging._FLOOR_S
    await_true(lambda: time.monotonic() > late_at)
    assert made.twins == twins
    portal.faults.clear()
    assert b"".join(future.result().data for future in futures) == DATA


def test_a_storage_that_asks_for_a_pause(make_client: Any, portal: Emulator, file_id: int) -> None:
    """After a Retry-After, nothing is sent twice for so long."""
    client = make_client()
    made = warmed(client, file_id)
    twins = made.twins
    busy = faults.status(503, {"Retry-After": "1"})
    portal.faults.add("storage", file_id, 3, action=busy)
    portal.faults.add("storage", file_id, 7, action=faults.delay(0.9))
    assert read_all(client, file_id) == DATA
    assert made.twins == twins


def test_a_limit_of_the_bandwidth_is_not_late(make_client: Any, portal: Emulator) -> None:
    """A body that waits for its share of the bandwidth gets no twin."""
    data = DATA[:300_000]
    file_id = portal.add(data, block_size=100_000)
    other = portal.add(DATA, block_size=BLOCK)
    client = make_client()
    made = warmed(client, other)
    twins = made.twins
    client.settings.bandwidth = 200_000
    assert read_all(client, file_id) == data
    assert made.twins == twins


def test_the_budget(make_client: Any, portal: Emulator, file_id: int) -> None:
    """No more requests are sent twice than the share says, however many are late."""
    client = make_client(hedging=0.01, max_workers=3)
    made = warmed(client, file_id)
    portal.faults.add("storage", file_id, action=faults.delay(0.4), times=15)
    assert read_all(client, file_id) == DATA
    assert 1 <= made.twins <= hedging._MIN_BURST + 0.01 * portal.log.total("storage")


def test_a_block_list(make_client: Any, portal: Emulator, file_id: int) -> None:
    """A listing that does not come is asked for again."""
    client = make_client()
    for _ in range(10):
        client.metadata(file_id)
    portal.faults.add("portal", file_id, action=faults.stall())
    began = time.monotonic()
    assert client.metadata(file_id).size == SIZE
    assert time.monotonic() - began < SOON_S
    await_true(lambda: core_of(client).hedging.wins)


@ROUTES
def test_a_page_of_names(portal: Emulator, session: Any) -> None:
    """A page of a folder's listing is asked for again."""
    portal.tree.create("/My Files/a.txt", b"x")
    with Namespace(portal.url, portal.username, portal.password, session=session) as names:
        for _ in range(10):
            names.stat("/My Files/a.txt")
        portal.faults.add("portal", call="fetchResources", action=faults.stall())
        began = time.monotonic()
        assert [entry.name for entry in names.listdir("/My Files")] == ["a.txt"]
        assert time.monotonic() - began < SOON_S
        await_true(lambda: names._hedging.wins)


def test_key_pairs_and_sign_in_are_sent_once(portal: Emulator) -> None:
    """What changes something on the portal is never sent twice."""
    portal.tree.create("/My Files/a.txt", b"x")
    with Namespace(portal.url, portal.username, portal.password) as names:
        for _ in range(10):
            names.stat("/My Files/a.txt")
        twins = names._hedging.twins
        portal.faults.add("portal", call="createApiKey", action=faults.delay(0.6))
        names.create_key_pair()
        assert names._hedging.twins == twins


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_starts_over(make_client: Any, portal: Emulator, file_id: int) -> None:
    """A child of a client that hedges has no watcher, and starts one of its own."""
    client = make_client()
    warmed(client, file_id)
    portal.faults.add("storage", file_id, 7, action=faults.stall(), skip=1)
    child = os.fork()
    if not child:
        status = 1
        try:
            made = warmed(client, file_id)
            is_whole = read_all(client, file_id) == DATA
            await_true(lambda: made.wins)
            status = 0 if is_whole else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_a_range_of_a_stalled_file(make_client: Any, portal: Emulator, file_id: int) -> None:
    """A call for a part of a file is hedged as one for all of it."""
    client = make_client()
    warmed(client, file_id)
    portal.faults.add("storage", file_id, 2, action=faults.stall())
    wanted = ByteRange(BLOCK, 3 * BLOCK - 1)
    assert read_all(client, file_id, byte_range=wanted) == DATA[BLOCK : 3 * BLOCK]
