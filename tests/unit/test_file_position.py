"""The position of a file that threads share, or that is closed amid a read."""

from __future__ import annotations

import threading

import pytest

from ctera_direct_sync._readers.raw_file import RawDirectFile
from ctera_direct_sync.exceptions import DirectIOError


def test_read_that_fails_leaves_another_threads_position(portal, client) -> None:
    """A thread that reads right after a failed read moves the position for good."""
    file = client.open(portal.add(bytes(range(100)), block_size=100))
    raw = file._raw_file

    class Lock:
        """The file's lock. Another thread reads as soon as the failed read has let go of it."""

        def __getattr__(self, name: str):
            return getattr(lock, name)

        def __enter__(self):
            return lock.__enter__()

        def __exit__(self, *error: object) -> None:
            lock.release()
            raw._lock._lock = lock
            thread = threading.Thread(target=lambda: found.append(file.read(10)))
            thread.start()
            thread.join()

    def fail(start: int, count: int) -> bytes:
        raise DirectIOError("injected", 1)

    found: list[bytes] = []
    lock, raw._lock._lock = raw._lock._lock, Lock()
    with pytest.raises(DirectIOError, match="injected"):
        raw.advance(fail, 10)
    assert found == [bytes(range(10))]
    assert file.tell() == 10
    file.close()


def test_close_while_a_read_takes_the_position(portal, client) -> None:
    """A close that has taken the position away, and no more yet, does not make the read look there."""
    file = client.open(portal.add(bytes(range(100)), block_size=100))

    class Closing(RawDirectFile):
        """A file that another thread begins to close right after a look at its position."""

        @property
        def position(self) -> int:
            position = self.__dict__["hidden"]
            if looks:
                looks.pop()
                self.__dict__["hidden"] = -1
            return position

        @position.setter
        def position(self, position: int) -> None:
            self.__dict__["hidden"] = position

    looks = [None]
    raw = file._raw_file
    raw.__dict__["hidden"] = raw.__dict__.pop("position")
    raw.__class__ = Closing
    assert raw.advance(raw.read_exactly, 10) == bytes(range(10))
    file.close()


def test_a_file_whose_constructor_was_interrupted_can_be_closed() -> None:
    """The collector closes what an interrupt has left of a file, without an error on standard error."""
    file = RawDirectFile.__new__(RawDirectFile)
    file.close()
    assert file.closed
