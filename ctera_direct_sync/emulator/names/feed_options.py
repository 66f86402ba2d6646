"""How the change feed behaves where portals may differ: one option for each unknown."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from ..options import check_option

Served = Literal["both", "admin", "none"]
History = Literal["live", "deleted", "all"]
RootEvents = Literal["none", "with-id", "without-id"]
Poll = Literal["wait", "at-once", "always-true"]
AncestorOrder = Literal["sorted", "reversed", "shuffled"]
AncestorsOfDeleted = Literal["refuse", "tell"]

_CHOICES = {
    "served": get_args(Served),
    "history": get_args(History),
    "root_events": get_args(RootEvents),
    "poll": get_args(Poll),
    "ancestor_order": get_args(AncestorOrder),
    "ancestors_of_deleted": get_args(AncestorsOfDeleted),
}
_POSITIVE = ("page_cap", "cursors_valid")


@dataclasses.dataclass
class FeedOptions:
    """What the change feed does where real portals are not known, or differ.

    Each option may be changed while the emulator runs. Whether an overwritten file gets another ID is
    `PortalOptions.file_id_changes_on_write`. `PortalOptions.version` decides about the members of times:
    portals before 8.2.1500.30 send `modified`.

    Attributes:
        served: The contexts that have the feed: `admin` and `ServicesPortal`, `admin` alone, or none.
        history: What a reading from the beginning holds: each live object once, in its present state;
            deleted objects as well; or all changes since the tree was made.
        once_per_object: Whether only the last change of an object is told when there are several.
        events_of_children: Whether a folder that is renamed, moved or deleted brings an event for each
            object in it, too.
        root_events: Whether cloud folders themselves have events, and whether these have a `folder_id`.
        folder_type: The `type` of folders.
        redeliver: Whether pages, or the last events of a page, come again some of the time.
        duplicates: Whether some events come twice in a page.
        shuffle: Whether the events of a page come in random order. Those of one object keep theirs.
        seed: Chooses what comes again or in another order.
        page_cap: The largest number of events in a page, whatever `max_results` the client sends.
        empty_pages: Whether each page is followed by one without events that says that more follow.
        extras: Whether events have members, and pages have events of a type, that no client knows.
        folder_limit: How many folders a request may name. None: any number.
        bound_cursors: Whether a cursor is refused that was given for other folders.
        cursors_valid: How many of the last cursors are accepted. None: all.
        cursor_age_s: Seconds after which a cursor is refused. None: never.
        cursor_status: The HTTP status that refuses a cursor.
        cursor_words: The words that refuse it.
        poll: What a long poll does: it waits for changes; it answers at once; or it always says that
            there are changes.
        poll_unit_s: The unit of a long poll's `timeout`, in seconds.
        poll_limit: The largest `timeout` that is accepted. None: any.
        zone: What follows a time. An empty text: the time is the portal's local time.
        ancestor_order: In which order ancestors come.
        ancestors_have_parents: Whether ancestors tell their `parent_guid`.
        ancestors_end_in_object: Whether the object itself is the last of its ancestors.
        ancestors_of_deleted: Whether the ancestors of a deleted object are told.
        ancestors_status: The HTTP status for an object that is not known.
    """

    served: Served = "both"
    history: History = "live"
    once_per_object: bool = True
    events_of_children: bool = False
    root_events: RootEvents = "with-id"
    folder_type: str = "folder"
    redeliver: bool = False
    duplicates: bool = False
    shuffle: bool = False
    seed: int = 0
    page_cap: int | None = None
    empty_pages: bool = False
    extras: bool = False
    folder_limit: int | None = 100
    bound_cursors: bool = True
    cursors_valid: int | None = None
    cursor_age_s: float | None = None
    cursor_status: int = 400
    cursor_words: str = "Invalid cursor"
    poll: Poll = "wait"
    poll_unit_s: float = 0.001
    poll_limit: int | None = None
    zone: str = "Z"
    ancestor_order: AncestorOrder = "sorted"
    ancestors_have_parents: bool = True
    ancestors_end_in_object: bool = True
    ancestors_of_deleted: AncestorsOfDeleted = "refuse"
    ancestors_status: int = 404

    def __setattr__(self, name: str, value: object) -> None:
        """Set an option.

        Raises:
            AttributeError: There is no such option.
            ValueError: The option cannot have this value.
        """
        if name not in self.__dataclass_fields__:
            raise AttributeError(f"{name!r} is not an option of the change feed")
        check_option(name, value, _CHOICES, _POSITIVE)
        super().__setattr__(name, value)
