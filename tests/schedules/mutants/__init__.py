"""Known and possible races, put back one at a time: models that do not find them are blind."""

from __future__ import annotations

from .engine import ENGINE_MUTANTS
from .hedging import HEDGING_MUTANTS
from .mutant import Mutant
from .shared import SHARED_MUTANTS

__all__ = ["MUTANTS", "Mutant"]

MUTANTS = ENGINE_MUTANTS + SHARED_MUTANTS + HEDGING_MUTANTS
