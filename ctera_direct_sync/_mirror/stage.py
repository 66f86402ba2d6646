"""Giving files that a killed run left in the stage their old paths back."""

from __future__ import annotations

import errno
import os

from .asides import Asides
from .local_tree import LocalTree
from .own_folder import STAGE_FOLDER
from .performer import Performer, intent_of
from .planner import Step
from .recovery import origin_key
from .state import Intent, State
from .values import Known, join, parents_of, split

__all__ = ["Stage"]


class Stage:
    """The folder of the files that are between their old and their new path.

    Args:
        tree: The mirrored folder.
        state: The state.
        performer: Moves the files. None: nothing on the disk changes, and `tree` and `state` are told
            where the files would be.
        asides: Knows the names of conflict copies.

    Attributes:
        beside: The old paths of the files that got another path because the old one was taken.
    """

    def __init__(
        self, tree: LocalTree, state: State, performer: Performer | None, asides: Asides
    ) -> None:
        self._tree = tree
        self._state = state
        self._performer = performer
        self._asides = asides
        self.beside: dict[str, str] = {}

    def empty(self) -> None:
        """Give each staged file its old path back.

        Only the old path tells whether the portal may delete or hide a file. So no plan has a path of
        the stage. If the old path is taken, the file gets a free name beside it.
        """
        steps: list[Step] = []
        taken: set[str] = set()
        for known in sorted(self._state.in_folder(STAGE_FOLDER).values()):
            found = self._tree.find(known.path)
            if found is None:
                with self._state.transaction():
                    self._state.forget(known)
                continue
            origin = self._state.get(origin_key(known.id)) or split(known.path)[1]
            target = self._make_way_back(origin, taken)
            taken.add(target)
            if target != origin:
                self.beside[target] = origin
            steps.append(Step("move", known.path, target, None, known, found, staged=True))
        if self._performer is not None:
            self._performer.move_all(((step, None) for step in steps), _way_back)
            return
        for step in steps:
            self._tree.stand_in(step.target, step.path)
            with self._state.transaction():
                self._state.save(_way_back(step).entry)

    def _make_way_back(self, origin: str, taken: set[str]) -> str:
        """Return a free path for a staged file, as near to its old path as possible."""
        parent, name = split(origin)
        for above in parents_of(origin):
            found = self._tree.find(above)
            try:
                if self._performer is not None:
                    self._tree.make_folder(above)
                elif found is not None and found.kind != "folder":
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), above)
            except OSError:
                parent = split(above)[0]
                break
            if found is None and self._state.entry(above) is None:
                with self._state.transaction():
                    self._state.save(Known(0, above, True))
        target = join(parent, name)
        others = self._asides.conflict_paths(target)
        is_other = False
        while (
            target in taken
            or self._tree.find(target) is not None
            or (is_other and self._state.entry(target) is not None)
        ):
            target, is_other = next(others), True
        return target


def _way_back(step: Step) -> Intent:
    assert step.known is not None
    return intent_of(step, step.known._replace(path=step.target))
