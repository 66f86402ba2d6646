"""Finding out what a run that was killed had done of what it announced."""

from __future__ import annotations

from .local_names import OWN_FOLDER
from .local_tree import LocalTree
from .state import Intent, State
from .values import split

__all__ = ["origin_key", "recover", "save_moved"]


def recover(state: State, tree: LocalTree, *, change: bool) -> None:
    """Store the entries of the announced renamings that were done, and drop all intents.

    Args:
        state: The state.
        tree: The mirrored folder.
        change: Whether to remove the old name of a file that has both names.
    """
    intents = state.intents()
    if not intents:
        return
    with state.transaction():
        for intent in intents:
            _recover_one(intent, state, tree, change)
        state.settle()


def _recover_one(intent: Intent, state: State, tree: LocalTree, change: bool) -> None:
    entry = intent.entry
    found = tree.find(entry.path)
    if found is None or found.kind != "file":
        return
    if found.inode == intent.inode:
        # It was renamed. Whether it has changed since, the survey finds out.
        save_moved(state, intent)
        if change:
            tree.remove_second_name(intent.source, entry.path)
        return
    is_same = (found.size, found.mtime_ns) == (intent.size, intent.mtime_ns)
    if is_same and tree.find(intent.source) is None:
        # Some network file systems give a renamed file another inode number.
        save_moved(state, intent)


def save_moved(state: State, intent: Intent) -> None:
    """Store the entry of a file that was moved, and where a staged file comes from."""
    state.save(intent.entry)
    if split(intent.entry.path)[0] == f"{OWN_FOLDER}/stage":
        state.put(origin_key(intent.entry.id), intent.source)


def origin_key(number: int) -> str:
    """Return the name of the state's value that tells where a staged file comes from."""
    return f"origin {number}"
