"""A share of the simulated runs, on every run. `make simulate MINUTES=n` is the long run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("greenlet")

from .mutants import MUTANTS, Mutant
from .options import Options
from .runner import kill, main, replay_command, run_seeds
from .simulation import Simulator

#: Runs of some ten transfers each. Each run is made twice.
COUNT = 120
#: Seconds of one core for each mutant. All were found within ten when this was written.
LIMIT_S = 60.0
#: What takes longer than a second to find.
SLOW = (
    "a renewal adopts a file that changed",
    "a stream that is cut off ends without a count",
    "a declared checksum is not compared",
)


@pytest.fixture(scope="module")
def _simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


def _mutants() -> list[Any]:
    return [
        pytest.param(
            mutant,
            id=mutant.name,
            marks=[pytest.mark.nightly] if mutant.name in SLOW else [],
        )
        for mutant in MUTANTS
    ]


def test_runs(_simulator: Simulator) -> None:
    """No run of these seeds breaks a promise, and the second run of each has the same log."""
    tally = run_seeds(_simulator, range(COUNT), twice=True)
    for seed, outcome in tally.failures[:1]:
        pytest.fail(f"{outcome.problem}\n\nagain: {replay_command(seed)}", pytrace=False)
    assert sum(tally.calls.values()) > 5 * COUNT


def test_runs_reach_errors_and_hours(_simulator: Simulator) -> None:
    """The runs are not all fair weather: many calls fail, and virtual hours pass."""
    tally = run_seeds(_simulator, range(COUNT, 2 * COUNT))
    assert not tally.failures
    assert tally.seconds > 3600
    assert tally.calls["whole"] > 100 and len(tally.calls) > 10


def test_futures_of_an_interrupted_call_on_a_slow_node(_simulator: Simulator) -> None:
    """They may take half a minute more, and then the engine is at rest."""
    assert _simulator.run(921486352).problem is None


@pytest.mark.parametrize("mutant", _mutants())
def test_mutant_is_found(mutant: Mutant) -> None:
    """A planted fault fails a run soon."""
    assert kill(mutant, LIMIT_S) is not None, f"it lives: {mutant.name}"


def test_seed_is_replayed_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints the options, each request and each call."""
    assert main(["--seed", "3"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in Options.__dataclass_fields__)
    assert "'request'" in printed and "'call'" in printed and "nothing found" in printed
