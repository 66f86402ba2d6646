"""What a run concludes from the intents of one that was killed, on a disk that numbers files anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctera_direct_sync._mirror.local_tree import LocalTree
from ctera_direct_sync._mirror.state import Intent, State
from tests.support.mirror_portal import OWN, Crash, MemoryPortal, local_files, mirror


@pytest.fixture
def source() -> MemoryPortal:
    """A portal with a file."""
    portal = MemoryPortal()
    portal.add("a", b"old")
    return portal


def renumber(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let the next intents hold the number that a file will have, as after a new mount of FAT."""
    original = State.intents

    def intents(state: State) -> list[Intent]:
        return [each._replace(inode=path.stat().st_ino) for each in original(state)]

    monkeypatch.setattr(State, "intents", intents)


def test_old_file_that_has_the_number_of_the_download(
    source: MemoryPortal, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that is still there was not renamed, whatever the number of the old file is."""
    mirror(source, memory_path)
    source.write(source.node("a"), b"new and longer")

    def cut_off(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(LocalTree, "move_aside", cut_off)
        mirror(source, memory_path)
    renumber(monkeypatch, memory_path / "a")
    result = mirror(source, memory_path)
    assert result.conflicts == []
    assert local_files(memory_path) == source.files()


def test_aside_that_has_the_number_of_the_download(
    source: MemoryPortal, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that the user changed in the last moment is kept, whatever its number is."""
    mirror(source, memory_path)
    source.write(source.node("a"), b"new")
    original = LocalTree.rename

    def cut_off(tree: LocalTree, *arguments: object) -> None:
        original(tree, *arguments)  # type: ignore[arg-type]
        raise Crash

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(LocalTree, "rename", cut_off)
        mirror(source, memory_path)
    (aside,) = (memory_path / OWN / "aside").iterdir()
    aside.write_bytes(b"mine")
    renumber(monkeypatch, aside)
    mirror(source, memory_path)
    assert b"mine" in local_files(memory_path).values()
    assert (memory_path / "a").read_bytes() == b"new"
