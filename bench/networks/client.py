"""Download one file by one client, and print what it took, as JSON: one process per measurement."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any


def run_ours(baseurl: str, file_id: int, workers: int | None) -> int:
    """Download by the library. None: its own number of workers."""
    from ctera_direct_sync import DirectIO

    with DirectIO(baseurl) as client:
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
    subprocess.run(
        ["curl", "-sSf", "--parallel", "--parallel-max", "32", "--config", "-"],
        input=config.encode(),
        check=True,
    )
    return sum(chunk.length for chunk in chunks)


def main() -> None:
    """Run the client of the command line: `NAME BASEURL FILE_ID`."""
    name, baseurl, file_id = sys.argv[1], sys.argv[2], int(sys.argv[3])
    clients: dict[str, Any] = {"curl": run_curl, "cterasdk": run_peer}
    start = time.perf_counter()
    if name in clients:
        nbytes = clients[name](baseurl, file_id)
    else:
        workers = None if name == "ours" else int(name.partition("-")[2])
        nbytes = run_ours(baseurl, file_id, workers)
    print(json.dumps({"seconds": time.perf_counter() - start, "bytes": nbytes}))


if __name__ == "__main__":
    main()
