"""What can go wrong, as one tree.

::

    IOError
      DirectIOError
        DirectIOAPIError
          NotFoundError  UnAuthorized  UnprocessableContent  InvalidRequest
          BlocksNotFoundError  BlockListConnectionError  BlockListTimeout
        DecryptKeyError
        BlockError                       .block: BlockInfo
          DownloadError  DownloadTimeout  DownloadConnectionError
          DecryptBlockError  DecompressBlockError  BlockValidationException
        StreamError                      .offset, __cause__
        NamespaceError
          LoginError  NamespaceConnectionError  NamespaceTimeout
          PathNotFoundError  NotAFolderError  IsAFolderError  AccessDeniedError
          CursorRejectedError  TooManyFoldersError
        TooManyDeletionsError            .count

Each carries `errno`, `strerror` and `filename` (the file ID, or the path), survives pickling, and says
what to do next. None ever holds a key, a token or the query of a URL.
"""

from __future__ import annotations

import errno as _errno
from typing import Any, NamedTuple, Optional

__all__ = [
    "AccessDeniedError",
    "AuthorizationError",
    "BlockError",
    "BlockInfo",
    "BlockListConnectionError",
    "BlockListTimeout",
    "BlockValidationException",
    "BlocksNotFoundError",
    "CursorRejectedError",
    "DecompressBlockError",
    "DecryptBlockError",
    "DecryptKeyError",
    "DirectIOAPIError",
    "DirectIOError",
    "DownloadConnectionError",
    "DownloadError",
    "DownloadTimeout",
    "InvalidRequest",
    "IsAFolderError",
    "LoginError",
    "NamespaceConnectionError",
    "NamespaceError",
    "NamespaceTimeout",
    "NotAFolderError",
    "NotFoundError",
    "ObjectNotFoundError",
    "PathNotFoundError",
    "StreamError",
    "TooManyDeletionsError",
    "TooManyFoldersError",
    "UnAuthorized",
    "UnprocessableContent",
    "UnsupportedStorageError",
]


class NamedFileID(int):
    """A file ID that was found by a path. It is the number in all ways, but errors tell the path.

    Attributes:
        path: The path.
    """

    path: str

    def __new__(cls, file_id: int, path: str) -> NamedFileID:
        """Return the ID with its path."""
        named = super().__new__(cls, file_id)
        named.path = path
        return named

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (int(self), self.path))


class BlockInfo(NamedTuple):
    """The block that an error is about.

    A member is None if it is not known: `ctera_direct_sync.codec.decode` knows at most the number.
    """

    file_id: Optional[int]
    """ID of the file."""
    number: Optional[int]
    """Position of the block in the file's list, from 1."""
    offset: Optional[int]
    """Offset of the block in the file, in bytes."""
    length: Optional[int]
    """Length of the block's plaintext, in bytes."""

    def __str__(self) -> str:
        where = "block" if self.number is None else f"block {self.number}"
        if self.offset is not None:
            where += f" at offset {self.offset}"
        if self.length is not None:
            where += f" ({self.length} bytes)"
        if self.file_id is None:
            return where
        path = getattr(self.file_id, "path", None)
        name = self.file_id if path is None else f"{path!r} (ID {self.file_id})"
        return f"file {name}, {where}"


class DirectIOError(IOError):
    """An error of a file, a block, the portal or the storage: the base of all others.

    Args:
        strerror: What happened, and what to do.
        file_id: ID of the file. It becomes `filename`, unless the file was named by its path: then
            the path does.
        errno: The error number. None: the `default_errno` of the class.
    """

    default_errno = _errno.EIO
    """The `errno` of the class if nothing more is known."""

    def __init__(
        self, strerror: str, file_id: int | None = None, *, errno: int | None = None
    ) -> None:
        name = getattr(file_id, "path", file_id)
        super().__init__(self.default_errno if errno is None else errno, strerror, name)

    def __str__(self) -> str:
        text = f"[Errno {self.errno}] {self.strerror}"
        if self.filename is None:
            return text
        name = repr(self.filename) if isinstance(self.filename, str) else self.filename
        return f"{text}: file {name}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def _state(self) -> dict[str, Any]:
        """Return the attributes to restore beyond the constructor's arguments.

        The cause is among them only if it is a `DirectIOError`: others may not survive pickling.
        """
        state = dict(self.__dict__)
        if isinstance(self.__cause__, DirectIOError):
            state["__cause__"] = self.__cause__
        return state

    def _arguments(self) -> tuple[Any, ...]:
        return (self.strerror, self.filename)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self._arguments(), self.errno), self._state())


def _rebuild(cls: type[DirectIOError], arguments: tuple[Any, ...], errno: int) -> DirectIOError:
    return cls(*arguments, errno=errno)


class DirectIOAPIError(DirectIOError):
    """The portal did not give a block list (PROTOCOL, section 1)."""


class NotFoundError(DirectIOAPIError):
    """The portal knows no file with this ID (HTTP 400; PROTOCOL, section 1)."""

    default_errno = _errno.ENOENT


class UnAuthorized(DirectIOAPIError):
    """The portal refuses the key, or its owner may not read the file (HTTP 401, 403)."""

    default_errno = _errno.EACCES


class UnprocessableContent(DirectIOAPIError):
    """A block of the file lies on a storage node that is not in direct mode (HTTP 422)."""

    default_errno = _errno.ENOTSUP


class InvalidRequest(DirectIOAPIError):
    """The portal rejects the request (HTTP 500)."""


class BlocksNotFoundError(DirectIOAPIError):
    """The portal lists no blocks for a file that is not empty."""

    default_errno = _errno.ENODATA


class BlockListConnectionError(DirectIOAPIError):
    """The portal cannot be reached: the connection, the host name or TLS failed."""

    default_errno = _errno.ENETRESET


class BlockListTimeout(DirectIOAPIError):
    """The portal did not answer in time."""

    default_errno = _errno.ETIMEDOUT


class DecryptKeyError(DirectIOError):
    """The secret access key does not unwrap the file's key (PROTOCOL, section 2)."""


class BlockError(DirectIOError):
    """A block could not be downloaded or decoded.

    Args:
        strerror: What happened, and what to do.
        block: The block.
        errno: The error number. None: the `default_errno` of the class.
    """

    block: BlockInfo
    """The block that the error is about."""

    def __init__(self, strerror: str, block: BlockInfo, *, errno: int | None = None) -> None:
        super().__init__(strerror, block.file_id, errno=errno)
        self.block = block

    def __str__(self) -> str:
        return f"[Errno {self.errno}] {self.strerror}: {self.block}"

    def _arguments(self) -> tuple[Any, ...]:
        return (self.strerror, self.block)


class DownloadError(BlockError):
    """The storage answered, but not with the block: a status, a cut body, a wrong checksum."""


class DownloadTimeout(BlockError):
    """The storage did not answer, or stopped sending, for longer than the read timeout."""

    default_errno = _errno.ETIMEDOUT


class DownloadConnectionError(BlockError):
    """The storage cannot be reached, or broke the connection."""

    default_errno = _errno.ENETRESET


class DecryptBlockError(BlockError):
    """The stored object does not decrypt: wrong envelope, padding or tag (PROTOCOL, sections 3, 5)."""


class DecompressBlockError(BlockError):
    """The decrypted payload does not decompress (PROTOCOL, sections 3, 5)."""


class BlockValidationException(BlockError):
    """The decoded block does not have the length that the portal listed."""


class StreamError(DirectIOError):
    """A stream ended early. Its `__cause__` is the error that ended it.

    Args:
        strerror: What happened, and what to do.
        file_id: ID of the file.
        offset: The next byte that was not delivered.
        errno: The error number. None: the `default_errno` of the class.
    """

    offset: int
    """Offset of the next byte that was not delivered: resume from there."""

    def __init__(
        self,
        strerror: str,
        file_id: int | None = None,
        offset: int = 0,
        *,
        errno: int | None = None,
    ) -> None:
        super().__init__(strerror, file_id, errno=errno)
        self.offset = offset

    def _arguments(self) -> tuple[Any, ...]:
        return (self.strerror, self.filename, self.offset)


# Names of newer cterasdk releases for the same things.
ObjectNotFoundError = NotFoundError
AuthorizationError = UnAuthorized
UnsupportedStorageError = UnprocessableContent


# --- names on a portal -------------------------------------------------------------------------------


class NamespaceError(DirectIOError):
    """The portal did not do what a `Namespace` asked of it.

    Args:
        strerror: What happened, and what to do.
        path: The path that the call was about, or None. It becomes `filename`.
        errno: The error number; by default that of the class.
    """

    def __init__(
        self, strerror: str, path: Optional[str] = None, *, errno: Optional[int] = None
    ) -> None:
        # `filename` of a DirectIOError is a file ID, that of an OSError is a path.
        super().__init__(strerror, path, errno=errno)  # type: ignore[arg-type]

    def __str__(self) -> str:
        text = f"[Errno {self.errno}] {self.strerror}"
        return text if self.filename is None else f"{text}: {self.filename!r}"


class LoginError(NamespaceError):
    """The portal refuses the user name and password, token, cookie or ticket."""

    default_errno = _errno.EACCES


class PathNotFoundError(NamespaceError, FileNotFoundError):
    """The portal has nothing at this path, or hides it from this user."""

    default_errno = _errno.ENOENT


class NotAFolderError(NamespaceError, NotADirectoryError):
    """The path is a file, and a folder was expected."""

    default_errno = _errno.ENOTDIR


class IsAFolderError(NamespaceError, IsADirectoryError):
    """The path is a folder, and a file was expected."""

    default_errno = _errno.EISDIR


class AccessDeniedError(NamespaceError, PermissionError):
    """The user may not read this path, or may not make this call."""

    default_errno = _errno.EACCES


class CursorRejectedError(NamespaceError):
    """The portal no longer takes this cursor of the change feed: start again without one."""

    default_errno = _errno.ESTALE


class TooManyFoldersError(NamespaceError):
    """The portal takes fewer cloud folders in one request.

    Args:
        strerror: What happened, and what to do.
        limit: The number of folders that the portal takes, or None if it does not tell it.
        errno: The error number; by default that of the class.
    """

    default_errno = _errno.E2BIG

    limit: int | None
    """The number of folders that the portal takes, or None."""

    def __init__(
        self, strerror: str, limit: Optional[int] = None, *, errno: Optional[int] = None
    ) -> None:
        super().__init__(strerror, errno=errno)
        self.limit = limit

    def _arguments(self) -> tuple[Any, ...]:
        return (self.strerror, self.limit)


class NamespaceConnectionError(NamespaceError):
    """The portal cannot be reached: refused, reset, no such host, TLS."""

    default_errno = _errno.ENETRESET


class NamespaceTimeout(NamespaceError):
    """The portal did not answer in time."""

    default_errno = _errno.ETIMEDOUT


# --- mirrors -----------------------------------------------------------------------------------------


class TooManyDeletionsError(DirectIOError):
    """A run of a mirror would delete more files than `max_delete` allows, and changed nothing.

    Args:
        strerror: What happened, and what to do.
        count: The number of files that the run would delete.
        errno: The error number. None: the `default_errno` of the class.
    """

    default_errno = _errno.ECANCELED

    count: int
    """The number of files that the run would delete."""

    def __init__(self, strerror: str, count: int, *, errno: int | None = None) -> None:
        super().__init__(strerror, errno=errno)
        self.count = count

    def _arguments(self) -> tuple[Any, ...]:
        return (self.strerror, self.count)
