"""The record of a batch beside the part file: crashes between its line and the renaming, and full disks."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctera_direct_sync import codec
from ctera_direct_sync._readers import batch_record
from ctera_direct_sync._readers.batch_record import RECORD_NAME, BatchRecord, read_record
from ctera_direct_sync._readers.folders import Folder, Place
from ctera_direct_sync._readers.journal import Completion
from ctera_direct_sync._readers.part_file import PartFile
from tests.support.part_files import DATA, journal, metadata, part, plan, write

pytestmark = pytest.mark.keeps_partial

WHOLE = Completion(len(DATA), 1, 2, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """A folder for a record."""
    with Folder.open(str(tmp_path)) as opened:
        yield opened


@pytest.fixture
def record(folder: Folder) -> Iterator[BatchRecord]:
    """A new record."""
    made = BatchRecord(folder, make=True)
    yield made
    made.close()


class Crash(BaseException):
    """The process ends here."""


def crash(*arguments: object) -> None:
    """Stand for a call that the process does not survive."""
    raise Crash


@pytest.mark.parametrize("lengths", [[220], [100, 50, 70]])
def test_crash_between_line_and_renaming(
    tmp_path: Path, record: BatchRecord, lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is there, and the target is not: the part file is read back, and nothing is fetched."""
    target = tmp_path / "a"
    planned = plan(metadata(lengths))
    with Place.of(str(target)) as place, monkeypatch.context() as patch:
        with (
            pytest.raises(Crash),
            PartFile(place, planned, resume=True, recorded=record.path("a")) as opened,
        ):
            assert opened.completed() is None
            opened.recover(lambda: None)
            write(opened, *range(len(lengths)), planned=planned)
            patch.setattr(Folder, "replace", crash)
            opened.commit(1)
        patch.undo()
        assert part(target).read_bytes() == DATA and not target.exists()
        with PartFile(place, planned, resume=True, recorded=record.path("a")) as opened:
            assert opened.completed() is None
            # The checksum of the record is another one, so the bytes are not believed.
            assert opened.recover(lambda: None).runs == []
            write(opened, *range(len(lengths)), planned=planned)
            opened.commit(0x1234)
    assert target.read_bytes() == DATA
    assert read_record(record._folder)["a"].crc32c == 0x1234
    assert not journal(target).exists() and not part(target).exists()


def test_right_part_file_is_taken_over(
    tmp_path: Path, record: BatchRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the record says and the part file holds is not fetched again."""
    target, planned = tmp_path / "a", plan(metadata([220]))
    with Place.of(str(target)) as place, monkeypatch.context() as patch:
        with (
            pytest.raises(Crash),
            PartFile(place, planned, resume=True, recorded=record.path("a")) as opened,
        ):
            opened.recover(lambda: None)
            write(opened, 0, planned=planned)
            patch.setattr(Folder, "replace", crash)
            opened.commit(codec.crc32c(DATA))
        patch.undo()
        with PartFile(place, planned, resume=True, recorded=record.path("a")) as opened:
            runs = opened.recover(lambda: None).runs
            assert [(run.offset, run.length) for run in runs] == [(0, len(DATA))]
            opened.commit(codec.crc32c(DATA))
    assert target.read_bytes() == DATA


def test_full_disk_leaves_the_rest(
    folder: Folder,
    record: BatchRecord,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A line that does not fit is warned of once. Those before it count."""
    assert record.save("a", "x", WHOLE)

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert not record.save("b", "x", WHOLE)
        assert not record.save("c", "x", WHOLE)
    assert caplog.text.count("cannot be written") == 1
    assert list(read_record(folder)) == ["a"]


def test_line_after_a_cut_one_counts(folder: Folder, tmp_path: Path) -> None:
    """A crash amid a line costs that line, not the next."""
    first = BatchRecord(folder, make=True)
    first.save("a", "x", WHOLE)
    first.save("b", "x", WHOLE)
    first.close()
    path = tmp_path / RECORD_NAME
    path.write_bytes(path.read_bytes()[:-5])
    second = BatchRecord(folder, make=True)
    assert second.find("b", "x") is None
    second.save("c", "x", WHOLE)
    second.close()
    assert read_record(folder) == {"a": WHOLE, "c": WHOLE}


def test_another_identity_is_another_file(record: BatchRecord) -> None:
    """The record of one version says nothing of the next."""
    record.save("a", "x", WHOLE)
    assert record.find("a", "x") == WHOLE
    assert record.find("a", "y") is None
    record.forget("a")
    assert record.find("a", "x") is None


@pytest.mark.parametrize("name", ["caf\u00e9", "line\nbreak", "\udcff", '"'])
def test_any_name_is_kept(folder: Folder, record: BatchRecord, name: str) -> None:
    """Names may hold line breaks, and bytes that are not text."""
    record.save(name, "x", WHOLE)
    assert read_record(folder) == {name: WHOLE}


def test_half_a_line_ends_the_record(
    record: BatchRecord, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that takes a part of a line is told of with both counts, and nothing follows the half line."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:10]))
    assert not record.save("a", "b", WHOLE)
    monkeypatch.undo()
    assert "only 10 of" in caplog.text
    assert not record.save("c", "d", WHOLE)


def rewrite(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> BatchRecord:
    """Open a record that has to be written anew, as Windows does."""
    monkeypatch.setattr(batch_record, "_MAX_STALE_LINES", 3)
    monkeypatch.setattr(batch_record, "_WINDOWS", True)
    with contextlib.closing(BatchRecord(folder, make=True)) as old:
        for number in range(9):
            assert old.save("a", str(number), WHOLE)
    return BatchRecord(folder, make=True)


def open_names() -> set[str]:
    """Return the names of the files that this process has open."""
    names = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            names.add(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
    return names


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no list of descriptors")
def test_record_is_closed_while_windows_renames_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows renames no open file and replaces none: neither the new record nor the old one is open."""
    opened: list[set[str]] = []
    real = Folder.replace

    def replace(self: Folder, name: str, target: str) -> None:
        opened.append(open_names() & {name, target})
        real(self, name, target)

    monkeypatch.setattr(Folder, "replace", replace)
    with contextlib.closing(rewrite(folder, monkeypatch)) as record:
        assert opened == [set()]
        assert record.save("b", "1", WHOLE)
    assert set(read_record(folder)) == {"a", "b"}
    assert len(Path(folder.path_of(RECORD_NAME)).read_bytes().splitlines()) == 2


def test_record_that_windows_does_not_rename_is_used_as_it_is(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program that reads the record keeps it from being replaced, and from nothing else."""

    def refuse(self: Folder, name: str, target: str) -> None:
        raise PermissionError(errno.EACCES, "in use")

    monkeypatch.setattr(Folder, "replace", refuse)
    with contextlib.closing(rewrite(folder, monkeypatch)) as record:
        assert record.save("b", "1", WHOLE)
    assert set(os.listdir(folder.path)) == {RECORD_NAME}
    assert set(read_record(folder)) == {"a", "b"}
