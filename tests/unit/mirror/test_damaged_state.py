"""States of a mirror that are damaged."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ctera_direct_sync._mirror.verify import verify
from tests.support.mirror_portal import OWN, MemoryPortal, local_files, mirror


@pytest.mark.parametrize("begin", [0, 100, 4096, 8192])
def test_damaged_pages(tmp_path: Path, begin: int) -> None:
    """A damaged page of the state is an error that says what to do, and no file is lost."""
    source = MemoryPortal()
    for number in range(200):
        source.add(f"{number}.txt")
    mirror(source, tmp_path)
    path = tmp_path / OWN / "state.db"
    data = bytearray(path.read_bytes())
    assert len(data) > begin + 4000
    data[begin : begin + 4000] = b"Z" * 4000
    path.write_bytes(data)
    with pytest.raises(OSError, match="state of the mirror cannot be used"):
        mirror(source, tmp_path)
    try:
        list(verify(tmp_path))
    except OSError as error:
        assert error.filename == str(path)
    assert local_files(tmp_path) == source.files()


def test_damaged_state_leaves_no_database_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was opened to read a damaged state is closed, also the copy in memory."""
    mirror(MemoryPortal(), tmp_path)
    (tmp_path / OWN / "state.db").write_bytes(b"Z" * 5000)
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def note(*arguments: Any, **options: Any) -> sqlite3.Connection:
        opened.append(connect(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", note)
    with pytest.raises(OSError, match="state of the mirror cannot be used"):
        list(verify(tmp_path))
    assert len(opened) == 2
    for database in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            database.execute("SELECT 1")


def test_damaged_intent(tmp_path: Path) -> None:
    """An intent that cannot be read is an error that says what to do."""
    source = MemoryPortal()
    mirror(source, tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / OWN / "state.db")) as database:
        database.execute("INSERT INTO intents (value) VALUES ('[1]')")
        database.commit()
    with pytest.raises(OSError, match="compares each file with the portal"):
        mirror(source, tmp_path)
