"""Which names below a file ID are the file's: the first that it was asked for by, and no side-car's."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync._fsspec import sightings
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.filesystem import CteraFileSystem

from .conftest import Fetched

ASK = {
    "open": lambda fs, path: fs.open(path).close(),
    "info": lambda fs, path: fs.info(path),
    "exists": lambda fs, path: fs.exists(path),
    "cat_file": lambda fs, path: fs.cat_file(path),
    "cat_ranges": lambda fs, path: fs.cat_ranges([path], 0, 1),
    "ls": lambda fs, path: fs.ls(path),
    "ukey": lambda fs, path: fs.ukey(path),
    "get_file": lambda fs, path: fs.get_file(path, io.BytesIO()),
}


@pytest.mark.parametrize("ask", ASK)
def test_first_name_is_the_name(fs: Any, portal: Emulator, ask: str) -> None:
    """The name that a file is first asked for by is its name, whatever call asks."""
    file_id = portal.add(b"data")
    ASK[ask](fs, f"{file_id}/a.tif")
    asked = portal.log.total("portal")
    for name in ("a.tif.ovr", "b.tif", "A.tif", "a.tif/_metadata", "a.tif/.zgroup"):
        path = f"{file_id}/{name}"
        assert not fs.exists(path) and not fs.isfile(path) and fs.glob(path) == []
        with pytest.raises(FileNotFoundError):
            fs.open(path)
        with pytest.raises(FileNotFoundError):
            fs.cat_file(path)
        with pytest.raises(FileNotFoundError):
            fs.get_file(path, "/nowhere/x")
        with pytest.raises(FileNotFoundError):
            fs.cat_ranges([path], 0, 1, on_error="raise")
    assert portal.log.total("portal") == asked, "nothing of that is a question for the portal"
    assert fs.cat_file(f"{file_id}/a.tif") == fs.cat_file(str(file_id)) == b"data"


def test_glob_by_a_pattern_finds_the_name(fs: Any, portal: Emulator) -> None:
    """Once a file has a name, patterns are held against it."""
    file_id = portal.add(b"data")
    fs.info(f"{file_id}/a.csv")
    assert fs.glob(f"{file_id}/*.csv") == [f"{fs.host}/{file_id}/a.csv"]
    assert fs.glob(f"{file_id}/*.tif") == []


@pytest.mark.parametrize(
    "name", ["a.tif.ovr", "a.tif.msk", "a.tif.aux.xml", "_metadata", ".zgroup", "zarr.json"]
)
def test_side_car_that_is_asked_for_first(fs: Any, portal: Emulator, name: str) -> None:
    """A worker that asks for a side-car before the file itself does not name the file by it."""
    file_id = portal.add(b"data")
    assert not fs.exists(f"{file_id}/{name}")
    with pytest.raises(FileNotFoundError, match="the file ID alone"):
        fs.info(f"{file_id}/{name}")
    assert fs.cat_file(f"{file_id}/a.tif") == b"data"


def test_file_that_is_called_like_a_side_car(fs: Any, portal: Emulator) -> None:
    """Reading such a file under its own ID works, and then it exists."""
    path = f"{portal.add(b'data')}/zarr.json"
    assert fs.cat_file(path) == b"data"
    assert fs.exists(path) and fs.info(path)["size"] == 4


def test_missing_file_gets_no_name(fs: Any, portal: Emulator) -> None:
    """A name that was asked for in vain is not the name of a file that comes later."""
    assert not fs.exists("1001/early.csv")
    assert portal.add(b"data") == 1001
    assert fs.cat_file("1001/late.csv") == b"data"


def test_threads_share_the_name(fs: Any, options: dict[str, Any], portal: Emulator) -> None:
    """fsspec makes a file system for each thread: they agree on the name."""
    file_id = portal.add(b"data")
    fs.open(f"{file_id}/a.tif").close()
    found: list[Any] = []

    def ask() -> None:
        theirs = CteraFileSystem(**options)
        found.extend([theirs, theirs.exists(f"{file_id}/a.tif.tfw")])

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found[0] is not fs and found[1] is False


def test_forgotten_names(fs: Any, portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """invalidate_cache forgets a name; the oldest are forgotten where there are too many."""
    one, two = portal.add(b"1"), portal.add(b"2")
    fs.info(f"{one}/wrong.csv")
    with pytest.raises(FileNotFoundError, match=r"wrong\.csv.*invalidate_cache"):
        fs.info(f"{one}/right.csv")
    fs.invalidate_cache(f"{one}/right.csv")
    assert fs.info(f"{one}/right.csv")["size"] == 1
    monkeypatch.setattr(sightings.shrink, "__defaults__", (1,))
    fs.info(f"{two}/x.csv")
    assert list(fs._sightings.names) == [two]
    assert fs.info(f"{one}/other.csv")["size"] == 1


GDAL = """
import fsspec, json, rasterio, sys, warnings
warnings.simplefilter("ignore")
fs = fsspec.filesystem("ctera")
way, path = sys.argv[1:]
asked = []
def opener(path, mode="rb", **_):
    asked.append(path)
    return fs.open(path, mode)
with rasterio.open(path, opener=opener if way == "function" else fs) as raster:
    print(json.dumps([raster.overviews(1), len(raster.files), int(raster.read(1).sum()), len(asked)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["function", "file system"])
def test_gdal_finds_no_false_overviews(
    portal: Emulator, environment: None, tmp_path: Path, fetched: Fetched, way: str
) -> None:
    """GDAL looks for files beside a raster, finds none, and comes back."""
    rasterio = pytest.importorskip("rasterio")
    numpy = pytest.importorskip("numpy")
    # An identity transform is what GDAL warns of.
    place = rasterio.Affine(2, 0, 0, 0, -2, 0)
    profile = {
        "transform": place,
        "driver": "GTiff",
        "width": 256,
        "height": 256,
        "count": 1,
        "dtype": "uint8",
    }
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as raster:
        raster.write(numpy.ones((256, 256), "uint8"), 1)
    file_id = portal.add((tmp_path / "a.tif").read_bytes(), block_size=10_000)
    done = subprocess.run(
        [sys.executable, "-c", GDAL, way, f"{file_id}/a.tif"],
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    overviews, files, total, asked = json.loads(done.stdout)
    assert (overviews, files, total) == ([], 1, 256 * 256)
    assert asked < 100
    assert portal.log.total("portal") == 1
