"""Ray Data over `ctera://` paths, on a local Ray of several processes."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
import ray

from ctera_direct_sync import LoginError
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.filesystem import CteraFileSystem

CPUS = 2
FILES, ROWS = 4, 25


def _table(number: int) -> bytes:
    target = io.BytesIO()
    pandas.DataFrame({"x": range(number * ROWS, (number + 1) * ROWS)}).to_parquet(target)
    return target.getvalue()


TREE: dict[str, Any] = {
    "t": {
        "tables": {f"{number}.parquet": _table(number) for number in range(FILES)},
        "texts": {f"{number}.csv": b"y\n%d\n" % number for number in range(FILES)},
    }
}
TOTAL = sum(range(FILES * ROWS))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A local Ray. The folder of its logs."""
    # Ray puts sockets there, whose paths may not be long.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    ray.init(
        num_cpus=CPUS,
        include_dashboard=False,
        _temp_dir=str(folder),
        log_to_driver=False,
        object_store_memory=100 * 2**20,
    )
    yield folder
    ray.shutdown()
    shutil.rmtree(folder)


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with TREE."""
    with Emulator(tree=TREE) as portal:
        yield portal


@pytest.fixture
def options(portal: Emulator) -> dict[str, Any]:
    """Storage options of the portal's user."""
    return {
        "baseurl": portal.url,
        "access_key_id": portal.access_key_id,
        "secret_access_key": portal.secret_access_key,
        "username": portal.username,
        "password": portal.password,
    }


@pytest.fixture
def fs(options: dict[str, Any]) -> CteraFileSystem:
    """The file system of the portal's user."""
    return CteraFileSystem(**options)


def test_folder_of_tables(session: Path, fs: CteraFileSystem) -> None:
    """A folder is read by all workers."""
    found = ray.data.read_parquet(f"{fs.host}/My Files/t/tables", filesystem=fs)
    assert found.count() == FILES * ROWS
    assert found.sum("x") == TOTAL


def test_pattern_of_texts(session: Path, fs: CteraFileSystem) -> None:
    """The matches of a pattern are read."""
    found = ray.data.read_csv(fs.glob(f"{fs.host}/My Files/t/texts/*.csv"), filesystem=fs)
    assert sorted(row["y"] for row in found.take_all()) == list(range(FILES))


def test_whole_urls(session: Path, fs: CteraFileSystem) -> None:
    """URLs work as well as paths."""
    url = f"ctera://{fs.host}/My Files/t/tables/1.parquet"
    assert ray.data.read_parquet(url, filesystem=fs).count() == ROWS


def test_bytes_of_files(session: Path, fs: CteraFileSystem) -> None:
    """Files are read as bytes."""
    found = ray.data.read_binary_files(f"{fs.host}/My Files/t/texts", filesystem=fs)
    assert sorted(row["bytes"] for row in found.take_all()) == sorted(TREE["t"]["texts"].values())


def test_logins_are_bounded(session: Path, portal: Emulator, fs: CteraFileSystem) -> None:
    """Each process signs in once, however many files it reads."""
    for _ in range(3):
        ray.data.read_parquet(f"{fs.host}/My Files/t/tables", filesystem=fs).sum("x")
    processes = {record.number for record in portal.log.records(call="login")}
    # Ray may start more worker processes than it has processors, for actors and for its own tasks.
    assert 1 <= len(processes) <= 4 * CPUS


def test_wrong_password(session: Path, options: dict[str, Any]) -> None:
    """A wrong password is the library's own error, on the driver."""
    fs = CteraFileSystem(**{**options, "password": "wrong"})
    with pytest.raises(LoginError):
        ray.data.read_parquet(f"{fs.host}/My Files/t/tables", filesystem=fs).count()


def test_nothing_shows_the_account(session: Path, portal: Emulator, fs: CteraFileSystem) -> None:
    """Neither a data set nor Ray's logs show a secret."""
    found = ray.data.read_parquet(f"{fs.host}/My Files/t/tables", filesystem=fs)
    found = found.map_batches(lambda batch: batch).materialize()
    texts = [repr(found), str(found.schema()), found.stats()]
    texts += [
        path.read_text(errors="replace")
        for path in session.rglob("*")
        if path.is_file() and path.suffix in (".log", ".out", ".err", ".json", ".txt")
    ]
    assert len(texts) > 5
    for text in texts:
        for secret in (portal.password, portal.secret_access_key, portal.access_key_id):
            assert secret not in text
