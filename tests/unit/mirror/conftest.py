"""What the tests of mirrors share: a folder that was mirrored once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mirror_portal import MEMORY, MemoryPortal, mirror


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A folder in memory, if the system has such: for tests that would wait for the disk often."""
    with tempfile.TemporaryDirectory(prefix="mirror-", dir=MEMORY) as path:
        yield Path(path)


@pytest.fixture
def mirrored(source: MemoryPortal, tmp_path: Path) -> Path:
    """The mirrored folder, after a first run."""
    folder = tmp_path / "mirror"
    mirror(source, folder)
    source.fetched.clear()
    return folder
