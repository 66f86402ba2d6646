"""Cases by chance from fixed seeds. `make schedules-http MINUTES=n` runs others."""

from __future__ import annotations

import random

import pytest

from tests.schedules_http.cases import generate
from tests.schedules_http.exchange import check

CASES_PER_SEED = 150


@pytest.mark.parametrize("seed", range(4))
def test_generated_cases(seed: int) -> None:
    """No byte becomes another answer's, nothing short is whole, and nothing hangs."""
    rng = random.Random(seed)
    for _ in range(CASES_PER_SEED):
        check(generate(rng))
