"""The fault matrix by the vendor's asynchronous client, for a column beside ours.

``python -m bench.faults.peer`` takes minutes and writes ``peer.json``. From that file
``tests/faults/report.py`` makes the last column of the page. The column tells of the vendor's streamer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

from tests.faults.cells import Worlds
from tests.faults.matrix import ROWS, Cell, Row

RESULTS = Path(__file__).with_name("peer.json")

#: Its read timeout, in whole seconds, which is all that it takes.
_SILENCE = 1

#: Seconds after which a cell is called endless: many times what any needs.
PATIENCE = 20.0


async def _stream(url: str, access_key_id: str, secret: str, file_id: int) -> bytes:
    from cterasdk.direct.client import DirectIO

    async with DirectIO(url, access_key_id, secret) as client:
        streamer = await client.streamer(file_id)
        return b"".join([bytes(block.data) async for block in streamer.start()])


def _run(worlds: Worlds, row: Row) -> str:
    with worlds.world(Cell(row, "stream")) as world:
        keys = world.emulator.access_key_id, row.secret or world.emulator.secret_access_key
        work = _stream(world.emulator.url, *keys, world.file_id)
        try:
            data = asyncio.run(asyncio.wait_for(work, PATIENCE))
        except asyncio.TimeoutError:
            return f"nothing within {PATIENCE:.0f} s"
        except Exception as error:
            cause = error.__cause__
            name = type(error).__name__
            return f"{name} ({type(cause).__name__})" if cause is not None else name
    if data == row.data:
        return "recovered"
    return "fewer bytes, no error" if row.data.startswith(data) else "wrong bytes, no error"


def _impatient() -> None:
    """The peer's timeouts cut to about the matrix's, so that it is compared in what it does."""
    import cterasdk.settings

    for kind in (cterasdk.settings.io.direct.api, cterasdk.settings.io.direct.storage):
        timeout = kind.settings.timeout
        timeout.sock_connect, timeout.sock_read = 2, _SILENCE


async def _no_sleep(_: float) -> None:
    """In place of the peer's pauses between its attempts."""


def main() -> int:
    """Run all rows, and write what came of them."""
    import cterasdk.lib.retries

    logging.disable(logging.CRITICAL)
    _impatient()

    class _Asyncio:
        sleep = staticmethod(_no_sleep)

        def __getattr__(self, name: str) -> Any:
            return getattr(asyncio, name)

    cterasdk.lib.retries.asyncio = _Asyncio()
    results: dict[str, str] = {}
    with Worlds() as worlds:
        for row in ROWS:
            results[f"{row.group}: {row.name}"] = outcome = _run(worlds, row)
            print(f"{row.group}: {row.name}: {outcome}", flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
