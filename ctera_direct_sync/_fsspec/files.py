"""What `fs.open` returns: the library's own file, with the attributes of fsspec's files."""

from __future__ import annotations

import errno
import functools
import operator
import time
from datetime import datetime, timezone
from typing import Any, Callable, NamedTuple

from fsspec.spec import AbstractBufferedFile

from .._core import core_of
from .._readers.file import SharedFile
from .._readers.pickled_file import Opened, PickledFile
from ..exceptions import DirectIOError
from ..types import Metadata

__all__ = ["CteraFile", "Listed", "RangeFile"]


class Listed:
    """A block list, and when the portal was asked for it."""

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata
        #: `time.monotonic()` before the request. The list was true at that time.
        self.asked = time.monotonic()
        self.asked_at = datetime.now(timezone.utc)
        #: What the portal said of the file's name, if it was listed by its name.
        self.named: dict[str, Any] | None = None
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """`Metadata.fingerprint`. It takes a while for a long list, so it is computed once."""
        if self._fingerprint is None:
            self._fingerprint = self.metadata.fingerprint
        return self._fingerprint


def _reading(name: str) -> Callable[..., Any]:
    """Return a method that reads, and that tells the file system of a failure."""
    inherited = getattr(SharedFile, name)

    @functools.wraps(inherited)
    def method(self: CteraFile, size: Any = -1, /) -> Any:
        try:
            # Readers of binary formats pass NumPy integers, whose sums overflow.
            return inherited(self, size if size is None else operator.index(size))
        except DirectIOError as error:
            failed = self._failed(error)
            raise failed from failed.__cause__

    return method


def _filling(name: str) -> Callable[..., Any]:
    """Return a method that reads into a buffer, and that tells the file system of a failure."""
    inherited = getattr(SharedFile, name)

    @functools.wraps(inherited)
    def method(self: CteraFile, buffer: Any, /) -> Any:
        try:
            return inherited(self, buffer)
        except DirectIOError as error:
            failed = self._failed(error)
            raise failed from failed.__cause__

    return method


class CteraFile(SharedFile):
    """A seekable binary file of a `CteraFileSystem`.

    It has the attributes of fsspec's own files: `fs path full_name details blocksize loc size`. A pickle
    of it opens the same file at the same position when it is first used. If the file has changed since,
    that use raises OSError (ESTALE).

    Args:
        raw: The file below the buffer.
        opened: The path, file system and block list.
        blocksize: Bytes that programs may read at once.
    """

    def __init__(self, raw: Any, opened: OpenedPath | _PickledPath, *, blocksize: int) -> None:
        super().__init__(raw)
        #: The file's path in its file system, with the portal's host.
        self.path = opened.path
        #: Bytes that programs may read at once. The file itself reads as it needs.
        self.blocksize = blocksize
        self._opened = opened

    @property
    def fs(self) -> Any:
        """The file system of the file."""
        return self._opened.fs

    def _failed(self, error: DirectIOError) -> DirectIOError:
        """Tell the file system of a read that failed. Return the error to raise."""
        if not self._opened.is_listed:
            return error  # The file system itself reported that opening failed.
        return self.fs.read_failed(self.path, self._opened.listed, error)  # type: ignore[no-any-return]

    @property
    def full_name(self) -> str:
        """The file's URL."""
        return str(self.fs.unstrip_protocol(self.path))

    @property
    def details(self) -> dict[str, Any]:
        """What `CteraFileSystem.info` said when the file was opened."""
        return dict(self.fs.describe(self.path, self._opened.listed))

    @property
    def loc(self) -> int:
        """The offset of the next byte to read."""
        return self.tell()

    def info(self) -> dict[str, Any]:
        """Return what `CteraFileSystem.info` said when the file was opened."""
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
            failed = self._failed(error)
            raise failed from failed.__cause__

    def __reduce__(self) -> tuple[Any, ...]:
        position = 0 if self.closed else self.tell()
        return (_reopen, (self._opened.pickled(), position, self.blocksize))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # The method of io refuses.
        return self.__reduce__()

    def __dask_tokenize__(self) -> tuple[str, str, str]:
        return (type(self).__name__, self.path, self._opened.pickled().fingerprint)


class OpenedPath(NamedTuple):
    """How a file was opened."""

    fs: Any
    path: str
    listed: Listed
    readahead: int | None

    @property
    def is_listed(self) -> bool:
        """True: the file was listed when it was opened."""
        return True

    def pickled(self) -> _Pickled:
        """Return what a pickle holds."""
        file_id = self.listed.metadata.file_id
        make, arguments = self.fs.__reduce__()
        fingerprint = self.listed.fingerprint
        return _Pickled(make, arguments, self.path, file_id, fingerprint, self.readahead)


class _Pickled(NamedTuple):
    """What a pickle holds of a file. Its file system may lack the keys where it is loaded."""

    make: Callable[..., Any]
    arguments: tuple[Any, ...]
    path: str
    file_id: int
    fingerprint: str
    readahead: int | None


class _PickledPath:
    """A file that was pickled. It is listed when it is first used."""

    def __init__(self, pickled: _Pickled) -> None:
        self.path = pickled.path
        self._pickled = pickled
        self._listed: Listed | None = None

    def pickled(self) -> _Pickled:
        """Return what the pickle held."""
        return self._pickled

    @property
    def is_listed(self) -> bool:
        """Whether the file was listed in this process."""
        return self._listed is not None

    @functools.cached_property
    def fs(self) -> Any:
        """The file system, made in this process."""
        return self._pickled.make(*self._pickled.arguments)

    @property
    def listed(self) -> Listed:
        """The block list of the file. Raise OSError (ESTALE) if it is not what the pickle says."""
        if self._listed is None:
            fs, path, fingerprint = self.fs, self.path, self._pickled.fingerprint
            if fs.ukey(path) != fingerprint:
                fs.invalidate_listing(path)
            listed: Listed = fs.listed(path)
            if listed.fingerprint != fingerprint:
                text = "the file has changed since it was opened: open it again"
                raise OSError(errno.ESTALE, text, path)
            self._listed = listed
        return self._listed

    def __call__(self) -> Opened:
        metadata = self.listed.metadata
        core = core_of(self.fs.client)
        return Opened(core.whole(metadata), core)


def _reopen(pickled: _Pickled, position: int, blocksize: int) -> CteraFile:
    """Return a file that was pickled, at its position. It is opened at its first use."""
    again = _PickledPath(pickled)
    raw = PickledFile(pickled.file_id, position, pickled.readahead, again, is_shared=True)
    return CteraFile(raw, again, blocksize=blocksize)


class RangeFile(AbstractBufferedFile):  # type: ignore[misc]
    """A file for fsspec's `blockcache`, which does the caching: it fetches ranges."""

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
        # blockcache would fetch several ranges by the path alone. If the file were replaced, one cached
        # file would hold old and new blocks. The fetcher of this file notices that.
        if getattr(cache, "multi_fetcher", None) is not None:
            cache.multi_fetcher = None
        self._cache = cache

    def read(self, length: int = -1) -> bytes:
        """Return `length` bytes, fewer only at the end of the file."""
        start = self.loc
        try:
            return super().read(length)  # type: ignore[no-any-return]
        except BaseException:
            self._forget_blocks(start, self.size if length < 0 else start + length)
            raise

    def _forget_blocks(self, start: int, end: int) -> None:
        """Make the cache fetch these bytes anew. It notes a block as fetched before the fetch ends."""
        blocks = getattr(self._cache, "blocks", None)
        if isinstance(blocks, set):
            blocks.difference_update(range(start // self.blocksize, end // self.blocksize + 1))

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.read_listed(self.path, self._listed, start, end)  # type: ignore[no-any-return]
