"""Bytes that may not fit into memory: the content of stored objects and of HTTP bodies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Protocol, Union

from .sources import Source

#: How many bytes are read, hashed or sent at once.
PIECE_SIZE_BYTES = 256 * 1024

Bytes = Union[bytes, memoryview]


class Body(Protocol):
    """A run of bytes of known size that can be read at any offset."""

    @property
    def size(self) -> int:
        """The number of bytes."""

    def read(self, offset: int, length: int) -> Bytes:
        """Return `length` bytes from `offset` on, or fewer at the end."""


class BytesBody:
    """Bytes in memory. Reading a part does not copy it.

    Args:
        data: The bytes.
    """

    def __init__(self, data: Bytes) -> None:
        self._view = memoryview(data)
        self.size = len(self._view)

    def read(self, offset: int, length: int) -> Bytes:
        """Return a view of the part."""
        return self._view[offset : offset + length]


class SourceBody:
    """A part of a file's plaintext, which is read only when it is sent.

    Args:
        source: The file's plaintext.
        offset: Where the part starts, in bytes.
        size: How long the part is, in bytes.
    """

    def __init__(self, source: Source, offset: int, size: int) -> None:
        self._source = source
        self._offset = offset
        self.size = size

    def read(self, offset: int, length: int) -> Bytes:
        """Read the part from the source."""
        return self._source.read(self._offset + offset, min(length, self.size - offset))


class PrefixedBody:
    """A body with some bytes in front of it.

    Args:
        prefix: The bytes in front.
        body: The body that follows.
    """

    def __init__(self, prefix: bytes, body: Body) -> None:
        self._prefix = prefix
        self._body = body
        self.size = len(prefix) + body.size

    def read(self, offset: int, length: int) -> Bytes:
        """Return the part. It is copied only if it spans the prefix and the body."""
        front = self._prefix[offset : offset + length]
        if len(front) == length:
            return front
        start = max(0, offset - len(self._prefix))
        return front + bytes(self._body.read(start, length - len(front)))


class RangeBody:
    """A range of another body.

    Args:
        body: The whole body.
        start: Where the range starts, in bytes.
        size: How long the range is, in bytes.
    """

    def __init__(self, body: Body, start: int, size: int) -> None:
        self._body = body
        self._start = start
        self.size = size

    def read(self, offset: int, length: int) -> Bytes:
        """Return a part of the range."""
        return self._body.read(self._start + offset, min(length, self.size - offset))


class FlippedBody:
    """A body in which one bit differs at each of some offsets.

    Args:
        body: The right body.
        offsets: The offsets of the bytes to change.
    """

    def __init__(self, body: Body, offsets: list[int]) -> None:
        self._body = body
        self._offsets = offsets
        self.size = body.size

    def read(self, offset: int, length: int) -> Bytes:
        """Return the part with its bits flipped."""
        data = bytearray(self._body.read(offset, length))
        for position in self._offsets:
            if 0 <= position - offset < len(data):
                data[position - offset] ^= 1
        return bytes(data)


def iter_pieces(body: Body, start: int, stop: int, size: int = PIECE_SIZE_BYTES) -> Iterator[Bytes]:
    """Yield the bytes of a body from `start` to `stop`, at most `size` at once.

    Raises:
        EOFError: The body is shorter than it said.
    """
    while start < stop:
        piece = body.read(start, min(size, stop - start))
        if not piece:
            raise EOFError(f"the body ended at {start}, not at {stop}")
        yield piece
        start += len(piece)


def md5(body: Body) -> bytes:
    """Return the MD5 digest of a body."""
    digest = hashlib.md5()
    for piece in iter_pieces(body, 0, body.size, 4 * PIECE_SIZE_BYTES):
        digest.update(piece)
    return digest.digest()
