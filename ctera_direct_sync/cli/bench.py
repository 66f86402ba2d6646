"""``ctera-direct bench``: measure the way from the user's own portal and storage, and say what limits it.

Nothing is written to disk: the blocks are fetched, verified, decoded and dropped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

from .._core import core_of
from .._net.meter import MIN_SPEED_BYTES, Ended, quantiles
from ..client import DirectIO
from ..types import Metadata, Quantiles, plain
from .arguments import add_workers, file_id, portal_path
from .bench_advice import Advice, Figures, HostFigures, Phase, advise

__all__ = ["add_arguments", "run"]

_DEFAULT_SECONDS = 10.0
_DEFAULT_BYTES = "2G"
#: The parts of the time that block lists and a single worker get, and how many block lists are fetched.
_LISTING_SHARE = 0.15
_SINGLE_SHARE = 0.3
_LISTINGS = 20
#: The part of the bytes that a single worker gets.
_SINGLE_BYTES_SHARE = 0.2
#: How often the connections are counted.
_LOOK_S = 0.1
_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3}
_MB = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments to its parser."""
    parser.add_argument(
        "file_id",
        type=_path_or_id,
        metavar="PATH|ID",
        help="a large file: its path on the portal, or its ID",
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        metavar="N",
        default=_DEFAULT_SECONDS,
        help="how long to measure at most (default: %(default)g)",
    )
    parser.add_argument(
        "--bytes",
        type=_size,
        metavar="SIZE",
        default=_size(_DEFAULT_BYTES),
        help="how much to download at most; K, M and G are powers of 1,000 (default: "
        f"{_DEFAULT_BYTES})",
    )
    add_workers(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON object")


def run(client: DirectIO, options: argparse.Namespace, write: Callable[[bytes], None]) -> None:
    """Measure, and write figures and advice."""
    figures = _measure(client, options)
    advice = advise(figures)
    text = _as_json(figures, advice) if options.json else "\n".join(_as_text(figures, advice))
    write(f"{text}\n".encode("ascii", "backslashreplace"))


def _path_or_id(text: str) -> str | int:
    return portal_path(text) if text.startswith("/") else file_id(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError("not a number of seconds from 0.1 to 86400")
    return seconds


def _size(text: str) -> int:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMG]?)", text, re.IGNORECASE)
    size = float(match[1]) * _UNITS[match[2].upper()] if match else 0.0
    if not 1 <= size < math.inf:
        raise argparse.ArgumentTypeError("not a size; use bytes, such as 500M or 2G")
    return int(size)


# --- measuring ---------------------------------------------------------------------------------------


def _measure(client: DirectIO, options: argparse.Namespace) -> Figures:
    deadline = time.monotonic() + options.seconds
    # The first one also signs in, looks the path up and connects.
    metadata = client.metadata(options.file_id)
    listings: list[float] = []
    end = time.monotonic() + _LISTING_SHARE * options.seconds
    while not listings or (len(listings) < _LISTINGS and time.monotonic() < end):
        began = time.perf_counter()
        metadata = client.metadata(metadata.file_id)
        listings.append(time.perf_counter() - began)
    single_s = _SINGLE_SHARE * options.seconds
    single = _download(client, metadata, 1, single_s, int(_SINGLE_BYTES_SHARE * options.bytes))
    rest_s = max(0.1, deadline - time.monotonic())
    rest = max(1, options.bytes - single.received)
    parallel = _download(client, metadata, options.workers, rest_s, rest)
    return Figures(
        metadata.size,
        len(metadata.chunks),
        quantiles(listings),
        single,
        parallel,
        _count_processors(),
    )


def _count_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Stopwatch:
    """Collects the requests and the blocks of one phase. Appending is atomic, so threads share it."""

    def __init__(self) -> None:
        self.requests: list[Ended] = []
        self.blocks: list[float] = []
        #: Bytes of bodies, roughly: threads add to it at once.
        self.received = 0

    def note(self, ended: Ended) -> None:
        """Take note of a request that has ended."""
        if ended.endpoint == "storage":
            self.requests.append(ended)
            self.received += ended.received

    def surround(self, work: Callable[..., Any], file_id: int) -> Callable[..., Any]:
        """Return a function that does the work of a transfer, and times it."""

        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            result = work(*arguments)
            self.blocks.append(time.perf_counter() - began)
            return result

        return timed


class _Budget(NamedTuple):
    """How long and how much to download, by the monotonic clock and by bytes received."""

    deadline: float
    nbytes: int


@contextlib.contextmanager
def _watching(client: DirectIO) -> Generator[_Stopwatch, None, None]:
    core, watch = core_of(client), _Stopwatch()
    core.listen(watch.note)
    core.observer.surround = watch.surround
    try:
        yield watch
    finally:
        core.listen(None)
        core.observer.surround = None


def _download(
    client: DirectIO, metadata: Metadata, workers: int | None, seconds: float, nbytes: int
) -> Phase:
    """Download the file again and again, and return what it took."""
    before, cpu = client.stats(), time.process_time()
    began = time.perf_counter()
    budget = _Budget(time.monotonic() + seconds, nbytes)
    delivered = connections = 0
    next_look = 0.0
    with _watching(client) as watch:
        for length in _blocks(client, metadata, workers, budget, watch):
            delivered += length
            if time.monotonic() >= next_look:
                connections = max(connections, client.stats().storage.connections)
                next_look = time.monotonic() + _LOOK_S
        wall = time.perf_counter() - began
        cpu_seconds = time.process_time() - cpu
        after = client.stats()
    requests, blocks = list(watch.requests), list(watch.blocks)
    good = [each for each in requests if each.status and each.status < 400 and not each.error]
    return Phase(
        seconds=wall,
        nbytes=delivered,
        received=after.storage.received - before.storage.received,
        requests=len(requests),
        errors=after.storage.errors - before.storage.errors,
        concurrency=sum(blocks) / wall if wall else 0.0,
        connections=max(connections, after.storage.connections),
        cpu_seconds=cpu_seconds,
        first_byte=quantiles(each.first_byte_s for each in good),
        block=quantiles(blocks),
        speed=quantiles(
            each.received / (each.seconds - each.first_byte_s)
            for each in good
            if each.received >= MIN_SPEED_BYTES and each.seconds > each.first_byte_s
        ),
        hosts=tuple(_hosts_of(good)),
    )


def _blocks(
    client: DirectIO,
    metadata: Metadata,
    workers: int | None,
    budget: _Budget,
    watch: _Stopwatch,
) -> Iterator[int]:
    """Yield the length of each block, until time or bytes are up."""
    core = core_of(client)
    is_over = not metadata.size
    while not is_over:
        streamer = core.streamer(metadata, None, workers)
        # The end also comes while the storage is silent.
        timer = threading.Timer(max(0.0, budget.deadline - time.monotonic()), streamer.stop)
        timer.daemon = True
        timer.start()
        try:
            for block in streamer.start():
                length = block.length
                del block
                yield length
                if watch.received >= budget.nbytes:
                    break
        finally:
            streamer.stop()
            timer.cancel()
            timer.join()
        is_over = watch.received >= budget.nbytes or time.monotonic() >= budget.deadline


def _hosts_of(requests: list[Ended]) -> Iterator[HostFigures]:
    by_host: dict[str, list[float]] = {}
    for each in requests:
        by_host.setdefault(each.origin.partition("://")[2], []).append(each.seconds)
    for host, seconds in sorted(by_host.items(), key=lambda item: -len(item[1])):
        yield HostFigures(host, len(seconds), quantiles(seconds))


# --- writing -----------------------------------------------------------------------------------------


def _as_json(figures: Figures, advice: list[Advice]) -> str:
    return json.dumps({**plain(figures), "advice": plain(tuple(advice))}, indent=2)


def _as_text(figures: Figures, advice: list[Advice]) -> Iterator[str]:
    single, parallel = figures.single, figures.parallel
    yield f"File           {figures.size} bytes in {figures.blocks} blocks"
    yield f"{'':24}{'p50':>10}{'p90':>10}{'p99':>10}"
    yield _row("Block list, ms", figures.listing, 1000)
    for name, phase in (("one worker", single), ("parallel", parallel)):
        yield ""
        yield (
            f"{name.capitalize()}: {phase.rate / _MB:.2f} MB/s, {phase.concurrency:.1f} blocks at a time, "
            f"{phase.connections} connections, {phase.requests} requests, {phase.errors} failed"
        )
        yield _row("  First byte, ms", phase.first_byte, 1000)
        yield _row("  Block, ms", phase.block, 1000)
        yield _row("  One body, MB/s", phase.speed, 1 / _MB)
    if len(parallel.hosts) > 1:
        yield ""
        for host in parallel.hosts[:10]:
            yield _row(f"{host.host}, {host.requests} requests, ms", host.request, 1000)
    yield ""
    yield from (each.text for each in advice)


def _row(name: str, values: Quantiles, factor: float) -> str:
    cells = ["-" if value is None else f"{factor * value:.1f}" for value in values]
    return f"{name:<24}" + "".join(f"{cell:>10}" for cell in cells)
