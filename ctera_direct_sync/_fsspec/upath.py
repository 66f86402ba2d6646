"""`UPath("ctera://...")`: paths of a portal with the methods of `pathlib`.

universal-pathlib finds the class by its entry point. No program has to import this module. All of it works
from release 0.3.8 on.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Callable, NoReturn

from fsspec import get_filesystem_class
from upath._flavour import WrappedFileSystemFlavour
from upath.implementations.cloud import CloudPath

from ..types import Token
from .instances import SECRETS, PortalHost
from .paths import SCHEME, split

try:
    from upath import UnsupportedOperation
except ImportError:  # The first releases of 0.3 do not have it.
    UnsupportedOperation = NotImplementedError  # type: ignore[misc]

__all__ = ["CteraPath"]


class _Parser(WrappedFileSystemFlavour):
    """The rules for paths: the portal's host and port are the drive, and each part below it is a name."""

    def splitdrive(self, path: Any) -> tuple[str, str]:
        """Return host and rest. The inherited method takes a host before a port for a scheme."""
        host, slash, rest = str(self.strip_protocol(path)).partition("/")
        return host, slash + rest


class ReadOnlyPathError(OSError, UnsupportedOperation):
    """A method that writes was called. It is an OSError (EROFS) and universal-pathlib's own error."""


def _refuse(self: CteraPath, *_args: Any, **_kwargs: Any) -> NoReturn:
    """Raise OSError: the store is read-only."""
    raise ReadOnlyPathError(errno.EROFS, "files can only be read through Direct IO", str(self))


class CteraPath(CloudPath):
    """A file or folder of a portal: `UPath("ctera://<portal-host>/My Files/a.csv", **storage_options)`.

    Nothing is kept between calls, so each method that looks at the portal asks it. Methods that write
    raise `ReadOnlyPathError`. The secrets among `storage_options` are hidden in reprs.
    """

    __slots__ = ()

    # get_filesystem_class also tells fsspec the class, which UPath asks for the options in a URL.
    parser = _Parser(get_filesystem_class("ctera"), netloc_is_anchor=True)

    @classmethod
    def _transform_init_args(
        cls, args: tuple[Any, ...], protocol: str, storage_options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], str, dict[str, Any]]:
        for name in SECRETS:
            if isinstance(storage_options.get(name), str):
                storage_options[name] = Token(storage_options[name])
        # A name that begins with a slash starts over at the root of the same portal.
        for place in range(len(args) - 1, 0, -1):
            if str(args[place]).startswith("/"):
                host = split(str(args[0])).host or ""
                args = (f"{SCHEME}{host}{args[place]}", *args[place + 1 :])
                break
        result: tuple[tuple[Any, ...], str, dict[str, Any]] = super()._transform_init_args(
            args, protocol, storage_options
        )
        return result

    @property
    def storage_options(self) -> Mapping[str, Any]:
        """The options of the file system. If `baseurl` names the portal, the host of the URL is not one."""
        options = dict(super().storage_options)
        portal = PortalHost.of(str(options.get("baseurl") or ""))
        if portal is not None and portal.is_named(str(options.get("host"))):
            del options["host"]
        return MappingProxyType(options)

    def iterdir(self) -> Iterator[CteraPath]:
        """Yield what is in the folder, which is listed once.

        Raises:
            NotADirectoryError: The path is a file.
        """
        fs, path = self.fs, self.path.rstrip("/")
        own_path = fs._strip_protocol(path)
        for name in fs.ls(path, detail=False):
            if name == own_path:
                raise NotADirectoryError(errno.ENOTDIR, "this is a file, not a folder", str(self))
            # Not by its last part: the path of a cloud folder `2026` is `~/2026`.
            yield self.with_segments(name)

    def walk(
        self,
        top_down: bool = True,
        on_error: Callable[[OSError], object] | None = None,
        follow_symlinks: bool = False,
    ) -> Iterator[tuple[CteraPath, list[str], list[str]]]:
        """Yield folder, names of folders and names of files, for each folder of the tree.

        Args:
            top_down: Whether a folder comes before those below it.
            on_error: Called with the error of each folder that cannot be read. None: leave out folders
                that are gone, and raise any other error. The paths of `pathlib` leave out all.
            follow_symlinks: Without effect: a portal has no symbolic links.
        """
        handle = "omit" if on_error is None else on_error
        for path, folders, files in self.fs.walk(self.path, topdown=top_down, on_error=handle):
            yield self.with_segments(path), folders, files

    mkdir = touch = unlink = rmdir = rename = replace = _refuse
    write_bytes = write_text = __open_writer__ = _refuse
    # The inherited ones would copy, and then fail to delete the source.
    move = move_into = _refuse
