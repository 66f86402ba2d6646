"""A Dask cluster with an account: each worker signs in once, and nothing shows the password.

Each test here uses the cluster. The scheduler and its workers open connections at any time, and these would
pass for what another test left behind.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from ctera_direct_sync import Settings
from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.filesystem import CteraFileSystem
from ctera_direct_sync.types import Token
from tests.support.file_systems import account_of, close_file_systems

from .test_fsspec_programs import FORMS, dataset_url

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
dd = pytest.importorskip("dask.dataframe")

pytestmark = [
    pytest.mark.slow,
    # The scheduler, its workers and their event loops are left to the collector by distributed.
    pytest.mark.filterwarnings("ignore"),
]

FILES, ROWS, WORKERS = 6, 50, 2
TREE: dict[str, Any] = {
    "t": {f"{n}.csv": b"x\n" + b"".join(b"%d\n" % i for i in range(ROWS)) for n in range(FILES)}
}
#: One for the client's process, one for each worker's.
MOST_LOGINS = 1 + WORKERS

# distributed keeps a thread of its own for as long as the process lives: it is here before the tests.
importlib.import_module("distributed.utils")._offload_executor.submit(int).result()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Worker processes on this machine, with two threads each and no environment of a portal."""
    with dask.config.set({"temporary-directory": str(tmp_path_factory.mktemp("dask"))}):
        local = distributed.LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=2,
            dashboard_address="127.0.0.1:0",
            processes=True,
        )
        with local, distributed.Client(local) as client:
            yield client


@pytest.fixture
def portal() -> Iterator[Emulator]:
    """A portal with TREE."""
    with Emulator(tree=TREE) as portal:
        yield portal


@pytest.fixture
def workers(cluster: Any, portal: Emulator) -> Iterator[Any]:
    """The cluster's client. Its workers close what they have of the portal after the test."""
    yield cluster

    def close() -> None:
        # The function is sent by value: what it needs is imported where it runs.
        from ctera_direct_sync._fsspec.instances import portal_clients
        from ctera_direct_sync._fsspec.names import portal_names
        from ctera_direct_sync.filesystem import CteraFileSystem

        CteraFileSystem.clear_instance_cache()
        for each in [*portal_clients.values(), *portal_names.values()]:
            each.close()

    cluster.run(close)
    close_file_systems()


@pytest.fixture
def account(portal: Emulator) -> dict[str, Any]:
    """Storage options whose secrets hide themselves, as the documentation advises."""
    options = account_of(portal)
    for name in ("access_key_id", "secret_access_key", "password"):
        options[name] = Token(options[name])
    return options


def secrets_of(portal: Emulator) -> list[str]:
    """Return what nothing may show."""
    return [portal.password, portal.secret_access_key, portal.access_key_id]


def logins(portal: Emulator) -> int:
    """Return how many times anybody signed in."""
    return len(portal.log.records(call="login"))


@pytest.mark.nightly
def test_data_frame_of_a_pattern(workers: Any, portal: Emulator, account: dict[str, Any]) -> None:
    """Workers read a pattern with an account from `storage_options`, and sign in once each."""
    url = f"ctera://{portal.url.partition('://')[2]}/My Files/t/*.csv"
    frame = dd.read_csv(url, storage_options=account)
    assert frame.npartitions == FILES
    for _ in range(3):
        total = frame["x"].sum().compute(scheduler=workers)
        assert int(total) == FILES * sum(range(ROWS))
    assert 1 < logins(portal) <= MOST_LOGINS


@pytest.mark.nightly
def test_file_system_is_sent_with_its_account(
    workers: Any, portal: Emulator, quick: Settings
) -> None:
    """A pickled file system signs in where it is loaded, once for all threads and tasks there."""
    fs = CteraFileSystem(**account_of(portal), settings=quick)
    paths = [f"My Files/t/{number}.csv" for number in range(FILES)] * 5
    futures = workers.map(fs.cat_file, paths, pure=False)
    assert workers.gather(futures) == [TREE["t"]["0.csv"]] * len(paths)
    assert 1 <= logins(portal) <= MOST_LOGINS
    listed = workers.submit(fs.find, "My Files/t", pure=False).result()
    assert listed == fs.find("My Files/t")
    assert logins(portal) <= MOST_LOGINS


@pytest.mark.nightly
def test_open_file_is_sent_with_its_account(
    workers: Any, portal: Emulator, quick: Settings
) -> None:
    """An open file continues at its position on a worker."""
    fs = CteraFileSystem(**account_of(portal), settings=quick)
    with fs.open("My Files/t/0.csv") as file:
        file.read(2)
        rest = workers.submit(lambda file: file.read(), file, pure=False).result()
    assert rest == TREE["t"]["0.csv"][2:]
    assert logins(portal) <= MOST_LOGINS


@pytest.mark.nightly
def test_nothing_shows_the_account(workers: Any, portal: Emulator, account: dict[str, Any]) -> None:
    """Expressions, keys, tokens, logs and the dashboard's pages hold no secret."""
    url = f"ctera://{portal.url.partition('://')[2]}/My Files/t/*.csv"
    frame = dd.read_csv(url, storage_options=account)
    futures = workers.compute(frame.to_delayed())
    workers.gather(futures)
    fs = CteraFileSystem(**account)
    shown = [repr(frame), repr(frame.expr), frame.expr.tree_repr(), str(frame.dask)]
    shown += [repr(dict(frame.__dask_graph__())), repr(futures)]
    shown += [fs._fs_token, dask.base.tokenize(fs), dask.base.tokenize(account), repr(fs)]
    shown += [fs.to_json(), json.dumps(fs.to_dict()), repr(fs.storage_options)]
    shown += [json.dumps([workers.get_scheduler_logs(), workers.get_worker_logs()])]
    shown += workers.run_on_scheduler(_tasks_as_text)
    shown += [
        _page(workers, page)
        for page in ("info/main/workers.html", "info/main/logs.html", "json/counts.json")
    ]
    for text in shown:
        assert not any(secret in text for secret in secrets_of(portal))
    # What workers need travels in the pickles: the documentation says so.
    assert portal.password.encode() in pickle.dumps(fs)


def _tasks_as_text(dask_scheduler: Any) -> list[str]:
    """What the scheduler shows of its tasks. It runs there."""
    tasks = list(dask_scheduler.tasks.values())
    return [repr(tasks), repr([task.key for task in tasks])]


def _page(client: Any, page: str) -> str:
    address = client.dashboard_link.removesuffix("status") + page
    with urlopen(address, timeout=60) as answer:
        return str(answer.read().decode())


# --- xarray ----------------------------------------------------------------------------------------------


@pytest.fixture
def workers_with_keys(workers: Any, environment: dict[str, str]) -> Iterator[Any]:
    """The cluster, whose workers have portal and keys in their environment during the test."""

    def set_variables(variables: dict[str, str]) -> None:
        os.environ.update(variables)

    def forget(names: list[str]) -> None:
        for name in names:
            os.environ.pop(name, None)

    workers.run(set_variables, environment)
    yield workers
    workers.run(forget, list(environment))


@pytest.mark.parametrize("form", FORMS)
def test_xarray_on_a_cluster(
    workers_with_keys: Any, portal: Emulator, tmp_path: Path, form: str
) -> None:
    """An open file is sent to the workers, each of which reads its own chunks."""
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5py")
    url, wanted = dataset_url(portal, tmp_path, "h5netcdf", "NETCDF4")
    with FORMS[form](url) as file:
        opened = xarray.open_dataset(file, engine="h5netcdf", chunks={"y": 50})
        found = opened["v"].sum(dim="x").compute(scheduler=workers_with_keys)
        assert (found.values == wanted).all()
        opened.close()
