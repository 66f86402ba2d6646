"""One run of a mirror: reads, plans, and does the steps in groups that a crash cannot tear apart."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import functools
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Callable, NamedTuple, Protocol

from .._base.cancellation import Cancelled, CancelScope
from .._base.sync import perf_counter
from .._readers.folders import Folder
from ..exceptions import (
    AccessDeniedError,
    CursorRejectedError,
    DirectIOError,
    NamespaceError,
    NotAFolderError,
    PathNotFoundError,
    TooManyDeletionsError,
)
from ..types import ChangePage, Entry, Mirrored
from .fetcher import GROUP_FILES, Fetch, Fetched, Fetcher, Progress
from .filters import Filter
from .local_names import OWN_FOLDER, fold_name
from .local_tree import ChangedMeanwhile, LocalTree, local_of, lock_own
from .planner import Deletion, Options, Plan, Step, conflict_paths, plan
from .recovery import origin_key, recover, save_moved
from .state import Intent, State, entry_of
from .survey import Survey
from .trash import STAMP_FORMAT, is_older
from .values import (
    Known,
    Local,
    Remote,
    is_below,
    is_other_folder,
    join,
    parents_of,
    remote_of,
    split,
)

__all__ = ["MirrorOptions", "Names", "OnStep", "Round", "run_mirror"]

_log = logging.getLogger(__name__)

#: Errors of the local disk that end the run, since each further file would meet them as well.
_FATAL_ERRNOS = {
    errno.ENOSPC, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
    getattr(errno, "EDQUOT", errno.ENOSPC),
}  # fmt: skip
#: The change feed may have lost an event. So the source is read now and then all the same.
_MAX_DAYS_WITHOUT_WALK = 1.0

#: Called with each step, once it is done, and what became of it: "" or "adopted" or "kept".
OnStep = Callable[[Step, str], object]


class Names(Protocol):
    """What a mirror asks the portal."""

    def stat(self, path: str) -> Entry:
        """Return the entry of a path."""

    def walk(self, path: str, on_error: Callable[[NamespaceError], object]) -> Iterator[Entry]:
        """Return everything below a folder. Call `on_error` for each folder that cannot be read."""

    def changes(self, cursor: str | None, folder_id: int) -> Iterator[ChangePage]:
        """Return what has changed in a cloud folder since a cursor."""


@dataclasses.dataclass(frozen=True)
class MirrorOptions:
    """The arguments of a mirror, checked.

    Attributes:
        delete: What happens to files that the portal deleted.
        trash_days: How long the trash keeps files, in days. None: for ever.
        max_delete: The most files that a run may delete.
        filter: The user's patterns.
        dry_run: Whether to change nothing.
        max_files: The most files at once. None: found by measuring.
        memory: The bytes that all downloads may hold, if `max_files` is None.
        progress: Called with the bytes done and the bytes in total.
        on_step: Called with each step.
        feed: Whether to ask the change feed if there is anything new. None: if the user may read it.
        patterns: The user's patterns, as text that tells them from others.
        portal: The portal and the user's view, as text that tells them from others.
        user: The user's name on the portal, or empty if a token stands for it.
        is_admin: Whether the paths are those of an administrator's view.
        now: Returns the time.
    """

    delete: Deletion = "trash"
    trash_days: float | None = 30
    max_delete: int = 1000
    filter: Filter = dataclasses.field(default_factory=Filter)
    dry_run: bool = False
    max_files: int | None = None
    memory: int = 64 * 1024 * 1024
    progress: Progress | None = None
    on_step: OnStep | None = None
    feed: bool | None = None
    patterns: str = ""
    portal: str = ""
    user: str = ""
    is_admin: bool = False
    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.timezone.utc)


class Round(NamedTuple):
    """The outcome of a run.

    Attributes:
        mirrored: What was done.
        cursor: From where on the change feed tells what is new, or None without a feed.
        folder_id: The cloud folder of the source, or None.
    """

    mirrored: Mirrored
    cursor: str | None
    folder_id: int | None


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
            own = LocalTree.open_own(root, make=not options.dry_run)
            if own is not None:
                stack.callback(own.close)
                # Nothing can run in a folder on a medium that cannot be written.
                if not (options.dry_run and own.is_read_only()):
                    stack.callback(lock_own(own).release, remove=False)
            tree = LocalTree(root, own)
            stack.callback(tree.close)
        if options.dry_run or own is None:
            state = State.in_memory(own)
        else:
            state = State.open(own)
        stack.callback(state.close)
        run = _Run(names, fetch, scope, source, tree, state, options)
        mirrored = run.run()._replace(seconds=perf_counter() - began)
        return Round(mirrored, run.cursor, run.folder_id)


class _Run:
    """One run. Only the threads that download run beside it, and report by messages."""

    def __init__(
        self,
        names: Names,
        fetch: Fetch,
        scope: CancelScope,
        source: str,
        tree: LocalTree | None,
        state: State,
        options: MirrorOptions,
    ) -> None:
        self._names = names
        self._fetch = fetch
        self._scope = scope
        self._source = source
        # What comes before a path below the source.
        self._prefix = source.rstrip("/") + "/"
        self._tree_or_none = tree
        self._state = state
        self._options = options
        self._stamp = options.now().strftime(STAMP_FORMAT)
        self._counts: dict[str, int] = dict.fromkeys(("added", "updated", "moved", "deleted"), 0)
        self._unchanged = 0
        self._nbytes = 0
        self._conflicts: list[tuple[str, str]] = []
        self._failed: list[tuple[str, str]] = []
        self._unreadable: set[str] = set()
        # Staged files of a run that was killed, beside their old paths, which are taken.
        self._beside: dict[str, str] = {}
        # A denied folder with unknown content. What is missing elsewhere may be in it.
        self._unknown_denied = ""
        # The name and file ID of what the change feed calls deleted.
        self._proven: set[tuple[str | None, int]] = set()
        self._is_clean = True
        self._has_walked = False
        # What the last listing lacked although the portal has it. Only what was not listed is missed.
        self._incomplete = ""
        self._missed = ""
        self.cursor: str | None = None
        # Changes of the state that wait for the disk, and the steps to report with them.
        self._changes: list[Callable[[], object]] = []
        self._done: list[tuple[Step, str]] = []

    @property
    def _tree(self) -> LocalTree:
        assert self._tree_or_none is not None
        return self._tree_or_none

    # --- the run ---------------------------------------------------------------------------------

    def run(self) -> Mirrored:
        """Read, plan, and do what is planned."""
        self._check_source()
        self._purge_downloads()
        if self._tree_or_none is not None:
            recover(self._state, self._tree, change=not self._options.dry_run)
            if not self._options.dry_run:
                self._empty_stage()
        fold = self._find_fold()
        # What could not leave the stage is reported, whichever listing counts.
        unstaged = len(self._failed)
        survey, planned = self._read_and_plan(fold, is_unchanged=self._is_unchanged())
        if self._incomplete:
            # Pages shift when something is added meanwhile. A second listing tells whether it was that.
            _log.info(
                "%s: the listing lacked %r, so it is read again", self._source, self._incomplete
            )
            del self._failed[unstaged:]
            self._unreadable.clear()
            self._incomplete = self._missed = self._unknown_denied = ""
            survey, planned = self._read_and_plan(fold, is_unchanged=False)
        if self._missed:
            raise NamespaceError(
                "The portal has it, but the listing of its folder lacks it, so nothing was changed here: "
                "try again later, or tell the portal's administrator",
                self._prefix + self._missed,
            )
        if self._options.dry_run:
            return self._tell(planned)
        self._begin(survey)
        self._perform(planned)
        self._finish()
        return self._result()

    def _read_and_plan(
        self, fold: Callable[[str], str] | None, *, is_unchanged: bool
    ) -> tuple[Survey, Plan]:
        """Read the portal and the disk, and plan.

        Args:
            fold: As in `planner.Options`.
            is_unchanged: Whether the portal need not be read, since nothing has changed there.
        """
        survey = Survey(
            self._state, self._tree_or_none, self._options.filter, fold, self._scope.check
        )
        if is_unchanged:
            survey.take_as_unchanged()
        else:
            self._has_walked = True
            survey.read_remote(self._read_source())
        survey.read_local()
        self._failed += survey.failed
        self._unreadable |= survey.unreadable
        self._unchanged = survey.unchanged
        return survey, self._plan(survey, fold)

    def _check_source(self) -> None:
        """See that the source is there, and is what the folder has mirrored before.

        Raises:
            NamespaceError: It is gone, or another cloud folder has taken its name.
            ValueError: The folder mirrors something else.
        """
        user = self._state.get("user")
        if user and self._options.user and user.casefold() != self._options.user.casefold():
            raise ValueError(
                f"the user {user!r} made this mirror, and {self._options.user!r} may see less: use that "
                "account, or choose another folder"
            )
        for name, value in (("portal", self._options.portal), ("source", self._source)):
            before = self._state.get(name)
            if before is not None and before != value:
                raise ValueError(
                    f"this folder mirrors {before!r}, not {value!r}: choose another folder, or remove "
                    f"{OWN_FOLDER} from it; files that are there are then compared with the portal"
                )
        entry = self._names.stat(self._source)
        if not entry.is_dir:
            raise NotAFolderError("It is a file: use download() for a single file", self._source)
        folder_id = "" if entry.folder_id is None else str(entry.folder_id)
        before = self._state.get("folder_id")
        if before and folder_id and before != folder_id:
            raise _gone(self._source)
        self._folder_id = folder_id or before or ""

    @property
    def folder_id(self) -> int | None:
        """The cloud folder of the source, or None if the source is above cloud folders."""
        return int(self._folder_id) if self._folder_id else None

    def _is_unchanged(self) -> bool:
        """Return whether the change feed tells that nothing has changed since a complete run.

        The feed only tells whether to read the source. So it does not matter which events a portal
        sends, in which order, or how often.

        Raises:
            NamespaceError: The feed cannot be read, and the user wants it or another call would fail, too.
        """
        folder_id = self.folder_id
        if self._options.feed is False:
            return False
        if folder_id is None:
            if self._options.feed:
                raise NamespaceError(
                    "It is not in one cloud folder, so it has no change feed: use feed=None or False",
                    self._source,
                )
            return False
        before = self._state.get("cursor")
        try:
            try:
                changed = self._read_feed(before, folder_id)
            except CursorRejectedError:
                before = None
                changed = self._read_feed(None, folder_id)
        except NamespaceError as error:
            # The user may not read the feed, or the portal has none.
            if self._options.feed or type(error) not in (NamespaceError, AccessDeniedError):
                raise
            self._scope.check()
            _log.info("%s: the change feed cannot be read (%s)", self._source, error)
            self.cursor = None
            return False
        walked = self._state.get("walked")
        return (
            before is not None
            and not changed
            and self._state.get("clean") == "1"
            and self._state.get("patterns") == self._options.patterns
            and walked is not None
            and not is_older(walked, self._options.now(), _MAX_DAYS_WITHOUT_WALK)
        )

    def _read_feed(self, cursor: str | None, folder_id: int) -> bool:
        """Read the feed to its end. Return whether it has an event."""
        changed = False
        for page in self._names.changes(cursor, folder_id):
            self._scope.check()
            changed = changed or bool(page.events)
            for event in page.events:
                # A later event may tell of another object of the same name. The portal is asked again.
                if event.deleted and event.file_id is not None:
                    self._proven.add((event.name, event.file_id))
            cursor = page.cursor
        self.cursor = cursor
        return changed

    def _begin(self, survey: Survey) -> None:
        """Store what was found out, before the first change of the folder."""
        with self._state.transaction():
            self._state.put("portal", self._options.portal)
            self._state.put("source", self._source)
            if self._options.user:
                self._state.put("user", self._options.user)
            self._state.put("folder_id", self._folder_id)
            # Until the end of the run, the source must be read again by the next one.
            self._state.put("clean", "0")
            for entry in survey.refreshed:
                self._state.save(entry)

    def _purge_downloads(self) -> None:
        """Remove downloads that no run will use, before anything is written to a disk that may be full."""
        if self._options.dry_run or self._tree_or_none is None:
            return
        needed = {intent.source for intent in self._state.intents()}
        self._tree.purge_downloads(keep_parts=True, needed=needed)

    def _empty_stage(self) -> None:
        """Give each staged file its old path back.

        Only the old path tells whether the portal may delete or hide a file. So no plan has a path of
        the stage. If the old path is taken, the file gets a free name beside it.
        """
        steps: list[Step] = []
        taken: set[str] = set()
        for known in sorted(self._state.in_folder(f"{OWN_FOLDER}/stage").values()):
            found = self._tree.find(known.path)
            if found is None:
                with self._state.transaction():
                    self._state.forget(known)
                continue
            origin = self._state.get(origin_key(known.id)) or split(known.path)[1]
            target = self._make_way_back(origin, taken)
            taken.add(target)
            if target != origin:
                self._beside[target] = origin
            steps.append(Step("move", known.path, target, None, known, found, staged=True))
        self._move_all(steps, _way_back)

    def _make_way_back(self, origin: str, taken: set[str]) -> str:
        """Return a free path for a staged file, as near to its old path as possible."""
        parent, name = split(origin)
        for above in parents_of(origin):
            try:
                is_there = self._tree.find(above) is not None
                self._tree.make_folder(above)
            except OSError:
                parent = split(above)[0]
                break
            if not is_there and self._state.entry(above) is None:
                with self._state.transaction():
                    self._state.save(Known(0, above, True))
        target = join(parent, name)
        others = self._conflict_paths(target)
        is_other = False
        while (
            target in taken
            or self._tree.find(target) is not None
            or (is_other and self._state.entry(target) is not None)
        ):
            target, is_other = next(others), True
        return target

    def _conflict_paths(self, path: str) -> Iterator[str]:
        return conflict_paths(path, self._stamp, self._tree.root.longest_name())

    def _find_fold(self) -> Callable[[str], str] | None:
        """Return what tells which paths the disk takes for the same. None: it tells all apart."""
        if self._tree_or_none is None or self._options.dry_run:
            return fold_name if os.name == "nt" or os.uname().sysname == "Darwin" else None
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

    # --- reading and planning ---------------------------------------------------------------------

    def _read_source(self) -> Iterator[Remote]:
        """Walk the source.

        Raises:
            NamespaceError: A folder cannot be read for another reason than a lack of permission.
        """
        prefix = self._prefix

        def on_error(error: NamespaceError) -> None:
            path = str(error.filename or "")
            tolerated = (AccessDeniedError, PathNotFoundError, NotAFolderError)
            if not isinstance(error, tolerated) or not path.startswith(prefix):
                raise error
            self._is_clean = False
            inner = path[len(prefix) :]
            self._unreadable.add(inner)
            if not isinstance(error, AccessDeniedError) and self._is_folder(inner):
                self._incomplete = inner
                reason = (
                    "the portal has this folder, but cannot list it; what is here stays as it is"
                )
                self._failed.append((inner, reason))
            if isinstance(error, AccessDeniedError):
                reason = "the portal no longer lets you read it; what is here stays as it is"
                self._failed.append((inner, reason))
                is_excluded = self._options.filter.excludes(inner, True)
                if inner and not is_excluded and not self._state.in_folder(inner):
                    self._unknown_denied = self._unknown_denied or inner

        for entry in self._names.walk(self._source, on_error):
            if entry.path.startswith(prefix) and not entry.is_deleted:
                yield remote_of(entry, entry.path[len(prefix) :])

    def _is_folder(self, path: str) -> bool:
        """Return whether the portal has a folder of this path, whether or not it can be listed."""
        self._scope.check()
        try:
            return self._names.stat(self._prefix + path).is_dir
        except (PathNotFoundError, NotAFolderError):
            return False
        except AccessDeniedError:
            return True

    def _plan(self, survey: Survey, fold: Callable[[str], str] | None) -> Plan:
        """Plan, until each deletion is confirmed by the portal.

        A listing has no cursor. What is added or removed meanwhile shifts its pages, so an entry may be
        missing although it is there. So the portal is asked again for what is to be deleted.

        Raises:
            TooManyDeletionsError: There is more to delete than allowed.
        """
        longest = 255 if self._tree_or_none is None else self._tree.root.longest_name()
        options = Options(self._options.delete, self._stamp, os.name == "nt", longest, fold)
        confirmed: set[str] = set()
        while True:
            self._scope.check()
            planned = plan(
                survey.remote,
                survey.known,
                survey.local,
                options,
                unreadable=frozenset(self._unreadable),
                excluded=frozenset(survey.excluded),
                kept=survey.kept,
            )
            self._spare(planned)
            count = planned.deleted_files
            if count > self._options.max_delete:
                raise TooManyDeletionsError(
                    f"{count} files would be deleted, and max_delete allows {self._options.max_delete}, "
                    "so nothing was changed: look at the source, and then raise max_delete",
                    count,
                )
            self._check_cloud_folders(planned, survey)
            before = len(self._unreadable)
            self._confirm(planned, survey, confirmed)
            if len(self._unreadable) == before:
                return planned

    def _spare(self, planned: Plan) -> None:
        """Keep what a plan would delete although its path does not tell if the portal still has it."""
        for index, step in enumerate(planned.deletions):
            if step.kind == "remove" and not self._is_proven(step):
                # A listing does not tell what was deleted from what this user may no longer see.
                planned.deletions[index] = step._replace(kind="trash")
        spared = [step for step in planned.deletions if step.path in self._beside]
        planned.deletions = [step for step in planned.deletions if step.path not in self._beside]
        for step in spared:
            planned.forgotten.append(step._replace(kind="forget"))
            origin = self._beside[step.path]
            name = split(step.path)[1]
            planned.conflicts.append((origin, f"another file has its place: kept as {name!r}"))

    def _is_proven(self, step: Step) -> bool:
        """Return whether the change feed has named the file of a step deleted."""
        known = step.known
        return (
            known is not None
            and known.file_id is not None
            and (split(known.path)[1], known.file_id) in self._proven
        )

    def _check_cloud_folders(self, planned: Plan, survey: Survey) -> None:
        """Raise an error if a cloud folder of the source is gone, or another has taken its name."""
        for path, known in survey.known.items():
            if not known.is_dir or path in survey.excluded or path not in survey.local:
                continue
            parent = survey.known.get(split(path)[0]) or self._state.entry(split(path)[0])
            above = self._folder_id if parent is None else str(parent.folder_id or "")
            # A listing need not tell the IDs, so the place counts as well.
            full_path = self._prefix + path
            has_own_id = known.folder_id is not None and above != str(known.folder_id)
            if not has_own_id and not _is_place_of_cloud_folder(full_path, self._options.is_admin):
                continue
            now = survey.remote.get(path)
            if now is None and not is_below(path, self._unreadable):
                raise _gone(full_path)
        for path, remote in survey.remote.items():
            old = survey.known.get(path)
            if old is None or not (old.is_dir and remote.is_dir):
                continue
            if is_other_folder(old, remote):
                raise _gone(self._prefix + path)

    def _confirm(self, planned: Plan, survey: Survey, confirmed: set[str]) -> None:
        """Ask the portal for everything that is to be deleted. Note what is there as unreadable."""
        doomed = [
            step
            for step in (*planned.aside, *planned.deletions, *planned.cleared, *planned.emptied)
            if step.known is not None and step.kind in ("trash", "remove", "rmdir", "conflict")
        ]
        spellings = {fold_name(path): path for path in survey.remote} if doomed else {}
        for step in sorted(doomed, key=lambda each: each.path):
            path = step.path
            if path in survey.remote:
                continue  # Something else has its place, so a listing has told that it is gone.
            if self._unknown_denied:
                # A folder that is denied and then renamed looks like this.
                self._unreadable.add(path)
                self._is_clean = False
                if step.kind != "rmdir":
                    self._failed.append((path, _may_be_in(self._unknown_denied)))
                continue
            # The highest folder that the portal has no more tells of all below it.
            for each in (*parents_of(path), path):
                if each in confirmed:
                    break
                if each != path and each not in survey.known:
                    continue
                if each in survey.remote:
                    continue
                self._scope.check()
                try:
                    entry = self._names.stat(self._prefix + each)
                    other = spellings.get(fold_name(each))
                    is_respelled = entry.name != split(each)[1]
                    if other is not None and is_respelled and entry.name == split(other)[1]:
                        # A portal that does not tell the names apart has found the new spelling.
                        confirmed.add(each)
                        break
                    if other is None:
                        self._incomplete = self._missed = each
                except (PathNotFoundError, NotAFolderError):
                    confirmed.add(each)
                    break
                except AccessDeniedError:
                    self._failed.append((each, "the portal does not let you see it; it stays here"))
                self._unreadable.add(each)
                self._is_clean = False
                break

    def _tell(self, planned: Plan) -> Mirrored:
        """Return what would be done."""
        self._conflicts += planned.conflicts
        self._failed += planned.failed
        for step in planned.steps():
            self._count(step, "")
            if step.kind == "fetch" and step.remote is not None:
                self._nbytes += step.remote.size or 0
            self._report(step, "")
        return self._result()

    def _result(self) -> Mirrored:
        return Mirrored(
            **self._counts,
            unchanged=self._unchanged,
            conflicts=self._conflicts,
            failed=self._failed,
            nbytes=self._nbytes,
            seconds=0.0,
        )

    def _count(self, step: Step, outcome: str) -> None:
        if step.kind == "fetch" or (step.kind == "compare" and outcome == "kept"):
            is_new = step.known is None and step.local is None
            self._counts["added" if is_new else "updated"] += 1
        elif step.kind == "compare":
            self._unchanged += 1
        elif step.kind == "move" and not (step.remote and step.remote.is_dir):
            self._counts["moved"] += 1
        elif step.kind in ("trash", "remove"):
            self._counts["deleted"] += 1

    def _report(self, step: Step, outcome: str) -> None:
        if self._options.on_step is not None:
            self._options.on_step(step, outcome)

    # --- doing -----------------------------------------------------------------------------------

    def _perform(self, planned: Plan) -> None:
        self._conflicts += planned.conflicts
        self._failed += planned.failed
        self._tree.purge_downloads(keep_parts=True)
        for step in planned.aside:
            self._attempt(step, self._set_aside)
        self._commit()
        self._move_all(planned.staged, self._staged_intent)
        for step in planned.cleared:
            self._attempt(step, self._set_aside if step.kind == "conflict" else self._remove_folder)
        self._commit()
        for step in planned.folders:
            self._attempt(step, self._make_folder)
        self._commit()
        self._move_all(planned.moves, self._move_intent)
        self._move_all(
            [self._from_stage(step) for step in planned.staged], self._move_intent, is_second=True
        )
        self._fetch_all(planned.fetches)
        for step in planned.deletions:
            self._attempt(step, self._set_aside)
        self._commit()
        for step in planned.emptied:
            self._attempt(step, self._remove_folder)
        self._commit()
        for step in planned.forgotten:
            self._note(step, self._forgetting(step))
        self._commit()

    def _finish(self) -> None:
        """Note that the run is complete. Drop what is old or of no more use."""
        with self._state.transaction():
            self._state.put("clean", "1" if self._is_clean and not self._failed else "0")
            self._state.put("patterns", self._options.patterns)
            if self._has_walked:
                self._state.put("walked", self._stamp)
            if self.cursor is not None:
                self._state.put("cursor", self.cursor)
        days = self._options.trash_days
        now = self._options.now()
        if days is not None:
            with contextlib.suppress(OSError):
                self._tree.purge_trash(lambda run: is_older(run, now, days))
        if not self._failed:
            self._tree.purge_downloads(keep_parts=False)

    def _attempt(self, step: Step, act: Callable[[Step], None]) -> None:
        """Do one step. Its failure is reported, and does not stop the others."""
        self._scope.check()
        try:
            act(step)
        except OSError as error:
            self._note_failure(step.path, error)
        if len(self._changes) >= GROUP_FILES:
            self._commit()

    def _note_failure(self, path: str, error: OSError) -> None:
        if _is_fatal(error):
            raise error
        self._is_clean = False
        self._failed.append((path, error.strerror or str(error)))

    def _note(self, step: Step, change: Callable[[], object], outcome: str = "") -> None:
        """Note a change of the state, which waits until the disk has the step."""
        self._changes.append(change)
        self._done.append((step, outcome))

    def _forgetting(self, step: Step) -> Callable[[], None]:
        """Return the change of the state that drops the entry of a step."""
        known = step.known
        return lambda: None if known is None else self._state.forget(known)

    def _commit(self, settle: bool = False) -> None:
        """Flush the folders that were changed to the disk, and then commit the changes of the state."""
        changes, self._changes = self._changes, []
        done, self._done = self._done, []
        if not changes and not settle:
            return
        self._tree.flush()
        self._tree.close()
        with self._state.transaction():
            for change in changes:
                change()
            if settle:
                self._state.settle()
        for step, outcome in done:
            self._count(step, outcome)
            self._report(step, outcome)

    def _set_aside(self, step: Step) -> None:
        """Give a file another name, put it into the trash, or remove it."""
        assert step.local is not None
        if step.kind == "remove":
            self._tree.remove(step.path, step.local)
        elif step.kind == "trash":
            target = self._tree.trash_path(self._stamp, step.path)
            self._tree.rename(step.path, target, step.local)
        else:
            self._keep_as_conflict(step.path, step.target, step.local)
        self._note(step, self._forgetting(step))

    def _keep_as_conflict(self, path: str, target: str, local: Local) -> str:
        """Give a file the name of a conflict copy, or the next one that is free. Return its path."""
        others = self._conflict_paths(path)
        while not target or self._tree.find(target) is not None:
            target = next(others)
        self._tree.rename(path, target, local)
        return target

    def _remove_folder(self, step: Step) -> None:
        # What another program put in keeps the folder. It is then the user's.
        self._tree.remove_folder(step.path)
        self._note(step, self._forgetting(step))

    def _make_folder(self, step: Step) -> None:
        assert step.remote is not None
        # A file that was here keeps its entry, which moves away with it.
        is_same_kind = step.known is not None and step.known.is_dir == step.remote.is_dir
        entry = entry_of(step.remote, step.known if is_same_kind else None)
        if step.kind == "move":
            assert step.local is not None
            self._tree.rename(step.path, step.target, step.local)
        elif step.kind == "mkdir":
            self._tree.make_folder(step.path)
        self._note(step, functools.partial(self._state.save, entry))

    # --- moves -----------------------------------------------------------------------------------

    def _staged_intent(self, step: Step) -> Intent:
        assert step.known is not None
        path = self._tree.staged_path(step.known.id)
        return _intent(step, step.known._replace(path=path))

    def _from_stage(self, step: Step) -> Step:
        assert step.known is not None and step.local is not None
        path = self._tree.staged_path(step.known.id)
        return step._replace(path=path, local=step.local._replace(path=path, ctime_ns=0))

    def _move_intent(self, step: Step) -> Intent:
        assert step.known is not None and step.remote is not None
        return _intent(step, entry_of(step.remote, step.known))

    def _move_all(
        self, steps: Sequence[Step], make: Callable[[Step], Intent], is_second: bool = False
    ) -> None:
        """Rename files, in groups. The state tells beforehand what is about to happen."""
        for start in range(0, len(steps), GROUP_FILES):
            self._scope.check()
            group = [(step, make(step)) for step in steps[start : start + GROUP_FILES]]
            self._state.announce(intent for _, intent in group)
            for step, intent in group:
                try:
                    assert step.local is not None
                    ctime_ns = self._tree.rename(step.path, intent.entry.path, step.local)
                except OSError as error:
                    self._note_failure(step.path if not is_second else step.target, error)
                    continue
                moved = intent._replace(entry=intent.entry._replace(ctime_ns=ctime_ns))
                self._changes.append(functools.partial(save_moved, self._state, moved))
                if is_second or not step.staged:
                    self._done.append((step, ""))
            self._commit(settle=True)

    # --- downloads -------------------------------------------------------------------------------

    def _fetch_all(self, steps: Sequence[Step]) -> None:
        """Download files, several at once, and give them their places in groups."""
        if not steps:
            return
        options = self._options
        with self._tree.open_downloads() as downloads:
            fetcher = Fetcher(
                self._fetch,
                self._names.stat,
                self._scope,
                self._prefix,
                downloads,
                options.max_files,
                options.memory,
                options.progress,
            )
            fatal: OSError | None = None
            with contextlib.closing(fetcher.run(steps)) as groups:
                for group in groups:
                    fatal = self._place(group)
                    if fatal is not None:
                        break
            if fatal is not None:
                # The run is cancelled by now, and a comparison would end at once.
                self._place(
                    each
                    for each in fetcher.remaining()
                    if each.status is not None and each.step.kind != "compare"
                )
                raise fatal

    def _place(self, group: Iterable[Fetched]) -> OSError | None:
        """Give downloads their places, all in one transaction.

        Returns:
            An error of a download that ends the run, or None. The other downloads have their places.
        """
        ready: list[tuple[Fetched, Intent, Local]] = []
        fatal: OSError | None = None
        for fetched in group:
            error = fetched.error
            if isinstance(error, OSError) and not isinstance(error, Cancelled):
                if _is_fatal(error):
                    fatal = fatal or error
                    continue
                self._note_failure(fetched.step.path, error)
            elif error is not None:
                raise error
            elif fetched.is_gone:
                self._is_clean = False
            else:
                assert fetched.status is not None
                source = self._tree.downloaded_path(fetched.name)
                # Its permissions may yet change, and with them the time of its status.
                local = local_of(source, fetched.status)._replace(ctime_ns=0)
                entry = entry_of(fetched.remote)._replace(
                    path=fetched.step.path,
                    local_size=local.size,
                    mtime_ns=local.mtime_ns,
                    inode=local.inode,
                    crc32c=fetched.crc32c,
                )
                intent = Intent(0, source, entry, local.size, local.mtime_ns, local.inode)
                ready.append((fetched, intent, local))
        if not ready:
            return fatal
        # While the files were downloaded, folders may have been moved away.
        self._tree.close()
        self._state.announce(intent for _, intent, _ in ready)
        for fetched, intent, local in ready:
            try:
                self._place_one(fetched, intent, local)
            except OSError as error:
                self._note_failure(fetched.step.path, error)
        self._commit(settle=True)
        return fatal

    def _place_one(self, fetched: Fetched, intent: Intent, local: Local) -> None:
        step, entry, over = fetched.step, intent.entry, fetched.step.local
        outcome = ""
        if step.kind == "compare":
            assert over is not None
            outcome = "kept"
            if self._is_equal(intent.source, step.path, local, over):
                entry = entry._replace(
                    local_size=over.size,
                    mtime_ns=over.mtime_ns,
                    inode=over.inode,
                    ctime_ns=over.ctime_ns,
                )
                self._tree.remove(intent.source, local)
                self._note(step, functools.partial(self._state.save, entry), "adopted")
                return
            target = self._keep_as_conflict(step.path, "", over)
            reason = (
                f"it was here before the portal's file of this name: kept as {split(target)[1]!r}"
            )
            self._conflicts.append((step.path, reason))
            over = None
        if over is not None:
            self._tree.copy_mode(step.path, intent.source)
        ctime_ns = self._tree.rename(intent.source, step.path, local, over)
        entry = entry._replace(ctime_ns=ctime_ns)
        self._nbytes += local.size
        self._note(step, functools.partial(self._state.save, entry), outcome)

    def _is_equal(self, download: str, path: str, local: Local, over: Local) -> bool:
        if local.size != over.size or self._tree.find(path) != over._replace(clean=False):
            return False
        is_equal = self._tree.is_equal(download, path, self._scope.check)
        return is_equal and self._tree.find(path) == over._replace(clean=False)


def _is_fatal(error: OSError) -> bool:
    """Return whether each further file would meet the error as well."""
    is_of_file = isinstance(error, (ChangedMeanwhile, DirectIOError))
    return not is_of_file and error.errno in _FATAL_ERRNOS


def _intent(step: Step, entry: Known) -> Intent:
    assert step.local is not None
    # The renaming sets the time of the status, so a run that recovers the intent does not know it.
    entry = entry._replace(ctime_ns=0)
    return Intent(0, step.path, entry, step.local.size, step.local.mtime_ns, step.local.inode)


def _is_place_of_cloud_folder(path: str, is_admin: bool) -> bool:
    """Return whether the portal has cloud folders at such a path, or the folders of their owners."""
    parts = path.strip("/").split("/")
    if is_admin and parts[0] == "Users":
        return len(parts) <= 3
    return len(parts) == (2 if parts[0] == "Shared With Me" else 1)


def _may_be_in(folder: str) -> str:
    return (
        f"the portal lists it no more, but it may be in {folder!r}, which you may not read: it stays here; "
        "ask for the permission, or exclude that folder"
    )


def _way_back(step: Step) -> Intent:
    assert step.known is not None
    return _intent(step, step.known._replace(path=step.target))


def _gone(path: str) -> NamespaceError:
    return NamespaceError(
        "The cloud folder is gone, or another one has taken its name, so nothing was changed here: if that "
        "is right, remove the local folder and mirror again",
        path,
        errno=errno.ESTALE,
    )
