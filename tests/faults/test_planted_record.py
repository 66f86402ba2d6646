"""A folder where somebody else has put something under the name of a batch's record."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync._readers.batch_record import RECORD_NAME
from ctera_direct_sync.emulator import Emulator

DATA = b"data" * 100

pytestmark = [
    pytest.mark.keeps_partial,
    pytest.mark.skipif(os.name == "nt", reason="links need a privilege there"),
]


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of one block."""
    return portal.add(DATA)


@pytest.mark.parametrize("name", [RECORD_NAME, RECORD_NAME + ".new"])
def test_symbolic_link_is_not_followed(
    client: DirectIO, file_id: int, tmp_path: Path, name: str
) -> None:
    """The file that a link leads to stays as it is."""
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_bytes(b"precious")
    folder.mkdir()
    if name != RECORD_NAME:
        client.download_many([(file_id, "a")], folder)
        record = folder / RECORD_NAME
        record.write_bytes(record.read_bytes() * 2000)
    (folder / name).symlink_to(victim)
    if name == RECORD_NAME:
        with pytest.raises(FileExistsError) as caught:
            client.download_many([(file_id, "a")], folder)
        assert caught.value.filename == str(folder / name)
    else:
        (result,) = client.download_many([(file_id, "a")], folder)
        assert result.outcome == "unchanged"
    assert victim.read_bytes() == b"precious"


def test_second_name_of_another_file_is_not_written_to(
    client: DirectIO, file_id: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A hard link to a file of the user is left alone, and journals do the work."""
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_bytes(b"precious")
    folder.mkdir()
    os.link(victim, folder / RECORD_NAME)
    for outcome in ("done", "unchanged"):
        (result,) = client.download_many([(file_id, "a")], folder)
        assert result.outcome == outcome
    assert victim.read_bytes() == b"precious"
    assert (folder / ".a.ctera-journal").exists()
    assert "a journal is kept beside each file instead" in caplog.text


def test_record_of_another_user_is_not_believed(
    client: DirectIO, file_id: int, tmp_path: Path
) -> None:
    """Another user could claim that a file of theirs is complete."""
    if os.geteuid():
        pytest.skip("only root may give files away")
    client.download_many([(file_id, "a")], tmp_path)
    os.chown(tmp_path / RECORD_NAME, 65534, 65534)
    (result,) = client.download_many([(file_id, "a")], tmp_path)
    assert result.outcome == "done"
    assert (tmp_path / "a").read_bytes() == DATA
