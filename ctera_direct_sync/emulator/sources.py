"""Where a file's plaintext comes from: memory, a disk, or arithmetic."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Union

from Crypto.Cipher import AES

_WORDS = (
    "block",
    "portal",
    "storage",
    "range",
    "offset",
    "the",
    "of",
    "and",
    "listing",
    "key",
    "stream",
    "download",
    "a",
    "is",
    "object",
    "signed",
    "direct",
    "file",
    "to",
    "bytes",
)


class SourceChanged(Exception):
    """The file on disk is no longer the one that was listed."""


class BytesSource:
    """Plaintext in memory."""

    def __init__(self, data: Union[bytes, bytearray, memoryview]) -> None:
        self._data = bytes(data)
        self.size = len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes at the offset, fewer at the end."""
        return self._data[offset : offset + length]


class FileSource:
    """
    A file on disk, read a range at a time; no descriptor is kept.

    Size and time of modification are those of its making: a file that has changed since raises
    SourceChanged, as its blocks are no longer there.
    """

    def __init__(self, path: Union[str, os.PathLike[str]]) -> None:
        self.path = Path(path)
        self._stamp = _stamp(self.path.stat())
        self.size = self._stamp[0]

    @property
    def changed(self) -> bool:
        """Whether the file on disk is another one by now, or gone."""
        try:
            return _stamp(self.path.stat()) != self._stamp
        except OSError:
            return True

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes at the offset, fewer at the end."""
        try:
            with self.path.open("rb") as file:
                if _stamp(os.fstat(file.fileno())) != self._stamp:
                    raise SourceChanged(self.path)
                file.seek(offset)
                return file.read(length)
        except OSError as error:
            raise SourceChanged(self.path) from error


class SyntheticSource:
    """
    Bytes made from their offset: files of any size that need no disk.

    :param size: bytes.
    :param seed: another seed gives other bytes; the same seed the same bytes, everywhere.
    :param kind: ``text`` (compresses 2 to 5 times) or ``random`` (does not compress).
    """

    _PAGE = 64 * 1024

    def __init__(self, size: int, seed: int = 0, kind: str = "text") -> None:
        if kind not in ("text", "random"):
            raise ValueError(f"kind must be 'text' or 'random', not {kind!r}")
        if size < 0:
            raise ValueError(f"size must not be negative: {size}")
        self.size = size
        self._kind = kind
        self._key = (seed % (1 << 128)).to_bytes(16, "big")
        self._tile = self._text(seed) if kind == "text" else b""

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes at the offset, fewer at the end."""
        stop = min(offset + length, self.size)
        if stop <= offset:
            return b""
        make = self._pages if self._kind == "text" else self._keystream
        return make(offset, stop)

    def _pages(self, offset: int, stop: int) -> bytes:
        first, last = offset // self._PAGE, (stop - 1) // self._PAGE
        pages = b"".join(b"%015d\n%b" % (page, self._tile) for page in range(first, last + 1))
        start = offset - first * self._PAGE
        return pages[start : start + stop - offset]

    def _keystream(self, offset: int, stop: int) -> bytes:
        skip = offset % 16
        stream = AES.new(self._key, AES.MODE_CTR, nonce=b"", initial_value=offset // 16)
        return stream.encrypt(bytes(skip + stop - offset))[skip:]

    def _text(self, seed: int) -> bytes:
        choose = random.Random(seed)
        words: list[str] = []
        size = 0
        while size < self._PAGE:
            words.append(f"{choose.choice(_WORDS)}{choose.randrange(100)}")
            size += len(words[-1]) + 1
        return " ".join(words).encode("ascii").ljust(self._PAGE)[: self._PAGE - 16]


Source = Union[BytesSource, FileSource, SyntheticSource]


def open_source(data: object) -> Source:
    """
    Make a source of what a caller of ``Emulator.add`` gave: bytes, a path or a source.

    :raises TypeError: it is none of these.
    :raises OSError: no such file.
    """
    if isinstance(data, (BytesSource, FileSource, SyntheticSource)):
        return data
    if isinstance(data, (bytes, bytearray, memoryview)):
        return BytesSource(data)
    if isinstance(data, (str, os.PathLike)):
        return FileSource(data)
    raise TypeError(f"bytes, a path or a source, not {type(data).__name__}")


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
