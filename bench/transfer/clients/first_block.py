"""Milliseconds until a stream's first block, idle and beside bulk work: ``first_block.py TASK``."""

from __future__ import annotations

import json
import statistics
import time
from concurrent.futures import Future
from typing import Any

from meter import arguments

import ctera_direct_sync as ctera_direct

_SAMPLES = 40
_BULKS = 3


def main() -> None:
    """Measure on one client that is warm, and print medians."""
    task = arguments()
    with ctera_direct.DirectIO(task["url"], *task["keys"]) as client:
        first_block(client, task["file"])
        idle = [first_block(client, task["file"]) for _ in range(_SAMPLES)]
        listing = [list_file(client, task["file"]) for _ in range(_SAMPLES)]
        metadata = client.metadata(task["one_block"])
        block = [one_block(client, metadata) for _ in range(_SAMPLES)]
        busy = [sample for _ in range(_BULKS) for sample in while_busy(client, task)]
    print(
        json.dumps(
            {
                "idle": statistics.median(idle),
                "listing": statistics.median(listing),
                "block": statistics.median(block),
                "busy": statistics.median(busy),
                "busy_worst": max(busy),
                "busy_samples": len(busy),
            }
        )
    )


def first_block(client: ctera_direct.DirectIO, file_id: int) -> float:
    """From the call to the first block; the rest of the file is read, but not timed."""
    start = time.perf_counter()
    stream = client.stream(file_id)
    next(stream)
    seconds = time.perf_counter() - start
    for _ in stream:
        pass
    return 1000 * seconds


def list_file(client: ctera_direct.DirectIO, file_id: int) -> float:
    """The portal's answer alone."""
    start = time.perf_counter()
    client.metadata(file_id)
    return 1000 * (time.perf_counter() - start)


def one_block(client: ctera_direct.DirectIO, metadata: Any) -> float:
    """One block alone, listed before."""
    start = time.perf_counter()
    [future] = client.executor(metadata)()
    future.result()
    return 1000 * (time.perf_counter() - start)


def while_busy(client: ctera_direct.DirectIO, task: dict[str, Any]) -> list[float]:
    """First blocks while the blocks of another file are under way, before and after each of them."""
    bulk = client.blocks(task["bulk"])
    bulk[0].result()
    samples = []
    while True:
        seconds = first_block(client, task["file"])
        if waiting(bulk) < len(bulk) // 10:
            break
        samples.append(seconds)
    for future in bulk:
        future.result()
    return samples


def waiting(bulk: list[Future[ctera_direct.Block]]) -> int:
    """How many are not done."""
    return sum(not future.done() for future in bulk)


if __name__ == "__main__":
    main()
