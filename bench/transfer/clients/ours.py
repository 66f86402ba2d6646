"""ctera_direct_sync, measured: ``ours.py TASK``, a JSON object that names the way in and the files."""

from __future__ import annotations

import json
import os
import queue
import random
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, Callable

from meter import Meter, arguments

import ctera_direct_sync as ctera_direct

Way = Callable[[ctera_direct.DirectIO, int, dict[str, Any]], tuple[int, int]]


def main() -> None:
    """Do the task, and report."""
    task = arguments()
    settings = ctera_direct.Settings(**task.get("settings", {}))
    if task.get("ca"):
        settings.api.ssl = settings.storage.ssl = task["ca"]
    events: list[Any] = []  # Older commits have another name for their type.
    hook = events.append if "events" in task else None
    way = WAYS[task["way"]]
    load(task, settings)
    with (
        Meter() as meter,
        ctera_direct.DirectIO(
            task["url"], *task["keys"], settings=settings, on_event=hook
        ) as client,
    ):
        nbytes, requests = in_callers(way, client, task)
    if "events" in task:
        with open(task["events"], "w") as file:
            json.dump([event._asdict() for event in events], file)
    meter.report(nbytes, requests + len(task["files"]), codec=ctera_direct.codec.backend)


def load(task: dict[str, Any], settings: ctera_direct.Settings) -> None:
    """Load what the package imports at its first request: it costs 0.2 s once, and the peer's is loaded."""
    if task["way"].endswith("_array"):
        import numpy  # noqa: F401
    with ctera_direct.DirectIO(task["url"], *task["keys"], settings=settings) as client:
        client.metadata(task["files"][0])


def in_callers(way: Way, client: ctera_direct.DirectIO, task: dict[str, Any]) -> tuple[int, int]:
    """Have so many threads of the caller's fetch the files; bytes, and requests to the storage."""
    if task.get("callers", 1) == 1:
        return total(way(client, file_id, task) for file_id in task["files"])
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for file_id in task["files"]:
        todo.put(file_id)
    counts: list[tuple[int, int]] = []

    def caller() -> None:
        while True:
            try:
                file_id = todo.get_nowait()
            except queue.Empty:
                return
            counts.append(way(client, file_id, task))

    threads = [threading.Thread(target=caller) for _ in range(task["callers"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(counts) != len(task["files"]):
        raise SystemExit("a caller failed")
    return total(counts)


def total(counts: Any) -> tuple[int, int]:
    """The sums of both columns."""
    nbytes = requests = 0
    for more_bytes, more_requests in counts:
        nbytes += more_bytes
        requests += more_requests
    return nbytes, requests


def iter_blocks(
    client: ctera_direct.DirectIO, file_id: int, task: dict[str, Any]
) -> tuple[int, int]:
    """Blocks as they complete, discarded."""
    return total(
        (block.length, 1) for block in client.iter_blocks(file_id, max_workers=task.get("workers"))
    )


def stream(client: ctera_direct.DirectIO, file_id: int, task: dict[str, Any]) -> tuple[int, int]:
    """Blocks in order, discarded."""
    return total(
        (block.length, 1)
        for block in client.stream(file_id, byte_range(task), max_workers=task.get("workers"))
    )


def blocks(client: ctera_direct.DirectIO, file_id: int, task: dict[str, Any]) -> tuple[int, int]:
    """Futures, as they complete."""
    return total(
        (future.result().length, 1)
        for future in as_completed(client.blocks(file_id, max_workers=task.get("workers")))
    )


def download(client: ctera_direct.DirectIO, file_id: int, task: dict[str, Any]) -> tuple[int, int]:
    """A file on disk (in memory, where the benchmark has it so)."""
    done = client.download(
        file_id, os.path.join(task["folder"], str(file_id)), max_workers=task.get("workers")
    )
    return done.size, 0


def read_into(client: ctera_direct.DirectIO, file_id: int, task: dict[str, Any]) -> tuple[int, int]:
    """The whole file in one buffer, decoded into it."""
    buffer = bytearray(client.metadata(file_id).size)
    return client.read_into(file_id, buffer), 0


def read_into_array(
    client: ctera_direct.DirectIO, file_id: int, task: dict[str, Any]
) -> tuple[int, int]:
    """The whole file in an array of NumPy, decoded into it."""
    import numpy

    array = numpy.empty(client.metadata(file_id).size, dtype="u1")
    return client.read_into(file_id, array), 0


def file_into_array(
    client: ctera_direct.DirectIO, file_id: int, task: dict[str, Any]
) -> tuple[int, int]:
    """The same by an open file."""
    import numpy

    with client.open(file_id) as file:
        array = numpy.empty(file.size, dtype="u1")
        return file.readinto(array), 0


def stream_and_join(
    client: ctera_direct.DirectIO, file_id: int, task: dict[str, Any]
) -> tuple[int, int]:
    """The whole file in one object, joined from its blocks."""
    return len(b"".join(block.data for block in client.stream(file_id))), 0


def write_alone(
    client: ctera_direct.DirectIO, file_id: int, task: dict[str, Any]
) -> tuple[int, int]:
    """What a download costs at the least: two threads write as many bytes into a file."""
    size, piece = client.metadata(file_id).size, bytes(4 * 1024 * 1024)
    path = os.path.join(task["folder"], str(file_id))
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        with ThreadPoolExecutor(2) as pool:
            nbytes = sum(
                pool.map(
                    lambda offset: os.pwrite(file, piece[: size - offset], offset),
                    range(0, size, len(piece)),
                )
            )
    finally:
        os.close(file)
    return nbytes, 0


def random_reads(
    client: ctera_direct.DirectIO, file_id: int, task: dict[str, Any]
) -> tuple[int, int]:
    """Reads of 64 KiB here and there in an open file."""
    choose, size, nbytes = random.Random(1), 64 * 1024, 0
    with client.open(file_id) as file:
        end = file.seek(0, os.SEEK_END)
        for _ in range(task["reads"]):
            file.seek(choose.randrange(end - size))
            nbytes += len(file.read(size))
    return nbytes, 0


def byte_range(task: dict[str, Any]) -> Any:
    """The task's range, where it has one."""
    return ctera_direct.ByteRange(*task["range"]) if "range" in task else None


WAYS: dict[str, Way] = {
    "iter_blocks": iter_blocks,
    "stream": stream,
    "blocks": blocks,
    "download": download,
    "read_into": read_into,
    "read_into_array": read_into_array,
    "file_into_array": file_into_array,
    "stream_and_join": stream_and_join,
    "random_reads": random_reads,
    "write_alone": write_alone,
}

if __name__ == "__main__":
    main()
