"""A short soak of mirrors on every run; ``make soak MINUTES=30`` is the long one."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="it reads /proc")
def test_soak_of_mirrors(
    record_property: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two mirrors under changes, faults, kills and a user: both become equal to the portal."""
    from tests.faults import soak_mirror

    monkeypatch.setattr(soak_mirror, "FIRST_FILES", 40)
    monkeypatch.setattr(soak_mirror, "TROUBLE_S", 3.0)
    monkeypatch.setattr(soak_mirror, "LIFE_S", (0.3, 1.0))
    figures = soak_mirror.soak(3.0)
    record_property("figures", str(figures))
    assert figures["problems"] == []
    assert figures["comparisons"] >= 2
    # One of them is the end of the soak.
    ended = [count for name, count in figures["restarted mirror"].items() if "ended by SIG" in name]
    assert sum(ended) > 1
