"""The run's figures as the section "Transfer" of bench/RESULTS.md."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from measure import before, cpu, of_before, rate

Data = dict[str, Any]

#: What the client has to reach: speed against cterasdk and against C, CPU time against C.
GOALS: dict[str, tuple[float | None, float | None, float | None]] = {
    "snappy 512 KiB": (3.5, 0.7, 1.7),
    "gzip 512 KiB": (6.0, 0.7, 1.7),
    "plain 512 KiB": (4.0, 0.7, 1.7),
    "snappy 4 MiB": (4.5, 1.2, 1.2),
    "gzip 4 MiB": (5.5, 0.95, 1.2),
    "plain 4 MiB": (2.6, 0.85, 1.2),
    "snappy 512 KiB, HTTPS": (3.0, None, None),
    "snappy 4 MiB, HTTPS": (3.0, None, None),
    "plain 512 KiB, HTTPS": (2.0, None, None),
    "plain 4 MiB, HTTPS": (2.0, None, None),
}

#: Bytes that a process with default settings stays under.
_PEAK = 150_000_000

_HEADING = "## Transfer"


def write(path: Path, machine: dict[str, str], sections: Data) -> None:
    """Replace the section in the file, or append it; the others stay as they are."""
    old = path.read_text() if path.exists() else "# Results\n"
    section = render(machine, sections).rstrip() + "\n"
    pattern = re.compile(rf"^{_HEADING}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(old):
        new = pattern.sub(lambda match: section + ("\n" if match.end() < len(old) else ""), old)
    else:
        new = f"{old.rstrip()}\n\n{section}"
    path.write_text(new)


def render(machine: dict[str, str], sections: Data) -> str:
    """The section in Markdown."""
    parts = [
        _HEADING,
        "",
        f"`make bench` wrote this on {time.strftime('%Y-%m-%d')}; what is measured and how, "
        "[README.md](README.md) tells. MB is 10^6 bytes of plaintext, GB 10^9; a ratio above 1 "
        "means that we are faster, for CPU time that we need more. In square brackets: the goal; "
        "bold: missed.",
        "",
        *_table(["", ""], machine.items()),
        "",
    ]
    for name, renderer in _RENDERERS.items():
        if name in sections:
            parts += [*renderer(sections[name]), ""]
    return "\n".join(parts)


def _formats(table: Data) -> list[str]:
    rows = []
    for name, results in table.items():
        peer, ours, floor = results["cterasdk"], results["ours"], results["C"]
        to_peer, to_floor, of_cpu = GOALS.get(name, (None, None, None))
        rows.append(
            (
                name,
                _number(rate(peer)),
                _number(rate(ours)),
                _number(rate(floor)),
                _ratio(rate(ours) / rate(peer), to_peer),
                _ratio(rate(ours) / rate(floor), to_floor),
                f"{cpu(ours):.2f}",
                _ratio(cpu(ours) / cpu(peer)),
                _ratio(cpu(ours) / cpu(floor), of_cpu, at_most=True),
                *_to_before(results, "ours"),
            )
        )
    return [
        "### A GiB of source text, by format",
        "",
        "![MB/s by client and format](../docs/img/throughput.svg)",
        "",
        *_table(
            [
                "stored as",
                "cterasdk MB/s",
                "ours MB/s",
                "C MB/s",
                "ours / cterasdk",
                "ours / C",
                "ours CPU s/GB",
                "CPU: ours / cterasdk",
                "CPU: ours / C",
                *_before_heads(table),
            ],
            rows,
        ),
    ]


def _ways(table: Data) -> list[str]:
    rows = []
    for name, results in table.items():
        base = rate(results["iter_blocks"])
        rows += [
            (
                name,
                way,
                _number(rate(result)),
                _ratio(rate(result) / base, 0.9 if way == "download" else None),
                *_to_before(results, way),
            )
            for way, result in results.items()
            if not of_before(way)
        ]
    heads = ["stored as", "way", "MB/s", "to iter_blocks", *_before_heads(table)]
    return ["### By way in", "", *_table(heads, rows)]


def _requests(table: Data) -> list[str]:
    rows = []
    for name, results in table.items():
        peer, ours = results["cterasdk"], results["ours"]
        speed = _per_second(ours) / _per_second(peer)
        cost = _cpu_per_request(peer) / _cpu_per_request(ours)
        rows.append(
            (
                name,
                _number(_per_second(peer)),
                _number(_per_second(ours)),
                _ratio(speed, 2.0),
                f"{_cpu_per_request(peer):.2f}",
                f"{_cpu_per_request(ours):.2f}",
                _ratio(cost, 2.0),
                *_to_before(results, "ours"),
            )
        )
    return [
        "### Requests",
        "",
        "Listings and objects count as requests alike.",
        "",
        *_table(
            [
                "",
                "cterasdk requests/s",
                "ours requests/s",
                "times as many",
                "cterasdk CPU ms/request",
                "ours CPU ms/request",
                "times less",
                *_before_heads(table),
            ],
            rows,
        ),
    ]


def _small(table: Data) -> list[str]:
    rows = [
        (
            name,
            _number(_per_second(results["ours"])),
            f"{_cpu_per_request(results['ours']):.3f}",
            *_to_before(results, "ours"),
        )
        for name, results in table.items()
    ]
    return [
        "### Tiny blocks, tiny files",
        "",
        "Each block counts, or each file where files are downloaded.",
        "",
        *_table(["", "a second", "CPU ms each", *_before_heads(table)], rows),
    ]


def _first_block(data: Data) -> list[str]:
    rows = [
        ("the portal lists the file", f"{data['listing']:.2f}", ""),
        ("one block, listed before", f"{data['block']:.2f}", ""),
        (
            "a stream's first block, idle",
            f"{data['idle']:.2f}",
            f"{data['idle'] / (data['listing'] + data['block']):.2f}x the two together",
        ),
        (
            "a stream's first block while `blocks()` of 1,000 blocks is under way",
            f"{data['busy']:.2f}",
            f"{_ratio(data['busy'] / data['idle'], 2.0, at_most=True)} of idle; "
            f"worst of {data['busy_samples']}: {data['busy_worst']:.1f} ms",
        ),
    ]
    heads = ["", "ms (median)", ""]
    if "before" in data:
        heads.append("before / ours")
        rows = [
            (*row, _ratio(data["before"][key] / data[key]))
            for key, row in zip(("listing", "block", "idle", "busy"), rows)
        ]
    return ["### Time to the first block", "", *_table(heads, rows)]


def _workers(table: Data) -> list[str]:
    numbers = [number for number in table["snappy 512 KiB"] if not of_before(number)]
    fast = [name for name in table if name != "slow"]
    best = {name: max(rate(table[name][number]) for number in numbers) for name in fast}
    slow = table.get("slow")
    rows = []
    for number in numbers:
        row = ["the engine chooses" if number == "None" else number]
        for name in fast:
            value = rate(table[name][number])
            row += [_number(value), f"{value / best[name]:.0%}", *_to_before(table[name], number)]
        if slow is not None:
            value = rate(slow[number])
            row += [
                _number(value),
                _ratio(value / rate(slow["1"])),
                *_to_before(slow, number),
            ]
        rows.append(row)
    heads = ["max_workers"]
    for name in fast:
        heads += [f"{name} MB/s", "of the best", *_before_heads(table)]
    if slow is not None:
        heads += [
            "512 KiB, each answer 20 ms late: MB/s",
            "times one worker",
            *_before_heads(table),
        ]
    return [
        "### Workers",
        "",
        "![MB/s by workers](../docs/img/workers.svg)",
        "",
        "Late answers: 64 blocks a worker, so that each number is in full swing.",
        "",
        *_table(heads, rows),
    ]


def _memory(table: Data) -> list[str]:
    rows = [
        (
            name,
            _megabytes(result["maxrss"], _PEAK if _has_goal(name) else None),
            _number(rate(result)),
            *_to_before(table, name),
        )
        for name, result in table.items()
        if not of_before(name)
    ]
    return [
        "### Memory",
        "",
        "![Resident memory over time](../docs/img/memory.svg)",
        "",
        "Peak resident set of the whole process, interpreter and modules included.",
        "",
        *_table(["", "peak MB", "MB/s", *_before_heads({"": table})], rows),
    ]


def _native(data: Data) -> list[str]:
    whole, part = data["whole"], data["range"]
    floor = rate(whole["C"])
    rows = [
        (
            name,
            _number(rate(result)),
            _ratio(rate(result) / floor, 0.8 if name == "iter_blocks" else None),
            f"{cpu(result):.2f}",
            f"{result['maxrss'] / 1e6:.0f}",
            *_to_before(whole, name),
        )
        for name, result in whole.items()
        if not of_before(name)
    ]
    return [
        "### One native-format object of 1 GiB",
        "",
        *_table(
            ["", "MB/s", "to C", "CPU s/GB", "peak MB", *_before_heads({"": whole})],
            rows,
        ),
        "",
        f"For a range of {part['wanted']:,} bytes of it the storage sent {part['sent']:,}.",
    ]


def _timeline(data: Data) -> list[str]:
    return [
        "### One download",
        "",
        "![What each worker does when](../docs/img/timeline.svg)",
        "",
        f"Drawn from `DirectIO(on_event=...)`: {len(data['events']):,} events of one download "
        "by a new client, four workers.",
    ]


_RENDERERS = {
    "formats": _formats,
    "ways": _ways,
    "requests": _requests,
    "small": _small,
    "first_block": _first_block,
    "workers": _workers,
    "memory": _memory,
    "native": _native,
    "timeline": _timeline,
}


def _before_heads(table: Data) -> list[str]:
    """The two columns that a run with `--before` adds to a table."""
    measured = any(of_before(client) for results in table.values() for client in results)
    return ["ours / before", "CPU: ours / before"] if measured else []


def _to_before(results: Data, name: str) -> list[str]:
    """Speed and CPU time of the client of that name, over the other checkout's."""
    if not any(map(of_before, results)):
        return []
    if before(name) not in results:
        return ["", ""]
    ours, old = results[name], results[before(name)]
    return [_ratio(rate(ours) / rate(old)), _ratio(_least_cpu(ours) / _least_cpu(old))]


def _least_cpu(result: Data) -> float:
    """CPU seconds per byte of the round that took the fewest; noise only ever adds some."""
    return float(result.get("least_cpu_seconds", result["cpu_seconds"]) / result["bytes"])


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_row(heads), _row(["---"] * len(heads)), *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _megabytes(value: float, goal: float | None) -> str:
    text = f"{value / 1e6:,.0f}"
    if goal is None:
        return text
    return f"**{text}** [< {goal / 1e6:g}]" if value >= goal else f"{text} [< {goal / 1e6:g}]"


def _has_goal(name: str) -> bool:
    return name.startswith(("stream", "download")) and "settings" not in name


def _ratio(value: float, goal: float | None = None, at_most: bool = False) -> str:
    """The ratio, and the goal in brackets; bold where it is missed."""
    text = f"{value:.2f}"
    if goal is None:
        return text
    missed = value > goal if at_most else value < goal
    bound = f"[{'<=' if at_most else '>='} {goal:g}]"
    return f"**{text}** {bound}" if missed else f"{text} {bound}"


def _per_second(result: Data) -> float:
    return float(result["requests"] / result["seconds"])


def _cpu_per_request(result: Data) -> float:
    return float(1000 * result["cpu_seconds"] / result["requests"])
