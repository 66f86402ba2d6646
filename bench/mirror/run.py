"""Measure mirrors: a first run of small files, a run without a change, and a plan of many files.

    python bench/mirror/run.py [--files 2000] [--latency 0.03] [--sample 200] [--unchanged 100000]
                               [--planned 1000000]

The emulator runs in a process of its own. Each client runs in a process of its own as well, so that its CPU
time and peak memory are its own. 0 leaves a part out.

The first run has two peers: `download_many` of 4 files at once, and a program of the vendor's sample form.
The vendor's client takes a port with HTTPS alone. So that comparison has a server of its own, which our
mirror uses over HTTPS as well. The sample ends after `--sample` files.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CLOUD_FOLDER = "/My Files"
#: What a client calls to sign in and out.
SESSION_CALLS = ("login", "logout", "currentSession")


def serve(files: int, size: int, latency: float, tls: bool) -> None:
    """Run the emulator until standard input ends.

    At each line, print the portal's requests since the last line, by call, and the processor time.
    """
    from ctera_direct_sync.emulator import Emulator

    per_folder = 100
    tree = {
        f"folder-{number:05}": {
            f"file-{each:07}.bin": f"{each:07}".encode() * (size // 7 + 1)
            for each in range(number * per_folder, min(files, (number + 1) * per_folder))
        }
        for number in range(-(-files // per_folder))
    }
    with Emulator(tree=tree, tls=tls) as emulator:
        emulator.latency = latency
        keys = (emulator.access_key_id, emulator.secret_access_key)
        print(json.dumps([emulator.url, *keys, emulator.username, emulator.password]), flush=True)
        for _ in sys.stdin:
            calls = Counter(each.call or each.path for each in emulator.log.records(where="portal"))
            emulator.log.clear()
            print(json.dumps([calls, time.process_time()]), flush=True)


def run_client(kind: str, where: list[str], folder: str) -> dict[str, Any]:
    """Fill a folder in one way, and return the figures."""
    import ctera_direct_sync as ctera_direct

    url, access, secret, user, password = where
    settings = ctera_direct.Settings()
    settings.api.ssl = settings.storage.ssl = not url.startswith("https:")
    with ctera_direct.Namespace(url, user, password, settings=settings) as names:
        items = []
        if kind != "mirror":
            entries = [each for each in names.walk(CLOUD_FOLDER) if not each.is_dir]
            items = [(each, each.path[len(CLOUD_FOLDER) + 1 :]) for each in entries]
        with ctera_direct.DirectIO(
            url, access, secret, namespace=names, settings=settings
        ) as client:
            cpu, began = time.process_time(), time.perf_counter()
            if kind != "mirror":
                files = 4 if kind == "batch of 4" else None
                assert all(each.ok for each in client.download_many(items, folder, max_files=files))
            else:
                result = client.mirror(CLOUD_FOLDER, folder)
                assert result.ok
            seconds = time.perf_counter() - began
            cpu = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "cpu": cpu, "peak_mib": peak}


def run_sample(where: list[str], folder: str, files: int) -> dict[str, Any]:
    """Fill a folder by the vendor's sample, and return the figures.

    Args:
        where: The account.
        folder: The folder.
        files: The number of files after which it ends.
    """
    from vendor_sample import Account, VendorSample, trust_any_certificate

    trust_any_certificate()
    path = Path(folder)
    path.mkdir()
    enough = asyncio.Event()

    def opened(name: str) -> None:
        if sample.downloaded >= files:
            enough.set()

    sample = VendorSample(Account(*where), path, path.with_suffix(".cursor"), [], opened)

    async def run() -> None:
        async with sample.running():
            await enough.wait()

    cpu, began = time.process_time(), time.perf_counter()
    asyncio.run(run())
    seconds = time.perf_counter() - began
    assert not sample.errors, sample.errors[:3]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "cpu": time.process_time() - cpu, "peak_mib": peak}


def prepare_unchanged(where: list[str], folder: str) -> None:
    """Make a mirror of all files without downloading them: state and folder as after a first run."""
    import ctera_direct_sync as ctera_direct
    from ctera_direct_sync import codec
    from ctera_direct_sync._mirror import fetcher

    def fetch(
        self: Any, file: Any, place: Any, scope: Any, progress: Any, finish: Any, *, memory: Any
    ) -> int:
        number = int(file.path[-11:-4])
        data = f"{number:07}".encode() * (file.size // 7)
        fd = place.folder.create(place.name, os.O_WRONLY)
        os.write(fd, data)
        finish(fd)
        os.close(fd)
        return codec.crc32c(data)

    from ctera_direct_sync import _core

    _core.ClientCore._fetch_to = fetch  # type: ignore[method-assign]
    fetcher.flush = lambda fd: None  # type: ignore[assignment]
    url, access, secret, user, password = where
    with (
        ctera_direct.Namespace(url, user, password) as names,
        ctera_direct.DirectIO(url, access, secret, namespace=names) as client,
    ):
        assert client.mirror(CLOUD_FOLDER, folder).ok


def plan_many(count: int, *, first: bool = False) -> dict[str, Any]:
    """Compare a source of many files with a state of the same, and return the figures.

    Args:
        count: The number of files.
        first: Whether the state is empty instead, as before a first run.
    """
    from ctera_direct_sync._mirror.filters import Filter
    from ctera_direct_sync._mirror.planner import Options, plan
    from ctera_direct_sync._mirror.spill import Spill
    from ctera_direct_sync._mirror.state import State, entry_of
    from ctera_direct_sync._mirror.survey import Survey
    from ctera_direct_sync._mirror.values import Remote

    def source() -> Iterator[Remote]:
        for number in range(count):
            if number % 1000 == 0:
                yield Remote(f"folder-{number // 1000:05}", True)
            path = f"folder-{number // 1000:05}/file-{number:07}"
            yield Remote(path, False, number + 1, 1000, number, folder_id=1)

    state = State.copied(None)
    with state.transaction():
        for each in () if first else source():
            state.save(entry_of(each))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu, began = time.process_time(), time.perf_counter()
    spill = Spill()
    survey = Survey(state, None, Filter(), None, lambda: None, spill)
    survey.read_remote(source())
    planned = plan(survey.remote, survey.known, survey.local, Options(), spill)
    assert sum(1 for _ in planned.fetches) == (count if first else 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "peak_mib": peak, "start_mib": before}


class Server:
    """The emulator, in a process of its own."""

    def __init__(self, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.where = self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def ask(self) -> tuple[dict[str, int], float]:
        """Return the portal's requests since the last call, by what they call, and its processor time."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        requests, cpu = self._read()
        return requests, cpu

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def call(*arguments: object) -> dict[str, Any]:
    """Run a part of this program in a process of its own, and return what it prints."""
    line = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--latency", type=float, default=0.03)
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--unchanged", type=int, default=100_000)
    parser.add_argument("--planned", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--run-sample", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--plan", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--plan-first", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        files, size, latency, tls = options.serve
        serve(int(files), int(size), float(latency), tls == "True")
    elif options.client:
        kind, where, folder = options.client
        print(json.dumps(run_client(kind, json.loads(where), folder)))
    elif options.run_sample:
        where, folder, files = options.run_sample
        print(json.dumps(run_sample(json.loads(where), folder, int(files))))
    elif options.prepare:
        prepare_unchanged(json.loads(options.prepare[0]), options.prepare[1])
        print("{}")
    elif options.plan:
        print(json.dumps(plan_many(options.plan)))
    elif options.plan_first:
        print(json.dumps(plan_many(options.plan_first, first=True)))
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Run each part, and print its figures."""
    top = tempfile.mkdtemp(
        prefix="ctera-bench-mirror-", dir=ROOT / "build" if (ROOT / "build").is_dir() else None
    )
    try:
        if options.files:
            measure_first_run(options, top)
        if options.files and options.sample:
            measure_sample(options, top)
        if options.unchanged:
            measure_unchanged(options, top)
        if options.planned:
            for option, name in (
                ("--plan", "without a change"),
                ("--plan-first", "of a first run"),
            ):
                found = call(option, options.planned)
                print(
                    f"plan {name}, {options.planned} files: {found['seconds']:.1f} s, CPU "
                    f"{found['cpu']:.1f} s, peak {found['peak_mib']:.0f} MiB, of which "
                    f"{found['start_mib']:.0f} MiB were there before"
                )
    finally:
        shutil.rmtree(top)


def measure_first_run(options: argparse.Namespace, top: str) -> None:
    """Measure the first run of small files, beside batches: of 4 files at once, and of the default."""
    best: dict[str, dict[str, Any]] = {}
    with Server(options.files, options.size, options.latency, False) as server:
        for number in range(options.rounds):
            for kind in ("batch of 4", "batch", "mirror"):
                folder = f"{top}/{kind}-{number}"
                before = server.ask()[1]
                found = call("--client", kind, json.dumps(server.where), folder)
                found["server_ms"] = (server.ask()[1] - before) / options.files * 1000
                keep_best(best, kind, found, options.files)
    print_first_runs(best, options)
    server_ms = best["mirror"]["server_ms"]
    print(
        f"    the emulator meanwhile: CPU {server_ms:.2f} ms per file, so {1000 / server_ms:.0f} files/s "
        "at most"
    )
    for kind in ("batch", "mirror"):
        print(f"{kind} / batch of 4: {best[kind]['rate'] / best['batch of 4']['rate']:.1f}")


def measure_sample(options: argparse.Namespace, top: str) -> None:
    """Measure the first run beside a program of the vendor's sample form, both over HTTPS."""
    best: dict[str, dict[str, Any]] = {}
    with Server(options.files, options.size, options.latency, True) as server:
        for number in range(options.rounds):
            where = json.dumps(server.where)
            found = call("--client", "mirror", where, f"{top}/tls-mirror-{number}")
            keep_best(best, "mirror over HTTPS", found, options.files)
            files = min(options.sample, options.files - 1)
            found = call("--run-sample", where, f"{top}/sample-{number}", files)
            keep_best(best, "vendor's sample", found, files)
    print_first_runs(best, options)
    rates = [best[kind]["rate"] for kind in ("mirror over HTTPS", "vendor's sample")]
    print(f"mirror / vendor's sample: {rates[0] / rates[1]:.1f}")


def keep_best(
    best: dict[str, dict[str, Any]], kind: str, found: dict[str, Any], files: int
) -> None:
    """Keep the figures of the fastest round of each kind."""
    found.update(rate=files / found["seconds"], cpu_ms=found["cpu"] / files * 1000)
    # Another round may have had a quieter machine for its CPU time.
    if kind in best:
        found["cpu_ms"] = min(found["cpu_ms"], best[kind]["cpu_ms"])
        if found["rate"] < best[kind]["rate"]:
            found = {**best[kind], "cpu_ms": found["cpu_ms"]}
    best[kind] = found


def print_first_runs(best: dict[str, dict[str, Any]], options: argparse.Namespace) -> None:
    """Print a line for each kind of first run."""
    print(f"first run, files of {options.size} bytes, {options.latency} s per answer:")
    for kind, found in best.items():
        print(
            f"    {kind}: {found['seconds']:.2f} s, {found['rate']:.0f} files/s, CPU "
            f"{found['cpu_ms']:.2f} ms per file, peak {found['peak_mib']:.0f} MiB"
        )


def measure_unchanged(options: argparse.Namespace, top: str) -> None:
    """Measure a run without a change."""
    with Server(options.unchanged, 10, 0.0, False) as server:
        call("--prepare", json.dumps(server.where), f"{top}/unchanged")
        server.ask()
        found = call("--client", "mirror", json.dumps(server.where), f"{top}/unchanged")
        requests, _ = server.ask()
    others = {name: count for name, count in requests.items() if name not in SESSION_CALLS}
    print(
        f"mirror, no change, {options.unchanged} files: {found['seconds']:.2f} s, "
        f"CPU {found['cpu']:.2f} s, peak {found['peak_mib']:.0f} MiB, {sum(others.values())} requests "
        f"of the portal besides signing in and out; all: {requests}"
    )


if __name__ == "__main__":
    main()
