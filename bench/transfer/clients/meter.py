"""What a client's process says about itself when it is done: one line of JSON."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import Any


class Meter:
    """Wall and CPU seconds between ``with`` and its end, then ``report``."""

    def __enter__(self) -> Meter:
        self._rss_before = peak_memory()
        self._cpu = _cpu_seconds()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start
        self.cpu_seconds = _cpu_seconds() - self._cpu

    def report(self, nbytes: int, requests: int, **more: Any) -> None:
        """Print the line."""
        print(
            json.dumps(
                {
                    "bytes": nbytes,
                    "seconds": self.seconds,
                    "cpu_seconds": self.cpu_seconds,
                    "maxrss": peak_memory(),
                    "maxrss_before": self._rss_before,
                    "requests": requests,
                    **more,
                }
            )
        )


def arguments() -> dict[str, Any]:
    """The task, as the benchmark hands it over."""
    task: dict[str, Any] = json.loads(sys.argv[1])
    return task


def peak_memory() -> int:
    """Bytes of this program's largest resident set.

    ``ru_maxrss`` would count what the parent had at the time of the fork (Linux keeps it over exec).
    """
    if os.path.exists("/proc/self/status"):
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
