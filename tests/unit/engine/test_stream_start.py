"""Bulk work yields to a stream that begins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager

import pytest

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._engine.engine import STREAM, Engine
from ctera_direct_sync._engine.iteration import in_order
from ctera_direct_sync._engine.stream_start import StreamStartWindow
from ctera_direct_sync._protocol.ranges import Piece
from tests.support.engines import (
    PATIENCE,
    futures,
    open_engine,
    position,
    shared,
    transfer,
)


class Bulk:
    """Two bulk jobs on one thread, the first of which ends when it is told to."""

    def __init__(self, made: Engine, order: list[str]) -> None:
        self.first_is_running = threading.Event()
        self.go_on = threading.Event()
        self.engine = made
        self.order = order
        self.futures = futures(made, shared(2, self, max_workers=1))
        assert self.first_is_running.wait(PATIENCE)

    def __call__(self, piece: Piece, scope: CancelScope) -> None:
        self.order.append(f"bulk {piece.block}")
        if piece.block == 0:
            self.first_is_running.set()
            assert self.go_on.wait(PATIENCE)

    def meet_a_stream(self) -> None:
        """Announce a stream, and then let the first job end."""
        self.engine.open_stream_window()
        self.go_on.set()


@contextmanager
def standing_back(
    monkeypatch: pytest.MonkeyPatch, step: float = PATIENCE, quick: float = PATIENCE
) -> Iterator[tuple[Engine, threading.Event]]:
    """An engine with steps of the given seconds, and what tells that a worker stands back."""
    monkeypatch.setattr("ctera_direct_sync._engine.engine._QUICK_JOB_S", quick)
    stands_back = threading.Event()

    class Told(StreamStartWindow):
        def remaining(self) -> float:
            seconds = super().remaining()
            if seconds > 0:
                stands_back.set()
            return seconds

    with open_engine(make_window=lambda: Told(step)) as made:
        yield made, stands_back
        made.close_stream_window()


def test_bulk_work_stands_back_for_a_stream_that_begins(monkeypatch):
    """From its announcement until its first block is delivered no bulk job begins."""
    order: list[str] = []
    with standing_back(monkeypatch) as (made, stands_back):
        bulk = Bulk(made, order)
        bulk.meet_a_stream()
        assert stands_back.wait(PATIENCE)
        stream = transfer(1, lambda piece, scope: order.append("stream"), priority=STREAM)
        made.start(stream)
        for _ in in_order(made, stream):
            wait(bulk.futures, PATIENCE)
        assert order == ["bulk 0", "stream", "bulk 1"]


def test_the_result_of_a_job_does_not_wait_for_that(monkeypatch):
    """Who waits for what a worker did has it, though the worker stands back."""
    with standing_back(monkeypatch) as (made, stands_back):
        bulk = Bulk(made, [])
        bulk.meet_a_stream()
        assert stands_back.wait(PATIENCE)
        assert bulk.futures[0].done()
        assert not bulk.futures[1].running()


def test_bulk_work_stands_back_for_a_moment_only(monkeypatch):
    """A stream that is announced and does not come, or has a slow storage, holds up no other for long."""
    with standing_back(monkeypatch, step=0.001) as (made, _):
        bulk = Bulk(made, [])
        bulk.meet_a_stream()
        assert wait(bulk.futures, PATIENCE).not_done == set()


def test_slow_bulk_work_does_not_stand_back(monkeypatch):
    """Where jobs wait for the network, a stream has the machine to itself anyway."""
    with standing_back(monkeypatch, quick=0.0) as (made, stands_back):
        bulk = Bulk(made, [])
        bulk.meet_a_stream()
        assert wait(bulk.futures, PATIENCE).not_done == set()
        assert not stands_back.is_set()


def test_standing_back_does_not_begin_a_measurement_anew(monkeypatch):
    """Where streams begin all the time, bulk work finds its number of workers none the less."""
    begun_anew: list[bool] = []
    with standing_back(monkeypatch) as (made, stands_back):
        monkeypatch.setattr(made._tuner, "idle", lambda: begun_anew.append(True))
        bulk = Bulk(made, [])
        bulk.meet_a_stream()
        assert stands_back.wait(PATIENCE)
        made.close_stream_window()
        assert wait(bulk.futures, PATIENCE).not_done == set()
    assert begun_anew == []


def test_a_stream_stands_back_for_none(monkeypatch):
    """One stream's workers go on while another begins."""
    with standing_back(monkeypatch) as (made, stands_back):
        started = shared(3, position, priority=STREAM, max_workers=1)
        made.open_stream_window()
        results = futures(made, started)
        assert wait(results, PATIENCE).not_done == set()
        assert not stands_back.is_set()


def test_close_while_a_worker_stands_back(monkeypatch):
    """It ends within the moment that it stands back for."""
    with standing_back(monkeypatch, step=1) as (made, stands_back):
        bulk = Bulk(made, [])
        bulk.meet_a_stream()
        assert stands_back.wait(PATIENCE)
        made.close()
        assert all(future.done() for future in bulk.futures)
