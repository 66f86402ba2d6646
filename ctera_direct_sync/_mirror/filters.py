"""Which paths of the source are mirrored: patterns as in `.gitignore` files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["Filter"]


class Filter:
    """The user's patterns.

    Args:
        include: Patterns of files; only these are mirrored. None at all: all files.
        exclude: Patterns of files and folders that are not mirrored.

    Raises:
        ValueError: A pattern is malformed.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        for name, patterns in (("include", include), ("exclude", exclude)):
            if isinstance(patterns, str) or not all(isinstance(each, str) for each in patterns):
                raise TypeError(f"{name} is a sequence of patterns, such as ['*.pdf', '/drafts/']")
        self._include = _compile(include)
        self._exclude = _compile(exclude)

    @property
    def selects_files(self) -> bool:
        """Whether only some files are included, so that folders are made for these alone."""
        return self._include is not None

    def takes(self, path: str, is_dir: bool) -> bool:
        """Return whether a file or folder of the source is mirrored.

        Args:
            path: Its path below the source.
            is_dir: Whether it is a folder.
        """
        name = f"{path}/" if is_dir else path
        if self._exclude is not None and self._exclude.match_file(name):
            return False
        return self._include is None or bool(self._include.match_file(name))

    def excludes(self, path: str, is_dir: bool) -> bool:
        """Return whether a pattern excludes a file or folder, or a folder above it."""
        return self._exclude is not None and bool(
            self._exclude.match_file(f"{path}/" if is_dir else path)
        )


def _compile(patterns: Sequence[str]) -> Any:
    if not patterns:
        return None
    # Few programs mirror, and the import takes milliseconds.
    import pathspec

    return pathspec.GitIgnoreSpec.from_lines(patterns)
