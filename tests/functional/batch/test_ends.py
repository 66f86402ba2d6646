"""Ends of items that are not usual errors, and names that a disk does not tell apart."""

from __future__ import annotations

import errno
import os
import signal
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import DirectIO, DirectIOError
from ctera_direct_sync._core import ClientCore
from ctera_direct_sync._readers import batch
from ctera_direct_sync._readers.names_on_disk import ClaimedPaths
from ctera_direct_sync.emulator import Emulator

pytestmark = pytest.mark.keeps_partial


@pytest.fixture
def ids(portal: Emulator) -> list[int]:
    """Three small files."""
    return [portal.add(bytes([number]) * 3000, block_size=1000) for number in range(3)]


class Quit(BaseException):
    """What a test framework or a web server may raise past ``except Exception``."""


# --- a hook that raises past Exception -------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, Quit, GeneratorExit])
def test_download_that_a_hook_breaks_off(
    client: DirectIO, ids: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    """An item whose download is ended by a BaseException on its thread fails; the others are done."""
    original = ClientCore._download_one

    def raising(self: ClientCore, file_id: int, *arguments: Any, **options: Any) -> Any:
        if file_id == ids[1]:
            raise kind
        return original(self, file_id, *arguments, **options)

    monkeypatch.setattr(ClientCore, "_download_one", raising)
    items = [(file_id, f"f{file_id}") for file_id in ids]
    results = client.download_many(items, tmp_path)
    assert [result.outcome for result in results] == ["done", "failed", "done"]
    error = results[1].error
    assert isinstance(error, DirectIOError) and isinstance(error.__cause__, kind)
    assert (error.filename, error.errno) == (ids[1], errno.ECANCELED)
    assert kind.__name__ in str(error)


def test_exception_amid_the_submissions(
    portal: Emulator,
    client: DirectIO,
    ids: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C while items are being submitted leaves no thread and no lock; the next batch goes on."""
    original = batch._Batch._claim_path

    def interrupt(self: Any, item: Any, position: int, claimed: Any) -> str:
        if position == 2:
            signal.raise_signal(signal.SIGINT)
        return original(self, item, position, claimed)

    items = [(file_id, f"f{file_id}") for file_id in ids]
    with monkeypatch.context() as patch:
        patch.setattr(batch._Batch, "_claim_path", interrupt)
        with pytest.raises(KeyboardInterrupt):
            client.download_many(items, tmp_path)
    assert not any("direct-batch" in thread.name for thread in threading.enumerate())
    assert not (tmp_path / ".ctera-batch.lock").exists()
    assert all(result.ok for result in client.download_many(items, tmp_path))


def test_every_item_is_told_once(
    client: DirectIO, ids: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that comes twice is an error, rather than another item's that never comes."""
    original = batch._Batch._work

    def twice(self: Any, position: int, item: Any, place: str) -> None:
        original(self, position, item, place)
        if position == 0:
            self._inbox.put(batch._Ended(0, batch.BatchResult(item, "done")))

    monkeypatch.setattr(batch._Batch, "_work", twice)
    with pytest.raises(RuntimeError, match="twice"):
        client.download_many([(i, f"f{i}") for i in ids], tmp_path, max_files=1)


# --- names that are one file's -------------------------------------------------------------------------

NFC, NFD = "caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9")


def fake_disk(fold: Callable[[str], str]) -> Callable[[str, str, str], bool]:
    """A disk on which names are the same that ``fold`` makes the same; counts what it is asked."""

    def probe(folder: str, name: str, other: str) -> bool:
        asked.append((os.path.basename(folder), name, other))
        return fold(name) == fold(other)

    asked: list[tuple[str, str, str]] = []
    probe.asked = asked  # type: ignore[attr-defined]
    return probe


@pytest.mark.parametrize(
    ("fold", "expected"),
    [
        (lambda name: name, [0, 1, 2, 3, 4, 5, 6]),
        (str.casefold, [0, 0, 2, 3, 4, 4, 6]),
        (lambda name: unicodedata.normalize("NFD", name), [0, 1, 2, 2, 4, 5, 6]),
        (lambda name: unicodedata.normalize("NFD", name).casefold(), [0, 0, 2, 2, 4, 4, 6]),
    ],
    ids=["exact", "case", "form", "both"],
)
def test_names_as_a_disk_has_them(
    tmp_path: Path, fold: Callable[[str], str], expected: list[int]
) -> None:
    """Two items have one place exactly where the disk does not tell their names apart."""
    claimed = ClaimedPaths(str(tmp_path), fake_disk(fold))
    paths = ["a.txt", "A.txt", NFC, NFD, "d/x", "D/X", "d/x.txt"]
    assert [claimed.claim(str(tmp_path / path), at) for at, path in enumerate(paths)] == expected


def test_a_disk_is_asked_once(tmp_path: Path) -> None:
    """A thousand pairs of names that differ in their case cost one look at the folder."""
    probe = fake_disk(lambda name: name)
    claimed = ClaimedPaths(str(tmp_path), probe)
    for number in range(1000):
        for at, name in enumerate((f"file{number}", f"File{number}")):
            assert claimed.claim(str(tmp_path / name), 2 * number + at) == 2 * number + at
    assert probe.asked == [(tmp_path.name, "file0", "File0")]  # type: ignore[attr-defined]


def test_two_cases_in_one_batch(
    client: DirectIO, ids: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that does not tell cases apart the second item fails, and says so."""
    items = [(ids[0], "d/a.txt"), (ids[1], "D/A.TXT"), (ids[2], "d/b.txt")]
    with monkeypatch.context() as patch:
        patch.setattr(batch, "is_same_on_disk", fake_disk(str.casefold))
        results = client.download_many(items, tmp_path / "1")
    assert [result.outcome for result in results] == ["done", "failed", "done"]
    assert "does not tell the two names apart" in str(results[1].error)


def test_two_cases_on_this_disk(client: DirectIO, ids: list[int], tmp_path: Path) -> None:
    """What this disk really does: either both are there, or the second item failed."""
    items = [(ids[0], "a.txt"), (ids[1], "A.txt"), (ids[2], NFC), (ids[0], NFD)]
    results = client.download_many(items, tmp_path, resume=False)
    done = [result for result in results if result.ok]
    assert len(done) == len(os.listdir(tmp_path))
    assert (tmp_path / "a.txt").read_bytes() == bytes(3000)
    for result in done:
        name = result.item.path
        expected = bytes([ids.index(result.item.file_id)]) * 3000
        assert (tmp_path / name).read_bytes() == expected


def test_own_names_in_another_case(client: DirectIO, ids: list[int], tmp_path: Path) -> None:
    """A path that is a download's own name on a disk that does not tell cases apart is refused."""
    for name in (".CTERA-BATCH.LOCK", ".a.CTERA-part"):
        (result,) = client.download_many([(ids[0], name)], tmp_path)
        assert isinstance(result.error, ValueError)


def test_child_of_a_batch_leaves_its_lock(client: DirectIO, ids: list[int], tmp_path: Path) -> None:
    """A child that is forked amid a batch keeps no lock after the batch, and takes none away."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork there")
    read, write = os.pipe()
    children: list[int] = []

    def fork_once(*_: object) -> None:
        if children:
            return
        child = os.fork()
        if not child:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        children.append(child)

    for _ in range(2):
        client.download_many([(ids[0], "a")], tmp_path, resume=False, progress=fork_once)
    os.close(read)
    os.close(write)
    assert os.waitpid(children[0], 0)[1] == 0
