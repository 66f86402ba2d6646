"""The progress bar of one file."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any

from tqdm import tqdm

__all__ = ["ProgressBar"]


class ProgressBar:
    """A progress bar on standard error, if that is a terminal. If it goes away, only the bar ends.

    Args:
        options: The command's options; ``--quiet`` hides the bar.
        name: What the bar is called.
        wanted: Whether to show the bar at all.
    """

    def __init__(self, options: argparse.Namespace, name: str, *, wanted: bool = True) -> None:
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._wanted = wanted and terminal and not options.quiet
        self._name = name
        self._bar: tqdm[Any] | None = None

    def __call__(self, done: int, total: int) -> None:
        """Show how many bytes are done, and how many there are."""
        if not self._wanted:
            return
        try:
            if self._bar is None:
                self._bar = tqdm(
                    desc=self._name,
                    initial=done,
                    total=total,
                    unit="B",
                    unit_scale=True,
                    dynamic_ncols=True,
                    file=sys.stderr,
                )
            self._bar.update(done - self._bar.n)
        except OSError:
            self._wanted = False

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.close()
