"""cterasdk.direct, measured: ``peer.py TASK``, as ours.py is."""

from __future__ import annotations

import asyncio
from typing import Any

from cterasdk.direct.client import DirectIO
from meter import Meter, arguments


async def blocks(client: DirectIO, file_id: int, task: dict[str, Any]) -> tuple[int, int]:
    """Blocks as they complete, discarded."""
    nbytes = count = 0
    for future in asyncio.as_completed(
        await client.blocks(file_id, max_workers=task.get("workers"))
    ):
        nbytes += (await future).length
        count += 1
    return nbytes, count


async def stream(client: DirectIO, file_id: int, task: dict[str, Any]) -> tuple[int, int]:
    """Blocks in order, discarded."""
    nbytes = count = 0
    streamer = await client.streamer(file_id, max_workers=task.get("workers"))
    async for block in streamer.start():
        nbytes += block.length
        count += 1
    return nbytes, count


WAYS = {"blocks": blocks, "stream": stream}


async def run(task: dict[str, Any]) -> tuple[int, int]:
    """Fetch the task's files by so many concurrent callers; bytes and blocks that came."""
    way = WAYS[task["way"]]
    todo = iter(task["files"])
    counts = []
    async with DirectIO(task["url"], *task["keys"]) as client:

        async def caller() -> None:
            for file_id in todo:
                counts.append(await way(client, file_id, task))

        await asyncio.gather(*(caller() for _ in range(task.get("callers", 1))))
    return sum(nbytes for nbytes, _ in counts), sum(count for _, count in counts)


def main() -> None:
    """Do the task, and report."""
    task = arguments()
    with Meter() as meter:
        nbytes, count = asyncio.run(run(task))
    meter.report(nbytes, count + len(task["files"]))


if __name__ == "__main__":
    main()
