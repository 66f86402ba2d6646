"""``ctera://`` for fsspec: names, reading, what cannot be, and where the keys are not to be seen."""

from __future__ import annotations

import errno
import gc
import io
import json
import os
import pickle
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import pytest
from fsspec.callbacks import Callback

from ctera_direct_sync import (
    DirectIOError,
    DownloadError,
    LoginError,
    NotFoundError,
    Settings,
    UnAuthorized,
)
from ctera_direct_sync._core import core_of
from ctera_direct_sync._fsspec.instances import given_settings
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from ctera_direct_sync.filesystem import CteraFileSystem, NoSuchFileError
from ctera_direct_sync.settings import Endpoint
from ctera_direct_sync.types import Token
from tests.support.engines import run_inline

from .conftest import Fetched

DATA = SyntheticSource(100_003, seed=3).read(0, 100_003)


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """DATA in 11 blocks."""
    return portal.add(DATA, block_size=10_000, name="data.bin")


@pytest.fixture
def url(options: dict[str, Any], portal: Emulator, file_id: int) -> str:
    """The file's URL."""
    return f"ctera://{host_of(portal)}/{file_id}/data.bin"


def host_of(portal: Emulator) -> str:
    """Host and port of the portal."""
    return portal.url.partition("://")[2]


# --- names and instances ---------------------------------------------------------------------------------


def test_registered_by_entry_point() -> None:
    """fsspec knows ``ctera`` without an import of the library."""
    assert fsspec.get_filesystem_class("ctera") is CteraFileSystem
    assert "ctera" in fsspec.available_protocols()


@pytest.mark.parametrize(
    ("path", "stripped", "host"),
    [
        ("ctera://p.example.com/12", "p.example.com/12", "p.example.com"),
        (
            "ctera://p.example.com:8443/12/b c.csv",
            "p.example.com:8443/12/b c.csv",
            "p.example.com:8443",
        ),
        ("ctera://P.Example.com/12/", "p.example.com/12", "p.example.com"),
        ("ctera://[::1]:8443/12/x.csv", "[::1]:8443/12/x.csv", "[::1]:8443"),
        ("p.example.com/12/x.csv", "p.example.com/12/x.csv", None),
        ("ctera:///12/x.csv", "12/x.csv", None),
        ("ctera://12/x.csv", "12/x.csv", None),
        ("12/x.csv", "12/x.csv", None),
        ("/12/x.csv/", "12/x.csv", None),
        ("ctera://p.example.com", "p.example.com", "p.example.com"),
    ],
)
def test_paths(path: str, stripped: str, host: str | None) -> None:
    """Host, file ID and name are told apart."""
    assert CteraFileSystem._strip_protocol(path) == stripped
    assert CteraFileSystem._strip_protocol([path]) == [stripped]
    assert CteraFileSystem._get_kwargs_from_urls(path).get("host") == host


def test_url_with_keys_is_refused() -> None:
    """Keys in a URL would end up in logs: they are refused, and not repeated."""
    with pytest.raises(ValueError, match="storage_options") as caught:
        fsspec.open("ctera://AKIA:hunter2@portal.example.com/12")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("path", ["", "x", "12a/b", "-1", "1.5", "x/y", "\uff11\uff12"])
def test_what_is_no_file_id(fs: CteraFileSystem, path: str) -> None:
    """A path without a file ID needs an account, and the error shows the form. The root is not a file."""
    with pytest.raises(LoginError if path else FileNotFoundError, match="<file_id>"):
        fs.cat_file(path)
    if path:
        with pytest.raises(LoginError):
            fs.exists(path)


def test_instances_are_cached_and_share_a_client(options: dict[str, Any]) -> None:
    """Equal arguments give the same instance; another thread's has the same client."""
    first = fsspec.filesystem("ctera", **options)
    assert fsspec.filesystem("ctera", **options) is first
    others: list[CteraFileSystem] = []
    thread = threading.Thread(target=lambda: others.append(CteraFileSystem(**options)))
    thread.start()
    thread.join()
    assert others[0] is not first and others[0].client is first.client
    assert CteraFileSystem(**options, settings={"max_workers": 3}).client is not first.client
    other_keys = {**options, "secret_access_key": "other"}
    assert CteraFileSystem(**other_keys).client is not first.client


def test_clearing_the_instance_cache_lets_the_client_go(
    options: dict[str, Any], file_id: int
) -> None:
    """fsspec's own way to drop instances ends their threads and connections."""
    before = set(threading.enumerate())
    made = CteraFileSystem(**options)
    assert made.cat_file(str(file_id)) == DATA
    workers = [each for each in threading.enumerate() if each.name.startswith("ctera-direct")]
    assert set(workers) - before
    CteraFileSystem.clear_instance_cache()
    del made
    gc.collect()
    for each in set(workers) - before:
        each.join(20)
        assert not each.is_alive()


def test_closed_client_is_replaced(fs: CteraFileSystem, file_id: int) -> None:
    """Somebody closed the shared client: the file system goes on with a new one."""
    fs.client.close()
    assert fs.cat_file(str(file_id)) == DATA


def test_keys_and_portal_from_the_environment(
    portal: Emulator, file_id: int, environment: None
) -> None:
    """With the variables set, a URL is enough; its host is that of CTERA_DIRECT_URL."""
    with fsspec.open(f"ctera://{host_of(portal)}/{file_id}/x.bin") as file:
        assert file.read() == DATA
    assert fsspec.filesystem("ctera").cat_file(str(file_id)) == DATA
    with fsspec.open(f"ctera://{file_id}") as file:
        assert file.read() == DATA


def test_keys_of_the_environment_go_to_their_portal_alone(
    portal: Emulator, file_id: int, environment: None
) -> None:
    """A URL of another host does not get the environment's keys; with keys of its own it is served."""
    with pytest.raises(ValueError, match=r"storage_options") as caught:
        fsspec.open(f"ctera://evil.example.com/{file_id}")
    assert portal.access_key_id not in str(caught.value)
    made = CteraFileSystem("other.example.com", access_key_id="a", secret_access_key="b")
    assert core_of(made.client).baseurl == "https://other.example.com"


def test_missing_keys() -> None:
    """Without keys the error names the argument and the variable."""
    with pytest.raises(ValueError, match="CTERA_DIRECT_ACCESS_KEY_ID"):
        fsspec.filesystem("ctera", host="portal.example.com")


def test_settings_as_a_mapping(options: dict[str, Any], file_id: int) -> None:
    """Settings may be a Settings or, for configuration files, a mapping; a wrong name is an error."""
    given = {"memory": 12345, "storage": {"timeout": 5, "ssl": False}}
    made = CteraFileSystem(**options, settings=given)
    assert core_of(made.client).settings.memory == 12345
    assert core_of(made.client).settings.storage.timeout == (5.0, 5.0)
    made = CteraFileSystem(**options, settings=Settings(memory=99))
    assert core_of(made.client).settings.memory == 99
    with pytest.raises(TypeError, match="no setting 'memroy'"):
        CteraFileSystem(**options, settings={"memroy": 1})


# --- reading ---------------------------------------------------------------------------------------------


def test_open(fs: CteraFileSystem, url: str, options: dict[str, Any]) -> None:
    """fsspec.open gives the file, in binary and as text, and finds compression by the name."""
    with fsspec.open(url, **options) as file:
        assert isinstance(file, io.BufferedReader) and file.size == len(DATA)
        assert file.read() == DATA
    with fsspec.open(url, "rt", encoding="latin-1", newline="", **options) as file:
        assert file.read() == DATA.decode("latin-1")


def test_open_files_and_compression(portal: Emulator, options: dict[str, Any]) -> None:
    """open_files takes many URLs; ``compression='infer'`` looks at the names."""
    import gzip

    plain = portal.add(b"plain", name="a.txt")
    packed = portal.add(gzip.compress(b"packed"), name="b.txt.gz")
    host = host_of(portal)
    urls = [f"ctera://{host}/{plain}/a.txt", f"ctera://{host}/{packed}/b.txt.gz"]
    files = fsspec.open_files(urls, compression="infer", **options)
    with files as opened:
        assert [each.read() for each in opened] == [b"plain", b"packed"]


def test_names_with_pattern_characters(
    portal: Emulator, options: dict[str, Any], fs: CteraFileSystem
) -> None:
    """Brackets, stars and question marks of a file's name are not a pattern."""
    for name in ("a[1].csv", "what?.csv", "*.csv"):
        path = f"{host_of(portal)}/{portal.add(b'x')}/{name}"
        assert fs.glob(path) == [path]
        assert fs.glob(path, detail=True)[path]["size"] == 1
        with fsspec.open_files(f"ctera://{path}", **options)[0] as file:
            assert file.read() == b"x"
    assert fs.glob("99/a*.csv") == []


RANGES = [
    (None, None), (0, 10), (5, 5), (9_990, 10_010), (None, 15_000), (90_000, None), (-10, None),
    (None, -10), (-20, -10), (-20, 99_990), (-200_000, 5), (0, 10**9), (99_999, 100_003),
    (100_003, 100_010), (200_000, 200_001), (50, 20), (-10, 5),
]  # fmt: skip


@pytest.mark.parametrize("options_of_file", [{}, {"native": True}, {"block_size": (1, 0, 7000)}])
def test_ranges(fs: CteraFileSystem, portal: Emulator, options_of_file: dict[str, Any]) -> None:
    """cat_file and cat_ranges take Python's bounds: negative ones, None, past the end, empty."""
    path = str(portal.add(DATA, **{"block_size": 10_000, **options_of_file}))
    wanted = [DATA[start:end] for start, end in RANGES]
    assert [fs.cat_file(path, start, end) for start, end in RANGES] == wanted
    starts, ends = zip(*RANGES)
    assert fs.cat_ranges([path] * len(RANGES), list(starts), list(ends)) == wanted
    assert fs.cat_ranges([path] * 2, 3, 8) == [DATA[3:8]] * 2
    assert fs.read_block(path, 7, 100) == DATA[7:107]
    assert fs.head(path, 10) == DATA[:10]
    assert fs.tail(path, 10) == DATA[-10:]
    assert fs.cat(path) == fs.read_bytes(path) == DATA


def test_cat_of_many(fs: CteraFileSystem, portal: Emulator, file_id: int) -> None:
    """cat of a list gives a mapping by whole paths, with the errors in it where that was asked for."""
    other, host = portal.add(b"other"), fs.host
    found = fs.cat([str(file_id), f"{other}/x"])
    assert found == {f"{host}/{file_id}": DATA, f"{host}/{other}/x": b"other"}
    with pytest.raises(FileNotFoundError):
        fs.cat(["99", str(other)])
    found = fs.cat([str(other), "98"], on_error="return")
    assert found[f"{host}/{other}"] == b"other"
    assert isinstance(found[f"{host}/98"], FileNotFoundError)
    omitted = fs.cat([str(other), "98"], on_error="omit")
    assert list(omitted) == [f"{host}/{other}"]


def test_cat_ranges_fetches_each_block_once(
    fs: CteraFileSystem, portal: Emulator, file_id: int, fetched: Fetched
) -> None:
    """Twenty ranges in three blocks are one listing and three downloads."""
    starts = [n * 1000 for n in range(20)] + [29_999]
    ends = [start + 20 for start in starts]
    path = str(file_id)
    assert fs.cat_ranges([path] * 21, starts, ends) == [DATA[n : n + 20] for n in starts]
    assert sorted(fetched()) == [1, 2, 3, 4]
    assert portal.log.total("portal") == 1


def test_cat_ranges_of_a_native_object(fs: CteraFileSystem, portal: Emulator) -> None:
    """Of a plaintext object, ranges far apart are fetched as such, close ones together."""
    size = 1_000_000
    path = str(portal.add(SyntheticSource(size), native=True))
    fs.cat_ranges([path] * 4, [0, 30, 500_000, 999_990], [20, 50, 500_010, 10**9])
    ranges = sorted(each.range for each in portal.log.records(where="storage"))
    assert ranges == ["bytes=0-49", "bytes=500000-500009", "bytes=999990-999999"]


def test_cat_ranges_of_several_files(fs: CteraFileSystem, portal: Emulator) -> None:
    """The blocks of several files are under way at the same time, and an error ends them all."""
    paths = [str(portal.add(DATA, block_size=10_000)) for _ in range(6)]
    held = portal.faults.add("storage", file_id=int(paths[0]), action=faults.stall(0))
    others = [
        portal.faults.add("storage", file_id=int(path), action=faults.stall(0))
        for path in paths[1:4]
    ]
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(fs.cat_ranges, paths, 5, 15)
        assert all(each.wait() for each in [held, *others])
        for each in [held, *others]:
            each.release()
        assert found.result(60) == [DATA[5:15]] * 6
    portal.faults.add("storage", file_id=int(paths[2]), times=None, action=faults.status(404))
    with pytest.raises(DownloadError):
        fs.cat_ranges(paths, 5, 15, on_error="raise")


def test_cat_ranges_errors(fs: CteraFileSystem, portal: Emulator, file_id: int) -> None:
    """An error stands in the place of the ranges that it concerns, or is raised if asked for."""
    portal.faults.add("storage", block=2, times=None, action=faults.status(404))
    paths = [str(file_id)] * 4 + ["99"]
    starts, ends = [0, 9_000, 15_000, 20_000, 0], [10, 11_000, 15_010, 20_010, 5]
    found = fs.cat_ranges(paths, starts, ends)
    assert [found[0], found[3]] == [DATA[:10], DATA[20_000:20_010]]
    assert [type(each) for each in found] == [
        bytes, DownloadError, DownloadError, bytes, NoSuchFileError
    ]  # fmt: skip
    with pytest.raises(DownloadError):
        fs.cat_ranges(paths[:4], starts[:4], ends[:4], on_error="raise")
    with pytest.raises(ValueError, match="as many"):
        fs.cat_ranges(paths, [1], [2])
    with pytest.raises(TypeError):
        fs.cat_ranges("12", 1, 2)


def test_info(fs: CteraFileSystem, portal: Emulator, file_id: int) -> None:
    """info, size, type and existence come from one listing, however often they are asked for."""
    path = f"{host_of(portal)}/{file_id}/data.bin"
    info = fs.info(f"ctera://{path}")
    assert info == {
        "name": path, "size": len(DATA), "type": "file", "ETag": fs.ukey(path),
        "mtime": fs.modified(path).timestamp(), "file_id": file_id, "blocks": 11,
        "encrypted": True, "compression": "SNAPPY",
    }  # fmt: skip
    assert fs.size(path) == len(DATA) and fs.sizes([path]) == [len(DATA)]
    assert fs.exists(path) and fs.isfile(path) and not fs.isdir(path)
    assert fs.ls(path) == [info] and fs.ls(path, detail=False) == [path]
    assert fs.find(path) == [path]
    assert fs.du(path) == len(DATA)
    assert fs.unstrip_protocol(path) == f"ctera://{path}"
    assert len(fs.ukey(path)) == 64 and fs.checksum(path)
    assert portal.log.total("portal") == 1
    assert not fs.exists("99") and not fs.isfile("99")


def test_listing_cache(options: dict[str, Any], portal: Emulator, file_id: int) -> None:
    """A listing is forgotten when told, after its time, or when there are too many."""
    fs = CteraFileSystem(**options, max_paths=2)
    path = str(file_id)
    before, seen = fs.ukey(path), fs.modified(path)
    portal.replace(file_id, DATA + b"!")
    assert fs.size(path) == len(DATA)
    fs.invalidate_cache(path)
    assert fs.size(path) == len(DATA) + 1
    assert fs.ukey(path) != before
    assert fs.modified(path) > seen
    fs.invalidate_cache()
    for each in [file_id, portal.add(b"1"), portal.add(b"2"), portal.add(b"3")]:
        fs.info(str(each))
    assert set(fs._listings) == {1003, 1004}
    eager = CteraFileSystem(**options, listings_expiry_time=0)
    asked = portal.log.total("portal")
    assert eager.modified(path) == eager.modified(path)
    assert portal.log.total("portal") == asked + 2
    without = CteraFileSystem(**options, use_listings_cache=False)
    without.info(path)
    without.info(path)
    assert portal.log.total("portal") == asked + 4


def test_get(fs: CteraFileSystem, url: str, file_id: int, tmp_path: Any) -> None:
    """get_file and get write files, make folders, and tell a callback how far they are."""
    seen: list[tuple[int, int]] = []

    class Watching(Callback):
        def call(self, *_: Any, **__: Any) -> None:
            seen.append((self.value, self.size))

    target = tmp_path / "a" / "b" / "data.bin"
    fs.get_file(url, str(target), callback=Watching())
    assert target.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    buffer = io.BytesIO()
    fs.get_file(str(file_id), buffer)
    assert buffer.getvalue() == DATA
    buffer = io.BytesIO()
    fs.get_file(str(file_id), None, outfile=buffer)
    assert buffer.getvalue() == DATA
    fs.get(url, str(tmp_path / "copy.bin"))
    assert (tmp_path / "copy.bin").read_bytes() == DATA
    folder = tmp_path / "folder"
    fs.download(f"{file_id}/data.bin", str(folder) + os.sep)
    assert (folder / "data.bin").read_bytes() == DATA
    with pytest.raises(FileNotFoundError):
        fs.get_file("99/x", str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_errors_of_the_portal(fs: CteraFileSystem, portal: Emulator, file_id: int) -> None:
    """A refusal of the portal is an error of Python's class and the library's."""
    with pytest.raises(FileNotFoundError) as caught:
        fs.open("99/x.csv")
    assert isinstance(caught.value, NotFoundError)
    assert isinstance(caught.value.__cause__, DirectIOError)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, f"{fs.host}/99/x.csv")
    portal.faults.add("portal", action=faults.status(403))
    with pytest.raises(PermissionError) as refused:
        fs.exists(str(file_id))
    assert isinstance(refused.value, UnAuthorized)
    again = pickle.loads(pickle.dumps(refused.value))
    assert (type(again), str(again)) == (type(refused.value), str(refused.value))


def test_file_listed_in_part(fs: CteraFileSystem, portal: Emulator) -> None:
    """Of a file that is listed in part, what is listed can be read, the rest is an error."""
    path = str(portal.add(DATA, block_size=1000, listing="ranged", listed_range=(1000, 3000)))
    assert fs.cat_file(path, 1000, 3000) == DATA[1000:3000]
    assert fs.size(path) == len(DATA)
    with pytest.raises(DirectIOError, match="only a part"):
        fs.cat_file(path)


def test_closing_the_client_ends_a_read(
    fs: CteraFileSystem, portal: Emulator, file_id: int
) -> None:
    """A read that waits ends with ECANCELED when the client is closed."""
    held = portal.faults.add("storage", action=faults.stall())
    caught: list[OSError] = []

    def read() -> None:
        try:
            fs.cat_file(str(file_id))
        except OSError as error:
            caught.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    assert held.wait()
    fs.client.close()
    reader.join()
    assert caught[0].errno == errno.ECANCELED


# --- pickles and secrets ---------------------------------------------------------------------------------


def test_pickling(fs: CteraFileSystem, url: str, options: dict[str, Any], file_id: int) -> None:
    """File systems and unopened files pickle; the copy is the same instance here."""
    assert pickle.loads(pickle.dumps(fs)) is fs
    opened = pickle.loads(pickle.dumps(fsspec.open(url, **options)))
    with opened as file:
        assert file.read() == DATA


def test_pickle_in_another_process(fs: CteraFileSystem, file_id: int) -> None:
    """A spawned process reads through what was pickled here."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(fs.cat_file, (str(file_id), -10)) == DATA[-10:]


def test_tokens_tell_instances_apart(options: dict[str, Any]) -> None:
    """Keys given as Token are as good as strings; two different ones never share an instance."""
    first = CteraFileSystem(**{**options, "secret_access_key": Token("one")})
    second = CteraFileSystem(**{**options, "secret_access_key": Token("two")})
    assert first is not second and first != second
    assert str(core_of(second.client).secret) == "two"
    assert CteraFileSystem(**second.storage_options) is second
    assert CteraFileSystem(**{**options, "secret_access_key": "two"}) is second
    assert pickle.loads(pickle.dumps(second)) is second


def test_json(fs: CteraFileSystem, options: dict[str, Any], environment: None) -> None:
    """JSON holds no keys, not even on request; its reader has them in the environment."""
    made = CteraFileSystem(**options, settings=Settings(memory=77))
    for text in (fs.to_json(), made.to_json(), json.dumps(made.to_dict())):
        assert options["access_key_id"] not in text
        assert options["secret_access_key"] not in text
    back = CteraFileSystem.from_json(made.to_json())
    assert back.client is made.client
    assert core_of(back.client).settings.memory == 77


def test_settings_survive_json(options: dict[str, Any]) -> None:
    """Every setting of an instance is that of its client, also after JSON."""
    chosen = Settings(
        bandwidth="2M", storage=Endpoint(min_speed=1000, timeout=(3, 4)), retry_timeout=7
    )
    made = CteraFileSystem(**options, settings=chosen)
    assert core_of(made.client).settings == chosen
    assert given_settings(json.loads(json.dumps(made.storage_options["settings"]))) == chosen


def test_import_needs_no_fsspec() -> None:
    """The package itself does not import fsspec: it is an extra."""
    import subprocess

    program = "import sys, ctera_direct_sync; sys.exit('fsspec' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_reading_through_one_thread(
    options: dict[str, Any], portal: Emulator, fetched: Fetched
) -> None:
    """A file of fsspec keeps one cache of blocks, not fsspec's on top: a small read is one block."""
    path = str(portal.add(DATA, block_size=10_000))
    fs = CteraFileSystem(**options)
    run_inline(fs.client)
    with fs.open(path, cache_type="readahead", block_size=2**22) as file:
        file.seek(50_000)
        file.read(10)
    assert fetched() == [6]


@pytest.fixture(autouse=True)
def _unused(fs: CteraFileSystem) -> Iterator[None]:
    """Every test has the file system of the portal, so that what it leaves is closed after it."""
    yield
