"""Several files of one call at the same time."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Callable

from .._base.waits import join
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
                join(thread)
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
    """A stand-in for a file system: fsspec's own `get` tells it what it would fetch.

    Args:
        fs: The file system.
        expand: Returns paths as `expand_path`, each with what a listing told of it, or None.
        look_up: Returns what the portal says of a path of names. None: nothing is there, or the path
            is not one of names.
    """

    def __init__(
        self,
        fs: Any,
        expand: Callable[[Any, bool, int | None], dict[str, dict[str, Any] | None]],
        look_up: Callable[[str], dict[str, Any] | None],
    ) -> None:
        self._fs = fs
        self._expand = expand
        self._look_up = look_up
        self.pairs: list[tuple[str, Any]] = []
        #: What is known of the sources, so that nothing is looked up twice.
        self.infos: dict[str, dict[str, Any] | None] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)

    def expand_path(
        self, path: Any, recursive: bool = False, maxdepth: int | None = None, **_: Any
    ) -> list[str]:
        """Return what the file system's `expand_path` does, and note what the listings told."""
        self.infos = self._expand(path, recursive, maxdepth)
        return sorted(self.infos)

    def isdir(self, path: str) -> bool:
        """Return whether a source is a folder. Look up only what no listing told."""
        if self.infos.get(path) is None:
            self.infos[path] = self._look_up(path)
        info = self.infos[path]
        return info is not None and info["type"] == "directory"

    def get_file(self, rpath: str, lpath: Any, **_: Any) -> None:
        """Note source and target of a file."""
        self.pairs.append((rpath, lpath))
