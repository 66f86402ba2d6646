"""Ranges of files: each of one version of its file, also if that is replaced meanwhile."""

from __future__ import annotations

import errno
import operator
from collections.abc import Sequence
from typing import Any, Callable

from .._core import core_of
from ..exceptions import (
    DirectIOError,
    DownloadConnectionError,
    DownloadError,
    DownloadTimeout,
)
from .arguments import batch_size_of, bounds_of, span_of
from .errors import first_error, make_incomplete_error, translate, without_missing
from .files import Listed
from .group import Group
from .listings import ListedFileSystem

__all__ = ["RangeFileSystem"]


class RangeFileSystem(ListedFileSystem):
    """A file system that reads ranges of one file or of many."""

    _files_at_once: int

    def _expand(
        self, path: Any, recursive: bool = False, maxdepth: int | None = None
    ) -> dict[str, dict[str, Any] | None]:
        """Return the paths that a path means, each with what a listing told of it, or else None."""
        raise NotImplementedError

    def _look_up(self, infos: dict[str, dict[str, Any] | None]) -> None:
        """Fill in what is not known of paths, where one listing tells it of several."""
        raise NotImplementedError

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """Return bytes of a file. If it was replaced since it was listed, it is listed and read once more.

        Args:
            path: The path.
            start: The first byte. A negative number counts from the end. None: from the beginning.
            end: The byte past the last, likewise. None: up to the end.
        """
        return self._read_ranges(path, [(start, end)], Group(), strict=True)[0]  # type: ignore[no-any-return]

    def cat(
        self,
        path: Any,
        recursive: bool = False,
        on_error: str = "raise",
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the bytes of a file, or of several by path, fetched at the same time.

        Args:
            path: A path, or a list of paths.
            recursive: Whether the files below folders are read, too.
            on_error: What to do with an error: "raise" it, or "return" it in place of the bytes. "omit"
                leaves out files that are gone; other errors raise.
            batch_size: How many files are fetched at a time. None: as the file system was made.
            **kwargs: `start` and `end`, as for `cat_file`.
        """
        infos = self._expand(path, recursive, kwargs.pop("maxdepth", None))
        paths = [
            each
            for each, info in sorted(infos.items())
            if not (recursive and info is not None and info["type"] == "directory")
        ]
        if len(paths) == 1 and not isinstance(path, list) and paths[0] == self._own_path(path):
            return self.cat_file(paths[0], **kwargs)
        bounds = (kwargs.get("start"), kwargs.get("end"))
        self._look_up(infos)
        group = Group()
        strict = on_error == "raise"
        found = group.run(
            [self._reader(path, [bounds], group, strict, infos[path]) for path in paths],
            self._limit(batch_size),
        )
        by_path = dict(zip(paths, (each[0] for each in found)))
        return without_missing(by_path) if on_error == "omit" else by_path

    def cat_ranges(
        self,
        paths: Sequence[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        batch_size: int | None = None,
        **_: Any,
    ) -> list[Any]:
        """Return the bytes of many ranges. Each file is listed, and each block fetched, once.

        Several files are fetched at a time, each within the client's memory setting. All ranges of a
        file are of the same version of it.

        Args:
            paths: The path of each range.
            starts: First byte of each, or of all: an integer, None, or a list or array of them.
            ends: The byte past the last, likewise. Negative ones count from the end.
            max_gap: Without effect: ranges of one block share its download.
            on_error: What to do with an error: "return" it in place of the bytes, or "raise" it.
            batch_size: How many files are fetched at a time. None: as the file system was made.
        """
        if not isinstance(paths, (list, tuple)):
            raise TypeError("cat_ranges takes a list of paths")
        starts, ends = bounds_of(starts, len(paths)), bounds_of(ends, len(paths))
        if not len(paths) == len(starts) == len(ends):
            raise ValueError("cat_ranges takes as many starts and ends as paths")
        places: dict[str, list[int]] = {}
        for place, path in enumerate(self._own_path(paths)):
            places.setdefault(path, []).append(place)
        infos: dict[str, dict[str, Any] | None] = dict.fromkeys(places)
        self._look_up(infos)
        group = Group()
        tasks = [
            self._reader(
                path,
                [(starts[place], ends[place]) for place in wanted],
                group,
                on_error == "raise",
                infos[path],
            )
            for path, wanted in places.items()
        ]
        results: list[Any] = [None] * len(paths)
        for wanted, found in zip(places.values(), group.run(tasks, self._limit(batch_size))):
            for place, data in zip(wanted, found):
                results[place] = data
        return results

    def read_block(
        self, fn: str, offset: int, length: int | None, delimiter: bytes | None = None
    ) -> bytes:
        """Return `length` bytes from `offset` on. With a delimiter: from and up to delimiters."""
        length = None if length is None else operator.index(length)
        return super().read_block(fn, operator.index(offset), length, delimiter)  # type: ignore[no-any-return]

    def tail(self, path: str, size: int = 1024) -> bytes:
        """Return the last `size` bytes."""
        return super().tail(path, operator.index(size))  # type: ignore[no-any-return]

    def read_listed(self, path: str, listed: Listed, start: int, end: int) -> bytes:
        """Return a range of a file as it was listed. Raise an error if the file has changed since."""
        found = self._read_once(listed, [(start, end)], Group(), strict=True)[0]
        if isinstance(found, DirectIOError):
            failed = self.read_failed(path, listed, found)
            raise failed from failed.__cause__
        return found  # type: ignore[no-any-return]

    def _reader(
        self,
        path: str,
        bounds: Sequence[Any],
        group: Group,
        strict: bool,
        named: dict[str, Any] | None,
    ) -> Callable[[], list[Any]]:
        """Return a task that reads ranges of one file. It returns errors unless it is `strict`."""

        def read() -> list[Any]:
            try:
                return self._read_ranges(path, bounds, group, strict=strict, named=named)
            except OSError as error:
                if strict:
                    raise
                return [error] * len(bounds)

        return read

    def _read_ranges(
        self,
        path: str,
        bounds: Sequence[Any],
        group: Group,
        *,
        strict: bool,
        named: dict[str, Any] | None = None,
    ) -> list[Any]:
        """Return ranges of one version of a file: the listed one, or the one that replaced it."""
        listed = self._listed(path, named=named)
        found = self._read_once(listed, bounds, group, strict)
        error = first_error(found)
        if error is not None:
            self.read_failed(path, listed, error)
            replaced = self._replacement(path, listed, error)
            if replaced is not None:
                found = self._read_once(replaced, bounds, group, strict)
                error = first_error(found)
        if error is not None and strict:
            try:
                failed = translate(error, path)
                raise failed from failed.__cause__
            finally:
                del error, failed, found  # They hold this frame, by their traceback.
        return found

    def _read_once(
        self, listed: Listed, bounds: Sequence[Any], group: Group, strict: bool
    ) -> list[Any]:
        """Return the bytes or the error of each range. If `strict`, one error stands for all."""
        metadata = listed.metadata
        spans = [span_of(start, end, metadata.size) for start, end in bounds]
        try:
            with group.reading(core_of(self.client).read_spans(metadata, spans)) as reader:
                found: list[Any] = list(reader.read(fail_fast=strict))
        except DirectIOError as error:
            return [error] * len(spans)
        for place, (first, stop) in enumerate(spans):
            data = found[place]
            if isinstance(data, bytes) and len(data) != stop - first:
                found[place] = make_incomplete_error(len(data), stop - first, metadata.file_id)
        return found

    def _replacement(self, path: str, listed: Listed, error: DirectIOError) -> Listed | None:
        """Return the new block list of a file that was replaced since it was listed, else None."""
        no_sign = (DownloadTimeout, DownloadConnectionError)
        if isinstance(error, no_sign) or error.errno == errno.ECANCELED:
            return None
        if isinstance(error, DownloadError) and error.errno == errno.ENOENT:
            return None  # The file was listed anew for this error, and has not changed.
        try:
            fresh = self._listed(path, fresh=True)
        except FileNotFoundError:
            raise
        except OSError:
            return None  # The first error tells more.
        return fresh if fresh.fingerprint != listed.fingerprint else None

    def _limit(self, batch_size: int | None) -> int:
        return batch_size_of(batch_size) or self._files_at_once
