"""The memory that the files of a batch or a mirror may hold together.

How large a file is shows once it is listed. So a file is listed first, and then waits for its share. While
large files hold the memory, the listings of the next ones go ahead, and their downloads wait in turn.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator

from .._base.cancellation import CancelScope, Gate
from .._base.sync import Lock

__all__ = ["FileMemory"]

#: What a download holds for each byte of a file: the stored object, the plaintext, and the allocator's
#: share.
_MEMORY_PER_BYTE = 2.25
#: So many files are always downloaded at once, however large they are: while one ends, others go on.
_MIN_FILES = 4


class FileMemory:
    """Lets files begin in turn, as far as the memory goes.

    Only worker threads may wait here: Python never interrupts them.

    Args:
        total: The bytes that all files may hold together.

    Attributes:
        held: The bytes that are reserved now.
    """

    def __init__(self, total: int) -> None:
        self.held = 0
        self._total = total
        self._lock = Lock()
        self._waiting: deque[tuple[Gate, int]] = deque()

    @contextlib.contextmanager
    def reserve(self, size: int, scope: CancelScope) -> Iterator[None]:
        """Wait for the memory of a file, and hold it.

        Args:
            size: The bytes of the file.
            scope: The scope that ends the wait.

        Raises:
            Cancelled: The scope was cancelled.
        """
        needed = self._needed(size)
        gate = Gate()
        with self._lock:
            self._waiting.append((gate, needed))
            self._admit()
        try:
            if not gate.is_open:
                # No lasting wait is missed: an attachment of a scope that was cancelled raises.
                scope.attach(gate.open)
                try:
                    gate.wait()
                finally:
                    scope.detach()
            scope.check()
            yield
        finally:
            with self._lock:
                try:
                    self._waiting.remove((gate, needed))
                except ValueError:
                    self.held -= needed
                self._admit()

    def _needed(self, size: int) -> int:
        return min(int(_MEMORY_PER_BYTE * size), self._total // _MIN_FILES)

    def _admit(self) -> None:
        """Let the files in that fit, in their order."""
        while self._waiting:
            gate, needed = self._waiting[0]
            if self.held and self.held + needed > self._total:
                return
            self._waiting.popleft()
            self.held += needed
            gate.open()
