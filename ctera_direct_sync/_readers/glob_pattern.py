"""Patterns of `Namespace.glob`: which paths match, and which folders can hold some that do. Pure."""

from __future__ import annotations

import fnmatch
import re
from typing import Callable, Union

__all__ = ["GlobPattern", "States"]

#: The positions in a pattern that a folder's path has led to.
States = frozenset[int]

_MAGIC = re.compile(r"[*?[]")
#: How `glob.escape` writes a character without its meaning.
_ESCAPED = re.compile(r"\[([*?[])\]")


class _AnyFolders:
    """The part ``**``: any number of folders, or none."""


_ANY_FOLDERS = _AnyFolders()
_Part = Union[str, Callable[[str], object], _AnyFolders]


class GlobPattern:
    """A pattern, read once.

    ``*``, ``?`` and ``[]`` match within one part of a path, and ``**`` as a whole part matches any number
    of folders. At the end ``**`` means everything below. Names match by case and by code point, names that
    begin with a dot as all others. A slash at the end asks for folders.

    Args:
        pattern: The pattern, which begins with a slash.

    Attributes:
        base: The path before the first part with a wildcard.
        folders_only: Whether only folders match.
    """

    def __init__(self, pattern: str) -> None:
        if not isinstance(pattern, str):
            raise TypeError(
                f"a pattern is a str that begins with '/', not {type(pattern).__name__}"
            )
        if not pattern.startswith("/"):
            raise ValueError(f"{pattern!r}: a pattern begins with '/', such as '/My Files/*.pdf'")
        texts = [text for text in pattern.split("/") if text]
        if any(text in (".", "..") for text in texts) or "\0" in pattern:
            raise ValueError(f"{pattern!r}: '.', '..' and NUL cannot be parts of a pattern")
        self.folders_only = pattern.endswith("/")
        parts: list[_Part] = []
        for text in texts:
            part = _read_part(text)
            if part is not _ANY_FOLDERS or not parts or parts[-1] is not _ANY_FOLDERS:
                parts.append(part)
        if parts and parts[-1] is _ANY_FOLDERS:
            parts.append(_matcher("*"))
        literals: list[str] = []
        for part in parts:
            if not isinstance(part, str):
                break
            literals.append(part)
        self.base = "/" + "/".join(literals)
        self._parts = parts[len(literals) :]

    @property
    def has_magic(self) -> bool:
        """Whether there is a wildcard. Without one the pattern is the path `base`."""
        return bool(self._parts)

    def start(self) -> States:
        """Return the states of the folder `base`."""
        return self._close({0})

    def step(self, states: States, name: str) -> States:
        """Return the states of something called `name` in a folder with some states."""
        reached: set[int] = set()
        for state in states:
            if state == len(self._parts):
                continue
            part = self._parts[state]
            if isinstance(part, _AnyFolders):
                reached.add(state)
            elif part == name if isinstance(part, str) else part(name):
                reached.add(state + 1)
        return self._close(reached)

    def matches(self, states: States) -> bool:
        """Return whether what has these states matches the pattern."""
        return len(self._parts) in states

    def goes_on(self, states: States) -> bool:
        """Return whether something in a folder with these states may match."""
        return any(state < len(self._parts) for state in states)

    def read_literals(self, states: States) -> tuple[list[str], States] | None:
        """Return the names that must follow a folder, if no listing is needed to find them.

        Returns:
            The names up to the next wildcard, and the states behind them; or None.
        """
        open_states = [state for state in states if state < len(self._parts)]
        if len(open_states) != 1:
            return None
        names: list[str] = []
        for part in self._parts[open_states[0] :]:
            if not isinstance(part, str):
                break
            names.append(part)
        return (names, self._close({open_states[0] + len(names)})) if names else None

    def _close(self, states: set[int]) -> States:
        """Add what `**` reaches by matching no folder."""
        closed = set(states)
        for state in states:
            while state < len(self._parts) and self._parts[state] is _ANY_FOLDERS:
                state += 1
                closed.add(state)
        return frozenset(closed)


def _read_part(text: str) -> _Part:
    if text == "**":
        return _ANY_FOLDERS
    literal = _ESCAPED.sub("", text)
    if not _MAGIC.search(literal):
        return _ESCAPED.sub(r"\1", text)
    return _matcher(text)


def _matcher(text: str) -> Callable[[str], object]:
    return re.compile(fnmatch.translate(text)).match
