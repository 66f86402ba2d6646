"""Programs over fsspec that read folders and patterns of `ctera://` paths."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import LoginError
from ctera_direct_sync.emulator import Emulator
from tests.support.file_systems import account_of, close_file_systems, variables_of

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


def _table(*values: int) -> bytes:
    buffer = io.BytesIO()
    pandas.DataFrame({"x": list(values)}).to_parquet(buffer)
    return buffer.getvalue()


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with a folder of tables."""
    tables: dict[str, Any] = {
        "a.parquet": _table(1, 2),
        "b.parquet": _table(3),
        "deep": {"c.parquet": _table(4)},
    }
    with Emulator(tree={"2026": tables}) as portal:
        yield portal
        close_file_systems()


@pytest.fixture
def folder(portal: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the folder; the account is in the environment."""
    for name, value in variables_of(portal).items():
        monkeypatch.setenv(name, value)
    return f"ctera://{portal.url.partition('://')[2]}/My Files/2026"


def test_pandas_reads_a_path(folder: str) -> None:
    """pandas reads a table by its path."""
    assert list(pandas.read_parquet(f"{folder}/a.parquet")["x"]) == [1, 2]


def test_pyarrow_reads_a_folder(folder: str) -> None:
    """A data set of a folder holds all its files."""
    dataset = pytest.importorskip("pyarrow.dataset")
    import fsspec

    fs, path = fsspec.core.url_to_fs(folder)
    assert dataset.dataset(path, filesystem=fs, format="parquet").count_rows() == 4


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


# --- Hugging Face datasets -------------------------------------------------------------------------------


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """datasets.load_dataset of Parquet files, with a cache of the test's own."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()

    def load(files: Any, **options: Any) -> Any:
        return datasets.load_dataset(
            "parquet", data_files=files, split="train", cache_dir=str(tmp_path), **options
        )

    return load


#: datasets leaves threads, files and sockets of its own to the collector.
_untidy = pytest.mark.filterwarnings("ignore")


@_untidy
@pytest.mark.parametrize("streaming", [False, True], ids=["loaded", "streamed"])
@pytest.mark.parametrize(
    ("pattern", "values"),
    [("a.parquet", [1, 2]), ("*.parquet", [1, 2, 3]), ("**/*.parquet", [1, 2, 3, 4])],
)
def test_datasets_read_paths_and_patterns(
    folder: str, load: Any, pattern: str, values: list[int], streaming: bool
) -> None:
    """datasets finds the files of a path or pattern, and reads all of them."""
    found = load(f"{folder}/{pattern}", streaming=streaming)
    assert sorted(row["x"] for row in found) == values


@_untidy
def test_datasets_read_a_list(folder: str, load: Any) -> None:
    """datasets reads the paths of a list."""
    found = load([f"{folder}/b.parquet", f"{folder}/deep/c.parquet"])
    assert sorted(found["x"]) == [3, 4]


@_untidy
def test_datasets_take_an_account(
    portal: Emulator, folder: str, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account may be given as `storage_options`. Nothing that datasets keeps on the disk shows it."""
    for name in variables_of(portal):
        monkeypatch.delenv(name)
    found = load(f"{folder}/*.parquet", storage_options=account_of(portal))
    assert sorted(found["x"]) == [1, 2, 3]
    kept = Path(found.cache_files[0]["filename"]).parents[3].rglob("*")
    files = [path.read_bytes() for path in kept if path.is_file()]
    assert files
    for secret in (portal.password, portal.secret_access_key, portal.access_key_id):
        assert not any(secret.encode() in content for content in files)


@_untidy
def test_datasets_see_a_new_version(portal: Emulator, folder: str, load: Any) -> None:
    """A file that was overwritten is another data set."""
    datasets = pytest.importorskip("datasets")
    how = datasets.DownloadConfig(use_etag=True)
    assert load(f"{folder}/a.parquet", download_config=how)["x"][:] == [1, 2]
    portal.tree.overwrite("/My Files/2026/a.parquet", _table(5, 6, 7))
    assert load(f"{folder}/a.parquet", download_config=how)["x"][:] == [5, 6, 7]


@_untidy
def test_datasets_tell_a_login_error(
    folder: str, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong password is not taken for a pattern without matches."""
    monkeypatch.setenv("CTERA_DIRECT_PASSWORD", "wrong")
    with pytest.raises(LoginError):
        load(f"{folder}/*.parquet")
