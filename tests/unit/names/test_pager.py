"""Paging: a listing is complete and without duplicates, whatever the portal does between two pages."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctera_direct_sync import Entry, NamespaceError
from ctera_direct_sync._protocol.names import Page, Pager


def make_entry(name: str, file_id: int | None = None) -> Entry:
    """Return the entry of a small file."""
    return Entry(f"/d/{name}", name, file_id, 1, None, False, False, None, None)


class Portal:
    """A folder whose pages are asked for by position.

    Args:
        names: The names in it.
        cap: The most entries that a page holds.
        between: Called with the names after each page; it may change them.
    """

    def __init__(
        self,
        names: Sequence[str],
        cap: int = 1000,
        between: Callable[[list[str]], object] = lambda names: None,
    ) -> None:
        self.names = list(names)
        self.cap = cap
        self.between = between
        self.starts: list[int] = []

    def fetch(self, start: int, limit: int) -> Page:
        """Return a page, then let the folder change."""
        self.starts.append(start)
        stop = start + min(limit, self.cap)
        page = Page(
            [make_entry(name) for name in self.names[start:stop]], stop < len(self.names), True
        )
        self.between(self.names)
        return page


def read_all(pager: Pager) -> list[str]:
    """Return the names of all entries."""
    names: list[str] = []
    while not pager.complete:
        names += [entry.name for entry in pager.next_page()]
    return names


NAMES = [f"{number:05}" for number in range(2500)]


def test_one_page_is_one_request():
    """A folder that fits into a page costs one request."""
    portal = Portal(NAMES[:1000])
    assert read_all(Pager(portal.fetch, "/d")) == NAMES[:1000]
    assert portal.starts == [0]


def test_each_page_begins_with_the_last_entry_of_the_one_before():
    """Pages overlap by one entry, which shows that nothing moved."""
    portal = Portal(NAMES)
    assert read_all(Pager(portal.fetch, "/d")) == NAMES
    assert portal.starts == [0, 999, 1998]


@pytest.mark.parametrize("cap", [1, 2, 3, 99, 100])
def test_pages_may_be_shorter_than_asked_for(cap):
    """The next page begins where the last one ended, not where it was asked to end."""
    portal = Portal(NAMES[:250], cap)
    assert read_all(Pager(portal.fetch, "/d")) == NAMES[:250]


def test_entry_that_moves_back_is_yielded_once():
    """An entry that was added in front moves others to the next page, where they come again."""
    portal = Portal(NAMES, between=lambda names: names.insert(0, f"new {len(names)}"))
    names = read_all(Pager(portal.fetch, "/d"))
    assert len(names) == len(set(names))
    assert set(NAMES) <= set(names)


def test_entry_that_moves_forward_is_not_missed():
    """An entry that was removed in front moves others to a page that was read before."""

    def remove_some(names: list[str]) -> None:
        del names[:300]

    portal = Portal(NAMES, between=remove_some)
    names = read_all(Pager(portal.fetch, "/d"))
    assert len(names) == len(set(names))
    assert set(portal.names) <= set(names)


def test_most_of_the_folder_is_removed():
    """A folder that shrinks to less than what was read has its rest looked for as well."""
    calls = iter([lambda names: names.__delitem__(slice(0, 999))])
    portal = Portal(NAMES[:1500], between=lambda names: next(calls, lambda names: None)(names))
    names = read_all(Pager(portal.fetch, "/d"))
    assert sorted(names) == NAMES[:1500]


@given(
    count=st.integers(0, 60),
    cap=st.integers(2, 12),
    changes=st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(1, 10)), max_size=8),
)
def test_what_stays_is_yielded_exactly_once(count, cap, changes):
    """Whatever is added and removed meanwhile, an entry that is always there comes exactly once.

    Only pages of a single entry leave no room for an overlap.
    """
    remaining = list(changes)
    stays = set(NAMES[:count])

    def change(names: list[str]) -> None:
        if not remaining:
            return
        adds, position, number = remaining.pop()
        position = min(position, len(names))
        if adds:
            names[position:position] = [f"new {len(remaining)} {each}" for each in range(number)]
        else:
            stays.difference_update(names[position : position + number])
            del names[position : position + number]

    portal = Portal(NAMES[:count], cap, change)
    try:
        names = read_all(Pager(portal.fetch, "/d", limit=12))
    except NamespaceError as error:
        assert error.errno == errno.EAGAIN
        return
    assert len(names) == len(set(names))
    assert stays <= set(names)


def test_same_name_with_another_id_is_another_entry():
    """Deleted entries of one name are told apart by their IDs."""
    entries = [make_entry("a", 1), make_entry("a", 2), make_entry("a", 1)]
    pager = Pager(lambda start, limit: Page(entries, False, True), "/d")
    assert [entry.file_id for entry in pager.next_page()] == [1, 2]


def test_unwanted_entries_count_as_positions():
    """An entry that does not belong into the listing still takes its place on the page."""
    portal = Portal(NAMES[:30], cap=7)
    pager = Pager(portal.fetch, "/d", wanted=lambda entry: entry.name.endswith("0"))
    assert read_all(pager) == ["00000", "00010", "00020"]


def test_empty_page_that_promises_more_is_asked_for_again():
    """An empty page may be an accident, so the same position is asked for once more."""
    pages = [
        Page([make_entry("a")], True, True),
        Page([], True, True),
        Page([make_entry("b")], False, True),
    ]
    asked = []

    def fetch(start: int, limit: int) -> Page:
        asked.append(start)
        return pages.pop(0)

    assert read_all(Pager(fetch, "/d")) == ["a", "b"]
    assert asked == [0, 1, 1]


def test_hidden_entries_may_fill_a_page():
    """A portal that leaves out what the user may not see gives empty pages before others."""
    visible = {0: "a", 450: "b", 460: "c"}

    def fetch(start: int, limit: int) -> Page:
        names = [name for place, name in visible.items() if start <= place < start + limit]
        return Page([make_entry(name) for name in names], start + limit < 500, True)

    assert read_all(Pager(fetch, "/d", limit=100)) == ["a", "b", "c"]


@pytest.mark.parametrize("cap", [100, 250, 1000])
def test_hidden_entries_before_others_are_not_stepped_over(cap):
    """A portal may give fewer entries than asked for, and leave out some: none behind is missed."""
    visible = {0: "a", **{place: str(place) for place in range(505, 520)}, 1201: "z"}

    def fetch(start: int, limit: int) -> Page:
        stop = start + min(limit, cap)
        names = [name for place, name in visible.items() if start <= place < stop]
        return Page([make_entry(name) for name in names], stop < 1300, True)

    assert read_all(Pager(fetch, "/d", limit=1000)) == list(visible.values())


def test_listing_that_never_ends_is_given_up():
    """A portal that always promises more, and gives nothing, gets an error and not an end."""
    pager = Pager(lambda start, limit: Page([], True, True), "/d")
    with pytest.raises(NamespaceError, match="goes on but gives nothing"):
        read_all(pager)


def test_portal_that_ignores_the_position_is_given_up():
    """The same page again and again brings nothing new, so it ends in an error."""
    pager = Pager(lambda start, limit: Page([make_entry("a"), make_entry("b")], True, True), "/d")
    with pytest.raises(NamespaceError, match="goes on but gives nothing"):
        read_all(pager)


def test_memory_of_a_long_listing_is_bounded():
    """Only the last entries are remembered, however many there are."""
    names = [str(number) for number in range(30_000)]
    pager = Pager(Portal(names).fetch, "/d")
    assert read_all(pager) == names
    assert len(pager._seen) <= 10_000
