"""Of how many arenas glibc has given memory to a client's process with many threads.

Threads of the program's own, each of which allocates while all others are alive. Prints the number.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
import threading
from pathlib import Path

from ctera_direct_sync import DirectIO

SIZE = 1024 * 1024


def arenas() -> int:
    """The heaps that malloc_info(3) lists."""
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    with tempfile.NamedTemporaryFile(suffix=".xml") as file:
        stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
        assert libc.malloc_info(0, stream) == 0
        libc.fclose(stream)
        return Path(file.name).read_text().count("<heap nr=")


def main() -> None:
    """Threads: as many as the first argument says."""
    threads = int(sys.argv[1])
    client = DirectIO("http://localhost:1", "key", "secret")
    together = threading.Barrier(threads)

    def allocate() -> None:
        together.wait()
        made = bytes(SIZE)
        together.wait()
        del made

    running = [threading.Thread(target=allocate) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    print(arenas())
    client.close()


if __name__ == "__main__":
    main()
