"""pandas, pyarrow and DuckDB, reading ``ctera://`` through fsspec."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest

from ctera_direct_sync.emulator import Emulator

from .conftest import Fetched
from .test_fsspec import host_of

pandas = pytest.importorskip("pandas")
pyarrow = pytest.importorskip("pyarrow")

ROWS = 20_000
BLOCK = 4 * 1024
CSV = b"a,b" + b"\n1,2" * 1000


def table() -> Any:
    """Four columns, of which the numbers do not compress."""
    chance = random.Random(7)
    return pyarrow.table(
        {
            "id": list(range(ROWS)),
            "group": [f"g{n % 7}" for n in range(ROWS)],
            "x": [chance.random() for _ in range(ROWS)],
            "y": [chance.random() for _ in range(ROWS)],
        }
    )


@pytest.fixture(scope="module")
def parquet_bytes() -> bytes:
    """The table as Parquet, in row groups of 2,500."""
    from pyarrow import parquet

    target = io.BytesIO()
    parquet.write_table(table(), target, row_group_size=2500)
    return target.getvalue()


@pytest.fixture
def parquet_id(portal: Emulator, parquet_bytes: bytes) -> int:
    """The Parquet file, in many blocks."""
    return portal.add(parquet_bytes, block_size=BLOCK, name="table.parquet")


@pytest.fixture
def parquet_url(portal: Emulator, parquet_id: int) -> str:
    """Its URL."""
    return f"ctera://{host_of(portal)}/{parquet_id}/table.parquet"


# --- pandas ----------------------------------------------------------------------------------------------


def test_pandas_csv(portal: Emulator, options: dict[str, Any]) -> None:
    """pandas.read_csv takes a URL and storage_options, and infers compression from the name."""
    import gzip

    frame = table().to_pandas()
    text = frame.to_csv(index=False).encode()
    for name, data in {"t.csv": text, "t.csv.gz": gzip.compress(text)}.items():
        url = f"ctera://{host_of(portal)}/{portal.add(data, block_size=50_000)}/{name}"
        found = pandas.read_csv(url, storage_options=options)
        pandas.testing.assert_frame_equal(found, frame, check_dtype=False)


def test_pandas_parquet(
    parquet_url: str, parquet_bytes: bytes, options: dict[str, Any], fetched: Fetched
) -> None:
    """pandas.read_parquet takes a URL; one column of four is less to fetch than all."""
    some = pandas.read_parquet(parquet_url, columns=["x"], storage_options=options)
    few = len(set(fetched()))
    whole = pandas.read_parquet(parquet_url, storage_options=options)
    wanted = pandas.read_parquet(io.BytesIO(parquet_bytes))
    pandas.testing.assert_frame_equal(whole, wanted)
    pandas.testing.assert_frame_equal(some, wanted[["x"]])
    assert few < len(parquet_bytes) / BLOCK * 0.7


def test_pandas_json(portal: Emulator, options: dict[str, Any]) -> None:
    """pandas.read_json takes a URL."""
    file_id = portal.add(b'{"a": [1, 2]}')
    url = f"ctera://{host_of(portal)}/{file_id}/t.json"
    assert pandas.read_json(url, storage_options=options)["a"].tolist() == [1, 2]


# --- pyarrow ---------------------------------------------------------------------------------------------


def test_arrow_dataset(fs: Any, portal: Emulator, parquet_bytes: bytes, fetched: Fetched) -> None:
    """A dataset over several files filters and projects, by row groups that its threads read."""
    import pyarrow.dataset

    paths = [f"{portal.add(parquet_bytes, block_size=4 * BLOCK)}/part.parquet" for _ in range(3)]
    dataset = pyarrow.dataset.dataset(paths, filesystem=fs, format="parquet")
    assert dataset.count_rows() == 3 * ROWS
    found = dataset.to_table(columns=["id"], filter=pyarrow.dataset.field("id") < 100)
    assert found.num_rows == 300
    one_column_of_one_group = len(set(fetched(1001)))
    assert dataset.to_table().num_rows == 3 * ROWS
    # The footer's 64 KiB, 20,000 bytes of the first of eight row groups, and what is read ahead.
    assert one_column_of_one_group < len(set(fetched(1001))) // 2


def test_arrow_parquet_by_path(fs: Any, parquet_id: int, parquet_bytes: bytes) -> None:
    """pyarrow.parquet.read_table takes a path and the file system."""
    from pyarrow import parquet

    found = parquet.read_table(f"{parquet_id}/t.parquet", filesystem=fs, columns=["y"])
    assert found.equals(parquet.read_table(io.BytesIO(parquet_bytes), columns=["y"]))


def test_arrow_csv(fs: Any, portal: Emulator) -> None:
    """pyarrow's own file system wrapper reads streams and files."""
    from pyarrow import csv
    from pyarrow import fs as arrow_fs

    wrapped = arrow_fs.PyFileSystem(arrow_fs.FSSpecHandler(fs))
    path = f"{portal.add(CSV, block_size=500)}/t.csv"
    with wrapped.open_input_stream(path) as stream:
        assert csv.read_csv(stream).num_rows == 1000
    assert wrapped.get_file_info(path).size == 3 + 4 * 1000


def sum_of_x_and_y(parquet_bytes: bytes) -> float:
    """Of the table's two columns of random numbers."""
    frame = pandas.read_parquet(io.BytesIO(parquet_bytes))
    return float(frame["x"].sum() + frame["y"].sum())


# --- DuckDB ----------------------------------------------------------------------------------------------


def test_duckdb(
    fs: Any, portal: Emulator, parquet_url: str, parquet_bytes: bytes, fetched: Fetched
) -> None:
    """DuckDB queries Parquet and CSV by URL, once the file system is registered."""
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    connection.register_filesystem(fs)
    rows = connection.execute(f"select count(*), sum(id) from '{parquet_url}'").fetchone()
    assert rows == (ROWS, sum(range(ROWS)))
    assert len(set(fetched())) < len(parquet_bytes) / BLOCK * 0.7
    # Its threads share one file, seek and read: not one wrong row, however often it is tried.
    for _ in range(10):
        fresh = duckdb.connect()
        fresh.register_filesystem(fs)
        sums = fresh.execute(
            f"select sum(id), round(sum(x + y), 3) from '{parquet_url}'"
        ).fetchone()
        assert sums == (sum(range(ROWS)), round(sum_of_x_and_y(parquet_bytes), 3))
        fresh.close()
    groups = connection.execute(
        f"select \"group\", count(*) from read_parquet('{parquet_url}') group by 1 order by 1"
    ).fetchall()
    assert [name for name, _ in groups] == [f"g{n}" for n in range(7)]
    url = f"ctera://{host_of(portal)}/{portal.add(CSV, block_size=500)}/t.csv"
    assert connection.execute(f"select sum(a) from read_csv('{url}')").fetchone() == (1000,)
    connection.close()
