"""The files that Direct IO serves: IDs, versions, blocks and stored objects."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import threading
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import NamedTuple

from . import checksums
from .bodies import Body, BytesBody, PrefixedBody, SourceBody, md5
from .cache import BlockCache
from .encoder import encode
from .keys import derive
from .options import Cipher, Compression, FileOptions, FileOptionsGiven
from .sources import FileSource, Source, SourceChanged


class NoSuchFile(KeyError):
    """There is no file with this ID."""


class NoSuchObject(KeyError):
    """There is no object with this name, or not any more."""


class FileInfo(NamedTuple):
    """A row of the emulator's table of files.

    Attributes:
        file_id: The file's ID.
        name: The file's name. For a folder on disk, the path below the folder.
        size: The size of the file, in bytes.
        cipher: How its blocks are encrypted, or None.
        compression: How its blocks are compressed.
        blocks: How many blocks it has.
    """

    file_id: int
    name: str
    size: int
    cipher: Cipher | None
    compression: Compression
    blocks: int


class StoredObject(NamedTuple):
    """An object in the storage.

    Attributes:
        body: The object's bytes.
        etag: The value of its ETag header.
        checksums: The headers that declare a checksum.
    """

    body: Body
    etag: str
    checksums: dict[str, str]


class FileVersion:
    """One version of a file: its content, cut into the blocks that are listed.

    Args:
        file_id: The file's ID.
        number: The number of the version, from 1 on.
        source: The content.
        options: How it is stored and listed.
        key: The file's key.

    Attributes:
        start: Where the listed part of the file starts, in bytes.
        end: Where the listed part of the file ends, in bytes.
        lengths: The plaintext bytes of each block.
        offsets: Where each block starts in the file, in bytes.

    Raises:
        ValueError: The listed part is not inside the file.
    """

    def __init__(
        self, file_id: int, number: int, source: Source, options: FileOptions, key: bytes
    ) -> None:
        self.file_id = file_id
        self.number = number
        self.source = source
        self.options = options
        self.key = key
        self._known: dict[tuple[int, str], str] = {}
        start, end = options.listed_range or (0, source.size)
        if not 0 <= start <= end <= source.size:
            raise ValueError(
                f"listed_range {start}-{end} is not within the file of {source.size} bytes"
            )
        self.start, self.end = start, end
        self.lengths = list(_cut(end - start, options))
        self.offsets = list(itertools.accumulate(self.lengths, initial=start))

    def plaintext(self, block: int) -> bytes:
        """Return the plaintext of a block. The first block has the number 1."""
        return self.source.read(self.offsets[block - 1], self.lengths[block - 1])

    def stored(self, block: int, cache: BlockCache) -> StoredObject:
        """Return the stored object of a block. The first block has the number 1.

        Args:
            block: The number of the block.
            cache: Where encoded blocks are kept.

        Raises:
            NoSuchObject: There is no such block.
            SourceChanged: The file on disk differs from the one that was listed.
        """
        if not 1 <= block <= len(self.lengths):
            raise NoSuchObject(block)
        if isinstance(self.source, FileSource) and self.source.changed:
            raise SourceChanged(self.source.path)
        payload = body = self._body(block, cache)
        if self.options.azure_md5:
            prefix = self._once(block, "azure", lambda: md5(payload).hex())
            body = PrefixedBody(bytes.fromhex(prefix), payload)
        declared: dict[str, str] = {
            name: self._declare(block, body, name) for name in self.options.checksums
        }
        if self.options.checksum_type and any(name.startswith("x-amz-") for name in declared):
            declared["x-amz-checksum-type"] = self.options.checksum_type
        return StoredObject(body, self._etag(block, body), declared)

    def _body(self, block: int, cache: BlockCache) -> Body:
        if self.options.plain:
            return SourceBody(self.source, self.offsets[block - 1], self.lengths[block - 1])
        # The key is the version itself, not its numbers: a removed file's ID may be used again.
        return BytesBody(
            cache.get(
                (self, block),
                lambda: encode(self.plaintext(block), self.key, self.number, block, self.options),
            )
        )

    def _declare(self, block: int, body: Body, name: str) -> str:
        return self._once(
            block, name, lambda: checksums.declare(body, name, self.options.checksum_type)
        )

    def _once(self, block: int, what: str, compute: Callable[[], str]) -> str:
        """Compute a digest of an object once, for the object may be many gigabytes long."""
        if (block, what) not in self._known:
            self._known[block, what] = compute()
        return self._known[block, what]

    def _etag(self, block: int, body: Body) -> str:
        if self.options.etag_md5:
            return f'"{self._once(block, "etag", lambda: md5(body).hex())}"'
        return f'"{derive(self.key, f"etag/{self.number}/{block}", 16).hex()}-1"'


def _cut(size: int, options: FileOptions) -> Iterator[int]:
    """Yield the length of each block, in bytes."""
    if options.native:
        yield from [size] if size else []
        return
    sizes = options.block_size
    for length in itertools.cycle([sizes] if isinstance(sizes, int) else sizes):
        if size == 0:
            return
        yield min(length, size)
        size -= min(length, size)


class _File:
    """A file with one ID: its name and its versions. The last version is listed."""

    def __init__(self, name: str, version: FileVersion) -> None:
        self.name = name
        self.versions = [version]


class Catalog:
    """The table of files. The portal lists their last versions, and the storage serves their objects.

    Args:
        secret: The secret that file keys are derived from.
        cache: Where encoded blocks are kept.
    """

    def __init__(self, secret: bytes, cache: BlockCache) -> None:
        self._secret = secret
        self._cache = cache
        self._lock = threading.RLock()
        self._files: dict[int, _File] = {}
        self._last_id = 1000

    def add(
        self, source: Source, options: FileOptions, name: str | None, file_id: int | None
    ) -> int:
        """Add a file, and return its ID.

        Args:
            source: The content.
            options: How it is stored.
            name: The name in the table. None: one that is made from the ID.
            file_id: The ID. None: the next free one.

        Raises:
            ValueError: The ID is taken.
        """
        with self._lock:
            if file_id is None:
                file_id = self._last_id + 1
            if file_id in self._files:
                raise ValueError(f"file ID {file_id} is taken; replace() changes a file")
            version = self._version(file_id, 1, source, options)
            self._files[file_id] = _File(name or f"file-{file_id}", version)
            self._last_id = max(self._last_id, file_id)
            return file_id

    def add_folder(self, folder: Path, options: FileOptions) -> dict[str, int]:
        """Add every regular file below a folder, under an ID that its relative path determines.

        Returns:
            The IDs, by the relative path with slashes.
        """
        names = {}
        with self._lock:
            for path in _regular_files(folder):
                name = path.relative_to(folder).as_posix()
                file_id = stable_id(name, self._files)
                names[name] = self.add(FileSource(path), options, name, file_id)
        return names

    def options(self, file_id: int) -> FileOptions:
        """Return how a file is stored now."""
        with self._lock:
            return self._file(file_id).versions[-1].options

    def replace(
        self, file_id: int, source: Source, changes: FileOptionsGiven, keep_old: bool
    ) -> None:
        """Give a file new content.

        Args:
            file_id: The file.
            source: The new content.
            changes: Options that change.
            keep_old: Whether the storage goes on to serve the objects of earlier versions.

        Raises:
            NoSuchFile: There is no file with this ID.
        """
        with self._lock:
            file = self._file(file_id)
            last = file.versions[-1]
            options = dataclasses.replace(last.options, **changes)
            version = self._version(file_id, last.number + 1, source, options)
            file.versions = [*(file.versions if keep_old else []), version]

    def remove(self, file_id: int) -> None:
        """Remove a file and its objects.

        Raises:
            NoSuchFile: There is no file with this ID.
        """
        with self._lock:
            self._file(file_id)
            del self._files[file_id]

    def listed(self, file_id: int) -> FileVersion:
        """Return the last version of a file. A file that changed on disk gets a new version.

        Raises:
            NoSuchFile: There is no file with this ID, or it is gone from the disk.
        """
        with self._lock:
            file = self._file(file_id)
            source = file.versions[-1].source
            if isinstance(source, FileSource) and source.changed:
                try:
                    self.replace(file_id, FileSource(source.path), {}, keep_old=False)
                except OSError as error:
                    raise NoSuchFile(file_id) from error
            return file.versions[-1]

    def stored(self, file_id: int, version: int, block: int) -> StoredObject:
        """Return an object by the numbers in its name.

        Raises:
            NoSuchObject: There is no such object.
        """
        with self._lock:
            file = self._files.get(file_id)
            found = [each for each in file.versions if each.number == version] if file else []
        if not found:
            raise NoSuchObject(file_id, version, block)
        return found[0].stored(block, self._cache)

    def rows(self) -> dict[int, FileInfo]:
        """Return the table of files, by file ID."""
        with self._lock:
            return {
                file_id: _row(file.name, file.versions[-1]) for file_id, file in self._files.items()
            }

    def _file(self, file_id: int) -> _File:
        try:
            return self._files[file_id]
        except KeyError:
            raise NoSuchFile(file_id) from None

    def _version(
        self, file_id: int, number: int, source: Source, options: FileOptions
    ) -> FileVersion:
        key = derive(self._secret, f"file-key/{file_id}", options.key_size)
        return FileVersion(file_id, number, source, options, key)


def stable_id(name: str, taken: Container[int] = ()) -> int:
    """Return an ID of six digits that depends on a relative path only, or the next one that is free."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    file_id = 100_000 + int.from_bytes(digest[:8], "big") % 900_000
    while file_id in taken:
        file_id += 1
    return file_id


def _row(name: str, version: FileVersion) -> FileInfo:
    return FileInfo(
        version.file_id,
        name,
        version.source.size,
        version.options.cipher,
        version.options.compression,
        len(version.lengths),
    )


def _regular_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
