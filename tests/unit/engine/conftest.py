"""What the tests of the engine share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ctera_direct_sync._engine.engine import Engine
from tests.support.engines import InlineEngine, note_threads, open_engine


@pytest.fixture(autouse=True)
def _own_threads() -> None:
    """Tests look at the threads of their own engines alone."""
    note_threads()


@pytest.fixture
def serial() -> Iterator[Engine]:
    """An engine with one worker: the caller's own thread."""
    with open_engine(1, InlineEngine) as made:
        yield made


@pytest.fixture
def pooled() -> Iterator[Engine]:
    """An engine with threads."""
    with open_engine() as made:
        yield made
