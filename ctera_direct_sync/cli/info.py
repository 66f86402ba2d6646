"""``ctera-direct info``: what the portal says of a file, for people or as JSON.

The lists of blocks are written piece by piece: a file may have hundreds of thousands of blocks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from typing import Callable

from .._readers.description import describe, key_bits, storage_of
from ..client import DirectIO
from ..types import Metadata

__all__ = ["add_arguments", "run"]

#: Lines that are written at once.
_LINES = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments to its parser."""
    parser.add_argument("--blocks", action="store_true", help="list every block, not a summary")
    parser.add_argument(
        "--json", action="store_true", help="write one JSON object, which lists every block"
    )


def run(client: DirectIO, options: argparse.Namespace, write: Callable[[bytes], None]) -> None:
    """Write what is known of a file."""
    metadata = client.metadata(options.file_id)
    lines = _json(metadata) if options.json else describe(metadata, options.blocks)
    while part := list(islice(lines, _LINES)):
        write("".join(f"{line}\n" for line in part).encode("ascii", "backslashreplace"))


def _json(metadata: Metadata) -> Iterator[str]:
    """Yield the lines of ``json.dumps(..., indent=2)``, of which the list of blocks is the last member."""
    members = {
        "file_id": metadata.file_id,
        "size": metadata.size,
        "encrypted": metadata.encrypted,
        "cipher": metadata.cipher if metadata.encrypted else None,
        "key_bits": key_bits(metadata),
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
                f'      "length": {chunk.length},\n      "storage": {json.dumps(storage_of(chunk))}\n'
                f"    }}{',' if position < last else ''}"
            )
        yield "  ]"
    yield "}"
