"""Runs of a mirror against a portal in memory: what each change of the portal or the disk leads to."""

from __future__ import annotations

import datetime
import os
import pickle
from pathlib import Path

import pytest

from ctera_direct_sync._mirror.filters import Filter
from ctera_direct_sync.exceptions import (
    NamespaceError,
    NamespaceTimeout,
    PathNotFoundError,
    TooManyDeletionsError,
)
from tests.support.mirror_portal import OWN, SOURCE, MemoryPortal, local_files, mirror


@pytest.fixture
def source() -> MemoryPortal:
    """A portal with four files in three folders."""
    portal = MemoryPortal()
    for path in ("a.txt", "b.txt", "docs/c.pdf", "docs/deep/d.pdf"):
        portal.add(path)
    portal.add("empty", folder=True)
    return portal


def trash(folder: Path) -> list[bytes]:
    """Return the bytes of the files in the trash."""
    return [d for p, d in local_files(folder, own=True).items() if p.startswith(f"{OWN}/trash/")]


def test_first_run(source: MemoryPortal, tmp_path: Path) -> None:
    """The first run brings all files and folders, with the portal's times."""
    folder = tmp_path / "new" / "mirror"
    result = mirror(source, folder)
    assert result[:5] == (4, 0, 0, 0, 0) and result.ok
    assert result.nbytes == sum(map(len, source.files().values()))
    assert local_files(folder) == source.files()
    assert (folder / "empty").is_dir()
    modified = source.entry(source.find("a.txt")).modified
    assert (folder / "a.txt").stat().st_mtime == modified.timestamp()
    assert (folder / OWN).stat().st_mode & 0o777 == 0o700


def test_run_without_change(source: MemoryPortal, mirrored: Path) -> None:
    """A run without a change downloads nothing."""
    assert mirror(source, mirrored)[:5] == (0, 0, 0, 0, 4)
    assert source.fetched == []


def test_overwritten_file(source: MemoryPortal, mirrored: Path) -> None:
    """A changed file is downloaded, and keeps its permissions but for setuid."""
    os.chmod(mirrored / "a.txt", 0o4751)
    source.write(source.find("a.txt"))
    assert mirror(source, mirrored)[:5] == (0, 1, 0, 0, 3)
    assert local_files(mirrored) == source.files()
    assert (mirrored / "a.txt").stat().st_mode & 0o7777 == 0o751


def test_moved_file_and_folder(source: MemoryPortal, mirrored: Path) -> None:
    """What was renamed or moved is renamed here, and not downloaded."""
    source.move(source.find("a.txt"), source.find("docs"), "renamed.txt")
    source.move(source.find("docs"), source.find("empty"), "papers")
    assert mirror(source, mirrored)[:5] == (0, 0, 3, 0, 1)
    assert source.fetched == []
    assert local_files(mirrored) == source.files()
    assert not (mirrored / "docs").exists()


def test_swapped_names(source: MemoryPortal, mirrored: Path) -> None:
    """Two files that swap their names swap them here, without a download."""
    a, b = source.find("a.txt"), source.find("b.txt")
    source.move(a, source.root, "x")
    source.move(b, source.root, "a.txt")
    source.move(a, source.root, "b.txt")
    assert mirror(source, mirrored).moved == 2
    assert source.fetched == []
    assert local_files(mirrored) == source.files()


def test_file_that_moves_into_a_folder_of_its_name(source: MemoryPortal, mirrored: Path) -> None:
    """A file can move to below its own old path."""
    a = source.find("a.txt")
    source.move(a, source.root, "x")
    source.move(a, source.add("a.txt", folder=True), "a.txt")
    assert mirror(source, mirrored).moved == 1
    assert source.fetched == []
    assert local_files(mirrored) == source.files()


def test_file_that_takes_the_name_of_its_folder(source: MemoryPortal, mirrored: Path) -> None:
    """A file can move to the path of the folder that it was in."""
    c = source.find("docs/c.pdf")
    source.move(c, source.root, "x")
    source.delete(source.find("docs"))
    source.move(c, source.root, "docs")
    result = mirror(source, mirrored)
    assert (result.moved, result.deleted, result.failed) == (1, 1, [])
    assert local_files(mirrored) == source.files()


@pytest.mark.parametrize("delete", ["trash", "remove", "keep"])
def test_deleted_file(source: MemoryPortal, mirrored: Path, delete: str) -> None:
    """A deleted file goes to the trash, away, or stays."""
    source.feed = "on"
    mirror(source, mirrored)
    data = source.find("docs/c.pdf").data
    source.delete(source.find("docs/c.pdf"))
    result = mirror(source, mirrored, delete=delete)
    assert result.deleted == (0 if delete == "keep" else 1)
    assert (mirrored / "docs/c.pdf").exists() == (delete == "keep")
    assert trash(mirrored) == ([data] if delete == "trash" else [])
    assert mirror(source, mirrored, delete=delete).ok


def test_deleted_folder(source: MemoryPortal, mirrored: Path) -> None:
    """A deleted folder is gone, but for a file that the user put there."""
    (mirrored / "docs/deep/own.txt").write_bytes(b"own")
    source.delete(source.find("docs"))
    assert mirror(source, mirrored).deleted == 2
    assert local_files(mirrored) == {**source.files(), "docs/deep/own.txt": b"own"}


def test_undeleted_file(source: MemoryPortal, mirrored: Path) -> None:
    """A file that comes back on the portal comes back here."""
    node = source.find("a.txt")
    source.delete(node)
    mirror(source, mirrored)
    source.root.children["a.txt"] = node
    mirror(source, mirrored)
    assert local_files(mirrored) == source.files()


def test_file_that_becomes_a_folder_and_back(source: MemoryPortal, mirrored: Path) -> None:
    """A path may change from file to folder, and from folder to file."""
    source.delete(source.find("a.txt"))
    source.add("a.txt/inner")
    source.delete(source.find("docs"))
    source.add("docs")
    assert mirror(source, mirrored).failed == []
    assert local_files(mirrored) == source.files()


# --- changes here ------------------------------------------------------------------------------------


def test_file_changed_here(source: MemoryPortal, mirrored: Path) -> None:
    """A file that was only changed here stays, and is reported by each run."""
    (mirrored / "a.txt").write_bytes(b"mine")
    for _ in range(2):
        result = mirror(source, mirrored)
        assert [path for path, _ in result.conflicts] == ["a.txt"]
        assert (mirrored / "a.txt").read_bytes() == b"mine"
    assert result.ok and result.unchanged == 3


@pytest.mark.parametrize("deleted", [False, True])
def test_file_changed_on_both_sides(source: MemoryPortal, mirrored: Path, deleted: bool) -> None:
    """A file that was changed on both sides is kept as a conflict copy."""
    (mirrored / "docs/c.pdf").write_bytes(b"mine")
    node = source.find("docs/c.pdf")
    source.delete(node) if deleted else source.write(node)
    result = mirror(source, mirrored)
    assert [path for path, _ in result.conflicts] == ["docs/c.pdf"]
    (copy,) = (mirrored / "docs").glob("c.conflict-????????T??????.pdf")
    assert copy.read_bytes() == b"mine"
    copy.unlink()
    assert local_files(mirrored) == source.files()
    assert mirror(source, mirrored).conflicts == []


def test_file_changed_here_and_moved_on_the_portal(source: MemoryPortal, mirrored: Path) -> None:
    """A change made here moves along with the file."""
    (mirrored / "a.txt").write_bytes(b"mine")
    source.move(source.find("a.txt"), source.find("docs"), "a.txt")
    assert mirror(source, mirrored).moved == 1
    assert (mirrored / "docs/a.txt").read_bytes() == b"mine"
    assert [path for path, _ in mirror(source, mirrored).conflicts] == ["docs/a.txt"]


def test_file_and_folder_deleted_here(source: MemoryPortal, mirrored: Path) -> None:
    """What was deleted here comes back."""
    (mirrored / "a.txt").unlink()
    (mirrored / "docs/deep/d.pdf").unlink()
    (mirrored / "docs/deep").rmdir()
    result = mirror(source, mirrored)
    assert result.updated == 2
    assert local_files(mirrored) == source.files()


def test_files_that_were_here_before(source: MemoryPortal, tmp_path: Path) -> None:
    """A file that is equal is adopted, another is kept as a conflict copy, and a third one stays."""
    a, b = source.find("a.txt").data, source.find("b.txt").data
    (tmp_path / "a.txt").write_bytes(a)
    (tmp_path / "b.txt").write_bytes(b[::-1])
    (tmp_path / "other").write_bytes(b"other")
    (tmp_path / "docs").write_bytes(b"a file where a folder must be")
    result = mirror(source, tmp_path)
    assert (result.added, result.updated, result.unchanged) == (2, 1, 1)
    assert sorted(path for path, _ in result.conflicts) == ["b.txt", "docs"]
    found = local_files(tmp_path)
    assert source.files().items() <= found.items()
    kept = sorted(data for path, data in found.items() if path not in source.files())
    assert kept == sorted([b[::-1], b"other", b"a file where a folder must be"])
    assert mirror(source, tmp_path).conflicts == []


def test_copied_mirror(source: MemoryPortal, mirrored: Path) -> None:
    """New times and inode numbers alone are not a change."""
    for path in local_files(mirrored):
        data = (mirrored / path).read_bytes()
        (mirrored / path).unlink()
        (mirrored / path).write_bytes(data)
    result = mirror(source, mirrored)
    assert (result.unchanged, result.conflicts, source.fetched) == (4, [], [])


def test_symbolic_links_are_not_followed(
    source: MemoryPortal, mirrored: Path, tmp_path: Path
) -> None:
    """A link in the place of a file or folder is kept aside, and what it leads to stays as it is."""
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "c.pdf").write_bytes(b"precious")
    for path in ("docs/deep/d.pdf", "docs/c.pdf", "a.txt"):
        (mirrored / path).unlink()
    (mirrored / "docs/deep").rmdir()
    (mirrored / "docs").rmdir()
    (mirrored / "docs").symlink_to(outside)
    (mirrored / "a.txt").symlink_to(outside / "c.pdf")
    source.write(source.find("a.txt"))
    source.delete(source.find("docs/c.pdf"))
    result = mirror(source, mirrored)
    assert result.failed == []
    assert (outside / "c.pdf").read_bytes() == b"precious"
    assert sorted(p.name for p in outside.iterdir()) == ["c.pdf", "deep"]
    assert local_files(mirrored) == source.files()
    assert sum(p.is_symlink() for p in mirrored.iterdir()) == 2


def test_folder_that_becomes_a_link_during_the_run(
    source: MemoryPortal, mirrored: Path, tmp_path: Path
) -> None:
    """A folder that is moved away while files are downloaded gets none of them."""
    outside = tmp_path / "outside"
    c = source.find("docs/c.pdf")
    source.write(c)
    source.add("docs/new.pdf")

    def replace(path: str) -> None:
        if not outside.exists():
            (mirrored / "docs").rename(outside)
            (mirrored / "docs").symlink_to(outside)

    source.on_fetch = replace
    before = local_files(mirrored)
    result = mirror(source, mirrored)
    assert {path for path, _ in result.failed} == {"docs/c.pdf", "docs/new.pdf"}
    assert (outside / "c.pdf").read_bytes() == before["docs/c.pdf"]
    assert not (outside / "new.pdf").exists()
    source.on_fetch = lambda path: None
    assert mirror(source, mirrored).ok
    assert local_files(mirrored) == source.files()
    assert (outside / "c.pdf").read_bytes() == before["docs/c.pdf"]


def test_own_folder_that_is_a_link(source: MemoryPortal, tmp_path: Path) -> None:
    """A link in the place of the mirror's own folder is refused."""
    folder, outside = tmp_path / "mirror", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / OWN).symlink_to(outside)
    with pytest.raises(NotADirectoryError):
        mirror(source, folder)
    assert list(outside.iterdir()) == []


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="needs root")
def test_own_folder_of_another_user(source: MemoryPortal, mirrored: Path) -> None:
    """The folder of another user's mirror is refused."""
    before = sorted(p.name for p in (mirrored / OWN).iterdir())
    os.chown(mirrored / OWN, 12345, -1)
    with pytest.raises(PermissionError, match="another user"):
        mirror(source, mirrored)
    assert sorted(p.name for p in (mirrored / OWN).iterdir()) == before


# --- what stops a run --------------------------------------------------------------------------------


def test_denied_folder(source: MemoryPortal, mirrored: Path) -> None:
    """Lost permission deletes nothing, and is reported."""
    before = local_files(mirrored)
    source.find("docs").denied = True
    source.delete(source.find("b.txt"))
    result = mirror(source, mirrored)
    assert [path for path, _ in result.failed] == ["docs"]
    before.pop("b.txt")
    assert local_files(mirrored) == before


def test_entry_that_a_listing_left_out(source: MemoryPortal, mirrored: Path) -> None:
    """A listing whose pages shifted deletes nothing: the portal is asked again."""
    before = local_files(mirrored)
    source.hidden = {"docs", "a.txt"}
    assert mirror(source, mirrored).deleted == 0
    assert local_files(mirrored) == before


def test_listing_that_fails(source: MemoryPortal, mirrored: Path) -> None:
    """A listing that ends with an error deletes nothing."""
    before = local_files(mirrored)
    source.delete(source.find("a.txt"))
    source.walk_error = NamespaceTimeout("no answer", f"{SOURCE}/docs")
    with pytest.raises(NamespaceTimeout):
        mirror(source, mirrored)
    assert local_files(mirrored) == before


def test_source_that_is_gone(source: MemoryPortal, mirrored: Path) -> None:
    """A source that is gone is an error, and deletes nothing."""
    before = local_files(mirrored)

    def stat(path: str) -> None:
        raise PathNotFoundError("gone", path)

    source.stat = stat  # type: ignore[method-assign, assignment]
    with pytest.raises(PathNotFoundError):
        mirror(source, mirrored)
    assert local_files(mirrored) == before


def test_cloud_folder_of_the_same_name(source: MemoryPortal, mirrored: Path) -> None:
    """Another cloud folder that took the name is an error, and deletes nothing."""
    before = local_files(mirrored)
    entry = source.entry
    source.root.children.clear()
    source.entry = lambda node: type(entry(node))(*entry(node).__reduce__()[1][:-1], 8)  # type: ignore[method-assign, arg-type]
    with pytest.raises(NamespaceError, match="cloud folder is gone"):
        mirror(source, mirrored)
    assert local_files(mirrored) == before


def test_too_many_deletions(source: MemoryPortal, mirrored: Path) -> None:
    """More deletions than allowed stop the run before its first change."""
    before = local_files(mirrored)
    source.delete(source.find("docs"))
    source.add("new.txt")
    with pytest.raises(TooManyDeletionsError) as caught:
        mirror(source, mirrored, max_delete=1)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.count == caught.value.count == 2 and str(copy) == str(caught.value)
    assert local_files(mirrored) == before
    assert mirror(source, mirrored, max_delete=2).deleted == 2


def test_full_disk(source: MemoryPortal, mirrored: Path) -> None:
    """A full disk stops the run, and nothing is deleted."""
    source.delete(source.find("a.txt"))
    source.add("new.txt")

    def fail(path: str) -> None:
        raise OSError(28, "No space left on device")

    source.on_fetch = fail
    with pytest.raises(OSError, match="No space left"):
        mirror(source, mirrored)
    assert (mirrored / "a.txt").exists()
    source.on_fetch = lambda path: None
    mirror(source, mirrored)
    assert local_files(mirrored) == source.files()


def test_another_source(source: MemoryPortal, mirrored: Path) -> None:
    """A folder mirrors one source of one portal."""
    with pytest.raises(ValueError, match="choose another folder"):
        mirror(source, mirrored, portal="another portal")


def test_second_run_at_the_same_time(source: MemoryPortal, mirrored: Path) -> None:
    """The second of two runs fails at once."""
    errors: list[BaseException] = []

    def second(path: str) -> None:
        source.on_fetch = lambda path: None
        try:
            mirror(source, mirrored)
        except BlockingIOError as error:
            errors.append(error)

    source.write(source.find("a.txt"))
    source.on_fetch = second
    mirror(source, mirrored)
    assert "another run" in str(errors[0])


# --- what else a run must stand ----------------------------------------------------------------------


def test_file_that_changes_while_it_is_fetched(source: MemoryPortal, mirrored: Path) -> None:
    """A file that is overwritten during the run comes as it is then."""
    node = source.find("a.txt")
    source.write(node)

    def overwrite(path: str) -> None:
        source.on_fetch = lambda path: None
        source.write(node)

    source.on_fetch = overwrite
    assert mirror(source, mirrored).ok
    assert local_files(mirrored) == source.files()
    source.fetched.clear()
    mirror(source, mirrored)
    assert source.fetched == []


def test_file_that_is_gone_when_it_is_fetched(source: MemoryPortal, mirrored: Path) -> None:
    """A file that is deleted during the run is not an error."""
    node = source.add("new.txt")

    def delete(path: str) -> None:
        source.on_fetch = lambda path: None
        source.delete(node)

    source.on_fetch = delete
    assert mirror(source, mirrored).ok
    assert local_files(mirrored) == source.files()


def test_file_that_is_changed_here_during_the_run(source: MemoryPortal, mirrored: Path) -> None:
    """A file that the user saves during the run is not replaced."""
    source.write(source.find("a.txt"))
    source.on_fetch = lambda path: (mirrored / "a.txt").write_bytes(b"mine, saved just now")
    assert [path for path, _ in mirror(source, mirrored).failed] == ["a.txt"]
    assert (mirrored / "a.txt").read_bytes() == b"mine, saved just now"
    source.on_fetch = lambda path: None
    result = mirror(source, mirrored)
    assert [path for path, _ in result.conflicts] == ["a.txt"]
    assert b"mine, saved just now" in local_files(mirrored).values()


def test_names_that_the_disk_cannot_hold(source: MemoryPortal, tmp_path: Path) -> None:
    """A name that cannot be is reported, once for all that is in a folder."""
    for path in ("x" * 300, "nul\0byte", "\ud800", f"{OWN}/state.db"):
        source.add(path)
    result = mirror(source, tmp_path)
    assert {path for path, _ in result.failed} == {"x" * 300, "nul\0byte", "\ud800", OWN}
    assert set(local_files(tmp_path)) == {"a.txt", "b.txt", "docs/c.pdf", "docs/deep/d.pdf"}


def test_patterns(source: MemoryPortal, mirrored: Path) -> None:
    """What a pattern excludes is neither downloaded nor deleted. Folders come with what is in them."""
    source.add("docs/new.txt")
    source.add("sub/new.pdf")
    result = mirror(source, mirrored, filter=_filter(include=["*.pdf"], exclude=["deep/"]))
    assert (result.added, result.deleted) == (1, 0)
    assert set(local_files(mirrored)) == {
        "a.txt", "b.txt", "docs/c.pdf", "docs/deep/d.pdf", "sub/new.pdf",
    }  # fmt: skip


def test_pattern_that_takes_back_another(source: MemoryPortal, mirrored: Path) -> None:
    """As in git, nothing in an excluded folder can be included again. It stays as it is."""
    before = local_files(mirrored)
    source.add("docs/deep/new.pdf")
    result = mirror(source, mirrored, filter=_filter(exclude=["deep/", "!d.pdf", "!*.pdf"]))
    assert (result.failed, result.deleted, result.added) == ([], 0, 0)
    assert local_files(mirrored) == before


def test_deletion_with_patterns_of_files(source: MemoryPortal, tmp_path: Path) -> None:
    """With patterns, a file is deleted here although its folder stays on the portal without one."""
    source.add("docs/other.txt")
    filter = _filter(include=["*.pdf"])
    assert mirror(source, tmp_path, filter=filter).added == 2
    source.delete(source.find("docs/c.pdf"))
    source.delete(source.find("docs/deep/d.pdf"))
    result = mirror(source, tmp_path, filter=filter)
    assert (result.deleted, result.failed) == (2, [])
    assert local_files(tmp_path) == {}
    source.delete(source.find("docs"))
    assert mirror(source, tmp_path, filter=filter).ok
    assert not (tmp_path / "docs").exists()


def _filter(**patterns: list[str]) -> Filter:
    return Filter(**patterns)


def test_dry_run_tells_what_the_run_does(source: MemoryPortal, mirrored: Path) -> None:
    """A dry run changes nothing, and tells the very steps of the run that follows."""
    source.write(source.find("a.txt"))
    source.move(source.find("b.txt"), source.find("docs"), "b.txt")
    source.delete(source.find("docs/deep"))
    source.add("new/file")
    (mirrored / "docs/c.pdf").write_bytes(b"mine")
    source.write(source.find("docs/c.pdf"))
    before = local_files(mirrored, own=True)
    told: list[tuple[str, str, str]] = []
    done: list[tuple[str, str, str]] = []

    def clock() -> datetime.datetime:
        return datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)

    planned = mirror(
        source, mirrored, dry_run=True, now=clock, on_step=lambda s, _: told.append(s[:3])
    )
    assert local_files(mirrored, own=True) == before
    result = mirror(source, mirrored, now=clock, on_step=lambda s, _: done.append(s[:3]))
    assert sorted(told) == sorted(done) and len(done) == 8
    assert planned[:7] == result[:7]


def test_dry_run_of_the_first_run(source: MemoryPortal, tmp_path: Path) -> None:
    """A dry run does not even make the folder."""
    assert mirror(source, tmp_path / "mirror", dry_run=True).added == 4
    assert list(tmp_path.iterdir()) == []


def test_trash_is_emptied_in_time(source: MemoryPortal, mirrored: Path) -> None:
    """The trash keeps files for some days, or for ever."""
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
    source.delete(source.find("a.txt"))
    mirror(source, mirrored, now=lambda: start)
    for days, trash_days, count in ((29, 30, 1), (31, None, 1), (31, 30, 0)):
        now = start + datetime.timedelta(days=days)
        mirror(source, mirrored, now=lambda now=now: now, trash_days=trash_days)
        assert len(trash(mirrored)) == count


# --- the change feed ---------------------------------------------------------------------------------


def test_feed_without_news(source: MemoryPortal, tmp_path: Path) -> None:
    """The source is read in full only if a run was not complete, or a day is over."""
    source.feed = "on"
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)

    def run(hours: int = 0, **options: object) -> int:
        before = source.walks
        mirror(source, tmp_path, now=lambda: start + datetime.timedelta(hours=hours), **options)
        assert local_files(tmp_path) == source.files()
        return source.walks - before

    assert run() == 1
    assert run() == 0
    (tmp_path / "a.txt").unlink()
    assert run() == 0  # It comes back all the same.
    source.write(source.find("b.txt"))
    assert (run(), source.listings) == (0, 1)
    assert run(feed=False) == 1
    assert run(hours=23) == 0
    assert run(hours=48) == 1
    source.reject_cursors()
    assert run(hours=48) == 1
    assert run(hours=48, patterns="others") == 1
    assert run(hours=48, patterns="others") == 0


def test_feed_after_a_run_that_failed(source: MemoryPortal, tmp_path: Path) -> None:
    """After a run that left something out, the next one reads the source again."""
    source.feed = "on"

    def fail(path: str) -> None:
        raise OSError(13, "Permission denied")

    source.on_fetch = fail
    assert len(mirror(source, tmp_path).failed) == 4
    source.on_fetch = lambda path: None
    assert mirror(source, tmp_path).added == 4


def test_feed_that_may_not_be_read(source: MemoryPortal, tmp_path: Path) -> None:
    """Without permission for the feed the source is read, unless the feed is asked for."""
    assert mirror(source, tmp_path, feed=None).added == 4
    with pytest.raises(PermissionError):
        mirror(source, tmp_path, feed=True)
