"""A share of the mutants, another one each day. `make mutants` runs all."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("greenlet")

from tests.schedules.instrument import Package
from tests.schedules.models import MODELS
from tests.schedules.mutants import MUTANTS, Mutant
from tests.schedules.runner import kill

#: Each mutant has its turn once in this many days.
DAYS = 3
#: Seconds of one core for each. All were found within three when this was written.
LIMIT_S = 30.0

TODAY = int(time.time()) // 86400 % DAYS


@pytest.mark.parametrize("mutant", MUTANTS[TODAY::DAYS], ids=lambda mutant: mutant.name)
def test_mutant_is_found(mutant: Mutant) -> None:
    """A race that is put back fails one of its models soon."""
    assert kill(mutant, LIMIT_S) is not None, f"it lives: {mutant.name}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_fits_the_source(mutant: Mutant) -> None:
    """The text that it replaces is there once, and its models exist."""
    Package(mutant.changes).discard()
    assert mutant.models and set(mutant.models) <= set(MODELS)


def test_names_differ() -> None:
    """A mutant is told by its name."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
