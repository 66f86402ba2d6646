"""Listings whose numbers are larger than anything that comes: memory follows what is really there."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import pytest

from ctera_direct_sync import DirectIO, codec
from ctera_direct_sync._protocol.ranges import PART_SIZE
from ctera_direct_sync._readers.download import _Tally
from ctera_direct_sync._readers.part_file import DownloadPlan, Run
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from ctera_direct_sync.exceptions import BlockError, DirectIOError
from ctera_direct_sync.types import Chunk, Metadata, SignedURL
from tests.faults.killing import environment

MIB = 1024 * 1024
DATA = SyntheticSource(20 * MIB, seed=6).read(0, 20 * MIB)
ROOT = Path(__file__).parents[2]

_PROGRAM = """
import resource, sys
from ctera_direct_sync import BlockError, DirectIO, Settings
file_id, target, way = int(sys.argv[1]), sys.argv[2], sys.argv[3]
limit = 3 * 1024**3
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
with DirectIO(settings=Settings(retries=0, max_workers=4)) as client:
    try:
        if way == "batch":
            (result,) = client.download_many([(file_id, "a")], target)
            raise result.error
        client.download(file_id, target + "/a", resume=way == "resume")
    except Exception as error:
        print(isinstance(error, BlockError), flush=True)
"""


@pytest.mark.keeps_partial
@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited otherwise there")
@pytest.mark.parametrize("way", ["download", "resume", "batch"])
def test_object_of_two_to_the_fifty_bytes(portal: Emulator, tmp_path: Path, way: str) -> None:
    """A native object that is listed with 2^50 bytes ends by its storage's answer, in little memory."""
    file_id = portal.add(DATA, native=True)

    def enlarge(listing: dict[str, Any]) -> dict[str, Any]:
        listing["chunks"][0]["len"] = 2**50
        return listing

    portal.faults.add("portal", file_id, times=None, action=faults.listing(enlarge))
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(file_id), str(tmp_path), way],
        env=environment(portal), cwd=ROOT, text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert not (tmp_path / "a").exists()


def test_more_than_a_file_can_hold(portal: Emulator, client: DirectIO, tmp_path: Path) -> None:
    """A size past what systems can address is an error before a block is fetched."""
    file_id = portal.add(DATA[:MIB], native=True)

    def enlarge(listing: dict[str, Any]) -> dict[str, Any]:
        listing["chunks"][0]["len"] = 2**70
        return listing

    portal.faults.add("portal", file_id, times=None, action=faults.listing(enlarge))
    with pytest.raises((OSError, BlockError)) as caught:
        client.download(file_id, tmp_path / "a")
    assert isinstance(caught.value, (DirectIOError, OSError))
    assert portal.log.total("storage") == 0
    assert os.listdir(tmp_path) == []


class Blocks(Sequence[Chunk]):
    """Very many blocks of 4 KiB, made when they are looked at."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Chunk: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Chunk]: ...
    def __getitem__(self, index: Any) -> Any:
        if not -self._count <= index < self._count:
            raise IndexError(index)
        index %= self._count
        return Chunk(index + 1, index * 4096, 4096, SignedURL("http://127.0.0.1/"))


def planned(chunks: Sequence[Chunk], *, plaintext: bool = False) -> DownloadPlan:
    """The plan of a whole file of these blocks."""
    size = chunks[-1].offset + chunks[-1].length
    key = None if plaintext else bytes(16)
    metadata = Metadata(1, size, [], encryption_key=key, compressed=not plaintext)
    metadata.chunks = chunks  # type: ignore[assignment]
    return DownloadPlan(metadata, 0, size)


@pytest.mark.parametrize(
    "plan",
    [
        planned(Blocks(10**7)),
        planned([Chunk(1, 0, 2**50, SignedURL("http://127.0.0.1/"))], plaintext=True),
    ],
    ids=["many blocks", "many parts"],
)
def test_plan_and_tally_are_small(plan: DownloadPlan) -> None:
    """What a download keeps is in proportion to what came out of order, not to the listing."""
    zeros = codec.crc32c(bytes(4096))
    tracemalloc.start()
    try:
        tally, waiting = _Tally(plan), []
        for count, piece in enumerate(plan.missing([])):
            assert plan.piece_at(piece.offset) == piece
            assert plan.piece_at(piece.offset + 1) is None
            waiting.append(Run(piece.offset, piece.length, zeros))
            if count % 8 == 7:
                while waiting:
                    tally.add(waiting.pop())
            if count == 4000:
                break
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MIB
    with pytest.raises(DirectIOError, match="nothing was put in place"):
        tally.finish(1)


def test_gaps() -> None:
    """What lies between the runs that are there is exactly what is missing, cut as before."""
    plan = planned([Chunk(1, 0, 5 * PART_SIZE + 9, SignedURL("http://127.0.0.1/"))], plaintext=True)
    every = list(plan.missing([]))
    assert [piece.length for piece in every] == [PART_SIZE] * 5 + [9]
    runs = [Run(PART_SIZE, 2 * PART_SIZE, 0), Run(5 * PART_SIZE, 9, 0)]
    assert list(plan.missing(runs)) == [every[0], every[3], every[4]]
    assert list(plan.missing([Run(0, plan.size, 0)])) == []
    assert [plan.piece_at(piece.offset) for piece in every] == every
    for offset in (-1, 1, PART_SIZE - 1, plan.size, plan.size + 1):
        assert plan.piece_at(offset) is None
