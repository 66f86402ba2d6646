"""Files that wait for their share of the memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync._base.cancellation import Cancelled, CancelScope
from ctera_direct_sync._readers.file_memory import FileMemory

MIB = 1024 * 1024
PATIENCE = 20


class Waiter:
    """A thread that reserves memory, and holds it until it is told to give it back."""

    def __init__(self, memory: FileMemory, size: int, scope: CancelScope | None = None) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self.error: BaseException | None = None
        self._memory, self._size, self._scope = memory, size, scope or CancelScope()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._memory.reserve(self._size, self._scope):
                self.entered.set()
                self.leave.wait(PATIENCE)
        except Cancelled as error:
            self.error = error

    def end(self) -> None:
        """Give the memory back."""
        self.leave.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@contextmanager
def waiting(memory: FileMemory, count: int) -> Iterator[None]:
    """Wait until so many files stand in line."""
    deadline = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        if len(memory._waiting) == count:
            break
        deadline.wait(0.01)
    assert len(memory._waiting) == count
    yield


def test_small_files_before_large_ones_do_not_add_up() -> None:
    """However many small files ran at once, four large ones hold all the memory."""
    memory = FileMemory(64 * MIB)
    small = [Waiter(memory, 1000) for _ in range(100)]
    assert all(each.entered.wait(PATIENCE) for each in small)
    for each in small:
        each.end()
    large = [Waiter(memory, 1000 * MIB) for _ in range(5)]
    with waiting(memory, 1):
        assert sum(each.entered.is_set() for each in large) <= 4
    assert memory.held == 64 * MIB
    for each in large:
        each.end()
    assert memory.held == 0


def test_file_that_is_larger_than_the_memory_goes_alone() -> None:
    """A reservation that exceeds what is there is granted once nothing else is held."""
    memory = FileMemory(2)
    with memory.reserve(1000, CancelScope()):
        assert memory.held == 0 or memory.held <= 2


def test_first_in_line_goes_first() -> None:
    """A small file does not overtake a large one for ever."""
    memory = FileMemory(100)
    holders = [Waiter(memory, 40) for _ in range(3)]
    assert all(each.entered.wait(PATIENCE) for each in holders)
    fourth = Waiter(memory, 40)
    assert fourth.entered.wait(PATIENCE)
    large = Waiter(memory, 40)
    with waiting(memory, 1):
        small = Waiter(memory, 1)
    with waiting(memory, 2):
        assert not small.entered.is_set()
    for each in (*holders, fourth):
        each.end()
    assert large.entered.wait(PATIENCE) and small.entered.wait(PATIENCE)
    large.end()
    small.end()
    assert memory.held == 0


def test_cancel_ends_a_wait() -> None:
    """A file that waits leaves the line as soon as its scope is cancelled."""
    memory = FileMemory(100)
    holders = [Waiter(memory, 40) for _ in range(4)]
    assert all(each.entered.wait(PATIENCE) for each in holders)
    scope = CancelScope()
    waiter = Waiter(memory, 40, scope)
    with waiting(memory, 1):
        scope.cancel()
    waiter.end()
    assert isinstance(waiter.error, Cancelled)
    assert not memory._waiting
    for each in holders:
        each.end()
    assert memory.held == 0


def test_cancelled_scope_reserves_nothing() -> None:
    """A scope that was cancelled before gets nothing, and holds nothing."""
    memory, scope = FileMemory(100), CancelScope()
    scope.cancel()
    with pytest.raises(Cancelled), memory.reserve(10, scope):
        pass
    assert memory.held == 0 and not memory._waiting


@given(st.lists(st.integers(0, 300), max_size=40), st.integers(4, 1000))
def test_reservations_one_after_another(sizes: list[int], total: int) -> None:
    """Whatever the sizes, no more is held than there is, and all comes back."""
    memory = FileMemory(total)
    for size in sizes:
        with memory.reserve(size, CancelScope()):
            assert memory.held <= total
    assert memory.held == 0
