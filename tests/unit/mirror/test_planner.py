"""The planner alone: random trees, done on a disk in memory that is as strict as a real one."""

from __future__ import annotations

import itertools
import random
import time

import hypothesis
import pytest
from hypothesis import strategies as st

from ctera_direct_sync._mirror import planner
from ctera_direct_sync._mirror.local_names import find_problem, fold_name
from ctera_direct_sync._mirror.planner import Options, Plan, Step, conflict_name
from ctera_direct_sync._mirror.spill import Spill
from ctera_direct_sync._mirror.values import Known, Local, Remote, parents_of, split

NAMES = ("a", "A", "b", "\u00e9", "e\u0301")


def plan(
    remote: dict[str, Remote],
    known: dict[str, Known],
    local: dict[str, Local],
    options: Options,
    *,
    spill: Spill | None = None,
    unreadable: frozenset[str] = frozenset(),
    kept: dict[str, str] | None = None,
) -> Plan:
    """Return the plan of dictionaries."""
    spill = spill or Spill()
    views = (
        spill.path_map(tuple, Remote._make),
        spill.path_map(tuple, Known._make),
        spill.path_map(tuple, Local._make),
        spill.texts(),
    )
    for view, items in zip(views, (remote, known, local, kept or {})):
        for path, value in items.items():
            view[path] = value
    return planner.plan(*views[:3], options, spill, unreadable=unreadable, kept=views[3])


class Disk:
    """A disk in memory. It may take names for the same that differ in case or form."""

    def __init__(self, fold: bool) -> None:
        self._fold = fold_name if fold else (lambda path: path)
        #: Path and content of each file, or None for a folder, by the folded path.
        self.names: dict[str, tuple[str, str | None]] = {}

    def put(self, path: str, content: str | None) -> None:
        """Put a file or folder to a free path."""
        parent = split(path)[0]
        assert not parent or self.names[self._fold(parent)][1] is None, f"no folder {parent}"
        assert self._fold(path) not in self.names, f"{path} is taken"
        self.names[self._fold(path)] = (path, content)

    def get(self, path: str) -> str | None:
        """Return the content of a file."""
        return self.names[self._fold(path)][1]

    def has(self, path: str) -> bool:
        """Return whether there is something at a path."""
        return self._fold(path) in self.names

    def take(self, path: str) -> dict[str, tuple[str, str | None]]:
        """Take a file or folder away, with all that is in it."""
        key = self._fold(path)
        taken = {k: v for k, v in self.names.items() if k == key or k.startswith(f"{key}/")}
        assert key in taken, f"nothing at {path}"
        for each in taken:
            del self.names[each]
        return taken

    def rename(self, path: str, target: str) -> None:
        """Rename a file or folder to a free path, or to another spelling of its own."""
        taken = self.take(path)
        length = len(taken[self._fold(path)][0])
        for _, (old, content) in sorted(taken.items()):
            self.put(target + old[length:], content)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        taken = self.take(path)
        assert len(taken) == 1, f"{path} is not empty"

    def files(self) -> dict[str, str]:
        """Return the content of all files, by path."""
        return {path: content for path, content in self.names.values() if content is not None}


class Case:
    """A source, a state and a disk that have come apart at random.

    Args:
        seed: Chooses everything.
    """

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.fold = chance.random() < 0.5
        self.numbers = itertools.count(1)
        self.tree: dict[str, Remote] = {}
        self.unreadable: frozenset[str] = frozenset()
        for _ in range(chance.randrange(8)):
            self.create()
        if self.fold:
            self.drop_collisions()
        self.disk = Disk(self.fold)
        self.known: dict[str, Known] = {}
        for path in sorted(self.tree, key=lambda each: each.count("/")):
            remote = self.tree[path]
            self.disk.put(path, None if remote.is_dir else self.content(remote))
            self.known[path] = Known(next(self.numbers), *remote[:6])
        for _ in range(chance.randrange(6)):
            chance.choice((self.create, self.move, self.overwrite, self.delete))()
        self.user: set[str] = set()
        for _ in range(chance.randrange(4)):
            self.change_here()

    def content(self, remote: Remote) -> str:
        """Return the content of a file of the portal: it has one for each file ID."""
        return f"portal {remote.file_id}"

    def remote(self, path: str, is_dir: bool) -> Remote:
        """Return a new file or folder of the portal."""
        number = next(self.numbers)
        return Remote(path, True) if is_dir else Remote(path, False, number, number % 3, number)

    def create(self) -> None:
        """Add a file or folder to the portal."""
        folders = ["", *(p for p, r in self.tree.items() if r.is_dir and p.count("/") < 3)]
        path = f"{self.chance.choice(folders)}/{self.chance.choice(NAMES)}".lstrip("/")
        if path not in self.tree:
            self.tree[path] = self.remote(path, self.chance.random() < 0.4)

    def drop_collisions(self) -> None:
        """Leave one of the paths that the disk takes for the same."""
        seen: set[str] = set()
        for path in sorted(self.tree, key=lambda each: (each.count("/"), each)):
            parent = split(path)[0]
            if fold_name(path) in seen or (parent and parent not in self.tree):
                del self.tree[path]
            seen.add(fold_name(path))

    def move(self) -> None:
        """Rename, move or swap something of the portal."""
        if not self.tree:
            return
        path = self.chance.choice(sorted(self.tree))
        folders = ["", *(p for p, r in self.tree.items() if r.is_dir)]
        target = f"{self.chance.choice(folders)}/{self.chance.choice(NAMES)}".lstrip("/")
        if target == path or target.startswith(f"{path}/") or path.startswith(f"{target}/"):
            return
        moved = self._take(path)
        swapped = self._take(target) if target in self.tree else {}
        if swapped and self.chance.random() < 0.5:
            swapped = {}
        parent = split(target)[0]
        if parent and parent not in self.tree:
            parent = ""
            target = split(target)[1]
        for old, each in [(path, moved), (target, swapped)]:
            new = target if old == path else path
            if split(new)[0] and split(new)[0] not in self.tree:
                continue
            for inner, remote in each.items():
                place = new + inner[len(old) :]
                if place not in self.tree:
                    self.tree[place] = remote._replace(path=place)
        self._drop_orphans()

    def _take(self, path: str) -> dict[str, Remote]:
        taken = {p: r for p, r in self.tree.items() if p == path or p.startswith(f"{path}/")}
        for each in taken:
            del self.tree[each]
        return taken

    def _drop_orphans(self) -> None:
        for path in sorted(self.tree):
            if any(p not in self.tree or not self.tree[p].is_dir for p in parents_of(path)):
                del self.tree[path]

    def overwrite(self) -> None:
        """Write a file of the portal."""
        files = sorted(p for p, r in self.tree.items() if not r.is_dir)
        if files:
            path = self.chance.choice(files)
            self.tree[path] = self.remote(path, False)

    def delete(self) -> None:
        """Delete something of the portal."""
        if self.tree:
            self._take(self.chance.choice(sorted(self.tree)))

    def change_here(self) -> None:
        """Change, delete or add something on the disk."""
        kind = self.chance.choice(("edit", "delete", "add"))
        files = sorted(self.disk.files())
        own = f"user {next(self.numbers)}"
        if kind == "add":
            folders = ["", *(p for p, c in self.disk.names.values() if c is None)]
            path = f"{self.chance.choice(sorted(folders))}/{self.chance.choice(NAMES)}".lstrip("/")
            if not self.disk.has(path):
                is_dir = self.chance.random() < 0.3
                self.disk.put(path, None if is_dir else own)
                self.user |= set() if is_dir else {own}
        elif files:
            path = self.chance.choice(files)
            self.user.discard(str(self.disk.get(path)))
            self.disk.take(path)
            if kind == "edit":
                self.disk.put(path, own)
                self.user.add(own)

    def local(self) -> dict[str, Local]:
        """Return what the planner is told of the disk."""
        found = {}
        by_fold = {fold_name(path): path for path in self.known} if self.fold else {}
        for path, content in self.disk.names.values():
            path = path if path in self.known else by_fold.get(fold_name(path), path)
            known = self.known.get(path)
            if content is None:
                found[path] = Local(path, "folder", clean=known is not None and known.is_dir)
            else:
                is_clean = known is not None and content == f"portal {known.file_id}"
                found[path] = Local(path, "file", 99, clean=is_clean and not known.is_dir)
        return found

    def plan(self, spill: Spill | None = None) -> Plan:
        """Return the plan."""
        options = Options(stamp="X", fold=fold_name if self.fold else None)
        return plan(self.tree, self.known, self.local(), options, spill=spill)

    def perform(self, planned: Plan) -> list[str]:
        """Do the plan. Return the contents of the files that it deletes."""
        disk = self.disk
        deleted: list[str] = []
        staged: dict[int, str] = {}

        def aside(step: Step) -> None:
            if step.kind == "conflict":
                disk.rename(step.path, step.target)
            elif step.kind == "rmdir":
                disk.remove_folder(step.path)
            elif step.kind != "forget":
                assert step.known is not None and step.local is not None and step.local.clean
                (entry,) = disk.take(step.path).values()
                deleted.append(str(entry[1]))

        for step in planned.aside:
            aside(step)
        for step in planned.staged:
            assert step.known is not None
            ((_, content),) = disk.take(step.path).values()
            staged[step.known.id] = str(content)
        for step in (*planned.cleared, *planned.removed_folders):
            aside(step)
        for step in planned.folders:
            if step.kind == "mkdir":
                disk.put(step.path, None)
            elif step.kind == "move":
                disk.rename(step.path, step.target)
            else:
                assert disk.has(step.path)
        for step in planned.moves:
            disk.rename(step.path, step.target)
        for step in planned.staged:
            assert step.known is not None
            disk.put(step.target, staged.pop(step.known.id))
        for step in planned.fetches:
            assert step.remote is not None and step.kind == "fetch"
            if step.local is not None:
                assert step.local.clean
                disk.take(step.path)
            disk.put(step.path, self.content(step.remote))
        for step in (*planned.deletions, *planned.emptied):
            aside(step)
        return deleted


def outcome(planned: Plan) -> tuple[list[Step], list[tuple[str, str]], list[tuple[str, str]]]:
    """Return what a plan says."""
    return list(planned.steps()), planned.conflicts, planned.failed


def check(seed: int) -> None:
    """Check one case."""
    case = Case(seed)
    before = case.disk.files()
    planned = case.plan()
    assert outcome(planned) == outcome(case.plan())
    deleted = case.perform(planned)
    after = case.disk.files()
    failed = {path for path, _ in planned.failed}
    stays = {path for path, reason in planned.conflicts if "stays" in reason}
    wanted = {
        path: case.content(remote)
        for path, remote in case.tree.items()
        if not remote.is_dir and not failed & {path, *parents_of(path)}
    }
    assert case.user <= set(after.values()), "a file of the user is gone"
    for path, content in wanted.items():
        assert case.disk.has(path), path
        assert case.disk.get(path) == content or path in stays, path
    for path, content in after.items():
        assert content in case.user or wanted.get(path) == content or case.fold, path
    for content in deleted:
        assert content not in wanted.values() or content in after.values()
    for path, content in before.items():
        if wanted.get(path) == content:
            assert content in after.values(), "a deletion that was not ordered"
    if not case.fold:
        assert failed == set()


@hypothesis.given(st.integers(0, 2**32))
@hypothesis.settings(max_examples=500, derandomize=True)
def test_random_cases(seed: int) -> None:
    """Whatever came apart, the steps can be done in their order, lose nothing and lead to the source."""
    check(seed)


@pytest.mark.nightly
def test_many_random_cases() -> None:
    """The same, at length. Hundreds of cases a second are planned and done."""
    began = time.monotonic()
    for seed in range(100_000):
        check(seed)
    assert time.monotonic() - began < 600


@hypothesis.given(st.integers(0, 2**32))
@hypothesis.settings(max_examples=200, derandomize=True, deadline=None)
def test_plans_that_leave_memory(seed: int) -> None:
    """A plan is the same if its collections are in the database."""
    case = Case(seed)
    spill = Spill()
    spill.max_in_memory = seed % 3
    try:
        assert outcome(case.plan(spill)) == outcome(case.plan())
    finally:
        spill.close()


# --- cases with a name -------------------------------------------------------------------------------


def kinds(planned: Plan) -> list[tuple[str, str, str]]:
    """Return kind, path and target of the steps."""
    return [step[:3] for step in planned.steps()]


def test_one_of_two_names_that_the_disk_takes_for_the_same() -> None:
    """The one that was mirrored before is kept, the other and all that is in it is reported once."""
    options = Options(fold=fold_name)
    remote = {
        "A": Remote("A", True), "A/x": Remote("A/x", False, 1, 1),
        "a": Remote("a", True), "a/y": Remote("a/y", False, 2, 1),
    }  # fmt: skip
    planned = plan(remote, {}, {}, options)
    assert kinds(planned) == [("mkdir", "A", ""), ("fetch", "A/x", "")]
    assert [path for path, _ in planned.failed] == ["a"]
    known = {"a": Known(1, "a", True)}
    planned = plan(remote, known, {"a": Local("a", "folder", clean=True)}, options)
    assert [path for path, _ in planned.failed] == ["A"]
    assert kinds(planned) == [("fetch", "a/y", "")]
    planned = plan({"A": remote["A"]}, {}, {}, options, kept={"a": "a"})
    assert [path for path, _ in planned.failed] == ["A"]


def test_case_of_a_name_changes() -> None:
    """A file whose letters change their case is renamed, also on a disk that ignores it."""
    known = {"a": Known(1, "a", False, 5, 10, modified=1)}
    local = {"a": Local("a", "file", 10, clean=True)}
    remote = {"A": Remote("A", False, 5, 10, modified=1)}
    for fold in (None, fold_name):
        assert kinds(plan(remote, known, local, Options(fold=fold))) == [("move", "a", "A")]


def test_unreadable_folder_keeps_all() -> None:
    """What is in a folder that cannot be read stays, whatever the reading lacks."""
    known = {"d": Known(1, "d", True), "d/a": Known(2, "d/a", False, 5, 10)}
    local = {"d": Local("d", "folder", clean=True), "d/a": Local("d/a", "file", 10, clean=True)}
    planned = plan({}, known, local, Options(), unreadable=frozenset({"d"}))
    assert kinds(planned) == []


@pytest.mark.parametrize(
    "name", ["CON", "nul.txt", "com1", "a:b", "a?", "ends.", "ends ", "a\\b", "tab\t", "LPT9.x.y"]
)
def test_names_that_windows_cannot_hold(name: str) -> None:
    """Windows has rules of its own."""
    assert find_problem(name, is_top=False, windows=True)
    assert find_problem(name, is_top=False, windows=False) is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0", "\udcff", "x" * 256, "\u00e9" * 128])
def test_names_that_no_system_can_hold(name: str) -> None:
    """Some names can be on no disk."""
    assert find_problem(name, is_top=False, windows=False)


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("a.pdf", 1, "a.conflict-T.pdf"),
        ("a.pdf", 2, "a.conflict-T-2.pdf"),
        ("a", 1, "a.conflict-T"),
        (".profile", 1, ".profile.conflict-T"),
        ("x" * 255, 1, "x" * 244 + ".conflict-T"),
        ("x." + "y" * 253, 1, "x.conflict-T-1"),
    ],
)
def test_names_of_conflict_copies(name: str, number: int, expected: str) -> None:
    """The time comes before the extension, and a long name is cut."""
    assert conflict_name(name, "T", number) == expected
