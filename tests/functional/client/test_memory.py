"""Memory is bounded by the setting, whatever the file's size and however slow its consumer."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync._core import core_of
from ctera_direct_sync.emulator import Emulator, SyntheticSource

MIB = 1024 * 1024
ROOT = Path(__file__).parents[3]
PROGRAM = "tests.functional.client.programs.stream_slowly"


@pytest.mark.parametrize(
    ("mib", "window", "options"),
    [
        # 64 MiB of memory hold 8 parts of 8 MiB, or, beside their stored objects, 8 blocks of 4 MiB
        # in flight; decoded ones need half as much.
        pytest.param(2048, 8, {"native": True}, id="2 GiB native"),
        pytest.param(192, 12, {"block_size": 4 * MIB}, id="192 MiB encoded"),
    ],
)
def test_slow_consumer(
    portal: Emulator,
    record_property: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    mib: int,
    window: int,
    options: dict[str, Any],
) -> None:
    """Streaming to a consumer that is always behind keeps the process under 200 MB."""
    file_id = portal.add(SyntheticSource(mib * MIB, seed=5), **options)
    environment = {
        "CTERA_DIRECT_ACCESS_KEY_ID": portal.access_key_id,
        "CTERA_DIRECT_SECRET_ACCESS_KEY": portal.secret_access_key,
    }
    done = subprocess.run(
        [sys.executable, "-m", PROGRAM, portal.url, *map(str, (file_id, mib * MIB, 5, window))],
        env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    peak = int(done.stdout)
    record_property("peak_resident_bytes", peak)
    with capsys.disabled():
        print(f"\n{mib} MiB to a slow consumer: peak resident set {peak / 1e6:.0f} MB")
    assert peak < 200e6


def test_stream_holds_no_more_than_the_setting(
    portal: Emulator, make_client: Callable[..., DirectIO]
) -> None:
    """With memory for two blocks, no third is asked for until one is taken."""
    file_id = portal.add(SyntheticSource(10_000), block_size=1000, cipher=None, compression="NONE")
    received: list[int] = []
    client = make_client(
        memory=2000,
        on_event=lambda event: received.append(event.number) if event.name == "received" else None,
    )
    for taken, block in enumerate(client.stream(file_id), 1):
        assert portal.log.total("storage") <= taken + 1
        assert block.number == taken
    assert sorted(received) == list(range(1, 11))


@pytest.mark.parametrize("way", ["stream", "iter_blocks"])
def test_block_larger_than_the_memory_goes_alone(
    portal: Emulator, make_client: Callable[..., DirectIO], way: str
) -> None:
    """Blocks that the setting has no room for are fetched all the same, one at a time."""
    data = SyntheticSource(50_000).read(0, 50_000)
    file_id = portal.add(data, block_size=10_000)
    client = make_client(memory=1)
    blocks = sorted(getattr(client, way)(file_id), key=lambda block: block.offset)
    assert b"".join(block.data for block in blocks) == data
    assert portal.log.most_in_flight("storage") == 1


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
@pytest.mark.parametrize(
    ("environment", "most"),
    [
        pytest.param({}, max(2, min(os.cpu_count() or 1, 8)), id="ours"),
        pytest.param({"MALLOC_ARENA_MAX": "3"}, 3, id="MALLOC_ARENA_MAX"),
        pytest.param({"GLIBC_TUNABLES": "glibc.malloc.arena_max=5"}, 5, id="GLIBC_TUNABLES"),
    ],
)
def test_arenas(environment: dict[str, str], most: int) -> None:
    """Freed memory is kept for many threads in few places; a number that the user set holds."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.functional.client.programs.count_arenas", "24"],
        env={**inherited, **environment}, cwd=ROOT, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) == most


def test_span_is_in_memory_once(portal: Emulator, make_client: Callable[..., DirectIO]) -> None:
    """A range of many blocks costs its own size and the window, not its size again."""
    size, memory = 48 * MIB, 4 * MIB
    file_id = portal.add(SyntheticSource(size, seed=3), block_size=MIB // 2)
    client = make_client(memory=memory)
    metadata = client.metadata(file_id)
    tracemalloc.start()
    try:
        (data,) = core_of(client).read_spans(metadata, [(0, size)]).read(fail_fast=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert data == SyntheticSource(size, seed=3).read(0, size)
    # The emulator is in this process, and has its blocks in memory as well.
    assert peak < 1.8 * size
