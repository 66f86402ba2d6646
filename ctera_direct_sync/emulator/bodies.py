"""Bytes that may be too many for memory: what an object or an HTTP body is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Protocol, Union

from .sources import Source

PIECE = 256 * 1024

Bytes = Union[bytes, memoryview]


class Body(Protocol):
    """A run of bytes of known size that can be read anywhere."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    def read(self, offset: int, length: int) -> Bytes:
        """Return exactly the bytes asked for, or those up to the end."""


class BytesBody:
    """Bytes in memory; parts of them are not copied."""

    def __init__(self, data: Bytes) -> None:
        self._view = memoryview(data)
        self.size = len(self._view)

    def read(self, offset: int, length: int) -> Bytes:
        """Return a view of the part."""
        return self._view[offset : offset + length]


class SourceBody:
    """A part of a source's plaintext, read when it is sent."""

    def __init__(self, source: Source, offset: int, size: int) -> None:
        self._source = source
        self._offset = offset
        self.size = size

    def read(self, offset: int, length: int) -> Bytes:
        """Read the part from the source."""
        return self._source.read(self._offset + offset, min(length, self.size - offset))


class Prefixed:
    """Some bytes in front of a body."""

    def __init__(self, prefix: bytes, body: Body) -> None:
        self._prefix = prefix
        self._body = body
        self.size = len(prefix) + body.size

    def read(self, offset: int, length: int) -> Bytes:
        """Return the part, joined where it spans both."""
        front = self._prefix[offset : offset + length]
        if len(front) == length:
            return front
        start = max(0, offset - len(self._prefix))
        return front + bytes(self._body.read(start, length - len(front)))


class Part:
    """A range of a body."""

    def __init__(self, body: Body, start: int, size: int) -> None:
        self._body = body
        self._start = start
        self.size = size

    def read(self, offset: int, length: int) -> Bytes:
        """Return the part of the part."""
        return self._body.read(self._start + offset, min(length, self.size - offset))


class Flipped:
    """A body with one bit changed at each of some offsets."""

    def __init__(self, body: Body, offsets: list[int]) -> None:
        self._body = body
        self._offsets = offsets
        self.size = body.size

    def read(self, offset: int, length: int) -> Bytes:
        """Return the part with its bits changed."""
        data = bytearray(self._body.read(offset, length))
        for position in self._offsets:
            if 0 <= position - offset < len(data):
                data[position - offset] ^= 1
        return bytes(data)


def pieces(body: Body, start: int, stop: int, size: int = PIECE) -> Iterator[Bytes]:
    """Yield a body's bytes from start to stop, at most so many at a time."""
    while start < stop:
        piece = body.read(start, min(size, stop - start))
        if not piece:
            raise EOFError(f"the body ended at {start}, not at {stop}")
        yield piece
        start += len(piece)


def md5(body: Body) -> bytes:
    """Return the MD5 digest of a body."""
    digest = hashlib.md5()
    for piece in pieces(body, 0, body.size, 4 * PIECE):
        digest.update(piece)
    return digest.digest()
