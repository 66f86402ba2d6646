"""Finds how many files to download at once by measuring. Pure: the clocks are injected.

A small file costs little processor time, and long waits for two answers. By Little's law, the number of
files under way is their rate times the time that each takes. The rate is highest once the interpreter,
which runs one thread at a time, is never idle. So the number that suffices is the time that a file takes
while few are under way, divided by the processor time that it costs.

That number is only tried. It stays if more files, or more bytes, come in a second.
"""

from __future__ import annotations

import math
from typing import Callable

from .._base.sync import perf_counter, process_time

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["FileTuner", "most_files"]

#: The number to start with. Without latency, more threads only compete for the interpreter's lock.
_FIRST_FILES = 8
#: The number that large files get, whose blocks already keep the link busy.
_FEW_FILES = 4
_MOST_FILES = 128
#: Descriptors that a file may need: folders, part file, journal, and two connections.
_DESCRIPTORS_PER_FILE = 10
_USUAL_DESCRIPTORS = 256

#: A file costs as much as this many bytes of other files, when progress is measured.
_BYTES_PER_FILE = 512 * 1024
#: What a download holds for each byte of a file: the stored object, the plaintext, and the allocator's
#: share.
_MEMORY_PER_BYTE = 2.25

#: One measurement takes at least this long, and this many files for each one that is under way. Until a
#: trial has failed it takes half of both: a run of some thousand files is over in a few seconds.
_MIN_MEASUREMENT_S = 0.1
_ENDS_PER_FILE = 2
#: Files beyond those that suffice, since they do not end evenly.
_MARGIN = 1.2
#: One step multiplies the number by at most this: at first, and once a trial has failed.
_MAX_FIRST_STEP = 4
_MAX_STEP = 2
#: A trial with fewer files divides the number by this.
_DOWN_STEP = 1.5
#: More files stay if they bring this much more. Fewer stay if they cost no more than this.
_MIN_GAIN = 1.1
_MAX_LOSS = 0.97
#: The shortest time of a file is forgotten by this factor at each measurement.
_BASE_GROWTH = 1.1
#: If less than this share of the rate is left, or it grew by its inverse, the link has changed.
_SAME_LINK = 0.5
#: Measurements between two trials. A trial that fails doubles it.
_REST_MEASUREMENTS = 8
_MAX_REST_MEASUREMENTS = 64


def most_files() -> int:
    """Return the most files at once that the limit of descriptors allows."""
    limit = _USUAL_DESCRIPTORS
    if resource is not None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if limit == resource.RLIM_INFINITY:
            return _MOST_FILES
    return max(_FEW_FILES, min(_MOST_FILES, limit // _DESCRIPTORS_PER_FILE))


class FileTuner:
    """The number of files at once that serves best.

    Not thread-safe: its user has a lock.

    Args:
        maximum: The most files at once.
        memory: The bytes that all files may hold together.
        clock: Returns the time in seconds.
        cpu: Returns the processor time of this process in seconds.

    Attributes:
        limit: The number of files to download at once now.
    """

    def __init__(
        self,
        maximum: int,
        memory: int,
        clock: Callable[[], float] = perf_counter,
        cpu: Callable[[], float] = process_time,
    ) -> None:
        self._maximum = maximum
        self._memory = memory
        self._clock = clock
        self._cpu = cpu
        self.limit = min(_FIRST_FILES, maximum)
        # The number before the trial that is under way, or None, and what that number brought.
        self._before: int | None = None
        self._settled_rate = 0.0
        # Whether the next trial is one with more files.
        self._up = True
        self._max_step = _MAX_FIRST_STEP
        # The shortest time that a file took on average, in seconds.
        self._base_s = math.inf
        # How many files memory and errors allow.
        self._room = maximum
        self._ceiling = maximum
        self._rest = 0
        self._next_rest = _REST_MEASUREMENTS
        self._skipped = 0
        self._restart()

    def idle(self) -> None:
        """Discard the current measurement: fewer files than `limit` are under way."""
        self._restart()

    def completed(self, seconds: float, nbytes: int) -> None:
        """Count a file that was downloaded while `limit` files were under way.

        Args:
            seconds: The time that it took.
            nbytes: Its size in bytes.
        """
        if self._skipped:
            # It began before the number changed.
            self._skipped -= 1
            if not self._skipped:
                self._restart()
            return
        self._count += 1
        self._bytes += nbytes
        self._seconds += seconds
        elapsed = self._clock() - self._since
        part = 0.5 if self._max_step == _MAX_FIRST_STEP else 1.0
        if self._count < part * _ENDS_PER_FILE * self.limit or elapsed < part * _MIN_MEASUREMENT_S:
            return
        self._judge(elapsed, self._cpu() - self._cpu_since)
        self._restart()

    def overloaded(self) -> None:
        """Note that portal or storage failed a request although it was repeated: use half as many."""
        self._ceiling = max(1, self.limit // 2)
        self._before = None
        self._rest = self._next_rest = _MAX_REST_MEASUREMENTS
        self._use(self.limit)

    def _restart(self) -> None:
        self._count = self._bytes = 0
        self._seconds = 0.0
        self._since, self._cpu_since = self._clock(), self._cpu()

    def _judge(self, elapsed: float, cpu: float) -> None:
        rate = (self._count + self._bytes / _BYTES_PER_FILE) / elapsed
        # It may rise again, since links change.
        self._base_s = min(_BASE_GROWTH * self._base_s, self._seconds / self._count)
        mean_memory = _MEMORY_PER_BYTE * self._bytes / self._count
        self._room = max(_FEW_FILES, int(self._memory / max(mean_memory, 1.0)))
        before, self._before = self._before, None
        if before is not None:
            needed = _MIN_GAIN if self.limit > before else _MAX_LOSS
            if rate < needed * self._settled_rate:
                self._max_step = _MAX_STEP
                self._up = not self._up
                self._pause()
                self._use(before)
                return
            self._next_rest = _REST_MEASUREMENTS
            self._settled_rate = rate
        else:
            if not _SAME_LINK * self._settled_rate < rate < self._settled_rate / _SAME_LINK:
                # The link is another one now.
                self._settled_rate, self._rest, self._next_rest = rate, 0, _REST_MEASUREMENTS
                self._up = True
            self._settled_rate = (self._settled_rate + rate) / 2
            if self._rest > 0:
                self._rest -= 1
                self._use(self.limit)
                return
            # Nothing has failed for long.
            self._ceiling = self._maximum
        self._try(self._count / max(cpu, 1e-6))

    def _pause(self) -> None:
        self._rest = self._next_rest
        self._next_rest = min(2 * self._next_rest, _MAX_REST_MEASUREMENTS)

    def _try(self, rate_of_one_processor: float) -> None:
        """Begin a trial with more files, or with fewer."""
        settled = self.limit
        if self._up:
            enough = math.ceil(_MARGIN * self._base_s * rate_of_one_processor)
            self._use(max(settled, min(enough, self._max_step * settled)))
        else:
            self._use(max(min(settled, _FEW_FILES), int(settled / _DOWN_STEP)))
        if self.limit != settled:
            self._before = settled
        else:
            self._up = not self._up
            self._pause()

    def _use(self, number: int) -> None:
        number = max(1, min(number, self._maximum, self._room, self._ceiling))
        if number != self.limit:
            self._skipped = self.limit
            self.limit = number
