"""Objects that go in parts, under faults: every part must come from its own place in the object."""

from __future__ import annotations

import pytest

from ctera_direct_sync import ByteRange, DirectIO
from ctera_direct_sync._protocol.ranges import PART_SIZE
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults

from . import ways

SIZE = 2 * PART_SIZE + 300_013
SOURCE = SyntheticSource(SIZE, seed=3)
DATA = SOURCE.read(0, SIZE)

#: What a storage may do to a part or two without anybody losing a byte.
FAULTS = {
    "the whole object instead of a part": faults.ignore_range(),
    "short body": faults.short(70_000),
    "closed mid-body": faults.cut(100_000),
    "reset mid-body": faults.reset(100_000),
    "more bytes than Content-Length": faults.long(b"more" * 5000),
    "Content-Length too small": faults.content_length(90_000),
    "Content-Length too large": faults.content_length(SIZE),
    "no Content-Length": faults.content_length(None),
    "chunked": faults.chunked(size=50_000),
    "chunked, cut": faults.chunked(cut=120_000),
    "gzip Content-Encoding": faults.gzip_encoding(),
    "503": faults.status(503),
    "403": faults.status(403),
    "redirect": faults.redirect(),
    "garbage": faults.garbage(),
}
WANTED = {"all": None, "a range": ByteRange(PART_SIZE - 100_000, 2 * PART_SIZE + 100_000)}


@pytest.mark.parametrize("wanted", WANTED.values(), ids=list(WANTED))
@pytest.mark.parametrize("way", [name for name in ways.ALL if name != "executor"])
@pytest.mark.parametrize("fault", FAULTS)
def test_parts(portal: Emulator, client: DirectIO, fault: str, way: str,
               wanted: ByteRange | None) -> None:  # fmt: skip
    """The second and third request meet the fault; all bytes are right nevertheless.

    A length that cannot be right is an error when it comes twice, so it comes once.
    """
    file_id = portal.add(SOURCE, native=True)
    times = 1 if fault == "Content-Length too large" else 2
    portal.faults.add("storage", skip=1, times=times, action=FAULTS[fault])
    got = ways.ALL[way](client, file_id, wanted)
    start, stop = (0, SIZE) if wanted is None else (wanted.start, wanted.end + 1)
    for offset, data in got.items():
        assert data == DATA[offset : offset + len(data)], f"wrong bytes at {offset}"
    ways.joined(got)
    if way in ("blocks", "iter_blocks"):
        return  # They give whole parts, or the whole object.
    assert (min(got), sum(map(len, got.values()))) == (start, stop - start)
