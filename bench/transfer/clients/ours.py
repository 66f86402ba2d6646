"""ctera_direct_sync, measured: ``ours.py TASK``, a JSON object that names the way in and the files."""

from __future__ import annotations

import os
import queue
import threading
from concurrent.futures import as_completed
from typing import Any, Callable

import ctera_direct_sync as ctera_direct
from meter import Meter, arguments

Way = Callable[[ctera_direct.DirectIO, int, dict[str, Any]], tuple[int, int]]


def main() -> None:
    """Do the task, and report."""
    task = arguments()
    settings = ctera_direct.Settings(**task.get('settings', {}))
    if task.get('ca'):
        settings.api.ssl = settings.storage.ssl = task['ca']
    way = WAYS[task['way']]
    with Meter() as meter:
        with ctera_direct.DirectIO(task['url'], *task['keys'], settings=settings) as client:
            nbytes, blocks = in_callers(way, client, task)
    meter.report(nbytes, blocks + len(task['files']), blocks=blocks)


def in_callers(way: Way, client: ctera_direct.DirectIO, task: dict[str, Any]) -> tuple[int, int]:
    """Have the files fetched by so many threads of the caller's; bytes and blocks that came."""
    if task.get('callers', 1) == 1:
        return total(way(client, file_id, task) for file_id in task['files'])
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for file_id in task['files']:
        todo.put(file_id)
    counts: list[tuple[int, int]] = []

    def caller() -> None:
        while True:
            try:
                file_id = todo.get_nowait()
            except queue.Empty:
                return
            counts.append(way(client, file_id, task))

    threads = [threading.Thread(target=caller) for _ in range(task['callers'])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(counts) != len(task['files']):
        raise SystemExit('a caller failed')
    return total(counts)


def total(counts: Any) -> tuple[int, int]:
    """The sums of both columns."""
    nbytes = blocks = 0
    for more_bytes, more_blocks in counts:
        nbytes += more_bytes
        blocks += more_blocks
    return nbytes, blocks


def iter_blocks(client: ctera_direct.DirectIO, file_id: int,
                task: dict[str, Any]) -> tuple[int, int]:
    """Blocks as they complete, discarded."""
    return total((block.length, 1) for block in
                 client.iter_blocks(file_id, max_workers=task.get('workers')))


def stream(client: ctera_direct.DirectIO, file_id: int, task: dict[str, Any]) -> tuple[int, int]:
    """Blocks in order, discarded."""
    return total((block.length, 1) for block in
                 client.stream(file_id, byte_range(task), max_workers=task.get('workers')))


def blocks(client: ctera_direct.DirectIO, file_id: int, task: dict[str, Any]) -> tuple[int, int]:
    """Futures, as they complete."""
    return total((future.result().length, 1) for future in
                 as_completed(client.blocks(file_id, max_workers=task.get('workers'))))


def download(client: ctera_direct.DirectIO, file_id: int,
             task: dict[str, Any]) -> tuple[int, int]:
    """A file, removed again."""
    path = f'{task["target"]}-{file_id}'
    try:
        done = client.download(file_id, path, max_workers=task.get('workers'))
    finally:
        if os.path.exists(path):
            os.remove(path)
    return done.size, 0


def byte_range(task: dict[str, Any]) -> Any:
    """The task's range, where it has one."""
    return ctera_direct.ByteRange(*task['range']) if 'range' in task else None


WAYS: dict[str, Way] = {'iter_blocks': iter_blocks, 'stream': stream, 'blocks': blocks,
                        'download': download}

if __name__ == '__main__':
    main()
