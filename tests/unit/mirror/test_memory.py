"""Memory of a run: it does not grow with the number of files that differ."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ctera_direct_sync._base.cancellation import CancelScope
from ctera_direct_sync._mirror.options import MirrorOptions
from ctera_direct_sync._mirror.own_folder import open_own
from ctera_direct_sync._mirror.runner import run_mirror
from ctera_direct_sync._mirror.spill import Spill
from ctera_direct_sync._mirror.state import State
from ctera_direct_sync._mirror.values import Known
from ctera_direct_sync._readers.folders import Folder
from ctera_direct_sync.exceptions import NamespaceError, PathNotFoundError
from ctera_direct_sync.types import ChangePage, Entry, Event
from tests.support.mirror_portal import OWN, SOURCE

FILES = 3000
PER_FOLDER = 100
#: Without a bound, these plans take 1.1 to 2.4 MB.
MAX_PEAK_BYTES = 900_000


class LargePortal:
    """A portal of many files, which it makes when it is asked for them.

    Args:
        prefix: What the names of the folders begin with.
        count: The number of files.
    """

    def __init__(self, prefix: str, count: int) -> None:
        self.prefix = prefix
        self.count = count

    def entries(self) -> Iterator[Entry]:
        """Return all files, each after its folder."""
        for number in range(self.count):
            folder = f"{SOURCE}/{self.prefix}-{number // PER_FOLDER:05}"
            if number % PER_FOLDER == 0:
                yield Entry(
                    folder, folder.rpartition("/")[2], None, None, None, True, False, None, 7
                )
            name = f"file-{number:07}"
            yield Entry(f"{folder}/{name}", name, number + 1, 9, None, False, False, None, 7)

    def stat(self, path: str) -> Entry:
        """Return the entry of the source, which is all that is asked for."""
        if path != SOURCE:
            raise PathNotFoundError("nothing here", path)
        return Entry(SOURCE, "source", None, None, None, True, False, None, 7)

    def walk(self, path: str, on_error: Callable[[NamespaceError], object]) -> Iterator[Entry]:
        """Return everything."""
        return self.entries()

    def listdir(self, path: str, *, include_deleted: bool = False) -> Iterator[Entry]:
        """Fail: no folder is asked for."""
        raise AssertionError(path)

    def path_of(self, event: Event) -> str:
        """Fail: no object is asked for."""
        raise AssertionError(event)

    def changes(self, cursor: str | None, folder_id: int) -> Iterator[ChangePage]:
        """Return one event for each entry, in pages, unless they were told."""
        events: list[Event] = []
        for entry in self.entries() if cursor is None else ():
            folder, _, name = entry.path.rpartition("/")
            kind = "folder" if entry.is_dir else "file"
            raw = {"gvsn": "1"}
            events.append(
                Event(
                    kind, entry.path, folder, 7, name, False, entry.size, entry.file_id, None, raw
                )
            )
            if len(events) == PER_FOLDER:
                yield ChangePage(events, "more", True)
                events = []
        yield ChangePage(events, "end", False)


def plan_dry(portal: LargePortal, folder: Path, **options: object) -> tuple[int, object]:
    """Return the peak of memory of a dry run in bytes, and its outcome."""

    def fetch(*_: object) -> int:
        raise AssertionError("a dry run downloads nothing")

    tracemalloc.start()
    try:
        done = run_mirror(
            portal,
            fetch,
            CancelScope(),
            SOURCE,
            folder,
            MirrorOptions(dry_run=True, **options),  # type: ignore[arg-type]
        )
        return tracemalloc.get_traced_memory()[1], done.mirrored[:4]
    finally:
        tracemalloc.stop()


@pytest.fixture(autouse=True)
def _small_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spill, "max_in_memory", 100)


def make_state(folder: Path, portal: LargePortal) -> None:
    """Make the state of a mirror of a portal, whose files the disk has lost."""
    with Folder.open(str(folder)) as root:
        own = open_own(root, make=True)
        assert own is not None
        state = State.open(own)
        with state.transaction():
            for entry in portal.entries():
                path = entry.path[len(SOURCE) + 1 :]
                known = Known(0, path, entry.is_dir, entry.file_id, entry.size, None, 7)
                state.save(known)
        state.close()
        own.close()


def test_first_run(tmp_path: Path) -> None:
    """A plan of many new files is not held in memory."""
    peak, counts = plan_dry(LargePortal("a", FILES), tmp_path, feed=True)
    assert counts == (FILES, 0, 0, 0)
    assert peak < MAX_PEAK_BYTES


def test_files_that_are_gone_here(tmp_path: Path) -> None:
    """A plan that restores many files is not held in memory."""
    portal = LargePortal("a", FILES)
    make_state(tmp_path, portal)
    peak, counts = plan_dry(portal, tmp_path, feed=False)
    assert counts == (0, FILES, 0, 0)
    assert peak < MAX_PEAK_BYTES


def test_source_of_other_names(tmp_path: Path) -> None:
    """Nor is one of files that have other paths, and are gone here."""
    make_state(tmp_path, LargePortal("a", FILES))
    peak, counts = plan_dry(LargePortal("b", FILES), tmp_path, feed=False)
    assert counts == (FILES, 0, 0, 0)
    assert peak < MAX_PEAK_BYTES
    assert (tmp_path / OWN).is_dir()
