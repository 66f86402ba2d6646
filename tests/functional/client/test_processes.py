"""Forks, pickles and interpreters: a client that outlives its process, or leaves with it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from ctera_direct_sync import DirectIO, DirectIOError, Namespace, Settings
from ctera_direct_sync._core import core_of
from ctera_direct_sync._readers.batch_record import RECORD_NAME, BatchRecord
from ctera_direct_sync._readers.folders import Folder
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from ctera_direct_sync.emulator.fault_table import Action
from tests.faults import ways
from tests.support.belongings import open_sockets
from tests.unit.codec.conftest import BACKENDS

ROOT = Path(__file__).parents[3]
DATA = SyntheticSource(50_000, seed=1).read(0, 50_000)

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

#: Python 3.12 warns of any fork beside threads; that this one is safe is what is tested.
fork_warns = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of ten blocks."""
    return portal.add(DATA, block_size=5000)


def in_child(work: Callable[[], object]) -> None:
    """Run ``work`` in a forked child, to the end; AssertionError with its traceback if it fails."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        text = b""
        try:
            work()
        except BaseException:
            text = traceback.format_exc().encode()
        finally:
            os.write(writer, text)
            os._exit(0 if not text else 1)
    os.close(writer)
    with open(reader, "rb") as file:
        problem = file.read().decode()
    assert os.waitpid(child, 0)[1] == 0 and not problem, problem


def read(client: DirectIO, file_id: int) -> None:
    """Every way in, checked."""
    for name, way in ways.ALL.items():
        assert ways.joined(way(client, file_id, None)) == DATA, name


@needs_fork
@fork_warns
def test_child_closes_the_connections_of_an_inherited_file(client: DirectIO, file_id: int) -> None:
    """What a file opens in the child that was open before the fork, closing the client closes."""
    with client.open(file_id, readahead=0) as file:
        assert file.read(5000) == DATA[:5000]

        def work() -> None:
            before = open_sockets()
            assert file.read(5000) == DATA[5000:10_000]
            client.close()
            assert not open_sockets() - before

        in_child(work)


@needs_fork
@fork_warns
def test_fork_after_use(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """Child and parent go on with one client, over connections of their own."""
    read(client, file_id)
    before = {record.connection for record in portal.requests}
    portal.log.clear()
    in_child(lambda: read(client, file_id))
    assert not before & {record.connection for record in portal.requests}
    portal.log.clear()
    read(client, file_id)
    assert portal.log.total("storage")


@needs_fork
@fork_warns
def test_child_closes_the_sessions_of_a_file_opened_before(
    make_client: Callable[..., DirectIO], file_id: int
) -> None:
    """A child's `close` also closes sessions that it made for a file that its parent had opened."""
    made: list[requests.Session] = []
    closed: list[requests.Session] = []

    class Session(requests.Session):
        def close(self) -> None:
            closed.append(self)
            super().close()

    def make() -> requests.Session:
        made.append(Session())
        return made[-1]

    with make_client(session=make) as client, client.open(file_id) as file:
        assert file.read(10) == DATA[:10]

        def work() -> None:
            made.clear()
            file.seek(0)
            assert file.read() == DATA
            client.close()
            assert made and closed == made

        in_child(work)


@needs_fork
@fork_warns
def test_fork_amid_transfers(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """A fork while all workers are busy, and locks held, stops neither side."""
    held = portal.faults.add("storage", block=2, action=faults.stall(100))
    futures = client.blocks(file_id, max_workers=2)
    stream = client.stream(file_id)
    assert held.wait()

    def child() -> None:
        read(client, file_id)
        client.close()

    in_child(child)
    held.release()
    assert b"".join(future.result(10).data for future in futures) == DATA
    assert b"".join(block.data for block in stream) == DATA


@needs_fork
@fork_warns
@pytest.mark.parametrize("way", ["batch", "mirror"])
def test_fork_amid_many_files(tmp_path: Path, way: str, caplog: pytest.LogCaptureFixture) -> None:
    """A hook forks. The child gets an error, and the parent's downloads and records are left alone."""
    tree = {str(number): bytes([number]) * 1000 for number in range(8)}
    parent, children = os.getpid(), []
    reader, writer = os.pipe()
    is_asked, has_ended = threading.Event(), threading.Event()

    def hold(exchange: Any, fault: Any) -> None:
        is_asked.set()
        has_ended.wait(60)
        exchange.send(exchange.respond())

    def fork_once(*progress: object) -> None:
        if children:
            return
        assert is_asked.wait(60), "a block list is under way"
        children.append(os.fork())
        if not children[0]:
            signal.alarm(60)  # A child that waits for ever must not hold the test up.
            return
        os.waitpid(children[0], 0)
        has_ended.set()

    with Emulator(tree=tree) as portal:
        keys = portal.access_key_id, portal.secret_access_key
        with (
            Namespace(portal.url, portal.username, portal.password) as names,
            DirectIO(portal.url, *keys, namespace=names) as client,
        ):

            def run(progress: Any = None) -> list[str]:
                if way == "mirror":
                    result = client.mirror("/My Files", tmp_path, max_files=2, progress=progress)
                    assert result.ok
                    return ["done"] * result.added + ["unchanged"] * result.unchanged
                items = [(f"/My Files/{name}", name) for name in tree]
                results = client.download_many(items, tmp_path, max_files=2, progress=progress)
                return [each.outcome for each in results]

            held = names.stat("/My Files/1").file_id
            portal.faults.add("portal", file_id=held, times=1, action=Action("hold", hold))
            try:
                outcomes = run(fork_once)
            except DirectIOError as error:
                assert os.getpid() != parent
                os.write(writer, f"{error.errno} {error}".encode())
            finally:
                if os.getpid() != parent:
                    os._exit(0)
            os.close(writer)
            with open(reader, "rb") as file:
                told = file.read().decode()
            assert told.startswith(f"{errno.ECANCELED} ") and "start it anew here" in told
            assert outcomes == ["done"] * 8
            assert "No answer" not in caplog.text, "the child cut a connection of the parent's"
            assert run() == ["unchanged"] * 8


@needs_fork
def test_a_child_leaves_the_record_of_a_batch(tmp_path: Path) -> None:
    """A forked child that closes an empty record does not remove it: the parent writes to it."""
    with Folder.open(str(tmp_path)) as folder:
        record = BatchRecord(folder, make=True)
        in_child(record.close)
        assert (tmp_path / RECORD_NAME).exists()
        record.close()
        assert not (tmp_path / RECORD_NAME).exists()


@needs_fork
@fork_warns
def test_streams_of_the_parent_end_in_the_child(client: DirectIO, file_id: int) -> None:
    """A stream begun before the fork is the parent's: in the child it ends with an error."""
    stream = client.stream(file_id)
    next(stream)

    def child() -> None:
        with pytest.raises(OSError, match="resumed"):
            list(stream)
        read(client, file_id)

    in_child(child)
    assert len(b"".join(block.data for block in stream)) == len(DATA) - 5000


@needs_fork
@fork_warns
def test_many_forks_while_others_download(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """Forks at any moment of busy threads leave children that work."""
    over = threading.Event()
    mistakes: list[Any] = []

    def keep_busy() -> None:
        while not over.is_set():
            if ways.joined(ways.blocks(client, file_id)) != DATA:
                mistakes.append("wrong bytes in the parent")

    threads = [threading.Thread(target=keep_busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            in_child(lambda: read(client, file_id))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not mistakes


def _pool_read(file_id: int) -> bool:
    read(_inherited[0], file_id)
    return True


_inherited: list[DirectIO] = []


@needs_fork
@fork_warns
def test_multiprocessing_pool_by_fork(client: DirectIO, file_id: int) -> None:
    """A pool of forked processes works with the client that was made before it."""
    read(client, file_id)
    _inherited[:] = [client]
    context = multiprocessing.get_context("fork")
    with context.Pool(3) as pool:
        assert pool.map(_pool_read, [file_id] * 6) == [True] * 6
        pool.close()
        pool.join()
    _inherited.clear()
    read(client, file_id)


def _read_unpickled(client: DirectIO, file_id: int) -> bytes:
    with client:
        return ways.joined(ways.blocks(client, file_id))


def test_multiprocessing_by_spawn(client: DirectIO, file_id: int) -> None:
    """A client goes to a spawned process by pickling, keys included."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        assert pool.apply(_read_unpickled, (client, file_id)) == DATA
        pool.close()
        pool.join()


def test_pickled_client(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """A copy is equal in all that was given, works, and lives apart from the original."""
    read(client, file_id)
    copy = pickle.loads(pickle.dumps(client))
    assert core_of(copy).settings == core_of(client).settings
    client.close()
    with copy:
        read(copy, file_id)


def test_pickled_metadata(client: DirectIO, file_id: int) -> None:
    """A block list survives pickling, and shows no key on the way."""
    metadata = client.metadata(file_id)
    copy = pickle.loads(pickle.dumps(metadata))
    assert copy == metadata
    assert b"".join(f.result().data for f in client.executor(copy)()) == DATA


def test_a_client_costs_nothing_unused() -> None:
    """Making a client starts no thread and opens no socket."""
    before = set(threading.enumerate())
    with DirectIO("https://portal.example.com", "key", "c2VjcmV0", settings=Settings()):
        assert set(threading.enumerate()) <= before


SILENT = """
import io, sys, tempfile, os
import ctera_direct_sync as ctera_direct
url, file_id = sys.argv[1], int(sys.argv[2])
with ctera_direct.DirectIO(url) as client:
    size = client.metadata(file_id).size
    assert sum(f.result().length for f in client.blocks(file_id)) == size
    assert sum(b.length for b in client.iter_blocks(file_id)) == size
    assert sum(b.length for b in client.stream(file_id)) == size
    for block in client.stream(file_id):
        break
    client.download(file_id, io.BytesIO())
    with tempfile.TemporaryDirectory() as folder:
        client.download(file_id, os.path.join(folder, "target"), resume=True)
    with client.open(file_id) as file:
        assert len(file.read()) == size
left = ctera_direct.DirectIO(url)
assert left.metadata(file_id).size == size
futures = left.blocks(file_id)
"""


def run_python(portal: Emulator, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Python on some arguments, with the portal's keys in its environment."""
    keys = {
        "CTERA_DIRECT_URL": portal.url,
        "CTERA_DIRECT_ACCESS_KEY_ID": portal.access_key_id,
        "CTERA_DIRECT_SECRET_ACCESS_KEY": portal.secret_access_key,
    }
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env={**os.environ, **keys},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


LATE = """
import sys
from ctera_direct_sync import DirectIO

client = DirectIO()
before = set(sys.modules)
for file_id in map(int, sys.argv[2:]):
    for _ in client.iter_blocks(file_id):
        pass
    client.download(file_id, sys.argv[1])
print(sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_imported_late(
    portal: Emulator, tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork while another thread imports a module would hang the child at the same import for ever."""
    monkeypatch.setenv("CTERA_DIRECT_CODEC", backend)
    kinds: list[dict[str, Any]] = [
        {"checksums": ["x-amz-checksum-crc64nvme", "content-md5"]},
        {"cipher": "AES-GCM", "compression": "LZ4"},
        {"compression": "GZIP"},
        {"native": True},
    ]
    file_ids = [portal.add(DATA, block_size=5000, **kind) for kind in kinds]
    done = run_python(portal, "-c", LATE, tmp_path / "target", *file_ids)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_silence(portal: Emulator, file_id: int) -> None:
    """Under -X dev and -W error no way in, and no client left open, makes Python say a word."""
    done = run_python(portal, "-X", "dev", "-W", "error", "-c", SILENT, portal.url, file_id)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


EXIT = """
import sys
from ctera_direct_sync import DirectIO
client = DirectIO()
file_id, how = int(sys.argv[1]), sys.argv[2]
if how == "blocks":
    held = client.blocks(file_id)
elif how == "stream":
    held = client.stream(file_id)
    next(held)
elif how == "error":
    held = client.blocks(file_id)
    raise SystemExit(3)
sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["blocks", "stream", "error"])
def test_interpreter_exit_with_transfers_running(portal: Emulator, how: str) -> None:
    """The end of the program does not wait for blocks that will never come, nor complain."""
    file_id = portal.add(DATA, block_size=1000)
    for number in range(2, 51):
        portal.faults.add("storage", block=number, times=None, action=faults.stall())
    keys = {
        "CTERA_DIRECT_URL": portal.url,
        "CTERA_DIRECT_ACCESS_KEY_ID": portal.access_key_id,
        "CTERA_DIRECT_SECRET_ACCESS_KEY": portal.secret_access_key,
    }
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", EXIT, str(file_id), how],
        env={**os.environ, **keys}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, err = process.communicate("\n", timeout=30)
    assert (process.returncode, out, err) == (3 if how == "error" else 0, "", "")


def test_import_is_silent_and_starts_nothing(portal: Emulator, tmp_path: Path) -> None:
    """Importing the package starts no thread and imports neither emulator nor command line."""
    code = (
        "import sys, threading, ctera_direct_sync; assert threading.active_count() == 1; "
        "assert not [n for n in sys.modules if 'emulator' in n or n.endswith('.cli.program')]"
    )
    done = run_python(portal, "-X", "dev", "-W", "error", "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_fork
def test_fork_that_python_is_not_told_of(portal: Emulator, file_id: int) -> None:
    """There the parent's client says what is wrong, where it would wait for threads that are not there."""
    environment = {
        "CTERA_DIRECT_ACCESS_KEY_ID": portal.access_key_id,
        "CTERA_DIRECT_SECRET_ACCESS_KEY": portal.secret_access_key,
    }
    command = [sys.executable, "-m", "tests.functional.client.programs.fork_untold"]
    done = subprocess.run(
        [*command, portal.url, str(file_id)], env={**os.environ, **environment}, cwd=ROOT,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
