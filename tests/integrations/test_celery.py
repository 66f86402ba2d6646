"""The tasks of Celery's page in a real worker: prefork, a soft time limit, and the try after it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctera_direct_sync.emulator import Emulator, faults
from tests.support.pages import blocks

pytest.importorskip("celery")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

DATA = b"0123456789" * 5000

#: A broker and a backend of files, and limits of a test.
CONFIGURATION = """
broker_url = "filesystem://"
result_backend = "file://{folder}/results"
broker_transport_options = {{
    "data_folder_in": "{folder}/queue",
    "data_folder_out": "{folder}/queue",
    "processed_folder": "{folder}/processed",
    "control_folder": "{folder}/control",
}}
broker_connection_retry_on_startup = True
task_annotations = {{"tasks.fetch": {{"soft_time_limit": 3}}}}
"""

#: Asks for a file once or several times, one task after the other, and prints the results.
ASK = """
import sys
from tasks import fetch
for target in sys.argv[2:]:
    print(fetch.delay(int(sys.argv[1]), target).get(timeout=60, interval=0.05))
"""


@pytest.fixture
def folder(
    portal: Emulator, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder with the page's module, where a worker with one forked process runs."""
    (code,) = blocks("celery.md", "celery-tasks")
    (tmp_path / "tasks.py").write_text(code, encoding="utf-8")
    (tmp_path / "configuration.py").write_text(CONFIGURATION.format(folder=tmp_path))
    for name in ("queue", "processed", "results"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "configuration")
    command = [
        sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "1",
        "--without-gossip", "--without-mingle", "--without-heartbeat",
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as worker:  # fmt: skip
        try:
            yield tmp_path
        finally:
            worker.terminate()
            worker.wait(60)


def ask(folder: Path, *arguments: str) -> list[str]:
    """What the tasks return, one after the other."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, *arguments], cwd=folder, env=dict(os.environ), text=True,
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.keeps_partial
def test_soft_time_limit(portal: Emulator, folder: Path) -> None:
    """The limit ends a download that hangs. The same process then continues it, and does others."""
    file_id = portal.add(DATA, block_size=10_000)
    held = portal.faults.add("storage", block=5, times=1, action=faults.stall())
    assert ask(folder, str(file_id), "a.bin") == ["None"]
    assert not (folder / "a.bin").exists()
    held.release()
    portal.log.clear()
    assert ask(folder, str(file_id), "a.bin", "b.bin") == ["50000", "50000"]
    assert (folder / "a.bin").read_bytes() == (folder / "b.bin").read_bytes() == DATA
    fetched = [each.block for each in portal.log.records(where="storage")]
    assert sorted(fetched) == [1, 2, 3, 4, 5, 5]
    assert not list(folder.glob(".*.ctera-part"))
