"""How transfers and engines end, on one thread."""

from __future__ import annotations

from concurrent.futures import CancelledError

import pytest

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._engine.engine import Transfer
from ctera_direct_sync._engine.iteration import in_order
from ctera_direct_sync._protocol.ranges import Piece
from tests.support.engines import (
    CutOff,
    futures,
    pieces,
    position,
    transfer,
)


@pytest.mark.parametrize("ordered", [True, False])
def test_cancel_ends_every_future(serial, ordered):
    """After cancel each future has ended, and no more work is begun."""
    done: list[int] = []

    def work(piece: Piece, scope: CancelScope) -> None:
        done.append(piece.block)
        if piece.block == 1:
            serial.cancel(started)
            scope.check()

    started = transfer(5, work, ordered=ordered)
    serial.start(started)
    jobs = started.take_admitted()
    assert done == [0, 1]
    assert all(job.future.done() for job in jobs)
    found = {job.position: job.future for job in jobs}
    assert len(found) == 5
    with pytest.raises(CutOff):
        found[1].result()
    for number in (2, 3, 4):
        assert found[number].cancelled()
        with pytest.raises(CancelledError):
            found[number].result()


def test_cancel_again(serial):
    """Cancelling a transfer that is cancelled, finished or never started does nothing."""
    finished, fresh = transfer(2, position), transfer(2, position)
    found = futures(serial, finished)
    for _ in range(2):
        serial.cancel(finished)
        serial.cancel(fresh)
    assert [future.result() for future in found] == [0, 1]


def test_leaving_an_iteration(serial):
    """What was begun and not consumed when the loop is left does not come back."""
    started = Transfer(pieces(*[1] * 10), position, memory=3)
    serial.start(started)
    for job in in_order(serial, started):
        if job.position == 1:
            break
    serial.cancel(started)
    assert started.has_more is False
    assert not started.queue


def test_close(serial):
    """After close nothing can be started; closing again is fine."""
    serial.close()
    serial.close()
    with pytest.raises(ValueError, match="closed"):
        serial.start(transfer(1, position))
