"""The pages of the data programs: blocks that are marked `name: folders` run on a portal with a tree."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync.emulator import Emulator
from tests.support.file_systems import variables_of
from tests.support.pages import blocks

pandas = pytest.importorskip("pandas")

PAGES = ("dask.md", "fsspec.md", "datasets.md", "upath.md")
CASES = [
    pytest.param(code, id=f"{page}-{number}")
    for page in PAGES
    for number, code in enumerate(blocks(page, "folders"))
]
#: Programs that a block may need, by the name that it imports.
NEEDED = ("dask", "datasets", "duckdb", "pyarrow", "upath", "xarray", "zarr")


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A portal with the tables, the grid and the Zarr store that the pages speak of."""
    folder = tmp_path_factory.mktemp("pages")
    with Emulator(tree={"2026": _content(folder)}) as portal:
        yield portal


#: It runs in a process of its own, since Zarr leaves a thread behind.
_MAKE_STORES = """
import sys
import xarray
import zarr

grid = xarray.Dataset({"v": (("y", "x"), [[1.0, 2.0], [3.0, 4.0]])})
grid.to_netcdf(sys.argv[1] + "/grid.nc", engine="h5netcdf")
store = sys.argv[1] + "/store.zarr"
array = zarr.open_array(store, mode="w", shape=(4, 4), chunks=(2, 2), dtype="i4")
array[:] = 7
"""


def _content(folder: Path) -> dict[str, Any]:
    for name in ("q1", "q2"):
        table = pandas.DataFrame({"name": ["a", "b"] * 50, "price": range(100)})
        table.to_parquet(folder / f"{name}.parquet")
    (folder / "table.csv").write_text("name,price\na,1\nb,2\n")
    # Without xarray or Zarr the blocks that need them are skipped.
    subprocess.run([sys.executable, "-c", _MAKE_STORES, str(folder)], stderr=subprocess.DEVNULL)
    return _tree(folder)


def _tree(folder: Path) -> dict[str, Any]:
    return {
        path.name: _tree(path) if path.is_dir() else path.read_bytes() for path in folder.iterdir()
    }


@pytest.mark.nightly
@pytest.mark.parametrize("code", CASES)
def test_blocks(portal: Emulator, tmp_path: Path, code: str) -> None:
    """A block does what its page says, with the account in the environment, and shows no secret."""
    for name in NEEDED:
        if f"import {name}" in code or f"from {name}" in code:
            pytest.importorskip(name)
    program = tmp_path / "program.py"
    host = portal.url.partition("://")[2]
    program.write_text(code.replace("tenant.ctera.com", host), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program)],
        env={
            **os.environ, **variables_of(portal), "TMPDIR": str(tmp_path), "HF_HOME": str(tmp_path)
        },
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for secret in (portal.password, portal.secret_access_key, portal.access_key_id):
        assert secret not in done.stdout + done.stderr
