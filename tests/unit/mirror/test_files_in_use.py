"""Random histories in which files are in use while the portal deletes them."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.support.mirror_histories import Histories


class HistoriesWithFilesInUse(Histories):
    """Histories with one more rule. Once they are right, the rule belongs to all histories."""

    has_files_in_use = True


@pytest.mark.xfail(
    reason="a file that cannot go is forgotten with its folder, and stays", strict=True
)
def test_histories_with_files_in_use() -> None:
    """What could not be deleted in one run is deleted by a later one."""
    settings = hypothesis.settings(
        max_examples=100,
        stateful_step_count=10,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        derandomize=True,
        phases=(hypothesis.Phase.generate,),
    )
    run_state_machine_as_test(HistoriesWithFilesInUse, settings=settings)
