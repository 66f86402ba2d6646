"""``ctera-direct info``: what the portal says of a file, for people or as JSON.

The lists of blocks are written piece by piece: a file may have hundreds of thousands of blocks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from typing import Callable

from .._net.errors import TransportError
from .._net.urls import origin_of
from ..client import DirectIO
from ..types import Chunk, Metadata

__all__ = ["add_arguments", "run"]

#: Lines that are written at once.
_LINES = 1000

#: Hosts of the storage that are shown; a portal could list one for each block.
_MAX_STORAGES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments to its parser."""
    parser.add_argument("--blocks", action="store_true", help="list every block, not a summary")
    parser.add_argument(
        "--json", action="store_true", help="write one JSON object, which lists every block"
    )


def run(client: DirectIO, options: argparse.Namespace, write: Callable[[bytes], None]) -> None:
    """Write what is known of a file."""
    metadata = client.metadata(options.file_id)
    lines = _json(metadata) if options.json else _text(metadata, options.blocks)
    while part := list(islice(lines, _LINES)):
        write("".join(f"{line}\n" for line in part).encode("ascii", "backslashreplace"))


def _json(metadata: Metadata) -> Iterator[str]:
    """Yield the lines of ``json.dumps(..., indent=2)``, of which the list of blocks is the last member."""
    members = {
        "file_id": metadata.file_id,
        "size": metadata.size,
        "encrypted": metadata.encrypted,
        "cipher": metadata.cipher if metadata.encrypted else None,
        "key_bits": _key_bits(metadata),
        "compressed": metadata.compressed,
        "compression": metadata.compression_library,
    }
    yield json.dumps(members, indent=2)[: -len("\n}")] + ","
    last = len(metadata.chunks) - 1
    if last < 0:
        yield '  "blocks": []'
    else:
        yield '  "blocks": ['
        for position, chunk in enumerate(metadata.chunks):
            yield (
                f'    {{\n      "number": {chunk.number},\n      "offset": {chunk.offset},\n'
                f'      "length": {chunk.length},\n      "storage": {json.dumps(_storage(chunk))}\n'
                f"    }}{',' if position < last else ''}"
            )
        yield "  ]"
    yield "}"


def _text(metadata: Metadata, every_block: bool) -> Iterator[str]:
    yield f"File ID      {metadata.file_id}"
    yield f"Size         {metadata.size} bytes"
    yield f"Encryption   {_encryption(metadata)}"
    yield f"Compression  {_compression(metadata)}"
    yield from _storages(metadata)
    yield from _summary(metadata)
    if every_block and metadata.chunks:
        yield ""
        yield f"{'BLOCK':>8}  {'OFFSET':>16}  {'LENGTH':>12}"
        for chunk in metadata.chunks:
            yield f"{chunk.number:>8}  {chunk.offset:>16}  {chunk.length:>12}"


def _storages(metadata: Metadata) -> Iterator[str]:
    names: set[str] = set()
    for chunk in metadata.chunks:
        names.add(_storage(chunk))
        if len(names) > _MAX_STORAGES:
            break
    for number, name in enumerate(sorted(names)[:_MAX_STORAGES]):
        yield f"{'' if number else 'Storage':11}  {name}"
    if len(names) > _MAX_STORAGES:
        yield f"{'':11}  and others"


def _summary(metadata: Metadata) -> Iterator[str]:
    chunks = metadata.chunks
    lengths = sorted(chunk.length for chunk in chunks)
    yield f"Blocks       {len(lengths)} of {sum(lengths)} bytes in all"
    if lengths:
        median = lengths[(len(lengths) - 1) // 2]
        yield f"Lengths      {lengths[0]} smallest, {median} median, {lengths[-1]} largest"
        yield f"First block  {_place(chunks[0])}"
        yield f"Last block   {_place(chunks[-1])}"


def _place(chunk: Chunk) -> str:
    return f"{chunk.number} at offset {chunk.offset}, {chunk.length} bytes"


def _encryption(metadata: Metadata) -> str:
    return f"{metadata.cipher}, {_key_bits(metadata)}-bit key" if metadata.encrypted else "none"


def _compression(metadata: Metadata) -> str:
    if not metadata.compressed:
        return "none"
    return metadata.compression_library or "not told; found out from each block"


def _key_bits(metadata: Metadata) -> int | None:
    return 8 * len(metadata.encryption_key) if metadata.encryption_key is not None else None


def _storage(chunk: Chunk) -> str:
    """Return where a block is: its URL's scheme, host and port. The rest of the URL gives access."""
    try:
        return origin_of(chunk.url).rpartition("@")[2]
    except TransportError:
        return "malformed URL"
