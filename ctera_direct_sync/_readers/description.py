"""A block list as text for people. It shows no key, and no more of a URL than its host."""

from __future__ import annotations

from collections.abc import Iterator

from .._net.errors import TransportError
from .._net.urls import origin_of
from ..types import Chunk, Metadata

__all__ = ["describe", "key_bits", "storage_of"]

#: Hosts of the storage that are shown; a portal could list one for each block.
_MAX_STORAGES = 10


def describe(metadata: Metadata, every_block: bool = False) -> Iterator[str]:
    """Yield lines that describe a file.

    Args:
        metadata: The block list.
        every_block: Whether to describe each block as well.
    """
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
        names.add(storage_of(chunk))
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
    return f"{metadata.cipher}, {key_bits(metadata)}-bit key" if metadata.encrypted else "none"


def _compression(metadata: Metadata) -> str:
    if not metadata.compressed:
        return "none"
    return metadata.compression_library or "not told; found out from each block"


def key_bits(metadata: Metadata) -> int | None:
    """Return the length of a file's key, or None if it is not encrypted."""
    return 8 * len(metadata.encryption_key) if metadata.encryption_key is not None else None


def storage_of(chunk: Chunk) -> str:
    """Return where a block is: its URL's scheme, host and port. The rest of the URL gives access."""
    try:
        return origin_of(chunk.url).rpartition("@")[2]
    except TransportError:
        return "malformed URL"
