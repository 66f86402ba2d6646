"""Walk a portal's tree with this library and with the vendor's client, and compare.

    python bench/names/walk.py [--folders 1000] [--files 100] [--latency 0.02] [--no-vendor]

The emulator runs in a process of its own and waits `--latency` seconds before each answer.
Each client runs in a process of its own as well, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any


def serve(folders: int, files: int, latency: float) -> None:
    """Run the emulator until standard input ends."""
    from ctera_direct_sync.emulator import Emulator

    tree = {
        f"folder-{number:05}": {f"file-{number:05}-{each:04}.bin": b"x" for each in range(files)}
        for number in range(folders)
    }
    with Emulator(tls=True, tree=tree) as emulator:
        emulator.latency = latency
        where = {"url": emulator.url, "user": emulator.username, "password": emulator.password}
        print(json.dumps(where), flush=True)
        sys.stdin.read()
        print(json.dumps({"requests": emulator.log.total("portal")}), flush=True)


def walk_ours(where: dict[str, str]) -> int:
    """Walk with this library, and return the number of entries."""
    from ctera_direct_sync import Namespace, Settings

    settings = Settings()
    settings.api.ssl = False
    with Namespace(where["url"], where["user"], where["password"], settings=settings) as names:
        return sum(1 for _ in names.walk("/My Files"))


def walk_vendor(where: dict[str, str]) -> int:
    """Walk with the vendor's client, and return the number of entries."""
    import asyncio
    from urllib.parse import urlsplit

    asyncio.set_event_loop(asyncio.new_event_loop())
    import cterasdk
    import cterasdk.settings

    cterasdk.settings.core.syn.settings.connector.ssl = False
    parts = urlsplit(where["url"])
    client = cterasdk.ServicesPortal(parts.hostname, parts.port)
    client.login(where["user"], where["password"])
    try:
        return sum(1 for _ in client.files.walk("My Files"))
    finally:
        client.logout()


def measure(which: str, where: dict[str, str]) -> None:
    """Walk, and print entries, seconds and peak memory as JSON."""
    start = time.perf_counter()
    count = {"ours": walk_ours, "vendor": walk_vendor}[which](where)
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "entries": count,
        "seconds": round(seconds, 2),
        "cpu": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024, 1),
    }
    print(json.dumps(result))


def run_child(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start this program again."""
    command = [sys.executable, __file__, *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    )


def main() -> None:
    """Compare the two clients."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folders", type=int, default=1000)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--no-vendor", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=["ours", "vendor"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.folders, options.files, options.latency)
        return
    if options.measure:
        measure(options.measure, json.loads(sys.stdin.read()))
        return
    sizes = ("--folders", str(options.folders), "--files", str(options.files))
    server = run_child("--serve", *sizes, "--latency", str(options.latency))
    assert server.stdout is not None
    where = server.stdout.readline()
    results = {}
    try:
        for which in ("ours",) if options.no_vendor else ("ours", "vendor"):
            answer, _ = run_child("--measure", which).communicate(where)
            results[which] = json.loads(answer)
            print(which, answer.strip(), flush=True)
    finally:
        print("server", server.communicate()[0].strip())
    if "vendor" in results:
        ratio = results["vendor"]["seconds"] / results["ours"]["seconds"]
        print(f"ratio {ratio:.1f}")


if __name__ == "__main__":
    main()
