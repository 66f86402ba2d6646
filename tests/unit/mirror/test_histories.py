"""Random histories of a mirror: short here, long in the nightly run."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.support.mirror_histories import Histories


@pytest.mark.parametrize(
    "count", [300, pytest.param(10_000, marks=[pytest.mark.nightly, pytest.mark.timeout(7200)])]
)
def test_histories(count: int) -> None:
    """Whatever happens on the portal, on the disk and to the run, no file is lost, and all is right."""
    settings = hypothesis.settings(
        max_examples=count,
        stateful_step_count=10,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        derandomize=count == 300,
        print_blob=True,
    )
    run_state_machine_as_test(Histories, settings=settings)
