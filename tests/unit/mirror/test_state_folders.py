"""Entries of folders in the state: which of them stay, and what moves with them."""

from __future__ import annotations

import contextlib

import pytest

from ctera_direct_sync._mirror.state import State
from ctera_direct_sync._mirror.values import Known

#: Folders whose names sort right before and after those of what is in "d".
NEIGHBOURS = ("d-", "d.x", "d0", "D", "dd", "d\U0001f600")


@pytest.fixture
def state() -> State:
    """A state with a file in a folder of a folder, and with neighbours of these folders."""
    state = State.copied(None)
    with state.transaction():
        for path in ("d", "d/\U0001f600", *NEIGHBOURS):
            state.save(Known(0, path, True))
        for path in ("d/\U0001f600/a", *(f"{each}/a" for each in NEIGHBOURS)):
            state.save(Known(0, path, False))
    return state


def entry_at(state: State, path: str) -> Known:
    """Return the entry of a path, which exists."""
    entry = state.entry(path)
    assert entry is not None
    return entry


def test_folder_stays_while_a_file_is_in_it(state: State) -> None:
    """A folder is dropped after the last file below it, whatever its neighbours hold."""
    with contextlib.closing(state), state.transaction():
        folder = entry_at(state, "d")
        state.forget(folder)
        assert state.entry("d") == folder
        state.forget(entry_at(state, "d/\U0001f600/a"))
        state.forget(folder)
        assert state.entry("d") is None
        assert state.entry("d/\U0001f600") is not None


def test_what_is_in_a_folder_moves_with_it(state: State) -> None:
    """All entries in a folder get new paths, and those of its neighbours stay."""
    with contextlib.closing(state), state.transaction():
        state.move_folder(entry_at(state, "d"), "x/copy")
        found = {entry.path for entry in state.entries()}
    moved = {"x/copy", "x/copy/\U0001f600", "x/copy/\U0001f600/a"}
    assert found == {*moved, *NEIGHBOURS, *(f"{each}/a" for each in NEIGHBOURS)}
