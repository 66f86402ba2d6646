"""The part file and its journal: what a crash, a power cut or another process may do to them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ctera_direct_sync._readers.folders import Place
from ctera_direct_sync._readers.part_file import Recovered, is_own_name
from ctera_direct_sync.types import Metadata
from tests.support.part_files import (
    DATA,
    interrupted,
    names,
    part,
    part_file,
    plan,
    recover,
    write,
)

pytestmark = pytest.mark.keeps_partial


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where the download is to end up."""
    return tmp_path / "file.bin"


# --- one download ----------------------------------------------------------------------------------------


def test_complete(target):
    """Written in any order and committed, the target is there and nothing else."""
    with part_file(target, resume=False) as partial:
        assert recover(partial) == ([], "")
        write(partial, 2, 0)
        assert names(target) == [part(target).name]
        write(partial, 1)
        partial.commit(0)
    assert target.read_bytes() == DATA
    assert names(target) == [target.name]


def test_failed(target):
    """Left without commit, nothing remains, and an older target is as it was."""
    target.write_bytes(b"older")
    with (
        pytest.raises(KeyError),
        part_file(target, resume=False) as partial,
    ):
        recover(partial)
        write(partial, 0)
        raise KeyError
    assert names(target) == [target.name]
    assert target.read_bytes() == b"older"


def test_incomplete_is_not_committed(target):
    """A part file of another size than planned does not become the target."""
    with part_file(target, resume=False) as partial:
        recover(partial)
        write(partial, 0, 1)
        with pytest.raises(OSError, match="150 of 220 bytes") as caught:
            partial.commit(0)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(part(target)))
    assert names(target) == []


def test_committed_takes_no_more(target):
    """What comes once the download is being completed is refused: the target would change."""
    with part_file(target, resume=False) as partial:
        recover(partial)
        write(partial, 0, 1, 2)
        partial.commit(0)
        with pytest.raises(ValueError, match="takes no more pieces"):
            write(partial, 0)
    assert target.read_bytes() == DATA


def test_without_resume_nothing_is_taken_over(target):
    """What an interrupted download left is overwritten, and its journal removed."""
    interrupted(target, 0, 1)
    with part_file(target, resume=False) as partial:
        assert recover(partial) == ([], "")
        write(partial, 0, 1, 2)
        partial.commit(0)
    assert names(target) == [target.name]


def test_empty_file(target):
    """A file of no bytes is complete as it is."""
    empty = plan(Metadata(42, 0, []))
    with part_file(target, empty, resume=True) as partial:
        assert partial.recover(lambda: None) == Recovered([], "")
        partial.commit(0)
    assert target.read_bytes() == b""
    with part_file(target, empty, resume=True) as partial:
        assert partial.completed() == 0
        partial.discard()


def test_range(target):
    """A range is written from the target's beginning."""
    ranged = plan(start=120, stop=200)
    with part_file(target, ranged, resume=False) as partial:
        partial.recover(lambda: None)
        write(partial, 1, 0, planned=ranged)
        partial.commit(0)
    assert target.read_bytes() == DATA[120:200]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_permissions_are_kept(target, mode):
    """A target that is replaced keeps its permissions."""
    target.write_bytes(b"older")
    target.chmod(mode)
    with part_file(target, resume=False) as partial:
        recover(partial)
        write(partial, 0, 1, 2)
        partial.commit(0)
    assert stat.S_IMODE(target.stat().st_mode) == mode


def test_new_file_has_the_usual_permissions(target):
    """A new target has the permissions that the process's umask leaves."""
    before = os.umask(0o027)
    try:
        with part_file(target, resume=False) as partial:
            recover(partial)
            write(partial, 0, 1, 2)
            partial.commit(0)
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_durable_before_it_has_its_name(target, monkeypatch):
    """The content is on the disk before the rename, and the rename before commit returns."""
    calls: list[str] = []

    def record(name):
        original = getattr(os, name)

        def wrapper(*arguments, **options):
            kind = ""
            if name == "fsync":
                kind = " folder" if stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else " file"
            calls.append(name + kind)
            return original(*arguments, **options)

        return wrapper

    with part_file(target, resume=False) as partial:
        recover(partial)
        write(partial, 0, 1, 2)
        for name in ("fsync", "replace"):
            monkeypatch.setattr(os, name, record(name))
        partial.commit(0)
    assert calls == ["fsync file", "replace", "fsync folder"]


def test_folder_that_is_not_there(target):
    """A folder that does not exist is the system's own error."""
    with pytest.raises(FileNotFoundError):
        Place.of(str(target.parent / "none" / "file.bin"))


def test_target_in_the_current_folder(tmp_path, monkeypatch):
    """A bare name means the current folder."""
    monkeypatch.chdir(tmp_path)
    with part_file("file.bin", resume=False) as partial:
        recover(partial)
        write(partial, 0, 1, 2)
        partial.commit(0)
    assert os.listdir() == ["file.bin"]


# --- other processes -------------------------------------------------------------------------------------


def test_second_download_to_the_same_target(target):
    """While one is at it, another is refused, and does no harm."""
    with part_file(target, resume=False) as partial:
        recover(partial)
        for resume in (False, True):
            with (
                contextlib.ExitStack() as stack,
                pytest.raises(BlockingIOError, match="another download to this target") as caught,
            ):
                stack.enter_context(part_file(target, resume=resume))
            assert caught.value.filename == str(part(target))
        write(partial, 0, 1, 2)
        partial.commit(0)
    assert target.read_bytes() == DATA


HOLDER = """
import os, sys
from tests.support.part_files import PartFile, Place, plan, write
partial = PartFile(Place.of(sys.argv[1]), plan(), resume=True)
partial.recover(lambda: None)
write(partial, 0, 2)
print("ready", flush=True)
sys.stdin.read()
os._exit(9)
"""


def test_process_that_dies(target):
    """A lock holds off other processes and dies with its own; what that wrote is taken over."""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(BlockingIOError), part_file(target, resume=True):
            pass
        process.communicate(timeout=60)
    assert process.returncode == 9
    with part_file(target, resume=True) as partial:
        assert recover(partial) == ([0, 2], "")


@pytest.mark.parametrize(
    ("name", "own"),
    [
        (".a.ctera-part", True),
        (".a.ctera-journal", True),
        (".a.ctera-journal.new", True),
        ("a.ctera-part", False),
        (".a", False),
        ("a", False),
        (".a.ctera-part.bak", False),
        (".A.CTERA-PART", True),
        (f".ctera-{'0' * 32}.ctera-journal", True),
    ],
)
def test_own_names(name, own):
    """The names of part files and journals are told from a user's."""
    assert is_own_name(name) is own
