"""What a store that can only be read refuses."""

from __future__ import annotations

import errno
from typing import Any, NoReturn

from fsspec.spec import AbstractFileSystem
from fsspec.transaction import Transaction

__all__ = ["ReadOnlyFileSystem", "refuse_to_write"]


def refuse_to_write(path: Any = None) -> NoReturn:
    """Raise OSError (EROFS)."""
    text = "files can only be read through Direct IO"
    if path is None:
        raise OSError(errno.EROFS, text)
    raise OSError(errno.EROFS, text, str(path))


class _ReadOnlyTransaction(Transaction):  # type: ignore[misc]
    """A transaction that raises at once. fsspec's own would end without an error."""

    def start(self) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write()


class ReadOnlyFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """A file system whose every method that writes raises OSError (EROFS)."""

    transaction_type = _ReadOnlyTransaction

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write(path)

    def rm_file(self, path: str) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write(path)

    _rm = rm_file

    def rmdir(self, path: str) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write(path)

    def cp_file(self, path1: str, path2: str, **_: Any) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write(path2)

    def copy(self, path1: Any, path2: Any, *_args: Any, **_: Any) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write(path2)

    def mv(self, path1: Any, path2: Any, *_args: Any, **_: Any) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write(path2)

    mv_file = mv

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write(path)

    def touch(self, path: str, truncate: bool = True, **_: Any) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write(path)

    def pipe(self, path: Any, value: Any = None, **_: Any) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write(path)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write(path)

    def put(self, lpath: Any, rpath: Any, *_args: Any, **_: Any) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write(rpath)

    def put_file(self, lpath: str, rpath: str, *_args: Any, **_: Any) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write(rpath)

    def start_transaction(self) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write()

    def end_transaction(self) -> NoReturn:
        """Raise OSError: the store is read-only."""
        refuse_to_write()
