"""The values of the change feed: events, pages and ancestors."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from ctera_direct_sync import Ancestor, ChangePage, Event


def make_event(**changes: Any) -> Event:
    """Return the event of a file."""
    members = {
        "type": "file",
        "guid": "4fbc5aca:562",
        "parent_guid": "4fbc5aca:7",
        "folder_id": 16,
        "name": "report.pdf",
        "deleted": False,
        "size": 4071685,
        "file_id": 14390,
        "modified": None,
        "raw": {"gvsn": "7", "acl": "O:S-1-5"},
    }
    return Event(**{**members, **changes})


def test_event_is_a_value():
    """Events of equal members are equal, may be keys, and cannot be changed."""
    assert make_event() == make_event()
    assert make_event() != make_event(raw={})
    assert len({make_event(), make_event(), make_event(name="other")}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_event().name = "other"  # type: ignore[misc]


def test_events_are_copied():
    """Pickling and copying give equal values."""
    page = ChangePage([make_event(), make_event(deleted=True)], "cursor", True)
    for again in (pickle.loads(pickle.dumps(page)), copy.deepcopy(page), copy.copy(page)):
        assert again == page
        assert again.events[0].raw == {"gvsn": "7", "acl": "O:S-1-5"}


def test_id_of_an_event():
    """Code that comes from cterasdk finds the file ID under its own name."""
    assert make_event().id == make_event().file_id == 14390


def test_reprs():
    """A repr is one line, however many events and members there are."""
    event = make_event()
    assert repr(event) == (
        "<Event file 'report.pdf', 4fbc5aca:562 in 16, 4071685 bytes, file_id=14390>"
    )
    assert repr(make_event(deleted=True)).endswith("in 16, deleted>")
    assert repr(ChangePage([event] * 2000, "c" * 5000, False)) == (
        "<ChangePage 2000 events, more=False>"
    )
    assert Ancestor("reports", "4fbc5aca:7", None).name == "reports"
