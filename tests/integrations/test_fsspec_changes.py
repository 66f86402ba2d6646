"""A file that is replaced, removed or refused while its block list is known here."""

from __future__ import annotations

import errno
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from ctera_direct_sync import DirectIOError, DownloadError
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.filesystem import CteraFileSystem

from .test_fsspec import host_of

OLD, NEW = b"old" * 10_000, b"newer" * 10_000


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of several blocks, whose list the file system then knows."""
    return portal.add(OLD, block_size=4000)


@pytest.fixture
def replace(fs: CteraFileSystem, portal: Emulator, file_id: int) -> Callable[[], None]:
    """Have the file listed, then replaced; its old blocks are gone."""

    def replace() -> None:
        assert fs.cat_file(str(file_id)) == OLD
        portal.replace(file_id, NEW, keep_old=False)

    return replace


def got(fs: CteraFileSystem, path: str, folder: Path) -> bytes:
    """The file by way of get_file."""
    fs.get_file(path, str(folder / "got.bin"))
    return (folder / "got.bin").read_bytes()


WAYS: dict[str, Callable[[CteraFileSystem, str, Path], bytes]] = {
    "cat_file": lambda fs, path, _: fs.cat_file(path),
    "cat": lambda fs, path, _: fs.cat([path])[f"{fs.host}/{path}"],
    "cat_ranges": lambda fs, path, _: b"".join(
        fs.cat_ranges([path] * 3, [0, 7000, 20_000], [7000, 20_000, None], on_error="raise")
    ),
    "cat_ranges, errors returned": lambda fs, path, _: b"".join(
        fs.cat_ranges([path] * 3, [0, 7000, 20_000], [7000, 20_000, None])
    ),
    "get_file": got,
}


@pytest.mark.parametrize("way", WAYS)
def test_replaced_file_is_read_anew(
    fs: CteraFileSystem, file_id: int, replace: Callable[[], None], tmp_path: Path, way: str
) -> None:
    """What reads without an open file reads the new version at once, all of it."""
    replace()
    assert WAYS[way](fs, str(file_id), tmp_path) == NEW
    assert fs.size(str(file_id)) == len(NEW)


READS: dict[str, Callable[[Any], object]] = {
    "read": lambda file: file.read(),
    "read1": lambda file: file.read1(100),
    "readinto": lambda file: file.readinto(bytearray(100)),
    "readinto1": lambda file: file.readinto1(bytearray(100)),
    "readline": lambda file: file.readline(),
    "readlines": lambda file: file.readlines(),
    "peek": lambda file: file.peek(),
    "iteration": lambda file: next(file),
}


@pytest.mark.parametrize("read", READS)
def test_opening_after_a_failed_read(
    fs: CteraFileSystem, file_id: int, replace: Callable[[], None], read: str
) -> None:
    """At most one read fails: the next open has the new file."""
    replace()
    with fs.open(str(file_id)) as file, pytest.raises(DirectIOError):
        READS[read](file)
    with fs.open(str(file_id)) as file:
        assert file.read() == NEW


def test_expired_urls_of_a_replaced_file(
    fs: CteraFileSystem, portal: Emulator, file_id: int, replace: Callable[[], None]
) -> None:
    """The same where the storage refuses the URLs rather than lacks the objects."""
    replace()
    portal.expire_urls()
    assert fs.cat_file(str(file_id)) == NEW


def test_ranges_of_one_version(
    fs: CteraFileSystem, portal: Emulator, file_id: int, replace: Callable[[], None]
) -> None:
    """Where some blocks of the old version could be had, the ranges are all of the new one."""
    assert fs.cat_file(str(file_id)) == OLD
    portal.replace(file_id, NEW)
    # The first old block is there still; the second is not.
    portal.faults.add("storage", file_id=file_id, block=2, times=1, action=faults.status(404))
    found = fs.cat_ranges([str(file_id)] * 2, [0, 5000], [10, 5010])
    assert found == [NEW[:10], NEW[5000:5010]]


def test_unchanged_file_is_not_tried_again(
    fs: CteraFileSystem, portal: Emulator, file_id: int
) -> None:
    """An error of a file that did not change costs one listing more, and no second download.

    The client asks whether the file changed before it calls the object missing. So the file system need
    not ask again.
    """
    fs.info(str(file_id))
    portal.faults.add("storage", block=3, times=None, action=faults.status(404))
    before = portal.log.total("portal")
    with pytest.raises(DownloadError):
        fs.cat_file(str(file_id))
    assert portal.log.total("portal") == before + 1
    asked = [each.block for each in portal.log.records(where="storage", file_id=file_id)]
    assert asked.count(3) == 1


def test_removed_file(fs: CteraFileSystem, portal: Emulator, file_id: int) -> None:
    """A file that is no longer there is a FileNotFoundError, not a failed block."""
    fs.info(str(file_id))
    portal.remove(file_id)
    with pytest.raises(FileNotFoundError):
        fs.cat_file(str(file_id))
    found = fs.cat_ranges([str(file_id)], 0, 1)
    assert isinstance(found[0], FileNotFoundError)


def test_pickled_file_that_changed(fs: CteraFileSystem, portal: Emulator, file_id: int) -> None:
    """A pickle of an open file opens that version, or says that it is gone."""
    with fs.open(str(file_id)) as file:
        file.seek(5)
        data = pickle.dumps(file)
    with pickle.loads(data) as again:
        assert (again.tell(), again.read()) == (5, OLD[5:])
    portal.replace(file_id, NEW)
    fs.invalidate_cache()
    with pickle.loads(data) as again:
        assert again.tell() == 5
        for use in (again.read, again.peek, lambda: again.size, again.info):
            with pytest.raises(OSError, match="open it again") as caught:
                use()
            assert caught.value.errno == errno.ESTALE


# fsspec leaves its own cache files to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_blockcache_mixes_no_versions(
    fs: CteraFileSystem, portal: Emulator, tmp_path: Path
) -> None:
    """Blocks of a replaced file are not added to those that fsspec has of the old one."""
    block = 10_000
    path = str(portal.add(b"o" * 5 * block, block_size=block))
    cached = fsspec.filesystem("blockcache", fs=fs, cache_storage=str(tmp_path))
    with cached.open(path, block_size=block) as file:
        assert file.read(100) == b"o" * 100
        portal.replace(int(path), b"n" * 4 * block, block_size=block, keep_old=False)
        for _ in range(2):
            file.seek(3 * block)
            with pytest.raises(DirectIOError):
                file.read(100)
    try:
        with cached.open(path, block_size=block) as file:
            # An old fsspec does not say what it knows of the file: then it is all of one version.
            assert file.size == 4 * block
    except OSError as error:
        assert error.errno == errno.ESTALE


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_blockcache_after_a_failed_fetch(
    portal: Emulator, options: dict[str, Any], tmp_path: Path
) -> None:
    """fsspec's cache does not take a block that could not be fetched for one that holds zeros."""
    data = bytes(range(1, 251)) * 200
    file_id = portal.add(data, block_size=10_000)
    url = f"blockcache::ctera://{host_of(portal)}/{file_id}"
    given = {"blockcache": {"cache_storage": str(tmp_path)}, "ctera": options}
    portal.faults.add("storage", block=2, times=1, action=faults.status(404))
    with fsspec.open(url, **given) as file:
        with pytest.raises(DirectIOError):
            file.read()
        file.seek(0)
        assert file.read() == data


def test_what_came_is_counted(
    fs: CteraFileSystem, file_id: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A reader that ends early as if it were whole is an error of each method."""
    from ctera_direct_sync._readers.multi_range import MultiRangeReader

    read = MultiRangeReader.read
    monkeypatch.setattr(
        MultiRangeReader,
        "read",
        lambda self, fail_fast: [data[:-1] for data in read(self, fail_fast=fail_fast)],
    )
    path = str(file_id)
    with pytest.raises(DirectIOError, match="29999 bytes came where 30000 were due"):
        fs.cat_file(path)
    with pytest.raises(DirectIOError, match="were due"):
        fs.cat([path])
    assert isinstance(fs.cat_ranges([path], 0, 5)[0], DirectIOError)
    with pytest.raises(DirectIOError, match="were due"):
        fs.cat_ranges([path], 0, 5, on_error="raise")


@pytest.mark.parametrize("target", ["path", "file"])
def test_what_was_downloaded_is_counted(
    fs: CteraFileSystem,
    file_id: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    target: str,
) -> None:
    """A download that is short is an error of get_file and get."""
    download = fs.client.download

    def short(file_id: int, target: Any, **options: Any) -> Any:
        done = download(file_id, target, **options)
        if not hasattr(target, "write"):
            Path(target).write_bytes(OLD[:-1])
        return done._replace(size=done.size - 1)

    monkeypatch.setattr(fs.client, "download", short)
    with pytest.raises(DirectIOError, match="29999 bytes came where 30000 were due"):
        fs.get_file(str(file_id), str(tmp_path / "x") if target == "path" else io.BytesIO())
