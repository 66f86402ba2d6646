"""Clients that the program drops while it still uses what they returned."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from ctera_direct_sync import DirectIO, Settings
from ctera_direct_sync.emulator import Emulator, SyntheticSource

BLOCK = 1000
DATA = SyntheticSource(64 * BLOCK, seed=1).read(0, 64 * BLOCK)


def _stream(client: DirectIO, file_id: int) -> Callable[[], bytes]:
    blocks = client.stream(file_id)
    first = next(blocks).data
    return lambda: first + b"".join(block.data for block in blocks)


def _streamer(client: DirectIO, file_id: int) -> Callable[[], bytes]:
    streamer = client.streamer(file_id)
    return lambda: b"".join(block.data for block in streamer.start())


def _iter_blocks(client: DirectIO, file_id: int) -> Callable[[], bytes]:
    blocks = client.iter_blocks(file_id)
    first = next(blocks)
    return lambda: _join([first, *blocks])


def _blocks(client: DirectIO, file_id: int) -> Callable[[], bytes]:
    futures = client.blocks(file_id)
    return lambda: _join([future.result() for future in futures])


def _executor(client: DirectIO, file_id: int) -> Callable[[], bytes]:
    execute = client.executor(client.metadata(file_id))
    return lambda: _join([future.result() for future in execute()])


def _open(client: DirectIO, file_id: int) -> Callable[[], bytes]:
    file = client.open(file_id)
    first = file.read(BLOCK)

    def rest() -> bytes:
        with file:
            return first + file.read()

    return rest


def _join(blocks: list[Any]) -> bytes:
    return b"".join(block.data for block in sorted(blocks, key=lambda block: block.offset))


@pytest.mark.parametrize("begin", [_stream, _streamer, _iter_blocks, _blocks, _executor, _open])
def test_dropped_client_lives_as_long_as_what_it_returned(
    portal: Emulator, quick: Settings, begin: Callable[[DirectIO, int], Callable[[], bytes]]
) -> None:
    """The collector ends no stream, iteration, future or file whose client the program has dropped."""
    file_id = portal.add(DATA, block_size=BLOCK)
    settings = Settings(**{**vars(quick), "memory": 8 * BLOCK})
    client = DirectIO(portal.url, portal.access_key_id, portal.secret_access_key, settings=settings)
    finish = begin(client, file_id)
    del client
    gc.collect()
    assert finish() == DATA
    del finish
    gc.collect()  # Now nothing uses the client: its threads end.
