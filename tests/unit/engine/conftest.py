"""What the tests of the engine share."""

from __future__ import annotations

import pytest

from tests.support.engines import note_threads


@pytest.fixture(autouse=True)
def _own_threads() -> None:
    """Tests look at the threads of their own engines alone."""
    note_threads()
