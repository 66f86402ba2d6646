"""The package as models run it: loaded once for many runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .instrument import Change, Package

__all__ = ["Library"]

#: Modules that models use, besides those that these import.
LOADED = (
    "_net.hedging",
    "_protocol.block_list",
    "_protocol.portal",
    "_readers.batch",
    "_readers.file",
    "_readers.multi_range",
    "_readers.stream",
)


class Library:
    """One instance of the package, and what every run of it needs.

    Args:
        changes: What is different from the source on disk.
        points: Whether statements are switch points.
    """

    def __init__(self, changes: Sequence[Change] = (), *, points: bool = True) -> None:
        self.package = package = Package(changes, points=points)
        self.scheduler = package.scheduler
        self.substitutes = package.substitutes
        self.cancellation = package.module("_base.cancellation")
        self.sync = package.module("_base.sync")
        self.worker_pool = package.module("_base.worker_pool")
        self.transfer = package.module("_engine.transfer")
        self.engine = package.module("_engine.engine")
        self.iteration = package.module("_engine.iteration")
        self.ranges = package.module("_protocol.ranges")
        # The transfers of models have few pieces, and some are to meet this bound.
        self.transfer._MAX_QUEUED = 2
        self.transfers: list[Any] = []
        #: Statements of a run of each model, by its name.
        self.steps: dict[str, int] = {}
        # Code that runs while a module is loaded must not be part of the first run.
        for name in LOADED:
            package.module(name)
        self._number_transfers()

    def module(self, name: str) -> Any:
        """Return a module of the package by its name within it."""
        return self.package.module(name)

    def reset(self) -> None:
        """Forget what the last run left in module-level state."""
        self.transfers.clear()
        self.engine._engines.clear()
        self.module("_readers.raw_file")._files.clear()
        self.module("_readers.block_memory")._memories.clear()
        self.worker_pool._workers.clear()
        self.substitutes.threads_left = None
        self.substitutes.pid = 1

    def _number_transfers(self) -> None:
        """Give transfers a hash that is the same in each run: sets iterate in its order."""
        transfers, kind = self.transfers, self.transfer.Transfer
        make = kind.__init__

        def init(transfer: Any, *arguments: Any, **options: Any) -> None:
            transfer.schedule_number = len(transfers)
            transfers.append(transfer)
            make(transfer, *arguments, **options)

        kind.__init__ = init
        kind.__hash__ = lambda transfer: transfer.schedule_number
