"""Memory that is lent again and again."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync.buffers import BufferPool

MIB = 1024 * 1024


@given(st.lists(st.integers(0, 3 * MIB), min_size=1, max_size=8))
def test_reserve(sizes):
    """A loan is as large as it is asked to be, each time, and writable."""
    with BufferPool().borrow() as loan:
        for size in sizes:
            memory = loan.reserve(size)
            assert len(memory) == size
            memory[:1] = b"x"[: len(memory)]


def test_the_last_returned_is_lent_first():
    """Memory that was touched is used again."""
    pool = BufferPool()
    with pool.borrow() as loan:
        memory = loan.reserve(MIB)
        memory[:6] = b"before"
    with pool.borrow() as loan:
        assert bytes(loan.reserve(6)) == b"before"


def test_loans_do_not_share():
    """Two loans at the same time are of different memory."""
    pool = BufferPool()
    with pool.borrow() as first, pool.borrow() as second:
        first.reserve(10)[:] = b"1" * 10
        second.reserve(10)[:] = b"2" * 10
        assert bytes(first.reserve(10)) == b"1" * 10


def test_returned_after_an_error():
    """A loan comes back when its user fails."""
    pool = BufferPool()
    with pytest.raises(KeyError), pool.borrow() as loan:
        loan.reserve(10)
        raise KeyError
    assert len(pool._free) == 1


def test_few_are_kept():
    """No more stay than threads can use at the same time, and none that is very large."""
    pool = BufferPool()
    most = 2 * (os.cpu_count() or 1)
    line = threading.Barrier(most + 3)

    def use() -> None:
        with pool.borrow() as loan:
            loan.reserve(10)
            line.wait(20)

    users = [threading.Thread(target=use) for _ in range(most + 3)]
    for user in users:
        user.start()
    for user in users:
        user.join(20)
    assert 0 < len(pool._free) <= most + 1
    fresh = BufferPool()
    with fresh.borrow() as loan:
        loan.reserve(64 * MIB)
    assert not fresh._free
