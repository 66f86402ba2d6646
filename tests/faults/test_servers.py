"""Servers that fork workers after the client was used: all of them serve, side by side."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from ctera_direct_sync.emulator import Emulator, SyntheticSource
from tests.faults.killing import ROOT, environment

SIZE = 3_000_000
DATA = SyntheticSource(SIZE, seed=1).read(0, SIZE)

KINDS = {
    "sync": ["--worker-class", "sync"],
    "gthread": ["--worker-class", "gthread", "--threads", "4"],
    "gevent": ["--worker-class", "gevent"],
}


@pytest.fixture(params=list(KINDS))
def server(request: pytest.FixtureRequest, portal: Emulator) -> Iterator[str]:
    """The URL of gunicorn with two workers of that kind, its application preloaded."""
    for module in ("gunicorn", *(["gevent"] if request.param == "gevent" else [])):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    file_id = portal.add(DATA, block_size=100_000)
    command = [
        sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--bind", "127.0.0.1:0",
        "--no-control-socket", *KINDS[request.param], "tests.faults.wsgi_app:application",
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(portal, FILE_ID=str(file_id)),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            yield _listening(process.stderr)
        finally:
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
            code = process.wait(30)
    assert (code, "Traceback" in rest) == (0, False), rest


def _listening(lines: Iterable[str]) -> str:
    url = None
    booted = 0
    seen = []
    for line in lines:
        seen.append(line)
        found = re.search(r"Listening at: (\S+)", line)
        url = found.group(1) if found else url
        booted += "Booting worker" in line
        if url is not None and booted == 2:
            return url
    raise AssertionError("".join(seen))


@pytest.mark.timeout(120)
def test_preloaded_workers(server: str) -> None:
    """Sixteen requests, eight at a time: each worker streams the right bytes."""

    def fetch(_: int) -> tuple[str, bool]:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(server, timeout=60)
            return answer.headers["X-Worker"], answer.content == DATA

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(fetch, range(16)))
    assert all(right for _, right in answers)


_ASK = """
from tests.faults.celery_app import digest
for result in [digest.delay() for _ in range(6)]:
    print(*result.get(timeout=60, interval=0.05))
"""


@pytest.mark.timeout(180)
def test_celery_prefork(portal: Emulator, tmp_path: Path) -> None:
    """A prefork worker's processes use the client that its parent used before."""
    if importlib.util.find_spec("celery") is None:
        pytest.skip("celery is not installed")
    file_id = portal.add(DATA, block_size=100_000)
    surroundings = environment(portal, FILE_ID=str(file_id), CELERY_FOLDER=str(tmp_path))
    command = [
        sys.executable, "-m", "celery", "-A", "tests.faults.celery_app", "worker", "--pool", "prefork",
        "--concurrency", "2", "--without-gossip", "--without-mingle", "--without-heartbeat",
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=ROOT, env=surroundings, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as worker:  # fmt: skip
        try:
            asked = subprocess.run(
                [sys.executable, "-c", _ASK], cwd=ROOT, env=surroundings, text=True,
                capture_output=True, timeout=120, check=False,
            )  # fmt: skip
        finally:
            worker.terminate()
            worker.wait(60)
    assert asked.returncode == 0, asked.stderr
    right = f"True {hashlib.sha256(DATA).hexdigest()}"
    assert asked.stdout.splitlines() == [right] * 6
