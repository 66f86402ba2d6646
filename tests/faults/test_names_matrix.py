"""Every fault of the portal by every call for names: the right results, or the right error."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import names_rows
from tests.faults.names_cells import NamesWorld
from tests.faults.names_rows import CELLS, MAX_EXTRA_REQUESTS, NamesCell, expected, name_of


@pytest.fixture(scope="module")
def world() -> Iterator[NamesWorld]:
    """A portal that all cells share."""
    with NamesWorld() as made:
        yield made


@pytest.mark.timeout(60)
@pytest.mark.parametrize("cell", [pytest.param(cell, id=name_of(cell)) for cell in CELLS])
def test_cell(world: NamesWorld, cell: NamesCell) -> None:
    """The outcome is the table's, nothing is short or doubled, and no secret is told."""
    result = world.run(cell)
    assert result.wrong == []
    assert result.outcome == expected(cell)
    assert result.secrets == []
    # A walk has several folders under way, each with its own retries.
    if cell.call != "walk":
        assert result.extra <= _allowed(cell)


def _allowed(cell: NamesCell) -> int:
    if cell.row.name.startswith("empty pages"):
        return 205
    if cell.call == "sign-in" and expected(cell) == "LoginError":
        return 0
    return MAX_EXTRA_REQUESTS


def test_every_listing_meets_its_fault_in_the_middle(world: NamesWorld) -> None:
    """The calls that have several pages meet a fault on a later one."""
    for name in names_rows.PAGES:
        results, requests = world.usual(name)
        assert requests > names_rows.CALLS[name].skip >= 1
        assert len(results) > 5


def test_each_name_is_there_once() -> None:
    """No row has the name of another."""
    assert len({name_of(cell) for cell in CELLS}) == len(CELLS)
