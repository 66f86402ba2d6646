"""The part file and its journal: what a crash, a power cut or another process may do to them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional, Union

import pytest

from ctera_direct_sync import codec
from ctera_direct_sync._readers.folders import Place
from ctera_direct_sync._readers.part_file import DownloadPlan, PartFile, Recovered, is_own_name
from ctera_direct_sync.types import Chunk, Metadata, SignedURL

pytestmark = pytest.mark.keeps_partial

LENGTHS = [100, 50, 70]
DATA = bytes(range(220))


def metadata(lengths: list[int] = LENGTHS, key: bytes = bytes(16), name: str = "a") -> Metadata:
    """A file of blocks of these lengths."""
    chunks, offset = [], 0
    for number, length in enumerate(lengths, 1):
        url = SignedURL(f"https://storage.example.com/{name}/{number}?sig=1")
        chunks.append(Chunk(number, offset, length, url))
        offset += length
    return Metadata(42, offset, chunks, encryption_key=key)


def plan(
    listed: Optional[Metadata] = None, start: int = 0, stop: Optional[int] = None
) -> DownloadPlan:
    """The plan for a range of that file."""
    listed = listed or metadata()
    return DownloadPlan(listed, start, listed.size if stop is None else stop)


@contextlib.contextmanager
def part_file(
    target: Union[str, Path], planned: Optional[DownloadPlan] = None, *, resume: bool
) -> Iterator[PartFile]:
    """The part file of a target."""
    with (
        Place.of(str(target)) as place,
        PartFile(place, planned or plan(), resume=resume) as opened,
    ):
        yield opened


def write(partial: PartFile, *positions: int, planned: Optional[DownloadPlan] = None) -> None:
    """Write those pieces, as a download does."""
    pieces = list((planned or plan()).missing([]))
    for position in positions:
        piece = pieces[position]
        data = DATA[piece.offset : piece.offset + piece.length]
        partial.write(piece.offset, data, codec.crc32c(data))


def recover(partial: PartFile) -> tuple[list[int], str]:
    """Positions that are taken over, their checksums compared, and the reason why none is."""
    runs, reason = partial.recover(lambda: None)
    for run in runs:
        assert run.crc32c == codec.crc32c(DATA[run.offset : run.offset + run.length])
    missing = set(plan().missing(runs))
    return [at for at, piece in enumerate(plan().missing([])) if piece not in missing], reason


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where the download is to end up."""
    return tmp_path / "file.bin"


def journal(target: Path) -> Path:
    """The journal beside the target."""
    return target.with_name(f".{target.name}.ctera-journal")


def part(target: Path) -> Path:
    """The part file beside the target."""
    return target.with_name(f".{target.name}.ctera-part")


def interrupted(target: Path, *positions: int) -> None:
    """Leave behind what a download that was interrupted after these pieces does."""
    with part_file(target, resume=True) as partial:
        partial.recover(lambda: None)
        write(partial, *positions)


def names(target: Path) -> list[str]:
    """What is in the folder."""
    return sorted(os.listdir(target.parent))


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


# --- taking up -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [[], [0], [1], [2, 0], [0, 1, 2]])
def test_resume(target, first):
    """What was written is taken over, the rest is written, and the result is whole."""
    interrupted(target, *first)
    with part_file(target, resume=True) as partial:
        assert partial.completed() is None
        done, reason = recover(partial)
        assert (done, reason) == (sorted(first), "")
        write(partial, *{0, 1, 2} - set(done))
        partial.commit(7)
    assert target.read_bytes() == DATA
    assert names(target) == [journal(target).name, target.name]


def test_resume_several_times(target):
    """Each interruption keeps what all before it got."""
    for position in (2, 0, 1):
        interrupted(target, position)
    with part_file(target, resume=True) as partial:
        assert recover(partial) == ([0, 1, 2], "")


def test_done_already(target):
    """A target that is complete and untouched is known by its journal, and its checksum with it."""
    interrupted(target)
    with part_file(target, resume=True) as partial:
        recover(partial)
        write(partial, 0, 1, 2)
        partial.commit(0xC0FFEE)
    with part_file(target, resume=True) as partial:
        assert partial.completed() == 0xC0FFEE
        partial.discard()
    assert names(target) == [journal(target).name, target.name]


@pytest.mark.parametrize("change", ["touched", "longer", "removed", "other plan"])
def test_done_once_but_changed(target, change):
    """A target that was touched since, or is wanted for another file, is not taken for complete."""
    with part_file(target, resume=True) as partial:
        recover(partial)
        write(partial, 0, 1, 2)
        partial.commit(7)
    if change == "touched":
        os.utime(target, ns=(0, 0))
    elif change == "longer":
        target.write_bytes(DATA + b"!")
    elif change == "removed":
        target.unlink()
    planned = plan(metadata(key=b"k" * 16)) if change == "other plan" else plan()
    with part_file(target, planned, resume=True) as partial:
        assert partial.completed() is None
        assert partial.recover(lambda: None) == Recovered([], "")


@pytest.mark.parametrize("cut", range(1, 26))
def test_torn_line(target, cut):
    """A journal line that a crash cut is left out, wherever it was cut; those before it count."""
    interrupted(target, 0, 1)
    content = journal(target).read_bytes()
    journal(target).write_bytes(content[:-cut])
    with part_file(target, resume=True) as partial:
        assert recover(partial) == ([0], "")


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (b"0000000000000000 xxxxxxxx\n", []),
        (b"\0" * 26, []),
        (b"ffffffffffffffff 00000000\n", []),
        (b"0000000000000001 00000000\n", [1]),
        (b"0000000000000064 00000000\n", [1]),
        (b"garbage", []),
    ],
)
def test_damaged_lines(target, lines, kept):
    """Lines that are malformed, of no piece of the plan, or of a wrong checksum, are not believed."""
    interrupted(target, 0, 1)
    content = journal(target).read_bytes()
    header = content.index(b"\n") + 1
    rest = content[header:] if kept else b""
    journal(target).write_bytes(content[:header] + lines + rest)
    with part_file(target, resume=True) as partial:
        found, reason = recover(partial)
        assert set(found) <= {0, 1}
        assert reason == ""
        assert found == ([0, 1] if kept else [])


def test_later_line_wins(target):
    """A piece that was written twice is known by its last checksum."""
    with part_file(target, resume=True) as partial:
        partial.recover(lambda: None)
        partial.write(0, bytes(100), codec.crc32c(bytes(100)))
        write(partial, 0)
    with part_file(target, resume=True) as partial:
        assert recover(partial) == ([0], "")


@pytest.mark.parametrize("content", [b"", b"\n", b"not json\n", b"[]\n", b"null\n", b"\xff\xfe\n",
                                     b"[" * 100_000])  # fmt: skip
def test_damaged_journal(target, content):
    """A journal that cannot be read means starting over, with the reason."""
    interrupted(target, 0, 1)
    journal(target).write_bytes(content)
    with part_file(target, resume=True) as partial:
        assert partial.completed() is None
        assert recover(partial) == ([], "the journal of the last time is damaged")


OTHERS = {
    "lengths": plan(metadata([100, 60, 60])),
    "longer": plan(metadata([100, 50, 70, 10])),
    "key": plan(metadata(key=b"k" * 16)),
    "objects": plan(metadata(name="b")),
    "range": plan(start=1),
    "end": plan(stop=219),
    "shorter": plan(stop=10),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_other_identity(target, other):
    """Another file, key or range does not continue this one, and is not hindered by it."""
    interrupted(target, 0, 1, 2)
    with part_file(target, other, resume=True) as partial:
        done, reason = partial.recover(lambda: None)
        assert (done, reason) == ([], "the file or the range is another than last time")
        size = other.size
        partial.write(other.start, bytes(size), codec.crc32c(bytes(size)))
        partial.commit(0)
    assert target.read_bytes() == bytes(size)


def test_renewed_urls_are_the_same_file():
    """Signatures and hosts that change with each listing do not make another file."""
    listed = metadata()
    renewed = [
        chunk._replace(url=SignedURL(chunk.url.replace("storage", "mirror") + "&more"))
        for chunk in listed.chunks
    ]
    again = Metadata(42, listed.size, renewed, encryption_key=bytes(16))
    assert plan(again).identity == plan(listed).identity
    assert len({planned.identity for planned in [plan(), *OTHERS.values()]}) == 1 + len(OTHERS)


@pytest.mark.parametrize("damage", [b"", bytes(10), None])
def test_wrong_bytes_are_fetched_again(target, damage):
    """A piece that the journal claims but the part file does not hold is not believed."""
    interrupted(target, 0, 1, 2)
    with open(part(target), "r+b") as file:
        if damage is None:
            file.truncate(160)
            expected = [0, 1]
        else:
            file.seek(120)
            file.write(damage or b"\0")
            expected = [0, 2]
    with part_file(target, resume=True) as partial:
        assert recover(partial) == (expected, "")
        write(partial, *{0, 1, 2} - set(expected))
        partial.commit(0)
    assert target.read_bytes() == DATA


def test_part_file_that_is_gone(target):
    """A journal whose part file was removed claims nothing that is there."""
    interrupted(target, 0, 1)
    part(target).unlink()
    with part_file(target, resume=True) as partial:
        assert recover(partial) == ([], "")


def test_part_file_that_grew(target):
    """Bytes past the end of the plan are cut off, rather than failing every attempt."""
    interrupted(target, 0, 1, 2)
    with open(part(target), "ab") as file:
        file.write(b"more")
    with part_file(target, resume=True) as partial:
        assert recover(partial) == ([0, 1, 2], "")
        partial.commit(0)
    assert target.read_bytes() == DATA


def test_check_breaks_off(target):
    """What ``check`` raises comes out, and the next attempt finds all as it was."""
    interrupted(target, 0, 1)

    def check() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), part_file(target, resume=True) as partial:
        partial.recover(check)
    with part_file(target, resume=True) as partial:
        assert recover(partial) == ([0, 1], "")


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
from tests.unit.test_partial import PartFile, Place, plan, write
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
