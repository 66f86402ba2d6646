"""Targets and file systems that refuse something: long names, no locks, no flush, mounts, odd files."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from ctera_direct_sync.exceptions import DownloadError
from tests.faults.killing import environment

SIZE = 20_000
DATA = SyntheticSource(SIZE, seed=2).read(0, SIZE)
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.keeps_partial


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of 20 blocks."""
    return portal.add(DATA, block_size=1000)


# --- long names ----------------------------------------------------------------------------------------

NAMES = ["n" * 236, "n" * 237, "n" * 255, "会议资料" * 20 + ".pdf", "ж" * 127]


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_long_names(
    portal: Emulator, client: DirectIO, file_id: int, tmp_path: Path, name: str, resume: bool
) -> None:
    """Each name that a file can have is one that a download can have; an interrupted one goes on."""
    portal.faults.add("storage", block=20, times=None, action=faults.status(404))
    with pytest.raises(DownloadError):
        client.download(file_id, tmp_path / name, resume=resume, max_workers=1)
    portal.faults.clear()
    assert not [left for left in os.listdir(tmp_path) if not resume]
    portal.log.clear()
    client.download(file_id, tmp_path / name, resume=resume)
    assert (tmp_path / name).read_bytes() == DATA
    assert (portal.log.total("storage") < 20) is resume
    assert len(os.listdir(tmp_path)) == 1 + resume


@pytest.mark.parametrize("name", NAMES)
def test_long_names_in_a_batch(client: DirectIO, file_id: int, tmp_path: Path, name: str) -> None:
    """A batch takes long names, too, and knows them the next time; its own names are refused."""
    for outcome in ("done", "unchanged"):
        (result,) = client.download_many([(file_id, name)], tmp_path)
        assert (result.outcome, result.error) == (outcome, None)
    (own,) = (left for left in os.listdir(tmp_path) if left != name)
    (result,) = client.download_many([(file_id, own)], tmp_path)
    assert isinstance(result.error, ValueError) and "downloads keep for themselves" in str(
        result.error
    )


# --- no locks ------------------------------------------------------------------------------------------

_PROGRAM = """
import errno, logging, os, sys
from ctera_direct_sync import DirectIO
logging.basicConfig(format="%(levelname)s %(message)s")
file_id, target, kind = int(sys.argv[1]), sys.argv[2], sys.argv[3]
if kind == "flock":
    import fcntl
    def refuse(fd, how):
        raise OSError(int(sys.argv[4]), os.strerror(int(sys.argv[4])))
    fcntl.flock = refuse
elif kind == "fsync":
    import stat
    fsync = os.fsync
    def refuse(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(fd)
    os.fsync = refuse
elif kind == "files":
    import resource
    def exhaust(done, total):
        if done == total:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, 4096))
elif kind == "user":
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
with DirectIO() as client:
    for resume in (True, False):
        for name in ("a", "b"):
            path = os.path.join(target, f"{name}{resume}")
            progress = exhaust if kind == "files" else None
            print(client.download(file_id, path, resume=resume, progress=progress).size, flush=True)
            if kind == "files":
                resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
"""


def run(portal: Emulator, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Download a file four times, with and without resume, in a process where something is odd."""
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, *map(str, arguments)],
        env=environment(portal), cwd=ROOT, text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip


def check(done: subprocess.CompletedProcess[str], folder: Path, left: set[str]) -> None:
    """All four are there and whole, and beside them no more than ``left``."""
    assert (done.returncode, done.stdout.split()) == (0, [str(SIZE)] * 4), done.stderr
    names = {"aTrue", "bTrue", "aFalse", "bFalse"}
    assert set(os.listdir(folder)) == names | left
    assert all((folder / name).read_bytes() == DATA for name in names)
    assert "Traceback" not in done.stderr


JOURNALS = {".aTrue.ctera-journal", ".bTrue.ctera-journal"}


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_no_locks(portal: Emulator, file_id: int, tmp_path: Path, number: int) -> None:
    """A file system without flock is downloaded to without a lock, which is said once."""
    done = run(portal, file_id, tmp_path, "flock", number)
    check(done, tmp_path, JOURNALS)
    assert done.stderr.count("this file system has no locks") == 1


def test_lock_that_fails(portal: Emulator, file_id: int, tmp_path: Path) -> None:
    """Another failure of the lock is an error with the path, and leaves no empty part file."""
    done = run(portal, file_id, tmp_path, "flock", errno.EIO)
    assert done.returncode == 1 and str(tmp_path) in done.stderr.splitlines()[-1]
    assert os.listdir(tmp_path) == []


def test_no_locks_and_two_threads(
    client: DirectIO,
    portal: Emulator,
    file_id: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without flock, two downloads of one process to one target still keep out of each other's way."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(fd: int, how: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    refused: list[BaseException] = []

    def again(done: int, total: int) -> None:
        with pytest.raises(BlockingIOError) as caught:
            client.download(file_id, tmp_path / "a")
        refused.append(caught.value)

    client.download(file_id, tmp_path / "a", progress=again)
    client.download(file_id, tmp_path / "a")
    assert refused and (tmp_path / "a").read_bytes() == DATA


# --- after the renaming --------------------------------------------------------------------------------


def test_folder_that_cannot_be_flushed(portal: Emulator, file_id: int, tmp_path: Path) -> None:
    """Once the file has its name, a folder that cannot be flushed is a warning."""
    done = run(portal, file_id, tmp_path, "fsync")
    check(done, tmp_path, JOURNALS)
    assert done.stderr.count("is in place and complete, but its folder could not be flushed") == 4


def test_no_descriptors_at_the_end(portal: Emulator, file_id: int, tmp_path: Path) -> None:
    """A process that is out of descriptors when the file is whole still puts it in place."""
    done = run(portal, file_id, tmp_path, "files")
    check(done, tmp_path, JOURNALS)
    assert "its folder could not be flushed" in done.stderr


@pytest.mark.parametrize("mode", [0o300, 0o333])
def test_folder_that_cannot_be_read(
    request: pytest.FixtureRequest, portal: Emulator, file_id: int, mode: int
) -> None:
    """A folder that can be written but not read takes downloads, with a warning."""
    if os.geteuid():
        pytest.skip("only root may become another user")
    # Another user may not enter the folders above tmp_path.
    above = Path(tempfile.mkdtemp(dir="/tmp"))
    request.addfinalizer(lambda: shutil.rmtree(above))
    above.chmod(0o755)
    folder = above / "folder"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    folder.chmod(mode)
    done = run(portal, file_id, folder, "user")
    check(done, folder, JOURNALS)
    assert "its folder could not be flushed" in done.stderr


@pytest.fixture
def no_inodes(tmp_path: Path) -> Iterator[Path]:
    """A file system that takes one file more."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "nr_inodes=2", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_no_inode_for_the_journal(
    client: DirectIO, file_id: int, no_inodes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where there is room for the file alone, the download succeeds, and cannot be resumed."""
    client.download(file_id, no_inodes / "a", resume=True)
    assert (no_inodes / "a").read_bytes() == DATA
    assert os.listdir(no_inodes) == ["a"]
    assert "the journal cannot be written" in caplog.text


# --- what is replaced ----------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [True, False])
def test_target_that_is_a_mount_point(
    portal: Emulator, client: DirectIO, file_id: int, tmp_path: Path, resume: bool
) -> None:
    """A target that is mounted by itself cannot be replaced: told before blocks are fetched."""
    source, target = tmp_path / "source", tmp_path / "folder" / "target"
    target.parent.mkdir()
    source.write_bytes(b"older")
    target.touch()
    mount = ["mount", "--bind", str(source), str(target)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file")
    try:
        with pytest.raises(OSError, match="mount its folder") as caught:
            client.download(file_id, target, resume=resume)
        assert (caught.value.errno, caught.value.filename) == (errno.EBUSY, str(target))
        assert portal.log.total("storage") == 0
        assert target.read_bytes() == b"older"
        assert os.listdir(target.parent) == ["target"]
        with target.open("wb") as file:
            client.download(file_id, file)
        assert source.read_bytes() == DATA
    finally:
        subprocess.run(["umount", str(target)], check=True)


def test_target_that_becomes_a_mount_point(
    client: DirectIO, file_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system refuses to rename over is told with the same advice."""
    replace = os.replace

    def busy(source: str, target: str, **options: Any) -> None:
        if target == "target":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        replace(source, target, **options)

    monkeypatch.setattr(os, "replace", busy)
    with pytest.raises(OSError, match="mount its folder"):
        client.download(file_id, tmp_path / "target")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="no such bits there")
@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6711, 0o1644])
def test_set_user_id_is_not_carried_over(
    client: DirectIO, file_id: int, tmp_path: Path, mode: int
) -> None:
    """The permissions of a target stay, but for those bits that give new content another's rights."""
    target = tmp_path / "target"
    target.write_bytes(b"older")
    target.chmod(mode)
    client.download(file_id, target)
    assert stat.S_IMODE(target.stat().st_mode) == mode & 0o777


def test_owner_is_not_carried_over(client: DirectIO, file_id: int, tmp_path: Path) -> None:
    """A new file belongs to who downloaded it."""
    if os.geteuid():
        pytest.skip("only root may give files away")
    target = tmp_path / "target"
    target.write_bytes(b"older")
    os.chown(target, 65534, 65534)
    client.download(file_id, target)
    assert target.stat().st_uid == os.geteuid()


# --- two at once ---------------------------------------------------------------------------------------


def test_second_download_while_the_first_ends(
    portal: Emulator,
    client: DirectIO,
    file_id: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A download that begins when another has just renamed the file finds everything as it should be."""
    target, fsync = tmp_path / "target", os.fsync
    second: list[object] = []

    def interfere(fd: int) -> None:
        fsync(fd)
        if stat.S_ISDIR(os.fstat(fd).st_mode) and not second:
            second.append(None)
            portal.log.clear()
            second.append(client.download(file_id, target, resume=True))
            assert portal.log.total("storage") == 0
            target.unlink()
            second.append(client.download(file_id, target, resume=True))

    monkeypatch.setattr(os, "fsync", interfere)
    client.download(file_id, target, resume=True)
    assert len(second) == 3
    portal.log.clear()
    client.download(file_id, target, resume=True)
    assert portal.log.total("storage") == 0
    assert target.read_bytes() == DATA
    assert sorted(os.listdir(tmp_path)) == [".target.ctera-journal", "target"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
def test_child_does_not_keep_the_lock(client: DirectIO, file_id: int, tmp_path: Path) -> None:
    """After a download failed, a child that was forked amid it hinders no other."""
    children: list[int] = []
    read, write = os.pipe()

    def fork_and_fail(done: int, total: int) -> None:
        child = os.fork()
        if not child:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        children.append(child)
        raise ZeroDivisionError

    for resume in (True, False):
        with pytest.raises(ZeroDivisionError):
            client.download(file_id, tmp_path / "a", resume=resume, progress=fork_and_fail)
        client.download(file_id, tmp_path / "a", resume=resume)
        assert (tmp_path / "a").read_bytes() == DATA
    os.close(write)
    os.close(read)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
@pytest.mark.parametrize("resume", [True, False])
def test_child_that_unwinds_leaves_the_parents_files(
    client: DirectIO, file_id: int, tmp_path: Path, resume: bool
) -> None:
    """A child that leaves the download by an exception takes neither the lock nor the part file away."""

    def fork_once(done: int, total: int) -> None:
        if done or children:
            return
        child = os.fork()
        if not child:
            raise SystemExit
        children.append(child)
        assert os.waitpid(child, 0)[1] == 0
        with pytest.raises(BlockingIOError):
            client.download(file_id, tmp_path / "a", resume=resume)

    children: list[int] = []
    try:
        client.download(file_id, tmp_path / "a", resume=resume, progress=fork_once)
    except SystemExit:
        os._exit(0)
    assert (tmp_path / "a").read_bytes() == DATA


# --- unchanged -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 100, 1_000, 10_000_000, 1_000_000_000, 2_000_000_000])
def test_unchanged_by_a_coarser_time(
    portal: Emulator, client: DirectIO, file_id: int, tmp_path: Path, step: int
) -> None:
    """A copy on a file system with coarser times, which cuts them off, is unchanged."""
    target = tmp_path / "a"
    client.download_many([(file_id, "a")], tmp_path)
    time = target.stat().st_mtime_ns // step * step
    os.utime(target, ns=(time, time))
    portal.log.clear()
    (result,) = client.download_many([(file_id, "a")], tmp_path)
    assert result.outcome == "unchanged"
    assert portal.log.total("storage") == 0


@pytest.mark.parametrize("seconds", [3, -3, 2.000_000_1, 0.000_000_1])
def test_changed_by_its_time(
    client: DirectIO, file_id: int, tmp_path: Path, seconds: float
) -> None:
    """A file whose time differs by more than that is downloaded anew."""
    target = tmp_path / "a"
    client.download_many([(file_id, "a")], tmp_path)
    found = target.stat().st_mtime_ns
    time = found + round(seconds * 1e9)
    time += 1 if time % 100 == 0 else 0
    os.utime(target, ns=(found, time))
    (result,) = client.download_many([(file_id, "a")], tmp_path)
    assert result.outcome == "done"


# --- file objects --------------------------------------------------------------------------------------


class Odd(io.RawIOBase):
    """A raw file whose write() returns what it is told to."""

    def __init__(self, answer: Callable[[int], Any]) -> None:
        super().__init__()
        self.got = bytearray()
        self._answer = answer

    def write(self, data: Any) -> Any:
        answer = self._answer(len(data))
        if type(answer) is int and 0 < answer <= len(data):
            self.got += data[:answer]
        return answer


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda size: size + 1, OSError),
        (lambda size: -1, OSError),
        (lambda size: 0, OSError),
        (lambda size: float(size), TypeError),
        (lambda size: "all", TypeError),
        (lambda size: True, TypeError),
        (lambda size: None, BlockingIOError),
    ],
    ids=["more", "negative", "none at all", "float", "text", "bool", "None"],
)
def test_write_that_counts_wrong(
    client: DirectIO, file_id: int, answer: Callable[[int], Any], kind: type[Exception]
) -> None:
    """A file object that says something impossible about what it wrote ends the download."""
    with pytest.raises(kind):
        client.download(file_id, Odd(answer))


@pytest.mark.parametrize("most", [1, 7, 999, 1000, 10**9])
def test_write_that_takes_a_part(client: DirectIO, file_id: int, most: int) -> None:
    """A raw file that takes less than it is given gets the rest."""
    file = Odd(lambda size: min(size, most))
    steps: list[int] = []
    client.download(file_id, file, progress=lambda done, total: steps.append(done))
    assert bytes(file.got) == DATA
    assert steps == list(range(0, SIZE + 1, 1000))
