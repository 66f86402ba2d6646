"""The progress bars of `progress=True`: tqdm's, for terminals and notebooks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from typing import Any, Callable

from ..types import BatchItem

__all__ = ["show_batch_progress", "show_progress"]

_Progress = Callable[[int, int], object]
_BatchProgress = Callable[[BatchItem, int, int], object]


class _Bar:
    """A bar of bytes, which appears with the first report."""

    def __init__(self, name: str) -> None:
        self._make = _find_tqdm()
        # A name may hold escape sequences, which the terminal would obey, or bytes that are not text.
        self._name = "".join(
            letter if letter.isprintable() else "?" for letter in os.fsdecode(name)
        )
        self._bar: Any = None

    def show(self, done: int, total: int) -> None:
        """Show how many bytes are done, and how many there are."""
        if self._bar is None:
            # What an earlier call has downloaded is not a part of the rate.
            self._bar = self._make(
                desc=self._name, initial=done, total=total, unit="B", unit_scale=True
            )
        if self._bar.total != total:
            self._bar.total = total
            self._bar.refresh()
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is, and let go of it."""
        if self._bar is not None:
            self._bar.close()


def _find_tqdm() -> Callable[..., Any]:
    try:
        # The one for notebooks in a notebook, and the one for terminals elsewhere.
        from tqdm.auto import tqdm
    except ImportError:
        raise ModuleNotFoundError(
            "progress=True shows a bar of tqdm, which is not installed: pip install tqdm, or pass a "
            "function as progress",
            name="tqdm",
        ) from None
    return tqdm


def show_progress(
    progress: _Progress | bool | None, name: Callable[[], str]
) -> contextlib.AbstractContextManager[_Progress | None]:
    """Make the function that a download reports to, and remove its bar afterwards.

    Args:
        progress: The caller's function, True for a bar, or None.
        name: Returns what the bar is called.

    Raises:
        ModuleNotFoundError: A bar is wanted, and tqdm is not installed.
        TypeError: `progress` is none of these.
    """
    return _reporting(progress, name, lambda bar: bar.show)


def show_batch_progress(
    progress: _BatchProgress | bool | None, name: Callable[[], str]
) -> contextlib.AbstractContextManager[_BatchProgress | None]:
    """Make the function that a batch reports to: True shows one bar for the bytes of all items.

    Args:
        progress: The caller's function, True for a bar, or None.
        name: Returns what the bar is called.

    Raises:
        ModuleNotFoundError: A bar is wanted, and tqdm is not installed.
        TypeError: `progress` is none of these.
    """
    return _reporting(progress, name, _show_sums)


@contextlib.contextmanager
def _reporting(
    progress: Any, name: Callable[[], str], report_to: Callable[[_Bar], Any]
) -> Generator[Any, None, None]:
    """Yield the caller's function, None, or what `report_to` makes of a new bar."""
    if progress is True:
        with contextlib.closing(_Bar(name())) as bar:
            yield report_to(bar)
    elif progress is None or progress is False:
        yield None
    elif callable(progress):
        yield progress
    else:
        raise TypeError("progress is a function, True for a progress bar, or None")


def _show_sums(bar: _Bar) -> _BatchProgress:
    """Return a function that shows on a bar what all items of a batch have done together."""
    items: dict[BatchItem, tuple[int, int]] = {}
    sums = [0, 0]

    def report(item: BatchItem, done: int, total: int) -> None:
        before = items.get(item, (0, 0))
        items[item] = (done, total)
        sums[0] += done - before[0]
        sums[1] += total - before[1]
        bar.show(sums[0], sums[1])

    return report
