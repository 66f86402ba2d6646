"""The ways in, as functions that give the same answer: what of a file came, by offset."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import as_completed
from typing import Callable, Optional

from ctera_direct_sync import Block, ByteRange, DirectIO, Metadata

#: Bytes by their offset in the file, none overlapping.
Pieces = dict[int, bytes]
Way = Callable[[DirectIO, int, Optional[ByteRange]], Pieces]


def collect(blocks: Iterable[Block]) -> Pieces:
    """Blocks by offset; AssertionError where one tells of itself what its data is not."""
    found: Pieces = {}
    for block in blocks:
        assert block.length == len(block.data)
        assert block.offset not in found
        found[block.offset] = bytes(block.data)
    return found


def in_order(blocks: Iterable[Block], start: int = 0) -> bytes:
    """What consecutive blocks hold; AssertionError at a gap."""
    parts = []
    for block in blocks:
        assert block.offset == start
        parts.append(block.data)
        start += block.length
    return b"".join(parts)


def joined(pieces: Pieces) -> bytes:
    """Pieces without a gap, as bytes."""
    parts: list[bytes] = []
    at = min(pieces, default=0)
    for offset in sorted(pieces):
        assert offset == at
        parts.append(pieces[offset])
        at += len(pieces[offset])
    return b"".join(parts)


def blocks(client: DirectIO, file_id: int, wanted: ByteRange | None = None) -> Pieces:
    """By futures, as they complete."""
    return collect(future.result() for future in as_completed(client.blocks(file_id, wanted)))


def iter_blocks(client: DirectIO, file_id: int, wanted: ByteRange | None = None) -> Pieces:
    """By an iteration in no order."""
    return collect(client.iter_blocks(file_id, wanted))


def stream(client: DirectIO, file_id: int, wanted: ByteRange | None = None) -> Pieces:
    """By a stream, in order."""
    start = wanted.start if wanted is not None else 0
    data = in_order(client.stream(file_id, wanted), start)
    return {start: data} if data else {}


def executor(client: DirectIO, file_id: int, wanted: ByteRange | None = None) -> Pieces:
    """By futures, from a block list that was serialized in between."""
    metadata = Metadata.deserialize(client.metadata(file_id).serialize())
    execute = client.executor(metadata, file_id, wanted)
    return collect(future.result() for future in execute())


def download(client: DirectIO, file_id: int, wanted: ByteRange | None = None) -> Pieces:
    """To a path."""
    return _downloaded(client, file_id, wanted, resume=False)


def resumable(client: DirectIO, file_id: int, wanted: ByteRange | None = None) -> Pieces:
    """To a path, with a journal."""
    return _downloaded(client, file_id, wanted, resume=True)


def to_file(client: DirectIO, file_id: int, wanted: ByteRange | None = None) -> Pieces:
    """To a file object."""
    file = io.BytesIO()
    client.download(file_id, file, byte_range=wanted)
    start = wanted.start if wanted is not None else 0
    return {start: file.getvalue()} if file.getvalue() else {}


def opened(client: DirectIO, file_id: int, wanted: ByteRange | None = None) -> Pieces:
    """By a seekable file."""
    start = wanted.start if wanted is not None else 0
    size = -1 if wanted is None or wanted.end is None else wanted.end + 1 - start
    with client.open(file_id) as file:
        file.seek(start)
        data = file.read(size)
    return {start: data} if data else {}


def _downloaded(
    client: DirectIO, file_id: int, wanted: ByteRange | None, *, resume: bool
) -> Pieces:
    with tempfile.TemporaryDirectory(prefix="ctera-ways-") as folder:
        path = os.path.join(folder, "target")
        done = client.download(file_id, path, byte_range=wanted, resume=resume)
        with open(path, "rb") as file:
            data = file.read()
        assert done.size == len(data)
        kept = {"target", ".target.ctera-journal"} if resume else {"target"}
        assert set(os.listdir(folder)) == kept
    start = wanted.start if wanted is not None else 0
    return {start: data} if data else {}


#: Those that give exactly the bytes of the range; the others give whole blocks.
EXACT: dict[str, Way] = {
    "stream": stream,
    "download": download,
    "resumable": resumable,
    "to_file": to_file,
    "open": opened,
}
WHOLE: dict[str, Way] = {"blocks": blocks, "iter_blocks": iter_blocks, "executor": executor}

ALL: dict[str, Way] = {**EXACT, **WHOLE}
