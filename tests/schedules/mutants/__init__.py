"""Known and possible races, put back one at a time: models that do not find them are blind."""

from __future__ import annotations

from .records import MUTANTS, Mutant

__all__ = ["MUTANTS", "Mutant"]
