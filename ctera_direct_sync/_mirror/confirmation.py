"""Confirming each deletion of a plan by the portal, before the first change."""

from __future__ import annotations

from .._base.cancellation import CancelScope
from ..exceptions import AccessDeniedError, NotAFolderError, PathNotFoundError
from .changes import proof_of
from .local_names import fold_name
from .options import MirrorOptions, Names
from .planner import Plan, Step
from .report import Report
from .source import Source, gone
from .spill import PathSet, Spill
from .state import State
from .survey import Survey
from .values import is_below, is_other_folder, parents_of, split

__all__ = ["Confirmation"]


class Confirmation:
    """Keeps what a plan would delete without a proof.

    Args:
        names: Asks the portal.
        scope: The scope that cancels the run.
        source: The source, as it was read.
        state: The state.
        options: The arguments of the mirror.
        report: Takes what is kept.
        beside: As in `Stage`.
        proven: As in `Changes`.
        spill: Makes collections.

    Attributes:
        missed: What the last listing lacked although the portal has it, or empty.
    """

    def __init__(
        self,
        names: Names,
        scope: CancelScope,
        source: Source,
        state: State,
        options: MirrorOptions,
        report: Report,
        beside: dict[str, str],
        proven: PathSet,
        spill: Spill,
    ) -> None:
        self._names = names
        self._scope = scope
        self._source = source
        self._state = state
        self._options = options
        self._report = report
        self._beside = beside
        self._proven = proven
        self._spill = spill
        self.missed = ""
        # Name and file ID of what was deleted from a folder, by its path.
        self._deleted: dict[str, set[tuple[str, int | None]]] = {}
        # Folders and files that the portal no longer has.
        self._confirmed = spill.path_set()

    def spare(self, planned: Plan) -> None:
        """Keep what a plan would delete although its path does not tell if the portal still has it."""
        if self._options.delete != "remove" and not self._beside:
            return
        doomed, planned.deletions = planned.deletions, planned.new_phase()
        for step in doomed:
            origin = self._beside.get(step.path)
            if origin is not None:
                planned.forgotten.append(step._replace(kind="forget"))
                name = split(step.path)[1]
                planned.conflicts.append((origin, f"another file has its place: kept as {name!r}"))
            elif step.kind == "remove" and not self._is_proven(step):
                # A listing does not tell what was deleted from what this user may no longer see.
                planned.deletions.append(step._replace(kind="trash"))
            else:
                planned.deletions.append(step)
        doomed.clear()

    def _is_proven(self, step: Step) -> bool:
        """Return whether the change feed has named the file of a step deleted."""
        known = step.known
        return (
            known is not None
            and known.file_id is not None
            and proof_of(split(known.path)[1], known.file_id) in self._proven
        )

    def _is_deleted(self, step: Step) -> bool:
        """Return whether the portal names the file of a step deleted, so that it did not move.

        The change feed does, or the list of what was deleted from the file's folder.
        """
        known = step.known
        if known is None or known.file_id is None:
            return False
        parent, name = split(known.path)
        if self._is_proven(step):
            return True
        if parent not in self._deleted:
            self._scope.check()
            path = f"{self._source.prefix}{parent}".rstrip("/")
            found: set[tuple[str, int | None]] = set()
            try:
                for entry in self._names.listdir(path, include_deleted=True):
                    if entry.is_deleted and not entry.is_dir:
                        found.add((entry.name, entry.file_id))
            except (AccessDeniedError, NotAFolderError, PathNotFoundError):
                found.clear()
            self._deleted[parent] = found
        return (name, known.file_id) in self._deleted[parent]

    def check_cloud_folders(self, survey: Survey) -> None:
        """Raise an error if a cloud folder of the source is gone, or another has taken its name."""
        for path, known in survey.known.items():
            if not known.is_dir or path in survey.excluded or path not in survey.local:
                continue
            parent = survey.known.get(split(path)[0]) or self._state.entry(split(path)[0])
            above = self._source.folder_id_text if parent is None else str(parent.folder_id or "")
            # A listing need not tell the IDs, so the place counts as well.
            full_path = self._source.prefix + path
            has_own_id = known.folder_id is not None and above != str(known.folder_id)
            if not has_own_id and not _is_place_of_cloud_folder(full_path, self._options.is_admin):
                continue
            now = survey.remote.get(path)
            if now is None and not is_below(path, self._source.unreadable):
                raise gone(full_path)
        for path, old in survey.known.items():
            remote = survey.remote.get(path) if old.is_dir else None
            if remote is not None and remote.is_dir and is_other_folder(old, remote):
                raise gone(self._source.prefix + path)

    def confirm(self, planned: Plan, survey: Survey) -> None:
        """Ask the portal for everything that is to be deleted. Note what is there as unreadable."""
        doomed = planned.new_map()
        for step in planned.removals():
            if step.known is not None and step.kind in ("trash", "remove", "rmdir", "conflict"):
                doomed[step.path] = step
        spellings = _Spellings(survey, self._spill)
        for path, step in doomed.items():
            if path in survey.remote:
                continue  # Something else has its place, so a listing has told that it is gone.
            if self._source.denied and step.kind != "rmdir" and not self._is_deleted(step):
                # It may have moved into the denied folder, or be in it: that folder may have been renamed.
                self._source.unreadable.add(path)
                self._report.is_clean = False
                self._report.failed.append((path, _may_be_in(self._source.denied)))
                continue
            # If the portal no longer has a folder, it has nothing below that either.
            for each in (*parents_of(path), path):
                if each in self._confirmed:
                    break
                if each != path and each not in survey.known:
                    continue
                if each in survey.remote:
                    continue
                self._scope.check()
                try:
                    entry = self._names.stat(self._source.prefix + each)
                    other = spellings.find(each)
                    is_respelled = entry.name != split(each)[1]
                    if other is not None and is_respelled and entry.name == split(other)[1]:
                        # A portal that does not tell the names apart has found the new spelling.
                        self._confirmed.add(each)
                        break
                    if other is None:
                        self._source.incomplete = self.missed = each
                except (PathNotFoundError, NotAFolderError):
                    self._confirmed.add(each)
                    break
                except AccessDeniedError:
                    self._report.failed.append(
                        (each, "the portal does not let you see it; it stays here")
                    )
                self._source.unreadable.add(each)
                self._report.is_clean = False
                break
        doomed.clear()
        spellings.clear()


class _Spellings:
    """The paths of the portal, by a form that is the same for all spellings of a path.

    Args:
        survey: What the portal has.
        spill: Makes collections.
    """

    def __init__(self, survey: Survey, spill: Spill) -> None:
        self._survey = survey
        self._paths = spill.texts()
        self._is_filled = False

    def find(self, path: str) -> str | None:
        """Return a path that may be another spelling of a path, or None."""
        if not self._is_filled:
            self._is_filled = True
            for each in self._survey.remote:
                self._paths[fold_name(each)] = each
        return self._paths.get(fold_name(path))

    def clear(self) -> None:
        """Drop the paths."""
        self._paths.clear()


def _is_place_of_cloud_folder(path: str, is_admin: bool) -> bool:
    """Return whether the portal has cloud folders at such a path, or the folders of their owners."""
    parts = path.strip("/").split("/")
    if is_admin and parts[0] == "Users":
        return len(parts) <= 3
    return len(parts) == (2 if parts[0] == "Shared With Me" else 1)


def _may_be_in(folder: str) -> str:
    return (
        f"the portal no longer lists it, but it may be in {folder!r}, which you may not read: it stays "
        "here; ask for the permission, or exclude that folder"
    )
