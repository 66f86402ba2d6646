"""Programs that tell versions and portals apart, and pickle files: datasets, UPath, xarray."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import fsspec
import pytest

from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.filesystem import CteraFileSystem

from .test_fsspec import host_of

pandas = pytest.importorskip("pandas")

# These programs leave threads, files and sockets of their own to the collector.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(autouse=True)
def _closed(options: dict[str, Any]) -> None:
    """Every test has the options, whose fixture closes what is made."""


def parquet(rows: int) -> bytes:
    """A table of so many rows."""
    target = io.BytesIO()
    pandas.DataFrame({"a": range(rows)}).to_parquet(target)
    return target.getvalue()


# --- Hugging Face datasets -------------------------------------------------------------------------------


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """How many rows datasets.load_dataset finds at a URL, with one cache for the test."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    cache = str(tmp_path / "cache")

    def count(url: str, **given: Any) -> int:
        # Its files of data are kept by URL alone, unless it is told to use the ETag.
        how = datasets.DownloadConfig(cache_dir=cache, use_etag=True, **given)
        found = datasets.load_dataset(
            "parquet", data_files=url, split="train", cache_dir=cache, download_config=how, **given
        )
        return len(found)

    return count


def test_datasets_see_a_new_version(portal: Emulator, environment: None, rows: Any) -> None:
    """A file that changed is another data set."""
    file_id = portal.add(parquet(1000))
    url = f"ctera://{host_of(portal)}/{file_id}/t.parquet"
    assert rows(url) == rows(url) == 1000
    portal.replace(file_id, parquet(2000))
    CteraFileSystem.clear_instance_cache()
    assert rows(url) == 2000


def test_datasets_keep_portals_apart(portal: Emulator, options: dict[str, Any], rows: Any) -> None:
    """The same file ID on two portals is two data sets."""
    with Emulator() as other:
        assert portal.add(parquet(111)) == other.add(parquet(222))
        theirs = {
            "baseurl": other.url,
            "access_key_id": other.access_key_id,
            "secret_access_key": other.secret_access_key,
        }
        for each, keys, wanted in ((portal, options, 111), (other, theirs, 222)):
            url = f"ctera://{host_of(each)}/1001/t.parquet"
            assert rows(url, storage_options=keys) == wanted


# --- universal-pathlib -----------------------------------------------------------------------------------


def test_upath(portal: Emulator, environment: None) -> None:
    """A UPath shows the whole URL, has size and time, reads, and pickles."""
    upath = pytest.importorskip("upath")
    file_id = portal.add(b"a,b\n1,2\n")
    url = f"ctera://{host_of(portal)}/{file_id}/t.csv"
    path = upath.UPath(url)
    assert (str(path), path.name, path.suffix) == (url, "t.csv", ".csv")
    status = path.stat()
    assert status.st_size == 8
    assert status.st_mtime == CteraFileSystem().modified(str(file_id)).timestamp()
    assert path.exists() and path.is_file() and not path.is_dir()
    assert path.read_text() == "a,b\n1,2\n"
    assert not path.with_name("t.csv.idx").exists()
    assert pickle.loads(pickle.dumps(path)).read_bytes() == b"a,b\n1,2\n"
    with pytest.raises(OSError, match="only be read"):
        path.write_text("x")
    with pytest.raises(OSError, match="only be read"):
        path.unlink()


# --- xarray ----------------------------------------------------------------------------------------------


FORMS = {
    "fs.open": lambda url: fsspec.filesystem("ctera").open(url),
    "fsspec.open": lambda url: fsspec.open(url).open(),
    "open_files": lambda url: fsspec.open_files([url])[0].open(),
}


def dataset_url(portal: Emulator, folder: Path, engine: str, kind: str) -> tuple[str, Any]:
    """A NetCDF file on the portal, and the sums of its rows."""
    numpy = pytest.importorskip("numpy")
    xarray = pytest.importorskip("xarray")
    pytest.importorskip(engine)
    values = numpy.arange(200_000, dtype="float64").reshape(200, 1000)
    made = xarray.Dataset({"v": (("y", "x"), values)})
    made.to_netcdf(folder / "x.nc", engine=engine, format=kind)
    file_id = portal.add((folder / "x.nc").read_bytes(), block_size=100_000)
    return f"ctera://{host_of(portal)}/{file_id}/x.nc", values.sum(axis=1)


@pytest.mark.parametrize("form", FORMS)
def test_pickled_xarray(environment: None, portal: Emulator, tmp_path: Path, form: str) -> None:
    """A data set over an open file pickles, and reads where it is loaded."""
    xarray = pytest.importorskip("xarray")
    url, wanted = dataset_url(portal, tmp_path, "scipy", "NETCDF3_64BIT")
    with FORMS[form](url) as file:
        opened = xarray.open_dataset(file, engine="scipy", chunks={"y": 50})
        again = pickle.loads(pickle.dumps(opened))
        for each in (opened, again):
            found = each["v"].sum(dim="x").compute(scheduler="sync")
            assert (found.values == wanted).all()
            each.close()
