"""Doing what is planned, in groups that a crash cannot tear apart."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Callable, TypeVar

from .._base.cancellation import Cancelled, CancelScope
from ..exceptions import DirectIOError
from ..types import Entry
from .asides import Asides, Parting, removal_of
from .fetcher import GROUP_FILES, Fetch, Fetched, Fetcher
from .local_tree import LocalTree
from .local_view import ChangedMeanwhile, local_of
from .options import MirrorOptions
from .own_files import downloaded_path, open_downloads, purge_downloads, staged_path
from .planner import Plan, Step
from .recovery import save_moved
from .report import Report
from .spill import ItemList
from .state import Intent, State, entry_of
from .values import Known, Local, split

__all__ = ["Performer", "intent_of"]

_Item = TypeVar("_Item")

#: Errors of the local disk that end the run, since each further file would meet them as well.
_FATAL_ERRNOS = {
    errno.ENOSPC, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
    getattr(errno, "EDQUOT", errno.ENOSPC),
}  # fmt: skip


class Performer:
    """Does the steps of a plan. Only the threads that download run beside it.

    Args:
        tree: The mirrored folder.
        state: The state.
        options: The arguments of the mirror.
        report: Takes what is done.
        fetch: Downloads a file.
        stat: Returns the entry of a path of the portal.
        scope: The scope that cancels the run.
        prefix: What comes before a path below the source.
        asides: Takes the files that give way.
    """

    def __init__(
        self,
        tree: LocalTree,
        state: State,
        options: MirrorOptions,
        report: Report,
        fetch: Fetch,
        stat: Callable[[str], Entry],
        scope: CancelScope,
        prefix: str,
        asides: Asides,
    ) -> None:
        self._tree = tree
        self._state = state
        self._options = options
        self._report = report
        self._fetch = fetch
        self._stat = stat
        self._scope = scope
        self._prefix = prefix
        self._asides = asides
        # Files that gave way, and that are deleted once the disk has the files that replace them.
        self._partings: list[Parting] = []
        # Changes of the state that wait for the disk, and the steps to report with them.
        self._changes: list[Callable[[], object]] = []
        self._done: list[tuple[Step, str]] = []
        # Mirrored folders that now have the name of a conflict copy.
        self._moved_folders: list[Known] = []

    def perform(self, planned: Plan) -> None:
        self._report.conflicts += planned.conflicts
        self._report.failed += planned.failed
        purge_downloads(self._tree, keep_parts=True)
        self._give_way_all(planned.aside)
        self.move_all(((step, None) for step in planned.staged), self._staged_intent)
        self._give_way_all(planned.cleared)
        for step in planned.removed_folders:
            self._attempt(step, self._remove_folder)
        self._commit()
        for step in planned.folders:
            self._attempt(step, self._make_folder)
        self._commit()
        self.move_all(((step, step) for step in planned.moves), self._move_intent)
        self.move_all(
            ((self._from_stage(step), step) for step in planned.staged), self._move_intent
        )
        self._fetch_all(planned.fetches)
        self._give_way_all(planned.deletions)
        for step in planned.forgotten:
            self._note(step, self._forgetting(step))
        for step in planned.emptied:
            self._attempt(step, self._remove_folder)
        # Without the mirror's files, a conflict copy is the user's alone.
        for known in self._moved_folders:
            self._changes.append(functools.partial(self._state.forget, known))
        self._commit()

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
        self._report.is_clean = False
        self._report.failed.append((path, error.strerror or str(error)))

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
        partings, self._partings = self._partings, []
        for parting in partings:
            self._asides.finish(parting)
        self._tree.flush()
        self._tree.close()
        with self._state.transaction():
            for change in changes:
                change()
            if settle:
                self._state.settle()
        for step, outcome in done:
            self._report.count(step, outcome)
            self._tell(step, outcome)

    def _tell(self, step: Step, outcome: str) -> None:
        if self._options.on_step is not None:
            self._options.on_step(step, outcome)

    # --- giving way -------------------------------------------------------------------------------

    def _give_way_all(self, steps: Iterable[Step]) -> None:
        """Rename or delete files, in groups. The state tells beforehand what is about to happen."""
        for some in _in_groups(steps):
            group = [(step, self._removal(step)) for step in some]
            self._state.announce(intent for _, intent in group)
            for step, intent in group:
                self._scope.check()
                try:
                    self._give_way(step, intent)
                except OSError as error:
                    self._note_failure(step.path, error)
            self._commit(settle=True)

    def _removal(self, step: Step) -> Intent:
        assert step.local is not None
        intent = removal_of(step.known, step.local, self._tree.aside_path())
        if step.kind == "conflict" and _is_mirrored_folder(step):
            assert step.known is not None
            entry = step.known._replace(path=step.target)
            return intent._replace(source=step.path, entry=entry, inode=step.local.inode)
        return intent

    def _give_way(self, step: Step, intent: Intent) -> None:
        """Give a file another name, put it into the trash, or remove it."""
        assert step.local is not None
        change = self._forgetting(step)
        if step.kind == "conflict":
            target = self._keep_as_conflict(step.path, step.target, step.local, intent.aside)
            if _is_mirrored_folder(step):
                assert step.known is not None
                change = functools.partial(self._save_moved_folder, step.known, target)
        else:
            self._part_with(intent, step.local, to_trash=step.kind == "trash")
        self._note(step, change)

    def _save_moved_folder(self, known: Known, target: str) -> None:
        """Note that a mirrored folder has the name of a conflict copy.

        What the mirror could not delete in it keeps its entry, for the run that can.
        """
        if self._state.holds_file(known.path):
            self._state.move_folder(known, target)
            self._moved_folders.append(known)
        else:
            self._state.forget(known)

    def _part_with(self, intent: Intent, local: Local, *, to_trash: bool) -> None:
        """Put a file aside that is replaced or deleted, unless another program has just changed it."""
        moved = self._tree.move_aside(intent.home, intent.aside, local)
        if self._asides.is_known(moved, intent):
            self._partings.append(Parting(intent, moved, to_trash))
        else:
            self._asides.keep(intent.aside, intent.home)

    def _keep_as_conflict(self, path: str, target: str, local: Local, aside: str) -> str:
        """Give a file the name of a conflict copy, or the next one that is free. Return its path."""
        others = self._asides.conflict_paths(path)
        while not target or self._tree.find(target) is not None:
            target = next(others)
        self._tree.rename(path, target, local, aside)
        return target

    # --- folders ----------------------------------------------------------------------------------

    def _remove_folder(self, step: Step) -> None:
        if step.kind == "rmdir":
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

    # --- moves ------------------------------------------------------------------------------------

    def _staged_intent(self, step: Step) -> Intent:
        assert step.known is not None
        path = staged_path(step.known.id)
        return intent_of(step, step.known._replace(path=path))

    def _from_stage(self, step: Step) -> Step:
        assert step.known is not None and step.local is not None
        path = staged_path(step.known.id)
        return step._replace(path=path, local=step.local._replace(path=path, ctime_ns=0))

    def _move_intent(self, step: Step) -> Intent:
        assert step.known is not None and step.remote is not None
        intent = intent_of(step, entry_of(step.remote, step.known))
        return intent._replace(aside=self._tree.aside_path(), home=step.path)

    def move_all(
        self,
        steps: Iterable[tuple[Step, Step | None]],
        make: Callable[[Step], Intent],
    ) -> None:
        """Rename files, in groups. The state tells beforehand what is about to happen.

        Args:
            steps: What to rename, each with the step of the plan that is then done. None: a part of that
                is left.
            make: Returns the intent of a step.
        """
        for some in _in_groups(steps):
            self._scope.check()
            group = [(step, make(step), told) for step, told in some]
            self._state.announce(intent for _, intent, _ in group)
            for step, intent, told in group:
                try:
                    assert step.local is not None
                    ctime_ns = self._tree.rename(
                        step.path, intent.entry.path, step.local, intent.aside
                    )
                except OSError as error:
                    is_staged = told is not None and told.staged
                    self._note_failure(step.target if is_staged else step.path, error)
                    continue
                moved = intent._replace(entry=intent.entry._replace(ctime_ns=ctime_ns))
                self._changes.append(functools.partial(save_moved, self._state, moved))
                if told is not None:
                    self._done.append((told, ""))
            self._commit(settle=True)

    # --- downloads --------------------------------------------------------------------------------

    def _fetch_all(self, steps: ItemList[Step]) -> None:
        """Download files, several at once, and give them their places in groups."""
        if not steps:
            return
        options = self._options
        with open_downloads(self._tree) as downloads:
            fetcher = Fetcher(
                self._fetch,
                self._stat,
                self._scope,
                self._prefix,
                downloads,
                options.max_files,
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
                self._report.is_clean = False
            else:
                assert fetched.status is not None
                source = downloaded_path(fetched.name)
                # Its permissions may yet change, and with them the time of its status.
                local = local_of(source, fetched.status)._replace(ctime_ns=0)
                entry = entry_of(fetched.remote)._replace(
                    path=fetched.step.path,
                    local_size=local.size,
                    mtime_ns=local.mtime_ns,
                    inode=local.inode,
                    crc32c=fetched.crc32c,
                )
                intent = Intent(source, entry, local.size, local.mtime_ns, local.inode)
                if fetched.step.local is not None:
                    removal = self._removal(fetched.step)
                    intent = intent._replace(
                        aside=removal.aside, home=removal.home, replaced=removal.replaced
                    )
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
            target = self._keep_as_conflict(step.path, "", over, intent.aside)
            reason = (
                f"it was here before the portal's file of this name: kept as {split(target)[1]!r}"
            )
            self._report.conflicts.append((step.path, reason))
            over = None
        if over is not None:
            self._tree.copy_mode(step.path, intent.source)
            self._part_with(intent, over, to_trash=False)
        try:
            ctime_ns = self._tree.rename(intent.source, step.path, local)
        except OSError:
            if over is not None:
                self._asides.put_back(intent)
            raise
        entry = entry._replace(ctime_ns=ctime_ns)
        self._report.nbytes += local.size
        self._note(step, functools.partial(self._state.save, entry), outcome)

    def _is_equal(self, download: str, path: str, local: Local, over: Local) -> bool:
        if local.size != over.size or self._tree.find(path) != over._replace(clean=False):
            return False
        is_equal = self._tree.is_equal(download, path, self._scope.check)
        return is_equal and self._tree.find(path) == over._replace(clean=False)


def _in_groups(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while group := list(itertools.islice(iterator, GROUP_FILES)):
        yield group


def _is_mirrored_folder(step: Step) -> bool:
    """Return whether a folder that was mirrored is at the path of a step."""
    is_known = step.known is not None and step.known.is_dir
    return is_known and step.local is not None and step.local.kind == "folder"


def _is_fatal(error: OSError) -> bool:
    """Return whether each further file would meet the error as well."""
    is_of_file = isinstance(error, (ChangedMeanwhile, DirectIOError))
    return not is_of_file and error.errno in _FATAL_ERRNOS


def intent_of(step: Step, entry: Known) -> Intent:
    """Return the intent of a step that moves a file.

    Args:
        step: The step.
        entry: The entry that the state then gets.
    """
    assert step.local is not None
    # The renaming sets the time of the status, so a run that recovers the intent does not know it.
    entry = entry._replace(ctime_ns=0)
    return Intent(step.path, entry, step.local.size, step.local.mtime_ns, step.local.inode)
