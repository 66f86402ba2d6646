"""Memory that is lent again and again."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync._base.buffers import BufferPool

MIB = 1024 * 1024


@given(st.lists(st.integers(0, 3 * MIB), min_size=1, max_size=8))
def test_reserve(sizes):
    """A buffer is as large as it is asked to be, each time, and writable."""
    with BufferPool().acquire() as buffer:
        for size in sizes:
            memory = buffer.view(size)
            assert len(memory) == size
            memory[:1] = b"x"[: len(memory)]


def test_the_last_returned_is_lent_first():
    """Memory that was touched is used again."""
    pool = BufferPool()
    with pool.acquire() as buffer:
        memory = buffer.view(MIB)
        memory[:6] = b"before"
    with pool.acquire() as buffer:
        assert bytes(buffer.view(6)) == b"before"


def test_loans_do_not_share():
    """Two loans at the same time are of different memory."""
    pool = BufferPool()
    with pool.acquire() as first, pool.acquire() as second:
        first.view(10)[:] = b"1" * 10
        second.view(10)[:] = b"2" * 10
        assert bytes(first.view(10)) == b"1" * 10


def test_returned_after_an_error():
    """A buffer comes back when its user fails."""
    pool = BufferPool()
    with pytest.raises(KeyError), pool.acquire() as buffer:
        buffer.view(10)
        raise KeyError
    assert len(pool._free) == 1


def test_few_are_kept():
    """No more stay than threads can use at the same time, and none that is very large."""
    pool = BufferPool()
    most = 2 * (os.cpu_count() or 1)
    line = threading.Barrier(most + 3)

    def use() -> None:
        with pool.acquire() as buffer:
            buffer.view(10)
            line.wait(20)

    users = [threading.Thread(target=use) for _ in range(most + 3)]
    for user in users:
        user.start()
    for user in users:
        user.join(20)
    assert 0 < len(pool._free) <= most + 1
    fresh = BufferPool()
    with fresh.acquire() as buffer:
        buffer.view(64 * MIB)
    assert not fresh._free
