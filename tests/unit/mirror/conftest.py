"""What the tests of mirrors share: a folder that was mirrored once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mirror_portal import MemoryPortal, mirror


@pytest.fixture
def mirrored(source: MemoryPortal, tmp_path: Path) -> Path:
    """The mirrored folder, after a first run."""
    folder = tmp_path / "mirror"
    mirror(source, folder)
    source.fetched.clear()
    return folder
