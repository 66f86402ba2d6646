"""An interrupt strikes `read_into` at any statement: no thread writes to the buffer afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from ctera_direct_sync import DirectIO
from ctera_direct_sync._core import core_of
from ctera_direct_sync._readers.into import read_into, writable_bytes
from ctera_direct_sync._readers.listed_file import ListedFile
from ctera_direct_sync.emulator import Emulator, SyntheticSource
from tests.support.interrupts import at_statement, interrupt

SIZE = 300
DATA = SyntheticSource(SIZE, seed=1).read(0, SIZE)


def test_interrupt_at_any_statement(
    portal: Emulator, client: DirectIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call waits for its threads, wherever it is struck. The next call works."""
    file = core_of(client).whole(client.metadata(portal.add(DATA, block_size=100)))
    at_work: list[None] = []
    fetch_into = ListedFile.fetch_into

    def fetch(self: ListedFile, *arguments: Any) -> Any:
        at_work.append(None)
        try:
            return fetch_into(self, *arguments)
        finally:
            at_work.pop()

    monkeypatch.setattr(ListedFile, "fetch_into", fetch)
    number = struck = 0
    statements = None
    while statements is None or statements.count >= number:
        number += 1
        buffer = bytearray(SIZE)
        with writable_bytes(buffer) as memory:
            try:
                with at_statement(number, interrupt) as statements:
                    read_into(file, 0, memory)
            except KeyboardInterrupt:
                struck += 1
            assert not at_work
        buffer.append(0)
    assert struck > 50
    buffer.pop()
    assert buffer == DATA
