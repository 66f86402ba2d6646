"""Every way in, over every shape that a stored file and its listing can have."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from ctera_direct_sync import ByteRange, DirectIO, DirectIOAPIError
from ctera_direct_sync.emulator import Emulator, SyntheticSource
from tests.faults import ways

KIB = 1024
SIZE = 200 * KIB + 7
DATA = SyntheticSource(SIZE, seed=1).read(0, SIZE // 2) + SyntheticSource(
    SIZE, seed=2, kind="random"
).read(0, SIZE - SIZE // 2)
VARIED = (1, 70_000, 4096, 33_000, 17)

CIPHERS = {"CBC": "AES-CBC", "GCM": "AES-GCM", "plain": None}
COMPRESSIONS = ("SNAPPY", "SNAPPY-RAW", "GZIP", "LZ4", "NONE")
SHAPES: dict[str, dict[str, Any]] = {
    "before 8.3": {"listing": "pre-8.3"},
    "untyped": {"listing": "untyped"},
    "ranged": {"listing": "ranged"},
    "native": {"native": True},
    "native, ranged": {"native": True, "listing": "ranged"},
    "gzip members": {"compression": "GZIP", "gzip_members": 3},
    "gzip called snappy": {"compression": "GZIP", "declared_compression": "SNAPPY"},
    "AES-128": {"key_size": 16},
    "AES-192": {"key_size": 24},
    "one block": {"block_size": 1024 * KIB},
    "empty blocks": {"block_size": (0, 50_000, 0)},
    "lz4 checksums": {"compression": "LZ4", "lz4": {"content_checksum": True}},
    "declared checksums": {"checksums": ("x-goog-hash", "x-amz-checksum-crc64nvme")},
}


def cases() -> Iterator[Any]:
    """Yield each combination of cipher and compression, then each other shape."""
    for name, cipher in CIPHERS.items():
        for compression in COMPRESSIONS:
            options = {"cipher": cipher, "compression": compression}
            yield pytest.param(options, id=f"{name} {compression}")
    for name, options in SHAPES.items():
        yield pytest.param(options, id=name)


@pytest.mark.parametrize("options", list(cases()))
def test_all_ways_in(portal: Emulator, client: DirectIO, options: dict[str, Any]) -> None:
    """Each way in gives the file, byte for byte."""
    file_id = portal.add(DATA, **{"block_size": VARIED, **options})
    for name, way in ways.ALL.items():
        assert ways.joined(way(client, file_id, None)) == DATA, name


EDGES = [0, 1, 70_001, 74_097, 107_097, 107_114, SIZE]
RANGES = {
    "from the start": ByteRange(),
    "first byte": ByteRange(0, 0),
    "last byte": ByteRange(SIZE - 1, SIZE - 1),
    "inside a block": ByteRange(10, 20),
    "one block": ByteRange(1, 70_000),
    "over an edge": ByteRange(70_000, 70_001),
    "an edge and one": ByteRange(1, 70_001),
    "many blocks": ByteRange(5, 107_100),
    "to the end": ByteRange(107_113),
    "past the end": ByteRange(150_000, SIZE + 1000),
    "at the end": ByteRange(SIZE, SIZE + 10),
    "beyond the end": ByteRange(SIZE + 1),
}


@pytest.mark.parametrize("wanted", list(RANGES.values()), ids=list(RANGES))
@pytest.mark.parametrize(
    "options",
    [{}, {"cipher": None, "compression": "NONE"}, {"native": True}],
    ids=["encoded", "plaintext", "native"],
)
def test_ranges(
    portal: Emulator, client: DirectIO, options: dict[str, Any], wanted: ByteRange
) -> None:
    """A range gives its bytes by the ways in that trim, and the blocks that hold it by the others."""
    file_id = portal.add(DATA, **{"block_size": VARIED, **options})
    stop = SIZE if wanted.end is None else min(wanted.end + 1, SIZE)
    right = DATA[wanted.start : stop]
    before = (wanted.start, wanted.end)
    for name, way in ways.EXACT.items():
        assert ways.joined(way(client, file_id, wanted)) == right, name
    for name, way in ways.WHOLE.items():
        pieces = way(client, file_id, wanted)
        whole = ways.joined(pieces)
        first = min(pieces, default=0)
        assert whole == DATA[first : first + len(whole)], name
        assert right == DATA[wanted.start : first + len(whole)][: len(right)], name
        if not options:
            assert set(pieces) <= set(EDGES) | set(range(107_114, SIZE)), name
    assert (wanted.start, wanted.end) == before


def test_listed_range(portal: Emulator, client: DirectIO) -> None:
    """Of a file that is listed in part, the part can be had, and asking for more says so."""
    file_id = portal.add(DATA, block_size=VARIED, listing="ranged", listed_range=(1000, 90_000))
    inside = ByteRange(1500, 80_000)
    for name, way in ways.ALL.items():
        if name in ways.EXACT and name != "open":  # open() has no range to be asked with.
            assert ways.joined(way(client, file_id, inside)) == DATA[1500:80_001], name
        with pytest.raises(DirectIOAPIError, match="only a part"):
            way(client, file_id, None)


@pytest.mark.parametrize("listing", ["8.3", "ranged"])
def test_empty_file(portal: Emulator, client: DirectIO, listing: str) -> None:
    """An empty file gives nothing, without an error."""
    file_id = portal.add(b"", listing=listing)
    for name, way in ways.ALL.items():
        assert way(client, file_id, None) == {}, name


class Sample(NamedTuple):
    """A file in the emulator and what it holds."""

    file_id: int
    data: bytes


def random_options(dice: random.Random) -> dict[str, Any]:
    """Storage options that go together."""
    if dice.random() < 0.08:
        return {"native": True}
    cipher = dice.choice(["AES-CBC", "AES-CBC", "AES-GCM", None])
    compression = dice.choice(COMPRESSIONS)
    listings = ["8.3", "ranged"]
    if compression in ("SNAPPY", "SNAPPY-RAW", "GZIP"):
        listings += ["untyped", "pre-8.3"] if cipher == "AES-CBC" else ["untyped"]
    return {
        "cipher": cipher,
        "compression": compression,
        "key_size": dice.choice([16, 24, 32]),
        "listing": dice.choice(listings),
        "block_size": [int(2 ** dice.uniform(8, 20)) for _ in range(dice.randint(1, 5))],
        "snappy_chunk": dice.choice([1000, 32 * KIB]),
        "gzip_members": dice.choice([1, 2]),
        "checksums": dice.choice([(), ("x-goog-hash",), ("x-amz-checksum-crc32c",)]),
    }


def test_two_hundred_files_by_eight_threads(
    portal: Emulator, client: DirectIO, record_property: Callable[..., None]
) -> None:
    """200 files of random shape, each by every way in, by 8 threads that share one client."""
    dice = random.Random(20_240)
    pool = SyntheticSource(4 * 1024 * KIB, seed=3).read(0, 4 * 1024 * KIB)
    pool += SyntheticSource(4 * 1024 * KIB, seed=4, kind="random").read(0, 4 * 1024 * KIB)
    samples = []
    for _ in range(200):
        size = int(2 ** dice.uniform(0, 20))
        start = dice.randrange(len(pool) - size)
        data = pool[start : start + size]
        options = random_options(dice)
        sizes = options.get("block_size")
        if sizes:  # Not thousands of requests for one file.
            options["block_size"] = [max(each, size // 12 + 1) for each in sizes]
        samples.append(Sample(portal.add(data, **options), data))
    together = threading.Barrier(8)

    def work(share: list[Sample]) -> int:
        together.wait(30)
        for file_id, data in share:
            for name, way in ways.ALL.items():
                assert ways.joined(way(client, file_id, None)) == data, (name, file_id)
        return len(share)

    with ThreadPoolExecutor(8) as threads:
        counts = list(threads.map(work, [samples[index::8] for index in range(8)]))
    assert sum(counts) == 200
    record_property("downloads", 200 * len(ways.ALL))
