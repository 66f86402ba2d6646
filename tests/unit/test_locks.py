"""Folders that are opened, files of our own in them, and the lock that one holder has."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync._readers import folders, locks
from ctera_direct_sync._readers.folders import Folder, ForeignFileError, Place
from ctera_direct_sync._readers.journal import Completion, Journal
from ctera_direct_sync._readers.locks import LockedFile

pytestmark = pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there")


@pytest.fixture(params=["by descriptor", "by path"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder, as on systems that can open it, and as on those that cannot."""
    if request.param == "by path":
        monkeypatch.setattr(folders, "_HAS_DIR_FD", False)
    with Folder.open(str(tmp_path)) as opened:
        yield opened


# --- folders -------------------------------------------------------------------------------------------


def test_child_is_made_and_entered(folder: Folder, tmp_path: Path) -> None:
    """A folder below is made once, and files in it are named from it."""
    for _ in range(2):
        with folder.child("sub") as child:
            assert child.path == str(tmp_path / "sub")
    with folder.child("sub") as child:
        os.close(child.create("file", os.O_WRONLY))
        child.replace("file", "other")
        assert stat.S_ISREG(child.lstat("other").st_mode)
        child.unlink("other")
        child.flush()
    assert os.listdir(tmp_path / "sub") == []


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_child_that_is_not_a_folder(folder: Folder, tmp_path: Path, kind: str) -> None:
    """A file or a link in the place of a folder is refused, and named."""
    place = tmp_path / "sub"
    if kind == "file":
        place.touch()
    else:
        (tmp_path / "real").mkdir()
        place.symlink_to("real" if kind == "link" else "none")
    with pytest.raises(NotADirectoryError) as caught:
        folder.child("sub")
    assert caught.value.filename == str(place)


@pytest.mark.parametrize("call", ["create", "open_own", "lstat", "replace"])
def test_errors_name_the_whole_path(folder: Folder, tmp_path: Path, call: str) -> None:
    """An error of the system says where, not just which name."""
    (tmp_path / "there").touch()
    with pytest.raises(OSError) as caught:
        if call == "create":
            folder.create("there", os.O_WRONLY)
        elif call == "open_own":
            folder.open_own("none", os.O_RDONLY)
        elif call == "lstat":
            folder.lstat("none")
        else:
            folder.replace("none", "new")
    assert os.path.dirname(caught.value.filename) == str(tmp_path)


@pytest.mark.parametrize("no_follow", [True, False])
def test_links_are_not_opened(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_follow: bool
) -> None:
    """A link is refused by the system's flag, or, without one, by a look at it before."""
    if not no_follow:
        monkeypatch.delattr(os, "O_NOFOLLOW")
        monkeypatch.setattr(folders, "_FILE_FLAGS", os.O_CLOEXEC)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(FileExistsError, match="symbolic link") as caught:
        folder.open_own("link", os.O_RDWR)
    assert caught.value.filename == str(tmp_path / "link")
    os.close(folder.open_own("file", os.O_RDWR))


def test_owner_that_the_file_system_gives_to_all(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all our files are another user's (all_squash, FAT), a file of that user is ours."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    os.close(folder.open_own("file", os.O_RDWR))
    assert os.listdir(tmp_path) == ["file"]
    if not os.getuid():
        os.chown(tmp_path / "file", 65534, 65534)
        with pytest.raises(ForeignFileError, match="another user"):
            folder.open_own("file", os.O_RDWR)


def test_full_flush_where_the_system_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS: fsync ends at the drive, so F_FULLFSYNC follows; a file system may not know it."""
    calls: list[object] = []

    class FullSync:
        F_FULLFSYNC = 51

        @staticmethod
        def fcntl(fd: int, what: int) -> None:
            calls.append(what)
            raise OSError(errno.ENOTTY, "not here")

    monkeypatch.setattr(folders, "fcntl", FullSync)
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append("fsync"))
    folders.flush(0)
    assert calls == ["fsync", 51]


def test_longest_name(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system may allow fewer bytes (eCryptfs), and is not believed where it says more (FAT)."""
    for said, believed in ((143, 143), (255, 255), (1530, 255)):
        monkeypatch.setattr(os, "pathconf", lambda where, what, said=said: said)
        assert folder.longest_name() == believed
    monkeypatch.delattr(os, "pathconf")
    assert folder.longest_name() == 255


def test_place(tmp_path: Path) -> None:
    """A place is a path to programs, and looks at what is there without following it."""
    with Place.of(str(tmp_path / "a")) as place:
        assert os.fspath(place) == str(tmp_path / "a")
        assert place.check() is None
        (tmp_path / "a").write_bytes(b"12")
        found = place.check()
        assert found is not None and found.st_size == 2
        (tmp_path / "a").unlink()
        (tmp_path / "a").symlink_to("b")
        with pytest.raises(FileExistsError):
            place.check()


# --- the lock ------------------------------------------------------------------------------------------


def test_one_holder(folder: Folder, tmp_path: Path) -> None:
    """A second holder is refused; after the release there may be one."""
    first = LockedFile(folder, "lock")
    with pytest.raises(BlockingIOError):
        LockedFile(folder, "lock")
    first.release(remove=True)
    first.release(remove=True)
    assert os.listdir(tmp_path) == []
    LockedFile(folder, "lock").release(remove=False)
    assert os.listdir(tmp_path) == ["lock"]


def test_release_removes_no_other_file(folder: Folder, tmp_path: Path) -> None:
    """What has the name by the time of the release, and is not the locked file, stays."""
    lock = LockedFile(folder, "lock")
    (tmp_path / "lock").unlink()
    (tmp_path / "lock").write_bytes(b"another's")
    lock.release(remove=True)
    assert (tmp_path / "lock").read_bytes() == b"another's"


def test_many_threads_want_one_lock(folder: Folder) -> None:
    """Of threads that begin together, no two hold the file at the same time, and one does."""
    barrier, holders, errors = threading.Barrier(8), [], []

    def work() -> None:
        barrier.wait()
        try:
            holders.append(LockedFile(folder, "lock"))
        except BlockingIOError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(holders), len(errors)) == (1, 7)
    holders[0].release(remove=True)


def test_closed_before_it_is_removed(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows removes no open file: there the descriptor is closed first, elsewhere last."""
    for windows in (True, False):
        monkeypatch.setattr(locks, "_WINDOWS", windows)
        lock = LockedFile(folder, "lock")
        number, open_then = lock.fd, []
        unlink = folder.unlink

        def record(
            name: str, number: int = number, told: Any = open_then, do: Any = unlink
        ) -> None:
            try:
                os.fstat(number)
                told.append(True)
            except OSError:
                told.append(False)
            do(name)

        with monkeypatch.context() as patch:
            patch.setattr(folder, "unlink", record)
            lock.release(remove=True)
        assert open_then == [not windows]
        assert os.listdir(tmp_path) == []


# --- the journal's own reading -------------------------------------------------------------------------


def journal(folder: Folder, identity: str = "x") -> Journal:
    """The journal of a download."""
    return Journal(folder, "journal", "fresh", identity)


def test_entries_come_back(folder: Folder) -> None:
    """What was begun with and what was appended is read, offsets of 2^62 included."""
    first = journal(folder)
    first.begin({0: 1, 100: 2})
    first.append(2**62, 0xFFFFFFFF)
    first.close()
    again = journal(folder)
    assert again.entries == {0: 1, 100: 2, 2**62: 0xFFFFFFFF}
    assert (again.completion, again.reason) == (None, "")
    assert journal(folder, "y").entries == {}


def test_completion_comes_back(folder: Folder) -> None:
    """The note of a complete file is for the same download alone."""
    done = Completion(10, 2**32 - 1, 123456789, 7)
    journal(folder).complete(done)
    assert journal(folder).completion == done
    assert journal(folder, "y").completion is None
    journal(folder).remove()
    assert journal(folder).completion is None


def test_append_without_room(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal that cannot be appended to, or only half a line, ends, and the download does not."""
    for answer in (5, OSError(errno.ENOSPC, "full")):
        note = journal(folder)
        note.begin({})
        with monkeypatch.context() as patch:

            def write(fd: int, data: bytes, answer: Any = answer) -> int:
                if isinstance(answer, OSError):
                    raise answer
                return answer

            patch.setattr(os, "write", write)
            number = note._fd
            note.append(0, 1)
            note.append(100, 2)
        # Another thread may be between its look at the number and its use.
        assert number is not None and os.fstat(number)
        note.close()
        assert journal(folder).entries == {}
    assert caplog.text.count("the journal cannot be written") == 2


@pytest.mark.parametrize(
    ("noted", "found", "same"),
    [
        (1_700_000_001_123_456_789, 1_700_000_001_123_456_789, True),
        (1_700_000_001_123_456_789, 1_700_000_001_123_456_790, False),
        (1_700_000_001_123_456_789, 1_700_000_001_123_456_700, True),
        (1_700_000_001_123_456_789, 1_700_000_001_123_456_000, True),
        (1_700_000_001_123_456_789, 1_700_000_001_000_000_000, True),
        (1_700_000_001_123_456_789, 1_700_000_000_000_000_000, True),
        (1_700_000_001_123_456_789, 1_700_000_002_000_000_000, True),
        (1_700_000_001_123_456_789, 1_700_000_003_000_000_000, False),
        (1_700_000_001_000_000_000, 1_700_000_001_123_456_789, True),
        (1_700_000_001_123_456_789, 1_699_999_998_000_000_000, False),
    ],
)
def test_times_as_exactly_as_they_are_kept(
    tmp_path: Path, noted: int, found: int, same: bool
) -> None:
    """Two times are compared in the steps of the coarser one."""
    path = tmp_path / "file"
    path.write_bytes(b"12")
    os.utime(path, ns=(found, found))
    assert Completion(2, 0, noted, 0).fits(path.stat()) is same
    assert not Completion(3, 0, noted, 0).fits(path.stat())
