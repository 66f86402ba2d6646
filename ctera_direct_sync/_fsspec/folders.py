"""Folders: what is found by names, for paths that do not begin with a file ID."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from glob import has_magic
from typing import Any

from ..exceptions import NotAFolderError, PathNotFoundError
from .reading import RangeFileSystem

__all__ = ["FolderFileSystem"]


def _raise_unless_gone(error: Exception) -> None:
    """Raise an error of a walk, unless the folder is gone. fsspec's own walk leaves out any folder."""
    if not isinstance(error, FileNotFoundError):
        raise error


class FolderFileSystem(RangeFileSystem):
    """A file system that lists folders. A folder that may not be read is an error, never left out."""

    def _type_of(self, path: str) -> str | None:
        """Return "file" or "directory" for a path of names, or None if nothing is there."""
        try:
            return str(self._named(path)["type"])
        except (FileNotFoundError, NotADirectoryError):
            return None

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
        if on_error == "omit":
            on_error = _raise_unless_gone
        yield from super().walk(path, maxdepth, topdown, on_error, **options)

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
        if self._names is None or maxdepth is not None or not self._is_named(path):
            return super().find(path, maxdepth, withdirs, detail=detail, **options)
        path = self._own_path(path)
        try:
            found = {each["name"]: each for each in self._names.walk(path)}
            if withdirs:
                found[path] = self._named(path)
        except NotAFolderError:
            found = {path: self.info(path)}
        except PathNotFoundError as error:
            if not self._names.is_about(error, path):
                raise
            found = {}
        kept = {
            name: found[name]
            for name in sorted(found)
            if withdirs or found[name]["type"] != "directory"
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

    def _glob_names(self, pattern: str, maxdepth: int | None, options: Mapping[str, Any]) -> Any:
        """Return what matches a pattern of names. Only folders that can match are listed."""
        assert self._names is not None
        is_plain = not any(sign in pattern for sign in ("**", "[^", "{"))
        if not is_plain or maxdepth is not None or str(pattern).endswith("/"):
            return super().glob(pattern, maxdepth=maxdepth, **options)
        pattern = self._own_path(pattern)
        if not has_magic(pattern):
            found = {pattern: self.info(pattern)} if self.exists(pattern) else {}
        else:
            found = {each["name"]: each for each in self._names.glob(pattern)}
        return found if options.get("detail") else sorted(found)

    def expand_path(
        self, path: Any, recursive: bool = False, maxdepth: int | None = None, **options: Any
    ) -> list[str]:
        """Return the paths that a path, a pattern or a list of them means.

        A path that exists as it is stands for itself, also if it has signs of patterns.
        """
        given = [path] if isinstance(path, str) else list(path)
        literal = {
            self._own_path(one)
            for one in given
            if has_magic(str(one)) and self._is_named(one) and self.exists(one)
        }
        if not literal:
            return list(super().expand_path(path, recursive, maxdepth, **options))
        found = set(literal)
        if recursive:
            for one in literal:
                found.update(self.find(one, maxdepth, withdirs=True))
        others = [one for one in given if self._own_path(one) not in literal]
        if others:
            found.update(super().expand_path(others, recursive, maxdepth, **options))
        return sorted(found)
