"""Several files of one call at the same time."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Callable

from .._readers.multi_range import MultiRangeReader

__all__ = ["GetPlan", "Group"]


class Group:
    """Tasks that run at the same time. The first that fails ends the others."""

    def __init__(self) -> None:
        self._stopped = False
        self._readers: set[MultiRangeReader] = set()

    def run(self, tasks: Sequence[Callable[[], Any]], limit: int) -> list[Any]:
        """Run tasks, also on the calling thread.

        Args:
            tasks: The tasks.
            limit: The most tasks at a time.

        Returns:
            Their results, in order.

        Raises:
            BaseException: What the first task raised that failed.
        """
        results: list[Any] = [None] * len(tasks)
        errors: list[BaseException] = []
        todo = deque(enumerate(tasks))

        def work() -> None:
            while True:
                try:
                    place, task = todo.popleft()
                except IndexError:
                    return
                try:
                    results[place] = task()
                except BaseException as error:  # noqa: BLE001  The calling thread raises it below.
                    errors.append(error)
                    todo.clear()
                    self.stop()

        threads = []
        try:
            for number in range(min(limit, len(tasks)) - 1):
                thread = threading.Thread(target=work, name=f"ctera-direct-files-{number}")
                try:
                    thread.start()
                except RuntimeError:  # The threads that run, and this one, do the work.
                    break
                threads.append(thread)
            work()
            for thread in threads:
                thread.join()
        except BaseException:
            todo.clear()
            self.stop()
            raise
        if errors:
            try:
                raise errors[0]
            finally:
                errors.clear()  # Its traceback holds this frame.
        return results

    def stop(self) -> None:
        """End the reads that are under way, and the downloads at their next block."""
        self._stopped = True
        for reader in list(self._readers):
            reader.close()

    def check(self) -> None:
        """Raise OSError if the group was stopped."""
        if self._stopped:
            raise OSError(errno.ECANCELED, "another file of the same call failed")

    @contextlib.contextmanager
    def reading(self, reader: MultiRangeReader) -> Iterator[MultiRangeReader]:
        """Register a reader, which `stop` then ends."""
        self._readers.add(reader)
        try:
            self.check()
            yield reader
        finally:
            self._readers.discard(reader)
            reader.close()


class GetPlan:
    """A stand-in for a file system: fsspec's own `get` tells it what it would fetch."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs
        self.pairs: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)

    def get_file(self, rpath: str, lpath: Any, **_: Any) -> None:
        """Note source and target of a file."""
        self.pairs.append((rpath, lpath))
