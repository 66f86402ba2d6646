"""Measures the contenders, and says what came out."""

from __future__ import annotations

import os
import threading
import time
from typing import NamedTuple

import contenders
from blocks import COMBINATIONS, CORPUS, KEY, Combination, Stored, store, text

from ctera_direct_sync.codec import native

SIZES = {"4 MiB": 4 << 20, "512 KiB": 512 << 10, "256 KiB": 256 << 10}
RIVALS = {
    "ours": contenders.ours,
    "ours, reused": contenders.ours_into,
    "cterasdk": contenders.peer,
    "PyPI": contenders.glued,
    "stock C": contenders.stock(),
}
THREADS = 2


class Row(NamedTuple):
    """Plaintext MB/s of each contender; what two threads do of one's; how compressed the data is."""

    combination: str
    data: str
    size: str
    speeds: dict[str, float]
    scaling: float
    ratio: float


def measure(rounds: int, only: str | None) -> list[Row]:
    """Every combination, data and size."""
    rows = []
    corpora = {"text": text(), "random": os.urandom(CORPUS)}
    for combination in COMBINATIONS:
        if only and only.lower() not in combination.name.lower():
            continue
        for data, corpus in corpora.items():
            for size, length in SIZES.items():
                blocks = store(combination, corpus, length)
                rows.append(_row(combination, data, size, blocks, rounds))
                print(".", end="", flush=True)
    print()
    return rows


def _row(combination: Combination, data: str, size: str, blocks: list[Stored], rounds: int) -> Row:
    able = {}
    for name, decode in RIVALS.items():
        plain = decode(combination, blocks[0])
        if plain is not None:
            assert bytes(plain)[: len(blocks[0].plain)] == blocks[0].plain, (combination, name)
            able[name] = decode
    best = dict.fromkeys(able, float("inf"))
    alone = both = float("inf")
    for _ in range(rounds):
        for name, decode in able.items():
            best[name] = min(best[name], _time_on_a_thread(combination, decode, blocks))
        alone = min(alone, _time_threads(combination, blocks, 1))
        both = min(both, _time_threads(combination, blocks, THREADS))
    total = sum(len(block.plain) for block in blocks)
    return Row(
        combination.name,
        data,
        size,
        {name: total / seconds / 1e6 for name, seconds in best.items()},
        THREADS * alone / both,
        total / sum(len(block.object) for block in blocks),
    )


def _time(combination: Combination, decode: contenders.Decoder, blocks: list[Stored]) -> float:
    start = time.perf_counter()
    for block in blocks:
        decode(combination, block)
    return time.perf_counter() - start


def _time_on_a_thread(
    combination: Combination, decode: contenders.Decoder, blocks: list[Stored]
) -> float:
    """The seconds for all blocks on a worker thread, where real clients decode."""
    seconds = []

    def work() -> None:
        decode(combination, blocks[0])
        seconds.append(_time(combination, decode, blocks))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return seconds[0]


def _time_threads(combination: Combination, blocks: list[Stored], count: int) -> float:
    """So many threads decode all blocks each; the seconds until the last is done."""
    barrier = threading.Barrier(count + 1)

    def work() -> None:
        contenders.ours_into(combination, blocks[0])
        barrier.wait()
        for _ in range(3):
            _time(combination, contenders.ours_into, blocks)
        barrier.wait()

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - start
    for thread in threads:
        thread.join()
    return seconds


def table(rows: list[Row]) -> None:
    """MB/s of each, and ours (a fresh result) against each."""
    names = [name for name in RIVALS if name != "ours"]
    headings = ["block", "data", "size", "ours", *names, "2 threads"]
    print("| " + " | ".join(headings) + " |\n" + "| --- " * len(headings) + "|")
    for row in rows:
        cells = []
        for name in names:
            speed = row.speeds.get(name)
            ours = row.speeds["ours, reused" if name == "stock C" else "ours"]
            cells.append(f"{speed:,.0f} ({ours / speed:.2f}x)" if speed else "")
        print(
            f"| {row.combination} | {row.data} {row.ratio:.1f}x | {row.size} | "
            f"{row.speeds['ours']:,.0f} | " + " | ".join(cells) + f" | {row.scaling:.2f}x |"
        )


def details(rounds: int) -> None:
    """What a call costs beside its bytes, and what the checksums run at."""
    cbc = next(c for c in COMBINATIONS if c.name == "CBC")
    one = store(cbc, b"x", 1)[0]
    calls = 20_000
    costs = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            native.decode(
                one.object, key=KEY, cipher="AES-CBC", compression="NONE", length=1, number=1
            )
        costs.append((time.perf_counter() - start) / calls)
    print(f"\nA one-byte AES-CBC block: {min(costs) * 1e6:.2f} microseconds a call")
    data = os.urandom(4 << 20)
    for name, checksum in (("CRC32C", native.crc32c), ("CRC-64/NVME", native.crc64nvme)):
        seconds = []
        for _ in range(5 * rounds):
            start = time.perf_counter()
            checksum(data)
            seconds.append(time.perf_counter() - start)
        print(f"{name}: {len(data) / min(seconds) / 1e6:,.0f} MB/s")
