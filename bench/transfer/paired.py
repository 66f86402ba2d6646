"""Two checkouts in turns, and the median of their ratios: ``paired.py --before CHECKOUT FORMAT ...``.

A ratio of one round compares two runs that follow each other, so a machine that is slower for a minute
moves both. The median of many such ratios shows differences of a few percent, which the best of a few
rounds does not.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
from pathlib import Path
from typing import Any

from corpus import MIB, WHOLE, File, of_size
from measure import Bench, Result, Run, cpu, rate
from server import serve
from system import ensure_floor, ensure_packages, ensure_peer, find_before, say


def main() -> int:
    """Measure the formats, and print a line for each."""
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that nginx ends with it.
    before_python = find_before(options.before) if options.before else None
    ensure_packages()
    with serve() as server:
        bench = Bench(server, ensure_peer(), ensure_floor(), before_python=before_python)
        for name in options.formats:
            for origin in options.origin:
                for way in options.way:
                    compare(bench, name, origin, way, options)
    return 0


def compare(bench: Bench, name: str, origin: str, way: str, options: argparse.Namespace) -> None:
    """Run both in turns, the order changing with each round, and print the medians."""
    file = of_size(options.mib * MIB, WHOLE[name].dataset)
    more: dict[str, Any] = {"workers": options.workers} if options.workers else {}
    if options.against:
        runs = {
            "ours": bench.ours(way, [file], origin=origin, **more),
            "before": bench.ours(options.against, [file], origin=origin, **more),
        }
    else:
        runs = bench.pair("ours", way, [file], origin=origin, **more)
    results: dict[str, list[Result]] = {client: [] for client in runs}
    for number in range(options.rounds):
        for client in sorted(runs, reverse=bool(number % 2)):
            results[client].append(_run(runs[client], file))
    line = f"{name}, {origin}, {way}" + (f" / {options.against}" if options.against else "")
    say(
        f"{line:>44}  "
        f"MB/s {_ratios(results, rate)}   CPU {_ratios(results, cpu)}   "
        + "   ".join(
            f"{client} {statistics.median(map(rate, found)):,.0f} MB/s "
            f"{statistics.median(map(cpu, found)):.3f} s/GB "
            f"{_peak(found)}"
            for client, found in results.items()
        )
    )


def _run(run: Run, file: File) -> Result:
    result = run()
    if result["bytes"] != file.size:
        raise RuntimeError(f"{result['bytes']} bytes of {file.size}")
    return result


def _peak(results: list[Result]) -> str:
    """The median of the peak memory, and of what the process had before the transfer."""
    peak = statistics.median(result["maxrss"] for result in results) / MIB
    before = statistics.median(result["maxrss_before"] for result in results) / MIB
    return f"{peak:.1f} MiB (before: {before:.1f})"


def _ratios(results: dict[str, list[Result]], measure: Any) -> str:
    """The median of the ratios of each round, and the quartiles."""
    ratios = [
        measure(ours) / measure(before) for ours, before in zip(results["ours"], results["before"])
    ]
    if len(ratios) < 2:
        return f"{ratios[0]:.2f}"
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="+", metavar="FORMAT", help=f"of: {', '.join(WHOLE)}")
    other = parser.add_mutually_exclusive_group(required=True)
    other.add_argument("--before", type=Path, metavar="CHECKOUT", help="compare with this checkout")
    other.add_argument("--against", metavar="WAY", help="compare with another way of this checkout")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--mib", type=int, default=1024, help="the size of the file")
    parser.add_argument("--way", action="append", help="iter_blocks by default; may be repeated")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--origin", action="append", choices=["http", "https"])
    options = parser.parse_args()
    options.way = options.way or ["iter_blocks"]
    options.origin = options.origin or ["http"]
    return options


if __name__ == "__main__":
    sys.exit(main())
