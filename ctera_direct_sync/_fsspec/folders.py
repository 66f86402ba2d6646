"""Folders: what is found by names, for paths that do not begin with a file ID."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from glob import has_magic
from typing import Any, Callable

from ..exceptions import NotAFolderError, PathNotFoundError
from .reading import RangeFileSystem

__all__ = ["FolderFileSystem"]


def _raise_unless_gone(error: OSError) -> None:
    """Raise an error of a walk, unless the folder is gone. fsspec's own walk leaves out any folder."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _raise(error: OSError) -> None:
    raise error


class FolderFileSystem(RangeFileSystem):
    """A file system that lists folders. A folder that may not be read is an error, never left out."""

    def _look(self, path: str) -> dict[str, Any] | None:
        """Return what the portal says of a path of names, or None if nothing is there."""
        try:
            return self._named(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _type_of(self, path: str) -> str | None:
        """Return "file" or "directory" for a path of names, or None if nothing is there."""
        found = self._look(path)
        return None if found is None else str(found["type"])

    def _ls_folder(self, path: str, detail: bool) -> list[Any]:
        assert self._names is not None
        path = self._own_path(path)
        found = self.dircache.get(path, None)
        if found is None:
            try:
                found = self._names.listdir(path)
                self.dircache[path] = found
            except NotAFolderError:
                found = [self.info(path)]
        return [dict(each) for each in found] if detail else [each["name"] for each in found]

    # --- trees -----------------------------------------------------------------------------------------

    def walk(
        self,
        path: str,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: Any = "omit",
        **options: Any,
    ) -> Iterator[Any]:
        """Yield folder, names of folders and names of files, as fsspec's `walk`.

        Args:
            path: The folder. If there is none, nothing is yielded.
            maxdepth: How many levels to go down. None: all.
            topdown: Whether a folder comes before those below it.
            on_error: "omit" leaves out folders that are gone; other errors raise. "raise" raises all. A
                function is called with the error of each folder that cannot be read.
            **options: `detail`, as for `ls`.
        """
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        if not callable(on_error):
            on_error = _raise if on_error == "raise" else _raise_unless_gone
        detail = bool(options.get("detail"))
        yield from self._walk(self._own_path(path), maxdepth, topdown, on_error, detail)

    def _walk(
        self,
        path: str,
        maxdepth: int | None,
        topdown: bool,
        on_error: Callable[[OSError], object],
        detail: bool,
    ) -> Iterator[Any]:
        try:
            listing = self.ls(path, detail=True)
        except OSError as error:
            on_error(error)
            return
        infos = {
            each["name"].rpartition("/")[2] if each["name"] != path else "": each
            for each in listing
        }
        folders = {name: each for name, each in infos.items() if name and _is_folder(each)}
        files = {name: each for name, each in infos.items() if name not in folders}
        # The caller may change the names of folders between two steps, to direct the walk.
        shown = path, (folders if detail else list(folders)), (files if detail else list(files))
        paths = {name: each["name"] for name, each in folders.items()}
        if topdown:
            yield shown
        if maxdepth != 1:
            below = None if maxdepth is None else maxdepth - 1
            for name in list(shown[1]):
                yield from self._walk(paths[name], below, topdown, on_error, detail)
        if not topdown:
            yield shown

    def _below(self, path: str, maxdepth: int | None) -> dict[str, Any] | None:
        """Return what is below a path of names, by name.

        Several folders are listed at a time, unless `maxdepth` or kept listings say which to list.

        Args:
            path: The folder, with the host.
            maxdepth: How many levels to go down. None: all.

        Returns:
            What `info` says of each file and folder below. For a file, what it says of that file. None
            if nothing is at the path.
        """
        names = self._names
        assert names is not None

        def tell(error: OSError) -> None:
            if isinstance(error, PathNotFoundError) and names.is_about(error, path):
                raise error
            _raise_unless_gone(error)

        try:
            if maxdepth is None and self.dircache.get(path, None) is None:
                found = {each["name"]: each for each in names.walk(path)}
                self._keep_listings(path, found)
                return found
            found = {}
            for _, folders, files in self._walk(path, maxdepth, True, tell, True):
                found.update((each["name"], each) for each in (*folders.values(), *files.values()))
        except NotAFolderError:
            return {path: self.info(path)}
        except PathNotFoundError as error:
            if not names.is_about(error, path):
                raise
            return None
        return found

    def _keep_listings(self, path: str, found: Mapping[str, Any]) -> None:
        """Keep the listings that a whole tree below a folder is made of, if listings are kept."""
        if not self.dircache.use_listings_cache:
            return
        listings: dict[str, list[Any]] = {path: []}
        for name, each in found.items():
            # A folder comes before its content.
            listings[self._folder_of(name)].append(dict(each))
            if _is_folder(each):
                listings[name] = []
        for folder, listing in listings.items():
            self.dircache[folder] = listing

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **options: Any,
    ) -> Any:
        """Return all files below a folder, sorted by name. Several folders are listed at a time.

        Args:
            path: The folder, or a file, which is then found itself.
            maxdepth: How many levels to go down. None: all.
            withdirs: Whether to return folders, too.
            detail: Whether to return what `info` says, by name.
            **options: As for `ls`.
        """
        if not self._is_named(path):
            return super().find(path, maxdepth, withdirs, detail=detail, **options)
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        path = self._own_path(path)
        below = self._below(path, maxdepth)
        found = below or {}
        if withdirs and below is not None and path not in found:
            found[path] = self._named(path) if detail else {"type": "directory"}
        kept = {
            name: found[name] for name in sorted(found) if withdirs or not _is_folder(found[name])
        }
        return kept if detail else list(kept)

    def du(
        self,
        path: str,
        total: bool = True,
        maxdepth: int | None = None,
        withdirs: bool = False,
        **_: Any,
    ) -> Any:
        """Return the size of all files below a folder, or of each by name if not `total`."""
        found = self.find(path, maxdepth, withdirs, detail=True)
        sizes = {name: self._size_of(each) for name, each in found.items()}
        return sum(sizes.values()) if total else sizes

    def _size_of(self, info: Mapping[str, Any]) -> int:
        size = info["size"] if info.get("size") is not None else self.info(info["name"])["size"]
        return int(size)

    # --- patterns --------------------------------------------------------------------------------------

    def _glob_names(self, pattern: str, maxdepth: int | None, options: Mapping[str, Any]) -> Any:
        """Return what matches a pattern of names. Only folders that can match are listed."""
        assert self._names is not None
        is_plain = not any(sign in pattern for sign in ("**", "[^", "{"))
        is_plain = is_plain and maxdepth is None and not str(pattern).endswith("/")
        # fsspec's own `glob` lists by `find`, which keeps listings, and uses those that are kept.
        if not is_plain or (has_magic(pattern) and self.dircache.use_listings_cache):
            return super().glob(pattern, maxdepth=maxdepth, **options)
        pattern = self._own_path(pattern)
        if not has_magic(pattern):
            info = self._look(pattern)
            found = {} if info is None else {pattern: self._with_size(info)}
        else:
            found = {each["name"]: each for each in self._names.glob(pattern)}
        return found if options.get("detail") else sorted(found)

    def _with_size(self, info: dict[str, Any]) -> dict[str, Any]:
        """Return what the portal says of a name. If it does not tell the size, the block list does."""
        return info if info["size"] is not None else dict(self.info(info["name"]))

    def expand_path(
        self,
        path: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        assume_literal: bool = False,
        **_: Any,
    ) -> list[str]:
        """Return the paths that a path, a pattern or a list of them means.

        A path that exists as it is stands for itself, also if it has signs of patterns.

        Args:
            path: The path, pattern or list.
            recursive: Whether what is below folders is meant, too.
            maxdepth: How many levels `recursive` goes down. None: all.
            assume_literal: Whether no path is a pattern.
        """
        return sorted(self._expand(path, recursive, maxdepth, assume_literal=assume_literal))

    def _expand(
        self,
        path: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        *,
        assume_literal: bool = False,
    ) -> dict[str, dict[str, Any] | None]:
        """Return the paths of `expand_path`, each with what a listing told of it, or else None."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        given = [path] if isinstance(path, (str, os.PathLike)) else list(path)
        below = None if maxdepth is None else maxdepth - 1
        found: dict[str, dict[str, Any] | None] = {}
        for one in self._own_path(given):
            is_pattern = has_magic(one) and not assume_literal
            info = self._look(one) if is_pattern and self._is_named(one) else None
            if is_pattern and info is None:
                matches = self.glob(one, maxdepth=maxdepth, detail=True)
                found.update(matches)
                if recursive and below != 0:
                    for name, each in matches.items():
                        if _is_folder(each):
                            found.update(self._below(name, below) or {})
            elif recursive:
                self._add_tree(one, maxdepth, found)
            else:
                found.setdefault(one, info)
        if not found:
            raise FileNotFoundError(errno.ENOENT, "no file or folder is at the path", str(path))
        return found

    def _add_tree(
        self, path: str, maxdepth: int | None, found: dict[str, dict[str, Any] | None]
    ) -> None:
        """Add a path, if anything is there, and what is below it."""
        if not self._is_named(path):
            found.update(self.find(path, maxdepth, detail=True))
            return
        below = self._below(path, maxdepth)
        if below is not None:
            found.setdefault(path, {"name": path, "size": 0, "type": "directory"})
            found.update(below)

    def _look_up(self, infos: dict[str, dict[str, Any] | None]) -> None:
        """Fill in what is not known of paths. Files of one folder share its listing.

        A path that this does not find is looked up when it is read, which raises the right error.
        """
        unknown = [path for path, info in infos.items() if info is None and self._is_named(path)]
        if not unknown or self.dircache.use_listings_cache:
            return  # What is looked up next finds kept listings.
        assert self._names is not None
        infos.update(self._names.find_all(unknown))


def _is_folder(info: Mapping[str, Any]) -> bool:
    return bool(info["type"] == "directory")
