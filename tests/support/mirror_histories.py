"""Random histories of a portal, a mirrored folder and its user, checked after each run.

`Histories` is a state machine for hypothesis. It checks after each run, and after each crash:

- What the portal has, and was here before, is still here: no deletion that was not ordered.
- What the user wrote is still here, until the user deletes it.

In the end it lets the mirror run in peace. The folder must then be equal to the portal.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ctera_direct_sync._mirror.local_names import find_problem, fold_name
from ctera_direct_sync._mirror.spill import Spill
from ctera_direct_sync._mirror.values import is_below
from ctera_direct_sync.exceptions import NamespaceError, NamespaceTimeout, PathNotFoundError
from ctera_direct_sync.types import Mirrored

from .folding_disk import fold_disk
from .mirror_portal import (
    MEMORY,
    OWN,
    SOURCE,
    Clock,
    Crash,
    MemoryPortal,
    Node,
    crash_after,
    local_files,
    mirror,
    refuse_steps,
)

#: The last two are the same letter, as one and as two code points.
NAMES = ("a", "b", "A", "d", "\u00e9", "e\u0301")

OTHER_SPELLINGS = {"a": "A", "A": "a", "\u00e9": "e\u0301", "e\u0301": "\u00e9"}

choices = st.integers(0, 2**16)


def pick(items: list[Any], number: int) -> Any:
    """Return one of some items."""
    return items[number % len(items)]


def in_order(steps: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Return the steps of a run in an order that does not depend on which download ends first."""
    position = next((n for n, s in enumerate(steps) if s[0] in ("fetch", "compare")), 0)
    fetches = [step for step in steps if step[0] in ("fetch", "compare")]
    rest = [step for step in steps if step[0] not in ("fetch", "compare")]
    return [*rest[:position], *sorted(fetches), *rest[position:]]


class Histories(RuleBasedStateMachine):
    """One history. The rules change the portal, or the folder, or run the mirror."""

    def __init__(self) -> None:
        super().__init__()
        self.portal = MemoryPortal()
        self.folder = Path(tempfile.mkdtemp(prefix="mirror-", dir=MEMORY))
        self.clock = Clock()
        self.patch = pytest.MonkeyPatch()
        # Whether the disk takes names for the same that differ in case or form.
        self.is_folding = False
        self.users: set[bytes] = set()
        self.serial = itertools.count()
        self.delete = "trash"
        # Whether a run has noted the cloud folder.
        self.is_begun = False

    def teardown(self) -> None:
        """Let the mirror run in peace, and compare."""
        try:
            self.check_convergence()
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder)

    # --- the portal ------------------------------------------------------------------------------

    @initialize(
        delete=st.sampled_from(("trash", "remove")),
        new_id=st.booleans(),
        feed=st.sampled_from(("off", "on", "on", "again")),
        children_events=st.booleans(),
        order=st.none() | st.integers(0, 99),
        max_in_memory=st.sampled_from((1, Spill.max_in_memory)),
        is_folding=st.booleans(),
        number=choices,
    )
    def begin(
        self,
        delete: str,
        new_id: bool,
        feed: str,
        children_events: bool,
        order: int | None,
        max_in_memory: int,
        is_folding: bool,
        number: int,
    ) -> None:
        """Choose how the history's portal and mirror behave."""
        self.patch.setattr(Spill, "max_in_memory", max_in_memory)
        if is_folding:
            self.is_folding = True
            fold_disk(self.patch)
        self.delete = delete
        self.portal.feed = feed
        self.portal.new_id_on_move = new_id
        self.portal.children_events = children_events
        self.portal.order = None if order is None else random.Random(order)
        for path in ("a", "b", "d/a", "d/d/b")[: number % 5]:
            self.portal.add(path)

    def _folders(self) -> list[Node]:
        return [self.portal.root, *(n for n in self.portal.nodes() if n.is_dir)]

    @rule(where=choices, name=st.sampled_from(NAMES), folder=st.booleans())
    def create(self, where: int, name: str, folder: bool) -> None:
        """Add a file or folder to the portal."""
        parent = pick(self._folders(), where)
        if name not in parent.children and len(list(parent.lineage())) < 5:
            self.portal.add(f"{parent.path}/{name}".lstrip("/"), folder=folder)

    @rule(which=choices, folder=st.booleans())
    def create_collision(self, which: int, folder: bool) -> None:
        """Add a file or folder to the portal, whose name differs from another only in case or form."""
        nodes = [n for n in self.portal.nodes() if n.name in OTHER_SPELLINGS]
        if nodes:
            node = pick(nodes, which)
            name, parent = OTHER_SPELLINGS[node.name], node.parent
            if parent is not None and name not in parent.children:
                self.portal.add(f"{parent.path}/{name}".lstrip("/"), folder=folder)

    @rule(which=choices, same_time=st.booleans())
    def overwrite(self, which: int, same_time: bool) -> None:
        """Write a file of the portal."""
        files = [n for n in self.portal.nodes() if not n.is_dir]
        if files:
            node = pick(files, which)
            modified = node.modified
            self.portal.write(node)
            if same_time:
                node.modified = modified

    @precondition(lambda self: self.portal.feed != "off")
    @rule(which=choices)
    def overwrite_secretly(self, which: int) -> None:
        """Write a file of the portal, so that only the change feed tells it, and run the mirror.

        The feed cannot tell it of a file that was moved between the same two runs.
        """
        self._run()
        files = [n for n in self.portal.nodes() if n.data]
        if files:
            self.portal.write_secretly(pick(files, which))
            self._run()

    @rule(which=choices, where=choices, name=st.sampled_from(NAMES))
    def move(self, which: int, where: int, name: str) -> None:
        """Rename or move a file or folder of the portal."""
        nodes, parent = self.portal.nodes(), pick(self._folders(), where)
        if nodes:
            node = pick(nodes, which)
            if node not in parent.lineage() and name not in parent.children:
                self.portal.move(node, parent, name)

    @rule(which=choices, other=choices)
    def swap(self, which: int, other: int) -> None:
        """Let two files or folders of the portal change places."""
        nodes = self.portal.nodes()
        if not nodes:
            return
        one, two = pick(nodes, which), pick(nodes, other)
        if one not in two.lineage() and two not in one.lineage():
            self.portal.swap(one, two)

    @rule(which=choices)
    def remove(self, which: int) -> None:
        """Delete a file or folder of the portal."""
        if nodes := self.portal.nodes():
            self.portal.delete(pick(nodes, which))

    @rule(which=choices)
    def undelete(self, which: int) -> None:
        """Bring a file or folder of the portal back."""
        found = [(f, n) for f in self._folders() for n in f.deleted if n.name not in f.children]
        if found:
            folder, node = pick(found, which)
            folder.deleted.remove(node)
            folder.children[node.name] = node

    @rule(which=choices, denied=st.booleans())
    def permit(self, which: int, denied: bool) -> None:
        """Take the permission for a folder away, or give it back."""
        folders = [n for n in self.portal.nodes() if n.is_dir]
        if folders:
            pick(folders, which).denied = denied

    @rule()
    def reject_cursors(self) -> None:
        """Let the change feed take no cursor of before any more."""
        self.portal.reject_cursors()

    # --- the user --------------------------------------------------------------------------------

    def _own_content(self) -> bytes:
        data = self.portal.content("user")
        self.users.add(data)
        return data

    def _local(self) -> list[Path]:
        found = [p for p in sorted(self.folder.rglob("*")) if OWN not in p.parts]
        return [p for p in found if p.is_file() and not p.is_symlink()]

    @rule(which=choices, as_new=st.booleans())
    def edit(self, which: int, as_new: bool) -> None:
        """Change a local file, in place or by a new file of its name."""
        if files := self._local():
            path = pick(files, which)
            self.users.discard(path.read_bytes())
            if as_new:
                path.unlink()
            path.write_bytes(self._own_content())

    @rule(which=choices)
    def remove_here(self, which: int) -> None:
        """Delete a local file."""
        if files := self._local():
            path = pick(files, which)
            self.users.discard(path.read_bytes())
            path.unlink()

    @rule(
        where=choices, name=st.sampled_from(NAMES), kind=st.sampled_from(("file", "folder", "link"))
    )
    def add_here(self, where: int, name: str, kind: str) -> None:
        """Add a local file, folder or symbolic link."""
        found = [p for p in sorted(self.folder.rglob("*")) if OWN not in p.parts]
        folders = [self.folder, *(p for p in found if p.is_dir() and not p.is_symlink())]
        parent = pick(folders, where)
        path = parent / name
        if self._is_taken(parent, name):
            return
        if kind == "file":
            path.write_bytes(self._own_content())
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(self.folder.parent)

    def _is_taken(self, parent: Path, name: str) -> bool:
        """Return whether the disk has a name, by whatever spelling."""
        names = [each.name for each in parent.iterdir()]
        return name in names or (
            self.is_folding and fold_name(name) in [fold_name(each) for each in names]
        )

    @rule(which=choices)
    def touch_here(self, which: int) -> None:
        """Give a local file another time."""
        if files := self._local():
            os.utime(pick(files, which), (next(self.serial), 10**9))

    # --- the mirror ------------------------------------------------------------------------------

    def _run(self, **options: Any) -> Mirrored:
        before = local_files(self.folder)
        options = {"delete": self.delete, "now": self.clock, **options}
        try:
            result = mirror(self.portal, self.folder, **options)
            self.is_begun = self.is_begun or not options.get("dry_run")
            return result
        finally:
            self._check_nothing_lost(before)

    def _own_files(self, name: str) -> set[bytes]:
        """Return the contents of the files in a folder of the mirror's own."""
        found = local_files(self.folder, own=True)
        return {data for path, data in found.items() if path.startswith(f"{OWN}/{name}/")}

    def _check_nothing_lost(self, before: dict[str, bytes]) -> None:
        """Check that what the portal still has at its path, and what the user wrote, is still here.

        A file that was told to be another one is replaced, though its bytes may be the same. A run that
        is cut off right then leaves its download to the next one.
        """
        after = set(local_files(self.folder).values()) | self._own_files("stage")
        replacing = after | self._own_files("downloads")
        on_portal = self.portal.files()
        for path, data in before.items():
            assert data in replacing or on_portal.get(path) != data, (
                "a deletion that was not ordered"
            )
            assert data in after or data not in self.users, "a file of the user is gone"

    @rule(told=st.booleans())
    def run(self, told: bool) -> None:
        """Run the mirror. A dry run right before it tells exactly what it does."""
        if not told:
            self._run()
            return
        now = self.clock()
        steps: dict[bool, list[tuple[str, str, str]]] = {True: [], False: []}
        results = [
            self._run(
                dry_run=is_dry,
                now=lambda: now,
                on_step=lambda step, _, done=steps[is_dry]: done.append(step[:3]),
            )
            for is_dry in (True, False)
        ]
        assert in_order(steps[True]) == in_order(steps[False])
        if not any(kind == "compare" for kind, _, _ in steps[True]):
            assert results[0][:7] == results[1][:7]

    @rule(steps=st.integers(0, 60))
    def run_and_crash(self, steps: int) -> None:
        """Run the mirror, and cut it off before one of its steps."""
        with crash_after(steps), contextlib.suppress(Crash):
            self._run()

    @rule(which=choices, steps=st.sets(st.integers(0, 3)))
    def remove_what_is_in_use(self, which: int, steps: set[int]) -> None:
        """Delete something on the portal, and run while files are in use: some renames are refused."""
        self._run()
        self.remove(which)
        with refuse_steps(steps):
            self._run()

    @rule(steps=st.integers(0, 60))
    def run_on_a_full_disk(self, steps: int) -> None:
        """Run the mirror, while the disk takes nothing any more from one of its steps on."""
        full = OSError(errno.ENOSPC, "No space left on device")
        with crash_after(steps, full), contextlib.suppress(OSError):
            self._run()

    @rule(is_other=st.booleans())
    def run_without_the_source(self, is_other: bool) -> None:
        """Run the mirror, while the cloud folder is gone, or another has its name. Nothing is deleted."""
        before = local_files(self.folder)
        tree = self.portal.root.children
        self.portal.is_gone, self.portal.folder_id = not is_other, 8
        self.portal.root.children = {}
        try:
            if is_other and self.is_begun:
                with pytest.raises(NamespaceError, match="cloud folder is gone"):
                    self._run()
            elif not is_other:
                with pytest.raises(PathNotFoundError):
                    self._run()
            assert local_files(self.folder) == before
        finally:
            self.portal.is_gone, self.portal.folder_id = False, 7
            self.portal.root.children = tree

    @rule(which=choices)
    def run_with_shifted_pages(self, which: int) -> None:
        """Run the mirror, with a listing that leaves something out."""
        if nodes := self.portal.nodes():
            self.portal.hidden = {pick(nodes, which).path}
        self._run()
        self.portal.hidden = set()

    @rule()
    def run_with_a_listing_that_fails(self) -> None:
        """Run the mirror, with a listing that ends with an error. Nothing is deleted."""
        before = local_files(self.folder)
        self.portal.walk_error = NamespaceTimeout("no answer", SOURCE)
        try:
            self._run()
        except NamespaceTimeout:
            # What a run that was cut off has moved away may come back.
            assert before.items() <= local_files(self.folder).items()
        finally:
            self.portal.walk_error = None

    @rule(which=choices, deleted=st.booleans())
    def run_while_the_portal_changes(self, which: int, deleted: bool) -> None:
        """Run the mirror, while a file of the portal is overwritten or deleted."""
        files = [n for n in self.portal.nodes() if not n.is_dir]
        if not files:
            return
        node = pick(files, which)

        def change(path: str) -> None:
            self.portal.on_fetch = lambda path: None
            if deleted:
                self.portal.delete(node)
            else:
                self.portal.write(node)

        self.portal.on_fetch = change
        self._run()
        self.portal.on_fetch = lambda path: None

    @rule(which=choices)
    def run_while_the_user_saves(self, which: int) -> None:
        """Run the mirror, while the user saves a file."""
        # Two downloads may begin at once, and the user saves once.
        saves = iter([True])

        def save(path: str) -> None:
            if next(saves, False):
                self.edit(which, False)

        self.portal.on_fetch = save
        # What the user overwrites is not lost by the mirror.
        before = self.users
        try:
            mirror(self.portal, self.folder, delete=self.delete, now=self.clock)
        finally:
            self.portal.on_fetch = lambda path: None
            assert before <= set(local_files(self.folder).values()) | self._own_files("stage")

    @precondition(lambda self: self.delete == "trash")
    @rule()
    def dry_run(self) -> None:
        """Ask what a run would do. Nothing changes."""
        before = local_files(self.folder)
        self._run(dry_run=True)
        assert local_files(self.folder) == before

    @invariant()
    def nothing_is_followed_out(self) -> None:
        """A link leads to the folder's parent. So a file there would be one that was led out."""
        assert not [n for n in NAMES if (self.folder.parent / n).exists()]

    # --- the end ---------------------------------------------------------------------------------

    def check_convergence(self) -> None:
        """After two runs in peace, the folder is equal to the portal but for what the user did."""
        for node in self.portal.nodes():
            node.denied = False
        self._run()
        # A run that left something alone is followed by one that reads the source again.
        result = self._run()
        assert result[:4] == (0, 0, 0, 0), result
        found = local_files(self.folder)
        left_out = self._check_collisions({path for path, _ in result.failed})
        wanted = {p: d for p, d in self.portal.files().items() if p not in left_out}
        edited = {path for path, _ in result.conflicts}
        for path, data in wanted.items():
            assert all(find_problem(n, is_top=False) is None for n in path.split("/"))
            if path not in edited:
                assert found.get(path) == data, path
        for path, data in found.items():
            assert path in wanted or data in self.users, path
        for node in self.portal.nodes():
            is_here = not node.is_dir or (self.folder / node.path).is_dir()
            assert is_here or node.path in left_out
        self.portal.fetched.clear()
        assert self._run().unchanged == len(wanted) - len(edited)
        assert self.portal.fetched == []

    def _check_collisions(self, failed: set[str]) -> set[str]:
        """Check that of names that the disk takes for the same, one is mirrored.

        Args:
            failed: The paths that the last run reported.

        Returns:
            The paths of the portal that cannot be mirrored.
        """
        assert self.is_folding or not failed, failed
        paths = [node.path for node in self.portal.nodes()]
        assert failed <= set(paths), failed
        left_out = {path for path in paths if is_below(path, failed)}
        mirrored = [fold_name(path) for path in paths if path not in left_out]
        assert not self.is_folding or len(mirrored) == len(set(mirrored))
        for path in failed:
            assert fold_name(path) in mirrored, path
        return left_out
