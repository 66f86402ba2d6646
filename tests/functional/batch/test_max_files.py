"""How many files a batch downloads at once, and the former name of that number."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync.emulator import Emulator

#: A batch keeps the journal of each file, which tells whether it has changed.
pytestmark = pytest.mark.keeps_partial


def test_former_name_still_works(portal: Emulator, client: DirectIO, tmp_path: Path) -> None:
    """`workers` does what `max_files` does, and says so."""
    file_id = portal.add(b"data")
    with pytest.warns(DeprecationWarning, match="max_files") as caught:
        (result,) = client.download_many([(file_id, "a")], tmp_path, workers=2)
    assert result.ok
    assert caught[0].filename == __file__


def test_both_names_are_refused(client: DirectIO, tmp_path: Path) -> None:
    """A number under each name is an error: neither would be right."""
    with pytest.raises(TypeError, match="max_files or its former name workers"):
        client.download_many([], tmp_path, max_files=2, workers=2)
