"""Count the bytecodes that the client's threads run for each block, by function.

A busy machine does not change these numbers, as it does times. So they show what a change costs each block
even where a benchmark's noise is larger. They say nothing about time in C, and the interpreter runs some
bytecodes much faster than others. So they tell where to look, and run.py whether it became faster.

    python bench/transfer/bytecodes.py                      # this checkout
    ../old/.venv/bin/python bench/transfer/bytecodes.py     # another one, by its own Python
"""

from __future__ import annotations

import argparse
import os
import threading
from collections import Counter
from types import FrameType
from typing import Any

import ctera_direct_sync as ctera_direct
from ctera_direct_sync.emulator import Emulator, SyntheticSource

_PACKAGE = os.path.dirname(ctera_direct.__file__)
_BLOCK_BYTES = 2048


class Counts:
    """The calls and bytecodes of each function while `is_on`."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.bytecodes: Counter[str] = Counter()
        self.is_on = False

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Count a call, and have its bytecodes counted: a trace function for `threading.settrace`."""
        path = frame.f_code.co_filename
        if not self.is_on or not threading.current_thread().name.startswith("ctera-direct"):
            return None  # Also the emulator's threads.
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        function = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)
        name = (
            f"{os.path.relpath(path, _PACKAGE) if path.startswith(_PACKAGE) else path} {function}"
        )
        self.calls[name] += 1

        def count(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "opcode":
                self.bytecodes[name] += 1
            return count

        return count


def main() -> None:
    """Fetch a file of small blocks twice, count the second time, and print a table."""
    options = _parse()
    counts = Counts()
    with Emulator(block_size=_BLOCK_BYTES) as portal:
        file_id = portal.add(SyntheticSource(options.blocks * _BLOCK_BYTES))
        threading.settrace(counts.trace)  # For the threads that start from now on.
        login = portal.url, portal.access_key_id, portal.secret_access_key
        # Older commits have no such setting.
        given = {} if options.hedging is None else {"hedging": options.hedging}
        with ctera_direct.DirectIO(*login, settings=ctera_direct.Settings(**given)) as client:
            for counts.is_on in (False, True):
                fetched = sum(1 for _ in client.iter_blocks(file_id, max_workers=1))
            counts.is_on = False
    if fetched != options.blocks:
        raise SystemExit(f"{fetched} of {options.blocks} blocks came")
    _report(counts, options.blocks, options.top)


def _report(counts: Counts, blocks: int, top: int) -> None:
    calls, bytecodes = (sum(each.values()) / blocks for each in (counts.calls, counts.bytecodes))
    print(f"{bytecodes:,.0f} bytecodes and {calls:,.0f} calls for each of {blocks:,} blocks")
    for name, number in counts.bytecodes.most_common(top):
        print(f"{number / blocks:8.1f} in {counts.calls[name] / blocks:5.2f} calls  {name}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--blocks", type=int, default=1000, help="the blocks of the file")
    parser.add_argument("--top", type=int, default=25, help="the functions to list")
    parser.add_argument(
        "--hedging", type=float, help="settings.hedging. 0: without what hedging costs"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
