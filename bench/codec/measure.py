"""Measures the contenders, and says what came out."""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import pickle
import tempfile
import threading
import time
from typing import Any, NamedTuple

import contenders
from blocks import COMBINATIONS, CORPUS, KEY, Combination, Stored, store, text

from ctera_direct_sync.codec import native
from ctera_direct_sync.codec.options import DecodeOptions

SIZES = {"4 MiB": 4 << 20, "512 KiB": 512 << 10, "256 KiB": 256 << 10}
NAMES = ("ours", "ours, unsummed", "ours, reused", "cterasdk", "PyPI", "stock C")
THREADS = 2
PASSES = 3


class Row(NamedTuple):
    """Plaintext MB/s of each contender; what two threads do of one's; how compressed the data is."""

    combination: str
    data: str
    size: str
    speeds: dict[str, float]
    scaling: float
    ratio: float


class Player:
    """A contender in a process of its own, where it meets no other's memory; it plays when asked."""

    def __init__(self, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_play, args=(name, other), daemon=True)
        self._process.start()

    def play(self, path: pathlib.Path, threads: int = 1) -> float | None:
        """Seconds in which each thread decodes all blocks of the file; None: it cannot decode them."""
        self._pipe.send((path, threads))
        seconds: float | None = self._pipe.recv()
        return seconds


def _play(name: str, pipe: Any) -> None:
    """The process: its threads decode, as in a real client, not its main thread."""
    decode = contenders.find(name)
    loaded: tuple[pathlib.Path, tuple[Combination, list[Stored]]] | None = None
    while True:
        try:
            path, threads = pipe.recv()
        except EOFError:
            return
        if loaded is None or loaded[0] != path:
            loaded = path, pickle.loads(path.read_bytes())
        combination, blocks = loaded[1]
        plain = decode(combination, blocks[0])
        if plain is None:
            pipe.send(None)
            continue
        assert bytes(plain)[: len(blocks[0].plain)] == blocks[0].plain, (combination, name)
        del plain
        pipe.send(_time(combination, decode, blocks, threads))


def _time(
    combination: Combination, decode: contenders.Decoder, blocks: list[Stored], count: int
) -> float:
    barrier = threading.Barrier(count)
    starts, ends = [], []

    def work() -> None:
        decode(combination, blocks[0])
        barrier.wait()
        starts.append(time.perf_counter())
        for block in blocks:
            decode(combination, block)
        ends.append(time.perf_counter())

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(ends) - min(starts)


class _Best:
    """One row so far: seconds of each contender's best turn, and of our two threads."""

    def __init__(self, path: pathlib.Path, blocks: list[Stored]) -> None:
        self.path = path
        self.plain_size = sum(len(block.plain) for block in blocks)
        self.stored_size = sum(len(block.object) for block in blocks)
        self.seconds: dict[str, float] = {}
        self.both = float("inf")

    def contest(self, players: dict[str, Player], rounds: int) -> None:
        """All in turn, again and again."""
        for _ in range(rounds):
            for name, player in players.items():
                seconds = player.play(self.path)
                if seconds is not None:
                    self.seconds[name] = min(self.seconds.get(name, seconds), seconds)
            both = players["ours, reused"].play(self.path, THREADS)
            if both is not None:
                self.both = min(self.both, both)

    def row(self, combination: str, data: str, size: str) -> Row:
        """What came out."""
        return Row(
            combination,
            data,
            size,
            {name: self.plain_size / seconds / 1e6 for name, seconds in self.seconds.items()},
            THREADS * self.seconds["ours, reused"] / self.both,
            self.plain_size / self.stored_size,
        )


def measure(rounds: int, only: str | None) -> list[Row]:
    """Every combination, data and size.

    All of them in several passes: another program that runs for some seconds spoils no row.
    """
    corpora = {"text": text(), "random": os.urandom(CORPUS)}
    players = {name: Player(name) for name in NAMES}
    rows: dict[tuple[str, str, str], _Best] = {}
    with tempfile.TemporaryDirectory() as folder:
        for combination in COMBINATIONS:
            if only and only.lower() not in combination.name.lower():
                continue
            for data, corpus in corpora.items():
                for size, length in SIZES.items():
                    blocks = store(combination, corpus, length)
                    path = pathlib.Path(folder) / f"{combination.name} {data} {size}"
                    path.write_bytes(pickle.dumps((combination, blocks)))
                    rows[combination.name, data, size] = _Best(path, blocks)
        for _ in range(PASSES):
            for best in rows.values():
                best.contest(players, rounds)
                print(".", end="", flush=True)
            print()
    return [best.row(*names) for names, best in rows.items()]


def table(rows: list[Row]) -> str:
    """MB/s of each; in parentheses ours against it, with the kind of buffer that it used."""
    names = [name for name in NAMES if name != "ours"]
    headings = ["block", "data", "size", "ours", *names, "2 threads"]
    lines = ["| " + " | ".join(headings) + " |", "| --- " * len(headings) + "|"]
    for row in rows:
        cells = []
        for name in names:
            speed = row.speeds.get(name)
            ours = row.speeds["ours, reused" if name == "stock C" else "ours"]
            cells.append(f"{speed:,.0f} ({ours / speed:.2f}x)" if speed else "")
        lines.append(
            f"| {row.combination} | {row.data} {row.ratio:.1f}x | {row.size} | "
            f"{row.speeds['ours']:,.0f} | " + " | ".join(cells) + f" | {row.scaling:.2f}x |"
        )
    return "\n".join(lines)


def details(rounds: int) -> str:
    """What a call costs beside its bytes, and what the checksums run at."""
    cbc = next(c for c in COMBINATIONS if c.name == "CBC")
    one = store(cbc, b"x", 1)[0]
    options = DecodeOptions.create(KEY, "AES-CBC", "NONE")
    batch = 200
    costs = []
    for _ in range(100 * rounds):
        start = time.perf_counter()
        for _ in range(batch):
            native.decode(one.object, options, length=1, number=1)
        costs.append((time.perf_counter() - start) / batch)
    lines = [f"- A one-byte AES-CBC block: {min(costs) * 1e6:.2f} microseconds a call."]
    data = os.urandom(4 << 20)
    for name, checksum in (("CRC32C", native.crc32c), ("CRC-64/NVME", native.crc64nvme)):
        seconds = []
        for _ in range(5 * rounds):
            start = time.perf_counter()
            checksum(data)
            seconds.append(time.perf_counter() - start)
        lines.append(f"- {name}: {len(data) / min(seconds) / 1e6:,.0f} MB/s.")
    return "\n".join(lines)
