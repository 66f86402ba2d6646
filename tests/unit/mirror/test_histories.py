"""Random histories of a mirror, a few here. `make mirror-histories` runs many."""

from __future__ import annotations

import hypothesis
from hypothesis.stateful import run_state_machine_as_test

from tests.support.mirror_histories import Histories


def test_histories() -> None:
    """Whatever happens on the portal, on the disk and to the run, no file is lost, and all is right."""
    settings = hypothesis.settings(
        max_examples=300,
        stateful_step_count=10,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        derandomize=True,
        print_blob=True,
    )
    run_state_machine_as_test(Histories, settings=settings)
