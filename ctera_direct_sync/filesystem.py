"""`ctera://` for fsspec, and so for pandas, pyarrow, DuckDB and Dask.

`ctera://<portal-host>/<file_id>[/name.ext]`: the file ID says which file is meant. The name is for people,
and for readers that look at the extension. `ctera://<portal-host>/My Files/a.csv` is a path of names, for
which the file system signs in. The store is read-only.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractFileSystem
from fsspec.utils import isfilelike

from ._core import core_of
from ._fsspec.arguments import FILES_AT_ONCE, batch_size_of
from ._fsspec.errors import (
    AccessRefusedError,
    NoSuchFileError,
    make_incomplete_error,
    translated,
)
from ._fsspec.files import CteraFile, OpenedPath, RangeFile
from ._fsspec.folder_listings import FolderListings
from ._fsspec.folders import FolderFileSystem
from ._fsspec.group import GetPlan, Group
from ._fsspec.instances import (
    SECRETS,
    Instances,
    PortalHost,
    given_settings,
    is_environment_of,
    shared_client,
)
from ._fsspec.mapping import CteraMap
from ._fsspec.names import PortalNames, shared_names
from ._fsspec.paths import is_file_id
from ._fsspec.read_only import refuse_to_write
from ._fsspec.sightings import sightings_of
from .client import DirectIO
from .exceptions import DirectIOError
from .settings import Settings
from .types import Token

__all__ = ["AccessRefusedError", "CteraFileSystem", "NoSuchFileError"]

#: Block lists kept by default: one of a large file may take megabytes.
_MAX_LISTINGS = 64
_LISTINGS_EXPIRY_S = 30.0


class CteraFileSystem(FolderFileSystem, metaclass=Instances):
    """The files of one portal.

    Paths are `<portal-host>/<file_id>[/name.ext]`, or `<portal-host>/<cloud folder>/...` with an account.
    They are plain text, never percent-encoded. A first part of digits alone is a file ID; a cloud folder
    whose name is digits is `<portal-host>/~/2026`. Each method takes URLs and paths without the host, too.
    A path of another portal is a ValueError that names both.

    A name below a file ID is the file's name if the file was asked for by that name first. Other names
    do not exist, so programs that look for files beside it find none.

    Pickles hold the keys that were given. JSON (`to_json`), reprs and messages do not. Pickles and JSON
    name the portal, so a file system that is loaded elsewhere reads from the same portal.

    Args:
        host: The portal's host and port, as in the URL.
        baseurl: The portal's URL, if it is not `https://<host>`.
        access_key_id: As for `DirectIO`: without it, from the environment, which keeps it out of task
            graphs. If CTERA_DIRECT_URL is set, keys from the environment go to that portal alone:
            another portal is a ValueError.
        secret_access_key: As `access_key_id`.
        bearer: As `access_key_id`.
        username: The user name for paths of names, or else that in the environment or in the profile,
            as for `Namespace`. `bearer` signs in if neither option nor environment name a user.
        password: The password.
        context: "ServicesPortal" or "admin", as for `Namespace`.
        settings: A `Settings`, or a mapping of its names, such as `{"memory": 2**25}`.
        use_listings_cache: Whether listings are kept. None: those of blocks, but not those of folders.
        listings_expiry_time: Seconds for which a listing serves further calls. None: for ever.
        max_paths: How many block lists, and how many folders, are kept. None: all.
        batch_size: How many files `cat`, `cat_ranges` and `get` fetch at the same time.
        **options: What fsspec takes for every file system.

    Raises:
        ValueError: Portal or keys are missing, malformed, or do not belong to each other.
        TypeError: An option is mistyped.
    """

    protocol = "ctera"
    root_marker = ""
    _extra_tokenize_attributes = ("environment_digest",)

    def __init__(
        self,
        host: str | None = None,
        *,
        baseurl: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        bearer: str | None = None,
        username: str | None = None,
        password: str | None = None,
        context: str | None = None,
        settings: Settings | Mapping[str, Any] | None = None,
        use_listings_cache: bool | None = None,
        listings_expiry_time: float | None = _LISTINGS_EXPIRY_S,
        max_paths: int | None = _MAX_LISTINGS,
        batch_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._expiry = listings_expiry_time
        self._max_listings = 0 if use_listings_cache is False else max_paths
        self.dircache = FolderListings(bool(use_listings_cache), listings_expiry_time, max_paths)
        self._files_at_once = batch_size_of(batch_size) or FILES_AT_ONCE
        self._listings = OrderedDict()
        chosen = None if settings is None else given_settings(settings)
        self._client = shared_client(
            DirectIO(baseurl, access_key_id, secret_access_key, bearer, settings=chosen)
        )
        # The metaclass has found a baseurl, and DirectIO has checked it.
        portal = PortalHost.of(baseurl or "")
        assert baseurl is not None and portal is not None
        self._portal = portal
        self.host = str(portal)
        self._sightings = sightings_of(baseurl)
        namespace = shared_names(
            *(baseurl, username, password, bearer, context, chosen),
            use_environment=is_environment_of(portal),
        )
        self._known_names = None if namespace is None else PortalNames(namespace, self.host)
        self._view = baseurl, context, chosen

    def _stored_names(self) -> PortalNames | None:
        # Asked again, since this may be much later.
        if not is_environment_of(self._portal):
            return None
        baseurl, context, settings = self._view
        namespace = shared_names(
            *(baseurl, None, None, None, context, settings), use_environment=True, use_profile=True
        )
        return None if namespace is None else PortalNames(namespace, self.host)

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return fsspec's dictionary, without the keys. The process that reads it has keys of its own."""
        result: dict[str, Any] = super().to_dict(**options)
        return {
            name: value
            for name, value in result.items()
            if name not in SECRETS and not isinstance(value, Token)
        }

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return name, size and type, and what else the block list says.

        `ETag` changes when the file does (`ukey`). `mtime` is when this process first saw the file as it
        is, in seconds since the epoch (`modified`). By its names a file or folder has the `mtime` that the
        portal tells, if it does, and an `ETag` of file ID, size and time.
        """
        if self._is_named(path):
            found = self._named(path)
            # A portal may not tell the size. The block list does.
            return found if found["size"] is not None else self.describe(path, self._listed(path))
        return self.describe(path, self._listed(path, asking=True))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Return what is in a folder, or the file itself.

        Raises:
            NotImplementedError: The path is the root, and no account is given to list it by.
        """
        if self._is_named(path):
            return self._ls_folder(path, detail)
        if self._own_path(path) == self.host:
            raise NotImplementedError(
                "a portal's files cannot be listed through Direct IO: give file IDs, or an account "
                "(username and password)"
            )
        info = self.info(path)
        return [info] if detail else [info["name"]]

    def glob(self, path: str, maxdepth: int | None = None, **options: Any) -> Any:
        """Return the file itself, also if its name has characters of patterns, or if its name matches.

        Raises:
            NotImplementedError: The pattern is one of file IDs.
        """
        if self._is_named(path):
            return self._glob_names(path, maxdepth, options)
        path = self._own_path(path)
        first, _, name = path[len(self.host) + 1 :].partition("/")
        if not is_file_id(first):
            return super().glob(path, maxdepth=maxdepth, **options)
        known = self._sightings.names.get(int(first))
        if known is not None and known != name and fnmatch.fnmatchcase(known, name):
            path = f"{self.host}/{first}/{known}"
        found = {path: self.info(path)} if self.exists(path) else {}
        return found if options.get("detail") else list(found)

    def isdir(self, path: str) -> bool:
        """Return whether the path is a folder. Raise ValueError for a path of another portal."""
        self._require_account(self._own_path(path)[len(self.host) + 1 :])
        return self._is_named(path) and self._type_of(path) == "directory"

    def isfile(self, path: str) -> bool:
        """Return whether there is a file at the path. A folder is none."""
        if self._is_named(path):
            return self._type_of(path) == "file"
        return bool(self.exists(path))

    def exists(self, path: str, **_: Any) -> bool:
        """Return whether the portal knows the file. Raise any other error of the portal."""
        if self._is_named(path):
            return self._type_of(path) is not None
        try:
            self._listed(path, asking=True)
        except FileNotFoundError:
            return False
        return True

    def ukey(self, path: str) -> str:
        """Return what changes when the file does: `Metadata.fingerprint`."""
        return self._listed(path).fingerprint

    def checksum(self, path: str) -> int:
        """Return `ukey` as a number."""
        return int(self.ukey(path), 16)

    def modified(self, path: str) -> datetime:
        """Return when the file was written, if its path is one of names and the portal tells it.

        Otherwise return when this process first saw the file as it is: it was written before that.
        """
        if self._is_named(path):
            written: datetime | None = self._named(path).get("modified")
            if written is not None:
                return written
        listed = self._listed(path)
        return self._sightings.first_seen(listed.metadata.file_id, listed)

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget the block list and the name of a file, or of all."""
        if path is None:
            self._listings.clear()
            self._sightings.names.clear()
            self.dircache.clear()
        elif self._is_named(path):
            self.invalidate_listing(path)
        else:
            self.invalidate_listing(path)
            self._sightings.names.pop(self._file_id(path), None)
        super().invalidate_cache(path)

    def get_mapper(
        self,
        root: str = "",
        check: bool = False,
        create: bool = False,
        missing_exceptions: Any = None,
    ) -> CteraMap:
        """Return the files below a folder as a read-only mapping from relative paths to bytes.

        Args:
            root: The folder.
            check: fsspec tests by a write whether the folder is there. Here that is an OSError.
            create: Whether to make the folder, which is an OSError if it is missing.
            missing_exceptions: The errors that mean that a key is missing. None: those of missing files.
        """
        return CteraMap(root, self, check, create, missing_exceptions)

    # --- reading ---------------------------------------------------------------------------------------

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: Any = None,
        **options: Any,
    ) -> Any:
        if mode != "rb":
            refuse_to_write(path)
        listed = self._listed(path)
        path, blocksize = self._own_path(path), block_size or self.blocksize
        if options.get("cache_type") == "none":
            # blockcache opens a file so, before it replaces the file's cache by its own. It gives the
            # size that it knows, unless fsspec is old.
            if options.get("size") not in (None, listed.metadata.size):
                raise OSError(
                    errno.ESTALE,
                    "the file has changed since it was cached: clear the cache, or use check_files=True",
                    path,
                )
            return RangeFile(self, path, listed, block_size=blocksize, cache_type="none")
        readahead = options.get("readahead")
        # The file has its own cache of decoded blocks: a cache of fsspec's would double the memory.
        opened = core_of(self.client).open_shared(listed.metadata, readahead)
        place = OpenedPath(self, path, listed, readahead)
        return CteraFile(opened.detach(), place, blocksize=blocksize)

    def get_file(
        self,
        rpath: str,
        lpath: Any = None,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
        **_: Any,
    ) -> None:
        """Download a file.

        Args:
            rpath: The path.
            lpath: A local path, whose folders are made.
            callback: fsspec's callback.
            outfile: A writable binary file in place of `lpath`.
        """
        self._get_file(rpath, outfile if outfile is not None else lpath, callback, Group())

    def _get_file(
        self,
        rpath: str,
        target: Any,
        callback: Any,
        group: Group,
        named: dict[str, Any] | None = None,
    ) -> None:
        is_path = not isfilelike(target)
        if named is None and self._is_named(rpath):
            named = self._named(rpath)
        if is_path and named is not None and named["type"] == "directory":
            os.makedirs(target, exist_ok=True)
            return
        if named is not None:
            file_id, name = self._file_id_of(named), ""
        else:
            file_id, name = self._file_id_and_name(rpath)
        self._check_name(rpath, file_id, name, asking=False)
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
                with translated(rpath):
                    size = self.client.download(file_id, target, progress=progress).size
                break
            except DirectIOError as error:
                # The file was replaced meanwhile. What went into a file object cannot be taken back.
                if is_last or error.errno not in (errno.ESTALE, errno.ENOENT):
                    raise
                if named is not None:
                    file_id = self._file_id_of(self._named(rpath, fresh=True))
        if is_path and os.path.isfile(target):
            size = os.path.getsize(target)
        if size != expected:
            raise make_incomplete_error(size, expected, file_id)
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
        maxdepth: int | None = None,
        batch_size: int | None = None,
        **_: Any,
    ) -> None:
        """Download one file or several, which are fetched at the same time.

        Args:
            rpath: A path, or a list of paths.
            lpath: The target: a file, a folder, or a list of files.
            recursive: Whether what is below folders is fetched, too.
            callback: fsspec's callback; its methods are called by one thread at a time.
            maxdepth: How many levels `recursive` goes down.
            batch_size: How many files are fetched at a time. None: as the file system was made.
        """
        plan = GetPlan(
            self, self._expand, lambda path: self._look(path) if self._is_named(path) else None
        )
        AbstractFileSystem.get(plan, rpath, lpath, recursive=recursive, maxdepth=maxdepth)
        infos = {self._own_path(source): plan.infos.get(source) for source, _ in plan.pairs}
        self._look_up(infos)
        callback.set_size(len(plan.pairs))
        group, turn = Group(), threading.Lock()

        def fetch(source: str, target: Any) -> None:
            with callback.branched(source, target) as child:
                self._get_file(source, target, child, group, infos[self._own_path(source)])
            with turn:
                callback.relative_update(1)

        tasks = [lambda pair=pair: fetch(*pair) for pair in plan.pairs]
        group.run(tasks, self._limit(batch_size))
