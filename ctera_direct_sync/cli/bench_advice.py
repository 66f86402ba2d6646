"""What the figures of a measurement say about the network, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from ..types import Quantiles

__all__ = ["Advice", "Figures", "HostFigures", "Phase", "advise"]

#: Concurrent downloads share a limit if they reach less than this part of their ideal gain.
_SHARED_EFFICIENCY = 0.5
#: Fewer concurrent downloads do not tell whether they share a limit.
_MIN_CONCURRENCY = 2.0
#: The latency is the limit if a block waits for at least this part of its time.
_LATENCY_SHARE = 0.5
#: The processors are the limit if at least this part of them is busy.
_BUSY_SHARE = 0.8
#: A host is slow if it takes at least this multiple of the others' time, and has `_MIN_HOST_REQUESTS`.
_SLOW_HOST = 3.0
_MIN_HOST_REQUESTS = 5
#: Late requests matter if they take this multiple of the median, and `_MIN_TAIL_S` longer.
_TAIL_FACTOR = 5.0
_MIN_TAIL_S = 0.1
_MIN_TAIL_REQUESTS = 20
#: A block list is slow if it takes `_SLOW_LISTING_S`, and a multiple of the storage's first byte.
_SLOW_LISTING_S = 0.3
_SLOW_LISTING_FACTOR = 4.0
_MB = 1e6


class HostFigures(NamedTuple):
    """What one host of the storage took."""

    host: str
    """The host, with its port if the URLs name it."""
    requests: int
    """Number of requests."""
    request: Quantiles
    """Seconds of a whole request."""


class Phase(NamedTuple):
    """What downloading took, with one worker or with several."""

    seconds: float
    """Duration."""
    nbytes: int
    """Bytes of plaintext that were delivered."""
    received: int
    """Bytes of bodies that came."""
    requests: int
    """Number of requests to the storage that have ended."""
    errors: int
    """Number of those that failed."""
    concurrency: float
    """Blocks under way at a time, on average."""
    connections: int
    """The most connections to the storage that were open."""
    cpu_seconds: float
    """Seconds of processor time of this process."""
    first_byte: Quantiles
    """Seconds until the storage answers."""
    block: Quantiles
    """Seconds of a block: fetched, verified and decoded, with its retries."""
    speed: Quantiles
    """Bytes per second of one body."""
    hosts: tuple[HostFigures, ...]
    """The hosts."""

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.received / self.seconds if self.seconds else 0.0


class Figures(NamedTuple):
    """A measurement."""

    size: int
    """Size of the file in bytes."""
    blocks: int
    """Number of its blocks."""
    listing: Quantiles
    """Seconds of a block list."""
    single: Phase
    """The downloads with one worker."""
    parallel: Phase
    """The downloads with several."""
    processors: int
    """Processors that this process may use."""


class Advice(NamedTuple):
    """One thing that the figures say."""

    code: str
    """What it is about, for programs."""
    text: str
    """The sentences."""


def advise(figures: Figures) -> list[Advice]:
    """Return what the figures say, the limit of the throughput first."""
    found = [*_limit(figures), *_hosts(figures), *_tail(figures), *_portal(figures)]
    found += [*_errors(figures), *_file(figures)]
    return found or [Advice("none", "Nothing stands out: no part is much slower than the others.")]


def _limit(figures: Figures) -> Iterator[Advice]:
    """Yield what limits the throughput."""
    single, parallel = figures.single, figures.parallel
    if not single.rate or not parallel.rate:
        return
    busy = parallel.cpu_seconds / parallel.seconds
    if busy >= _BUSY_SHARE * figures.processors:
        yield Advice(
            "processor",
            f"The processor is the limit: {busy:.1f} of {figures.processors} were busy. More workers do "
            "not help. End other programs, or use a machine with more processors.",
        )
        return
    gain = parallel.rate / single.rate
    rate = f"{parallel.rate / _MB:.2f} MB/s"
    if parallel.concurrency < _MIN_CONCURRENCY:
        yield Advice(
            "few-workers",
            f"Only {parallel.concurrency:.1f} blocks were under way at a time, so the limit of the line "
            "cannot be told: use a larger file, or --workers.",
        )
    elif gain < _SHARED_EFFICIENCY * parallel.concurrency / max(1.0, single.concurrency):
        yield Advice(
            "line",
            f"The line is the limit, or the storage behind it: {parallel.concurrency:.0f} blocks at a "
            f"time are {gain:.1f} times as fast as one, {rate} in all. More workers do not help.",
        )
    elif _latency_share(single) >= _LATENCY_SHARE:
        yield Advice(
            "latency",
            f"The latency is the limit: {100 * _latency_share(single):.0f}% of a block's time passes "
            f"before its first byte ({_ms(single.first_byte.p50)}), on the way or in the storage. More "
            f"workers at once help: raise max_workers, if the {parallel.concurrency:.0f} at a time here "
            "were all of them. Large blocks wait less often than small ones.",
        )
    else:
        speed = (single.speed.p50 or single.rate) / _MB
        yield Advice(
            "connection",
            f"Each connection is the limit: it carries {speed:.2f} MB/s, and "
            f"{parallel.concurrency:.0f} at a time carry {gain:.1f} times as much, {rate}. More "
            "workers help: raise max_workers, if these were all of them.",
        )


def _latency_share(phase: Phase) -> float:
    """Return which part of a block's time is waiting for its first byte."""
    if not phase.first_byte.p50 or not phase.block.p50:
        return 0.0
    return min(1.0, phase.first_byte.p50 / phase.block.p50)


def _hosts(figures: Figures) -> Iterator[Advice]:
    known = {
        each.host: each.request.p50
        for each in figures.parallel.hosts
        if each.requests >= _MIN_HOST_REQUESTS and each.request.p50 is not None
    }
    for host, seconds in known.items():
        others = [value for name, value in known.items() if name != host]
        if others and seconds >= _SLOW_HOST * median(others):
            yield Advice(
                "slow-host",
                f"The host {host} is slow: a request takes {_ms(seconds)}, at other hosts "
                f"{_ms(median(others))}. Tell the administrator of the storage.",
            )


def _tail(figures: Figures) -> Iterator[Advice]:
    phase = figures.parallel
    for share, late in ((10, phase.first_byte.p90), (100, phase.first_byte.p99)):
        usual = phase.first_byte.p50
        if usual is None or late is None or phase.requests < _MIN_TAIL_REQUESTS:
            return
        if late >= _TAIL_FACTOR * usual and late - usual >= _MIN_TAIL_S:
            yield Advice(
                "tail",
                f"Some requests are late: 1 in {share} waits {_ms(late)} or longer for its first byte, "
                f"half of them at most {_ms(usual)}. Leave settings.hedging on, which asks again for "
                "what is late.",
            )
            return


def _portal(figures: Figures) -> Iterator[Advice]:
    listing, usual = figures.listing.p50, figures.single.first_byte.p50
    if listing is None or listing < _SLOW_LISTING_S:
        return
    if usual is None or listing >= _SLOW_LISTING_FACTOR * usual:
        yield Advice(
            "portal",
            f"The portal is slow: a block list takes {_ms(listing)}. For many small files that decides: "
            "download several at once. For large files it does not matter.",
        )


def _errors(figures: Figures) -> Iterator[Advice]:
    errors = figures.single.errors + figures.parallel.errors
    if errors:
        requests = figures.single.requests + figures.parallel.requests
        yield Advice(
            "errors",
            f"{errors} of {requests} requests failed and were tried again: -d shows why.",
        )


def _file(figures: Figures) -> Iterator[Advice]:
    if figures.blocks < 2 * max(1.0, figures.parallel.concurrency):
        yield Advice(
            "small-file",
            f"The file has {figures.blocks} blocks, too few to keep all workers busy: measure with a "
            "larger file, too.",
        )


def _ms(seconds: float | None) -> str:
    return "?" if seconds is None else f"{1000 * seconds:.0f} ms"
