"""Retries, renewals of expired URLs, changed files: how often, how long, and what is said."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ctera_direct_sync import ByteRange, DirectIO, Settings
from ctera_direct_sync._protocol import block_list
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from ctera_direct_sync.exceptions import (
    BlockError,
    DecryptKeyError,
    DirectIOAPIError,
    DownloadError,
    DownloadTimeout,
    StreamError,
    UnAuthorized,
)
from ctera_direct_sync.settings import Endpoint

SIZE = 40_000
DATA = SyntheticSource(SIZE, seed=1).read(0, SIZE)


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of 40 blocks."""
    return portal.add(DATA, block_size=1000)


def whole(client: DirectIO, file_id: int, **options: Any) -> bytes:
    """The file, streamed."""
    return b"".join(block.data for block in client.stream(file_id, **options))


# --- retries -------------------------------------------------------------------------------------------


def test_a_retry_uses_a_new_connection(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """Neither a refusing nor a stuck connection is used again."""
    portal.faults.add("storage", block=1, times=3, action=faults.short())
    client.blocks(file_id, ByteRange(0, 0))[0].result()
    connections = [record.connection for record in portal.log.records(where="storage")]
    assert len(connections) == len(set(connections)) == 4


def test_attempts_are_bounded(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int
) -> None:
    """As many attempts as the settings say, and not one more; none where they say 0."""
    portal.faults.add("storage", times=None, action=faults.status(503))
    for retries in (0, 1, 4):
        portal.log.clear()
        with pytest.raises(DownloadError):
            make_client(retries=retries).blocks(file_id, ByteRange(0, 0))[0].result()
        assert portal.log.total("storage") == retries + 1


def test_total_time_is_bounded(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int
) -> None:
    """Where retry_timeout is over no further attempt is made, however many are left."""
    portal.faults.add("storage", times=None, action=faults.status(503))
    client = make_client(retries=1000, backoff=0.001, max_backoff=0.01, retry_timeout=0.05)
    with pytest.raises(DownloadError):
        client.blocks(file_id, ByteRange(0, 0))[0].result()
    assert 1 <= portal.log.total("storage") < 1000


def test_each_retry_is_logged_once(
    portal: Emulator, client: DirectIO, file_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning per retry, with block and reason; events tell the same."""
    portal.faults.add("storage", block=3, times=2, action=faults.status(503))
    with caplog.at_level(logging.INFO, "ctera_direct_sync"):
        assert whole(client, file_id) == DATA
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 2
    assert all("block 3" in record.message and "503" in record.message for record in warnings)


def test_retry_after_wins(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int
) -> None:
    """The storage's word counts, and not a backoff that would take an hour."""
    portal.faults.add("storage", times=1, action=faults.status(503, {"Retry-After": "0"}))
    client = make_client(backoff=3600, max_backoff=3600, retry_timeout=36000)
    assert whole(client, file_id) == DATA


@pytest.mark.parametrize("where", ["portal", "storage"])
def test_retry_after_is_waited_for(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int, where: str
) -> None:
    """A Retry-After of a second is a second, not less."""
    portal.faults.add(where, times=1, action=faults.status(429, {"Retry-After": "1"}))
    client = make_client(backoff=0.0)
    began = time.monotonic()
    assert whole(client, file_id, byte_range=ByteRange(0, 99)) == DATA[:100]
    assert time.monotonic() - began >= 0.99


def test_bad_credentials_are_told_at_once(portal: Emulator, file_id: int, quick: Settings) -> None:
    """A wrong key ID costs one request, a wrong secret one listing, and neither any waiting."""
    quick.backoff = quick.max_backoff = 3600
    keys = ("wrong", portal.secret_access_key), (portal.access_key_id, "d3Jvbmc=")
    for pair, error in zip(keys, (UnAuthorized, DecryptKeyError)):
        with DirectIO(portal.url, *pair, settings=quick) as client, pytest.raises(error):
            client.stream(file_id)
    assert (portal.log.total("portal"), portal.log.total("storage")) == (2, 0)


def test_read_timeout_is_of_silence(portal: Emulator, make_client: Callable[..., DirectIO]) -> None:
    """A body that keeps coming, slowly, for longer than the timeout does not time out."""
    data = SyntheticSource(60_000, seed=2, kind="random").read(0, 60_000)
    file_id = portal.add(data, block_size=60_000)
    client = make_client(retries=0, storage=Endpoint(timeout=1.5))
    portal.faults.add("storage", action=faults.throttle(30_000))
    assert whole(client, file_id) == data


def test_connect_timeout_is_not_the_read_timeout(
    portal: Emulator, quick: Settings, file_id: int
) -> None:
    """An answer may take longer than a connection may."""
    quick.retries = 0
    quick.api.timeout = quick.storage.timeout = (0.5, 30)
    portal.faults.add("portal", action=faults.delay(0.7))
    portal.faults.add("storage", block=1, action=faults.delay(0.7))
    keys = portal.access_key_id, portal.secret_access_key
    with DirectIO(portal.url, *keys, settings=quick) as client:
        assert whole(client, file_id) == DATA


def test_read_timeout(portal: Emulator, quick: Settings, file_id: int) -> None:
    """Silence for longer than the read timeout is a DownloadTimeout that names the setting."""
    quick.retries = 0
    quick.storage.timeout = (30, 0.1)
    portal.faults.add("storage", block=2, times=None, action=faults.stall(10))
    keys = portal.access_key_id, portal.secret_access_key
    with (
        DirectIO(portal.url, *keys, settings=quick) as client,
        pytest.raises(StreamError) as caught,
    ):
        whole(client, file_id)
    assert isinstance(caught.value.__cause__, DownloadTimeout)
    assert caught.value.errno == errno.ETIMEDOUT
    assert "settings.storage.timeout" in str(caught.value)


# --- expired URLs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403])
def test_one_listing_per_expiry(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int, status: int
) -> None:
    """However many blocks are refused together, the file is listed again once."""
    together = threading.Barrier(8)

    def refuse(exchange: Any, _: Any) -> None:
        together.wait(30)
        faults.status(status).run(exchange, None)  # type: ignore[arg-type]

    portal.faults.add("storage", times=8, action=faults.Action("refuse", refuse))
    futures = make_client().blocks(file_id, max_workers=8)
    assert b"".join(future.result(30).data for future in futures) == DATA
    assert portal.log.total("portal") == 2


def test_at_most_one_listing_in_flight(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int
) -> None:
    """While a renewal is under way no other API asks for another."""
    client = make_client()
    metadata = client.metadata(file_id)
    portal.expire_urls()
    held = portal.faults.add("portal", action=faults.stall())
    calls = [client.executor(metadata, max_workers=3) for _ in range(4)]
    futures = [future for call in calls for future in call()]
    assert held.wait()
    held.release()
    assert all(future.result(30).data for future in futures)
    assert portal.log.most_in_flight("portal") == 1


def test_many_expiries_during_a_stream(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int
) -> None:
    """URLs that expire ten times while a stream is read cost at most one listing each."""
    client = make_client(memory=4000)
    got = bytearray()
    for block in client.stream(file_id):
        got += block.data
        if block.number % 4 == 0:
            portal.expire_urls()
    assert got == DATA
    assert 2 <= portal.log.total("portal") <= 11


@pytest.mark.parametrize(
    ("life", "step"), [(0.4, 0.2), pytest.param(2.0, 2.5, marks=pytest.mark.nightly)]
)
def test_urls_that_live_shorter_than_the_stream(
    portal: Emulator, make_client: Callable[..., DirectIO], life: float, step: float
) -> None:
    """In real time: a stream taken over several lives of its URLs completes."""
    portal.expire = life
    file_id = portal.add(DATA, block_size=5000)
    pause = threading.Event()
    got = bytearray()
    for block in make_client(memory=5000).stream(file_id):
        got += block.data
        pause.wait(step)
    assert got == DATA
    assert portal.log.total("portal") >= 3


def test_the_clock_is_not_trusted(
    portal: Emulator,
    make_client: Callable[..., DirectIO],
    file_id: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What this machine takes the time for decides nothing."""
    client = make_client()
    metadata = client.metadata(file_id)
    real = time.time
    for shift in (-1e8, 1e8):
        monkeypatch.setattr(time, "time", lambda shift=shift: real() + shift)
        portal._signer._clock = real
        portal.expire_urls()
        futures = client.executor(metadata)()
        assert b"".join(future.result().data for future in futures) == DATA


def test_the_portal_refuses_to_list_again(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """Access that was withdrawn meanwhile ends a stream with the portal's word, where it was."""
    portal.faults.add("storage", block=5, times=None, action=faults.status(403))
    portal.faults.add("portal", skip=1, times=None, action=faults.status(401))
    got = bytearray()
    with pytest.raises(StreamError) as caught:
        for block in client.stream(file_id):
            got += block.data
    assert isinstance(caught.value.__cause__, UnAuthorized)
    assert (caught.value.offset, bytes(got)) == (4000, DATA[:4000])


@pytest.mark.parametrize(
    "change",
    [{"block_size": 900}, {"block_size": 1000, "longer": True}, {"key_size": 16}],
    ids=["other lengths", "longer", "another key"],
)
def test_changed_file(
    portal: Emulator, make_client: Callable[..., DirectIO], file_id: int, change: dict[str, Any]
) -> None:
    """A file rewritten while it is read is an error that says so, never a mixture."""
    data = DATA[::-1] + (b"more" if change.pop("longer", False) else b"")
    got = bytearray()
    with pytest.raises(StreamError, match="changed") as caught:
        for block in make_client(memory=3000).stream(file_id):
            got += block.data
            if block.number == 2:
                portal.replace(file_id, data, keep_old=False, **change)
                portal.expire_urls()
    assert caught.value.errno == errno.ESTALE
    assert DATA.startswith(bytes(got)) and caught.value.offset == len(got)
    with pytest.raises(BlockError, match="changed"):
        metadata = make_client().metadata(file_id)
        portal.replace(file_id, DATA, block_size=800)
        portal.expire_urls()
        make_client().executor(metadata)()[0].result()


def test_changed_object_of_a_native_file(
    portal: Emulator, make_client: Callable[..., DirectIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of one object are of one version of it, held together by its ETag."""
    size = 20 * 1024 * 1024
    file_id = portal.add(SyntheticSource(size, seed=1), native=True)
    portal.faults.add("storage", skip=1, times=None,
                      action=faults.headers({"ETag": '"another"'}))  # fmt: skip
    with pytest.raises(StreamError, match="changed"):
        for _ in make_client().stream(file_id, max_workers=1):
            pass


def test_listing_retries_and_renewals_together(
    portal: Emulator, client: DirectIO, file_id: int
) -> None:
    """A renewal goes through the same retries as the first listing."""
    metadata = client.metadata(file_id)
    portal.expire_urls()
    portal.faults.add("portal", times=2, action=faults.status(503))
    assert client.executor(metadata)()[0].result().data == DATA[:1000]


def test_stampede_of_clients_calls(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """Eight threads whose streams meet an expiry at once: one renewal each at the most."""
    streams = [client.stream(file_id) for _ in range(8)]
    portal.expire_urls()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda blocks: b"".join(block.data for block in blocks), streams))
    assert results == [DATA] * 8
    assert 9 <= portal.log.total("portal") <= 16


def test_refused_for_good(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """Where newly listed URLs are refused too, the portal is not asked once for every block."""
    portal.faults.add("storage", times=None, action=faults.status(403))
    futures = client.blocks(file_id)
    assert all("refuses" in str(future.exception(30)) for future in futures)
    assert portal.log.total("portal") <= 5


def test_refused_for_a_while(
    portal: Emulator, client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open file whose URLs were refused for good lists again later, when it is read again."""
    clock = time.monotonic
    with client.open(file_id) as file:
        refusing = portal.faults.add("storage", times=None, action=faults.status(403))
        with pytest.raises(DownloadError):
            file.read()
        assert refusing.hits
        portal.faults.clear()
        portal.expire_urls()
        monkeypatch.setattr(block_list, "monotonic", lambda: clock() + 3600)
        file.seek(0)
        assert file.read() == DATA


# --- integrity -----------------------------------------------------------------------------------------

CHECKSUMS = ("x-goog-hash", "content-md5", "x-amz-checksum-crc32c", "x-amz-checksum-crc32",
             "x-amz-checksum-crc64nvme", "x-amz-checksum-sha256", "x-amz-checksum-sha1")  # fmt: skip
PLAIN: dict[str, Any] = {"cipher": None, "compression": "NONE", "block_size": 1000}


@pytest.mark.parametrize("name", CHECKSUMS)
def test_checksums(portal: Emulator, make_client: Callable[..., DirectIO], name: str) -> None:
    """Each declared checksum is verified and named in an event; a wrong one names both values."""
    file_id = portal.add(DATA, checksums=(name,), **PLAIN)
    verified: set[str] = set()
    client = make_client(
        checksums="all",
        on_event=lambda event: verified.add(event.detail) if event.name == "verified" else None,
    )
    portal.faults.add("storage", block=7, action=faults.corrupt())
    assert whole(client, file_id) == DATA
    assert verified == {name.rpartition("-")[2].replace("hash", "crc32c")} | (
        {"md5"} if name == "x-goog-hash" else set()
    )
    portal.faults.add("storage", block=8, times=None, action=faults.corrupt())
    error = client.blocks(file_id)[7].exception()
    assert isinstance(error, DownloadError)
    assert "declares" in str(error) and "damaged" in str(error)


@pytest.mark.parametrize("name", ["content-md5", "x-amz-checksum-sha256", "x-amz-checksum-sha1"])
def test_costly_checksums_are_off_unless_asked_for(
    portal: Emulator, client: DirectIO, name: str
) -> None:
    """By default the cheap ones are verified, and no other."""
    file_id = portal.add(DATA, checksums=(name,), **PLAIN)
    portal.faults.add("storage", block=7, times=None, action=faults.corrupt())
    assert whole(client, file_id) != DATA


def test_composite_checksum_is_none_of_the_object(
    portal: Emulator, make_client: Callable[..., DirectIO]
) -> None:
    """A checksum of checksums proves nothing, and is not taken for a wrong one."""
    file_id = portal.add(DATA, checksums=("x-amz-checksum-crc32c",), checksum_type="COMPOSITE",
                         **PLAIN)  # fmt: skip
    assert whole(make_client(checksums="all"), file_id) == DATA


def test_etag_where_asked_for(portal: Emulator, make_client: Callable[..., DirectIO]) -> None:
    """An ETag that is an MD5 is verified where the settings say that it is one."""
    file_id = portal.add(DATA, etag_md5=True, **PLAIN)
    portal.faults.add("storage", block=7, times=1, action=faults.corrupt())
    assert whole(make_client(checksums=["etag"]), file_id) == DATA


def test_what_does_not_decode_is_fetched_once_more(
    portal: Emulator, client: DirectIO, file_id: int
) -> None:
    """A damaged object costs one more request; one that stays damaged two in all."""
    portal.faults.add("storage", block=3, times=1, action=faults.corrupt(at=-17))
    assert whole(client, file_id) == DATA
    assert len(portal.log.records(where="storage", block=3)) == 2
    portal.log.clear()
    portal.faults.add("storage", block=3, times=None, action=faults.corrupt(at=-17))
    with pytest.raises(StreamError):
        whole(client, file_id)
    assert len(portal.log.records(where="storage", block=3)) == 2


def test_download_gives_the_files_crc32c(
    portal: Emulator, client: DirectIO, file_id: int, tmp_path: Any
) -> None:
    """The CRC32C combined from the blocks' is the file's, as another implementation computes it."""
    import google_crc32c

    done = client.download(file_id, tmp_path / "target")
    assert done.crc32c == google_crc32c.value(DATA)
    part = client.download(file_id, tmp_path / "part", byte_range=ByteRange(500, 17_777))
    assert part.crc32c == google_crc32c.value(DATA[500:17_778])


def test_errors_tell_apart_what_is_wrong(
    portal: Emulator, client: DirectIO, file_id: int, quick: Settings
) -> None:
    """Wrong secret, damaged object, cut download and unknown format: each says which it is."""
    quick.retries = 0
    told = []
    keys = portal.url, portal.access_key_id
    with DirectIO(*keys, "d3Jvbmc=", settings=quick) as stranger:
        with pytest.raises(DecryptKeyError) as key:
            stranger.metadata(file_id)
        told.append(str(key.value.strerror))
    with DirectIO(*keys, portal.secret_access_key, settings=quick) as client:
        for action in (faults.corrupt(at=-17), faults.short()):
            portal.faults.add("storage", block=1, times=None, action=action)
            told.append(str(client.blocks(file_id)[0].exception().strerror))  # type: ignore[union-attr]
            portal.faults.clear()
    portal.faults.add("portal", action=faults.listing(
        lambda listing: {**listing, "compression_type": "ZSTD"}))  # fmt: skip
    with pytest.raises(DirectIOAPIError) as unknown:
        client = DirectIO(*keys, portal.secret_access_key)
        client.metadata(file_id)
    client.close()
    told.append(str(unknown.value.strerror))
    assert len(set(told)) == 4
    for text, word in zip(told, ("secret access key", "", "ended", "version")):
        assert word in text


@pytest.mark.parametrize(
    "options", [{}, PLAIN, {"native": True}], ids=["encoded", "plain", "native"]
)
@pytest.mark.parametrize("prefixed", [True, False])
def test_azure_prefix(
    quick: Settings, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], prefixed: bool
) -> None:
    """On Azure Blob an MD5 in front of the object is verified and taken off; elsewhere it is data."""
    with Emulator(storage_url="http://account.blob.core.windows.net") as emulator:
        monkeypatch.setenv("http_proxy", emulator.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        file_id = emulator.add(DATA, **{"block_size": 1000, **options, "azure_md5": prefixed})
        verified: list[str] = []
        keys = emulator.access_key_id, emulator.secret_access_key
        with DirectIO(emulator.url, *keys, settings=quick, on_event=lambda event: verified.append(
                event.detail) if event.name == "verified" else None) as client:  # fmt: skip
            assert whole(client, file_id) == DATA
            assert whole(client, file_id, byte_range=ByteRange(1500, 1600)) == DATA[1500:1601]
            if prefixed:
                assert set(verified) <= {"azure-md5"}
                assert verified or options.get("native")


def test_azure_prefix_of_a_damaged_object(quick: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefix that does not fit the rest is not taken for one: the block fails, wrong as it is."""
    with Emulator(storage_url="http://account.blob.core.windows.net") as emulator:
        monkeypatch.setenv("http_proxy", emulator.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        file_id = emulator.add(DATA, block_size=1000, azure_md5=True, cipher=None)
        keys = emulator.access_key_id, emulator.secret_access_key
        with DirectIO(emulator.url, *keys, settings=quick) as client:
            emulator.faults.add("storage", block=2, times=1, action=faults.corrupt())
            assert whole(client, file_id) == DATA
            emulator.faults.add("storage", block=2, times=None, action=faults.corrupt())
            with pytest.raises(StreamError):
                whole(client, file_id)
