"""Part files that an earlier download left: which of their pieces are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ctera_direct_sync import codec
from ctera_direct_sync._readers.part_file import Recovered
from ctera_direct_sync.types import Metadata, SignedURL
from tests.support.part_files import (
    DATA,
    interrupted,
    journal,
    metadata,
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


def test_done_already_beside_a_new_journal_that_a_crash_left(target):
    """The journal that was not renamed any more is removed, although no other one is written."""
    with part_file(target, resume=True) as partial:
        recover(partial)
        write(partial, 0, 1, 2)
        partial.commit(7)
    left = journal(target).with_name(journal(target).name + ".new")
    left.write_bytes(b"what a crash left")
    with part_file(target, resume=True) as partial:
        assert partial.completed() == 7
        partial.discard()
    assert names(target) == [journal(target).name, target.name]


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
