"""A source that is a folder in a cloud folder, and whose place another folder takes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ctera_direct_sync._mirror import changes
from ctera_direct_sync.types import Event
from tests.support.mirror_portal import MemoryPortal, Node, local_files, mirror


class PortalWithFolders(MemoryPortal):
    """A portal whose feed also tells of the source itself, and of a folder that was the source before."""

    def __init__(self) -> None:
        super().__init__()
        self.feed = "on"
        self.former: Node | None = None

    def _facts(self) -> dict[str, Event]:
        present, facts = self.root, super()._facts()
        for root, name in ((present, "source"), (self.former, "former source")):
            if root is None:
                continue
            self.root = root
            facts.update(super()._facts())
            top = Event("folder", root.guid, "g:cloud", 7, name, False, None, None, None, {})
            facts[root.guid] = dataclasses.replace(top, raw={"gvsn": f"{root.guid} {name}"})
        self.root = present
        return facts

    def replace_source(self) -> None:
        """Rename the source, and give its place to a copy of it."""
        self.former = self.root
        self.root = Node("source", None, next(self._numbers), None)
        for node in self.former.below():
            self.add(node.path, node.data)


@pytest.mark.parametrize("case", ["few", "many", "all-again", "no-map"])
def test_copy_in_the_place_of_the_source(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """A change in the copy is mirrored at once, however much the feed told of the copying."""
    source = PortalWithFolders()
    nodes = [source.add(f"f{number}") for number in range(5)]
    mirror(source, memory_path)
    if case in ("many", "all-again"):
        monkeypatch.setattr(changes, "_MAX_NEWS", 3)
    elif case == "no-map":
        source.write(nodes[0])

        def fail(path: str) -> None:
            raise PermissionError(13, "Permission denied")

        with monkeypatch.context() as patch:
            patch.setattr(source, "on_fetch", fail)
            assert len(mirror(source, memory_path).failed) == 1
    source.replace_source()
    if case == "all-again":
        source.reject_cursors()
    assert mirror(source, memory_path).ok
    source.write(source.node("f1"))
    assert mirror(source, memory_path).updated == 1
    assert local_files(memory_path) == source.files()
