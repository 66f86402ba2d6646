"""Where plaintext comes from."""

from __future__ import annotations

import os
import zlib

import pytest

from ctera_direct_sync.emulator import FileSource, SyntheticSource
from ctera_direct_sync.emulator.sources import SourceChanged, open_source


@pytest.mark.parametrize("kind", ["text", "random"])
@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 1),
        (1, 17),
        (15, 1),
        (16, 16),
        (65_535, 2),
        (65_536, 65_536),
        (100_000, 150_000),
        (299_999, 5),
        (300_000, 1),
        (400_000, 1),
        (5, 0),
    ],
)
def test_synthetic_bytes_depend_on_their_offset_alone(kind, offset, length):
    """Any read gives the same bytes as a slice of the whole."""
    source = SyntheticSource(300_000, seed=3, kind=kind)
    whole = source.read(0, source.size)
    assert len(whole) == 300_000
    assert source.read(offset, length) == whole[offset : offset + length]


def test_synthetic_bytes_depend_on_the_seed():
    """Another seed gives other bytes; the same gives the same."""
    first, again, other = (SyntheticSource(1000, seed=seed).read(0, 1000) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_synthetic_kinds_differ_in_how_they_compress():
    """Text compresses at least twice, random bytes not at all; no two pages are equal."""
    text = SyntheticSource(200_000).read(0, 200_000)
    noise = SyntheticSource(200_000, kind="random").read(0, 200_000)
    assert len(zlib.compress(text)) * 2 < len(text)
    assert len(zlib.compress(noise)) >= len(noise)
    assert text[:65_536] != text[65_536:131_072]


def test_synthetic_source_is_far_larger_than_memory():
    """A read at a great offset costs no more than one at the start."""
    source = SyntheticSource(1 << 50, kind="random")
    assert len(source.read((1 << 50) - 10, 100)) == 10


@pytest.mark.parametrize("arguments", [{"size": -1}, {"size": 1, "kind": "poetry"}])
def test_synthetic_source_refuses_nonsense(arguments):
    """A negative size and an unknown kind are refused."""
    with pytest.raises(ValueError, match="must"):
        SyntheticSource(**arguments)


def test_file_source_reads_ranges(tmp_path):
    """A file is read a range at a time."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    source = FileSource(path)
    assert (source.size, source.read(3, 4), source.read(8, 10)) == (10, b"3456", b"89")


def test_file_source_notices_a_change(tmp_path):
    """A file that was written since has no longer the blocks that were listed."""
    path = tmp_path / "file"
    path.write_bytes(b"before")
    source = FileSource(path)
    assert not source.changed
    path.write_bytes(b"after!")
    os.utime(path, ns=(1, 1))
    assert source.changed
    with pytest.raises(SourceChanged):
        source.read(0, 1)
    path.unlink()
    assert source.changed
    with pytest.raises(SourceChanged):
        source.read(0, 1)


def test_open_source_refuses_other_things():
    """What is neither bytes, nor a path, nor a source is refused by its type's name."""
    with pytest.raises(TypeError, match="not int"):
        open_source(5)
