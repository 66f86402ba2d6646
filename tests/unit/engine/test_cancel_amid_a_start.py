"""A cancel that comes while a caller still admits the pieces of its transfer."""

from __future__ import annotations

from typing import Any

import pytest

from ctera_direct_sync._base.cancellation import Cancelled
from ctera_direct_sync._engine.engine import Engine
from ctera_direct_sync._engine.iteration import as_completed
from tests.support.engines import position, shared, transfer


def test_jobs_that_are_admitted_after_the_cancel_end(serial: Engine) -> None:
    """Each of them is cancelled and none runs, although threads have read the cancel before the start."""
    ran: list[int] = []

    def cancel(piece: Any) -> int:
        if piece.block == 1:
            serial.cancel(started)
        return piece.length

    def work(piece: Any, scope: Any) -> None:
        ran.append(piece.block)

    started = shared(3, work, memory=100, result_bytes=cancel)
    serial.start(started)
    jobs = started.take_admitted()
    assert jobs and all(job.future.cancelled() for job in jobs)
    assert started.ended.is_open and not ran


def test_cancel_between_the_count_and_the_queue(serial: Engine) -> None:
    """The job in between is counted anew at the start: its future ends, and so does the consumer."""

    class Pieces(list):  # type: ignore[type-arg]
        """A queue before whose first entry the transfer is cancelled."""

        def append(self, job: Any) -> None:
            """Cancel, and then append."""
            if not started.scope.cancelled:
                serial.cancel(started)
            super().append(job)

    started = transfer(1, position, ordered=False)
    started.queue = Pieces()  # type: ignore[assignment]
    serial.start(started)
    with pytest.raises(Cancelled):
        list(as_completed(serial, started))
    assert not started.queue and started.ended.is_open


def test_cancel_that_takes_the_next_piece_away(serial: Engine) -> None:
    """The caller that is about to admit a piece finds that there is none any more."""
    started = transfer(3, position)
    # What a cancel on another thread does between the caller's look at the piece and its use.
    looks = iter([True])

    class Watched(type(started)):  # type: ignore[misc]
        """A transfer whose next piece is gone after one look."""

        @property
        def _next_piece(self) -> Any:
            piece = self.__dict__["next"]
            if next(looks, False):
                self.__dict__["next"] = None
            return piece

        @_next_piece.setter
        def _next_piece(self, piece: Any) -> None:
            self.__dict__["next"] = piece

    started.__dict__["next"] = started.__dict__.pop("_next_piece")
    started.__class__ = Watched
    started.admit()
    assert [job.piece.block for job in started.queue] == [0, 1, 2]
