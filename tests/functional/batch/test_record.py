"""The one record of a batch's folder: which files are complete, and what damage to it does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ctera_direct_sync import BatchResult, DirectIO, codec
from ctera_direct_sync._readers.batch_record import RECORD_NAME
from ctera_direct_sync.emulator import Emulator

SMALL, LARGE = b"small" * 100, bytes(range(250)) * 20


@pytest.fixture
def items(portal: Emulator) -> list[tuple[int, str]]:
    """Eleven files of one block, and one of five."""
    small = [(portal.add(SMALL + b"%d" % number), f"f/{number}") for number in range(11)]
    return [*small, (portal.add(LARGE, block_size=1000), "large")]


def outcomes(results: list[BatchResult]) -> list[str]:
    """The outcomes alone."""
    return [result.outcome for result in results]


def files_in(folder: Path) -> list[str]:
    """The files in a folder, by their paths."""
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


def run(client: DirectIO, items: list[tuple[int, str]], folder: Path) -> list[str]:
    """Run a batch, check each file, and return the outcomes."""
    results = client.download_many(items, folder)
    for result in results:
        assert result.download is not None
        data = (folder / result.item.path).read_bytes()
        assert data == (LARGE if result.item.path == "large" else SMALL + data[len(SMALL) :])
        assert codec.crc32c(data) == result.download.crc32c
    return outcomes(results)


def test_one_file_beside_all(
    client: DirectIO, items: list[tuple[int, str]], tmp_path: Path
) -> None:
    """A batch leaves its files, and one more."""
    run(client, items, tmp_path)
    assert files_in(tmp_path) == sorted([RECORD_NAME, *(path for _, path in items)])


def test_unchanged_files_stay(
    portal: Emulator, client: DirectIO, items: list[tuple[int, str]], tmp_path: Path
) -> None:
    """The next batch fetches no block."""
    run(client, items, tmp_path)
    before = portal.log.total("storage")
    assert run(client, items, tmp_path) == ["unchanged"] * 12
    assert portal.log.total("storage") == before


def test_file_that_changed_here_or_there_comes_again(
    portal: Emulator, client: DirectIO, items: list[tuple[int, str]], tmp_path: Path
) -> None:
    """Size, time and the portal's block list decide for each file."""
    run(client, items, tmp_path)
    (tmp_path / "f/3").write_bytes(b"other")
    (tmp_path / "f/4").unlink()
    portal.replace(items[5][0], SMALL + b"new")
    expected = ["unchanged"] * 12
    expected[3:6] = ["done"] * 3
    assert run(client, items, tmp_path) == expected
    assert (tmp_path / "f/5").read_bytes() == SMALL + b"new"
    assert run(client, items, tmp_path) == ["unchanged"] * 12


def _cut(lines: list[bytes]) -> bytes:
    return b"".join(lines)[:-20]


def _flip(lines: list[bytes]) -> bytes:
    return b"".join([*lines[:-1], lines[-1].replace(b", ", b" ,", 1)])


def _zeros(lines: list[bytes]) -> bytes:
    return b"".join([*lines[:-1], bytes(len(lines[-1]))])


def _not_a_list(lines: list[bytes]) -> bytes:
    text = b'{"path": 1}'
    return b"".join([*lines[:-1], b"%08x %s\n" % (codec.crc32c(text), text)])


@pytest.mark.parametrize("damage", [_cut, _flip, _zeros, _not_a_list])
def test_damaged_line_costs_one_download(
    client: DirectIO,
    items: list[tuple[int, str]],
    tmp_path: Path,
    damage: Callable[[list[bytes]], bytes],
) -> None:
    """A line that a crash or a disk damaged counts as missing. The others count."""
    run(client, items, tmp_path)
    record = tmp_path / RECORD_NAME
    record.write_bytes(damage(record.read_bytes().splitlines(keepends=True)))
    assert sorted(run(client, items, tmp_path)) == ["done"] + ["unchanged"] * 11
    assert run(client, items, tmp_path) == ["unchanged"] * 12


def test_record_that_lies(client: DirectIO, items: list[tuple[int, str]], tmp_path: Path) -> None:
    """What does not fit the file on the disk is not believed."""
    run(client, items, tmp_path)
    record = tmp_path / RECORD_NAME
    lines = []
    for line in record.read_bytes().splitlines():
        path, identity, size, *rest = json.loads(line[9:])
        text = json.dumps([path, identity, size + 1, *rest]).encode()
        lines.append(b"%08x %s\n" % (codec.crc32c(text), text))
    record.write_bytes(b"".join(lines))
    assert run(client, items, tmp_path) == ["done"] * 12


def test_without_resume_nothing_is_recorded(
    client: DirectIO, items: list[tuple[int, str]], tmp_path: Path
) -> None:
    """`resume=False` leaves the files alone, and makes the record forget those that it replaced."""
    client.download_many(items, tmp_path, resume=False)
    assert RECORD_NAME not in files_in(tmp_path)
    run(client, items, tmp_path)
    client.download_many(items[:2], tmp_path, resume=False)
    assert run(client, items, tmp_path) == ["done"] * 2 + ["unchanged"] * 10


def test_journals_of_older_batches_count(
    client: DirectIO, items: list[tuple[int, str]], tmp_path: Path
) -> None:
    """A journal beside a file is believed, until the file comes anew."""
    (tmp_path / "f").mkdir()
    for file_id, path in items:
        client.download(file_id, tmp_path / path, resume=True)
    assert run(client, items, tmp_path) == ["unchanged"] * 12
    for _, path in items:
        (tmp_path / path).write_bytes(b"other")
    assert run(client, items, tmp_path) == ["done"] * 12
    assert files_in(tmp_path) == sorted([RECORD_NAME, *(path for _, path in items)])


def test_stale_lines_are_dropped(
    client: DirectIO, items: list[tuple[int, str]], tmp_path: Path
) -> None:
    """A record does not grow for ever."""
    run(client, items, tmp_path)
    record = tmp_path / RECORD_NAME
    line = record.read_bytes().splitlines(keepends=True)[-1]
    with record.open("ab") as file:
        file.write(line * 2000)
    assert run(client, items, tmp_path) == ["unchanged"] * 12
    assert len(record.read_bytes().splitlines()) == 12
    assert RECORD_NAME + ".new" not in os.listdir(tmp_path)


def test_batch_that_completes_nothing_leaves_no_record(client: DirectIO, tmp_path: Path) -> None:
    """An empty record would tell nothing."""
    (result,) = client.download_many([(999, "a")], tmp_path)
    assert not result.ok
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("name", [RECORD_NAME, "a/" + RECORD_NAME.upper(), RECORD_NAME + ".new"])
def test_name_of_the_record_is_refused(client: DirectIO, tmp_path: Path, name: str) -> None:
    """No item gets the name of the batch's own file."""
    (result,) = client.download_many([(1, name)], tmp_path)
    assert isinstance(result.error, ValueError) and "keep for themselves" in str(result.error)


def test_file_of_another_download_with_coarse_times(
    portal: Emulator, client: DirectIO, tmp_path: Path
) -> None:
    """On a disk with times of whole seconds, a file of equal size and time may be another one."""
    first, second = portal.add(b"first!"), portal.add(b"second")
    client.download_many([(first, "file")], tmp_path)
    target = tmp_path / "file"
    seconds = int(target.stat().st_mtime)
    client.download(second, target)
    os.utime(target, (seconds, seconds))
    [result] = client.download_many([(first, "file")], tmp_path)
    assert (result.outcome, target.read_bytes()) == ("done", b"first!")
