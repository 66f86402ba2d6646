"""A folder where somebody else has put links and files under the names that a download uses."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ctera_direct_sync import BatchResult, DirectIO
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults

SIZE = 5_000
DATA = SyntheticSource(SIZE, seed=3).read(0, SIZE)

pytestmark = [
    pytest.mark.keeps_partial,
    pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there"),
]


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of five blocks."""
    return portal.add(DATA, block_size=1000)


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file elsewhere, of which nothing may change."""
    path = tmp_path / "elsewhere" / "victim"
    path.parent.mkdir()
    path.write_bytes(b"precious")
    path.chmod(0o640)
    yield path
    assert path.read_bytes() == b"precious"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(path.parent) == ["victim"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the downloads go."""
    path = tmp_path / "folder"
    path.mkdir()
    return path


def one(client: DirectIO, file_id: int, folder: Path) -> None:
    """Download by a batch; raise the item's error."""
    (result,) = client.download_many([(file_id, "r.pdf")], folder)
    if result.error is not None:
        raise result.error


WAYS: dict[str, Callable[[DirectIO, int, Path], object]] = {
    "download": lambda client, file_id, folder: client.download(file_id, folder / "r.pdf"),
    "resume": lambda client, file_id, folder: client.download(
        file_id, folder / "r.pdf", resume=True
    ),
    "batch": one,
}
CASES = [
    (way, name)
    for way in WAYS
    for name in (".r.pdf.ctera-part", ".r.pdf.ctera-journal", ".r.pdf.ctera-journal.new")
    if way != "download" or name.endswith("part")
]


@pytest.mark.parametrize(("way", "name"), CASES)
@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "folder", "pipe"])
def test_planted_beside_the_target(
    client: DirectIO, file_id: int, folder: Path, victim: Path, way: str, name: str, kind: str
) -> None:
    """What is not a file of our own in its place is an error that names it, and is not written to."""
    planted = folder / name
    if kind == "link":
        planted.symlink_to(victim)
    elif kind == "dangling link":
        planted.symlink_to(victim.parent / "new")
    elif kind == "hard link":
        if "journal" in name:
            pytest.skip("a journal is replaced, and never written to")
        os.link(victim, planted)
    elif kind == "folder":
        planted.mkdir()
    else:
        os.mkfifo(planted)
    try:
        with pytest.raises(OSError) as caught:
            WAYS[way](client, file_id, folder)
        assert caught.value.filename == str(planted)
        assert "remove it" in str(caught.value)
        assert os.listdir(folder) == [name]
    finally:
        if kind == "hard link":
            planted.unlink()


@pytest.mark.parametrize("kind", ["link", "hard link"])
def test_planted_lock_of_a_batch(
    client: DirectIO, file_id: int, folder: Path, victim: Path, kind: str
) -> None:
    """The lock file of a batch is not followed either."""
    planted = folder / ".ctera-batch.lock"
    if kind == "link":
        planted.symlink_to(victim)
    else:
        os.link(victim, planted)
    with pytest.raises(OSError) as caught:
        client.download_many([(file_id, "r.pdf")], folder)
    assert caught.value.filename == str(planted)
    planted.unlink()


@pytest.mark.parametrize("name", [".r.pdf.ctera-part", ".r.pdf.ctera-journal"])
def test_files_of_another_user(
    client: DirectIO, file_id: int, folder: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Another user's part file is refused; another user's journal is not believed, and is replaced."""
    if os.geteuid():
        pytest.skip("only root may give files away")
    client.download(file_id, folder / "r.pdf", resume=True)
    (folder / "r.pdf").write_bytes(b"other")
    planted = folder / name
    planted.touch()
    os.chown(planted, 65534, 65534)
    if name.endswith("part"):
        with pytest.raises(PermissionError, match="another user") as caught:
            client.download(file_id, folder / "r.pdf", resume=True)
        assert caught.value.filename == str(planted)
        assert (folder / "r.pdf").read_bytes() == b"other"
    else:
        client.download(file_id, folder / "r.pdf", resume=True)
        assert "the journal of the last time belongs to another user" in caplog.text
        assert planted.stat().st_uid == os.geteuid()
        assert (folder / "r.pdf").read_bytes() == DATA


def test_journal_replacement_that_a_crash_left(
    client: DirectIO, file_id: int, folder: Path
) -> None:
    """A regular file of our own under the replacement's name is a crash's, and hinders nothing."""
    (folder / ".r.pdf.ctera-journal.new").write_bytes(b"half")
    client.download(file_id, folder / "r.pdf", resume=True)
    assert sorted(os.listdir(folder)) == [".r.pdf.ctera-journal", "r.pdf"]


@pytest.mark.parametrize("planted", ["target", "part file"])
def test_planted_while_the_download_runs(
    portal: Emulator,
    client: DirectIO,
    file_id: int,
    folder: Path,
    victim: Path,
    planted: str,
) -> None:
    """What is renamed is our own file, and what it replaces is a regular file or nothing."""

    def plant(done: int, total: int) -> None:
        path = folder / ("r.pdf" if planted == "target" else ".r.pdf.ctera-part")
        if done == total:
            path.unlink(missing_ok=True)
            path.symlink_to(victim)

    with pytest.raises(OSError) as caught:
        client.download(file_id, folder / "r.pdf", progress=plant)
    assert caught.value.filename is not None
    assert not (folder / "r.pdf").is_file() or planted == "target"
    for name in os.listdir(folder):
        (folder / name).unlink()


@pytest.mark.parametrize("moment", ["before the listing", "amid the blocks"])
def test_folder_of_a_batch_becomes_a_link(
    portal: Emulator, client: DirectIO, file_id: int, folder: Path, victim: Path, moment: str
) -> None:
    """A folder inside the batch's that is replaced by a link amid it leads no byte elsewhere."""
    (folder / "sub").mkdir()
    where = "portal" if moment == "before the listing" else "storage"
    held = portal.faults.add(where, file_id, action=faults.stall())
    results: list[BatchResult] = []

    def run() -> None:
        results.extend(client.download_many([(file_id, "sub/r.pdf")], folder, resume=False))

    thread = threading.Thread(target=run)
    thread.start()
    assert held.wait()
    (folder / "sub").rename(folder / "moved")
    (folder / "sub").symlink_to(victim.parent)
    held.release()
    thread.join(30)
    assert [result.outcome for result in results] == ["done"]
    # The folder that was opened is the one that is written to, wherever it is by now.
    assert (folder / "moved" / "r.pdf").read_bytes() == DATA


def test_folder_of_a_batch_is_a_link_when_its_turn_comes(
    portal: Emulator, client: DirectIO, file_id: int, folder: Path, victim: Path
) -> None:
    """A folder that became a link between the check of the paths and the item's turn is refused."""
    (folder / "sub").mkdir()
    held = portal.faults.add("portal", action=faults.stall())
    results: list[BatchResult] = []

    def run() -> None:
        items = [(file_id, "first"), (file_id, "sub/r.pdf")]
        results.extend(client.download_many(items, folder, resume=False, max_files=1))

    thread = threading.Thread(target=run)
    thread.start()
    assert held.wait()
    (folder / "sub").rmdir()
    (folder / "sub").symlink_to(victim.parent)
    held.release()
    thread.join(30)
    assert [result.outcome for result in results] == ["done", "failed"]
    assert "symbolic link" in str(results[1].error)
