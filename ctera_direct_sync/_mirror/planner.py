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

The planner knows maps, sets and lists, and not where these are: large ones leave memory (`spill`).
"""

from __future__ import annotations

from collections.abc import Iterator

from .deletion import Deletion
from .name_clashes import drop_collisions, drop_impossible_names
from .spill import ItemList, PathMap, PathSet, Spill
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
    remote: PathMap[Remote],
    known: PathMap[Known],
    local: PathMap[Local],
    options: Options,
    spill: Spill,
    *,
    unreadable: frozenset[str] = frozenset(),
    excluded: PathSet | None = None,
    kept: PathMap[str] | None = None,
) -> Plan:
    """Return what makes the folder equal to the source.

    Args:
        remote: What the portal has, by path. The reading must be complete but for `unreadable`.
        known: What was mirrored, by path.
        local: What is on the disk, by path.
        options: How to plan.
        spill: Makes the collections of the plan.
        unreadable: Folders that the portal did not let the user read. Nothing in them changes.
        excluded: Paths that were mirrored, and that the user's patterns now exclude.
        kept: With `Options.fold`: the paths that were left out because nothing changed, by their folded
            form.

    Returns:
        The plan. It is the same for the same arguments.
    """
    planner = _Planner(
        remote,
        known,
        local,
        options,
        spill,
        unreadable,
        spill.path_set() if excluded is None else excluded,
        spill.texts() if kept is None else kept,
    )
    return planner.run()


class _Planner:
    def __init__(
        self,
        remote: PathMap[Remote],
        known: PathMap[Known],
        local: PathMap[Local],
        options: Options,
        spill: Spill,
        unreadable: frozenset[str],
        excluded: PathSet,
        kept: PathMap[str],
    ) -> None:
        self._remote = remote
        self._known = known
        self._local = local
        self._options = options
        self._spill = spill
        self._unreadable = unreadable
        self._above_unreadable = {above for path in unreadable for above in parents_of(path)}
        self._excluded = excluded
        self._kept = kept
        self._fold = options.fold or (lambda path: path)
        self._plan = Plan(spill)
        # Entries of the portal that the disk cannot hold. What is in such a folder is left out with it.
        self._dropped: set[str] = set()
        # The old path of what moves to a path, and the paths that entries move away from.
        self._incoming = spill.texts()
        self._sources = spill.path_set()
        # Paths whose local content goes aside, and the names of conflict copies.
        self._set_aside = spill.path_set()
        self._taken = spill.path_set()
        # Paths of files where a mirrored folder is.
        self._cleared = spill.path_set()
        # Only for a disk that does not tell all names apart: paths on the disk, paths that files move
        # away from, and whether the portal has a folder, each by the folded path.
        self._local_keys = spill.texts()
        self._source_keys = spill.texts()
        self._file_keys = spill.path_set()
        self._folder_keys = spill.path_set()
        # The entries of folders that the portal no longer has, those above first.
        self._emptied = self._plan.new_phase()

    def run(self) -> Plan:
        remote, options, spill = self._remote, self._options, self._spill
        self._plan.failed.extend(drop_impossible_names(remote, self._dropped, options))
        self._plan.failed.extend(
            drop_collisions(
                remote, self._known, self._kept, self._dropped, options, spill, self._unreadable
            )
        )
        if options.fold is not None:
            for path in self._local:
                self._local_keys[self._fold(path)] = path
        self._match_moves()
        if options.fold is not None:
            self._note_keys()
        self._plan_folders()
        for path, target in self._wanted():
            if not target.is_dir:
                source = self._incoming.get(path)
                if source is not None:
                    self._plan_move(path, target, self._known[source])
                else:
                    self._plan_file(path, target)
        for path, entry in self._known.items():
            if self._remote_at(path) is None and path not in self._sources:
                self._plan_deletion(entry)
        self._plan_cleared_folders()
        for each in (
            self._incoming, self._sources, self._set_aside, self._taken, self._cleared,
            self._local_keys, self._source_keys, self._file_keys, self._folder_keys, self._emptied,
        ):  # fmt: skip
            each.clear()
        return self._plan

    # --- the portal ------------------------------------------------------------------------------

    def _remote_at(self, path: str) -> Remote | None:
        """Return what the portal has at a path, if the disk can hold it."""
        found = self._remote.get(path)
        return None if found is None or is_below(path, self._dropped) else found

    def _wanted(self) -> Iterator[tuple[str, Remote]]:
        """Return what the portal has and the disk can hold, in the order of the paths."""
        for path, target in self._remote.items():
            if not is_below(path, self._dropped):
                yield path, target

    def _note_keys(self) -> None:
        for path in self._sources:
            self._source_keys[self._fold(path)] = path
        for path, target in self._wanted():
            (self._folder_keys if target.is_dir else self._file_keys).add(self._fold(path))

    def _has_file(self, path: str) -> bool:
        """Return whether the portal has a file at a path, by whatever spelling."""
        if self._options.fold is not None:
            return self._fold(path) in self._file_keys
        target = self._remote_at(path)
        return target is not None and not target.is_dir

    def _has_folder(self, path: str) -> bool:
        """Return whether the portal has a folder at a path, by whatever spelling."""
        if self._options.fold is not None:
            return self._fold(path) in self._folder_keys
        target = self._remote_at(path)
        return target is not None and target.is_dir

    def _is_source_of_other(self, path: str, source: str) -> bool:
        """Return whether another file than that at `source` moves away from a path."""
        if self._options.fold is not None:
            return (self._source_keys.get(self._fold(path)) or source) != source
        return path != source and path in self._sources

    # --- moves -----------------------------------------------------------------------------------

    def _match_moves(self) -> None:
        """Find the files that were mirrored under another path.

        A listing does not tell the identity of a file. So a file that is gone from one path and is new
        at another is the same if file ID, size and time are the same.
        """
        # Path by path, below the number and size of the file.
        by_content = self._spill.path_set()
        for path, free in self._known.items():
            if free.is_dir or is_below(path, self._unreadable) or path in self._excluded:
                continue
            at_path = self._remote_at(path)
            if at_path is not None and is_same_content(free, at_path):
                continue
            if free.file_id is not None:
                by_content.add(f"{_content_key(free)}/{path}")
        for path, target in self._wanted() if by_content else ():
            if target.is_dir or target.file_id is None:
                continue
            at_target = self._known.get(path)
            if at_target is not None and is_same_content(at_target, target):
                continue
            source = self._find_source(target, by_content)
            if source is None:
                continue
            found = self._local.get(source)
            if found is None or found.kind == "folder":
                continue  # It was deleted here, so it is downloaded to its new path.
            self._incoming[path] = source
            self._sources.add(source)
        by_content.clear()

    def _find_source(self, target: Remote, by_content: PathSet) -> str | None:
        key = _content_key(target)
        for each in by_content.below(key):
            path = each[len(key) + 1 :]
            if path not in self._sources and is_same_content(self._known[path], target):
                return path
        return None

    def _plan_move(self, path: str, target: Remote, entry: Known) -> None:
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
        is_blocked = self._is_source_of_other(path, source)
        above_target = self._gives_way(source)
        target_was_folder = occupant is not None and occupant.kind == "folder"
        becomes_folder = self._has_folder(source)
        staged = is_blocked or above_target or target_was_folder or becomes_folder
        step = Step("move", source, path, target, entry, found, staged)
        (self._plan.staged if staged else self._plan.moves).append(step)
        if not found.clean:
            self._plan.conflicts.append((path, "it was changed here, and stays as it is"))

    # --- files -----------------------------------------------------------------------------------

    def _plan_file(self, path: str, target: Remote) -> None:
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
        elif displaced is not None and not displaced.is_dir and self._may_forget(found.path, path):
            reason = "it was changed here, and the portal has another file of this name"
            self._keep_aside(found, displaced, reason)
        else:
            self._keep_aside(found, None, "it was here before the portal's file of this name")
        self._plan.fetches.append(Step("fetch", path, "", target))

    def _may_forget(self, found: str, path: str) -> bool:
        """Return whether what is here is by another spelling, which no pattern excludes."""
        return found != path and found not in self._excluded

    # --- folders ---------------------------------------------------------------------------------

    def _plan_folders(self) -> None:
        for path, target in self._wanted():
            if not target.is_dir:
                continue
            entry = self._known.get(path)
            found = self._occupant(path)
            if found is not None and found.kind == "folder":
                if found.path != path and self._remote_at(found.path) is None:
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
        if not self._cleared and not self._emptied:
            return
        holding, own = self._find_holding_folders()
        for path in self._cleared:
            found = self._occupant(path)
            if found is None or found.kind != "folder" or found.path in self._set_aside:
                continue
            if found.path in holding:
                entry = self._known.get(found.path)
                files = "files of your own" if found.path in own else "files that stay here"
                reason = f"{files} are in it, and the portal has a file of this name"
                self._keep_aside(found, entry, reason, self._plan.cleared)
                continue
            inside = [p for p, each in self._local.below(found.path) if each.kind == "folder"]
            for each in (*reversed(inside), found.path):
                self._plan.removed_folders.append(
                    Step("rmdir", each, "", None, self._known.get(each), self._local[each])
                )
        done = {step.path for step in self._plan.removed_folders}
        moved = {step.path for step in self._plan.cleared}
        for step in reversed(self._emptied):
            if step.path in done:
                continue
            stays = step.path in holding or is_below(step.path, moved)
            self._plan.emptied.append(
                Step("forget", step.path, "", None, step.known) if stays else step
            )
        holding.clear()
        own.clear()

    def _find_holding_folders(self) -> tuple[PathSet, PathSet]:
        """Find the folders that hold something which this run does not delete.

        Returns:
            Those folders, and those of them that hold something of the user.
        """
        gone = self._spill.path_set()
        for phase in (self._plan.aside, self._plan.deletions):
            gone.update(step.path for step in phase if step.kind in ("trash", "remove"))
        holding = self._spill.path_set()
        own = self._spill.path_set()
        for path, found in self._local.items():
            if found.kind == "folder":
                stays = not self._is_known_folder(path)
            else:
                stays = path not in self._sources and path not in gone
            if stays:
                holding.update(parents_of(path))
                if not found.clean:
                    own.update(parents_of(path))
        gone.clear()
        return holding, own

    # --- deletions -------------------------------------------------------------------------------

    def _plan_deletion(self, entry: Known) -> None:
        """Plan what happens to an entry that the portal no longer has."""
        path = entry.path
        if is_below(path, self._unreadable) or path in self._set_aside:
            return
        if entry.is_dir and path in self._above_unreadable:
            # What stays in it is found by its entry.
            return
        found = self._local.get(path)
        gives_way = self._gives_way(path)
        keep = self._options.delete == "keep"
        if found is None or path in self._excluded or (keep and not gives_way):
            phase = self._emptied if entry.is_dir else self._plan.forgotten
            phase.append(Step("forget", path, "", None, entry))
        elif entry.is_dir:
            is_free = next(self._excluded.below(path), None) is None
            if found.kind == "folder" and is_free:
                self._emptied.append(Step("rmdir", path, "", None, entry, found))
            else:
                self._emptied.append(Step("forget", path, "", None, entry))
        elif not found.clean:
            self._keep_aside(found, entry, "it was changed here, and deleted on the portal")
        elif gives_way:
            self._delete_in_the_way(entry, found)
        else:
            kind: StepKind = "remove" if self._options.delete == "remove" else "trash"
            self._plan.deletions.append(Step(kind, path, "", None, entry, found))

    def _gives_way(self, path: str) -> bool:
        """Return whether the portal has a file in the place of a folder that a path is in."""
        return any(self._has_file(each) for each in parents_of(path))

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
        self, found: Local, entry: Known | None, reason: str, phase: ItemList[Step] | None = None
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
            and self._remote_at(each) is None
            and each not in self._known
            and self._occupant(each) is None
        )
        self._taken.add(target)
        return target

    # --- the disk --------------------------------------------------------------------------------

    def _occupant(self, path: str) -> Local | None:
        """Return what is at a path on the disk, by whatever spelling, or None."""
        found = self._local.get(path)
        if found is None and self._options.fold is not None:
            other = self._local_keys.get(self._fold(path))
            found = None if other is None else self._local.get(other)
        return found


def _content_key(file: Known | Remote) -> str:
    """Return a text that is the same for files of the same file ID and size."""
    return f"{file.file_id} {file.size}"
