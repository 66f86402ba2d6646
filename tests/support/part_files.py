"""Part files and journals for tests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ctera_direct_sync import codec
from ctera_direct_sync._readers.folders import Place
from ctera_direct_sync._readers.part_file import DownloadPlan, PartFile
from ctera_direct_sync.types import Chunk, Metadata, SignedURL

LENGTHS = [100, 50, 70]


DATA = bytes(range(220))


def metadata(lengths: list[int] = LENGTHS, key: bytes = bytes(16), name: str = "a") -> Metadata:
    """A file of blocks of these lengths."""
    chunks, offset = [], 0
    for number, length in enumerate(lengths, 1):
        url = SignedURL(f"https://storage.example.com/{name}/{number}?sig=1")
        chunks.append(Chunk(number, offset, length, url))
        offset += length
    return Metadata(42, offset, chunks, encryption_key=key)


def plan(listed: Metadata | None = None, start: int = 0, stop: int | None = None) -> DownloadPlan:
    """The plan for a range of that file."""
    listed = listed or metadata()
    return DownloadPlan(listed, start, listed.size if stop is None else stop)


@contextlib.contextmanager
def part_file(
    target: str | Path, planned: DownloadPlan | None = None, *, resume: bool
) -> Iterator[PartFile]:
    """The part file of a target."""
    with (
        Place.of(str(target)) as place,
        PartFile(place, planned or plan(), resume=resume) as opened,
    ):
        yield opened


def write(partial: PartFile, *positions: int, planned: DownloadPlan | None = None) -> None:
    """Write those pieces, as a download does."""
    pieces = list((planned or plan()).missing([]))
    for position in positions:
        piece = pieces[position]
        data = DATA[piece.offset : piece.offset + piece.length]
        partial.write(piece.offset, data, codec.crc32c(data))


def recover(partial: PartFile) -> tuple[list[int], str]:
    """Positions that are taken over, their checksums compared, and the reason why none is."""
    runs, reason = partial.recover(lambda: None)
    for run in runs:
        assert run.crc32c == codec.crc32c(DATA[run.offset : run.offset + run.length])
    missing = set(plan().missing(runs))
    return [at for at, piece in enumerate(plan().missing([])) if piece not in missing], reason


def journal(target: Path) -> Path:
    """The journal beside the target."""
    return target.with_name(f".{target.name}.ctera-journal")


def part(target: Path) -> Path:
    """The part file beside the target."""
    return target.with_name(f".{target.name}.ctera-part")


def interrupted(target: Path, *positions: int) -> None:
    """Leave behind what a download that was interrupted after these pieces does."""
    with part_file(target, resume=True) as partial:
        partial.recover(lambda: None)
        write(partial, *positions)


def names(target: Path) -> list[str]:
    """What is in the folder."""
    return sorted(os.listdir(target.parent))
