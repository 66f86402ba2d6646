"""Downloads that end in the middle, and those that take them up; and targets that refuse."""

from __future__ import annotations

import errno
import json
import os
import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import pytest

from ctera_direct_sync import ByteRange, DirectIO
from ctera_direct_sync._readers.folders import Folder
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from ctera_direct_sync.exceptions import DownloadError
from tests.faults.killing import MIB, journal, kill_and_resume, start

SIZE = 40_000
DATA = SyntheticSource(SIZE, seed=1).read(0, SIZE)

pytestmark = pytest.mark.keeps_partial


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of 40 blocks."""
    return portal.add(DATA, block_size=1000)


@pytest.fixture
def interrupted(portal: Emulator, client: DirectIO, file_id: int, tmp_path: Path) -> Path:
    """The target of a download that failed at one block and kept the other 39."""
    target = tmp_path / "target"
    portal.faults.add("storage", block=20, times=None, action=faults.status(404))
    with pytest.raises(DownloadError):
        client.download(file_id, target, resume=True, max_workers=1)
    portal.faults.clear()
    assert not target.exists()
    portal.log.clear()
    return target


def journal_of(target: Path) -> Path:
    """The journal beside a target."""
    return target.with_name(f".{target.name}.ctera-journal")


def part_of(target: Path) -> Path:
    """The part file beside a target."""
    return target.with_name(f".{target.name}.ctera-part")


#: Journals of releases before and after, as they might be.
FOREIGN_HEADERS = [
    b'{"version": 1, "identity": "0", "size": 40000}\n00000000 00000000\n',
    b'{"version": 1, "identity": "0", "complete": true, "crc32c": 0, "mtime_ns": 0}\n',
    b'{"version": 1, "complete": true}\n',
    b'{"version": 3, "complete": true, "pieces": []}\n',
    b'{"version": "2", "identity": "0"}\n',
    b'{"version": 2}\n',
]


def asked_blocks(portal: Emulator) -> list[int]:
    """Blocks that the storage was asked for, in order of number."""
    return sorted(record.block or 0 for record in portal.log.records(where="storage"))


# --- killed --------------------------------------------------------------------------------------------


def test_killed_and_resumed(tmp_path: Path, record_property: Callable[..., None]) -> None:
    """Killed at random moments with faults on: it finishes, right, and fetches nothing twice.

    ``python -m tests.faults.killing`` does it 50 times over 1 GiB.
    """
    figures = kill_and_resume(tmp_path, 48 * MIB, 6, seed=3, block_size=MIB)
    record_property("figures", str(figures))
    assert figures.right
    assert figures.durable_fetched_again == 0
    assert figures.killed_while_downloading >= 3


def test_killed_native(tmp_path: Path) -> None:
    """The same for one object that is fetched in parts."""
    figures = kill_and_resume(tmp_path, 128 * MIB, 4, seed=5, native=True)
    assert figures.right
    assert figures.durable_fetched_again == 0


# --- resumed -------------------------------------------------------------------------------------------


def test_only_what_is_missing_is_fetched(
    portal: Emulator, client: DirectIO, file_id: int, interrupted: Path
) -> None:
    """What was written durably is not fetched again."""
    claimed = {offset // 1000 + 1 for offset in journal(interrupted)}
    assert len(claimed) >= 19
    done = client.download(file_id, interrupted, resume=True)
    assert interrupted.read_bytes() == DATA
    assert set(asked_blocks(portal)) == set(range(1, 41)) - claimed
    assert done.size == SIZE
    assert not part_of(interrupted).exists()


def test_complete_already(portal: Emulator, client: DirectIO, file_id: int, tmp_path: Path) -> None:
    """A second resume of what is complete asks the storage for nothing, and gives the CRC32C."""
    target = tmp_path / "target"
    first = client.download(file_id, target, resume=True)
    portal.log.clear()
    steps: list[tuple[int, int]] = []
    second = client.download(
        file_id, target, resume=True, progress=lambda done, total: steps.append((done, total))
    )
    assert portal.log.total("storage") == 0
    assert (second.crc32c, steps) == (first.crc32c, [(SIZE, SIZE)])


@pytest.mark.parametrize("renamed", [True, False])
def test_crash_around_the_renaming(
    portal: Emulator,
    client: DirectIO,
    file_id: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    renamed: bool,
) -> None:
    """A journal that says complete, and a target that may not have its name yet: nothing comes twice."""
    target, replace = tmp_path / "target", Folder.replace

    def crash(folder: Folder, name: str, new: str) -> None:
        if renamed or new != target.name:
            replace(folder, name, new)
        if new == target.name:
            raise SystemExit

    if not renamed:
        target.write_bytes(DATA[::-1])
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Folder, "replace", crash)
        client.download(file_id, target, resume=True)
    assert part_of(target).exists() is not renamed
    portal.log.clear()
    for _ in range(2):
        done = client.download(file_id, target, resume=True)
        assert done.crc32c == google_crc32c.value(DATA)
        assert target.read_bytes() == DATA
    assert portal.log.total("storage") == 0


def test_crash_before_the_renaming_and_a_damaged_part_file(
    client: DirectIO, file_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part file that is said to be complete is read back before it becomes the target."""
    target, replace = tmp_path / "target", Folder.replace

    def crash(folder: Folder, name: str, new: str) -> None:
        if new == target.name:
            raise SystemExit
        replace(folder, name, new)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Folder, "replace", crash)
        client.download(file_id, target, resume=True)
    with part_of(target).open("r+b") as part:
        part.write(b"damage")
    client.download(file_id, target, resume=True)
    assert target.read_bytes() == DATA


def test_complete_but_touched(
    portal: Emulator, client: DirectIO, file_id: int, tmp_path: Path
) -> None:
    """A target that someone changed since is not taken for complete."""
    target = tmp_path / "target"
    client.download(file_id, target, resume=True)
    target.write_bytes(DATA[::-1])
    os.utime(target, ns=(1, 1))
    client.download(file_id, target, resume=True)
    assert target.read_bytes() == DATA


def test_changed_file_starts_over(
    portal: Emulator,
    client: DirectIO,
    file_id: int,
    interrupted: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A file with other blocks is fetched from its beginning, and the log says why."""
    portal.replace(file_id, DATA[::-1], block_size=900)
    client.download(file_id, interrupted, resume=True)
    assert interrupted.read_bytes() == DATA[::-1]
    assert "starting over" in caplog.text


def test_another_range_starts_over(
    client: DirectIO, file_id: int, interrupted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The journal of one range is none of another's."""
    client.download(file_id, interrupted, byte_range=ByteRange(500, 30_000), resume=True)
    assert interrupted.read_bytes() == DATA[500:30_001]
    assert "starting over" in caplog.text


@pytest.mark.parametrize(
    "damage",
    [*FOREIGN_HEADERS, b"", b"\x00" * 300, b"{", b"[]\n", b'{"version": 1}\n',
     b'{"version": 99, "identity": 5}\n', b'{"identity": null}\nzzzzzzzz zzzzzzzz\n'],
)  # fmt: skip
def test_damaged_journal_starts_over(
    client: DirectIO,
    file_id: int,
    interrupted: Path,
    damage: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever the journal has become, the file comes out right, and the log says why it began anew."""
    journal_of(interrupted).write_bytes(damage)
    client.download(file_id, interrupted, resume=True)
    assert interrupted.read_bytes() == DATA
    assert "starting over, the journal of the last time is" in caplog.text


def test_malformed_note_of_completion(
    client: DirectIO, file_id: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal that says "complete" and lacks the rest, or has it wrong, is damaged."""
    target = tmp_path / "target"
    client.download(file_id, target, resume=True)
    record = json.loads(journal_of(target).read_bytes())
    for name in ("size", "crc32c", "mtime_ns", "inode"):
        for wrong in (None, "1", True, 1.5):
            target.write_bytes(b"changed")
            caplog.clear()
            journal_of(target).write_text(json.dumps({**record, name: wrong}) + "\n")
            client.download(file_id, target, resume=True)
            assert target.read_bytes() == DATA
            assert "the journal of the last time is damaged" in caplog.text


def test_journal_that_lies(
    portal: Emulator, client: DirectIO, file_id: int, interrupted: Path
) -> None:
    """What the journal claims and the part file does not hold is fetched again."""
    with part_of(interrupted).open("r+b") as part:
        part.seek(2500)
        part.write(b"damage")
    client.download(file_id, interrupted, resume=True)
    assert interrupted.read_bytes() == DATA
    assert 3 in asked_blocks(portal)


def test_cut_part_file(client: DirectIO, file_id: int, interrupted: Path) -> None:
    """A part file that lost its end in a crash is completed."""
    os.truncate(part_of(interrupted), 1500)
    client.download(file_id, interrupted, resume=True)
    assert interrupted.read_bytes() == DATA


def test_journal_line_cut_by_a_crash(client: DirectIO, file_id: int, interrupted: Path) -> None:
    """Half a line at the end, and garbage after it, are disregarded."""
    with journal_of(interrupted).open("ab") as file:
        file.write(b"0000001")
    client.download(file_id, interrupted, resume=True)
    assert interrupted.read_bytes() == DATA


def test_journal_is_small_and_bound(interrupted: Path) -> None:
    """One line that binds it to the file and range, then 26 bytes a piece; no key, no URL."""
    header, *lines = journal_of(interrupted).read_bytes().splitlines(keepends=True)
    record = json.loads(header)
    assert record["version"] >= 1 and record["identity"]
    assert {len(line) for line in lines} == {26}
    assert b"http" not in header and b"X-Amz" not in header


def test_without_resume_nothing_is_kept(
    portal: Emulator, client: DirectIO, file_id: int, tmp_path: Path
) -> None:
    """A plain download that fails leaves the folder, and an older target in it, as it was."""
    target = tmp_path / "target"
    target.write_bytes(b"older")
    portal.faults.add("storage", block=20, times=None, action=faults.status(404))
    with pytest.raises(DownloadError):
        client.download(file_id, target)
    assert target.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["target"]


# --- two at once ---------------------------------------------------------------------------------------


def test_two_processes_on_one_target(
    portal: Emulator, client: DirectIO, file_id: int, tmp_path: Path
) -> None:
    """The second fails at once and clearly; the first is not disturbed."""
    target = tmp_path / "target"
    held = portal.faults.add("storage", block=30, action=faults.stall())
    first = start(portal, "download", file_id, target, "resume", READ_TIMEOUT="60")
    assert held.wait(timeout=30)
    for resume in (True, False):
        with pytest.raises(BlockingIOError, match="another download"):
            client.download(file_id, target, resume=resume)
    held.release()
    _, err = first.communicate(timeout=30)
    assert (first.returncode, err) == (0, "")
    assert target.read_bytes() == DATA


def test_lock_of_a_killed_process_is_no_lock(
    portal: Emulator, client: DirectIO, file_id: int, tmp_path: Path
) -> None:
    """What a process held that was killed is free."""
    target = tmp_path / "target"
    held = portal.faults.add("storage", block=30, times=None, action=faults.stall())
    with start(portal, "download", file_id, target, "resume", READ_TIMEOUT="60") as first:
        assert held.wait(timeout=30)
        first.kill()
    portal.faults.clear()
    client.download(file_id, target, resume=True)
    assert target.read_bytes() == DATA


# --- targets that refuse -------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [True, False])
def test_full_disk(
    portal: Emulator, client: DirectIO, file_id: int, tmp_path: Path, resume: bool
) -> None:
    """No room for the file: the system's error, at once; with resume what was got is kept."""
    target = tmp_path / "target"
    flags = ["resume"] if resume else []
    done = start(portal, "limited", file_id, target, 15_000, *flags)
    out, err = done.communicate(timeout=30)
    assert (done.returncode, err) == (0, "")
    assert out.splitlines()[-1] == f"error {errno.EFBIG} OSError"
    assert not target.exists()
    assert part_of(target).exists() == resume
    client.download(file_id, target, resume=resume)
    assert target.read_bytes() == DATA


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Path:
    """A file system of 64 KiB, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=65536", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    return folder


@pytest.mark.parametrize("resume", [True, False])
def test_full_file_system(
    portal: Emulator, client: DirectIO, tiny_disk: Path, resume: bool
) -> None:
    """ENOSPC of a real file system: told with the path; room made, a resume completes it."""
    data = SyntheticSource(50_000, seed=4).read(0, 50_000)
    file_id = portal.add(data, block_size=4096)
    filler = tiny_disk / "filler"
    try:
        filler.write_bytes(bytes(40_000))
        with pytest.raises(OSError) as caught:
            client.download(file_id, tiny_disk / "target", resume=resume)
        assert caught.value.errno == errno.ENOSPC
        kept = {".target.ctera-part", ".target.ctera-journal"} if resume else set()
        assert set(os.listdir(tiny_disk)) - {"filler"} <= kept
        filler.unlink()
        client.download(file_id, tiny_disk / "target", resume=resume)
        assert (tiny_disk / "target").read_bytes() == data
    finally:
        subprocess.run(["umount", str(tiny_disk)], check=True)


def test_folder_that_cannot_be_written(
    portal: Emulator, client: DirectIO, file_id: int, tmp_path: Path
) -> None:
    """A read-only folder is told before any block is fetched."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    if os.geteuid():
        with pytest.raises(PermissionError):
            client.download(file_id, folder / "target")
    else:
        tmp_path.chmod(0o755)
        nobody = pwd.getpwnam("nobody").pw_uid
        os.seteuid(nobody)
        try:
            with pytest.raises(PermissionError):
                client.download(file_id, folder / "target")
        finally:
            os.seteuid(0)
    assert portal.log.total("storage") == 0
    assert not list(folder.iterdir())


@pytest.mark.parametrize("kind", ["folder", "folder that is missing", "trailing slash",
                                  "name too long"])  # fmt: skip
def test_target_that_cannot_be(
    portal: Emulator, client: DirectIO, file_id: int, tmp_path: Path, kind: str
) -> None:
    """A target that no file can be is an OSError with its path, before any block is fetched."""
    target = {
        "folder": str(tmp_path),
        "folder that is missing": str(tmp_path / "none" / "target"),
        "trailing slash": str(tmp_path / "target") + "/",
        "name too long": str(tmp_path / ("x" * 300)),
    }[kind]
    with pytest.raises(OSError) as caught:
        client.download(file_id, target)
    assert caught.value.errno in (errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG)
    assert caught.value.filename is not None
    assert portal.log.total("storage") == 0
    assert not list(tmp_path.iterdir())


def test_file_object_that_fails(portal: Emulator, client: DirectIO, file_id: int) -> None:
    """What the caller's file raises is what the caller gets, and the transfer ends."""

    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space") as caught:
        client.download(file_id, Full())
    assert caught.value.errno == errno.ENOSPC


def test_progress_that_raises(client: DirectIO, file_id: int, tmp_path: Path) -> None:
    """A progress callback's exception ends the download, and nothing is left."""

    def progress(done: int, total: int) -> None:
        if done > 5000:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.download(file_id, tmp_path / "target", progress=progress)
    assert not list(tmp_path.iterdir())
