"""A download that ends without an error has written every byte, whatever ended what it came from."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import DirectIO, DirectIOError, StreamError
from ctera_direct_sync._engine.engine import Engine
from ctera_direct_sync._readers import download
from ctera_direct_sync._readers.folders import Place
from ctera_direct_sync._readers.part_file import DownloadPlan, PartFile
from ctera_direct_sync._readers.stream import Streamer
from ctera_direct_sync.emulator import Emulator, SyntheticSource
from ctera_direct_sync.types import Block, Metadata

SIZE = 20_000
DATA = SyntheticSource(SIZE, seed=9).read(0, SIZE)


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """A file of 20 blocks."""
    return portal.add(DATA, block_size=1000)


def test_closed_amid_a_download_to_a_path(
    make_client: Callable[..., DirectIO], file_id: int, tmp_path: Path
) -> None:
    """close() from another thread, while the caller is slow, is told as what it is."""
    client = make_client()

    def close(done: int, total: int) -> None:
        if done >= 1000:
            thread = threading.Thread(target=client.close)
            thread.start()
            thread.join()

    with pytest.raises(DirectIOError, match="lient was closed") as caught:
        client.download(file_id, tmp_path / "a", progress=close)
    assert caught.value.errno == errno.ECANCELED
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("missing", ["first", "middle", "last", "all"])
def test_engine_that_loses_a_piece(
    client: DirectIO, file_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Jobs that never come out of the engine, without an error, do not make a whole file."""
    original = download.as_completed
    lost = {"first": {0}, "middle": {9}, "last": {19}, "all": set(range(20))}[missing]

    def lose(engine: Engine, transfer: Any) -> Iterator[Any]:
        for job in original(engine, transfer):
            if job.piece.block not in lost:
                yield job

    monkeypatch.setattr(download, "as_completed", lose)
    with pytest.raises(DirectIOError, match="nothing was put in place"):
        client.download(file_id, tmp_path / "a")
    assert os.listdir(tmp_path) == []
    (result,) = client.download_many([(file_id, "a")], tmp_path, resume=False)
    assert result.outcome == "failed"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["short", "empty", "gap", "twice", "long"])
def test_stream_that_is_not_whole(
    client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A stream that ends early without an error, leaves out, repeats or adds bytes is an error here."""
    original = Streamer.start

    def cut(streamer: Streamer) -> Iterator[Block]:
        blocks = list(original(streamer))
        if kind == "short":
            blocks = blocks[:-1]
        elif kind == "empty":
            blocks = []
        elif kind == "gap":
            del blocks[3]
        elif kind == "twice":
            blocks[3] = blocks[2]
        else:
            blocks.append(blocks[-1]._replace(offset=SIZE))
        return iter(blocks)

    monkeypatch.setattr(Streamer, "start", cut)
    file, steps = io.BytesIO(), []
    with pytest.raises(StreamError) as caught:
        client.download(file_id, file, progress=lambda done, total: steps.append(done))
    # What was written is right, as far as the error says.
    assert file.getvalue() == DATA[: caught.value.offset]
    assert steps[-1] == caught.value.offset == len(file.getvalue())


def test_writing_after_the_end(tmp_path: Path) -> None:
    """A worker that comes late cannot write into a descriptor that is another file's by then."""
    plan = DownloadPlan(Metadata(1, 10, []), 0, 10)
    with Place.of(str(tmp_path / "a")) as place:
        with PartFile(place, plan, resume=False) as part_file:
            part_file.recover(lambda: None)
            number = part_file._file.fd
        other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
        try:
            assert other == number
            with pytest.raises(ValueError, match="takes no more pieces"):
                part_file.write(0, b"x", 0)
            assert os.fstat(other).st_size == 0
        finally:
            os.close(other)


def test_second_interrupt_while_workers_write(
    client: DirectIO, file_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C twice: the worker that still writes does so into the part file, and into no other file."""
    pwrite, writing, go_on = os.pwrite, threading.Event(), threading.Event()
    drain, drained = Engine.drain, []
    workers: list[threading.Thread] = []

    def slow(fd: int, data: Any, offset: int) -> int:
        if offset == 1000:
            workers.append(threading.current_thread())
            writing.set()
            assert go_on.wait(20)
        return pwrite(fd, data, offset)

    def interrupt_first(done: int, total: int) -> None:
        if done:
            assert writing.wait(20)
            raise KeyboardInterrupt

    def interrupt_again(engine: Engine, transfer: Any) -> None:
        drained.append((engine, transfer))
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "pwrite", slow)
    monkeypatch.setattr(Engine, "drain", interrupt_again)
    with pytest.raises(KeyboardInterrupt):
        client.download(file_id, tmp_path / "a", progress=interrupt_first)
    others = [(tmp_path / f"other{number}").open("wb") for number in range(20)]
    with pytest.raises(BlockingIOError):
        client.download(file_id, tmp_path / "a")
    go_on.set()
    ((engine, transfer),) = drained
    drain(engine, transfer)
    for other in others:
        other.close()
    assert all((tmp_path / f"other{number}").stat().st_size == 0 for number in range(20))
    assert not list(tmp_path.glob(".*"))
    monkeypatch.undo()
    client.download(file_id, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == DATA


def test_closed_while_a_worker_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The descriptor stays open until the write under way has ended; the lock goes with it."""
    plan = DownloadPlan(Metadata(1, 10, []), 0, 10)
    pwrite, writing, go_on = os.pwrite, threading.Event(), threading.Event()

    def slow(fd: int, data: Any, offset: int) -> int:
        writing.set()
        assert go_on.wait(30)
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    with Place.of(str(tmp_path / "a")) as place:
        with PartFile(place, plan, resume=False) as part_file:
            part_file.recover(lambda: None)
            number = part_file._file.fd
            worker = threading.Thread(target=part_file.write, args=(0, b"0123456789", 0))
            worker.start()
            assert writing.wait(30)
        os.fstat(number)
        with pytest.raises(BlockingIOError), PartFile(place, plan, resume=False):
            pass
        go_on.set()
        worker.join(30)
        with pytest.raises(OSError):
            os.fstat(number)
        assert os.listdir(tmp_path) == []
        with PartFile(place, plan, resume=False):
            pass
