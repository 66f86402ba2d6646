"""Stream a synthetic file at a consumer that waits, before each step, until the read-ahead is full.

Arguments: portal's URL, file ID, size, seed, blocks that fit into memory. Prints the peak resident set
in bytes. Keys by environment.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from ctera_direct_sync import BlockEvent, DirectIO, Settings
from ctera_direct_sync.emulator import SyntheticSource

STEP = 1024 * 1024


class Progress:
    """How many pieces were decoded or received, and a way to wait for a number of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def __call__(self, event: BlockEvent) -> None:
        if event.name == "received":
            with self._changed:
                self._count += 1
                self._changed.notify_all()

    def wait(self, count: int) -> None:
        """Until ``count`` pieces have come."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._count >= count, 60):
                sys.exit(f"only {self._count} of {count} pieces came")


def main() -> None:
    """Read a stream slowly, and check each block."""
    url, file_id, size, seed, window = sys.argv[1], *map(int, sys.argv[2:])
    source, progress = SyntheticSource(size, seed=seed), Progress()
    taken = offset = piece = 0
    with DirectIO(url, settings=Settings(), on_event=progress) as client:
        for block in client.stream(file_id):
            piece = max(piece, block.length)  # All but the last are of one size.
            taken += 1
            # As long as this one is held, the engine has nothing more to do once these are here.
            progress.wait(min(taken - 1 + window, -(-size // piece)))
            assert block.offset == offset
            for at in range(0, block.length, STEP):  # What is compared with is not measured, too.
                step = min(STEP, block.length - at)
                assert memoryview(block.data)[at : at + step] == source.read(offset + at, step)
            offset += block.length
    assert offset == size
    print(peak())


def peak() -> int:
    """The most memory that was resident. getrusage includes that of the parent at the fork."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    sys.exit("this system does not tell its peaks")


if __name__ == "__main__":
    main()
