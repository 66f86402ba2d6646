"""``ctera://`` for fsspec, and so for pandas, pyarrow, DuckDB and Dask.

``ctera://<portal-host>/<file_id>[/name.ext]``. The file ID says which file is meant. The name is for
people and for readers that look at the extension. The store is read-only, and has no directories: file
IDs come from the portal, which has no call to list them here.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import fnmatch
import operator
import os
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Callable, NamedTuple, NoReturn, Optional, Union

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractFileSystem
from fsspec.transaction import Transaction
from fsspec.utils import isfilelike

from ._core import core_of
from ._fsspec.files import CteraFile, Listed, OpenedPath, RangeFile
from ._fsspec.instances import SECRETS, Instances, PortalHost, given_settings, shared_client
from ._readers.multi_range import MultiRangeReader, Span
from .client import DirectIO
from .exceptions import (
    DirectIOError,
    DownloadConnectionError,
    DownloadError,
    DownloadTimeout,
    NotFoundError,
    UnAuthorized,
)
from .settings import Settings
from .types import Metadata, Token

__all__ = ["AccessRefusedError", "CteraFileSystem", "NoSuchFileError"]

_SCHEME = "ctera://"
#: Block lists kept by default: one of a large file may take megabytes.
_MAX_LISTINGS = 64
_LISTINGS_EXPIRY_S = 30.0
#: Files that one call fetches at the same time by default: small ones cost two round trips each.
_FILES_AT_ONCE = 16
#: File IDs whose name and whose first sight are remembered, per portal and process.
_MAX_REMEMBERED = 65_536
_MAX_ID_DIGITS = 30
#: What programs look for beside a file, or below it where a store has folders.
_SIDE_CARS = (
    *("*.ovr", "*.msk", "*.aux", "*.aux.xml"),  # GDAL
    *("_metadata", "_common_metadata", "_SUCCESS", "_delta_log"),  # Parquet, Spark, Delta
    *(".zgroup", ".zarray", ".zattrs", ".zmetadata", "zarr.json"),  # Zarr
)
_WHOLE: tuple[Optional[int], Optional[int]] = (None, None)


class NoSuchFileError(NotFoundError, FileNotFoundError):
    """The portal knows no file of the path's ID: a NotFoundError and a FileNotFoundError."""


class AccessRefusedError(UnAuthorized, PermissionError):
    """The portal refuses the key or the file: an UnAuthorized and a PermissionError."""


class _Sightings:
    """What this process has seen of the files of one portal: their names, and since when they are so.

    fsspec makes a file system for each thread; all of the same portal share this. The oldest entries
    are forgotten first.
    """

    def __init__(self) -> None:
        self.names: OrderedDict[int, str] = OrderedDict()
        self._seen: OrderedDict[int, tuple[str, datetime]] = OrderedDict()

    def name(self, file_id: int, name: str) -> str:
        """Return the file's name: the first that it was successfully asked for by."""
        found = self.names.setdefault(file_id, name)
        _shrink(self.names)
        return found

    def first_seen(self, file_id: int, listed: Listed) -> datetime:
        """Return when the file was first seen as ``listed`` has it."""
        known = self._seen.get(file_id)
        if known is not None and known[0] == listed.fingerprint:
            return known[1]
        if known is not None and listed.asked_at < known[1]:
            # An old list, which another file system still has: the file is another one since.
            return listed.asked_at
        self._seen[file_id] = (listed.fingerprint, listed.asked_at)
        _shrink(self._seen)
        return listed.asked_at


_sightings: weakref.WeakValueDictionary[str, _Sightings] = weakref.WeakValueDictionary()


class _ReadOnlyTransaction(Transaction):  # type: ignore[misc]
    """fsspec's transactions would end without a word where nothing can be written."""

    def start(self) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only()


class _Paths:
    """``_strip_protocol``: the class tells host and path apart; an instance knows its own host."""

    def __get__(
        self, instance: Optional[CteraFileSystem], owner: Optional[type] = None
    ) -> Callable[[Any], Any]:
        return _stripped if instance is None else instance._own_path


class CteraFileSystem(AbstractFileSystem, metaclass=Instances):  # type: ignore[misc]
    """The files of one portal.

    Paths are ``<portal-host>/<file_id>[/name.ext]``. Each method takes URLs and bare
    ``<file_id>[/name.ext]``, too. A path of another portal is a ValueError that names both.

    A name below a file ID is the file's name if the file was asked for by that name first. Other names
    do not exist, so programs that look for files beside it find none.

    Pickles hold the keys that were given; JSON (``to_json``), reprs and messages never do. Both name
    the portal, so a file system never reads from another one where it is loaded.

    Args:
        host: The portal's host and port, as in the URL.
        baseurl: The portal's URL where it is not ``https://<host>``.
        access_key_id: As for ``DirectIO``: from the environment where it is not given, which keeps it
            out of task graphs. If CTERA_DIRECT_URL is set, keys from the environment go to that portal
            alone: another portal is a ValueError.
        secret_access_key: As ``access_key_id``.
        bearer: As ``access_key_id``.
        settings: A :class:`Settings`, or a mapping of its names, such as ``{"memory": 2**25}``.
        use_listings_cache: Whether block lists are kept.
        listings_expiry_time: Seconds for which a block list serves further calls for the same file;
            None: for ever.
        max_paths: How many block lists are kept; None: all.
        batch_size: How many files ``cat``, ``cat_ranges`` and ``get`` fetch at the same time.

    Raises:
        ValueError: Portal or keys are missing, malformed, or do not belong to each other.
        TypeError: An option is mistyped.
    """

    protocol = "ctera"
    root_marker = ""
    transaction_type = _ReadOnlyTransaction
    _extra_tokenize_attributes = ("environment_digest",)
    _strip_protocol = _Paths()

    def __init__(
        self,
        host: Optional[str] = None,
        *,
        baseurl: Optional[str] = None,
        access_key_id: Optional[str] = None,
        secret_access_key: Optional[str] = None,
        bearer: Optional[str] = None,
        settings: Union[Settings, Mapping[str, Any], None] = None,
        use_listings_cache: bool = True,
        listings_expiry_time: Optional[float] = _LISTINGS_EXPIRY_S,
        max_paths: Optional[int] = _MAX_LISTINGS,
        batch_size: Optional[int] = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._expiry = listings_expiry_time
        self._max_listings = max_paths if use_listings_cache else 0
        self._files_at_once = _batch_size(batch_size) or _FILES_AT_ONCE
        self._listings: OrderedDict[int, Listed] = OrderedDict()
        chosen = None if settings is None else given_settings(settings)
        self._client = shared_client(
            DirectIO(baseurl, access_key_id, secret_access_key, bearer, settings=chosen)
        )
        # The metaclass has made a baseurl of whatever names the portal, and DirectIO has checked it.
        portal = PortalHost.of(baseurl or "")
        assert baseurl is not None and portal is not None
        self._portal = portal
        #: The portal's host, with the port where that is not the default one.
        self.host = str(portal)
        self._sightings = _sightings.setdefault(baseurl.rstrip("/"), _Sightings())

    @property
    def client(self) -> DirectIO:
        """The client that does the work, shared with equal file systems; a new one if it was closed."""
        if core_of(self._client).closed:
            self._client = shared_client(copy.copy(self._client))
        return self._client

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return fsspec's dictionary, without the keys: the environment has them where it is read."""
        result: dict[str, Any] = super().to_dict(**options)
        return {
            name: value
            for name, value in result.items()
            if name not in SECRETS and not isinstance(value, Token)
        }

    # --- names -----------------------------------------------------------------------------------------

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        text = str(path)
        if not text.startswith(_SCHEME):
            return {}
        host = _split(text).host
        return {"host": host} if host else {}

    def unstrip_protocol(self, name: str) -> str:
        """Return the whole URL of a path of this file system."""
        return f"{_SCHEME}{self._own_path(name)}"

    def _own_path(self, path: Any) -> Any:
        """Return the path with the portal's host. ValueError for a path of another portal."""
        if isinstance(path, (list, tuple)):
            return [self._own_path(one) for one in path]
        parts = _split(path)
        if parts.host is None:
            return f"{self.host}/{parts.rest}".rstrip("/")
        if self._portal.is_named(parts.host):
            return f"{self.host}/{parts.rest}".rstrip("/")
        if parts.is_url or _is_file_id(parts.rest.partition("/")[0]):
            raise ValueError(
                f"the path is of portal {parts.host}, but this file system is of portal {self.host}: "
                f"make one for {parts.host}, as fsspec.open does for each URL"
            )
        return f"{self.host}/{parts.host}/{parts.rest}".rstrip("/")

    def _file_id_and_name(self, path: str) -> tuple[int, str]:
        within = self._own_path(path)[len(self.host) + 1 :]
        first, _, name = within.partition("/")
        if not _is_file_id(first):
            raise FileNotFoundError(
                errno.ENOENT, "a path is ctera://<portal-host>/<file_id>[/name.ext]", str(path)
            )
        return int(first), name.strip("/")

    def _file_id(self, path: str) -> int:
        return self._file_id_and_name(path)[0]

    def _check_name(self, path: str, file_id: int, name: str, asking: bool) -> None:
        """FileNotFoundError where ``name`` cannot be the file's.

        ``asking``: nothing is read yet, so a side-car's name is rather that of a file that is missing.
        """
        known = self._sightings.names.get(file_id, name)
        if "/" in name:
            raise FileNotFoundError(
                errno.ENOENT, f"file {file_id} is not a folder: nothing lies below it", str(path)
            )
        if name and known != name:
            raise FileNotFoundError(
                errno.ENOENT,
                f"file {file_id} was first asked for as {known!r}, and has no other name here: use "
                "that name, or the file ID alone; invalidate_cache() forgets the name",
                str(path),
            )
        if asking and file_id not in self._sightings.names and _is_side_car(name):
            raise FileNotFoundError(
                errno.ENOENT,
                f"{name!r} is looked for beside other files, and file {file_id} was not read under "
                "this name: use the file ID alone",
                str(path),
            )

    # --- listings --------------------------------------------------------------------------------------

    def metadata(self, path: str) -> Metadata:
        """Return the file's block list, at most ``listings_expiry_time`` seconds old."""
        return self._listed(path).metadata

    def listed(self, path: str) -> Listed:
        """Return the file's block list with when it was asked for, as :meth:`metadata`."""
        return self._listed(path)

    def _listed(self, path: str, *, asking: bool = False, fresh: bool = False) -> Listed:
        """Return the file's block list; its name is from now on that of the path, if it has one."""
        file_id, name = self._file_id_and_name(path)
        self._check_name(path, file_id, name, asking)
        known = None if fresh else self._listings.get(file_id)
        if known is None or self._is_expired(known):
            asked = time.monotonic()
            with _translated(path):
                known = Listed(self.client.metadata(file_id))
            known.asked = asked
            self._listings[file_id] = known
            with contextlib.suppress(KeyError):  # Another thread was faster.
                self._listings.move_to_end(file_id)
            if self._max_listings is not None:
                _shrink(self._listings, self._max_listings)
        self._keep_name(path, file_id, name)
        return known

    def _keep_name(self, path: str, file_id: int, name: str) -> None:
        if name and self._sightings.name(file_id, name) != name:
            # Another thread asked by another name meanwhile, and was first.
            self._check_name(path, file_id, name, asking=False)

    def _is_expired(self, listed: Listed) -> bool:
        return self._expiry is not None and time.monotonic() - listed.asked >= self._expiry

    def describe(self, path: str, listed: Listed) -> dict[str, Any]:
        """Return what :meth:`info` says of a file that was listed before."""
        metadata = listed.metadata
        seen = self._sightings.first_seen(metadata.file_id, listed)
        return {
            "name": self._own_path(path),
            "size": metadata.size,
            "type": "file",
            "ETag": listed.fingerprint,
            "mtime": seen.timestamp(),
            "file_id": metadata.file_id,
            "blocks": len(metadata.chunks),
            "encrypted": metadata.encrypted,
            "compression": metadata.compression_library,
        }

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return name, size and type, and what the block list says beyond.

        ``ETag`` changes when the file does (:meth:`ukey`). ``mtime`` is when this process first saw the
        file as it is, in seconds (:meth:`modified`).
        """
        return self.describe(path, self._listed(path, asking=True))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Return the file itself. NotImplementedError for the root: the portal lists no folders here."""
        if self._own_path(path) == self.host:
            raise NotImplementedError(
                "a portal's files cannot be listed through Direct IO: give file IDs"
            )
        info = self.info(path)
        return [info] if detail else [info["name"]]

    def glob(self, path: str, maxdepth: Optional[int] = None, **options: Any) -> Any:
        """Return the file itself, whatever characters its name holds, or where the name matches.

        NotImplementedError for a pattern of file IDs.
        """
        path = self._own_path(path)
        first, _, name = path[len(self.host) + 1 :].partition("/")
        if not _is_file_id(first):
            return super().glob(path, maxdepth=maxdepth, **options)
        known = self._sightings.names.get(int(first))
        if known is not None and known != name and fnmatch.fnmatchcase(known, name):
            path = f"{self.host}/{first}/{known}"
        found = {path: self.info(path)} if self.exists(path) else {}
        return found if options.get("detail") else list(found)

    def isdir(self, path: str) -> bool:
        """Return False: there are no directories. ValueError for a path of another portal."""
        self._own_path(path)
        return False

    def isfile(self, path: str) -> bool:
        """Return whether the portal knows the file."""
        return bool(self.exists(path))

    def exists(self, path: str, **_: Any) -> bool:
        """Return whether the portal knows the file. What else it answers raises."""
        try:
            self._listed(path, asking=True)
        except FileNotFoundError:
            return False
        return True

    def ukey(self, path: str) -> str:
        """Return what changes when the file does (:attr:`Metadata.fingerprint`)."""
        return self._listed(path).fingerprint

    def checksum(self, path: str) -> int:
        """Return :meth:`ukey` as a number."""
        return int(self.ukey(path), 16)

    def modified(self, path: str) -> datetime:
        """Return when this process first saw the file as it is.

        The file was last written before that; the portal does not tell when.
        """
        listed = self._listed(path)
        return self._sightings.first_seen(listed.metadata.file_id, listed)

    def invalidate_cache(self, path: Optional[str] = None) -> None:
        """Forget the block list and the name of a file, or of all."""
        if path is None:
            self._listings.clear()
            self._sightings.names.clear()
        else:
            self.invalidate_listing(path)
            self._sightings.names.pop(self._file_id(path), None)
        super().invalidate_cache(path)

    def invalidate_listing(self, path: str) -> None:
        """Forget the block list of a file: the next call asks the portal."""
        self._listings.pop(self._file_id(path), None)

    # --- reading ---------------------------------------------------------------------------------------

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: Optional[int] = None,
        autocommit: bool = True,
        cache_options: Any = None,
        **options: Any,
    ) -> Any:
        if mode != "rb":
            _read_only(path)
        listed = self._listed(path)
        path, blocksize = self._own_path(path), block_size or self.blocksize
        if options.get("cache_type") == "none":
            # This is how blockcache opens a file before it replaces the file's cache by its own. It
            # gives the size that it knows, unless fsspec is old.
            if options.get("size") not in (None, listed.metadata.size):
                raise OSError(
                    errno.ESTALE,
                    "the file has changed since it was cached: clear the cache, or use check_files=True",
                    path,
                )
            return RangeFile(self, path, listed, block_size=blocksize, cache_type="none")
        readahead = options.get("readahead")
        # The file keeps a cache of decoded blocks of its own: fsspec's on top would double it.
        opened = core_of(self.client).open_shared(listed.metadata, readahead)
        place = OpenedPath(self, path, listed, readahead)
        return CteraFile(opened.detach(), place, blocksize=blocksize)

    def cat_file(
        self, path: str, start: Optional[int] = None, end: Optional[int] = None, **_: Any
    ) -> bytes:
        """Return the bytes from ``start`` to ``end`` (excluded); negative ones count from the end.

        If the file has been replaced since it was listed, it is listed and read once more.
        """
        return self._read_ranges(path, [(start, end)], _Group(), strict=True)[0]  # type: ignore[no-any-return]

    def cat(
        self,
        path: Any,
        recursive: bool = False,
        on_error: str = "raise",
        batch_size: Optional[int] = None,
        **kwargs: Any,
    ) -> Any:
        """Return the bytes of a file, or of several by path, fetched at the same time.

        Args:
            path: A path, or a list of paths.
            recursive: Of no use here: there are no directories.
            on_error: "raise" the first error, "omit" the file, or "return" the error in its place.
            batch_size: How many files are under way at a time; by default as the file system says.
            **kwargs: ``start`` and ``end``, as for :meth:`cat_file`.
        """
        paths = self.expand_path(path, recursive=recursive)
        if len(paths) == 1 and not isinstance(path, list) and paths[0] == self._own_path(path):
            return self.cat_file(paths[0], **kwargs)
        bounds = (kwargs.get("start"), kwargs.get("end"))
        group = _Group()
        found = group.run(
            [self._reader(path, [bounds], group, on_error == "raise") for path in paths],
            self._limit(batch_size),
        )
        by_path = dict(zip(paths, (each[0] for each in found)))
        if on_error == "omit":
            return {path: data for path, data in by_path.items() if isinstance(data, bytes)}
        return by_path

    def cat_ranges(
        self,
        paths: Sequence[str],
        starts: Any,
        ends: Any,
        max_gap: Optional[int] = None,
        on_error: str = "return",
        batch_size: Optional[int] = None,
        **_: Any,
    ) -> list[Any]:
        """Return the bytes of many ranges; of each file one listing, and each block that they need once.

        Several files are under way at a time, each within the client's memory setting. The ranges of
        one file are all of the same version of it.

        Args:
            paths: The path of each range.
            starts: First byte of each, or of all: an integer, None, or a list or array of them.
            ends: The byte past the last, likewise. Negative ones count from the end.
            max_gap: Of no use here: ranges of one block share its download anyway.
            on_error: "return" puts the error in the place of the bytes, "raise" raises the first.
            batch_size: How many files are under way at a time; by default as the file system says.
        """
        if not isinstance(paths, (list, tuple)):
            raise TypeError("cat_ranges takes a list of paths")
        starts, ends = _bounds(starts, len(paths)), _bounds(ends, len(paths))
        if not len(paths) == len(starts) == len(ends):
            raise ValueError("cat_ranges takes as many starts and ends as paths")
        places: dict[str, list[int]] = {}
        for place, path in enumerate(self._own_path(paths)):
            places.setdefault(path, []).append(place)
        group = _Group()
        tasks = [
            self._reader(
                path, [(starts[place], ends[place]) for place in wanted], group, on_error == "raise"
            )
            for path, wanted in places.items()
        ]
        results: list[Any] = [None] * len(paths)
        for wanted, found in zip(places.values(), group.run(tasks, self._limit(batch_size))):
            for place, data in zip(wanted, found):
                results[place] = data
        return results

    def read_block(
        self, fn: str, offset: int, length: Optional[int], delimiter: Optional[bytes] = None
    ) -> bytes:
        """Return ``length`` bytes from ``offset`` on, from and up to a delimiter where one is given."""
        length = None if length is None else operator.index(length)
        return super().read_block(fn, operator.index(offset), length, delimiter)  # type: ignore[no-any-return]

    def tail(self, path: str, size: int = 1024) -> bytes:
        """Return the last ``size`` bytes."""
        return super().tail(path, operator.index(size))  # type: ignore[no-any-return]

    def read_listed(self, path: str, listed: Listed, start: int, end: int) -> bytes:
        """Return a range of the file as it was listed; an error where it has changed since."""
        found = self._read_once(listed, [(start, end)], _Group(), strict=True)[0]
        if isinstance(found, DirectIOError):
            failed = self.read_failed(path, listed, found)
            raise failed from failed.__cause__
        return found  # type: ignore[no-any-return]

    def read_failed(self, path: str, listed: Listed, error: DirectIOError) -> DirectIOError:
        """Note that blocks of ``listed`` could not be read, and return the error to raise.

        The file may have been replaced: the next call lists it anew.
        """
        file_id = listed.metadata.file_id
        if error.errno != errno.ECANCELED and self._listings.get(file_id) is listed:
            self._listings.pop(file_id, None)
        return _translation(error, path)

    def _reader(
        self, path: str, bounds: Sequence[Any], group: _Group, strict: bool
    ) -> Callable[[], list[Any]]:
        """Return a task that reads ranges of one file, and gives its errors back unless ``strict``."""

        def read() -> list[Any]:
            try:
                return self._read_ranges(path, bounds, group, strict=strict)
            except OSError as error:
                if strict:
                    raise
                return [error] * len(bounds)

        return read

    def _read_ranges(
        self, path: str, bounds: Sequence[Any], group: _Group, *, strict: bool
    ) -> list[Any]:
        """Return ranges of one version of a file: of the one listed, or of the one that replaced it."""
        listed = self._listed(path)
        found = self._read_once(listed, bounds, group, strict)
        error = _first_error(found)
        if error is not None:
            self.read_failed(path, listed, error)
            replaced = self._replacement(path, listed, error)
            if replaced is not None:
                found = self._read_once(replaced, bounds, group, strict)
                error = _first_error(found)
        if error is not None and strict:
            try:
                failed = _translation(error, path)
                raise failed from failed.__cause__
            finally:
                del error, failed, found  # They hold this frame, by their traceback.
        return found

    def _read_once(
        self, listed: Listed, bounds: Sequence[Any], group: _Group, strict: bool
    ) -> list[Any]:
        """Return the bytes of each range, or the error; all the same error if ``strict``."""
        metadata = listed.metadata
        spans = [_span(start, end, metadata.size) for start, end in bounds]
        try:
            with group.reading(core_of(self.client).read_spans(metadata, spans)) as reader:
                found: list[Any] = list(reader.read(fail_fast=strict))
        except DirectIOError as error:
            return [error] * len(spans)
        for place, (first, stop) in enumerate(spans):
            data = found[place]
            if isinstance(data, bytes) and len(data) != stop - first:
                found[place] = _incomplete(len(data), stop - first, metadata.file_id)
        return found

    def _replacement(self, path: str, listed: Listed, error: DirectIOError) -> Optional[Listed]:
        """Return the file's new block list if it was replaced since ``listed``, else None."""
        no_sign = (DownloadTimeout, DownloadConnectionError)
        if isinstance(error, no_sign) or error.errno == errno.ECANCELED:
            return None
        if isinstance(error, DownloadError) and error.errno == errno.ENOENT:
            return None  # The file was listed anew for this answer, and is what it was.
        try:
            fresh = self._listed(path, fresh=True)
        except FileNotFoundError:
            raise
        except OSError:
            return None  # What went wrong first tells more.
        return fresh if fresh.fingerprint != listed.fingerprint else None

    def get_file(
        self,
        rpath: str,
        lpath: Any = None,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
        **_: Any,
    ) -> None:
        """Download to a local path, whose folders are made, or into a writable binary file."""
        self._get_file(rpath, outfile if outfile is not None else lpath, callback, _Group())

    def _get_file(self, rpath: str, target: Any, callback: Any, group: _Group) -> None:
        file_id, name = self._file_id_and_name(rpath)
        self._check_name(rpath, file_id, name, asking=False)
        is_path = not isfilelike(target)
        if is_path:
            os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
        expected = 0

        def progress(done: int, total: int) -> None:
            nonlocal expected
            group.check()
            expected = total
            callback.set_size(total)
            callback.absolute_update(done)

        for is_last in (not is_path, True):
            try:
                with _translated(rpath):
                    size = self.client.download(file_id, target, progress=progress).size
                break
            except DirectIOError as error:
                # Replaced while it was downloaded. What went into a file object stays there.
                if is_last or error.errno not in (errno.ESTALE, errno.ENOENT):
                    raise
        if is_path and os.path.isfile(target):
            size = os.path.getsize(target)
        if size != expected:
            raise _incomplete(size, expected, file_id)
        known = self._listings.get(file_id)
        if known is not None and known.metadata.size != size:
            self._listings.pop(file_id, None)
        self._keep_name(rpath, file_id, name)

    def get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: Optional[int] = None,
        batch_size: Optional[int] = None,
        **_: Any,
    ) -> None:
        """Download one file or several, which are fetched at the same time.

        Args:
            rpath: A path, or a list of paths.
            lpath: Where to: a file, a folder, or a list of files.
            recursive: Of no use here: there are no directories.
            callback: fsspec's callback; its methods are called by one thread at a time.
            maxdepth: As ``recursive``.
            batch_size: How many files are under way at a time; by default as the file system says.
        """
        plan = _GetPlan(self)
        AbstractFileSystem.get(plan, rpath, lpath, recursive=recursive, maxdepth=maxdepth)
        callback.set_size(len(plan.pairs))
        group, turn = _Group(), threading.Lock()

        def fetch(source: str, target: Any) -> None:
            with callback.branched(source, target) as child:
                self._get_file(source, target, child, group)
            with turn:
                callback.relative_update(1)

        tasks = [lambda pair=pair: fetch(*pair) for pair in plan.pairs]
        group.run(tasks, self._limit(batch_size))

    def _limit(self, batch_size: Optional[int]) -> int:
        return _batch_size(batch_size) or self._files_at_once

    # --- what this store cannot do -----------------------------------------------------------------------

    def rm(self, path: Any, recursive: bool = False, maxdepth: Optional[int] = None) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(path)

    def rm_file(self, path: str) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(path)

    _rm = rm_file

    def rmdir(self, path: str) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(path)

    def cp_file(self, path1: str, path2: str, **_: Any) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(path2)

    def copy(self, path1: Any, path2: Any, *_args: Any, **_: Any) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(path2)

    def mv(self, path1: Any, path2: Any, *_args: Any, **_: Any) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(path2)

    mv_file = mv

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(path)

    def touch(self, path: str, truncate: bool = True, **_: Any) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(path)

    def pipe(self, path: Any, value: Any = None, **_: Any) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(path)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(path)

    def put(self, lpath: Any, rpath: Any, *_args: Any, **_: Any) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(rpath)

    def put_file(self, lpath: str, rpath: str, *_args: Any, **_: Any) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(rpath)

    def start_transaction(self) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only()

    def end_transaction(self) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only()


# --- several files at the same time --------------------------------------------------------------------


class _Group:
    """Tasks that run at the same time; the first that fails ends the others."""

    def __init__(self) -> None:
        self._stopped = False
        self._readers: set[MultiRangeReader] = set()

    def run(self, tasks: Sequence[Callable[[], Any]], limit: int) -> list[Any]:
        """Return the results of all tasks, ``limit`` of which run at a time, this thread's included."""
        results: list[Any] = [None] * len(tasks)
        errors: list[BaseException] = []
        todo = deque(enumerate(tasks))

        def work() -> None:
            while True:
                try:
                    place, task = todo.popleft()
                except IndexError:
                    return
                try:
                    results[place] = task()
                except BaseException as error:  # noqa: BLE001  It is raised below, by the caller's thread.
                    errors.append(error)
                    todo.clear()
                    self.stop()

        threads = []
        try:
            for number in range(min(limit, len(tasks)) - 1):
                thread = threading.Thread(target=work, name=f"ctera-direct-files-{number}")
                try:
                    thread.start()
                except RuntimeError:  # No more threads: those that run do the work, and this one.
                    break
                threads.append(thread)
            work()
            for thread in threads:
                thread.join()
        except BaseException:
            todo.clear()
            self.stop()
            raise
        if errors:
            try:
                raise errors[0]
            finally:
                errors.clear()  # Its traceback holds this frame.
        return results

    def stop(self) -> None:
        """End the reads that are under way, and the downloads at their next block."""
        self._stopped = True
        for reader in list(self._readers):
            reader.close()

    def check(self) -> None:
        """OSError if the group was stopped."""
        if self._stopped:
            raise OSError(errno.ECANCELED, "another file of the same call failed")

    @contextlib.contextmanager
    def reading(self, reader: MultiRangeReader) -> Iterator[MultiRangeReader]:
        """Have :meth:`stop` end ``reader``."""
        self._readers.add(reader)
        try:
            self.check()
            yield reader
        finally:
            self._readers.discard(reader)
            reader.close()


class _GetPlan:
    """Stands for a file system in fsspec's own ``get``, and notes what that would fetch."""

    def __init__(self, fs: CteraFileSystem) -> None:
        self._fs = fs
        self.pairs: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)

    def get_file(self, rpath: str, lpath: Any, **_: Any) -> None:
        """Note one file: where from, where to."""
        self.pairs.append((rpath, lpath))


# --- paths ---------------------------------------------------------------------------------------------


class _Split(NamedTuple):
    """A path in two: the portal's host, None where the path begins with a file ID; and the rest."""

    host: Optional[str]
    rest: str
    is_url: bool


def _split(path: Any) -> _Split:
    """Return host and rest of a URL, or of what fsspec makes of one. ValueError for keys in a URL."""
    text = os.fspath(path) if isinstance(path, os.PathLike) else str(path)
    is_url = text.startswith(_SCHEME)
    if is_url:
        text = text[len(_SCHEME) :]
        if text.startswith("/"):
            return _Split(None, text.strip("/"), True)
    host, _, rest = text.strip("/").partition("/")
    # Some programs put the scheme before a path without a host: then a file ID stands for it.
    if not host or _is_file_id(host):
        return _Split(None, text.strip("/"), is_url)
    if is_url and "@" in host:
        raise ValueError("a ctera:// URL holds no keys: give them as storage_options")
    return _Split(host.lower() if is_url else host, rest.strip("/"), is_url)


def _stripped(path: Any) -> Any:
    """Return the path without the protocol, with the host if there is one."""
    if isinstance(path, (list, tuple)):
        return [_stripped(one) for one in path]
    host, rest, _ = _split(path)
    return rest if host is None else f"{host}/{rest}".rstrip("/")


def _is_file_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_ID_DIGITS


def _is_side_car(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _SIDE_CARS)


def _shrink(entries: OrderedDict[Any, Any], most: int = _MAX_REMEMBERED) -> None:
    """Drop the oldest entries beyond ``most``."""
    while len(entries) > most:
        with contextlib.suppress(KeyError):  # Another thread was faster.
            entries.popitem(last=False)


# --- arguments and errors ------------------------------------------------------------------------------


def _batch_size(value: Optional[int]) -> Optional[int]:
    """Return the number of files at a time; None for the default. -1 is fsspec's word for all."""
    if value is None:
        return None
    number = operator.index(value)
    if number == -1:
        return _FILES_AT_ONCE
    if number < 1:
        raise ValueError(f"batch_size {number} is below 1: give the number of files at a time")
    return number


def _bounds(value: Any, count: int) -> list[Any]:
    """Return ``count`` bounds: those of a list or array, or one for all."""
    if value is None or (hasattr(value, "__index__") and not getattr(value, "ndim", 0)):
        return [value] * count
    return list(value)


def _span(start: Optional[int], end: Optional[int], size: int) -> Span:
    """Return fsspec's Python-like bounds as first byte and the one past the last."""
    first, stop, _ = slice(start, end).indices(size)
    return first, max(first, stop)


def _first_error(found: Sequence[Any]) -> Optional[DirectIOError]:
    return next((each for each in found if isinstance(each, DirectIOError)), None)


def _incomplete(got: int, expected: int, file_id: int) -> DirectIOError:
    return DirectIOError(f"{got} bytes came where {expected} were due: try again", file_id)


def _read_only(path: Any = None) -> NoReturn:
    text = "files can only be read through Direct IO"
    if path is None:
        raise OSError(errno.EROFS, text)
    raise OSError(errno.EROFS, text, str(path))


def _translation(error: DirectIOError, path: str) -> DirectIOError:
    """Return the error as fsspec's callers expect it: of a class that Python has, too."""
    for ours, python, both in (
        (NotFoundError, FileNotFoundError, NoSuchFileError),
        (UnAuthorized, PermissionError, AccessRefusedError),
    ):
        if isinstance(error, ours) and not isinstance(error, python):
            named: Any = str(path)  # More to fsspec's callers than the file ID.
            translated = both(error.strerror or "", named, errno=error.errno)
            translated.__cause__ = error
            return translated
    return error


@contextlib.contextmanager
def _translated(path: str) -> Iterator[None]:
    """Raise the portal's refusals as :func:`_translation` has them; ours is the cause."""
    try:
        yield
    except DirectIOError as error:
        translated = _translation(error, path)
        if translated is error:
            raise
        raise translated from error
