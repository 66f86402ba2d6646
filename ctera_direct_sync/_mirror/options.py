"""What a run of a mirror is asked to do, and what it asks of the portal."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator
from typing import Callable, NamedTuple, Protocol

from ..exceptions import NamespaceError
from ..types import ChangePage, Entry, Event, Mirrored
from .fetcher import Progress
from .filters import Filter
from .planner import Deletion, Step

__all__ = ["MirrorOptions", "Names", "OnStep", "Round"]

#: Called with each step, once it is done, and what became of it: "" or "adopted" or "kept".
OnStep = Callable[[Step, str], object]


class Names(Protocol):
    """What a mirror asks the portal."""

    def stat(self, path: str) -> Entry:
        """Return the entry of a path."""

    def walk(self, path: str, on_error: Callable[[NamespaceError], object]) -> Iterator[Entry]:
        """Return everything below a folder. Call `on_error` for each folder that cannot be read."""

    def listdir(self, path: str, *, include_deleted: bool = False) -> Iterator[Entry]:
        """Return what is in a folder. With `include_deleted`, also what was deleted from it."""

    def path_of(self, event: Event) -> str:
        """Return the path of the object of an event."""

    def changes(self, cursor: str | None, folder_id: int) -> Iterator[ChangePage]:
        """Return what has changed in a cloud folder since a cursor."""


@dataclasses.dataclass(frozen=True)
class MirrorOptions:
    """The arguments of a mirror, checked.

    Attributes:
        delete: What happens to files that the portal deleted.
        trash_days: How long the trash keeps files, in days. None: for ever.
        max_delete: The most files that a run may delete.
        filter: The user's patterns.
        dry_run: Whether to change nothing.
        max_files: The most files at once. None: found by measuring.
        progress: Called with the bytes done and the bytes in total.
        on_step: Called with each step.
        feed: Whether to ask the change feed if there is anything new. None: if the user may read it.
        patterns: The user's patterns, as text that tells them from others.
        portal: The portal and the user's view, as text that tells them from others.
        user: The user's name on the portal, or empty if a token stands for it.
        is_admin: Whether the paths are those of an administrator's view.
        now: Returns the time.
    """

    delete: Deletion = "trash"
    trash_days: float | None = 30
    max_delete: int = 1000
    filter: Filter = dataclasses.field(default_factory=Filter)
    dry_run: bool = False
    max_files: int | None = None
    progress: Progress | None = None
    on_step: OnStep | None = None
    feed: bool | None = None
    patterns: str = ""
    portal: str = ""
    user: str = ""
    is_admin: bool = False
    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.timezone.utc)


class Round(NamedTuple):
    """The outcome of a run.

    Attributes:
        mirrored: What was done.
        cursor: From where on the change feed tells what is new, or None without a feed.
        folder_id: The cloud folder of the source, or None.
    """

    mirrored: Mirrored
    cursor: str | None
    folder_id: int | None
