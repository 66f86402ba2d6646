"""The values that go in and out: byte ranges, block lists, blocks, results.

Secrets are values of the classes `SignedURL`,
`Token` and `FileKey`. They behave as
the `str` and `bytes` that they are. Their `repr` hides them, and so do tracebacks that show local
variables. The same holds for every part of them. `str(url)`, `bytes(key)` and formatting give the
plain value.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime
import functools
import hashlib
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, Literal, NamedTuple, Optional, SupportsIndex, Union
from urllib.parse import urlsplit

__all__ = [
    "Ancestor",
    "BatchItem",
    "BatchResult",
    "Block",
    "BlockEvent",
    "BlockEventName",
    "ByteRange",
    "ChangePage",
    "Chunk",
    "Cipher",
    "CloudFolder",
    "Compression",
    "Download",
    "EndpointStats",
    "Entry",
    "Event",
    "FileKey",
    "FileRef",
    "HostStats",
    "KeyPair",
    "Metadata",
    "Mirrored",
    "Outcome",
    "Quantiles",
    "SignedURL",
    "Stats",
    "Token",
    "Version",
    "Waits",
]

Cipher = Literal["AES-CBC", "AES-GCM"]
"""How blocks are encrypted (PROTOCOL, section 3)."""

Compression = Literal["SNAPPY", "GZIP", "LZ4"]
"""How blocks are compressed (PROTOCOL, section 3)."""

Outcome = Literal["done", "unchanged", "failed"]
"""How an item of a batch ended."""

BlockEventName = Literal[
    "queued",
    "started",
    "first-byte",
    "received",
    "verified",
    "decoded",
    "delivered",
    "retried",
    "hedged",
    "failed",
]
"""What can happen to a block."""


class HiddenText(str):
    """A part of a secret: a `str` whose `repr`, and that of its own parts, hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<part of a secret: hidden>"


class HiddenBytes(bytes):
    """A part of a secret: `bytes` whose `repr`, and that of its own parts, hides them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<part of a secret: hidden>"


def _hide(value: Any) -> Any:
    """Return `value` with each `str` and `bytes` in it replaced by one whose `repr` hides it."""
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


#: The methods of both `str` and `bytes` that return a part of them, or another form of the whole.
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
    """Return `other + self`, which would be a plain `str` or `bytes` without this method."""
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
    """A bearer token, access key ID or secret access key: a `str` whose `repr` hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<Token: hidden>"


class FileKey(HiddenBytes):
    """The AES key of a file: `bytes` whose `repr` hides them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<FileKey: AES-{8 * len(self)}, hidden>"


class SignedURL(HiddenText):
    """A pre-signed URL: a `str` whose `repr` shows scheme and host alone."""

    __slots__ = ()

    def __repr__(self) -> str:
        try:
            parts = urlsplit(str(self))
            return f"<SignedURL: {parts.scheme}://{parts.hostname}/...>"
        except ValueError:
            return "<SignedURL: malformed, hidden>"


def _show_table(title: str, rows: Sequence[tuple[str, object]]) -> str:
    """Return a table for a notebook."""
    import html  # Imported late: only notebooks need its table of entities.

    cells = "".join(
        f"<tr><th style='text-align: left'>{html.escape(name)}</th>"
        f"<td style='text-align: left'>{html.escape(str(value))}</td></tr>"
        for name, value in rows
    )
    return f"<table><caption>{html.escape(title)}</caption>{cells}</table>"


class ByteRange:
    """A range of bytes of a file, both ends included, as in HTTP (RFC 9110, section 14.1).

    A range that starts at or past the end of a file selects nothing. An end past it means the end of
    the file. The object cannot be changed.

    Args:
        start: Offset of the first byte. None means 0.
        end: Offset of the last byte. None means the end of the file.

    Raises:
        ValueError: An offset is negative, or `end` lies before `start`.

    Example:
        >>> ByteRange(0, 1023)      # the first 1,024 bytes
        ByteRange(0, 1023)
        >>> ByteRange(1024).eof     # the rest
        True
    """

    __slots__ = ("_end", "_start")

    _start: int
    _end: int | None

    def __init__(self, start: int | None = None, end: int | None = None) -> None:
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
    def end(self) -> int | None:
        """Offset of the last byte. None means the end of the file."""
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
    """A block of a file, as the portal lists it."""

    number: int
    """Position of the block in the file's list, from 1."""
    offset: int
    """Offset of the block in the file, in bytes."""
    length: int
    """Length of the block's plaintext, in bytes."""
    url: SignedURL
    """The pre-signed URL of the stored object. Its `repr` hides all but scheme and host."""

    def __repr__(self) -> str:
        return f"Chunk(number={self.number}, offset={self.offset}, length={self.length})"


class Block(NamedTuple):
    """The plaintext of a block, or the piece of it that was asked for."""

    file_id: int
    """ID of the file."""
    number: int
    """Position of the block in the file's list, from 1."""
    offset: int
    """Offset of `data` in the file, in bytes."""
    length: int
    """Length of `data`, in bytes."""
    data: bytes
    """The plaintext, verified."""

    def __repr__(self) -> str:
        return (
            f"Block(file_id={self.file_id}, number={self.number}, offset={self.offset}, "
            f"length={self.length})"
        )


class Download(NamedTuple):
    """A finished download."""

    path: Optional[str]
    """The path that was written. None after a download to a file object."""
    size: int
    """Number of bytes written."""
    crc32c: int
    """CRC32C of those bytes (RFC 3720), as an unsigned 32-bit integer."""
    seconds: float
    """Duration of the call, in seconds."""

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:
        """Yield what rich shows."""
        yield from self._asdict().items()

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        rows: list[tuple[str, object]] = [
            ("Path", "a file object" if self.path is None else self.path),
            ("Size", f"{self.size} bytes"),
            ("CRC32C", f"{self.crc32c:08x}"),
            ("Duration", f"{self.seconds:.2f} s"),
        ]
        return _show_table("Download", rows)


class BatchItem(NamedTuple):
    """A file for `DirectIO.download_many`."""

    file_id: FileRef
    """The file: its ID, its path on the portal, or its `Entry`."""
    path: str
    """Where it goes: a path relative to the folder, with `/` between its parts."""
    checksum: Optional[str] = None
    """SHA-256 or CRC32C of the file in hexadecimal, as `sha256:...`, `crc32c:...` or digits alone."""


class BatchResult(NamedTuple):
    """How one item of a batch ended."""

    item: BatchItem
    """The item."""
    outcome: Outcome
    """`"done"`: downloaded now. `"unchanged"`: it was there already. `"failed"`: see `error`."""
    download: Optional[Download] = None
    """What was downloaded, or was there already. None if the item failed."""
    error: Optional[Exception] = None
    """Why the item failed. None if it did not."""

    @property
    def ok(self) -> bool:
        """Whether the file is there, whole and checked."""
        return self.error is None


#: Conflicts, and failures, that a notebook shows.
_MAX_SHOWN = 20


class Mirrored(NamedTuple):
    """What one run of a mirror did."""

    added: int
    """Number of files that were downloaded to a new path."""
    updated: int
    """Number of files that were downloaded in the place of an older or a missing one."""
    moved: int
    """Number of files that were renamed or moved here, without a download."""
    deleted: int
    """Number of files that were deleted here, or put into the trash."""
    unchanged: int
    """Number of files that were complete already."""
    conflicts: list[tuple[str, str]]
    """Path and reason of each file that was changed here, or was here before. Nothing of it is lost."""
    failed: list[tuple[str, str]]
    """Path and reason of each entry that could not be mirrored. The next run tries again."""
    nbytes: int
    """Number of bytes that were downloaded."""
    seconds: float
    """Duration of the run, in seconds."""

    @property
    def ok(self) -> bool:
        """Whether everything of the source is here."""
        return not self.failed

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:
        """Yield what rich shows."""
        yield from self._asdict().items()

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the numbers, and the first of the conflicts and failures."""
        rows: list[tuple[str, object]] = [
            ("Added", self.added),
            ("Updated", self.updated),
            ("Moved", self.moved),
            ("Deleted", self.deleted),
            ("Unchanged", self.unchanged),
            ("Downloaded", f"{self.nbytes} bytes"),
            ("Duration", f"{self.seconds:.2f} s"),
        ]
        for name, listed in (("Conflicts", self.conflicts), ("Failed", self.failed)):
            rows.append((name, len(listed)))
            rows += [(path, reason) for path, reason in listed[:_MAX_SHOWN]]
        return _show_table("Mirrored", rows)


class BlockEvent(NamedTuple):
    """One thing that happened to a block, for `DirectIO(on_event=...)`."""

    name: BlockEventName
    """What happened."""
    time: float
    """When it happened: seconds of `time.perf_counter()`."""
    file_id: int
    """ID of the file."""
    number: int
    """Position of the block in the file's list, from 1."""
    offset: int
    """Offset of the block in the file, in bytes."""
    nbytes: int
    """Number of bytes that the step concerned."""
    worker: str
    """Name of the thread."""
    detail: str
    """More about it, without secrets: the reason of a retry or of a second request, or the checksum that
    was verified."""


# --- what a client has done ---------------------------------------------------------------------------


class Quantiles(NamedTuple):
    """How some measured values are distributed. Each quantile is None as long as there is no value."""

    p50: Optional[float]
    """The median: half of the values do not exceed it."""
    p90: Optional[float]
    """90% of the values do not exceed it."""
    p99: Optional[float]
    """99% of the values do not exceed it."""


class HostStats(NamedTuple):
    """The requests of a client to one host."""

    host: str
    """The host, with its port if the URLs name it. All hosts after the 64th are `"other hosts"`."""
    requests: int
    """Number of requests that were begun."""
    errors: int
    """Number of requests that got no whole answer, or one with a status of 400 or above."""
    received: int
    """Number of bytes of the bodies that came, as they were sent."""
    first_byte: Quantiles
    """Seconds from a request to the headers of its answer, of the last 1,000 requests that got one.

    A new connection counts in. Long polls of the change feed do not.
    """
    speed: Quantiles
    """Bytes per second of one body, of the last 1,000 requests.

    Bodies below 16 KiB, those that `Settings.bandwidth` slows down, and answers for names have none.
    """


class EndpointStats(NamedTuple):
    """The requests of a client to the portal, or to the storage."""

    requests: int
    """Number of requests that were begun, retries included."""
    errors: int
    """Number of requests that got no whole answer, or one with a status of 400 or above."""
    received: int
    """Number of bytes of the bodies that came, as they were sent: of blocks, as they are stored."""
    connections: int
    """Number of connections that are open now: those of requests under way, and those that are kept.

    Of connections by way of a proxy, and of sessions that are not plain, only the former are counted.
    """
    hosts: tuple[HostStats, ...]
    """The hosts, the one with the most requests first."""


class Waits(NamedTuple):
    """What held up the downloads of a client."""

    bandwidth: float
    """Seconds that `Settings.bandwidth` held up reads, those of concurrent reads added up."""
    backoff: float
    """Seconds of the delays before retries, those of concurrent calls added up."""
    memory: int
    """How many times the next block had no memory, because earlier ones were not consumed yet."""


class Stats(NamedTuple):
    """What a client has done since it was made; in a forked child, since the fork."""

    seconds: float
    """Seconds that are counted."""
    portal: EndpointStats
    """The requests to the portal: block lists, and names if the client looks up paths."""
    storage: EndpointStats
    """The requests to the object storage."""
    delivered: int
    """Number of bytes of plaintext that were verified, decoded and handed to the call that wanted them."""
    retries: Mapping[str, int]
    """Number of retries by the class of the error that they were to cure, such as `"DownloadTimeout"`."""
    renewals: int
    """Number of times that a server refused an expired URL or session, and a new one was fetched."""
    hedges: int
    """Number of requests that were sent again because the first was late, or its connection slow."""
    waits: Waits
    """What held the downloads up."""

    def serialize(self) -> dict[str, Any]:
        """Return a dictionary that JSON can hold. It has the names of the fields, and no secret.

        Example:
            >>> text = json.dumps(client.stats().serialize())
        """
        return {**plain(self), "retries": dict(self.retries)}


def plain(value: Any) -> Any:
    """Return named tuples as dictionaries, and tuples as lists."""
    if hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in value._asdict().items()}
    return [plain(each) for each in value] if isinstance(value, tuple) else value


def _object_name(url: str) -> str:
    """Return the path of a signed URL. Host and query may differ each time that a file is listed."""
    return str(url).partition("?")[0].partition("://")[2].partition("/")[2]


class Metadata:
    """The block list of a file, with all that is needed to fetch and decode the blocks elsewhere.

    Args:
        file_id: ID of the file.
        size: Length of the file, in bytes.
        chunks: The blocks, in file order.
        encryption_key: The file's key. None means that the blocks are not encrypted.
        cipher: How blocks are encrypted, if they are.
        compressed: Whether blocks are compressed.
        compression_library: How they are compressed. None means that each block tells by its first
            bytes (PROTOCOL, section 3).
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

    file_id: int
    """ID of the file."""
    size: int
    """Length of the file, in bytes."""
    chunks: tuple[Chunk, ...]
    """The blocks, in file order."""
    encrypted: bool
    """Whether the blocks are encrypted."""
    encryption_key: FileKey | None
    """The file's key, unwrapped (PROTOCOL, section 2). None if the blocks are not encrypted."""
    cipher: Cipher
    """How the blocks are encrypted, if they are."""
    compressed: bool
    """Whether the blocks are compressed."""
    compression_library: Compression | None
    """How the blocks are compressed. None if they are not, or if each block tells by its first bytes."""

    def __init__(
        self,
        file_id: int,
        size: int,
        chunks: Sequence[Chunk],
        *,
        encryption_key: bytes | None = None,
        cipher: Cipher = "AES-CBC",
        compressed: bool = True,
        compression_library: Compression | None = None,
    ) -> None:
        self.file_id = file_id
        self.size = size
        self.chunks = tuple(chunks)
        self.encrypted = encryption_key is not None
        self.encryption_key = None if encryption_key is None else FileKey(encryption_key)
        self.cipher = cipher
        self.compressed = compressed
        self.compression_library = compression_library if compressed else None

    @property
    def compression(self) -> Compression | Literal["NONE"] | None:
        """What `codec.decode` takes as `compression`."""
        return self.compression_library if self.compressed else "NONE"

    @property
    def plaintext(self) -> bool:
        """Whether the stored objects are the file's own bytes, so that any range can be fetched."""
        return not self.encrypted and not self.compressed

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest that changes when the file does, but not when its URLs are renewed.

        It is made of file ID, size, formats, key, and the place and object of each block. A file that
        is rewritten at the same lengths differs in the names of its objects alone. The digest tells
        nothing of the key.
        """
        digest = hashlib.sha256(hashlib.sha256(self.encryption_key or b"").digest())
        digest.update(repr((self.file_id, self.size, self.cipher, self.compression)).encode())
        for chunk in self.chunks:
            digest.update(b"%d %d %d " % (chunk.number, chunk.offset, chunk.length))
            digest.update(_object_name(chunk.url).encode("utf-8", "surrogateescape") + b"\n")
        return digest.hexdigest()

    def serialize(self) -> dict[str, Any]:
        """Return a dictionary that JSON can hold, for `Metadata.deserialize`.

        It holds the file's key and the signed URLs: treat it as a secret.

        Example:
            >>> text = json.dumps(client.metadata(12345).serialize())
        """
        key = self.encryption_key
        return {
            "file_id": int(self.file_id),
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
        """Return the block list that `Metadata.serialize` wrote.

        Args:
            data: The dictionary.

        Raises:
            ValueError: A member is missing or malformed.

        Example:
            >>> metadata = Metadata.deserialize(json.loads(text))
        """
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
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"Metadata({shown})"

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:
        """Yield what rich and the repr show: neither the key nor a URL."""
        yield "file_id", self.file_id
        yield "size", self.size
        yield "encrypted", self.encrypted
        yield "compressed", self.compressed
        yield "compression_library", self.compression_library
        yield "blocks", len(self.chunks)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: neither the key nor a URL."""
        compression = self.compression_library or ("unknown" if self.compressed else "none")
        rows: list[tuple[str, object]] = [
            ("File ID", int(self.file_id)),
            ("Size", f"{self.size} bytes"),
            ("Encryption", self.cipher if self.encrypted else "none"),
            ("Compression", compression),
            ("Blocks", len(self.chunks)),
        ]
        return _show_table("Metadata", rows)


# --- names on a portal -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file or folder on the portal, as a listing described it."""

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
    """The path that every method takes, such as ``/My Files/reports/a.pdf``."""
    name: str
    """The name as the portal gives it."""
    file_id: Optional[int]
    """The ID that the Direct IO calls take, or None if the portal gives none."""
    size: Optional[int]
    """The size of a file in bytes. None for a folder, or if the portal does not tell it."""
    modified: Optional[datetime.datetime]
    """When the content changed, in UTC, or None.

    The portal tells no time zone: do not compare it with the times of change events.
    """
    is_dir: bool
    """Whether it is a folder."""
    is_deleted: bool
    """Whether it was deleted. Only listings with `include_deleted` have such entries."""
    permalink: Optional[str]
    """A URL for people, or None. It is not in the repr."""
    folder_id: Optional[int]
    """The ID of the cloud folder that it is in, or None outside of cloud folders."""

    def __repr__(self) -> str:
        kind = "folder" if self.is_dir else f"{self.size} bytes"
        deleted = ", deleted" if self.is_deleted else ""
        return f"<Entry {self.path!r}, {kind}, file_id={self.file_id}{deleted}>"

    def __reduce__(self) -> tuple[Any, ...]:
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return (type(self), tuple(values))


FileRef = Union[SupportsIndex, str, Entry]
"""What names a file: its ID, its path on the portal (which begins with `/`), or its `Entry`."""


class Version(NamedTuple):
    """A previous version of a file or folder."""

    path: str
    """The path of the version, which every method takes."""
    started: Optional[datetime.datetime]
    """When the version began, in UTC, or None. The portal may tell no time zone."""
    current: bool
    """Whether it is the current version."""


class CloudFolder(NamedTuple):
    """A cloud folder."""

    folder_id: int
    """The ID of the cloud folder, as in `Entry.folder_id`."""
    name: str
    """The name of the cloud folder."""
    owner: Optional[str]
    """The owner as the portal names it, or None."""


class KeyPair(NamedTuple):
    """A key pair for Direct IO: ``DirectIO(url, *pair)``. The repr shows neither key, `str(key)` does."""

    access_key_id: Token
    """The access key ID. The portal takes it as a bearer token, so it is hidden, too."""
    secret_access_key: Token
    """The secret access key. The portal shows it only once."""


# --- changes on a portal -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Event:
    """The state of a file or folder, as the change feed tells it.

    An event is not an operation. A file that was renamed, moved or overwritten comes with its `guid`,
    and with the name, the folder and the content that it has now. `folder_id` and `guid` together
    identify it for as long as it exists.
    """

    __slots__ = (
        "deleted",
        "file_id",
        "folder_id",
        "guid",
        "modified",
        "name",
        "parent_guid",
        "raw",
        "size",
        "type",
    )

    type: str
    """The portal's word for the kind of object: ``"file"``, or something else for folders."""
    guid: str
    """The identity of the object in its cloud folder. It stays when the object is changed or moved."""
    parent_guid: Optional[str]
    """The `guid` of the folder that the object is in, or None if the portal does not tell it."""
    folder_id: Optional[int]
    """The ID of the cloud folder, or None if the portal does not tell it."""
    name: Optional[str]
    """The name without a path, or None if the portal does not tell it."""
    deleted: bool
    """Whether the object is gone."""
    size: Optional[int]
    """The size of a file in bytes, or None if the portal does not tell it."""
    file_id: Optional[int]
    """The ID that the Direct IO calls take, or None. It may change when the content does."""
    modified: Optional[datetime.datetime]
    """When the file was changed, or else when the portal noted that, or None.

    In UTC if the portal tells a time zone. Otherwise it is without a zone, by a clock that is not known.
    Do not compare it with the times of listings.
    """
    raw: Mapping[str, Any]
    """All members as the portal sent them, also those that this class does not know."""

    @property
    def id(self) -> int | None:
        """The same as `file_id`, for code that comes from cterasdk."""
        return self.file_id

    def __hash__(self) -> int:
        # `raw` has no hash.
        return hash((self.folder_id, self.guid, self.deleted, self.name, self.file_id))

    def __repr__(self) -> str:
        state = "deleted" if self.deleted else f"{self.size} bytes, file_id={self.file_id}"
        return f"<Event {self.type} {self.name!r}, {self.guid} in {self.folder_id}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return (type(self), tuple(values))


class ChangePage(NamedTuple):
    """A page of the change feed."""

    events: list[Event]
    """The events, in the portal's order. The list may be empty: the cursor counts all the same."""
    cursor: str
    """Where the next page begins. Save it once the work on `events` is done."""
    more: bool
    """Whether the portal says that another page follows at once."""

    def __repr__(self) -> str:
        return f"<ChangePage {len(self.events)} events, more={self.more}>"


class Ancestor(NamedTuple):
    """A step of the way from a cloud folder to an object in it."""

    name: str
    """The name without a path."""
    guid: str
    """The identity of the object in its cloud folder, as in `Event.guid`."""
    parent_guid: Optional[str]
    """The `guid` of the folder that the object is in, or None if the portal does not tell it."""
