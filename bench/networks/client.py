"""Download one file by one client, and print what it took, as JSON: one process per measurement."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

#: How long each block took, in seconds, where the client tells.
block_times: list[float] = []


def run_ours(baseurl: str, file_id: int, workers: int | None) -> int:
    """Download by the library. None: its own number of workers."""
    from ctera_direct_sync import BlockEvent, DirectIO

    started: dict[int, float] = {}

    def note(event: BlockEvent) -> None:
        if event.name == "started":
            started[event.number] = time.perf_counter()
        elif event.name == "decoded":
            block_times.append(time.perf_counter() - started[event.number])

    with DirectIO(baseurl, on_event=note) as client:
        blocks = client.iter_blocks(file_id, max_workers=workers)
        return sum(len(block.data) for block in blocks)


def run_peer(baseurl: str, file_id: int) -> int:
    """Download by cterasdk, with its defaults."""
    import asyncio

    from cterasdk.direct.client import DirectIO

    async def get() -> int:
        access, secret = (
            os.environ["CTERA_DIRECT_ACCESS_KEY_ID"],
            os.environ["CTERA_DIRECT_SECRET_ACCESS_KEY"],
        )
        async with DirectIO(baseurl, access, secret) as client:
            futures = await client.blocks(file_id)
            return sum([(await future).length for future in asyncio.as_completed(futures)])

    return asyncio.run(get())


def run_curl(baseurl: str, file_id: int) -> int:
    """Download the plain objects by curl, 32 at once."""
    from ctera_direct_sync import DirectIO

    with DirectIO(baseurl) as client:
        chunks = client.metadata(file_id).chunks
    # The URLs hold signatures: they go by standard input, not by arguments.
    config = "".join(f'url = "{chunk.url}"\noutput = "/dev/null"\n' for chunk in chunks)
    done = subprocess.run(
        [
            "curl",
            "-sSf",
            "--parallel",
            "--parallel-max",
            "32",
            "--write-out",
            "%{time_total}\\n",
            "--config",
            "-",
        ],
        input=config.encode(),
        check=True,
        stdout=subprocess.PIPE,
    )
    block_times.extend(float(line) for line in done.stdout.split())
    return sum(chunk.length for chunk in chunks)


def run_aria2(baseurl: str, file_id: int) -> int:
    """Download the plain objects by aria2c, 32 at once."""
    from ctera_direct_sync import DirectIO

    with DirectIO(baseurl) as client:
        chunks = client.metadata(file_id).chunks
    with tempfile.TemporaryDirectory() as folder:
        command = ["aria2c", "--quiet", "--max-concurrent-downloads=32", f"--dir={folder}"]
        given = "".join(f"{chunk.url}\n  out={chunk.number}\n" for chunk in chunks)
        subprocess.run([*command, "--input-file=-"], input=given.encode(), check=True)
        return sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))


def peak_mib() -> float:
    """Return the peak memory of this process, or of the largest program that it ran."""
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024


def main() -> None:
    """Run the client of the command line: `NAME BASEURL FILE_ID`."""
    name, baseurl, file_id = sys.argv[1], sys.argv[2], int(sys.argv[3])
    clients: dict[str, Any] = {"curl": run_curl, "aria2c": run_aria2, "cterasdk": run_peer}
    start = time.perf_counter()
    if name in clients:
        nbytes = clients[name](baseurl, file_id)
    else:
        workers = None if name == "ours" else int(name.partition("-")[2])
        nbytes = run_ours(baseurl, file_id, workers)
    result = {"seconds": time.perf_counter() - start, "bytes": nbytes}
    for share in (50, 99):
        if block_times:
            rank = min(len(block_times) - 1, len(block_times) * share // 100)
            result[f"p{share}"] = sorted(block_times)[rank]
    print(json.dumps({**result, "peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()
