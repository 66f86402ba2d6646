"""``ctera://`` for fsspec, and so for pandas, pyarrow, DuckDB and Dask.

``ctera://<portal-host>/<file_id>[/name.ext]``. The name is for people and for readers that look at the
extension; the file ID alone counts. The store is read-only, and has no directories: file IDs come from
the portal, which has no call to list them here.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import io
import os
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple, NoReturn, Optional, Union
from urllib.parse import urlsplit

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractFileSystem
from fsspec.utils import isfilelike

from .client import DirectIO
from .exceptions import NotFoundError
from .settings import Endpoint, Settings
from .spans import Span, SpanReader
from .types import Metadata, Token

__all__ = ["CteraFileSystem"]

_SCHEME = "ctera://"
_SECRETS = ("access_key_id", "secret_access_key", "bearer")
#: Block lists kept by default: one of a large file may take megabytes.
_MAX_LISTINGS = 64
#: Files that one cat_ranges reads at the same time.
_FILES_AT_ONCE = 4

#: One client for all file systems of the same portal, keys and settings: fsspec makes an instance for
#: each thread, and keeps it.
_clients: weakref.WeakValueDictionary[tuple[str, ...], DirectIO] = weakref.WeakValueDictionary()


class _Listed(NamedTuple):
    """A block list, when it was asked for (monotonic seconds), since when it is known to be so."""

    metadata: Metadata
    asked: float
    seen: datetime


class _Instances(type(AbstractFileSystem)):  # type: ignore[misc]
    """fsspec's cache of instances, by whole keys, which are then hidden from view."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        for name in _SECRETS:
            if isinstance(kwargs.get(name), Token):
                # The cache tells instances apart by repr, and all tokens look the same.
                kwargs[name] = str(kwargs[name])
        if kwargs.get("settings") is not None:
            kwargs["settings"] = _plain(_settings(kwargs["settings"]))
        made = super().__call__(*args, **kwargs)
        for name in _SECRETS:
            if made.storage_options.get(name):
                made.storage_options[name] = Token(made.storage_options[name])
        return made


class CteraFileSystem(AbstractFileSystem, metaclass=_Instances):  # type: ignore[misc]
    """Files of one portal.

    ``host``: from the URL. ``baseurl``: the portal's URL where it is not ``https://<host>``.
    ``access_key_id``, ``secret_access_key``, ``bearer``: from the environment where not given (as
    ``DirectIO``), which keeps them out of task graphs. If CTERA_DIRECT_URL is set, keys from the
    environment go to that portal alone: a URL of another host is refused, ValueError.
    ``settings``: a :class:`Settings`, or a mapping of its names, such as ``{"memory": 2**25}``.
    ``listings_expiry_time``: seconds for which a block list serves further calls for the same file;
    ``max_paths``: how many of them are kept; ``use_listings_cache``: whether they are.

    Pickles hold the keys that were given; JSON (``to_json``), reprs and messages never do.
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
        settings: Union[Settings, Mapping[str, Any], None] = None,
        use_listings_cache: bool = True,
        listings_expiry_time: float = 30.0,
        max_paths: int = _MAX_LISTINGS,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.host = host
        self._expiry = listings_expiry_time
        self._max_listings = max_paths if use_listings_cache else 0
        self._listings: OrderedDict[int, _Listed] = OrderedDict()
        if baseurl is None and host is not None:
            baseurl = _baseurl_of(host, keys_given=bool(access_key_id or bearer))
        chosen = None if settings is None else _settings(settings)
        self._client = _shared(
            DirectIO(baseurl, access_key_id, secret_access_key, bearer, settings=chosen)
        )

    @property
    def client(self) -> DirectIO:
        """The client that does the work, shared with equal file systems; a new one if it was closed."""
        if self._client._engine.closed:
            self._client = _shared(copy.copy(self._client))
        return self._client

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """As fsspec's, without the keys: whoever reads it back has them in the environment."""
        result: dict[str, Any] = super().to_dict(**options)
        for name in _SECRETS:
            result.pop(name, None)
        return result

    # --- names -----------------------------------------------------------------------------------------

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        text = str(path)
        if text.startswith(_SCHEME):
            text = text[len(_SCHEME) :]
            host, _, rest = text.partition("/")
            # Some programs put the scheme before a path of ours: then a file ID stands for the host.
            text = text if _is_file_id(host) else rest
        return text.strip("/")

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        if not str(path).startswith(_SCHEME):
            return {}
        host = urlsplit(str(path)).netloc
        if "@" in host:
            raise ValueError("a ctera:// URL holds no keys: give them as storage_options")
        return {"host": host} if host and not _is_file_id(host) else {}

    def unstrip_protocol(self, name: str) -> str:
        """The whole URL of a path of this file system."""
        return f"{_SCHEME}{self.host or ''}/{self._strip_protocol(name)}"

    def _file_id(self, path: str) -> int:
        text = self._strip_protocol(path).partition("/")[0]
        if not _is_file_id(text):
            raise FileNotFoundError(
                errno.ENOENT, "a path is ctera://<portal-host>/<file_id>[/name.ext]", str(path)
            )
        return int(text)

    # --- reading ---------------------------------------------------------------------------------------

    def metadata(self, path: str) -> Metadata:
        """The file's block list, at most ``listings_expiry_time`` seconds old."""
        return self._listed(path).metadata

    def _listed(self, path: str) -> _Listed:
        file_id = self._file_id(path)
        known = self._listings.get(file_id)
        if known is not None and time.monotonic() - known.asked < self._expiry:
            return known
        asked = time.monotonic()
        with _not_found(path):
            metadata = self.client.metadata(file_id)
        unchanged = known is not None and known.metadata.fingerprint == metadata.fingerprint
        seen = known.seen if known is not None and unchanged else datetime.now(timezone.utc)
        listed = self._listings[file_id] = _Listed(metadata, asked, seen)
        self._listings.move_to_end(file_id)
        while len(self._listings) > self._max_listings:
            with contextlib.suppress(KeyError):  # Another thread was faster.
                self._listings.popitem(last=False)
        return listed

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

    def glob(self, path: str, maxdepth: Optional[int] = None, **options: Any) -> Any:
        """The file itself, whatever its name holds. NotImplementedError for a pattern of file IDs."""
        path = self._strip_protocol(path)
        if not _is_file_id(path.partition("/")[0]):
            return super().glob(path, maxdepth=maxdepth, **options)
        found = {path: self.info(path)} if self.exists(path) else {}
        return found if options.get("detail") else list(found)

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

    def modified(self, path: str) -> datetime:
        """When the file was first seen here as it is: the portal does not tell when it was written."""
        return self._listed(path).seen

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
        return self.client._open_shared_file(self.metadata(path), options.get("readahead"))

    def cat_file(
        self, path: str, start: Optional[int] = None, end: Optional[int] = None, **_: Any
    ) -> bytes:
        """The bytes from ``start`` to ``end`` (excluded); negative ones count from the end."""
        metadata = self.metadata(path)
        span = _span(start, end, metadata.size)
        found = self.client._read_spans(metadata, [span]).read(stop_at_first=True)[0]
        assert isinstance(found, bytes)
        return found

    def cat_ranges(
        self,
        paths: Sequence[str],
        starts: Any,
        ends: Any,
        max_gap: Optional[int] = None,
        on_error: str = "return",
        **_: Any,
    ) -> list[Any]:
        """The bytes of many ranges; of each file one listing, and each block that they need once.

        Up to four files are under way at a time, each within the client's memory setting.

        ``on_error``: "return" puts the error in the place of the bytes, "raise" raises the first.
        ``max_gap`` has no use here: ranges of one block share its download anyway.
        """
        if not isinstance(paths, list):
            raise TypeError("cat_ranges takes a list of paths")
        starts = list(starts) if isinstance(starts, Sequence) else [starts] * len(paths)
        ends = list(ends) if isinstance(ends, Sequence) else [ends] * len(paths)
        if not len(paths) == len(starts) == len(ends):
            raise ValueError("cat_ranges takes as many starts and ends as paths")
        places: dict[str, list[int]] = {}
        for place, path in enumerate(paths):
            places.setdefault(self._strip_protocol(path), []).append(place)
        results: list[Any] = [None] * len(paths)
        strict = on_error == "raise"
        begun: deque[tuple[list[int], Union[SpanReader, OSError]]] = deque()

        def end_first() -> None:
            at, reader = begun.popleft()
            for place, found in zip(at, _read_all(reader, len(at), strict)):
                results[place] = found

        try:
            for name, wanted in places.items():
                bounds = [(starts[place], ends[place]) for place in wanted]
                begun.append((wanted, self._begin(name, bounds)))
                if len(begun) == _FILES_AT_ONCE:
                    end_first()
            while begun:
                end_first()
        finally:
            for reader in (left for _places, left in begun):
                if isinstance(reader, SpanReader):
                    reader.close()
        return results

    def _begin(
        self, path: str, bounds: Sequence[tuple[Optional[int], Optional[int]]]
    ) -> Union[SpanReader, OSError]:
        """Several ranges of one file, under way, or why they cannot be."""
        try:
            metadata = self.metadata(path)
            spans = [_span(start, end, metadata.size) for start, end in bounds]
            return self.client._read_spans(metadata, spans)
        except OSError as error:
            return error

    def get_file(
        self,
        rpath: str,
        lpath: Any = None,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
        **_: Any,
    ) -> None:
        """Download to a local path, whose folders are made, or into a writable binary file."""
        file_id = self._file_id(rpath)
        target = outfile if outfile is not None else lpath
        if not isfilelike(target):
            os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)

        def progress(done: int, total: int) -> None:
            callback.set_size(total)
            callback.absolute_update(done)

        with _not_found(rpath):
            self.client.download(file_id, target, progress=progress)

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


def _is_file_id(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _read_all(reader: Union[SpanReader, OSError], count: int, strict: bool) -> Sequence[Any]:
    """What ``reader`` reads, or an error for each of its ``count`` ranges."""
    try:
        if isinstance(reader, OSError):
            raise reader
        return reader.read(stop_at_first=strict)
    except OSError as error:
        if strict:
            raise
        return [error] * count


def _span(start: Optional[int], end: Optional[int], size: int) -> Span:
    """fsspec's Python-like bounds as first byte and the one past the last."""
    first, stop, _ = slice(start, end).indices(size)
    return first, max(first, stop)


@contextlib.contextmanager
def _not_found(path: str) -> Iterator[None]:
    """The class that fsspec's callers expect for a file that is not there; ours is its cause."""
    try:
        yield
    except NotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, error.strerror, str(path)) from error


# --- how an instance comes to its client --------------------------------------------------------------


def _shared(made: DirectIO) -> DirectIO:
    """The client that there is already for the same portal, keys and settings, or ``made``."""
    key = (
        made._baseurl,
        str(made._token),
        str(made._secret or ""),
        repr(_plain(made._settings)),
    )
    found = _clients.setdefault(key, made)
    if found._engine.closed:
        found = _clients[key] = made
    return found


def _baseurl_of(host: str, keys_given: bool) -> str:
    """The portal's URL: CTERA_DIRECT_URL where it is of that host, which may say http or a path."""
    known = os.environ.get("CTERA_DIRECT_URL")
    if known and urlsplit(known).netloc.lower() == host.lower():
        return known
    if known and not keys_given:
        raise ValueError(
            f"the keys in the environment are for {urlsplit(known).hostname} (CTERA_DIRECT_URL), not for "
            f"{host}: give those of {host} as storage_options"
        )
    return f"https://{host}"


def _settings(value: Union[Settings, Mapping[str, Any]]) -> Settings:
    if isinstance(value, Settings):
        return value
    return Settings(
        **{
            name: Endpoint(**member) if isinstance(member, Mapping) else member
            for name, member in value.items()
        }
    )


def _plain(settings: Settings) -> dict[str, Any]:
    """The settings as JSON can hold them, in an order that is always the same."""
    result = dict(settings._values)
    for name in ("api", "storage"):
        endpoint = result[name]
        result[name] = {"ssl": endpoint.ssl, "timeout": list(endpoint.timeout)}
    result["checksums"] = sorted(result["checksums"])
    return result
