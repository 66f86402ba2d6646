"""The harness itself: the same seed gives the same run, and what is wrong is seen."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("greenlet")

from tests.schedules.instrument import Change, Package, TextNotFound
from tests.schedules.library import Library
from tests.schedules.models import MODELS
from tests.schedules.strategies import Strategy
from tests.schedules.world import World, run


@pytest.fixture(scope="module")
def _library() -> Library:
    return Library()


def _signatures(library: Library) -> list[str]:
    gc.collect()  # Its finalizers belong to no run.
    outcomes = [run(library, "interrupt", MODELS["interrupt"], seed) for seed in range(12)]
    return [f"{outcome.steps} {outcome.signature}" for outcome in outcomes]


def test_same_seed_gives_the_same_run(_library: Library) -> None:
    """A later run, and another process, run the same statements in the same order."""
    program = (
        "from tests.schedules.test_harness import Library, _signatures\n"
        "print(*_signatures(Library()), sep='\\n')"
    )
    other = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    first = _signatures(_library)
    assert first == _signatures(_library)
    assert first == other.stdout.split("\n")[:-1]


def test_seeds_give_different_runs(_library: Library) -> None:
    """Seeds are not a few schedules again and again."""
    found = {run(_library, "stream", MODELS["stream"], seed).signature for seed in range(40)}
    assert len(found) > 30


def test_deadlock_is_reported(_library: Library) -> None:
    """Two tasks that take two locks in opposite order: the report says who waits where."""
    lock_of = _library.package.threading.Lock

    def model(world: World) -> None:
        first, second = lock_of(), lock_of()

        def take(one: object, other: object) -> None:
            with one:  # type: ignore[attr-defined]
                world.sleep(1.0)
                with other:  # type: ignore[attr-defined]
                    pass

        world.spawn(lambda: take(first, second), "one")
        take(second, first)
        world.join()

    outcome = run(_library, "deadlock", model, 0, strategy=Strategy(random.Random(0)))
    assert outcome.problem is not None
    assert "Deadlock" in outcome.problem and "main (1) waits for a Lock" in outcome.problem


def test_waiting_for_ever_with_timeouts_is_a_deadlock(_library: Library) -> None:
    """Virtual time passes quickly, and only so much of it."""

    def model(world: World) -> None:
        while True:
            world.sleep(1.0)

    outcome = run(_library, "sleeper", model, 0, strategy=Strategy(random.Random(0)))
    assert outcome.problem is not None and "nothing but time-outs" in outcome.problem


def test_error_of_a_task_is_reported(_library: Library) -> None:
    """What a thread of the user's raises is a problem, with its place."""

    def model(world: World) -> None:
        world.spawn(lambda: 1 / 0, "divider")
        world.join()

    outcome = run(_library, "error", model, 0, strategy=Strategy(random.Random(0)))
    assert outcome.problem is not None and "divider died of ZeroDivisionError" in outcome.problem


def test_change_whose_text_is_gone() -> None:
    """A mutant that no longer fits the source says so."""
    with pytest.raises(TextNotFound, match="0 times"):
        Package([Change("_engine.engine", "no such text", "")])


def test_instances_are_apart() -> None:
    """A changed instance leaves the real package alone."""
    from ctera_direct_sync._base import waits

    changed = Package([Change("_base.waits", "STEP_S = 1.0", "STEP_S = 7.0")])
    assert changed.module("_base.waits").STEP_S == 7.0
    assert waits.STEP_S == 1.0
    changed.discard()
