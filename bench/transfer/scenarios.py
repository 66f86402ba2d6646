"""What is measured: a function for each table of the report, which it returns as plain data."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

from corpus import (
    KIB,
    MIB,
    SMALL_FILES,
    SNAPPY_2K,
    SNAPPY_4M,
    SNAPPY_512K,
    TINY_FILES,
    WHOLE,
    File,
    listed,
    of_size,
)
from measure import Bench, Result, Run, cpu, rate
from system import WORK, say

Data = dict[str, Any]

WORKERS = [1, 2, 4, 8, 16, 32]
GIB = KIB * MIB

#: Blocks that each worker gets where answers are slow: enough to be in full swing.
_SLOW_ROUNDS = 64
_LOW_MEMORY = {"memory": 16 * MIB}


def formats(bench: Bench) -> Data:
    """A file of a GiB in each format, over HTTP and HTTPS."""
    names = [name for name in WHOLE if "native" not in name]
    rows = [(name, "http") for name in names]
    rows += [(name, "https") for name in names if "256" not in name]
    if bench.quick:
        rows = [
            ("snappy 512 KiB", "http"),
            ("snappy 4 MiB", "http"),
            ("gzip 4 MiB", "http"),
            ("plain 4 MiB", "http"),
            ("snappy 4 MiB", "https"),
        ]
    return {title(*row): one_format(bench, *row) for row in rows}


def _long(name: str) -> File:
    """A GiB in that format: 256 MiB are over in a tenth of a second, much of it the first connections."""
    return of_size(GIB, WHOLE[name].dataset)


def title(name: str, origin: str) -> str:
    """The name of a row."""
    return f"{name}, HTTPS" if origin == "https" else name


def one_format(
    bench: Bench,
    name: str,
    origin: str = "http",
    way: str = "iter_blocks",
    workers: int | None = None,
    only: str = "",
) -> dict[str, Result]:
    """One row: each client by its fastest way to have all blocks, whatever their order."""
    file = _long(name)
    clients: dict[str, Run] = {
        "cterasdk": bench.peer("blocks", [file], origin=origin),
        **bench.pair("ours", way, [file], origin=origin, workers=workers),
        "C": bench.floor(file, origin=origin),
    }
    if only:
        clients = {client: clients[client] for client in only.split(",")}
    results = bench.best(title(name, origin), clients, expect=file.size)
    ours = results.get("ours")
    if ours is not None:
        say(
            f"{'':>26}"
            + "".join(
                f"{rate(ours) / rate(other):8.2f}x {client} (CPU {cpu(ours) / cpu(other):.2f}x)"
                for client, other in results.items()
                if other is not ours
            )
        )
    return results


def ways(bench: Bench) -> Data:
    """Each way in, over the same files."""
    names = ["snappy 4 MiB"] if bench.quick else ["snappy 512 KiB", "snappy 4 MiB", "plain 4 MiB"]
    table = {}
    for name in names:
        file = _long(name)
        clients: dict[str, Run] = {}
        for way in ("iter_blocks", "download", "stream", "blocks"):
            clients.update(bench.pair(way, way, [file]))
        # Commits before read_into have the second one alone, so neither is compared with them.
        for way in ("read_into", "stream_and_join"):
            clients[way] = bench.ours(way, [file])
        clients["writing a file alone"] = bench.ours("write_alone", [file])
        clients["cterasdk stream"] = bench.peer("stream", [file])
        table[name] = bench.best(name, clients, expect=file.size)
    return table


def requests(bench: Bench) -> Data:
    """Small blocks and small files, where the cost of a request is all that counts."""
    small = SMALL_FILES[:200] if bench.quick else SMALL_FILES
    one_block = [listed(1)] * (50 if bench.quick else 500)
    rows: list[tuple[str, list[File], int]] = [
        ("one file of 1,024 blocks of 256 KiB", [WHOLE["snappy 256 KiB"]], 1),
        (f"{len(small):,} files of 1 MiB, 8 callers", small, 8),
        (f"a file of one block, {len(one_block)} times", one_block, 1),
    ]
    return {
        name: bench.best(
            name,
            {
                "cterasdk": bench.peer("blocks", files, callers=callers),
                **bench.pair("ours", "iter_blocks", files, callers=callers),
            },
            expect=sum(file.size for file in files),
        )
        for name, files, callers in rows
    }


def small(bench: Bench) -> Data:
    """Tiny blocks and tiny files, where what happens for each of them is all that counts."""
    file, tiny = File(20, SNAPPY_2K), TINY_FILES[:200] if bench.quick else TINY_FILES
    return {
        "blocks of 2 KiB, iter_blocks, one worker": bench.best(
            "2 KiB, one worker",
            bench.pair("ours", "iter_blocks", [file], workers=1),
            expect=file.size,
        ),
        f"{len(tiny):,} files of 2 KiB, download": bench.best(
            "tiny files",
            bench.pair("ours", "download", tiny),
            expect=sum(each.size for each in tiny),
        ),
        "blocks of 2 KiB, iter_blocks, HTTPS": bench.best(
            "2 KiB, HTTPS",
            bench.pair("ours", "iter_blocks", [file], origin="https"),
            expect=file.size,
        ),
    }


def first_block(bench: Bench) -> Data:
    """How soon a stream's first block comes, idle and while a thousand other blocks are under way."""
    results = bench.first_block(file=listed(8), one_block=listed(1), bulk=listed(1000))
    say(
        f"{'first block':>26}  idle {results['idle']:.1f} ms, "
        f"busy {results['busy']:.1f} ms ({results['busy_samples']} samples)"
    )
    return results


def workers(bench: Bench) -> Data:
    """Throughput by max_workers, None being the engine's own choice."""
    numbers: list[int | None] = [1, 4, 16, None] if bench.quick else [*WORKERS, None]
    table: Data = {}
    for name in ("snappy 512 KiB", "snappy 4 MiB"):
        file = _long(name)
        clients: dict[str, Run] = {}
        for number in numbers:
            clients.update(bench.pair(str(number), "iter_blocks", [file], workers=number))
        table[name] = bench.best(name, clients, expect=file.size)
    if "slow" in bench.server.origins:
        clients = {}
        for number in numbers:
            files = [listed(_SLOW_ROUNDS * (number or 32))]
            clients.update(
                bench.pair(str(number), "iter_blocks", files, origin="slow", workers=number)
            )
        table["slow"] = bench.best("20 ms latency", clients, rounds=1 if bench.quick else 2)
    else:
        say("no curve with latency: nginx has no module ngx_http_echo (Debian: nginx-light)")
    return table


def memory(bench: Bench) -> Data:
    """Resident memory of transfers that are far larger than it."""
    size = GIB if bench.quick else 4 * GIB
    fine, large = of_size(size, SNAPPY_512K), of_size(size, SNAPPY_4M)
    gib = of_size(GIB, SNAPPY_4M)
    whole = f"{size // GIB} GiB"
    runs: dict[str, Run] = {
        **bench.pair(f"stream, {whole} in 512 KiB blocks", "stream", [fine]),
        **bench.pair(f"stream, {whole} in 4 MiB blocks", "stream", [large]),
        **bench.pair(f"download, {whole} in 512 KiB blocks", "download", [fine]),
        **bench.pair(f"download, {whole} in 4 MiB blocks", "download", [large]),
        **bench.pair(
            f"stream, {whole} in 4 MiB blocks, settings.memory 16 MiB",
            "stream",
            [large],
            settings=_LOW_MEMORY,
        ),
        **bench.pair(
            f"download, {whole} in 4 MiB blocks, settings.memory 16 MiB",
            "download",
            [large],
            settings=_LOW_MEMORY,
        ),
        **bench.pair(
            f"open, 1,000 random reads of 64 KiB in {whole}", "random_reads", [large], reads=1000
        ),
        "cterasdk blocks, 1 GiB in 4 MiB blocks": bench.peer("blocks", [gib]),
        "cterasdk stream, 1 GiB in 4 MiB blocks": bench.peer("stream", [gib]),
    }
    table = {}
    for name, run in runs.items():
        table[name] = run()
        say(f"{name:>70}  {table[name]['maxrss'] / 1e6:7.0f} MB  {rate(table[name]):6.0f} MB/s")
    return table


def native(bench: Bench) -> Data:
    """One object of 1 GiB that is the file's bytes: whole, and a megabyte of it."""
    file = WHOLE["native 1 GiB"]
    clients = {
        **bench.pair("iter_blocks", "iter_blocks", [file]),
        **bench.pair("download", "download", [file]),
        "C": bench.floor(file),
    }
    if not bench.quick:
        clients["cterasdk"] = bench.peer("blocks", [file])
    table: Data = {"whole": bench.best("native 1 GiB", clients, expect=file.size)}
    before = bench.server.bytes_sent()
    start = 300 * MIB + 12_345
    part = bench.ours("stream", [file], origin="logged", range=[start, start + 999_999])()
    time.sleep(0.2)  # nginx logs an answer after its last byte is sent.
    sent = bench.server.bytes_sent() - before
    listing = len(file.listing(bench.server.origins["logged"]))
    table["range"] = {"wanted": part["bytes"], "sent": sent - listing}
    say(f"{'1 MB of it':>26}  {sent - listing:,} bytes sent for {part['bytes']:,}")
    return table


def timeline(bench: Bench) -> Data:
    """The events of a new client's first download."""
    with tempfile.NamedTemporaryFile(dir=WORK, suffix=".json") as file:
        result = bench.ours("download", [listed(64, SNAPPY_4M)], events=file.name, workers=4)()
        return {"seconds": result["seconds"], "events": json.loads(Path(file.name).read_text())}


SCENARIOS: dict[str, Callable[[Bench], Data]] = {
    scenario.__name__: scenario
    for scenario in (formats, ways, requests, small, first_block, workers, memory, native, timeline)
}

#: What a look of a minute holds.
QUICK = ["formats", "ways", "first_block"]
