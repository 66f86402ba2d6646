"""A file that changes while several calls read it: each one is told so, with ESTALE."""

from __future__ import annotations

import errno
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from ctera_direct_sync import Block, ByteRange, DirectIO, Metadata
from ctera_direct_sync._protocol.ranges import PART_SIZE
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from ctera_direct_sync.exceptions import DownloadError, NotFoundError

SIZE = 3000
DATA = SyntheticSource(SIZE, seed=5).read(0, SIZE)
CALLS = 10


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of three blocks."""
    return portal.add(DATA, block_size=1000)


def calls(client: DirectIO, lists: list[Metadata]) -> list[Future[Block]]:
    """The blocks of the file, once for each list, all under way together."""
    executors = [client.executor(metadata, max_workers=3) for metadata in lists]
    return [future for execute in executors for future in execute()]


@pytest.mark.parametrize("shared", [True, False], ids=["one list", "a list for each call"])
def test_every_call_is_told_that_the_file_changed(
    portal: Emulator, client: DirectIO, file_id: int, shared: bool
) -> None:
    """Calls that wait for one listing compare it with their own lists, and all of them see a change."""
    lists = [client.metadata(file_id) for _ in range(CALLS)]
    if shared:
        lists = lists[:1] * CALLS
    portal.replace(file_id, DATA[::-1], block_size=700)
    portal.expire_urls()
    held = portal.faults.add("portal", action=faults.stall())
    futures = calls(client, lists)
    assert held.wait()
    held.release()
    errors = [future.exception(30) for future in futures]
    assert [getattr(error, "errno", None) for error in errors] == [errno.ESTALE] * len(futures)
    assert all("changed on the portal" in str(error) for error in errors)


@pytest.mark.parametrize("shared", [True, False], ids=["one list", "a list for each call"])
def test_every_call_goes_on_with_new_urls(
    portal: Emulator, client: DirectIO, file_id: int, shared: bool
) -> None:
    """Where the file is the same, one listing serves all calls that wait for it."""
    lists = [client.metadata(file_id) for _ in range(CALLS)]
    if shared:
        lists = lists[:1] * CALLS
    portal.expire_urls()
    held = portal.faults.add("portal", action=faults.stall())
    futures = calls(client, lists)
    assert held.wait()
    held.release()
    got = [future.result(30).data for future in futures]
    assert got == [DATA[:1000], DATA[1000:2000], DATA[2000:]] * CALLS
    assert portal.log.most_in_flight("portal") == 1


def test_a_change_is_listed_once(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """The blocks of one call share the listing that shows the change."""
    metadata = client.metadata(file_id)
    portal.replace(file_id, DATA[::-1], block_size=700)
    portal.expire_urls()
    portal.log.clear()
    futures = client.executor(metadata, max_workers=3)()
    errors = [future.exception(30) for future in futures]
    assert [getattr(error, "errno", None) for error in errors] == [errno.ESTALE] * 3
    assert portal.log.total("portal") == 1


def test_objects_that_are_gone_with_the_old_version(
    portal: Emulator, client: DirectIO, file_id: int
) -> None:
    """A block that is gone because the file was replaced is a change, not a missing file."""
    metadata = client.metadata(file_id)
    portal.replace(file_id, DATA[::-1], block_size=700, keep_old=False)
    errors = [future.exception(30) for future in client.executor(metadata)()]
    assert [getattr(error, "errno", None) for error in errors] == [errno.ESTALE] * 3


def test_objects_that_are_gone_with_the_file(
    portal: Emulator, client: DirectIO, file_id: int
) -> None:
    """A block that is gone because the file was deleted is what the portal says: no such file."""
    metadata = client.metadata(file_id)
    portal.remove(file_id)
    error = client.executor(metadata)()[0].exception(30)
    assert isinstance(error, NotFoundError)


def test_objects_that_are_gone_for_no_reason(
    portal: Emulator, client: DirectIO, file_id: int
) -> None:
    """A block that is gone although the file is the same costs few listings, and says so."""
    portal.faults.add("storage", times=None, action=faults.status(404))
    errors = [future.exception(30) for future in client.blocks(file_id)]
    assert [type(error) for error in errors] == [DownloadError] * 3
    assert [getattr(error, "errno", None) for error in errors] == [errno.ENOENT] * 3
    assert portal.log.total("portal") <= 4
    assert portal.log.total("storage") == 3


def test_objects_that_are_gone_while_the_portal_fails(
    portal: Emulator, client: DirectIO, file_id: int
) -> None:
    """Where the portal cannot tell whether the file changed, the storage's answer is the error."""
    metadata = client.metadata(file_id)
    portal.faults.add("storage", times=None, action=faults.status(404))
    portal.faults.add("portal", times=None, action=faults.status(503))
    error = client.executor(metadata)()[0].exception(30)
    assert isinstance(error, DownloadError)
    assert error.errno == errno.ENOENT


@pytest.mark.parametrize("action", [None, faults.ignore_range(), "chunked"])
def test_azure_prefix_costs_no_attempt(
    make_client: Callable[..., DirectIO], monkeypatch: pytest.MonkeyPatch, action: Any
) -> None:
    """To learn that an object in parts has an MD5 in front needs no retry of the policy."""
    size = PART_SIZE + 5000
    source = SyntheticSource(size, seed=6)
    if action == "chunked":
        action = faults.Action("chunked", _whole_and_chunked)
    with Emulator(storage_url="http://account.blob.core.windows.net") as emulator:
        monkeypatch.setenv("http_proxy", emulator.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        file_id = emulator.add(source, native=True, azure_md5=True)
        if action is not None:
            emulator.faults.add("storage", times=None, action=action)
        keys = emulator.url, emulator.access_key_id, emulator.secret_access_key
        client = make_client(*keys, retries=0)
        wanted = ByteRange(PART_SIZE - 100, PART_SIZE + 99)
        got = b"".join(block.data for block in client.stream(file_id, wanted))
    assert got == source.read(PART_SIZE - 100, 200)


def _whole_and_chunked(exchange: Any, _: Any) -> None:
    response = exchange.respond(whole=True)
    exchange.send_head(response, {"Transfer-Encoding": "chunked"})
    exchange.send_chunks(response.body, response.body.size, 100_000, complete=True)
