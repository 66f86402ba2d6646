"""``ctera://`` for fsspec, and so for pandas, pyarrow, DuckDB and Dask.

``ctera://<portal-host>/<file_id>[/name.ext]``. The name is for people and for readers that look at the
extension; the file ID alone counts. The store is read-only, and has no directories: file IDs come from
the portal, which has no call to list them here.
"""

from __future__ import annotations

import errno
import io
import time
from collections.abc import Sequence
from typing import Any, NoReturn, Optional
from urllib.parse import urlsplit

from fsspec.spec import AbstractFileSystem

from .client import DirectIO
from .exceptions import NotFoundError
from .settings import Settings
from .types import ByteRange, Metadata, Token

__all__ = ["CteraFileSystem"]

_SCHEME = "ctera://"


class CteraFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Files of one portal.

    ``host``: from the URL. ``baseurl``: the portal's URL where it is not ``https://<host>``.
    ``access_key_id``, ``secret_access_key``, ``bearer``: from the environment where not given (as
    ``DirectIO``), which keeps them out of task graphs. ``settings``: a :class:`Settings`.
    ``listings_expiry_time``: seconds for which a block list serves further calls for the same file.
    """

    protocol = "ctera"
    root_marker = ""

    def __init__(
        self,
        host: Optional[str] = None,
        *,
        baseurl: Optional[str] = None,
        access_key_id: Optional[str] = None,
        secret_access_key: Optional[str] = None,
        bearer: Optional[str] = None,
        settings: Optional[Settings] = None,
        listings_expiry_time: float = 30.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.host = host
        self._expiry = listings_expiry_time
        self._listings: dict[int, tuple[float, Metadata]] = {}
        if baseurl is None and host is not None:
            baseurl = f"https://{host}"
        self.client = DirectIO(baseurl, access_key_id, secret_access_key, bearer, settings=settings)
        # fsspec shows these in reprs and JSON: there, too, they must not be readable.
        for name in ("access_key_id", "secret_access_key", "bearer"):
            if self.storage_options.get(name):
                self.storage_options[name] = Token(self.storage_options[name])

    # --- names -----------------------------------------------------------------------------------------

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        text = str(path)
        if text.startswith(_SCHEME):
            text = text[len(_SCHEME) :].partition("/")[2]
        return text.strip("/")

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        if not str(path).startswith(_SCHEME):
            return {}
        host = urlsplit(str(path)).netloc
        if "@" in host:
            raise ValueError("a ctera:// URL holds no keys: give them as storage_options")
        return {"host": host} if host else {}

    def unstrip_protocol(self, name: str) -> str:
        """The whole URL of a path of this file system."""
        return f"{_SCHEME}{self.host or ''}/{self._strip_protocol(name)}"

    def _file_id(self, path: str) -> int:
        text = self._strip_protocol(path).partition("/")[0]
        if not (text.isascii() and text.isdigit()):
            raise FileNotFoundError(
                errno.ENOENT, "a path is ctera://<portal-host>/<file_id>[/name.ext]", str(path)
            )
        return int(text)

    # --- reading ---------------------------------------------------------------------------------------

    def metadata(self, path: str) -> Metadata:
        """The file's block list, at most ``listings_expiry_time`` seconds old."""
        file_id = self._file_id(path)
        now = time.monotonic()
        listed = self._listings.get(file_id)
        if listed is None or now - listed[0] > self._expiry:
            try:
                listed = (now, self.client.metadata(file_id))
            except NotFoundError as error:
                # The class that fsspec's callers expect; ours says more, as its cause.
                raise FileNotFoundError(errno.ENOENT, error.strerror, str(path)) from error
            self._listings[file_id] = listed
        return listed[1]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name, size and type, and what the block list says beyond."""
        metadata = self.metadata(path)
        return {
            "name": self._strip_protocol(path),
            "size": metadata.size,
            "type": "file",
            "file_id": metadata.file_id,
            "blocks": len(metadata.chunks),
            "encrypted": metadata.encrypted,
            "compression": metadata.compression_library,
        }

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """The file itself. NotImplementedError for the root: the portal does not list folders here."""
        if not self._strip_protocol(path):
            raise NotImplementedError(
                "a portal's files cannot be listed through Direct IO: give file IDs"
            )
        info = self.info(path)
        return [info] if detail else [info["name"]]

    def isdir(self, path: str) -> bool:
        """False: there are no directories."""
        return False

    def isfile(self, path: str) -> bool:
        """Whether the portal knows the file."""
        return bool(self.exists(path))

    def exists(self, path: str, **_: Any) -> bool:
        """Whether the portal knows the file. What else it answers raises."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def ukey(self, path: str) -> str:
        """Changes when the file does (:attr:`Metadata.fingerprint`)."""
        return self.metadata(path).fingerprint

    def invalidate_cache(self, path: Optional[str] = None) -> None:
        """Forget the block list of a file, or all."""
        if path is None:
            self._listings.clear()
        else:
            self._listings.pop(self._file_id(path), None)
        super().invalidate_cache(path)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> io.BufferedReader:
        if mode != "rb":
            _read_only(path)
        # The file keeps a cache of decoded blocks of its own: fsspec's on top would double it.
        return self.client._open_file(self.metadata(path), options.get("readahead"))

    def cat_file(
        self, path: str, start: Optional[int] = None, end: Optional[int] = None, **_: Any
    ) -> bytes:
        """The bytes from ``start`` to ``end`` (excluded); negative ones count from the end."""
        return self._read_ranges(self.metadata(path), [(start, end)])[0]

    def cat_ranges(
        self,
        paths: Sequence[str],
        starts: Any,
        ends: Any,
        max_gap: Optional[int] = None,
        on_error: str = "return",
        **_: Any,
    ) -> list[Any]:
        """The bytes of many ranges, all fetched concurrently; one listing a file."""
        if max_gap is not None:
            raise NotImplementedError("max_gap: ranges of one block share its download anyway")
        starts = starts if isinstance(starts, list) else [starts] * len(paths)
        ends = ends if isinstance(ends, list) else [ends] * len(paths)
        if not len(paths) == len(starts) == len(ends):
            raise ValueError("cat_ranges takes as many starts and ends as paths")
        places: dict[str, list[int]] = {}
        for place, path in enumerate(paths):
            places.setdefault(path, []).append(place)
        results: list[Any] = [None] * len(paths)
        for path, at in places.items():
            try:
                found = self._read_ranges(
                    self.metadata(path), [(starts[place], ends[place]) for place in at]
                )
            except OSError as error:
                if on_error != "return":
                    raise
                found = [error] * len(at)  # type: ignore[list-item]
            for place, data in zip(at, found):
                results[place] = data
        return results

    def get_file(self, rpath: str, lpath: Any, callback: Any = None, **_: Any) -> None:
        """Download to a local path, or into a writable binary file."""
        file_id = self._file_id(rpath)

        def progress(done: int, total: int) -> None:
            if callback is not None:
                callback.set_size(total)
                callback.absolute_update(done)

        self.client.download(file_id, lpath, progress=progress)

    def _read_ranges(
        self, metadata: Metadata, ranges: Sequence[tuple[Optional[int], Optional[int]]]
    ) -> list[bytes]:
        """Several ranges of one file, as one pass of the client each, begun together."""
        spans = [_span(start, end, metadata.size) for start, end in ranges]
        return self.client._read_spans(metadata, spans)

    # --- what this store cannot do -----------------------------------------------------------------------

    def _rm(self, path: str) -> NoReturn:
        _read_only(path)

    def cp_file(self, path1: str, path2: str, **_: Any) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(path2)

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(path)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(path)

    def put_file(self, lpath: str, rpath: str, callback: Any = None, **_: Any) -> NoReturn:
        """OSError: the store is read-only."""
        _read_only(rpath)


def _read_only(path: str) -> NoReturn:
    raise OSError(errno.EROFS, "files can only be read through Direct IO", str(path))


def _span(start: Optional[int], end: Optional[int], size: int) -> Optional[ByteRange]:
    """fsspec's Python-like bounds as a range; None where they hold nothing."""
    first, stop, _ = slice(start, end).indices(size)
    return ByteRange(first, stop - 1) if first < stop else None
