"""Whole downloads, side by side: ours, cterasdk and a program in C. ``make bench``; see ../README.md."""

from __future__ import annotations

import argparse
import sys

import scenarios
from measure import Bench
from server import serve
from system import Missing, ensure_floor, ensure_packages, ensure_peer


def main() -> int:
    """Prepare, measure, and print ratios."""
    options = parse()
    try:
        ensure_packages()
        peer_python, floor_program = ensure_peer(), ensure_floor()
        with serve() as server:
            bench = Bench(server, peer_python, floor_program, rounds=1 if options.quick else options.rounds)
            scenarios.formats(bench, options.formats or scenarios.FORMATS, options.way,
                              options.workers, options.clients)
    except Missing as error:
        print(f'bench: {error}', file=sys.stderr)
        return 1
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true', help='one round')
    parser.add_argument('--rounds', type=int, default=3, help='the best of so many counts')
    parser.add_argument('--way', default='iter_blocks',
                        choices=['iter_blocks', 'stream', 'blocks', 'download'])
    parser.add_argument('--workers', type=int, help='max_workers of our client')
    parser.add_argument('--clients', default='', help='of cterasdk,ours,C')
    parser.add_argument('formats', nargs='*', metavar='FORMAT',
                        help='such as "snappy 4 MiB"; all by default')
    return parser.parse_args()


if __name__ == '__main__':
    sys.exit(main())
