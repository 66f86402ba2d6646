"""Every fault by every way in: recovered, or the exact error; no wrong byte, no secret told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import matrix, report
from tests.faults.cells import Worlds, run
from tests.faults.matrix import CELLS, Cell, expected, name_of


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    """Emulators that all cells share."""
    with Worlds() as made:
        yield made


@pytest.mark.timeout(60)
@pytest.mark.parametrize("cell", [pytest.param(cell, id=name_of(cell)) for cell in CELLS])
def test_cell(worlds: Worlds, cell: Cell) -> None:
    """The outcome is the table's, within the requests allowed, and no secret is shown."""
    result = run(worlds, cell)
    assert result.wrong == []
    assert result.outcome == expected(cell)
    assert result.secrets == []
    if cell.row.requests is not None and cell.way != "open":
        assert result.requests <= cell.row.requests


def test_page_is_current() -> None:
    """The committed page is what the table makes: else run python -m tests.faults.report."""
    assert report.PAGE.read_text() == report.page()


def test_every_way_in_is_in_the_table() -> None:
    """No cell is left out, and every fault has a row by every way in."""
    assert len(CELLS) == len(matrix.ROWS) * len(matrix.WAYS)
    assert {cell.way for cell in CELLS} == set(matrix.WAYS)
