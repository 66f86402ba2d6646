"""Whole downloads, side by side: ours, cterasdk and a program in C. ``make bench``; see ../README.md."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import machine
import report
import scenarios
from corpus import WHOLE
from measure import Bench
from server import serve
from system import (
    ROOT,
    WORK,
    Missing,
    ensure_floor,
    ensure_packages,
    ensure_peer,
    ensure_plots,
    find_before,
    say,
)


def main() -> int:
    """Prepare, measure, and report."""
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that nginx ends with it.
    try:
        before_python = find_before(options.before) if options.before else None
        ensure_packages()
        peer_python, floor_program = ensure_peer(), ensure_floor()
        about = machine.describe(peer_python, floor_program, options.before)
        with serve() as server:
            bench = Bench(
                server,
                peer_python,
                floor_program,
                quick=options.quick,
                before_python=before_python,
                rounds=options.rounds or (1 if options.quick else 3),
            )
            if options.formats:
                for name in options.formats:
                    scenarios.one_format(
                        bench, name, options.origin, options.way, options.workers, options.clients
                    )
                return 0
            sections = measure(bench, options)
    except (Missing, RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    publish(about, sections, bench, whole=not options.only and not options.quick)
    return 0


def measure(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """The chosen scenarios' data."""
    names = options.only or (scenarios.QUICK if options.quick else list(scenarios.SCENARIOS))
    if os.getloadavg()[0] > 0.5 * (os.cpu_count() or 1):
        say(
            f"other programs keep this machine busy (load {os.getloadavg()[0]:.1f}): "
            "what is measured now says little"
        )
    sections = {}
    for name in names:
        say(f"--- {name}")
        start = time.monotonic()
        sections[name] = scenarios.SCENARIOS[name](bench)
        (WORK / "unfinished.json").write_text(json.dumps(sections))
        say(f"--- {name}: {time.monotonic() - start:.0f} s")
    return sections


def publish(about: dict[str, str], sections: dict[str, Any], bench: Bench, whole: bool) -> None:
    """Write RESULTS.md and the plots; of less than a whole run, a report that is not committed."""
    results = WORK / "results.json"
    (WORK / "unfinished.json").unlink()
    results.write_text(
        json.dumps({"machine": about, "sections": sections, "samples": bench.samples})
    )
    path = ROOT / "bench" / "RESULTS.md" if whole else WORK / "RESULTS.md"
    images = ROOT / "docs" / "img" if whole else WORK / "docs" / "img"
    if whole:
        report.write(path, about, sections)
    else:
        print(report.render(about, sections))
    ensure_plots(bench.peer_python)
    subprocess.run(
        [bench.peer_python, Path(__file__).with_name("plots.py"), results, images], check=True
    )
    say(f"results: {results}, {path if whole else 'above'}; plots: {images}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a look of a minute: some tables, one round, nothing to commit",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(scenarios.SCENARIOS),
        help="this table alone; may be repeated",
    )
    parser.add_argument("--rounds", type=int, help="the best of so many counts (default: 3)")
    parser.add_argument(
        "--before",
        type=Path,
        metavar="CHECKOUT",
        help="measure also the client of another checkout of this project, in turns with ours",
    )
    one = parser.add_argument_group("one format at a time, while tuning")
    one.add_argument("formats", nargs="*", metavar="FORMAT", help=f"of: {', '.join(WHOLE)}")
    one.add_argument(
        "--way", default="iter_blocks", choices=["iter_blocks", "stream", "blocks", "download"]
    )
    one.add_argument("--workers", type=int, help="max_workers of our client")
    one.add_argument("--clients", default="", help="of cterasdk,ours,before,C")
    one.add_argument("--origin", default="http", choices=["http", "https", "slow"])
    options = parser.parse_args()
    for name in options.formats:
        if name not in WHOLE:
            parser.error(f"no such format: {name!r}")
    return options


if __name__ == "__main__":
    sys.exit(main())
