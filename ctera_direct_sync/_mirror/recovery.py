"""Finding out what a run that was killed had done of what it announced."""

from __future__ import annotations

from .asides import Asides
from .local_tree import LocalTree
from .own_folder import STAGE_FOLDER
from .state import Intent, State
from .values import Local, split

__all__ = ["origin_key", "recover", "save_moved"]


def recover(state: State, tree: LocalTree, asides: Asides) -> None:
    """Store the entries of the announced renamings that were done, and drop all intents.

    A file that gave way gets its path back, unless something else has taken that path.

    Args:
        state: The state.
        tree: The mirrored folder.
        asides: Moves the files that gave way.
    """
    intents = state.intents()
    if intents:
        with state.transaction():
            for intent in intents:
                is_placed = _recover_placed(intent, state, tree, change=asides.change)
                if intent.aside:
                    _recover_aside(intent, tree, asides, is_placed)
            tree.flush()
            state.settle()
    asides.clear()


def _recover_placed(intent: Intent, state: State, tree: LocalTree, *, change: bool) -> bool:
    """Return whether a file has the path that was announced for it. Store its entry then."""
    if not intent.source:
        return False
    entry = intent.entry
    found = tree.find(entry.path)
    if entry.is_dir:
        is_moved = found is not None and (found.kind, found.inode) == ("folder", intent.inode)
        if is_moved:
            state.move_folder(entry._replace(path=intent.source), entry.path)
        return is_moved
    if found is None or found.kind != "file":
        return False
    source = tree.find(intent.source)
    is_other = source is not None and (source.inode == 0 or source.inode != found.inode)
    if is_other and source is not None and _is_announced(source, intent):
        # It was not renamed. Some disks, such as FAT, number their files anew when they are mounted.
        return False
    if found.inode == intent.inode:
        # It was renamed. Whether it has changed since, the survey finds out.
        save_moved(state, intent)
        if change:
            tree.remove_second_name(intent.source, entry.path)
        return True
    if source is None and _is_announced(found, intent):
        # Some network file systems give a renamed file another inode number.
        save_moved(state, intent)
        return True
    return False


def _is_announced(found: Local, intent: Intent) -> bool:
    return (found.size, found.mtime_ns) == (intent.size, intent.mtime_ns)


def _recover_aside(intent: Intent, tree: LocalTree, asides: Asides, is_placed: bool) -> None:
    found = tree.find(intent.aside)
    if found is None:
        return
    if not is_placed:
        asides.put_back(intent)
    elif _is_second_name(found, tree.find(intent.entry.path)) or asides.is_known(found, intent):
        # The second name of what was renamed, or what it has replaced.
        asides.drop(found)
    else:
        asides.keep(intent.aside, intent.home)


def _is_second_name(found: Local, other: Local | None) -> bool:
    return other is not None and found.inode != 0 and found[1:5] == other[1:5]


def save_moved(state: State, intent: Intent) -> None:
    """Store the entry of a file that was moved, and where a staged file comes from."""
    state.save(intent.entry)
    if split(intent.entry.path)[0] == STAGE_FOLDER:
        state.put(origin_key(intent.entry.id), intent.source)


def origin_key(number: int) -> str:
    """Return the name of the state's value that tells where a staged file comes from."""
    return f"origin {number}"
