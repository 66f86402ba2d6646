"""What ``fs.open`` returns: the library's own file, with what fsspec's programs expect of one."""

from __future__ import annotations

import errno
import functools
import operator
import time
from datetime import datetime, timezone
from typing import Any, Callable, Optional

from fsspec.spec import AbstractBufferedFile

from .exceptions import DirectIOError
from .file import SharedFile
from .types import Metadata

__all__ = ["CteraFile", "Listed", "RangeFile"]


class Listed:
    """A block list, and when it was asked for."""

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata
        #: ``time.monotonic()`` before the portal was asked, which is when the list was true.
        self.asked = time.monotonic()
        self.asked_at = datetime.now(timezone.utc)
        self._fingerprint: Optional[str] = None

    @property
    def fingerprint(self) -> str:
        """:attr:`Metadata.fingerprint`, which takes a while for a long list: computed once."""
        if self._fingerprint is None:
            self._fingerprint = self.metadata.fingerprint
        return self._fingerprint


def _reading(name: str) -> Callable[..., Any]:
    """Return the method ``name``, which tells the file system of a read that fails."""
    inherited = getattr(SharedFile, name)

    @functools.wraps(inherited)
    def method(self: CteraFile, size: Any = -1, /) -> Any:
        try:
            # Binary readers take lengths out of NumPy arrays, whose sums overflow.
            return inherited(self, size if size is None else operator.index(size))
        except DirectIOError as error:
            failed = self.fs.read_failed(self.path, self._listed, error)
            raise failed from failed.__cause__

    return method


def _filling(name: str) -> Callable[..., Any]:
    """Return the method ``name``, which takes a buffer, in the same way."""
    inherited = getattr(SharedFile, name)

    @functools.wraps(inherited)
    def method(self: CteraFile, buffer: Any, /) -> Any:
        try:
            return inherited(self, buffer)
        except DirectIOError as error:
            failed = self.fs.read_failed(self.path, self._listed, error)
            raise failed from failed.__cause__

    return method


class CteraFile(SharedFile):
    """A seekable binary file of a :class:`CteraFileSystem`.

    It has the attributes of fsspec's own files: ``fs path full_name details blocksize loc size``.
    A pickle of it opens the same file, at the same position, where it is loaded; if the file has
    changed since, loading raises OSError (ESTALE).
    """

    def __init__(
        self,
        raw: Any,
        fs: Any,
        path: str,
        listed: Listed,
        *,
        blocksize: int,
        readahead: Optional[int] = None,
    ) -> None:
        super().__init__(raw)
        #: The file system that the file is of.
        self.fs = fs
        #: The file's path in it, with the portal's host.
        self.path = path
        #: Bytes that programs may read at once; the file itself reads as it needs.
        self.blocksize = blocksize
        self._listed = listed
        self._readahead = readahead

    @property
    def full_name(self) -> str:
        """The file's URL."""
        return str(self.fs.unstrip_protocol(self.path))

    @property
    def details(self) -> dict[str, Any]:
        """What :meth:`CteraFileSystem.info` said when the file was opened."""
        return dict(self.fs.describe(self.path, self._listed))

    @property
    def loc(self) -> int:
        """The offset of the next byte to read."""
        return self.tell()

    def info(self) -> dict[str, Any]:
        """Return what :meth:`CteraFileSystem.info` said when the file was opened."""
        return self.details

    read = _reading("read")
    read1 = _reading("read1")
    readline = _reading("readline")
    peek = _reading("peek")
    readinto = _filling("readinto")
    readinto1 = _filling("readinto1")

    def __next__(self) -> bytes:
        try:
            return super().__next__()
        except DirectIOError as error:
            failed = self.fs.read_failed(self.path, self._listed, error)
            raise failed from failed.__cause__

    def __reduce__(self) -> tuple[Any, ...]:
        position = 0 if self.closed else self.tell()
        arguments = (self.fs, self.path, self._listed.fingerprint, position, self._readahead)
        return (_reopen, arguments)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # io's own refuses.
        return self.__reduce__()

    def __dask_tokenize__(self) -> tuple[str, str, str]:
        return (type(self).__name__, self.path, self._listed.fingerprint)


def _reopen(fs: Any, path: str, fingerprint: str, position: int, readahead: Optional[int]) -> Any:
    """Open a pickled file, at the position that it had."""
    if fs.ukey(path) != fingerprint:
        fs.invalidate_listing(path)
    if fs.ukey(path) != fingerprint:
        raise OSError(errno.ESTALE, "the file has changed since it was opened: open it again", path)
    file = fs.open(path, readahead=readahead)
    file.seek(position)
    return file


class RangeFile(AbstractBufferedFile):  # type: ignore[misc]
    """What fsspec's ``blockcache`` takes: a file that fetches a range, and leaves the caching to it."""

    def __init__(self, fs: Any, path: str, listed: Listed, **options: Any) -> None:
        self._listed = listed
        super().__init__(fs, path, size=listed.metadata.size, **options)
        self.details = fs.describe(path, listed)

    @property
    def cache(self) -> Any:
        """fsspec's cache of what was fetched."""
        return self._cache

    @cache.setter
    def cache(self, cache: Any) -> None:
        # blockcache would fetch several ranges by the path alone: of a file that was replaced, old
        # blocks and new ones would end up in one cached file. The fetcher of this file notices.
        if getattr(cache, "multi_fetcher", None) is not None:
            cache.multi_fetcher = None
        self._cache = cache

    def read(self, length: int = -1) -> bytes:
        """Return at most ``length`` bytes, fewer only at the end of the file."""
        start = self.loc
        try:
            return super().read(length)  # type: ignore[no-any-return]
        except BaseException:
            self._forget_blocks(start, self.size if length < 0 else start + length)
            raise

    def _forget_blocks(self, start: int, end: int) -> None:
        """Have the cache fetch these bytes anew: it notes a block as fetched before that has ended."""
        blocks = getattr(self._cache, "blocks", None)
        if isinstance(blocks, set):
            blocks.difference_update(range(start // self.blocksize, end // self.blocksize + 1))

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.read_listed(self.path, self._listed, start, end)  # type: ignore[no-any-return]
