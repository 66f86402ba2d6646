"""The emulator by someone else's judgement, and ours by the same files.

The vendor's asynchronous client downloads every combination that it supports from the emulator:
what it accepts there, portals may send. Our client downloads the same, and what only it supports.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterator
from concurrent.futures import as_completed
from typing import Any, Callable

import pytest
import requests

from ctera_direct_sync.emulator import Emulator
from tests.interop.cases import (
    KIB,
    OURS,
    RANGED,
    RANGES,
    SHARED,
    SIZE,
    TEXT,
    by_pairs,
    content_of,
    digest,
    expected,
    identify,
)

by_vendor = pytest.mark.skipif(
    sys.version_info < (3, 10), reason="cterasdk 2.20.50 needs Python 3.10"
)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """One emulator for all: every case adds a file."""
    with Emulator() as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def vendor_event_loop() -> Iterator[None]:
    """Close the event loop that the vendor's package makes when imported, and leaves open."""
    yield
    imported = sys.modules.get("cterasdk.clients.clients")
    if imported is not None:
        imported.event_loop.close()


# --- the vendor's client ------------------------------------------------------------------------


async def vendor_blocks(emulator: Emulator, file_id: int) -> bytes:
    """Download by the vendor's blocks API, and put the blocks where they belong."""
    async with vendor(emulator) as client:
        blocks = await asyncio.gather(*await client.blocks(file_id, max_workers=4))
    data = bytearray(max((block.offset + block.length for block in blocks), default=0))
    for block in blocks:
        data[block.offset : block.offset + block.length] = block.data
    return bytes(data)


async def vendor_stream(
    emulator: Emulator, file_id: int, start: int | None = None, end: int | None = None
) -> bytes:
    """Download by the vendor's streamer."""
    from cterasdk.direct.types import ByteRange

    async with vendor(emulator) as client:
        streamer = await client.streamer(file_id, ByteRange(start, end), max_workers=4)
        return b"".join([bytes(block.data) async for block in streamer.start()])


def vendor(emulator: Emulator, access_key_id: str | None = None) -> Any:
    """Return the vendor's client for an emulator."""
    from cterasdk.direct.client import DirectIO

    return DirectIO(
        emulator.url, access_key_id or emulator.access_key_id, emulator.secret_access_key
    )


VENDOR_WAYS: list[Callable[..., Any]] = [vendor_blocks, vendor_stream]


@by_vendor
@pytest.mark.parametrize(("case", "way"), by_pairs(SHARED, VENDOR_WAYS))
def test_vendor_downloads(emulator, case, way, record_property):
    """The vendor's client gets the file's bytes, however they are stored."""
    data = content_of(case)
    file_id = emulator.add(data, name=case.name, **case.options)
    assert digest(asyncio.run(way(emulator, file_id))) == digest(data)
    record_property("compared", "cterasdk")


@by_vendor
@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("case", RANGED, ids=identify)
def test_vendor_streams_ranges(emulator, case, name, record_property):
    """The vendor's streamer gets the bytes of a range."""
    data = content_of(case)
    file_id = emulator.add(data, **case.options)
    streamed = asyncio.run(vendor_stream(emulator, file_id, *RANGES[name]))
    assert digest(streamed) == digest(expected(data, *RANGES[name]))
    record_property("compared", "cterasdk")


@by_vendor
@pytest.mark.parametrize(
    "options",
    [
        {"prefix": "/tenant/a"},
        {"separate_storage": True},
        {"tls": True},
        {"tls": True, "separate_storage": True},
    ],
    ids=str,
)
def test_vendor_reaches_every_kind_of_portal(options, monkeypatch, record_property):
    """The vendor's client downloads through a path prefix, from another port, and over TLS."""
    import cterasdk.settings

    for kind in (cterasdk.settings.io.direct.api, cterasdk.settings.io.direct.storage):
        monkeypatch.setattr(kind.settings.connector, "ssl", not options.get("tls", False))
    with Emulator(**options) as emulator:
        file_id = emulator.add(TEXT, block_size=64 * KIB)
        assert digest(asyncio.run(vendor_stream(emulator, file_id))) == digest(TEXT)
    record_property("compared", "cterasdk")


@by_vendor
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("key", "AuthorizationError"),
        ("file", "ObjectNotFoundError"),
        ("node", "UnsupportedStorageError"),
    ],
)
def test_vendor_understands_refusals(emulator, fault, error, monkeypatch):
    """The vendor's client tells the portal's refusals apart."""
    from cterasdk.exceptions import direct

    async def no_sleep(_: float) -> None:
        """Do not wait between the vendor's retries, which it makes of refusals too."""

    monkeypatch.setattr("cterasdk.lib.retries.asyncio.sleep", no_sleep)
    file_id = emulator.add(TEXT, direct=fault != "node")
    key = "another" if fault == "key" else None

    async def ask() -> None:
        async with vendor(emulator, key) as client:
            await client.metadata(9 if fault == "file" else file_id)

    with pytest.raises(getattr(direct, error)):
        asyncio.run(ask())


def test_vendor_matrix_is_whole():
    """The matrix holds every combination that the vendor's client supports."""
    assert len(SHARED) == 4 * 11 * 3 + 2 * 11 * 5 + 2
    assert len({case.name for case in SHARED + OURS}) == len(SHARED) + len(OURS)
    assert len(RANGED) == 6


def test_every_pair_is_kept():
    """Of the combinations that are not nightly, some hold each cipher, compression and way together."""
    rows = by_pairs(SHARED + OURS, WAYS)
    kept = [row.values for row in rows if not row.marks]
    assert len(kept) < len(rows) / 5

    def pairs(rows: list[Any]) -> set[Any]:
        return {
            pair
            for case, way in rows
            for pair in (
                (case.cipher, case.compression),
                (case.compression, way),
                (case.cipher, way),
                (case.blocks, way),
                (case.blocks, case.compression),
                (case.listing, way),
                (case.content, way),
            )
        }

    assert pairs(kept) == pairs([row.values for row in rows])


# --- our client ---------------------------------------------------------------------------------


def assemble(blocks: Any, size: int) -> bytes:
    """Put blocks that come in any order where they belong."""
    data = bytearray(size)
    for block in blocks:
        data[block.offset : block.offset + block.length] = block.data
    return bytes(data)


def our_blocks(client: Any, file_id: int, size: int, byte_range: Any = None) -> bytes:
    """Download by futures, as they complete."""
    futures = client.blocks(file_id, byte_range)
    return assemble((future.result() for future in as_completed(futures)), size)


def our_iter_blocks(client: Any, file_id: int, size: int) -> bytes:
    """Download by the iterator of blocks in no order."""
    return assemble(client.iter_blocks(file_id), size)


def our_stream(client: Any, file_id: int, size: int) -> bytes:
    """Download by the stream."""
    return b"".join(block.data for block in client.stream(file_id))


def our_download(client: Any, file_id: int, size: int) -> bytes:
    """Download to a file object."""
    target = io.BytesIO()
    client.download(file_id, target)
    return target.getvalue()


def ours(emulator: Emulator, **options: Any) -> Any:
    """Return our client for an emulator."""
    from ctera_direct_sync import DirectIO

    return DirectIO(emulator.url, emulator.access_key_id, emulator.secret_access_key, **options)


@pytest.fixture(scope="module")
def client(emulator: Emulator) -> Iterator[Any]:
    """One client of the library for all cases."""
    with ours(emulator) as opened:
        yield opened


WAYS = [our_blocks, our_iter_blocks, our_stream, our_download]


@pytest.mark.parametrize(("case", "way"), by_pairs(SHARED + OURS, WAYS))
def test_ours_downloads(emulator, client, case, way, record_property):
    """Our client gets the same, and the formats that the vendor's does not know."""
    data = content_of(case)
    file_id = emulator.add(data, name=case.name, **case.options)
    assert digest(way(client, file_id, len(data))) == digest(data)
    record_property("compared", "ctera_direct_sync")


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("case", RANGED, ids=identify)
def test_ours_streams_ranges(emulator, client, case, name, record_property):
    """Our stream gets the bytes of a range."""
    from ctera_direct_sync import ByteRange

    data = content_of(case)
    file_id = emulator.add(data, **case.options)
    streamed = b"".join(block.data for block in client.stream(file_id, ByteRange(*RANGES[name])))
    assert digest(streamed) == digest(expected(data, *RANGES[name]))
    record_property("compared", "ctera_direct_sync")


@pytest.mark.parametrize("cipher", ["AES-CBC", "AES-GCM", None])
def test_ours_downloads_a_listed_part(emulator, client, cipher, record_property):
    """Our client places the blocks of a listing that covers a part of the file."""
    from ctera_direct_sync import ByteRange

    start, end = 64 * KIB, 192 * KIB
    file_id = emulator.add(
        TEXT, cipher=cipher, block_size=50_000, listing="ranged", listed_range=(start, end)
    )
    assert client.metadata(file_id).size == SIZE
    listed = ByteRange(start, end - 1)
    by_blocks = our_blocks(client, file_id, end, listed)[start:]
    streamed = b"".join(block.data for block in client.stream(file_id, listed))
    assert digest(by_blocks) == digest(streamed) == digest(TEXT[start:end])
    record_property("compared", "ctera_direct_sync")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "options",
    [
        {"cipher": "AES-CBC"},
        {"cipher": "AES-GCM"},
        {"cipher": None},
        {"native": True},
        {"cipher": None, "compression": "NONE"},
    ],
    ids=str,
)
def test_ours_strips_the_azure_prefix(options, way, record_property):
    """Our client recognises the MD5 in front of objects on Azure Blob, by way of a proxy."""

    def session() -> requests.Session:
        made = requests.Session()
        made.trust_env = False
        made.proxies = {"http": emulator.url}
        return made

    with (
        Emulator(storage_url="http://acct.blob.core.windows.net") as emulator,
        ours(emulator, session=session) as client,
    ):
        file_id = emulator.add(TEXT, azure_md5=True, block_size=64 * KIB, **options)
        assert digest(way(client, file_id, SIZE)) == digest(TEXT)
        hosts = {record.host for record in emulator.log.records(where="storage")}
        assert hosts == {"acct.blob.core.windows.net"}
    record_property("compared", "ctera_direct_sync")


@pytest.mark.parametrize(
    "checksum",
    [
        "x-goog-hash",
        "content-md5",
        "x-amz-checksum-crc32c",
        "x-amz-checksum-crc32",
        "x-amz-checksum-crc64nvme",
        "x-amz-checksum-sha256",
        "x-amz-checksum-sha1",
    ],
)
@pytest.mark.parametrize("checksum_type", [None, "FULL_OBJECT", "COMPOSITE"])
def test_ours_agrees_with_declared_checksums(
    emulator, client, checksum, checksum_type, record_property
):
    """Our client takes the checksums that the storage declares for right, or leaves them."""
    file_id = emulator.add(
        TEXT, checksums=[checksum], checksum_type=checksum_type, block_size=64 * KIB
    )
    assert digest(our_stream(client, file_id, SIZE)) == digest(TEXT)
    record_property("compared", "ctera_direct_sync")


@pytest.mark.parametrize(
    "options",
    [
        {"prefix": "/tenant/a"},
        {"separate_storage": True},
        {"tls": True},
        {"tls": True, "separate_storage": True},
    ],
    ids=str,
)
def test_ours_reaches_every_kind_of_portal(options, record_property):
    """Our client downloads through a path prefix, from another port, and over verified TLS."""
    from ctera_direct_sync import Settings

    with Emulator(**options) as emulator:
        settings = Settings()
        settings.api.ssl = settings.storage.ssl = emulator.ca_bundle or True
        with ours(emulator, settings=settings) as client:
            file_id = emulator.add(TEXT, block_size=64 * KIB)
            assert digest(our_stream(client, file_id, SIZE)) == digest(TEXT)
        asked = emulator.log.records(where="storage")
        assert asked and not any(record.had_authorization for record in asked)
    record_property("compared", "ctera_direct_sync")
