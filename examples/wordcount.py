"""Counting a file's words in shares, on as many machines as there are: what each worker runs.

Dask, Spark and Ray (see the examples beside this one) differ only in how a share comes to a worker. The
file's block list is asked for once, by :func:`listed`; each worker fetches and decodes the blocks of its
share itself, straight from the storage. The keys are in each worker's environment. The block list holds
the file's own key and its URLs: it is sent to the workers, but never printed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future
from typing import NamedTuple

import ctera_direct_sync as ctera_direct


class Share(NamedTuple):
    """Bytes ``start`` to ``end`` of a file, both included; both lie at the edge of a block."""

    start: int
    end: int


class Counted(NamedTuple):
    """A share's words, but for what touches its edges: that may be a part of a word."""

    first: bytes
    words: Counter[bytes]
    last: bytes
    unbroken: bool


def listed(file_id: int) -> str:
    """The file's block list as text, to be sent to the workers."""
    with ctera_direct.DirectIO() as client:
        return json.dumps(client.metadata(file_id).serialize())


def shares(listing: str, nbytes: int) -> list[Share]:
    """The file in shares of whole blocks, of at least ``nbytes`` each but the last."""
    found: list[Share] = []
    start = None
    for chunk in ctera_direct.Metadata.deserialize(json.loads(listing)).chunks:
        start = chunk.offset if start is None else start
        end = chunk.offset + chunk.length
        if end - start >= nbytes:
            found.append(Share(start, end - 1))
            start = None
    if start is not None and start < end:
        found.append(Share(start, end - 1))
    return found


def count(listing: str, share: Share) -> Counted:
    """Fetch and decode a share's blocks, and count: this is what runs on the workers."""
    metadata = ctera_direct.Metadata.deserialize(json.loads(listing))
    wanted = ctera_direct.ByteRange(share.start, share.end)
    with ctera_direct.DirectIO() as client:
        return _counted(client.executor(metadata, byte_range=wanted)())


def _counted(blocks: list[Future[ctera_direct.Block]]) -> Counted:
    words: Counter[bytes] = Counter()
    first: bytes | None = None
    rest = b""
    blocks.reverse()
    while blocks:
        text = rest + blocks.pop().result().data  # Popped: the block's memory is free afterwards.
        pieces = text.split()
        if first is None and text[:1].isspace():
            first = b""
        # What the text does not end goes on in the next block.
        rest = pieces.pop() if pieces and not text[-1:].isspace() else b""
        if first is None and (pieces or text[-1:].isspace()):
            first = pieces.pop(0)
        words.update(pieces)
    if first is None:
        return Counted(rest, words, b"", unbroken=True)
    return Counted(first, words, rest, unbroken=False)


def merged(counted: Iterable[Counted]) -> Counter[bytes]:
    """All shares' words, in the order of the shares: words that were cut are put together."""
    words: Counter[bytes] = Counter()
    rest = b""
    for each in counted:
        rest += each.first
        if each.unbroken:
            continue
        words.update([rest] if rest else [])
        words.update(each.words)
        rest = each.last
    words.update([rest] if rest else [])
    return words


def show(words: Counter[bytes]) -> None:
    """Print how many there are, and the ten that come most often."""
    print(f"{sum(words.values())} words, {len(words)} different")
    for word, times in sorted(words.items(), key=lambda item: (-item[1], item[0]))[:10]:
        print(f"{times:10} {word.decode('utf-8', 'replace')}")
