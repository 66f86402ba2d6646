"""What is measured: a function for each table of the report, which it returns as data."""

from __future__ import annotations

from typing import Any

from corpus import WHOLE
from measure import Bench, Result, Run, cpu, rate
from system import say

FORMATS = ['snappy 512 KiB', 'gzip 512 KiB', 'plain 512 KiB',
           'snappy 4 MiB', 'gzip 4 MiB', 'plain 4 MiB']


def formats(bench: Bench, names: list[str], way: str = 'iter_blocks',
            workers: int | None = None, clients: str = '') -> dict[str, dict[str, Result]]:
    """A 256 MiB file in each format, by each client."""
    table = {}
    for name in names:
        file = WHOLE[name]
        runs: dict[str, Run] = {
            'cterasdk': bench.peer('blocks', [file]),
            'ours': bench.ours(way, [file], workers=workers),
            'C': bench.floor(file),
        }
        chosen = {client: run for client, run in runs.items()
                  if client in (clients or 'cterasdk,ours,C').split(',')}
        table[name] = bench.best(name, chosen, expect=file.size)
        say(f'{"":>24}  {ratios(table[name])}')
    return table


def ratios(results: dict[str, Any]) -> str:
    """Our speed and CPU time against each of the others, in words."""
    ours = results['ours']
    return '   '.join(f'{rate(ours) / rate(other):.2f}x {client} (CPU {cpu(ours) / cpu(other):.2f}x)'
                      for client, other in results.items() if client != 'ours')
