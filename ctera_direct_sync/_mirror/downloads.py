"""Downloading one file of a mirror to the mirror's own folder."""

from __future__ import annotations

import contextlib
import os
from typing import Callable

from .._base.cancellation import CancelScope
from .._base.sync import Lock
from .._readers.download import download, download_pieces
from .._readers.folders import Place
from .._readers.listed_file import ListedFile
from .._readers.part_file import write_at

__all__ = ["download_to"]

#: From this size on, a download keeps its progress on the disk, so that the next run continues it.
_RESUMED_SIZE_BYTES = 32 * 1024 * 1024


def download_to(
    file: ListedFile,
    place: Place,
    scope: CancelScope,
    progress: Callable[[int, int], object] | None,
    finish: Callable[[int], object],
) -> int:
    """Download a file to a place, and return the CRC32C of its bytes.

    A small file is not flushed to the disk: `finish` does so.

    Args:
        file: The file.
        place: The place, in a folder that only the mirror writes to.
        scope: The scope that cancels the download.
        progress: Called with the bytes done and the bytes in total.
        finish: Called with a descriptor of the complete file, which is open for writing.

    Raises:
        Cancelled: The scope was cancelled.
        DirectIOError: A block could not be had.
        OSError: The place cannot be written.
    """
    size = file.metadata.size
    if size >= _RESUMED_SIZE_BYTES:
        finished = download(file, place, 0, size, resume=True, progress=progress, scope=scope)
        fd = place.folder.open_own(place.name, os.O_RDWR)
        try:
            finish(fd)
        finally:
            os.close(fd)
        return finished.download.crc32c
    try:
        fd = place.folder.create(place.name, os.O_WRONLY)
    except FileExistsError:
        # What an earlier attempt left.
        place.folder.unlink(place.name)
        fd = place.folder.create(place.name, os.O_WRONLY)
    try:
        crc32c = download_pieces(file, _Sink(fd, os.fspath(place)), progress=progress, scope=scope)
        finish(fd)
        return crc32c
    except BaseException:
        with contextlib.suppress(OSError):
            place.folder.unlink(place.name)
        raise
    finally:
        os.close(fd)


class _Sink:
    """Writes pieces to a file, at their offsets."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path
        self._lock = Lock()

    def write(self, offset: int, data: bytes | memoryview, crc32c: int) -> None:
        """Write a piece."""
        try:
            write_at(self._fd, data, offset, self._lock)
        except OSError as error:
            error.filename = self._path
            raise
