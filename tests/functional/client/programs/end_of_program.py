"""Ends its main thread while other threads are at work. Arguments: who works, and at what."""

from __future__ import annotations

import atexit
import concurrent.futures.thread
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Callable

from ctera_direct_sync import DirectIO

client = DirectIO()
file_id = int(os.environ["FILE_ID"])
size = int(os.environ["SIZE"])
began = threading.Event()


def stream() -> int:
    """Stream the file, slowly."""
    total = 0
    for block in client.stream(file_id):
        began.set()
        time.sleep(0.01)
        total += block.length
    return total


def download() -> int:
    """Download the file to a path."""
    with tempfile.TemporaryDirectory() as folder:
        began.set()
        return client.download(file_id, os.path.join(folder, "target")).size


def batch() -> int:
    """Download the file by many names."""
    with tempfile.TemporaryDirectory() as folder:
        began.set()
        results = client.download_many([(file_id, f"{number}") for number in range(8)], folder)
        return min(0 if each.download is None else each.download.size for each in results)


def late() -> int:
    """Make the first call of all once the main thread has ended."""
    began.set()
    # Set as the first thing that the main thread's end does. A thread of a pool cannot join that one.
    while not concurrent.futures.thread._shutdown:  # type: ignore[attr-defined]
        time.sleep(0.001)
    found = [sum(block.length for block in client.stream(file_id))]
    found.append(sum(block.length for block in client.iter_blocks(file_id)))
    found.append(sum(future.result().length for future in client.blocks(file_id)))
    with client.open(file_id) as file:
        found.append(len(file.read()))
    found += [download(), batch()]
    return min(found)


def wait_for_ever() -> int:
    """Stream what the storage never sends."""
    began.set()
    return sum(block.length for block in client.stream(file_id))


def report(work: Callable[[], int]) -> None:
    """Work, and say what came of it."""
    try:
        print("whole" if work() == size else "short", flush=True)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)


def main() -> None:
    """Start the work, see it begin, and end."""
    who, what = sys.argv[1:]
    work = globals()[what] if what != "futures" else None
    if who == "thread":
        threading.Thread(target=report, args=(work,)).start()
    elif who == "pool":
        ThreadPoolExecutor(1).submit(report, work)
    elif who == "daemon":
        threading.Thread(target=report, args=(work,), daemon=True).start()
    elif who == "atexit":
        began.set()
        atexit.register(report, work)
    else:
        sys.modules["kept"] = client.blocks(file_id)  # type: ignore[assignment]
        began.set()
    assert began.wait(20)


main()
