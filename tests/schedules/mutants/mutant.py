"""What a mutant is: what it breaks, in which text, and which models are to find it.

A mutant is never written to the tree. `instrument.Package` changes the source while it loads it, and
fails if the old text is not there exactly once. After an edit of such a line, bring its mutant along.
"""

from __future__ import annotations

from typing import NamedTuple

from ..instrument import Change

__all__ = ["CANCELLATION", "ENGINE", "ITERATION", "POOL", "TRANSFER", "UNCOUNTED", "Mutant"]

ENGINE = "_engine.engine"
TRANSFER = "_engine.transfer"
ITERATION = "_engine.iteration"
CANCELLATION = "_base.cancellation"
POOL = "_base.worker_pool"


class Mutant(NamedTuple):
    """One race.

    Attributes:
        name: What goes wrong, in a few words.
        models: The models that are run, in turn, to find it.
        changes: What makes it.
    """

    name: str
    models: tuple[str, ...]
    changes: tuple[Change, ...]


#: The readers' own count of what they delivered, which would report each of these ends by itself.
UNCOUNTED = (
    Change("_readers.stream", "if self._offset != self._stop and not self._stopped:", "if False:"),
    Change("_readers.stream", "    if delivered != expected:\n", "    if False:\n"),
)
