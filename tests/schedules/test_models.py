"""A share of the schedules of each model, on every run. `make schedules MINUTES=n` is the long run."""

from __future__ import annotations

import pytest

greenlet = pytest.importorskip("greenlet")

from tests.schedules.library import Library  # noqa: E402
from tests.schedules.models import MODELS  # noqa: E402
from tests.schedules.runner import replay_command, run_schedules  # noqa: E402

#: Schedules of each model: all models together take less than a minute of one core.
COUNT = 300


@pytest.fixture(scope="module")
def _library() -> Library:
    return Library()


@pytest.mark.parametrize("name", sorted(MODELS))
def test_schedules(name: str, _library: Library) -> None:
    """No schedule of these seeds loses a byte, a future or a thread."""
    count, failures = run_schedules(_library, name, range(COUNT))
    assert count == COUNT
    for seed, outcome in failures[:1]:
        pytest.fail(f"{outcome.problem}\n\nagain: {replay_command(name, seed)}", pytrace=False)
