"""What a run has to do: pure decisions, without a disk, a portal, a clock or a lock.

The planner compares three views of each path: what the portal has (`Remote`), what was mirrored
(`Known`), and what is on the disk (`Local`). A path that is the same in all three can be left out.

Three rules keep the user's files safe:

- A file is deleted only if it was mirrored, is unchanged since, and a complete reading of the portal
  no longer has it.
- What was changed here is moved aside or left alone, never replaced.
- What cannot be read on the portal (`unreadable`) changes nothing here.

The steps of a plan are in the order in which they are safe. First, what is in the way of something
else goes aside. Then come folders, moves and downloads, and the deletions come last. So a run that a
full disk stops has deleted nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .deletion import Deletion
from .name_clashes import drop_collisions, drop_impossible_names
from .steps import Options, Plan, Step, StepKind, conflict_name, conflict_paths
from .values import Known, Local, Remote, is_below, is_same_content, parents_of, split

__all__ = [
    "Deletion",
    "Options",
    "Plan",
    "Step",
    "StepKind",
    "conflict_name",
    "conflict_paths",
    "plan",
]


def plan(
    remote: Mapping[str, Remote],
    known: Mapping[str, Known],
    local: Mapping[str, Local],
    options: Options,
    *,
    unreadable: frozenset[str] = frozenset(),
    excluded: frozenset[str] = frozenset(),
    kept: Mapping[str, str] | None = None,
) -> Plan:
    """Return what makes the folder equal to the source.

    Args:
        remote: What the portal has, by path. The reading must be complete but for `unreadable`.
        known: What was mirrored, by path.
        local: What is on the disk, by path.
        options: How to plan.
        unreadable: Folders that the portal did not let the user read. Nothing in them changes.
        excluded: Paths that were mirrored, and that the user's patterns now exclude.
        kept: With `Options.fold`: the paths that were left out because nothing changed, by their folded
            form.

    Returns:
        The plan. It is the same for the same arguments.
    """
    return _Planner(remote, known, local, options, unreadable, excluded, kept or {}).run()


class _Planner:
    def __init__(
        self,
        remote: Mapping[str, Remote],
        known: Mapping[str, Known],
        local: Mapping[str, Local],
        options: Options,
        unreadable: frozenset[str],
        excluded: frozenset[str],
        kept: Mapping[str, str],
    ) -> None:
        self._remote = dict(remote)
        self._known = known
        self._local = local
        self._options = options
        self._unreadable = unreadable
        self._excluded = excluded
        self._kept = kept
        self._fold = options.fold or (lambda path: path)
        self._local_by_fold = (
            {}
            if options.fold is None
            else {self._fold(path): found for path, found in local.items()}
        )
        self._plan = Plan()
        # The entry that moves to a path, and the paths that entries move away from.
        self._incoming: dict[str, Known] = {}
        self._sources: set[str] = set()
        # Paths whose local content goes aside, and the names of conflict copies.
        self._set_aside: set[str] = set()
        self._taken: set[str] = set()
        # Paths of files where a mirrored folder is.
        self._cleared: set[str] = set()

    def run(self) -> Plan:
        for path, reason in (
            *drop_impossible_names(self._remote, self._options),
            *drop_collisions(self._remote, self._known, self._kept, self._options),
        ):
            self._plan.failed.append((path, reason))
        self._match_moves()
        self._wanted_files = {p for p, r in self._remote.items() if not r.is_dir}
        self._source_keys = {self._fold(path): path for path in self._sources}
        self._file_keys = {self._fold(path) for path in self._wanted_files}
        self._folder_keys = {self._fold(p) for p, r in self._remote.items() if r.is_dir}
        self._plan_folders()
        for path in sorted(self._wanted_files):
            if path in self._incoming:
                self._plan_move(path, self._incoming[path])
            else:
                self._plan_file(path)
        for path in sorted(self._known):
            if path not in self._remote and path not in self._sources:
                self._plan_deletion(self._known[path])
        self._plan_cleared_folders()
        self._plan.emptied.sort(key=lambda step: step.path, reverse=True)
        return self._plan

    # --- moves -----------------------------------------------------------------------------------

    def _match_moves(self) -> None:
        """Find the files that were mirrored under another path.

        A listing does not tell the identity of a file. So a file that is gone from one path and is new
        at another is the same if file ID, size and time are the same.
        """
        by_content: dict[tuple[int, int | None], list[Known]] = {}
        for path in sorted(self._known):
            free = self._known[path]
            if free.is_dir or is_below(path, self._unreadable) or path in self._excluded:
                continue
            at_path = self._remote.get(path)
            if at_path is not None and is_same_content(free, at_path):
                continue
            if free.file_id is not None:
                by_content.setdefault((free.file_id, free.size), []).append(free)
        for path in sorted(self._remote):
            target = self._remote[path]
            at_target = self._known.get(path)
            if target.is_dir or target.file_id is None:
                continue
            if at_target is not None and is_same_content(at_target, target):
                continue
            entry = next(
                (
                    each
                    for each in by_content.get((target.file_id, target.size), ())
                    if each.path not in self._sources and is_same_content(each, target)
                ),
                None,
            )
            if entry is None:
                continue
            found = self._local.get(entry.path)
            if found is None or found.kind == "folder":
                continue  # It was deleted here, so it is downloaded to its new path.
            self._incoming[path] = entry
            self._sources.add(entry.path)

    def _plan_move(self, path: str, entry: Known) -> None:
        target = self._remote[path]
        found = self._local[entry.path]
        # Files that move go away by themselves. All else at the path gives way.
        occupant = self._occupant(path)
        if occupant is not None and occupant.path not in self._sources:
            displaced = self._known.get(occupant.path)
            if occupant.clean and occupant.kind == "file" and displaced is not None:
                self._delete_in_the_way(displaced, occupant)
            elif occupant.kind == "folder" and self._is_known_folder(occupant.path):
                self._cleared.add(path)
            else:
                self._keep_aside(occupant, displaced, "the portal has another file of this name")
        source = entry.path
        is_blocked = self._source_keys.get(self._fold(path), source) != source
        above_target = self._gives_way(source)
        target_was_folder = occupant is not None and occupant.kind == "folder"
        becomes_folder = self._fold(source) in self._folder_keys
        staged = is_blocked or above_target or target_was_folder or becomes_folder
        step = Step("move", source, path, target, entry, found, staged)
        (self._plan.staged if staged else self._plan.moves).append(step)
        if not found.clean:
            self._plan.conflicts.append((path, "it was changed here, and stays as it is"))

    # --- files -----------------------------------------------------------------------------------

    def _plan_file(self, path: str) -> None:
        target = self._remote[path]
        entry = self._known.get(path)
        found = self._occupant(path)
        if found is not None and found.path in self._sources:
            # The file that is here moves away before the downloads begin.
            found = None
        if found is None:
            is_restored = entry is not None and not entry.is_dir and path not in self._sources
            restored = entry if is_restored else None
            self._plan.fetches.append(Step("fetch", path, "", target, restored))
            return
        if entry is None or entry.is_dir or found.path != path:
            self._plan_unknown(path, target, found, entry)
            return
        if is_same_content(entry, target):
            if not found.clean:
                self._plan.conflicts.append((path, "it was changed here, and stays as it is"))
            return
        if found.clean:
            self._plan.fetches.append(Step("fetch", path, "", target, entry, found))
            return
        self._keep_aside(found, None, "it was changed here and on the portal")
        self._plan.fetches.append(Step("fetch", path, "", target))

    def _plan_unknown(self, path: str, target: Remote, found: Local, entry: Known | None) -> None:
        """Plan a file of the portal for a path that has something else than a mirrored file."""
        if found.kind == "file" and found.size == target.size and found.path == path:
            self._plan.fetches.append(Step("compare", path, "", target, entry, found))
            return
        displaced = self._known.get(found.path)
        if found.clean and found.kind == "file" and displaced is not None:
            # The disk does not tell the names apart, and the portal no longer has the other one.
            self._delete_in_the_way(displaced, found)
        elif found.kind == "folder" and self._is_known_folder(found.path):
            self._cleared.add(path)
        else:
            self._keep_aside(found, None, "it was here before the portal's file of this name")
        self._plan.fetches.append(Step("fetch", path, "", target))

    # --- folders ---------------------------------------------------------------------------------

    def _plan_folders(self) -> None:
        for path in sorted(p for p, r in self._remote.items() if r.is_dir):
            target = self._remote[path]
            entry = self._known.get(path)
            found = self._occupant(path)
            if found is not None and found.kind == "folder":
                if found.path != path and found.path not in self._remote:
                    # Only the case of letters changes.
                    old = self._known.get(found.path)
                    self._plan.folders.append(Step("move", found.path, path, target, old, found))
                    self._sources.add(found.path)
                elif entry is None or not entry.is_dir:
                    self._plan.folders.append(Step("adopt", path, "", target, entry, found))
                continue
            if found is not None and found.path not in self._sources:
                displaced = self._known.get(found.path)
                if displaced is None or displaced.is_dir:
                    self._keep_aside(found, None, "the portal has a folder of this name")
                elif found.clean:
                    self._delete_in_the_way(displaced, found)
                else:
                    self._keep_aside(
                        found, displaced, "it was changed here, and is a folder on the portal"
                    )
            self._plan.folders.append(Step("mkdir", path, "", target, entry))

    def _is_known_folder(self, path: str) -> bool:
        entry = self._known.get(path)
        return entry is not None and entry.is_dir

    def _plan_cleared_folders(self) -> None:
        """Clear away folders in whose place the portal has files.

        A folder with something in it that is not the mirror's stays, or goes aside with it.
        """
        holding, own = self._find_holding_folders()
        for path in sorted(self._cleared):
            found = self._occupant(path)
            if found is None or found.kind != "folder" or found.path in self._set_aside:
                continue
            if found.path in holding:
                entry = self._known.get(found.path)
                files = "files of your own" if found.path in own else "files that stay here"
                reason = f"{files} are in it, and the portal has a file of this name"
                self._keep_aside(found, entry, reason, self._plan.cleared)
                continue
            prefix = f"{found.path}/"
            inside = [
                p
                for p, each in self._local.items()
                if p.startswith(prefix) and each.kind == "folder"
            ]
            for each in sorted([found.path, *inside], reverse=True):
                self._plan.removed_folders.append(
                    Step("rmdir", each, "", None, self._known.get(each), self._local[each])
                )
        done = {step.path for step in self._plan.removed_folders}
        emptied = [step for step in self._plan.emptied if step.path not in done]
        moved = {step.path for step in self._plan.cleared}
        kept = {s.path for s in emptied if s.path in holding or is_below(s.path, moved)}
        self._plan.emptied = [
            Step("forget", step.path, "", None, step.known) if step.path in kept else step
            for step in emptied
        ]

    def _find_holding_folders(self) -> tuple[set[str], set[str]]:
        """Find the folders that hold something which this run does not delete.

        Returns:
            Those folders, and those of them that hold something of the user.
        """
        steps = (*self._plan.aside, *self._plan.deletions)
        gone = {step.path for step in steps if step.kind in ("trash", "remove")}
        holding: set[str] = set()
        own: set[str] = set()
        for path, found in self._local.items():
            if found.kind == "folder":
                stays = not self._is_known_folder(path)
            else:
                stays = path not in self._sources and path not in gone
            if stays:
                holding.update(parents_of(path))
                if not found.clean:
                    own.update(parents_of(path))
        return holding, own

    # --- deletions -------------------------------------------------------------------------------

    def _plan_deletion(self, entry: Known) -> None:
        """Plan what happens to an entry that the portal no longer has."""
        path = entry.path
        if is_below(path, self._unreadable) or path in self._set_aside:
            return
        if entry.is_dir and self._holds_any(path, self._unreadable):
            # What stays in it is found by its entry.
            return
        found = self._local.get(path)
        gives_way = self._gives_way(path)
        keep = self._options.delete == "keep"
        if found is None or path in self._excluded or (keep and not gives_way):
            phase = self._plan.emptied if entry.is_dir else self._plan.forgotten
            phase.append(Step("forget", path, "", None, entry))
        elif entry.is_dir:
            if found.kind == "folder" and not self._holds_any(path, self._excluded):
                self._plan.emptied.append(Step("rmdir", path, "", None, entry, found))
            else:
                self._plan.emptied.append(Step("forget", path, "", None, entry))
        elif not found.clean:
            self._keep_aside(found, entry, "it was changed here, and deleted on the portal")
        elif gives_way:
            self._delete_in_the_way(entry, found)
        else:
            kind: StepKind = "remove" if self._options.delete == "remove" else "trash"
            self._plan.deletions.append(Step(kind, path, "", None, entry, found))

    def _gives_way(self, path: str) -> bool:
        """Return whether the portal has a file in the place of a folder that a path is in."""
        return any(self._fold(each) in self._file_keys for each in parents_of(path))

    @staticmethod
    def _holds_any(path: str, others: Iterable[str]) -> bool:
        """Return whether one of some paths is in a folder."""
        prefix = f"{path}/"
        return any(each.startswith(prefix) for each in others)

    def _delete_in_the_way(self, entry: Known, found: Local) -> None:
        """Delete a file whose path is needed now.

        It goes to the trash even if files are removed for good: what follows may yet fail.
        """
        if self._options.delete == "keep":
            self._keep_aside(
                found, entry, "it was deleted on the portal, which has another thing here"
            )
        elif found.path not in self._set_aside:
            self._set_aside.add(found.path)
            self._plan.aside.append(Step("trash", found.path, "", None, entry, found))

    def _keep_aside(
        self, found: Local, entry: Known | None, reason: str, phase: list[Step] | None = None
    ) -> None:
        """Give something that is not the mirror's to delete another name.

        Args:
            found: What it is.
            entry: The entry of the state that is then dropped, or None.
            reason: Why.
            phase: The phase of the plan. None: the first.
        """
        if found.path in self._set_aside:
            return
        self._set_aside.add(found.path)
        target = self._conflict_path(found.path)
        steps = self._plan.aside if phase is None else phase
        steps.append(Step("conflict", found.path, target, None, entry, found))
        self._plan.conflicts.append((found.path, f"{reason}: kept as {split(target)[1]!r}"))

    def _conflict_path(self, path: str) -> str:
        """Return a free path for a conflict copy."""
        target = next(
            each
            for each in conflict_paths(path, self._options.stamp, self._options.max_name_bytes)
            if each not in self._taken
            and each not in self._remote
            and each not in self._known
            and self._occupant(each) is None
        )
        self._taken.add(target)
        return target

    # --- the disk --------------------------------------------------------------------------------

    def _occupant(self, path: str) -> Local | None:
        """Return what is at a path on the disk, by whatever spelling, or None."""
        found = self._local.get(path)
        if found is None and self._local_by_fold:
            found = self._local_by_fold.get(self._fold(path))
        return found
