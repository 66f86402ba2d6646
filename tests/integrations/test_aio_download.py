"""``aio.download``: as ``DirectIO.download``, without blocking the loop, and with a clean cancellation."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import ByteRange, DirectIO, DirectIOError, Download, NotFoundError, aio
from ctera_direct_sync._core import core_of
from ctera_direct_sync.emulator import Emulator, SyntheticSource, faults
from tests.support.loops import Ticks, run, until

from .test_aio import bridge_threads

DATA = SyntheticSource(50_000, seed=5).read(0, 50_000)


@pytest.fixture
def file_id(portal: Emulator) -> int:
    """DATA in five blocks."""
    return portal.add(DATA, block_size=10_000)


def test_to_a_path(client: DirectIO, file_id: int, tmp_path: Path) -> None:
    """A download to a path gives what ``DirectIO.download`` gives."""
    done = run(aio.download(client, file_id, tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert (done.size, done.crc32c) == client.download(file_id, io.BytesIO())[1:3]


def test_range_to_a_file_object(client: DirectIO, file_id: int) -> None:
    """A range goes to a file object."""
    target = io.BytesIO()
    done = run(aio.download(client, file_id, target, byte_range=ByteRange(5_000, 25_000)))
    assert target.getvalue() == DATA[5_000:25_001]
    assert (done.path, done.size) == (None, 20_001)


def test_error(client: DirectIO, tmp_path: Path) -> None:
    """What the portal refuses is raised as itself, and nothing is written."""
    with pytest.raises(NotFoundError):
        run(aio.download(client, 99, tmp_path / "a.bin"))
    assert list(tmp_path.iterdir()) == []


def test_arguments(client: DirectIO, file_id: int) -> None:
    """Wrong arguments are refused before anything is sent."""
    with pytest.raises(TypeError):
        run(aio.download(client, file_id, io.BytesIO(), byte_range=(0, 9)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_workers"):
        run(aio.download(client, file_id, io.BytesIO(), max_workers=0))
    with pytest.raises(TypeError, match="progress"):
        run(aio.download(client, file_id, io.BytesIO(), progress=5))  # type: ignore[arg-type]


@pytest.mark.parametrize("where", ["portal", "storage"])
@pytest.mark.parametrize("kind", ["path", "file object"])
def test_cancelled(
    client: DirectIO, portal: Emulator, file_id: int, tmp_path: Path, where: str, kind: str
) -> None:
    """A cancelled download ends at once. Its part file is gone, and nothing writes any more."""
    held = portal.faults.add(where, times=None, action=faults.stall())
    target: Any = tmp_path / "a.bin" if kind == "path" else io.BytesIO()

    async def begin() -> None:
        task = asyncio.ensure_future(aio.download(client, file_id, target))
        await asyncio.to_thread(held.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for thread in bridge_threads():
            thread.join(20)
        assert not bridge_threads()

    run(begin())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.keeps_partial
def test_cancelled_and_resumed(
    client: DirectIO, portal: Emulator, file_id: int, tmp_path: Path
) -> None:
    """With ``resume``, the next call fetches only what is missing."""
    held = portal.faults.add("storage", block=5, times=1, action=faults.stall())
    seen: list[int] = []

    async def begin() -> Download:
        task = asyncio.ensure_future(
            aio.download(
                client, file_id, tmp_path / "a.bin", resume=True,
                progress=lambda done, total: seen.append(done),
            )
        )  # fmt: skip
        await asyncio.to_thread(held.wait)
        await until(lambda: 40_000 in seen)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        portal.faults.clear()
        portal.log.clear()
        return await aio.download(client, file_id, tmp_path / "a.bin", resume=True)

    assert run(begin()).size == 50_000
    assert [each.block for each in portal.log.records(where="storage")] == [5]
    assert (tmp_path / "a.bin").read_bytes() == DATA


class _StuckTarget(io.BytesIO):
    """A target whose `write` waits."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def write(self, data: Any) -> int:
        """Wait, and write."""
        self.entered.set()
        assert self.go_on.wait(20)
        return super().write(data)


def test_cancellation_waits_for_the_target_once(client: DirectIO, file_id: int) -> None:
    """A cancelled download waits for a `write` under way. A second cancellation does not."""
    target = _StuckTarget()

    async def begin() -> None:
        task = asyncio.ensure_future(aio.download(client, file_id, target))
        await asyncio.to_thread(target.entered.wait)
        task.cancel()
        for _ in range(100):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        target.go_on.set()
        for thread in bridge_threads():
            await asyncio.to_thread(thread.join, 20)

    run(begin())
    assert len(target.getvalue()) <= 10_000


def test_client_closed_meanwhile(
    client: DirectIO, portal: Emulator, file_id: int, tmp_path: Path
) -> None:
    """Closing the client ends a download by an error."""
    held = portal.faults.add("storage", times=None, action=faults.stall())

    async def begin() -> None:
        task = asyncio.ensure_future(aio.download(client, file_id, tmp_path / "a.bin"))
        await asyncio.to_thread(held.wait)
        await asyncio.to_thread(client.close)
        with pytest.raises(DirectIOError, match="closed"):
            await task

    run(begin())
    assert list(tmp_path.iterdir()) == []


def test_progress_runs_on_the_loop(client: DirectIO, file_id: int) -> None:
    """Progress is told on the loop's thread, never goes back, and ends with the whole."""
    told: list[tuple[int, int]] = []
    threads: set[int] = set()

    def report(done: int, total: int) -> None:
        threads.add(threading.get_ident())
        told.append((done, total))

    run(aio.download(client, file_id, io.BytesIO(), progress=report))
    assert told == sorted(told)
    assert told[-1] == (50_000, 50_000)
    assert threads == {threading.get_ident()}


def test_progress_that_raises(
    make_client: Callable[..., DirectIO], portal: Emulator, tmp_path: Path
) -> None:
    """What the progress function raises ends the download, and is raised."""
    client = make_client()
    file_id = portal.add(DATA, block_size=10_000)
    held = portal.faults.add("storage", block=5, times=None, action=faults.stall())

    def report(done: int, total: int) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        run(aio.download(client, file_id, tmp_path / "a.bin", progress=report))
    held.release()
    assert list(tmp_path.iterdir()) == []


def test_loop_runs_on(client: DirectIO, portal: Emulator, file_id: int, tmp_path: Path) -> None:
    """While a download waits, the loop runs other tasks as if it were alone."""
    held = portal.faults.add("storage", times=1, action=faults.stall())

    async def begin() -> None:
        async with Ticks().counted() as ticks:
            task = asyncio.ensure_future(aio.download(client, file_id, tmp_path / "a.bin"))
            await asyncio.to_thread(held.wait)
            seen = ticks.count
            await until(lambda: ticks.count > seen + 1000)
            held.release()
            await task

    run(begin())


def test_short_download_raises(
    client: DirectIO, file_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size is compared once more: a short download is an error."""
    short = Download(None, 49_999, 0, 0.0)
    monkeypatch.setattr(core_of(client), "download", lambda *args, **kwargs: short)
    with pytest.raises(DirectIOError, match="49999 of 50000"):
        run(aio.download(client, file_id, io.BytesIO()))
