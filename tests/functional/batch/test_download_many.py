"""Many files to a folder: an outcome for each, names that stay inside, ends that are definite."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import BatchItem, BatchResult, DirectIO, DirectIOError, NotFoundError, codec
from ctera_direct_sync._readers.batch_paths import check_path
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults

SIZE = 20_000


def content(seed: int) -> bytes:
    """The plaintext of one of the tests' files."""
    return SyntheticSource(SIZE, seed=seed).read(0, SIZE)


@pytest.fixture
def ids(portal: Emulator) -> list[int]:
    """Three files of 20 blocks each: ``content(0)`` to ``content(2)``."""
    return [portal.add(content(seed), block_size=1000) for seed in range(3)]


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """Another thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def outcomes(results: list[BatchResult]) -> list[str]:
    """The outcomes alone."""
    return [result.outcome for result in results]


def blocks_fetched(portal: Emulator) -> int:
    """How many blocks the storage was asked for so far."""
    return sum(record.where == "storage" for record in portal.requests)


# --- outcomes ------------------------------------------------------------------------------------------


@pytest.mark.keeps_partial
def test_files_arrive(portal: Emulator, client: DirectIO, ids: list[int], tmp_path: Path) -> None:
    """Each file is at its path, in folders that were made for it, and its result says so."""
    names = ["a.bin", "deep/er/b.bin", "deep/c.bin"]
    results = client.download_many(zip(ids, names), tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert [(folder / name).read_bytes() for name in names] == [content(n) for n in range(3)]
    assert outcomes(results) == ["done"] * 3
    assert [result.item for result in results] == [BatchItem(*pair) for pair in zip(ids, names)]
    for seed, result in enumerate(results):
        assert result.ok and result.error is None and result.download is not None
        assert result.download.path == str(folder / names[seed])
        assert (result.download.size, result.download.crc32c) == (
            SIZE,
            codec.crc32c(content(seed)),
        )
    assert not (folder / ".ctera-batch.lock").exists()


@pytest.mark.keeps_partial
def test_one_failure_does_not_stop_the_others(
    portal: Emulator, client: DirectIO, ids: list[int], tmp_path: Path
) -> None:
    """A file that the portal does not know fails by itself, with the error that download() raises."""
    items = [(ids[0], "a"), (999_999, "none"), (ids[1], "b")]
    results = client.download_many(items, tmp_path)
    assert outcomes(results) == ["done", "failed", "done"]
    assert isinstance(results[1].error, NotFoundError) and not results[1].ok
    assert results[1].download is None
    assert not (tmp_path / "none").exists()


@pytest.mark.keeps_partial
def test_what_is_unchanged_is_left_alone(
    portal: Emulator, client: DirectIO, ids: list[int], tmp_path: Path
) -> None:
    """The second time, only the file that changed at the portal is fetched."""
    items = [(file_id, f"f{file_id}") for file_id in ids]
    client.download_many(items, tmp_path)
    portal.replace(ids[1], content(7))
    before, inode = blocks_fetched(portal), os.stat(tmp_path / f"f{ids[0]}").st_ino
    results = client.download_many(items, tmp_path)
    assert outcomes(results) == ["unchanged", "done", "unchanged"]
    assert results[0].download is not None
    assert results[0].download.crc32c == codec.crc32c(content(0))
    assert blocks_fetched(portal) - before == 20
    assert os.stat(tmp_path / f"f{ids[0]}").st_ino == inode
    assert (tmp_path / f"f{ids[1]}").read_bytes() == content(7)


@pytest.mark.keeps_partial
def test_what_was_touched_is_fetched_again(
    client: DirectIO, ids: list[int], tmp_path: Path
) -> None:
    """A file that somebody changed in the folder is not unchanged."""
    client.download_many([(ids[0], "a")], tmp_path)
    (tmp_path / "a").write_bytes(b"x" * SIZE)
    assert outcomes(client.download_many([(ids[0], "a")], tmp_path)) == ["done"]
    assert (tmp_path / "a").read_bytes() == content(0)


def test_without_resume_nothing_is_kept(client: DirectIO, ids: list[int], tmp_path: Path) -> None:
    """resume=False downloads anew each time, and leaves the files alone in the folder."""
    for _ in range(2):
        results = client.download_many([(ids[0], "a"), (ids[1], "b")], tmp_path, resume=False)
        assert outcomes(results) == ["done", "done"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.keeps_partial
def test_what_was_begun_is_taken_up(
    portal: Emulator, make_client: Callable[..., DirectIO], ids: list[int], tmp_path: Path
) -> None:
    """A file that failed halfway fetches only the rest the next time."""
    portal.faults.add("storage", ids[0], 20, times=None, action=faults.status(404))
    client = make_client()
    assert outcomes(client.download_many([(ids[0], "a")], tmp_path)) == ["failed"]
    portal.faults.clear()
    before = blocks_fetched(portal)
    assert outcomes(client.download_many([(ids[0], "a")], tmp_path)) == ["done"]
    assert blocks_fetched(portal) - before < 20
    assert (tmp_path / "a").read_bytes() == content(0)


def test_nothing_to_do(client: DirectIO, tmp_path: Path) -> None:
    """An empty batch gives no results, and sends no request."""
    assert client.download_many([], tmp_path) == []


def test_progress(client: DirectIO, ids: list[int], tmp_path: Path) -> None:
    """progress hears of each item's bytes, in the caller's thread, up to the last."""
    heard: dict[BatchItem, list[tuple[int, int]]] = {}
    threads = set()

    def hear(item: BatchItem, done: int, total: int) -> None:
        heard.setdefault(item, []).append((done, total))
        threads.add(threading.current_thread())

    items = [(file_id, f"f{file_id}") for file_id in ids]
    client.download_many(items, tmp_path, resume=False, progress=hear)
    assert threads == {threading.current_thread()}
    assert sorted(heard) == sorted(BatchItem(*item) for item in items)
    for calls in heard.values():
        assert calls == sorted(calls)
        assert (calls[0], calls[-1]) == ((0, SIZE), (SIZE, SIZE))


def test_workers(portal: Emulator, client: DirectIO, ids: list[int], tmp_path: Path) -> None:
    """So many files at once as asked for, on threads of that name."""
    held = portal.faults.add("portal", times=None, action=faults.stall())
    running: list[str] = []

    def release() -> None:
        assert held.wait(2)
        running.extend(t.name for t in threading.enumerate() if "direct-batch" in t.name)
        held.release()

    with ThreadPoolExecutor(1) as aside:
        released = aside.submit(release)
        client.download_many([(i, f"f{i}") for i in ids], tmp_path, max_files=2, resume=False)
        released.result()
    assert len(running) == 2 and all(name.startswith("ctera-direct-batch") for name in running)


# --- checksums -----------------------------------------------------------------------------------------


@pytest.mark.keeps_partial
@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("form", ["sha256:{sha}", "{sha}", "crc32c:{crc}", "{CRC}"])
def test_checksums(
    client: DirectIO, ids: list[int], tmp_path: Path, form: str, resume: bool
) -> None:
    """A file whose content is another than expected is not put in place, and the error names both."""
    crc = f"{codec.crc32c(content(0)):08x}"
    text = form.format(sha=hashlib.sha256(content(0)).hexdigest(), crc=crc, CRC=crc.upper())
    (tmp_path / "wrong").write_bytes(b"older")
    items = [(ids[0], "right", text), (ids[1], "wrong", text)]
    results = client.download_many(items, tmp_path, resume=resume)
    assert outcomes(results) == ["done", "failed"]
    error = results[1].error
    assert isinstance(error, DirectIOError) and error.errno == errno.EBADMSG
    assert text.rpartition(":")[2].lower() in str(error) and error.filename == ids[1]
    assert (tmp_path / "wrong").read_bytes() == b"older"
    assert not list(tmp_path.glob(".*.ctera-part"))


@pytest.mark.keeps_partial
def test_what_is_unchanged_is_checked_too(client: DirectIO, ids: list[int], tmp_path: Path) -> None:
    """A checksum that was given later judges the file that is there, and leaves it there."""
    client.download_many([(ids[0], "a")], tmp_path)
    digest = hashlib.sha256(content(0)).hexdigest()
    assert outcomes(client.download_many([(ids[0], "a", digest)], tmp_path)) == ["unchanged"]
    assert outcomes(client.download_many([(ids[0], "a", "0" * 64)], tmp_path)) == ["failed"]
    assert (tmp_path / "a").read_bytes() == content(0)


@pytest.mark.parametrize(
    "text", ["abc", "x" * 64, "md5:" + "0" * 32, "crc32c:" + "0" * 64, ":" + "0" * 8]
)
def test_malformed_checksums(
    portal: Emulator, client: DirectIO, ids: list[int], tmp_path: Path, text: str
) -> None:
    """A malformed checksum fails its item before anything is asked for."""
    (result,) = client.download_many([(ids[0], "a", text)], tmp_path)
    assert isinstance(result.error, ValueError) and "checksum" in str(result.error)
    assert not portal.requests


# --- paths ---------------------------------------------------------------------------------------------

_ESCAPES = [
    "",
    "/etc/x",
    "../x",
    "a/../../x",
    "a\\..\\x",
    "\\\\host\\share\\x",
    "C:\\x",
    "c:x",
    "a\0b",
]
_OTHERS = [".", "a/", "a/.", ".ctera-batch.lock", "d/.a.ctera-part", ".a.ctera-journal"]


@pytest.mark.parametrize("path", _ESCAPES + _OTHERS)
def test_paths_that_are_refused(
    portal: Emulator, client: DirectIO, ids: list[int], tmp_path: Path, path: str
) -> None:
    """A path that might leave the folder, or is none of a file, fails its item alone."""
    folder = tmp_path / "folder"
    results = client.download_many([(ids[0], path), (ids[1], "good")], folder, resume=False)
    assert outcomes(results) == ["failed", "done"]
    assert isinstance(results[0].error, ValueError) and repr(path) in str(results[0].error)
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()] == [
        "folder/good"
    ]


@pytest.mark.parametrize("path", ["a..b", "...", "a/./b", "-", "é\u202e x", "a\\b"])
def test_paths_that_are_odd_but_safe(
    client: DirectIO, ids: list[int], tmp_path: Path, path: str
) -> None:
    """Names that only look dangerous are names."""
    (result,) = client.download_many([(ids[0], path)], tmp_path, resume=False)
    assert result.ok and (tmp_path / path).read_bytes() == content(0)


@pytest.mark.parametrize("path", ["NUL", "com1.txt", "ab:c", "a./b", "b ", "CON/x"])
def test_names_that_windows_reads_otherwise(path: str) -> None:
    """Devices, streams and trailing dots are refused where they mean that, and there alone."""
    check_path(path, windows=False)
    with pytest.raises(ValueError, match="Windows"):
        check_path(path, windows=True)


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege there")
def test_symbolic_links(portal: Emulator, client: DirectIO, ids: list[int], tmp_path: Path) -> None:
    """A link out of the folder is refused, of a file or a folder; one that stays inside is followed."""
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    (folder / "real").mkdir(parents=True)
    (outside / "victim").write_bytes(b"mine")
    (folder / "away").symlink_to(outside)
    (folder / "file").symlink_to(outside / "victim")
    (folder / "inside").symlink_to("real")
    items = [(ids[0], "away/x"), (ids[1], "file"), (ids[2], "inside/x")]
    results = client.download_many(items, folder, resume=False)
    assert outcomes(results) == ["failed", "failed", "done"]
    assert all("symbolic link" in str(result.error) for result in results[:2])
    assert sorted(os.listdir(outside)) == ["victim"]
    assert (outside / "victim").read_bytes() == b"mine"
    assert (folder / "real" / "x").read_bytes() == content(2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names there")
def test_what_is_no_file_is_not_written_to(
    client: DirectIO, ids: list[int], tmp_path: Path
) -> None:
    """A pipe or a folder in the place of a file fails the item, and does not hang."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    results = client.download_many([(ids[0], "pipe"), (ids[1], "folder")], tmp_path)
    assert outcomes(results) == ["failed", "failed"]
    assert all(isinstance(result.error, FileExistsError) for result in results)


def test_duplicates(client: DirectIO, ids: list[int], tmp_path: Path) -> None:
    """The first item of a path has it; others fail, however they write it."""
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d")
    items = [(ids[0], "d/a"), (ids[1], "d/./a"), (ids[2], "link/a")]
    results = client.download_many(items, tmp_path, resume=False)
    assert outcomes(results) == ["done", "failed", "failed"]
    assert all("item 1 of this batch" in str(result.error) for result in results[1:])
    assert (tmp_path / "d" / "a").read_bytes() == content(0)


# --- arguments -----------------------------------------------------------------------------------------


def test_values_that_cannot_be_fail_their_item(
    client: DirectIO, ids: list[int], tmp_path: Path
) -> None:
    """An ID or a path of the wrong kind is that item's own failure."""
    items: list[Any] = [
        ("12", "a"),
        (-1, "b"),
        (ids[0], 5),
        (ids[0], None),
        (ids[1], Path("d") / "c"),
    ]
    results = client.download_many(items, tmp_path, resume=False)
    assert outcomes(results) == ["failed"] * 4 + ["done"]
    assert [type(result.error) for result in results[:4]] == [
        TypeError,
        ValueError,
        TypeError,
        TypeError,
    ]


@pytest.mark.parametrize("item", [5, "ab", (1,), (1, "a", None, 2), [1, "a"]])
def test_items_of_another_shape(client: DirectIO, tmp_path: Path, item: Any) -> None:
    """An object that is not an item is a mistake of the program, and raises before anything begins."""
    with pytest.raises(TypeError, match="file_id, path"):
        client.download_many([item], tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("max_files", "kind"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)]
)
def test_max_files_that_cannot_be(
    client: DirectIO, tmp_path: Path, max_files: Any, kind: type[Exception]
) -> None:
    """max_files is a number from 1."""
    with pytest.raises(kind):
        client.download_many([], tmp_path, max_files=max_files)


def test_folder_that_cannot_be(client: DirectIO, ids: list[int], tmp_path: Path) -> None:
    """A folder that is a file raises, as no item could succeed."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        client.download_many([(ids[0], "a")], tmp_path / "file")


def test_closed_client(client: DirectIO, tmp_path: Path) -> None:
    """A closed client begins no batch."""
    client.close()
    with pytest.raises(ValueError, match="closed"):
        client.download_many([(1, "a")], tmp_path)


# --- one batch per folder ------------------------------------------------------------------------------


def test_one_batch_per_folder(
    portal: Emulator, client: DirectIO, ids: list[int], tmp_path: Path, aside: ThreadPoolExecutor
) -> None:
    """A second batch in the folder is refused while the first is at work; other folders are free."""
    held = portal.faults.add("storage", ids[0], block=3, action=faults.stall())
    first = aside.submit(client.download_many, [(ids[0], "a")], tmp_path, resume=False)
    assert held.wait()
    with pytest.raises(BlockingIOError, match="another batch") as caught:
        client.download_many([(ids[1], "b")], tmp_path)
    assert caught.value.filename == str(tmp_path)
    elsewhere = client.download_many([(ids[1], "b")], tmp_path / "sub", resume=False)
    held.release()
    assert outcomes(first.result(10) + elsewhere) == ["done", "done"]
    assert outcomes(client.download_many([(ids[1], "b")], tmp_path, resume=False)) == ["done"]


def test_a_lock_that_was_left_is_no_lock(client: DirectIO, ids: list[int], tmp_path: Path) -> None:
    """The lock file of a process that died does not hinder another."""
    (tmp_path / ".ctera-batch.lock").write_bytes(b"")
    assert outcomes(client.download_many([(ids[0], "a")], tmp_path, resume=False)) == ["done"]
    assert os.listdir(tmp_path) == ["a"]


# --- ends ----------------------------------------------------------------------------------------------


@pytest.mark.keeps_partial
@pytest.mark.parametrize("where", ["portal", "storage"])
def test_closing_ends_a_batch(
    portal: Emulator,
    make_client: Callable[..., DirectIO],
    ids: list[int],
    tmp_path: Path,
    aside: ThreadPoolExecutor,
    where: str,
) -> None:
    """close() lets every item that is not done fail at once, waiting and begun ones alike."""
    held = portal.faults.add(where, ids[1], times=None, action=faults.stall())
    client = make_client()
    items = [(ids[0], "a"), (ids[1], "b"), (ids[2], "c")]
    batch = aside.submit(client.download_many, items, tmp_path, max_files=1)
    assert held.wait()
    client.close()
    results = batch.result(10)
    assert outcomes(results) == ["done", "failed", "failed"]
    for result in results[1:]:
        assert isinstance(result.error, DirectIOError) and result.error.errno == errno.ECANCELED
    assert not (tmp_path / "b").exists()
    again = make_client()
    held.release()
    assert outcomes(again.download_many(items, tmp_path)) == ["unchanged", "done", "done"]


def test_an_exception_of_progress_ends_a_batch(
    portal: Emulator, client: DirectIO, ids: list[int], tmp_path: Path
) -> None:
    """What progress raises comes out, after all that was under way has ended; the client stays usable."""
    held = portal.faults.add("storage", ids[1], times=None, action=faults.stall())

    class Enough(Exception):
        """The caller's own."""

    def refuse(item: BatchItem, done: int, total: int) -> None:
        assert held.wait()
        raise Enough

    with pytest.raises(Enough):
        client.download_many([(i, f"f{i}") for i in ids], tmp_path, resume=False, progress=refuse)
    assert not any("direct-batch" in thread.name for thread in threading.enumerate())
    assert not (tmp_path / ".ctera-batch.lock").exists()
    held.release()
    client.download(ids[1], tmp_path / "after")


_INTERRUPTED = """
import signal, sys
from ctera_direct_sync import DirectIO
# A shell that starts the tests in the background has the signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
with DirectIO(sys.argv[1], sys.argv[2], sys.argv[3]) as client:
    try:
        client.download_many([(int(i), i) for i in sys.argv[5:]], sys.argv[4], max_files=2)
    except KeyboardInterrupt:
        sys.exit(42)
"""


@pytest.mark.keeps_partial
@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise there")
def test_interrupted(portal: Emulator, client: DirectIO, ids: list[int], tmp_path: Path) -> None:
    """Ctrl-C ends a batch whose downloads all hang; nothing half has a final name, and it goes on."""
    held = portal.faults.add("storage", block=5, times=None, action=faults.stall())
    keys = [portal.url, portal.access_key_id, portal.secret_access_key]
    command = [sys.executable, "-c", _INTERRUPTED, *keys, str(tmp_path), *map(str, ids)]
    with subprocess.Popen(command) as process:
        try:
            assert held.wait(2, timeout=30)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 42
        finally:
            process.kill()
    assert {name[:1] for name in os.listdir(tmp_path)} == {"."}
    held.release()
    portal.faults.clear()
    before = blocks_fetched(portal)
    results = client.download_many([(i, str(i)) for i in ids], tmp_path)
    assert outcomes(results) == ["done"] * 3
    assert blocks_fetched(portal) - before < 60
