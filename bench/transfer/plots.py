"""The run's plots: ``plots.py RESULTS.json FOLDER``, with matplotlib, writes an SVG for each."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

Data = dict[str, Any]

COLOURS = {"cterasdk": "#b0b0b0", "ours": "#1f6feb", "C": "#e0a030"}
PHASES = {
    "waiting": "#d0d7de",
    "receiving": "#1f6feb",
    "decoding": "#e0a030",
    "delivering": "#2da44e",
}
#: What ends each phase of a block on its worker.
ENDS = {
    "waiting": ("started", "first-byte"),
    "receiving": ("first-byte", "received"),
    "decoding": ("received", "decoded"),
    "delivering": ("decoded", "delivered"),
}


def main() -> None:
    """Draw what the results hold."""
    sections = json.loads(Path(sys.argv[1]).read_text())["sections"]
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "bench",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "font.family": "sans-serif",
            "legend.frameon": False,
        }
    )
    for name, section, draw, size in (
        ("throughput", "formats", throughput, (10, 4.2)),
        ("workers", "workers", workers, (8, 3.4)),
        ("memory", "memory", memory, (8, 4.6)),
        ("timeline", "timeline", timeline, (10, 3)),
    ):
        if section in sections:
            figure, axes = plt.subplots(figsize=size, layout="constrained")
            draw(axes, sections[section])
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def throughput(axes: Axes, table: Data) -> None:
    """Bars by format and client."""
    width = 0.27
    for index, (client, colour) in enumerate(COLOURS.items()):
        places = [place + (index - 1) * width for place in range(len(table))]
        bars = axes.bar(
            places,
            [_rate(results[client]) for results in table.values()],
            width,
            color=colour,
            label=client,
        )
        axes.bar_label(bars, fmt="{:.0f}", fontsize=5.5, padding=1)
    labels = [name.replace(" ", "\n", 1).replace(", ", "\n") for name in table]
    axes.set_xticks(range(len(table)), labels, fontsize=7)
    axes.set_ylabel("MB/s of plaintext")
    axes.set_title("A file of 1 GiB, by stored format and client")
    axes.legend()


def workers(axes: Axes, table: Data) -> None:
    """Lines by max_workers; the engine's own choice as a mark at the right."""
    labels = {"slow": "512 KiB, 20 ms latency"}
    for name, results in table.items():
        numbers = [number for number in results if number.isdigit()]
        [line] = axes.plot(
            [int(number) for number in numbers],
            [_rate(results[number]) for number in numbers],
            marker="o",
            label=labels.get(name, name),
        )
        axes.plot([48], [_rate(results["None"])], marker="D", color=line.get_color())
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, 2, 4, 8, 16, 32, 48], ["1", "2", "4", "8", "16", "32", "engine\nchooses"])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("max_workers")
    axes.set_ylabel("MB/s of plaintext")
    axes.legend()


def memory(axes: Axes, table: Data) -> None:
    """Resident sets over time."""
    for name, result in table.items():
        if name.endswith(", before"):
            continue
        samples = [(seconds, resident / 1e6) for seconds, resident in result["memory"] if resident]
        axes.plot(
            *zip(*samples), label=name, linestyle="--" if name.startswith("cterasdk") else "-"
        )
    axes.set_yscale("log")
    axes.set_yticks(
        [20, 50, 100, 150, 500, 1000, 2000], ["20", "50", "100", "150", "500", "1,000", "2,000"]
    )
    axes.minorticks_off()
    axes.set_ylim(bottom=15)
    axes.axhline(150, color="#cccccc", linewidth=0.8)
    axes.set_xlabel("seconds")
    axes.set_ylabel("resident MB")
    axes.legend(fontsize=6.5, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)


def timeline(axes: Axes, data: Data) -> None:
    """A lane for each worker, a bar for each phase of each block on it."""
    events = data["events"]
    origin = min(event["time"] for event in events)
    lanes = sorted({event["worker"] for event in events if event["name"] == "started"})
    bars: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for block in _blocks(events):
        for phase, (begin, end) in ENDS.items():
            if begin in block and end in block:
                start = 1000 * (block[begin] - origin)
                bars[block["worker"], phase].append((start, 1000 * (block[end] - origin) - start))
    for (worker, phase), spans in bars.items():
        axes.broken_barh(spans, (lanes.index(worker) - 0.4, 0.8), color=PHASES[phase])
    for phase, colour in PHASES.items():
        axes.bar([0], [0], color=colour, label=phase)
    axes.set_yticks(range(len(lanes)), [f"worker {index + 1}" for index in range(len(lanes))])
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds since the first event")
    axes.set_title("One download: what each worker does when")
    axes.legend(ncols=4, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.18))


def _blocks(events: list[Data]) -> list[Data]:
    """Each block's times by event; its delivery ends at the latest where its worker goes on."""
    blocks: dict[int, Data] = defaultdict(dict)
    last: dict[str, Data] = {}
    for event in sorted(events, key=lambda each: each["time"]):
        block = blocks[event["offset"]]
        if event["name"] == "started":
            block["worker"] = event["worker"]
            before = last.get(event["worker"])
            if before is not None:
                before.setdefault("delivered", event["time"])
            last[event["worker"]] = block
        block.setdefault(event["name"], event["time"])
    return [block for block in blocks.values() if "worker" in block]


def _rate(result: Data) -> float:
    return float(result["bytes"] / result["seconds"] / 1e6)


if __name__ == "__main__":
    main()
