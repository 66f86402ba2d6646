"""What a run has done so far."""

from __future__ import annotations

from ..types import Mirrored
from .planner import Step

__all__ = ["Report"]


class Report:
    """The counts of a run, and what its user should know.

    Attributes:
        counts: The numbers of files that were added, updated, moved and deleted.
        unchanged: The number of files that are the same everywhere.
        nbytes: The bytes that were downloaded.
        conflicts: Path and reason of each file that was changed here.
        failed: Path and reason of each entry that could not be mirrored.
        is_clean: Whether the next run may believe the change feed that nothing else has changed.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(("added", "updated", "moved", "deleted"), 0)
        self.unchanged = 0
        self.nbytes = 0
        self.conflicts: list[tuple[str, str]] = []
        self.failed: list[tuple[str, str]] = []
        self.is_clean = True

    def count(self, step: Step, outcome: str) -> None:
        """Count a step that is done."""
        if step.kind == "fetch" or (step.kind == "compare" and outcome == "kept"):
            is_new = step.known is None and step.local is None
            self.counts["added" if is_new else "updated"] += 1
        elif step.kind == "compare":
            self.unchanged += 1
        elif step.kind == "move" and not (step.remote and step.remote.is_dir):
            self.counts["moved"] += 1
        elif step.kind in ("trash", "remove"):
            self.counts["deleted"] += 1

    def result(self) -> Mirrored:
        """Return the outcome for the user."""
        return Mirrored(
            **self.counts,
            unchanged=self.unchanged,
            conflicts=self.conflicts,
            failed=self.failed,
            nbytes=self.nbytes,
            seconds=0.0,
        )
