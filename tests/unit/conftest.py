"""What the unit tests share: the process's default settings are put back after every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ctera_direct_sync import Settings
from ctera_direct_sync import settings as defaults


@pytest.fixture(autouse=True)
def _default_settings() -> Iterator[None]:
    """Tests may set the process's defaults; the next one finds the shipped ones."""
    shipped = Settings()
    yield
    for name, value in shipped._values.items():
        setattr(defaults, name, value)
