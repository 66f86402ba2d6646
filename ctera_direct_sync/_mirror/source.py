"""Reading the source: the folder of the portal."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from .._base.cancellation import CancelScope
from ..exceptions import (
    AccessDeniedError,
    NamespaceError,
    NotAFolderError,
    PathNotFoundError,
)
from ..types import Entry
from .local_names import OWN_FOLDER
from .options import MirrorOptions, Names
from .report import Report
from .state import State
from .values import Remote, remote_of

__all__ = ["Source", "gone"]


class Source:
    """The source of a mirror, and what one run has found out about it.

    Args:
        names: Reads the portal's folders.
        scope: The scope that cancels the run.
        source: The path of the source.
        state: The state.
        options: The arguments of the mirror.
        report: Takes what cannot be read.

    Attributes:
        prefix: What comes before a path below the source.
        folder_id_text: The ID of the source's cloud folder, as text. Empty if it is above cloud folders.
        unreadable: Folders of the source that cannot be read.
        denied: A denied folder, or empty. What is missing elsewhere may have moved into it.
        incomplete: What the last listing lacked although the portal has it, or empty.
    """

    def __init__(
        self,
        names: Names,
        scope: CancelScope,
        source: str,
        state: State,
        options: MirrorOptions,
        report: Report,
    ) -> None:
        self._names = names
        self._scope = scope
        self._source = source
        self._state = state
        self._options = options
        self._report = report
        self.prefix = source.rstrip("/") + "/"
        self.folder_id_text = ""
        self.unreadable: set[str] = set()
        self.denied = ""
        self.incomplete = ""

    def check(self) -> None:
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
            raise gone(self._source)
        self.folder_id_text = folder_id or before or ""

    def forget_listing(self) -> None:
        """Forget what a listing has told, before the source is read again."""
        self.unreadable.clear()
        self.incomplete = self.denied = ""

    @property
    def folder_id(self) -> int | None:
        """The cloud folder of the source, or None if the source is above cloud folders."""
        return int(self.folder_id_text) if self.folder_id_text else None

    def list_folder(self, path: str) -> list[Remote]:
        """Return what is in a folder of the source, but not what is below that.

        Raises:
            AccessDeniedError: The user may not read it.
            PathNotFoundError: It is gone.
            NotAFolderError: It is a file by now.
        """
        self._scope.check()
        entries = self._names.listdir(self.prefix + path if path else self._source)
        return [remote for entry in entries for remote in self._remotes(entry)]

    def _remotes(self, entry: Entry) -> Iterator[Remote]:
        if entry.path.startswith(self.prefix) and not entry.is_deleted:
            yield remote_of(entry, entry.path[len(self.prefix) :])

    def walk(self, path: str = "") -> Iterator[Remote]:
        """Return everything in a folder of the source, a folder before what is in it.

        Args:
            path: The folder. Empty: the source.

        Raises:
            NamespaceError: A folder cannot be read for another reason than a lack of permission.
        """
        prefix = self.prefix

        def on_error(error: NamespaceError) -> None:
            path = str(error.filename or "")
            tolerated = (AccessDeniedError, PathNotFoundError, NotAFolderError)
            if not isinstance(error, tolerated) or not path.startswith(prefix):
                raise error
            self._report.is_clean = False
            inner = path[len(prefix) :]
            self.unreadable.add(inner)
            if not isinstance(error, AccessDeniedError) and self._is_folder(inner):
                self.incomplete = inner
                reason = (
                    "the portal has this folder, but cannot list it; what is here stays as it is"
                )
                self._report.failed.append((inner, reason))
            if isinstance(error, AccessDeniedError):
                reason = "the portal no longer lets you read it; what is here stays as it is"
                self._report.failed.append((inner, reason))
                is_excluded = self._options.filter.excludes(inner, True)
                if inner and not is_excluded:
                    self.denied = self.denied or inner

        for entry in self._names.walk(prefix + path if path else self._source, on_error):
            yield from self._remotes(entry)

    def _is_folder(self, path: str) -> bool:
        """Return whether the portal has a folder of this path, whether or not it can be listed."""
        self._scope.check()
        try:
            return self._names.stat(self.prefix + path).is_dir
        except (PathNotFoundError, NotAFolderError):
            return False
        except AccessDeniedError:
            return True


def gone(path: str) -> NamespaceError:
    """Return the error of a cloud folder that is gone."""
    return NamespaceError(
        "The cloud folder is gone, or another one has taken its name, so nothing was changed here: if that "
        "is right, remove the local folder and mirror again",
        path,
        errno=errno.ESTALE,
    )
