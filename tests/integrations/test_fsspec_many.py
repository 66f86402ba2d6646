"""Many files and ranges in one call: how many at a time, which bounds, what an error ends."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from fsspec.callbacks import Callback

from ctera_direct_sync import DownloadError
from ctera_direct_sync.emulator import Emulator, faults
from ctera_direct_sync.filesystem import CteraFileSystem

DATA = bytes(range(256)) * 200


def held_files(portal: Emulator, count: int) -> tuple[list[str], list[Any]]:
    """Files whose first block the storage keeps back, and what lets it go."""
    paths = [str(portal.add(DATA, block_size=20_000)) for _ in range(count)]
    held = [
        portal.faults.add("storage", file_id=int(path), block=1, action=faults.stall(0))
        for path in paths
    ]
    return paths, held


def together(fs: CteraFileSystem, call: str, paths: list[str], folder: Path, **options: Any) -> Any:
    """Have ``call`` fetch all paths; their bytes, in order."""
    if call == "get":
        targets = [str(folder / path) for path in paths]
        fs.get(paths, targets, **options)
        return [Path(target).read_bytes() for target in targets]
    if call == "cat":
        found = fs.cat(paths, **options)
        return [found[f"{fs.host}/{path}"] for path in paths]
    return fs.cat_ranges(paths, None, None, on_error="raise", **options)


@pytest.mark.parametrize("call", ["cat", "get", "cat_ranges"])
def test_files_at_the_same_time(
    fs: CteraFileSystem, portal: Emulator, tmp_path: Path, call: str
) -> None:
    """All files of a call are under way before one of them ends."""
    paths, held = held_files(portal, 12)
    found: list[bytes] = []
    caller = threading.Thread(target=lambda: found.extend(together(fs, call, paths, tmp_path)))
    caller.start()
    try:
        assert all(each.wait() for each in held)
    finally:
        for each in held:
            each.release()
        caller.join()
    assert found == [DATA] * 12


@pytest.mark.parametrize("call", ["cat", "get", "cat_ranges"])
@pytest.mark.parametrize("where", ["call", "file system"])
def test_batch_size(
    fs: CteraFileSystem,
    options: dict[str, Any],
    portal: Emulator,
    tmp_path: Path,
    call: str,
    where: str,
) -> None:
    """``batch_size`` bounds the files at a time, of one call or of all."""
    given = {"batch_size": 2} if where == "call" else {}
    if where == "file system":
        fs = CteraFileSystem(**options, batch_size=2)
    paths, held = held_files(portal, 5)
    found: list[bytes] = []
    caller = threading.Thread(
        target=lambda: found.extend(together(fs, call, paths, tmp_path, **given))
    )
    caller.start()
    try:
        assert held[0].wait() and held[1].wait()
        # The others have not been listed, so their blocks cannot have been asked for.
        assert portal.log.total("portal") == 2
    finally:
        for each in held:
            each.release()
        caller.join()
    assert found == [DATA] * 5


def test_batch_size_that_makes_no_sense(fs: CteraFileSystem, options: dict[str, Any]) -> None:
    """Zero files at a time is an error; -1 is fsspec's word for no wish."""
    for wrong in (0, -2):
        with pytest.raises(ValueError, match="batch_size"):
            fs.cat(["1", "2"], batch_size=wrong)
        with pytest.raises(ValueError, match="batch_size"):
            CteraFileSystem(**options, batch_size=wrong)
    assert CteraFileSystem(**options, batch_size=-1)._files_at_once > 1


@pytest.mark.parametrize("call", ["cat", "get", "cat_ranges"])
def test_an_error_ends_the_others(
    fs: CteraFileSystem, portal: Emulator, tmp_path: Path, call: str
) -> None:
    """The first error is raised; what is still under way ends, and nothing more begins."""
    paths, held = held_files(portal, 3)
    failing = str(portal.add(DATA, block_size=20_000))
    portal.faults.add("storage", file_id=int(failing), times=None, action=faults.status(404))
    late = [str(portal.add(DATA)) for _ in range(30)]
    for each in held:
        each.release()
    with pytest.raises(DownloadError):
        together(fs, call, [*paths, failing, *late], tmp_path, batch_size=2)
    assert portal.log.total("portal") < 20
    assert not [each for each in threading.enumerate() if "files" in each.name]


def test_no_more_threads(
    fs: CteraFileSystem, portal: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started, the caller's own does the work."""
    paths = [str(portal.add(DATA)) for _ in range(4)]
    fs.cat_file(paths[0])  # The client's workers are there before.
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if "files" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert list(fs.cat(paths).values()) == [DATA] * 4


def test_callback_of_get(fs: CteraFileSystem, portal: Emulator, tmp_path: Path) -> None:
    """The callback counts files, and has a child for each of them."""
    children: list[Callback] = []

    class Counting(Callback):
        def branched(self, path_1: str, path_2: str, **kwargs: Any) -> Callback:
            children.append(Callback())
            return children[-1]

    paths = [str(portal.add(DATA)) for _ in range(5)]
    callback = Counting()
    fs.get(paths, str(tmp_path / "folder") + "/", callback=callback)
    assert (callback.size, callback.value) == (5, 5)
    assert [(each.size, each.value) for each in children] == [(len(DATA), len(DATA))] * 5


def test_bounds_of_every_kind(fs: CteraFileSystem, portal: Emulator) -> None:
    """Bounds are lists, tuples, arrays or single integers, Python's or NumPy's, negative or None."""
    numpy = pytest.importorskip("numpy")
    path = str(portal.add(DATA, block_size=20_000))
    wanted = [DATA[0:300], DATA[30_000:30_300], DATA[-400:-100]]
    starts, ends = [0, 30_000, -400], [300, 30_300, -100]
    for kind in (list, tuple, numpy.array, lambda each: numpy.array(each, "int16")):
        assert fs.cat_ranges([path] * 3, kind(starts), kind(ends)) == wanted
        assert fs.cat_ranges((path,) * 3, kind(starts), kind(ends)) == wanted
    objects = numpy.array([0, None, -400], dtype=object)
    assert fs.cat_ranges([path] * 3, objects, None) == [DATA, DATA, DATA[-400:]]
    for one in (7, numpy.int8(7), numpy.array(7)):
        assert fs.cat_ranges([path] * 2, one, numpy.uint16(50_000)) == [DATA[7:50_000]] * 2
    assert fs.cat_ranges([path], None, None) == [DATA]
    assert fs.cat_ranges([], [], []) == []
    with pytest.raises(ValueError, match="as many"):
        fs.cat_ranges([path] * 2, numpy.array([1]), 5)


def test_numpy_integers(fs: CteraFileSystem, portal: Emulator) -> None:
    """Offsets and lengths out of arrays do not overflow."""
    numpy = pytest.importorskip("numpy")
    path = str(portal.add(DATA, block_size=20_000))
    i8, i16 = numpy.int8, numpy.int16
    assert fs.cat_file(path, i8(100), i16(30_000)) == DATA[100:30_000]
    assert fs.read_block(path, i16(30_000), i16(10_000)) == DATA[30_000:40_000]
    assert fs.head(path, i16(500)) == DATA[:500]
    assert fs.tail(path, i16(500)) == DATA[-500:]
    with fs.open(path) as file:
        file.seek(i16(30_000))
        assert file.read(i16(10_000)) == DATA[30_000:40_000]
        assert file.seek(i16(5000), 1) == 45_000
        assert file.read1(i8(5)) == DATA[45_000:45_005]
        assert file.seek(i16(-5), 2) == len(DATA) - 5
        assert file.readline(i8(3)) == DATA[-5:-2]
