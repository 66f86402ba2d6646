"""Draws the table: one group of bars for each combination, 4 MiB blocks."""

from __future__ import annotations

import pathlib

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "codec"

import matplotlib.pyplot as plt  # noqa: E402
from measure import Row  # noqa: E402

COLOURS = {"ours": "#1b6ca8", "cterasdk": "#c9c9c9", "PyPI": "#8fb8d6", "stock C": "#e0a458"}


def draw(rows: list[Row], path: pathlib.Path) -> None:
    """Text on the left, random bytes on the right."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.5))
    for axis, data in zip(axes, ("text", "random")):
        chosen = [row for row in rows if row.data == data and row.size == "4 MiB"]
        width = 0.8 / len(COLOURS)
        for index, (name, colour) in enumerate(COLOURS.items()):
            places = [i + index * width for i, row in enumerate(chosen) if name in row.speeds]
            speeds = [row.speeds[name] for row in chosen if name in row.speeds]
            axis.bar(places, speeds, width, label=name, color=colour)
        axis.set_xticks([i + 0.3 for i in range(len(chosen))])
        axis.set_xticklabels(
            [row.combination for row in chosen], rotation=30, ha="right", fontsize=8
        )
        axis.set_title(f"{data}, 4 MiB blocks, one thread")
        axis.set_ylabel("plaintext MB/s")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
