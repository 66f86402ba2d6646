"""Dry runs, which tell exactly what the run that follows then does."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from tests.support.mirror_portal import OWN, Crash, MemoryPortal, crash_after, local_files, mirror

Steps = list[tuple[str, str, str]]


def run(source: MemoryPortal, folder: Path, *, dry_run: bool) -> Steps:
    """Run a mirror at a fixed time, and return its steps."""
    steps: Steps = []
    mirror(
        source,
        folder,
        dry_run=dry_run,
        now=lambda: datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
        on_step=lambda step, _: steps.append(step[:3]),
    )
    return steps


def swap(source: MemoryPortal) -> None:
    """Let a.txt and b.txt change their names."""
    source.swap(source.node("a.txt"), source.node("b.txt"))


@pytest.fixture
def source() -> MemoryPortal:
    """A portal with two files, and one more in a folder."""
    portal = MemoryPortal()
    for path in ("a.txt", "b.txt", "docs/c.pdf"):
        portal.add(path)
    return portal


def test_swapped_names(source: MemoryPortal, mirrored: Path) -> None:
    """Files that change their names are told by their paths, not by those in the mirror's folder."""
    swap(source)
    told = run(source, mirrored, dry_run=True)
    assert told == [("move", "b.txt", "a.txt"), ("move", "a.txt", "b.txt")]
    assert run(source, mirrored, dry_run=False) == told
    assert local_files(mirrored) == source.files()


def test_file_that_becomes_a_folder_which_its_file_moves_to(
    source: MemoryPortal, mirrored: Path
) -> None:
    """A folder is made before the file that it comes from moves into it."""
    first = source.node("a.txt")
    source.move(first, source.root, "t")
    source.move(first, source.add("a.txt", folder=True), "a.txt")
    told = run(source, mirrored, dry_run=True)
    assert told == [("mkdir", "a.txt", ""), ("move", "a.txt", "a.txt/a.txt")]
    assert run(source, mirrored, dry_run=False) == told


def test_after_a_run_that_was_cut_off(source: MemoryPortal, memory_path: Path) -> None:
    """Wherever a run was cut off, a dry run tells what the next one does, and changes nothing."""
    steps = 0
    was_crashed = True
    while was_crashed:
        source = MemoryPortal()
        for path in ("a.txt", "b.txt", "c.txt", "docs/d.pdf"):
            source.add(path)
        folder = memory_path / str(steps)
        mirror(source, folder)
        swap(source)
        source.write(source.node("c.txt"))
        source.delete(source.node("docs"))
        was_crashed = False
        try:
            with crash_after(steps):
                mirror(source, folder)
        except Crash:
            was_crashed = True
        before = local_files(folder, own=True)
        told = run(source, folder, dry_run=True)
        assert {p: d for p, d in before.items() if f"{OWN}/state" not in p}.items() <= (
            local_files(folder, own=True).items()
        )
        assert run(source, folder, dry_run=False) == told, steps
        assert local_files(folder) == source.files()
        steps += 3
    assert steps > 20
