"""Dask: data frames and bytes by blocks, on two worker processes; where the keys travel, and where not."""

from __future__ import annotations

import importlib
import io
import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.types import Token

from .conftest import Fetched
from .test_fsspec import host_of

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
dd = pytest.importorskip("dask.dataframe")
pandas = pytest.importorskip("pandas")

# The scheduler and its client run threads and event loops of their own, which end when the module does.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*:pytest.PytestUnraisableExceptionWarning"),
]

ROWS = 20_000

# distributed keeps a thread of its own for as long as the process lives: it is here before the tests.
importlib.import_module("distributed.utils")._offload_executor.submit(int).result()


@pytest.fixture(scope="module")
def dask_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two worker processes on this machine."""
    folder = str(tmp_path_factory.mktemp("dask"))
    with dask.config.set({"temporary-directory": folder}):
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", processes=True
        )
        with cluster, distributed.Client(cluster) as client:
            yield client


@pytest.fixture
def workers(dask_client: Any, environment: dict[str, str]) -> Iterator[Any]:
    """The client of a cluster whose workers have the keys in their environment."""

    def set_variables(variables: dict[str, str]) -> None:
        import os

        os.environ.update(variables)

    def forget(names: list[str]) -> None:
        import os

        from ctera_direct_sync import filesystem

        for name in names:
            os.environ.pop(name, None)
        filesystem.CteraFileSystem.clear_instance_cache()

    dask_client.run(set_variables, environment)
    yield dask_client
    dask_client.run(forget, list(environment))


@pytest.fixture(scope="module")
def frame() -> Any:
    """Three columns."""
    chance = random.Random(2)
    return pandas.DataFrame(
        {
            "id": range(ROWS),
            "group": [f"g{n % 5}" for n in range(ROWS)],
            "x": [chance.random() for _ in range(ROWS)],
        }
    )


def test_read_csv(workers: Any, portal: Emulator, frame: Any, options: dict[str, Any]) -> None:
    """dd.read_csv cuts the file into blocks and reads each line once; keys are in the environment."""
    data = frame.to_csv(index=False).encode()
    url = f"ctera://{host_of(portal)}/{portal.add(data, block_size=70_001)}/t.csv"
    read = dd.read_csv(url, blocksize=100_000)
    # Dask evens the last ones out.
    assert 5 <= read.npartitions <= 6
    found = read.compute(scheduler=workers)
    assert found["id"].tolist() == frame["id"].tolist()
    assert abs(found["x"].sum() - frame["x"].sum()) < 1e-6


def test_read_parquet(
    workers: Any, portal: Emulator, frame: Any, options: dict[str, Any], fetched: Fetched
) -> None:
    """dd.read_parquet reads several files, and of one column less than of all."""
    target = io.BytesIO()
    frame.to_parquet(target, row_group_size=5000)
    urls = [
        f"ctera://{host_of(portal)}/{portal.add(target.getvalue(), block_size=8192)}/p.parquet"
        for _ in range(3)
    ]
    read = dd.read_parquet(urls)
    sums = read.groupby("group")["x"].sum().compute(scheduler=workers)
    wanted = 3 * frame.groupby("group")["x"].sum()
    pandas.testing.assert_series_equal(sums.sort_index(), wanted, check_index_type=False)
    before = len(fetched())
    assert read["id"].sum().compute(scheduler=workers) == 3 * sum(range(ROWS))
    assert before < len(fetched())


@pytest.mark.parametrize("blocksize", [999, 40_000, None])
def test_read_bytes(
    workers: Any, portal: Emulator, options: dict[str, Any], blocksize: int | None
) -> None:
    """dask.bytes.read_bytes cuts at line ends, wherever the file's own blocks end."""
    from dask.bytes import read_bytes

    lines = [b"%d some words\n" % n for n in range(3000 if blocksize == 999 else 20_000)]
    data = b"".join(lines)
    url = f"ctera://{host_of(portal)}/{portal.add(data, block_size=(1, 7001, 30_000))}/t.txt"
    sample, ((*blocks,),) = read_bytes(url, blocksize=blocksize, delimiter=b"\n", sample=1000)
    assert data.startswith(sample) and sample.endswith(b"\n")
    parts = workers.gather(workers.compute(blocks))
    assert b"".join(parts) == data
    assert all(part.endswith(b"\n") for part in parts)
    if blocksize:
        assert abs(len(parts) - len(data) / blocksize) <= 1


def test_keys_in_storage_options(
    dask_client: Any, portal: Emulator, frame: Any, options: dict[str, Any]
) -> None:
    """Workers without keys of their own get them by storage_options; nothing of the graph shows them."""
    data = frame.to_csv(index=False).encode()
    url = f"ctera://{host_of(portal)}/{portal.add(data, block_size=50_000)}/t.csv"
    secrets = [options["access_key_id"], options["secret_access_key"]]
    hidden = {name: Token(value) if value in secrets else value for name, value in options.items()}
    read = dd.read_csv(url, blocksize=100_000, storage_options=hidden)
    graph = dict(read.__dask_graph__())
    shown = [repr(read), str(read), repr(read.expr), read.expr.tree_repr(), repr(graph)]
    shown += [repr(list(graph)), repr(read.dask)]
    assert len(read.compute(scheduler=dask_client)) == ROWS
    logs = json.dumps([dask_client.get_scheduler_logs(), dask_client.get_worker_logs()])
    for text in [*shown, logs]:
        assert not any(secret in text for secret in secrets)


def test_file_system_as_an_argument(
    dask_client: Any, fs: Any, portal: Emulator, options: dict[str, Any]
) -> None:
    """A file system that is sent to the workers arrives with its keys; each process has one of it."""
    file_id = str(portal.add(b"0123456789", block_size=4))
    parts = dask_client.map(fs.cat_file, [file_id] * 5, range(5), [10] * 5)
    assert dask_client.gather(parts) == [b"0123456789"[n:] for n in range(5)]
    for future in parts:
        assert not any(
            options[name] in future.key for name in ("access_key_id", "secret_access_key")
        )


def test_blocks_by_metadata_listed_once(
    workers: Any, portal: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example's way: one listing, sent to all; each worker fetches its own blocks, each once."""
    from .test_examples import EXAMPLES, TEXT, words_of

    monkeypatch.syspath_prepend(str(EXAMPLES))
    import wordcount

    workers.upload_file(str(EXAMPLES / "wordcount.py"))
    listing = wordcount.listed(portal.add(TEXT, block_size=(9000, 1, 31_000)))
    shares = wordcount.shares(listing, 50_000)
    assert len(shares) > 4
    sent = workers.scatter(listing, broadcast=True)
    pids = workers.map(lambda n: os.getpid(), range(8), pure=False)
    counted = workers.map(
        lambda share, listing: wordcount.count(listing, share), shares, listing=sent
    )
    assert wordcount.merged(workers.gather(counted)) == words_of(TEXT)
    assert len(set(workers.gather(pids))) == 2
    assert portal.log.total("portal") == 1
    blocks = [each.block for each in portal.log.records(where="storage")]
    assert sorted(blocks) == sorted(set(blocks))
