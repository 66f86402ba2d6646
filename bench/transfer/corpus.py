"""The files that are downloaded: plaintext, stored objects on disk, and listings that name them."""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from system import WORK, say

from ctera_direct_sync.emulator.encoder import encode
from ctera_direct_sync.emulator.keys import derive, wrap
from ctera_direct_sync.emulator.options import FileOptions

KIB = 1024
MIB = 1024 * KIB
SIZE = 256 * MIB

ACCESS_KEY_ID = "BENCHMARK"
SECRET_ACCESS_KEY = "YSBzZWNyZXQgdGhhdCBzZXJ2ZXMgYmVuY2htYXJrcyE="

#: Part of the folder's name: another way to make the data is another folder.
_EDITION = 1


@dataclass(frozen=True)
class Dataset:
    """A file of ``SIZE`` bytes of source text as a portal stores it, or one native-format object."""

    name: str
    compression: str
    block_size: int
    size: int = SIZE
    encrypted: bool = True

    @property
    def folder(self) -> Path:
        """Where its objects lie."""
        return WORK / "data" / f"{self.name}-{_EDITION}"

    @property
    def key(self) -> bytes:
        """The file's key."""
        return bytes(derive(b"benchmark", self.name, 32))

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return -(-self.size // self.block_size)

    def object(self, number: int) -> tuple[str, int]:
        """Path below /data/ and plaintext length of a block, counted from 1."""
        start = (number - 1) * self.block_size
        return f"{self.folder.name}/{number:05d}", min(self.block_size, self.size - start)

    def prepare(self) -> None:
        """Write the stored objects, unless they are there."""
        if self.folder.exists():
            return
        say(f"encoding {self.name} ({self.size // MIB} MiB)")
        unfinished = self.folder.with_name(f"{self.folder.name}.{os.getpid()}")
        unfinished.mkdir(parents=True)
        try:
            if self.encrypted:
                with ThreadPoolExecutor(os.cpu_count()) as pool:
                    for _ in pool.map(
                        lambda number: self._store(unfinished, number), range(1, self.blocks + 1)
                    ):
                        pass
            else:
                _write_native(unfinished / "00001", self.size)
            unfinished.rename(self.folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _store(self, folder: Path, number: int) -> None:
        start = (number - 1) * self.block_size
        options = FileOptions(
            compression=self.compression, block_size=self.block_size, gzip_level=6
        )
        plaintext = bytes(text()[start : start + self.block_size])
        (folder / f"{number:05d}").write_bytes(encode(plaintext, self.key, 1, number, options))


@lru_cache(maxsize=1)
def text() -> memoryview:
    """``SIZE`` bytes of source text: the standard library's modules, repeated."""
    folder = Path(sysconfig.get_path("stdlib"))
    once = b"".join(
        path.read_bytes()
        for path in sorted(folder.rglob("*.py"))
        if "site-packages" not in path.parts
    )
    return memoryview(once * (SIZE // len(once) + 1))[:SIZE]


def _write_native(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for start in range(0, size, SIZE):
            file.write(text()[: size - start])


@dataclass(frozen=True)
class File:
    """A file that the portal lists: blocks of a dataset, in part or again and again."""

    file_id: int
    dataset: Dataset
    first: int = 0
    blocks: int | None = None

    def objects(self) -> list[tuple[str, int]]:
        """Path below /data/ and plaintext length of each block, in file order."""
        stored = self.dataset.blocks
        count = stored if self.blocks is None else self.blocks
        return [self.dataset.object(1 + (self.first + index) % stored) for index in range(count)]

    @property
    def size(self) -> int:
        """Bytes of plaintext."""
        return sum(length for _, length in self.objects())

    def listing(self, origin: str) -> bytes:
        """The portal's answer, its URLs under that origin, as JSON."""
        info: dict[str, Any] = {"data_encrypted": self.dataset.encrypted}
        if self.dataset.encrypted:
            info["wrapped_key"] = wrap(self.dataset.key, SECRET_ACCESS_KEY)
        return json.dumps(
            {
                "encrypt_info": info,
                "compression_type": self.dataset.compression,
                "chunks": [
                    {"url": f"{origin}/data/{path}", "len": length}
                    for path, length in self.objects()
                ],
            }
        ).encode("ascii")


def _dataset(compression: str, block: str, size: int) -> Dataset:
    return Dataset(f"{compression.lower()}-{block}", compression, size)


SNAPPY_2K = Dataset("snappy-2K", "SNAPPY", 2 * KIB, 8 * MIB)
SNAPPY_256K = _dataset("SNAPPY", "256K", 256 * KIB)
SNAPPY_512K = _dataset("SNAPPY", "512K", 512 * KIB)
GZIP_512K = _dataset("GZIP", "512K", 512 * KIB)
PLAIN_512K = _dataset("NONE", "512K", 512 * KIB)
SNAPPY_4M = _dataset("SNAPPY", "4M", 4 * MIB)
GZIP_4M = _dataset("GZIP", "4M", 4 * MIB)
PLAIN_4M = _dataset("NONE", "4M", 4 * MIB)
NATIVE = Dataset("native-1G", "NONE", KIB * MIB, KIB * MIB, encrypted=False)

WHOLE = {
    "snappy 256 KiB": File(1, SNAPPY_256K),
    "snappy 512 KiB": File(2, SNAPPY_512K),
    "gzip 512 KiB": File(3, GZIP_512K),
    "plain 512 KiB": File(4, PLAIN_512K),
    "snappy 4 MiB": File(5, SNAPPY_4M),
    "gzip 4 MiB": File(6, GZIP_4M),
    "plain 4 MiB": File(7, PLAIN_4M),
    "native 1 GiB": File(8, NATIVE),
}

#: 2,000 files of 1 MiB, two blocks each.
SMALL_FILES = [File(10_000 + index, SNAPPY_512K, 2 * index, 2) for index in range(2000)]

#: 2,000 files of one block of 2 KiB.
TINY_FILES = [File(20_000 + index, SNAPPY_2K, index, 1) for index in range(2000)]


def listed(blocks: int, dataset: Dataset = SNAPPY_512K) -> File:
    """A file of so many blocks: the dataset's, again and again if they do not suffice."""
    datasets = [file.dataset for file in WHOLE.values()]
    return File(100_000 * (1 + datasets.index(dataset)) + blocks, dataset, 0, blocks)


def of_size(size: int, dataset: Dataset) -> File:
    """A file of `size` bytes."""
    return listed(size // dataset.block_size, dataset)
