"""Programs over fsspec that read folders and patterns of `ctera://` paths."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from ctera_direct_sync.emulator import Emulator

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


def _table(*values: int) -> bytes:
    buffer = io.BytesIO()
    pandas.DataFrame({"x": list(values)}).to_parquet(buffer)
    return buffer.getvalue()


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a folder with two tables; the account is in the environment."""
    filesystem = pytest.importorskip("ctera_direct_sync.filesystem")
    from ctera_direct_sync._fsspec.instances import portal_clients
    from ctera_direct_sync._fsspec.names import portal_names

    tree: dict[str, Any] = {"2026": {"a.parquet": _table(1, 2), "b.parquet": _table(3)}}
    with Emulator(tree=tree) as portal:
        for name, value in {
            "URL": portal.url,
            "USERNAME": portal.username,
            "PASSWORD": portal.password,
            "ACCESS_KEY_ID": portal.access_key_id,
            "SECRET_ACCESS_KEY": portal.secret_access_key,
        }.items():
            monkeypatch.setenv(f"CTERA_DIRECT_{name}", value)
        yield f"ctera://{portal.url.partition('://')[2]}/My Files/2026"
        filesystem.CteraFileSystem.clear_instance_cache()
        for each in [*portal_clients.values(), *portal_names.values()]:
            each.close()


def test_pandas_reads_a_path(folder: str) -> None:
    """pandas reads a table by its path."""
    assert list(pandas.read_parquet(f"{folder}/a.parquet")["x"]) == [1, 2]


def test_pyarrow_reads_a_folder(folder: str) -> None:
    """A data set of a folder holds all its files."""
    dataset = pytest.importorskip("pyarrow.dataset")
    import fsspec

    fs, path = fsspec.core.url_to_fs(folder)
    assert dataset.dataset(path, filesystem=fs, format="parquet").count_rows() == 3


def test_duckdb_reads_a_pattern(folder: str) -> None:
    """DuckDB finds the files of a pattern."""
    duckdb = pytest.importorskip("duckdb")
    import fsspec

    fs, _ = fsspec.core.url_to_fs(folder)
    with duckdb.connect() as connection:
        connection.register_filesystem(fs)
        query = f"select sum(x) from read_parquet('{folder}/*.parquet')"
        assert connection.execute(query).fetchone() == (6,)


def test_dask_reads_a_pattern(folder: str) -> None:
    """Dask reads the tables of a pattern."""
    frame = pytest.importorskip("dask.dataframe")
    table = frame.read_parquet(f"{folder}/*.parquet")
    assert int(table["x"].sum().compute(scheduler="sync")) == 6


@pytest.mark.filterwarnings("ignore:UPath .* filesystem not explicitly")
def test_upath_walks_and_reads(folder: str) -> None:
    """A UPath joins, lists, finds and reads."""
    upath = pytest.importorskip("upath")
    path = upath.UPath(folder)
    assert sorted(each.name for each in path.iterdir()) == ["a.parquet", "b.parquet"]
    assert [each.name for each in path.glob("a*")] == ["a.parquet"]
    assert (path / "a.parquet").read_bytes() == _table(1, 2)
    assert path.is_dir()
    assert path.joinpath("b.parquet").is_file()
