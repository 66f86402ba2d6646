"""What figures say about a network: one figure is changed, and the advice follows."""

from __future__ import annotations

from typing import Any

import pytest

from ctera_direct_sync.cli.bench_advice import Figures, HostFigures, Phase, advise
from ctera_direct_sync.types import Quantiles

FAST = Quantiles(0.010, 0.012, 0.020)
MB = 1_000_000


def phase(**changed: Any) -> Phase:
    """Return a phase of ten seconds: 8 blocks at a time, each 20 ms to its first byte, then 80 ms."""
    usual: dict[str, Any] = {
        "seconds": 10.0,
        "nbytes": 800 * MB,
        "received": 800 * MB,
        "requests": 800,
        "errors": 0,
        "concurrency": 8.0,
        "connections": 8,
        "cpu_seconds": 2.0,
        "first_byte": Quantiles(0.02, 0.03, 0.04),
        "block": Quantiles(0.1, 0.12, 0.14),
        "speed": Quantiles(12.5 * MB, 13.0 * MB, 14.0 * MB),
        "hosts": (HostFigures("a", 800, Quantiles(0.1, 0.12, 0.14)),),
    }
    return Phase(**{**usual, **changed})


def figures(single: dict[str, Any] | None = None, **parallel: Any) -> Figures:
    """Return figures of connections that add up, with some changes."""
    alone = {"concurrency": 1.0, "received": 100 * MB, "requests": 100, **(single or {})}
    return Figures(1000 * MB, 1000, FAST, phase(**alone), phase(**parallel), 4)


def codes(found: Figures) -> list[str]:
    """Return what the advice is about."""
    return [each.code for each in advise(found)]


def test_connections_that_add_up() -> None:
    """Each connection is the limit, and no other advice is given."""
    assert codes(figures()) == ["connection"]


def test_connections_that_share_a_limit() -> None:
    """Eight at a time are hardly faster than one."""
    assert codes(figures(received=200 * MB)) == ["line"]


def test_waiting() -> None:
    """Most of a block's time is waiting for its first byte."""
    late = {"first_byte": Quantiles(0.08, 0.09, 0.1)}
    assert codes(figures(late, **late)) == ["latency"]


def test_busy_processors() -> None:
    """It goes before what it causes: a gain that is small."""
    assert codes(figures(received=200 * MB, cpu_seconds=38.0)) == ["processor"]


def test_too_few_at_a_time() -> None:
    """Nothing is said of a limit that was not tried."""
    assert codes(figures(concurrency=1.2, received=110 * MB)) == ["few-workers"]


def test_one_slow_host() -> None:
    """It is named, with its time and that of the others."""
    hosts = tuple(
        HostFigures(name, 200, Quantiles(seconds, seconds, seconds))
        for name, seconds in (("a:9000", 0.1), ("b:9000", 0.11), ("c:9000", 0.9))
    )
    (found,) = [each for each in advise(figures(hosts=hosts)) if each.code == "slow-host"]
    assert "c:9000" in found.text
    assert "900 ms" in found.text
    few = tuple(each._replace(requests=2) for each in hosts)
    assert "slow-host" not in codes(figures(hosts=few))


@pytest.mark.parametrize(
    ("first_byte", "share"),
    [((0.02, 0.03, 0.5), "1 in 100"), ((0.02, 0.4, 0.5), "1 in 10 "), ((0.002, 0.003, 0.02), "")],
)
def test_late_requests(first_byte: tuple[float, float, float], share: str) -> None:
    """Those that are much later than most are told, and hedging is what helps."""
    texts = [
        each.text
        for each in advise(figures(first_byte=Quantiles(*first_byte)))
        if each.code == "tail"
    ]
    assert bool(texts) == bool(share)
    assert not share or (share in texts[0] and "hedging" in texts[0])


def test_slow_portal() -> None:
    """A block list that takes long decides for small files alone."""
    assert "portal" in codes(figures()._replace(listing=Quantiles(0.8, 0.9, 1.0)))


def test_errors() -> None:
    """Requests that failed are told."""
    assert "errors" in codes(figures(errors=3))


def test_small_file() -> None:
    """A file of few blocks does not keep the workers busy."""
    assert "small-file" in codes(figures()._replace(blocks=3))


def test_nothing_was_measured() -> None:
    """Without any answer there is no advice about speed, and no error."""
    none = Quantiles(None, None, None)
    empty = {"received": 0, "nbytes": 0, "requests": 0, "concurrency": 0.0, "hosts": ()}
    empty = {**empty, "first_byte": none, "block": none, "speed": none}
    assert codes(figures(empty, **empty)) == ["none"]
