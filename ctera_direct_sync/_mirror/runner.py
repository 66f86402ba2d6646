"""One run of a mirror: it reads the portal and the disk, plans, and does what is planned."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Callable

from .._base.cancellation import CancelScope
from .._base.sync import perf_counter
from .._readers.folders import Folder
from ..exceptions import (
    AccessDeniedError,
    NamespaceError,
    NotAFolderError,
    PathNotFoundError,
    TooManyDeletionsError,
)
from ..types import Mirrored
from .asides import Asides
from .changes import Changes, Reading
from .confirmation import Confirmation
from .feed_map import ObjectPlace
from .fetcher import Fetch
from .local_names import OWN_FOLDER, fold_name
from .local_tree import LocalTree
from .options import MirrorOptions, Names, OnStep, Round
from .own_files import purge_downloads, purge_trash, restamp_trash
from .own_folder import lock_own, open_own
from .performer import Performer
from .planner import Options, Plan, plan
from .recovery import recover
from .report import Report
from .source import Source
from .spill import Spill
from .stage import Stage
from .state import State
from .survey import Survey
from .trash import STAMP_FORMAT, age_days, find_doubt, is_ahead, is_older

__all__ = ["MirrorOptions", "Names", "OnStep", "Round", "run_mirror"]

_log = logging.getLogger(__name__)


def run_mirror(
    names: Names,
    fetch: Fetch,
    scope: CancelScope,
    source: str,
    folder: str | os.PathLike[str],
    options: MirrorOptions,
) -> Round:
    """Make a folder equal to a folder of the portal.

    Args:
        names: Reads the portal's folders.
        fetch: Downloads a file.
        scope: The scope that cancels the run.
        source: The folder on the portal.
        folder: The local folder. It is made if it does not exist.
        options: All else.

    Returns:
        What was done.

    Raises:
        BlockingIOError: Another run is at work in the folder.
        NamespaceError: The portal does not answer, or has no such folder. Nothing was deleted.
        TooManyDeletionsError: There is more to delete than allowed. Nothing was changed.
        OSError: The disk is full, or the folder cannot be written. Nothing was deleted.
        ValueError: The folder mirrors something else.
    """
    began = perf_counter()
    root_path = os.path.realpath(os.fsdecode(os.fspath(folder)))
    if not options.dry_run:
        os.makedirs(root_path, exist_ok=True)
    with contextlib.ExitStack() as stack:
        tree = None
        own = None
        if os.path.isdir(root_path) or not options.dry_run:
            root = stack.enter_context(Folder.open(root_path))
            own = open_own(root, make=not options.dry_run)
            if own is not None:
                stack.callback(own.close)
                # Nothing can run in a folder on a medium that cannot be written.
                if not (options.dry_run and own.is_read_only()):
                    stack.callback(lock_own(own).release, remove=False)
            tree = LocalTree(root, own)
            stack.callback(tree.close)
        if options.dry_run or own is None:
            state = State.copied(own)
        else:
            state = State.open(own)
        stack.callback(state.close)
        spill = Spill()
        stack.callback(spill.close)
        run = _Run(names, fetch, scope, source, tree, state, options, spill)
        mirrored = run.run()._replace(seconds=perf_counter() - began)
        return Round(mirrored, run.changes.cursor, run.source.folder_id)


class _Run:
    """One run.

    Args:
        names: As for `run_mirror`, as the next three.
        fetch: Downloads a file.
        scope: The scope that cancels the run.
        source: The folder on the portal.
        tree: The mirrored folder. None: it does not exist yet, for a dry run.
        state: The state.
        options: All else.
        spill: Makes collections.
    """

    def __init__(
        self,
        names: Names,
        fetch: Fetch,
        scope: CancelScope,
        source: str,
        tree: LocalTree | None,
        state: State,
        options: MirrorOptions,
        spill: Spill,
    ) -> None:
        self._names = names
        self._fetch = fetch
        self._scope = scope
        self._path = source
        self._tree = tree
        self._state = state
        self._options = options
        self._spill = spill
        self._stamp = options.now().strftime(STAMP_FORMAT)
        self._report = Report()
        self._beside: dict[str, str] = {}
        self._reading = Reading("all")
        self._is_settled = True
        self.changes = Changes(names, scope, source, state, options, spill)
        self.source = Source(names, scope, source, state, options, self._report)

    def run(self) -> Mirrored:
        """Read, plan, and do what is planned."""
        self.source.check()
        self._purge_downloads()
        performer = None
        if self._tree is not None:
            is_real = not self._options.dry_run
            asides = Asides(self._tree, self._stamp, self._report, change=is_real)
            recover(self._state, self._tree, asides)
            performer = self._make_performer(self._tree, asides) if is_real else None
            stage = Stage(self._tree, self._state, performer, asides)
            stage.empty()
            self._beside = stage.beside
        fold = self._find_fold()
        survey, planned = self._read_until_complete(fold)
        if performer is None:
            return self._tell(planned)
        if self._reading.kind != "nothing":
            # What was listed may be newer than the cursor, and newer than what events will tell.
            self._is_settled = self.changes.is_settled()
        self._begin(survey, fold)
        # A plan has all that the steps need.
        survey.clear()
        performer.perform(planned)
        self._finish()
        return self._report.result()

    def _make_performer(self, tree: LocalTree, asides: Asides) -> Performer:
        return Performer(
            tree,
            self._state,
            self._options,
            self._report,
            self._fetch,
            self._names.stat,
            self._scope,
            self.source.prefix,
            asides,
        )

    # --- reading and planning ---------------------------------------------------------------------

    def _read_until_complete(self, fold: Callable[[str], str] | None) -> tuple[Survey, Plan]:
        """Read and plan. If a listing lacked what the portal has, do so once more.

        Args:
            fold: As in `planner.Options`.

        Raises:
            NamespaceError: The second listing lacked something as well.
        """
        # What could not leave the stage is reported, whichever listing counts.
        unstaged = len(self._report.failed)
        self._reading = self.changes.read(self.source.folder_id)
        survey, planned, missed = self._read_and_plan(fold)
        if self.source.incomplete:
            # Pages shift when something is added meanwhile. A second listing tells whether it was that.
            _log.info(
                "%s: the listing lacked %r, so it is read again", self._path, self.source.incomplete
            )
            del self._report.failed[unstaged:]
            self.source.forget_listing()
            self._reading = self._reading._replace(kind="all")
            planned.clear()
            survey.clear()
            survey, planned, missed = self._read_and_plan(fold)
        if missed:
            raise NamespaceError(
                "The portal has it, but the listing of its folder lacks it, so nothing was changed here: "
                "try again later, or tell the portal's administrator",
                self.source.prefix + missed,
            )
        return survey, planned

    def _read_and_plan(self, fold: Callable[[str], str] | None) -> tuple[Survey, Plan, str]:
        """Read the portal and the disk, and plan.

        Args:
            fold: As in `planner.Options`.

        Returns:
            The survey, the plan, and what the listing lacked although the portal has it.
        """
        survey = self._read_remote(fold)
        survey.read_local()
        self._report.failed += survey.failed
        self.source.unreadable |= survey.unreadable
        self._report.unchanged = survey.unchanged
        confirmation = Confirmation(
            self._names,
            self._scope,
            self.source,
            self._state,
            self._options,
            self._report,
            self._beside,
            self.changes.proven,
            self._spill,
        )
        planned = self._plan(survey, fold, confirmation)
        return survey, planned, confirmation.missed

    def _read_remote(self, fold: Callable[[str], str] | None) -> Survey:
        """Compare the portal with the state, as far as `_reading` says."""

        def make() -> Survey:
            return Survey(
                self._state, self._tree, self._options.filter, fold, self._scope.check, self._spill
            )

        survey = make()
        if self._reading.kind == "nothing":
            survey.take_as_unchanged()
            return survey
        if self._reading.kind == "folders":
            unread = len(self._report.failed)
            try:
                survey.read_folders(self._reading, self.source.list_folder, self.source.walk)
                return survey
            except (AccessDeniedError, NotAFolderError, PathNotFoundError) as error:
                # It has changed since the feed was read.
                _log.info("%s: %s: everything is read", self._path, error)
            del self._report.failed[unread:]
            self.source.forget_listing()
            self._reading = self._reading._replace(kind="all")
            survey.clear()
            survey = make()
        survey.read_remote(self.source.walk(), self._reading.stale)
        return survey

    def _plan(
        self, survey: Survey, fold: Callable[[str], str] | None, confirmation: Confirmation
    ) -> Plan:
        """Plan, until each deletion is confirmed by the portal.

        A listing has no cursor. What is added or removed meanwhile shifts its pages, so an entry may be
        missing although it is there. So the portal is asked again for what is to be deleted.

        Raises:
            TooManyDeletionsError: There is more to delete than allowed.
        """
        longest = 255 if self._tree is None else self._tree.root.longest_name()
        options = Options(self._options.delete, self._stamp, os.name == "nt", longest, fold)
        while True:
            self._scope.check()
            planned = plan(
                survey.remote,
                survey.known,
                survey.local,
                options,
                self._spill,
                unreadable=frozenset(self.source.unreadable),
                excluded=survey.excluded,
                kept=survey.kept,
            )
            confirmation.spare(planned)
            count = planned.deleted_files
            if count > self._options.max_delete:
                raise TooManyDeletionsError(
                    f"{count} files would be deleted, and max_delete allows {self._options.max_delete}, "
                    "so nothing was changed: look at the source, and then raise max_delete",
                    count,
                )
            confirmation.check_cloud_folders(survey)
            before = len(self.source.unreadable)
            confirmation.confirm(planned, survey)
            if len(self.source.unreadable) == before:
                return planned
            planned.clear()

    def _find_fold(self) -> Callable[[str], str] | None:
        """Return what tells which paths the disk takes for the same. None: it tells all apart."""
        if self._tree is None or self._options.dry_run:
            return self._guess_fold()
        folder = self._tree.folder(OWN_FOLDER)
        for name, other in (("probe-a", "PROBE-A"), ("probe-\u00e9", "probe-e\u0301")):
            with contextlib.suppress(OSError):
                folder.unlink(name)
            try:
                os.close(folder.create(name, os.O_WRONLY))
            except (OSError, UnicodeEncodeError):
                continue
            try:
                folder.lstat(other)
            except OSError:
                continue
            else:
                return fold_name
            finally:
                folder.unlink(name)
        return None

    def _guess_fold(self) -> Callable[[str], str] | None:
        """Return what `_find_fold` returns, without writing to the disk."""
        before = self._state.get("fold")
        if before is None:
            is_folding = os.name == "nt" or os.uname().sysname == "Darwin"
            if self._tree is not None and not is_folding:
                parent, name = os.path.split(self._tree.root.path)
                with contextlib.suppress(OSError):
                    found = os.lstat(os.path.join(parent, name.swapcase()))
                    is_folding = name != name.swapcase() and os.path.samestat(
                        found, os.lstat(self._tree.root.path)
                    )
            before = str(int(is_folding))
        return fold_name if before == "1" else None

    # --- beginning and end ------------------------------------------------------------------------

    def _purge_downloads(self) -> None:
        """Remove downloads that no run will use, before anything is written to a disk that may be full."""
        if self._options.dry_run or self._tree is None:
            return
        needed = {intent.source for intent in self._state.intents()}
        purge_downloads(self._tree, keep_parts=True, needed=needed)

    def _begin(self, survey: Survey, fold: Callable[[str], str] | None) -> None:
        """Store what was found out, before the first change of the folder."""
        with self._state.transaction():
            self._state.put("portal", self._options.portal)
            self._state.put("source", self._path)
            if self._options.user:
                self._state.put("user", self._options.user)
            self._state.put("fold", str(int(fold is not None)))
            self._state.put("folder_id", self.source.folder_id_text)
            # Until the end of the run, the source must be read again by the next one.
            self._state.put("clean", "0")
            for entry in survey.refreshed:
                self._state.save(entry)

    def _finish(self) -> None:
        """Note that the run is complete. Drop what is old, or no longer needed."""
        assert self._tree is not None
        failed = self._report.failed
        has_walked = self._reading.kind == "all"
        chain, is_told = "[]", False
        outdated: list[ObjectPlace] = []
        unfound: list[ObjectPlace] = []
        # States of earlier releases do not have the time of the last run.
        last = self._state.get("last run") or self._state.get("walked") or ""
        is_clean = self._report.is_clean and not failed
        if self._reading.kind != "nothing":
            is_clean = is_clean and self._is_settled
            paths = frozenset({""}) if has_walked else self._reading.deep
            chain, is_told = self.changes.check_map(
                paths, self._reading.folders, has_walked=has_walked
            )
            outdated, unfound = self.changes.places_without_entry()
        with self._state.transaction():
            self._state.put("clean", "1" if is_clean else "0")
            self._state.put("patterns", self._options.patterns)
            if has_walked:
                self._state.put("walked", self._stamp)
            if self._reading.kind != "nothing":
                self._state.put("feed map", "1" if is_clean and is_told else "0")
                self._state.put("feed chain", chain)
            if self.changes.cursor is not None:
                self._state.put("cursor", self.changes.cursor)
                self._state.feed.merge()
                for place in outdated:
                    self._state.feed.drop(*place)
                self._state.feed.doubt(unfound)
        self._empty_trash(last)
        if not failed:
            purge_downloads(self._tree, keep_parts=False)

    def _empty_trash(self, last: str) -> None:
        """Remove what is old from the trash, unless the clock is in doubt.

        Args:
            last: The time of the last run, or an empty text.
        """
        assert self._tree is not None
        now, days = self._options.now(), self._options.trash_days
        pause = age_days(last, now)
        before = float(self._state.get("pause") or 0)
        doubt = find_doubt(pause, before, self._state.get("clock doubted") or "", now, days)
        with self._state.transaction():
            self._state.put("last run", now.strftime(STAMP_FORMAT))
            self._state.put("pause", str(pause or 0.0))
            self._state.put("clock doubted", doubt)
        if doubt:
            return
        with contextlib.suppress(OSError):
            restamp_trash(self._tree, lambda run: is_ahead(run, now), self._stamp)
        if days is not None:
            with contextlib.suppress(OSError):
                purge_trash(self._tree, lambda run: is_older(run, now, days))

    def _tell(self, planned: Plan) -> Mirrored:
        """Return what would be done."""
        self._report.conflicts += planned.conflicts
        self._report.failed += planned.failed
        for step in planned.steps():
            self._report.count(step, "")
            if step.kind == "fetch" and step.remote is not None:
                self._report.nbytes += step.remote.size or 0
            if self._options.on_step is not None:
                self._options.on_step(step, "")
        return self._report.result()
