"""`min_speed`: a body that trickles fails and is tried again, and nothing else does."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from ctera_direct_sync import DirectIO, DownloadTimeout, Namespace, Settings
from ctera_direct_sync._net import paced
from ctera_direct_sync._net.errors import TransportError
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from ctera_direct_sync.exceptions import BlockListTimeout, NamespaceTimeout
from ctera_direct_sync.settings import Endpoint
from tests.support.sessions import ROUTES

SIZE = 60_000
DATA = SyntheticSource(SIZE, seed=1, kind="random").read(0, SIZE)
#: Far below the speed of a body that trickles in these tests, and far below any other.
FAST, SLOW = 200_000, 20_000


@pytest.fixture(autouse=True)
def _short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paced, "_SPEED_WINDOW_S", 0.4)


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of one block."""
    return portal.add(DATA, block_size=SIZE)


def read_all(client: DirectIO, file_id: int) -> bytes:
    """Return the file, by the futures of its blocks."""
    return b"".join(future.result().data for future in client.blocks(file_id))


@ROUTES
def test_a_trickling_body_fails(
    make_client: Any, portal: Emulator, file_id: int, session: Any
) -> None:
    """A block whose body trickles fails long before its end, with an error that says what to do."""
    portal.faults.add("storage", action=faults.throttle(SLOW), times=None)
    client = make_client(retries=0, storage=Endpoint(min_speed=FAST), session=session)
    with pytest.raises(DownloadTimeout, match=r"settings\.storage\.min_speed .*lower it") as caught:
        read_all(client, file_id)
    assert caught.value.errno == errno.ETIMEDOUT
    assert caught.value.block is not None
    assert caught.value.block.number == 1


@ROUTES
def test_it_is_tried_again(make_client: Any, portal: Emulator, file_id: int, session: Any) -> None:
    """After a body that trickled, the next one is taken."""
    portal.faults.add("storage", action=faults.throttle(SLOW), times=1)
    # A busy machine may hold the next body up for a moment.
    client = make_client(storage=Endpoint(min_speed=2 * SLOW), session=session)
    assert read_all(client, file_id) == DATA
    assert portal.log.total("storage") == 2


@ROUTES
def test_any_speed_will_do_by_default(
    make_client: Any, portal: Emulator, file_id: int, session: Any
) -> None:
    """Without the setting a body may trickle."""
    portal.faults.add("storage", action=faults.throttle(SLOW * 4), times=None)
    assert read_all(make_client(retries=0, session=session), file_id) == DATA


@ROUTES
def test_the_own_limit_does_not_count(make_client: Any, file_id: int, session: Any) -> None:
    """A body that only `bandwidth` makes slow is not too slow."""
    client = make_client(
        retries=0, storage=Endpoint(min_speed=FAST), bandwidth=50_000, session=session
    )
    assert read_all(client, file_id) == DATA


def test_block_lists_have_their_own(make_client: Any, portal: Emulator) -> None:
    """`settings.api.min_speed` holds for block lists."""
    file_id = portal.add(DATA * 20, block_size=1000)
    portal.faults.add("portal", action=faults.throttle(SLOW), times=None)
    client = make_client(retries=0, api=Endpoint(min_speed=FAST))
    with pytest.raises(BlockListTimeout, match=r"settings\.api\.min_speed"):
        client.metadata(file_id)


def test_names_are_held_to_it_too(portal: Emulator) -> None:
    """`settings.api.min_speed` holds for the portal's other answers."""
    settings = Settings(retries=0, api=Endpoint(min_speed=FAST))
    with Namespace(portal.url, portal.username, portal.password, settings=settings) as names:
        names.exists("/My Files")
        portal.faults.add("portal", action=faults.throttle(500), times=None)
        with pytest.raises(NamespaceTimeout, match=r"settings\.api\.min_speed"):
            names.stat("/My Files")


def test_the_window_slides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the last 30 seconds count: a body that was fast before may not trickle now."""
    monkeypatch.undo()
    watch = paced.SpeedWatch(1000)
    for _ in range(100):
        watch.note(1.0, 10_000)
    for _ in range(27):
        watch.note(1.0, 10)
    with pytest.raises(TransportError, match="bytes came in 30 s"):
        watch.note(1.0, 10)


def test_a_short_body_may_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """No speed is judged before 30 seconds of waiting."""
    monkeypatch.undo()
    watch = paced.SpeedWatch(1000)
    for _ in range(29):
        watch.note(1.0, 0)
