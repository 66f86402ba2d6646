"""What ``fs.open`` gives: the attributes of fsspec's own files, pickles, and chains of file systems."""

from __future__ import annotations

import asyncio
import gzip
import io
import pickle
import tarfile
import zipfile
from typing import Any

import fsspec
import pytest
from fsspec.asyn import get_loop, sync

from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.filesystem import CteraFileSystem

from .test_fsspec import host_of

# fsspec keeps a loop and its thread for as long as the process lives: they are here before the tests.
sync(get_loop(), asyncio.to_thread, int)

DATA = bytes(range(256)) * 200


@pytest.fixture
def path(portal: Emulator) -> str:
    """DATA in several blocks, by its whole path."""
    return f"{host_of(portal)}/{portal.add(DATA, block_size=9000)}/data.bin"


def test_attributes(fs: CteraFileSystem, path: str) -> None:
    """Programs find what they find in fsspec's own files."""
    with fs.open(path, block_size=1000) as file:
        assert (file.fs, file.path, file.full_name) == (fs, path, f"ctera://{path}")
        assert (file.size, file.blocksize, file.mode, file.loc) == (len(DATA), 1000, "rb", 0)
        assert file.info() == file.details == fs.info(path)
        assert not file.closed and file.readable() and file.seekable() and not file.writable()
        file.seek(5)
        assert file.read(3) == DATA[5:8]
        assert file.loc == 8
    with fs.open(path) as file:
        assert file.blocksize == fs.blocksize
    assert file.closed


def test_pickled_file(fs: CteraFileSystem, path: str) -> None:
    """A file pickles with its position, read or not, open or closed, and keeps its token."""
    dask = pytest.importorskip("dask.base")
    with fs.open(path, readahead=0) as file:
        with pickle.loads(pickle.dumps(file)) as again:
            assert again.read() == DATA
        file.seek(500)
        file.readline()
        position = file.tell()
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            with pickle.loads(pickle.dumps(file, protocol)) as again:
                assert (again.tell(), again.path, again.fs) == (position, path, fs)
                assert again.read(10) == DATA[position : position + 10]
                assert dask.tokenize(again) == dask.tokenize(file)
        assert file.tell() == position
    with pickle.loads(pickle.dumps(file)) as again:
        assert again.read(5) == DATA[:5]


def test_pickled_file_without_keys(
    environment: dict[str, str],
    options: dict[str, Any],
    portal: Emulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the keys are missing, a file is loaded all the same: its uses say so, until they are there."""
    with fsspec.open(f"ctera://{host_of(portal)}/{portal.add(DATA)}/data.bin") as file:
        file.seek(5)
        dumped = pickle.dumps(file)
    CteraFileSystem.clear_instance_cache()
    with monkeypatch.context() as patched:
        patched.delenv("CTERA_DIRECT_ACCESS_KEY_ID")
        with pickle.loads(dumped) as unused:
            assert not unused.closed
        again = pickle.loads(dumped)
        assert (again.tell(), again.path) == (5, file.path)
        for _ in range(2):
            with pytest.raises(ValueError, match="access_key_id"):
                again.read(5)
        third = pickle.loads(pickle.dumps(again))
    with again, third:
        assert again.read(5) == third.read(5) == DATA[5:10]
        assert again.fs.host == host_of(portal)
        assert again.info()["size"] == again.size == len(DATA)


def test_pickled_file_in_another_process(fs: CteraFileSystem, path: str) -> None:
    """A spawned process reads on where the file stood."""
    import multiprocessing

    with fs.open(path) as file, multiprocessing.get_context("spawn").Pool(1) as pool:
        file.seek(40_000)
        assert pool.apply(io.BufferedReader.tell, (file,)) == 40_000
        assert pool.apply(len_of_rest, (file,)) == len(DATA) - 40_000


def len_of_rest(file: Any) -> int:
    """Bytes from the position to the end."""
    with file:
        return len(file.read())


def archives() -> dict[str, bytes]:
    """One member, ``m.txt``, in archives of several kinds."""
    member = b"member" * 1000
    result = {}
    for mode, name in (("w", "x.tar"), ("w:gz", "x.tar.gz"), ("w:xz", "x.tar.xz")):
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode=mode) as tar:
            header = tarfile.TarInfo("m.txt")
            header.size = len(member)
            tar.addfile(header, io.BytesIO(member))
        result[name] = target.getvalue()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m.txt", member)
    return {**result, "x.zip": target.getvalue()}


# fsspec leaves archives and its own cache files to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("name", "cache"),
    [
        (name, cache)
        for name in ("x.tar", "x.tar.gz", "x.tar.xz", "x.zip")
        for cache in ("", "simplecache", "filecache", "blockcache")
        # What simplecache opens has a name that says nothing of the compression.
        if cache != "simplecache" or name in ("x.tar", "x.zip")
    ],
)
def test_archives(
    portal: Emulator, options: dict[str, Any], tmp_path: Any, name: str, cache: str
) -> None:
    """Members of archives are read through a chain, with fsspec's caches in it or without."""
    file_id = portal.add(archives()[name], block_size=500)
    kind = "zip" if name.endswith("zip") else "tar"
    middle = f"::{cache}" if cache else ""
    url = f"{kind}://m.txt{middle}::ctera://{host_of(portal)}/{file_id}/{name}"
    given = {"ctera": options, **({cache: {"cache_storage": str(tmp_path)}} if cache else {})}
    for _ in range(2):
        with fsspec.open(url, **given) as file:
            assert file.read() == b"member" * 1000


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("cache", ["simplecache", "filecache", "blockcache"])
def test_caches(
    portal: Emulator, fs: CteraFileSystem, path: str, tmp_path: Any, cache: str
) -> None:
    """What fsspec's caches hold is not fetched again."""
    cached = fsspec.filesystem(cache, fs=fs, cache_storage=str(tmp_path))
    for _ in range(2):
        with cached.open(path) as file:
            file.seek(30_000)
            assert file.read(100) == DATA[30_000:30_100]
            file.seek(0)
            assert file.read() == DATA
        fetched = portal.log.total("storage")
        with cached.open(path) as file:
            assert file.read() == DATA
        assert portal.log.total("storage") == fetched


def test_other_wrappers(fs: CteraFileSystem, path: str, portal: Emulator) -> None:
    """References, folders and mappers of fsspec take paths with and without the scheme."""
    refs = {"version": 1, "refs": {"a": [f"ctera://{path}", 100, 50]}}
    given = {"remote_protocol": "ctera", "remote_options": dict(fs.storage_options)}
    assert fsspec.filesystem("reference", fo=refs, **given).cat("a") == DATA[100:150]
    folder = fsspec.filesystem("dir", path=path.rpartition("/")[0], fs=fs)
    assert folder.cat("data.bin") == DATA
    mapper = fs.get_mapper(path)
    assert dict(mapper) == {"": DATA}
    assert "x.zarr" not in mapper and mapper.get(".zgroup") is None


def test_compression_by_name(portal: Emulator, fs: CteraFileSystem) -> None:
    """``compression="infer"`` looks at the name, and text comes out."""
    path = f"{portal.add(gzip.compress(b'a,b'))}/t.csv.gz"
    with fs.open(path, "rt", compression="infer") as file:
        assert file.read() == "a,b"


def test_time_of_a_file(fs: CteraFileSystem, options: dict[str, Any], portal: Emulator) -> None:
    """info()'s mtime is when the file was first seen as it is: the same for all, until it changes."""
    file_id = portal.add(b"data")
    before = fs.info(str(file_id))
    other = CteraFileSystem(**options, use_listings_cache=False)
    assert other.info(str(file_id)) == before
    assert fs.modified(str(file_id)).timestamp() == before["mtime"] > 0
    portal.replace(file_id, b"DATA")
    after = other.info(str(file_id))
    assert after["mtime"] > before["mtime"] and after["ETag"] != before["ETag"]
    assert fs.info(str(file_id)) == before, "its block list is not old yet"
    fs.invalidate_cache()
    assert fs.info(str(file_id)) == after
    with pytest.raises(NotImplementedError):
        fs.created(str(file_id))


def test_listings_that_never_expire(
    options: dict[str, Any], portal: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``listings_expiry_time=None`` keeps block lists for ever, ``max_paths=None`` all of them."""
    from ctera_direct_sync._fsspec import files as filesystem_files

    fs = CteraFileSystem(**options, listings_expiry_time=None, max_paths=None)
    paths = [str(portal.add(b"data")) for _ in range(70)]
    for path in paths:
        fs.info(path)
    later = filesystem_files.time.monotonic() + 10**9
    monkeypatch.setattr(filesystem_files.time, "monotonic", lambda: later)
    for path in paths:
        fs.info(path)
    assert portal.log.total("portal") == 70
