"""The values that go in and out: byte ranges, block lists, blocks.

Secrets travel as :class:`SignedURL`, :class:`Token` and :class:`FileKey`. They behave as the ``str``
and ``bytes`` that they are, but a ``repr``, and so a traceback with locals, never shows them. The
same holds for every part of them. ``str(url)``, ``bytes(key)`` and formatting give the plain value.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime
import functools
import hashlib
import operator
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional
from urllib.parse import urlsplit

__all__ = [
    "Block",
    "BlockEvent",
    "ByteRange",
    "Chunk",
    "CloudFolder",
    "Download",
    "Entry",
    "FileKey",
    "KeyPair",
    "Metadata",
    "SignedURL",
    "Token",
    "Version",
]


class HiddenText(str):
    """A part of a secret: a ``str`` whose ``repr``, and that of its own parts, hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<part of a secret: hidden>"


class HiddenBytes(bytes):
    """A part of a secret: ``bytes`` whose ``repr``, and that of its own parts, hides them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<part of a secret: hidden>"


def _hide(value: Any) -> Any:
    """Return ``value`` with each ``str`` and ``bytes`` in it as one whose ``repr`` hides it."""
    if isinstance(value, str):
        return HiddenText(value)
    if isinstance(value, bytes):
        return HiddenBytes(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(_hide, value))
    return value


def _hiding(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return _hide(method(self, *args, **kwargs))

    return call


#: What ``str`` and ``bytes`` have in common that gives a part of them, or another form of the whole.
_COMMON_METHODS = (
    *("__add__", "__getitem__", "__mod__", "__mul__", "__rmul__"),
    *(
        "capitalize",
        "center",
        "expandtabs",
        "ljust",
        "lower",
        "lstrip",
        "partition",
        "removeprefix",
    ),
    *("removesuffix", "replace", "rjust", "rpartition", "rsplit", "rstrip", "split", "splitlines"),
    *("strip", "swapcase", "title", "translate", "upper", "zfill"),
)

for _class, _base, _more in (
    (HiddenText, str, ("casefold", "encode", "format", "format_map", "join")),
    (HiddenBytes, bytes, ("decode", "hex", "join")),
):
    for _name in (*_COMMON_METHODS, *_more):
        if hasattr(_base, _name):  # Python 3.9 has all of them; a later one may drop some.
            setattr(_class, _name, _hiding(getattr(_base, _name)))


def _add_reflected(self: Any, other: Any) -> Any:
    """Return ``other + self``, which would otherwise be plain."""
    if isinstance(other, (str, bytes)):
        return _hide(other.__add__(self))
    return NotImplemented


def _iterate_characters(self: str) -> Any:
    """Return an iterator over the characters, each of which hides itself."""
    return map(HiddenText, str.__iter__(self))


setattr(HiddenText, "__radd__", _add_reflected)  # noqa: B010 - str itself has no such method
setattr(HiddenBytes, "__radd__", _add_reflected)  # noqa: B010
setattr(HiddenText, "__iter__", _iterate_characters)  # noqa: B010


class Token(HiddenText):
    """A bearer token, access key ID or secret access key: a ``str`` whose ``repr`` hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<Token: hidden>"


class FileKey(HiddenBytes):
    """A file's AES key: ``bytes`` whose ``repr`` hides them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<FileKey: AES-{8 * len(self)}, hidden>"


class SignedURL(HiddenText):
    """A pre-signed URL: a ``str`` whose ``repr`` shows scheme and host alone."""

    __slots__ = ()

    def __repr__(self) -> str:
        try:
            parts = urlsplit(str(self))
            return f"<SignedURL: {parts.scheme}://{parts.hostname}/...>"
        except ValueError:
            return "<SignedURL: malformed, hidden>"


class ByteRange:
    """Bytes ``start`` to ``end`` of a file, both included, as in HTTP (RFC 9110, section 14.1).

    ``end`` None means to the end of the file. ValueError for a negative bound or ``end < start``.
    """

    __slots__ = ("_end", "_start")

    _start: int
    _end: Optional[int]

    def __init__(self, start: Optional[int] = None, end: Optional[int] = None) -> None:
        first = 0 if start is None else operator.index(start)
        last = None if end is None else operator.index(end)
        if first < 0:
            raise ValueError(f"byte range start {first} is negative: give an offset from 0")
        if last is not None and last < first:
            raise ValueError(
                f"byte range end {last} lies before its start {first}: both ends are included, "
                "so one byte is ByteRange(n, n)"
            )
        object.__setattr__(self, "_start", first)
        object.__setattr__(self, "_end", last)

    @property
    def start(self) -> int:
        """Offset of the first byte."""
        return self._start

    @property
    def end(self) -> Optional[int]:
        """Offset of the last byte, None for the end of the file."""
        return self._end

    @property
    def eof(self) -> bool:
        """Whether the range goes to the end of the file."""
        return self._end is None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a ByteRange cannot be changed: make a new one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a ByteRange cannot be changed: make a new one")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ByteRange):
            return NotImplemented
        return (self._start, self._end) == (other._start, other._end)

    def __hash__(self) -> int:
        return hash((ByteRange, self._start, self._end))

    def __repr__(self) -> str:
        return f"ByteRange({self._start}, {self._end})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (ByteRange, (self._start, self._end))


class Chunk(NamedTuple):
    """A block as listed: number from 1, offset and plaintext length in bytes, pre-signed URL."""

    number: int
    offset: int
    length: int
    url: SignedURL

    def __repr__(self) -> str:
        return f"Chunk(number={self.number}, offset={self.offset}, length={self.length})"


class Block(NamedTuple):
    """A block's plaintext, or the piece of it that was asked for.

    ``offset`` and ``length`` are those of ``data`` in the file.
    """

    file_id: int
    number: int
    offset: int
    length: int
    data: bytes

    def __repr__(self) -> str:
        return (
            f"Block(file_id={self.file_id}, number={self.number}, offset={self.offset}, "
            f"length={self.length})"
        )


class Download(NamedTuple):
    """A finished download: where, how many bytes, their CRC32C (RFC 3720), how many seconds."""

    path: Optional[str]
    size: int
    crc32c: int
    seconds: float


class BlockEvent(NamedTuple):
    """One thing that happened to a block, for ``DirectIO(on_event=...)``.

    ``name`` is one of queued, started, first-byte, received, verified, decoded, delivered, retried,
    failed; ``time`` is ``time.perf_counter()`` seconds; ``nbytes`` the bytes that the step was about;
    ``worker`` the name of the thread; ``detail`` a redacted word more (the reason of a retry, the
    checksum that was verified).
    """

    name: str
    time: float
    file_id: int
    number: int
    offset: int
    nbytes: int
    worker: str
    detail: str


def _object_name(url: str) -> str:
    """A signed URL's path: host and query may be others each time that the file is listed."""
    return str(url).partition("?")[0].partition("://")[2].partition("/")[2]


class Metadata:
    """A file's block list, with all that is needed to fetch and decode the blocks elsewhere.

    ``encryption_key`` is the unwrapped file key, None where the data is not encrypted.
    ``compression_library`` is ``SNAPPY``, ``GZIP``, ``LZ4``, or None: not compressed where
    ``compressed`` is false, else to be told from each payload (PROTOCOL section 3).
    """

    __slots__ = (
        "chunks",
        "cipher",
        "compressed",
        "compression_library",
        "encrypted",
        "encryption_key",
        "file_id",
        "size",
    )

    def __init__(
        self,
        file_id: int,
        size: int,
        chunks: Sequence[Chunk],
        *,
        encryption_key: Optional[bytes] = None,
        cipher: str = "AES-CBC",
        compressed: bool = True,
        compression_library: Optional[str] = None,
    ) -> None:
        self.file_id = file_id
        self.size = size
        self.chunks: tuple[Chunk, ...] = tuple(chunks)
        self.encrypted = encryption_key is not None
        self.encryption_key = None if encryption_key is None else FileKey(encryption_key)
        self.cipher = cipher
        self.compressed = compressed
        self.compression_library = compression_library if compressed else None

    @property
    def compression(self) -> Optional[str]:
        """What :func:`ctera_direct_sync.codec.decode` takes as ``compression``."""
        return self.compression_library if self.compressed else "NONE"

    @property
    def plaintext(self) -> bool:
        """Whether the stored objects are the file's own bytes, so that any range can be fetched."""
        return not self.encrypted and not self.compressed

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest that changes when the file does, but not when its URLs are renewed.

        Made of file ID, size, formats, key (of which it tells nothing), and each block's place and
        object: a file that is rewritten at the same lengths differs in its objects' names alone.
        """
        digest = hashlib.sha256(hashlib.sha256(self.encryption_key or b"").digest())
        digest.update(repr((self.file_id, self.size, self.cipher, self.compression)).encode())
        for chunk in self.chunks:
            digest.update(b"%d %d %d " % (chunk.number, chunk.offset, chunk.length))
            digest.update(_object_name(chunk.url).encode("utf-8", "surrogateescape") + b"\n")
        return digest.hexdigest()

    def serialize(self) -> dict[str, Any]:
        """A dictionary ready for JSON. It holds the file key and the URLs: treat it as a secret."""
        key = self.encryption_key
        return {
            "file_id": self.file_id,
            "size": self.size,
            "encrypted": self.encrypted,
            "encryption_key": None if key is None else base64.b64encode(key).decode("ascii"),
            "cipher": self.cipher,
            "compressed": self.compressed,
            "compression_library": self.compression_library,
            "chunks": [
                {"number": c.number, "offset": c.offset, "length": c.length, "url": str(c.url)}
                for c in self.chunks
            ],
        }

    @classmethod
    def deserialize(cls, data: Mapping[str, Any]) -> Metadata:
        """What :meth:`serialize` gave. ValueError names the member that is missing or malformed."""
        try:
            key = data["encryption_key"]
            return cls(
                data["file_id"],
                operator.index(data["size"]),
                [
                    Chunk(
                        operator.index(c["number"]),
                        operator.index(c["offset"]),
                        operator.index(c["length"]),
                        SignedURL(c["url"]),
                    )
                    for c in data["chunks"]
                ],
                encryption_key=None if key is None else base64.b64decode(key, validate=True),
                cipher=data.get("cipher", "AES-CBC"),
                compressed=data["compressed"],
                compression_library=data["compression_library"],
            )
        except KeyError as error:
            raise ValueError(f"serialized metadata lacks {error.args[0]!r}") from None
        except (TypeError, AttributeError, binascii.Error):
            pass
        raise ValueError(
            "serialized metadata is malformed: pass what Metadata.serialize() returned"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Metadata):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        return (
            f"Metadata(file_id={self.file_id}, size={self.size}, encrypted={self.encrypted}, "
            f"compressed={self.compressed}, compression_library={self.compression_library!r}, "
            f"blocks={len(self.chunks)})"
        )


# --- names on a portal -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file or folder on the portal, as a listing described it.

    Attributes:
        path: The path that every method takes, such as ``/My Files/reports/a.pdf``.
        name: The name as the portal gives it.
        file_id: The ID that the Direct IO calls take, or None if the portal gives none.
        size: The size of a file in bytes. None for a folder, or if the portal does not tell it.
        modified: When the content changed, in UTC, or None.
            The portal tells no time zone: do not compare it with the times of change events.
        is_dir: Whether it is a folder.
        is_deleted: Whether it was deleted. Only listings with `include_deleted` have such entries.
        permalink: A URL for people, or None. It is not in the repr.
        folder_id: The ID of the cloud folder that it is in, or None outside of cloud folders.
    """

    __slots__ = (
        "file_id",
        "folder_id",
        "is_deleted",
        "is_dir",
        "modified",
        "name",
        "path",
        "permalink",
        "size",
    )

    path: str
    name: str
    file_id: Optional[int]
    size: Optional[int]
    modified: Optional[datetime.datetime]
    is_dir: bool
    is_deleted: bool
    permalink: Optional[str]
    folder_id: Optional[int]

    def __repr__(self) -> str:
        kind = "folder" if self.is_dir else f"{self.size} bytes"
        deleted = ", deleted" if self.is_deleted else ""
        return f"<Entry {self.path!r}, {kind}, file_id={self.file_id}{deleted}>"

    def __reduce__(self) -> tuple[Any, ...]:
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return (type(self), tuple(values))


class Version(NamedTuple):
    """A previous version of a file or folder.

    Attributes:
        path: The path of the version, which every method takes.
        started: When the version began, in UTC, or None. The portal may tell no time zone.
        current: Whether it is the current version.
    """

    path: str
    started: Optional[datetime.datetime]
    current: bool


class CloudFolder(NamedTuple):
    """A cloud folder.

    Attributes:
        folder_id: The ID of the cloud folder, as in `Entry.folder_id`.
        name: The name of the cloud folder.
        owner: The owner as the portal names it, or None.
    """

    folder_id: int
    name: str
    owner: Optional[str]


class KeyPair(NamedTuple):
    """A key pair for Direct IO: ``DirectIO(url, *pair)``. The repr shows neither key, `str(key)` does.

    Attributes:
        access_key_id: The access key ID. The portal takes it as a bearer token, so it is hidden, too.
        secret_access_key: The secret access key. The portal shows it only once.
    """

    access_key_id: Token
    secret_access_key: Token
