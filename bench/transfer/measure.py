"""Clients in processes of their own, in turns, and the best of several rounds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from corpus import ACCESS_KEY_ID, MIB, SECRET_ACCESS_KEY, File
from server import Server
from system import HERE, WORK, say

Result = dict[str, Any]
Run = Callable[[], Result]

_FLOOR_FORMATS = {"SNAPPY": "snappy", "GZIP": "gzip", "NONE": "none"}
_PART = 8 * MIB
_TIMEOUT = 600
#: Seconds of a run that other machines' noise distorts most: there are twice as many rounds of it.
_SHORT = 2.0


@dataclass
class Bench:
    """What all measurements share: the server, the peer's Python, the C program, and how often."""

    server: Server
    peer_python: Path
    floor_program: Path
    rounds: int = 3
    quick: bool = False
    before_python: Path | None = None
    samples: dict[str, list[Result]] = field(default_factory=dict)

    # --- clients -----------------------------------------------------------------------------------

    def ours(self, way: str, files: Sequence[File], *, origin: str = "http", **options: Any) -> Run:
        """Our client: ``way`` is a name in clients/ours.py."""
        return self._python(sys.executable, "ours.py", way, files, origin, options)

    def pair(
        self, name: str, way: str, files: Sequence[File], *, origin: str = "http", **options: Any
    ) -> dict[str, Run]:
        """Our client under that name and, with `--before`, the other checkout's under `before(name)`.

        Both are the same program, clients/ours.py, by another Python.
        """
        runs = {name: self.ours(way, files, origin=origin, **options)}
        if self.before_python:
            runs[before(name)] = self._python(
                self.before_python, "ours.py", way, files, origin, options
            )
        return runs

    def peer(self, way: str, files: Sequence[File], *, origin: str = "http", **options: Any) -> Run:
        """cterasdk: ``way`` is a name in clients/peer.py."""
        return self._python(self.peer_python, "peer.py", way, files, origin, options)

    def floor(self, file: File, *, origin: str = "http", threads: int = 4) -> Run:
        """The C program; it is told the URLs, and asks no portal."""
        return lambda: self._run_floor(file, origin, threads)

    def first_block(self, **files: File) -> Result:
        """What clients/first_block.py prints for these files, with `--before` for both checkouts."""
        self.server.publish(files.values())
        task = {
            "url": self.server.origins["http"],
            "keys": [ACCESS_KEY_ID, SECRET_ACCESS_KEY],
            **{name: file.file_id for name, file in files.items()},
        }
        command = [str(HERE / "clients" / "first_block.py"), json.dumps(task)]
        result = _run([sys.executable, *command], dict(os.environ))
        if self.before_python:
            result["before"] = _run([str(self.before_python), *command], dict(os.environ))
        return result

    def _python(
        self,
        python: Path | str,
        script: str,
        way: str,
        files: Sequence[File],
        origin: str,
        options: dict[str, Any],
    ) -> Run:
        self.server.publish(files)
        task = {
            "way": way,
            "url": self.server.origins[origin],
            "keys": [ACCESS_KEY_ID, SECRET_ACCESS_KEY],
            "files": [file.file_id for file in files],
            "ca": str(self.server.ca) if origin == "https" else None,
            **options,
        }
        command = [str(python), str(HERE / "clients" / script)]
        environment = dict(os.environ)
        if task["ca"] and script == "peer.py":
            environment["SSL_CERT_FILE"] = task["ca"]  # cterasdk has no setting for a CA bundle.

        def run() -> Result:
            with scratch_folder() as folder:
                task["folder"] = folder
                return _run([*command, json.dumps(task)], environment)

        return run

    def _run_floor(self, file: File, origin: str, threads: int) -> Result:
        dataset = file.dataset
        dataset.prepare()
        lines = [f"threads {threads}", f"format {_FLOOR_FORMATS[dataset.compression]}"]
        if dataset.encrypted:
            lines.append(f"key {dataset.key.hex()}")
        if origin == "https":
            lines.append(f"ca {self.server.ca}")
        for path, length in file.objects():
            url = f"{self.server.origins[origin]}/data/{path}"
            if dataset.encrypted:
                lines.append(f"get {url} {length}")
            else:
                lines += [
                    f"get {url} {min(_PART, length - start)} "
                    f"{start}-{min(start + _PART, length) - 1}"
                    for start in range(0, length, _PART)
                ]
        with tempfile.NamedTemporaryFile("w", dir=WORK, suffix=".manifest") as manifest:
            manifest.write("\n".join(lines) + "\n")
            manifest.flush()
            return _run([str(self.floor_program), manifest.name], dict(os.environ))

    # --- rounds ------------------------------------------------------------------------------------

    def best(
        self,
        name: str,
        clients: Mapping[str, Run],
        rounds: int | None = None,
        expect: int | None = None,
    ) -> dict[str, Result]:
        """Run the clients in turns, as many rounds as told, and return each one's fastest run.

        Those whose runs are short go on for as many rounds again.

        :param name: for the record, and for the line that says how it went.
        :param expect: the bytes that each of them has to get.
        """
        runs: dict[str, list[Result]] = {client: [] for client in clients}
        rounds = rounds or self.rounds
        for number in range(2 * rounds):
            for client, run in clients.items():
                if number >= rounds and min(map(_seconds, runs[client])) > _SHORT:
                    continue
                result = run()
                if expect is not None and result["bytes"] != expect:
                    raise RuntimeError(f"{name}, {client}: {result['bytes']} bytes of {expect}")
                runs[client].append(result)
        fastest = {client: min(results, key=_seconds) for client, results in runs.items()}
        for client, results in runs.items():
            self.samples[f"{name} / {client}"] = results
            fastest[client] = {
                **fastest[client],
                "least_cpu_seconds": min(map(_cpu_seconds, results)),
            }
        say(
            f"{name:>26}  "
            + "   ".join(
                f"{client} {rate(result):,.0f} MB/s {cpu(result):.2f} s/GB"
                for client, result in fastest.items()
            )
        )
        return fastest


def before(name: str) -> str:
    """What the other checkout's runs are called beside those of `name`."""
    return "before" if name == "ours" else f"{name}, before"


def of_before(name: str) -> bool:
    """Tell whether the runs of that name are the other checkout's."""
    return name == "before" or name.endswith(", before")


def _seconds(result: Result) -> float:
    return float(result["seconds"])


def _cpu_seconds(result: Result) -> float:
    return float(result["cpu_seconds"])


def rate(result: Result) -> float:
    """Plaintext megabytes (10^6 bytes) a second."""
    return float(result["bytes"] / result["seconds"] / 1e6)


def cpu(result: Result) -> float:
    """The client's CPU seconds per gigabyte (10^9 bytes) of plaintext."""
    return float(result["cpu_seconds"] / result["bytes"] * 1e9)


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for downloads: in memory where there is room, since disks are not what is measured."""
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and shutil.disk_usage(shared).free > 6 * 1024 * MIB
    return tempfile.TemporaryDirectory(prefix="bench-", dir=shared if roomy else WORK)


def _run(command: list[str], environment: dict[str, str]) -> Result:
    """The last line that the command prints, and its resident set over time."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        killer = threading.Timer(_TIMEOUT, process.kill)
        killer.start()
        try:
            with _Watch(process.pid) as watch:
                output, _ = process.communicate()
        except BaseException:
            process.kill()
            raise
        finally:
            killer.cancel()
    if process.returncode:
        raise RuntimeError(
            f"{Path(command[1]).name} failed with status {process.returncode}: {command[-1][:300]}"
        )
    result: Result = json.loads(output.splitlines()[-1])
    result["memory"] = watch.samples
    return result


class _Watch:
    """(seconds, bytes) of a process's resident set, ten times a second, by a thread."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/statm")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.samples: list[tuple[float, int]] = []

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        start = time.perf_counter()
        while True:
            try:
                resident = int(self._path.read_text().split()[1]) * page
            except (OSError, IndexError):
                return  # It ended, or this is not Linux.
            self.samples.append((round(time.perf_counter() - start, 3), resident))
            if self._done.wait(0.1):
                return
