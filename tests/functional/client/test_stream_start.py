"""Each way in that somebody waits for makes way for itself, and gives it back with its first bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync._core import core_of
from ctera_direct_sync._engine.stream_start import StreamStartWindow
from ctera_direct_sync.emulator import Emulator, SyntheticSource

DATA = SyntheticSource(20_000, seed=1).read(0, 20_000)


class Noted(StreamStartWindow):
    """Steps that last until they are ended, and a note of each call."""

    def __init__(self) -> None:
        super().__init__(step=600)
        self.calls: list[str] = []

    def open(self) -> None:
        super().open()
        self.calls.append("open")

    def close(self) -> None:
        super().close()
        self.calls.append("close")


def _open(client: DirectIO, file_id: int) -> None:
    with client.open(file_id) as file:
        file.read(10)
        file.read(10)


WAYS: dict[str, tuple[Callable[[DirectIO, int], Any], list[str]]] = {
    # Before the listing, and with the start.
    "stream": (lambda client, file_id: next(client.stream(file_id)), ["open", "open", "close"]),
    "to a file object": (
        lambda client, file_id: client.download(file_id, io.BytesIO()),
        ["open", "close"],
    ),
    # The second read finds its block in the cache.
    "open": (_open, ["open", "close"]),
    "spans": (
        lambda client, file_id: (
            core_of(client).read_spans(client.metadata(file_id), [(5, 15)]).read(fail_fast=True)
        ),
        ["open", "close"],
    ),
    "blocks": (lambda client, file_id: [each.result() for each in client.blocks(file_id)], []),
    "iter_blocks": (lambda client, file_id: list(client.iter_blocks(file_id)), []),
}


@pytest.mark.parametrize("way", WAYS)
def test_makes_way(portal: Emulator, client: DirectIO, way: str) -> None:
    """Bulk work is held up by what somebody waits for, until that is there, and by nothing else."""
    noted = core_of(client).engine._window = Noted()
    call, expected = WAYS[way]
    call(client, portal.add(DATA, block_size=1000))
    assert noted.calls == expected
    assert noted.remaining() <= 0
