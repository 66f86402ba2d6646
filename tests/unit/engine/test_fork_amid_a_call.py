"""A fork in a hook that hears of queued blocks, while the call that queues them begins."""

from __future__ import annotations

import pytest

from ctera_direct_sync._engine.engine import Engine
from tests.support.engines import engine_threads, futures, position, shared


def test_start_in_the_child_uses_nothing_of_the_parent(pooled: Engine) -> None:
    """The call that the fork struck raises, and the next one in the child works."""
    lock = None

    def fork(name: str, piece: object, detail: str) -> None:
        nonlocal lock
        if lock is None:
            lock = pooled._lock
            lock.acquire()  # As a thread of the parent holds it, which is not in the child.
            pooled._forget_parent()

    struck = shared(2, position, notify=fork)
    with pytest.raises(RuntimeError, match="forked"):
        pooled.start(struck)
    assert engine_threads() == []
    assert [future.result() for future in futures(pooled, shared(2, position))] == [0, 1]
