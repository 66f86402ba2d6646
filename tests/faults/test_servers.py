"""Servers that fork workers after the client was used: all of them serve, side by side."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from ctera_direct_sync.emulator import Emulator, SyntheticSource
from tests.faults.killing import ROOT, environment
from tests.support.servers import gunicorn as gunicorn_line
from tests.support.servers import listening_process

SIZE = 3_000_000
DATA = SyntheticSource(SIZE, seed=1).read(0, SIZE)

KINDS = {
    "sync": ["--worker-class", "sync"],
    "gthread": ["--worker-class", "gthread", "--threads", "4"],
    "gevent": ["--worker-class", "gevent"],
}


class Server(NamedTuple):
    """A server of wsgi_app.py with two workers: its URL, and what it logged, once it has ended."""

    url: str
    log: list[str]


def _assert_clean(log: str) -> None:
    """Nothing went wrong without a report."""
    assert not re.search("Traceback|Exception ignored", log), log


@contextmanager
def gunicorn_site(portal: Emulator, *options: str) -> Iterator[str]:
    """The URL of gunicorn with two workers; the options end with the application."""
    file_id = portal.add(DATA, block_size=100_000)
    line = gunicorn_line("--workers", "2", *options)
    with listening_process(line, ROOT, environment(portal, FILE_ID=str(file_id))) as site:
        yield site.url
    assert site.process.returncode == 0, str(site.errors)
    _assert_clean(str(site.errors))


@contextmanager
def _running(command: list[str], portal: Emulator, address: str, worker: str) -> Iterator[Server]:
    """A server, which tells of its address and its workers by these patterns."""
    file_id = portal.add(DATA, block_size=100_000)
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(portal, FILE_ID=str(file_id)),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            server = Server(_listening(process.stderr, address, worker), [])
            yield server
        finally:
            with ThreadPoolExecutor(1) as pool:
                rest = pool.submit(process.stderr.read)
                _terminate(process)
    assert process.returncode == 0, rest.result()
    server.log.append(rest.result())


def _terminate(process: subprocess.Popen[str]) -> None:
    """Ask until it heeds: uWSGI's master misses a signal that comes while it starts."""
    for _ in range(3):
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return
    process.kill()


def _listening(lines: Iterable[str], address: str, worker: str) -> str:
    host = None
    booted = 0
    seen = []
    for line in lines:
        seen.append(line)
        found = re.search(address, line)
        host = found.group(1) if found else host
        booted += worker in line
        if host is not None and booted == 2:
            return f"http://{host}"
    raise AssertionError("".join(seen))


def both_serve(url: str) -> set[str]:
    """Rounds of eight requests at once, until two workers have served twice; their pids."""

    def fetch(_: int) -> tuple[str, bool]:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(url, timeout=30)
            return answer.headers["X-Worker"], answer.content == DATA

    served: Counter[str] = Counter()
    deadline = time.monotonic() + 60
    with ThreadPoolExecutor(8) as pool:
        while True:
            for worker, right in pool.map(fetch, range(8)):
                assert right, f"wrong bytes of worker {worker}"
                served[worker] += 1
            ready = {worker for worker, count in served.items() if count > 1}
            if len(ready) == 2:
                return ready
            assert time.monotonic() < deadline, f"not two workers served: {dict(served)}"


@pytest.fixture(params=list(KINDS))
def gunicorn(request: pytest.FixtureRequest, portal: Emulator) -> Iterator[str]:
    """The URL of gunicorn with two workers of that kind, its application preloaded."""
    for module in ("gunicorn", *(["gevent"] if request.param == "gevent" else [])):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    options = ["--preload", *KINDS[request.param], "tests.faults.wsgi_app:application"]
    with gunicorn_site(portal, *options) as url:
        yield url


@contextmanager
def _uwsgi(portal: Emulator, *options: str) -> Iterator[Server]:
    """uWSGI with two processes, its application loaded before it forks them."""
    program = Path(sys.executable).with_name("uwsgi")
    if not program.exists():
        pytest.skip("uWSGI is not installed: pip install uwsgi")
    command = [
        str(program), "--strict", "--master", "--processes", "2", "--http-socket", "127.0.0.1:0",
        "--enable-threads", "--die-on-term", "--no-orphans", "--need-app", "--disable-logging",
        "--pyhome", sys.prefix, "--module", "tests.faults.wsgi_app", *options,
    ]  # fmt: skip
    with _running(command, portal, r"bound to TCP address (\S+)", "spawned uWSGI worker") as server:
        yield server


@pytest.mark.timeout(120)
def test_preloaded_workers(gunicorn: str) -> None:
    """Each of gunicorn's workers streams the right bytes, again and again, beside the other."""
    both_serve(gunicorn)


@pytest.mark.timeout(180)
def test_uwsgi(portal: Emulator) -> None:
    """Each of uWSGI's processes streams the right bytes, and so does what replaces one that died."""
    with _uwsgi(portal, "--py-call-uwsgi-fork-hooks") as server:
        killed, kept = both_serve(server.url)
        os.kill(int(killed), signal.SIGKILL)
        later = both_serve(server.url)
    _assert_clean("".join(server.log))
    assert kept in later
    assert killed not in later


@pytest.mark.timeout(120)
def test_uwsgi_without_fork_hooks(portal: Emulator) -> None:
    """Where uWSGI runs no fork hooks, a request fails with what to set, rather than wait for ever."""
    # Python itself waits for the master's threads when such a process ends: it is given a second.
    with _uwsgi(portal, "--worker-reload-mercy", "1") as server, requests.Session() as session:
        session.trust_env = False
        assert session.get(server.url, timeout=30).content == b""
    assert re.search("RuntimeError: .*py-call-uwsgi-fork-hooks", "".join(server.log))


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
