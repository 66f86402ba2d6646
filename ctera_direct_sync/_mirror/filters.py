"""Which paths of the source are mirrored: patterns as in `.gitignore` files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["Filter"]

_MAX_KNOWN_FOLDERS = 100_000


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
        # Whether a folder is excluded, for the folders that were asked for.
        self._folders: dict[str, bool] = {}

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
        if self.excludes(path, is_dir):
            return False
        name = f"{path}/" if is_dir else path
        return self._include is None or bool(self._include.match_file(name))

    def excludes(self, path: str, is_dir: bool) -> bool:
        """Return whether a pattern excludes a file or folder, or a folder above it.

        As in git, a later pattern cannot take back what is in an excluded folder.
        """
        if self._exclude is None:
            return False
        if is_dir:
            return self._excludes_folder(path)
        parent = path.rpartition("/")[0]
        return self._excludes_folder(parent) or bool(self._exclude.match_file(path))

    def _excludes_folder(self, path: str) -> bool:
        if not path:
            return False
        known = self._folders.get(path)
        if known is None:
            known = self._excludes_folder(path.rpartition("/")[0]) or bool(
                self._exclude.match_file(f"{path}/")
            )
            if len(self._folders) >= _MAX_KNOWN_FOLDERS:
                self._folders.clear()
            self._folders[path] = known
        return known


def _compile(patterns: Sequence[str]) -> Any:
    if not patterns:
        return None
    # Few programs mirror, and the import takes milliseconds.
    import pathspec

    return pathspec.GitIgnoreSpec.from_lines(patterns)
