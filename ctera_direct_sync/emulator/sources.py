"""The origins of a file's plaintext: memory, a disk, or a generator."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Literal, Union, get_args

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


SyntheticKind = Literal["text", "random"]


class SourceChanged(Exception):
    """The file on disk differs from the one that was listed."""


class BytesSource:
    """Plaintext in memory.

    Args:
        data: The plaintext, which is copied.

    Attributes:
        size: The number of bytes.
    """

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = bytes(data)
        self.size = len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on, or fewer at the end."""
        return self._data[offset : offset + length]


class FileSource:
    """A file on disk, which is read in ranges. It is not kept open.

    The source notes size and time of modification when it is made. Once the file differs from that,
    its listed blocks do not exist any more, and reading raises `SourceChanged`.

    Args:
        path: The file.

    Attributes:
        path: The file.
        size: The number of bytes when the source was made.

    Raises:
        OSError: The file cannot be found.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._stamp = _stamp(self.path.stat())
        self.size = self._stamp[0]

    @property
    def changed(self) -> bool:
        """Whether the file on disk differs from that of the time when the source was made, or is gone."""
        try:
            return _stamp(self.path.stat()) != self._stamp
        except OSError:
            return True

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on, or fewer at the end.

        Raises:
            SourceChanged: The file differs from that of the time when the source was made.
        """
        try:
            with self.path.open("rb") as file:
                if _stamp(os.fstat(file.fileno())) != self._stamp:
                    raise SourceChanged(self.path)
                file.seek(offset)
                return file.read(length)
        except OSError as error:
            raise SourceChanged(self.path) from error


class SyntheticSource:
    """Bytes that are computed from their offset, for files of any size that need no disk.

    Args:
        size: The number of bytes.
        seed: Chooses the bytes. The same seed gives the same bytes on every machine.
        kind: `text` compresses 2 to 5 times, `random` not at all.

    Attributes:
        size: The number of bytes.

    Raises:
        ValueError: The size is negative, or the kind is unknown.
    """

    _PAGE = 64 * 1024

    def __init__(self, size: int, seed: int = 0, kind: SyntheticKind = "text") -> None:
        if kind not in get_args(SyntheticKind):
            raise ValueError(f"kind must be 'text' or 'random', not {kind!r}")
        if size < 0:
            raise ValueError(f"size must not be negative: {size}")
        self.size = size
        self._kind = kind
        self._key = (seed % (1 << 128)).to_bytes(16, "big")
        self._tile = self._text(seed) if kind == "text" else b""

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on, or fewer at the end."""
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
    """Return a source for bytes, a path or a source.

    Raises:
        TypeError: The argument is something else.
        OSError: The path does not lead to a file.
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
