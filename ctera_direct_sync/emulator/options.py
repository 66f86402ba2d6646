"""How one file is stored and listed: each choice that PROTOCOL.md leaves to the portal."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, TypedDict, get_args

Cipher = Literal["AES-CBC", "AES-GCM"]
Compression = Literal["SNAPPY", "SNAPPY-RAW", "GZIP", "LZ4", "NONE"]
ListingShape = Literal["8.3", "pre-8.3", "ranged", "untyped"]
ChecksumType = Literal["FULL_OBJECT", "COMPOSITE"]
ChecksumHeader = Literal[
    "x-goog-hash",
    "content-md5",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha256",
    "x-amz-checksum-sha1",
]
KeySize = Literal[16, 24, 32]

CIPHERS: tuple[Cipher | None, ...] = (*get_args(Cipher), None)
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)

MIB = 1024 * 1024


@dataclasses.dataclass(frozen=True)
class FileOptions:
    """How one file is cut into blocks, stored and listed.

    Attributes:
        cipher: How blocks are encrypted: `AES-CBC` (PROTOCOL 3), `AES-GCM` (PROTOCOL 5), or None.
        compression: How blocks are compressed: `SNAPPY` (a snappy-java stream), `SNAPPY-RAW`, `GZIP`,
            `LZ4` or `NONE`.
        block_size: The plaintext bytes of a block. A sequence gives the lengths of the first blocks,
            and is used again from its start until the file ends.
        listing: The shape of the block list: `8.3`, `pre-8.3` (`wrapped_key` at the top level), `ranged`
            (with `actual_blocks_range`) or `untyped` (as `8.3`, without `compression_type`).
        listed_range: For `ranged`: the part of the file that is listed, as (start, end) in bytes, where
            the end is not included. None: the whole file.
        native: Whether the file is stored as one plaintext object. This overrules `cipher`,
            `compression` and `block_size`.
        azure_md5: Whether each object starts with the MD5 of the rest.
        checksums: The headers that declare a checksum (PROTOCOL 4).
        checksum_type: What `x-amz-checksum-type` says. None: the header is not sent.
        etag_md5: Whether the ETag is the MD5 of the object, as after a simple upload to S3.
        key_size: The size of the file key, in bytes.
        snappy_chunk: The plaintext bytes of a chunk of a snappy-java stream.
        gzip_members: The number of members of a gzip file.
        gzip_level: The effort of gzip, from 0 to 9.
        lz4: Arguments for `lz4.frame.compress`, such as `{"content_checksum": True}`.
        declared_compression: What `compression_type` says if it is not the truth.
        direct: Whether all blocks are on storage nodes in direct mode. If not, the portal answers 422.

    Raises:
        ValueError: An option has a value that cannot be, or two options do not go together.
    """

    cipher: Cipher | None = "AES-CBC"
    compression: Compression = "SNAPPY"
    block_size: int | Sequence[int] = 4 * MIB
    listing: ListingShape = "8.3"
    listed_range: tuple[int, int] | None = None
    native: bool = False
    azure_md5: bool = False
    checksums: Sequence[ChecksumHeader] = ()
    checksum_type: ChecksumType | None = None
    etag_md5: bool = False
    key_size: KeySize = 32
    snappy_chunk: int = 32 * 1024
    gzip_members: int = 1
    gzip_level: int = 1
    lz4: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    declared_compression: str | None = None
    direct: bool = True

    def __post_init__(self) -> None:
        if self.native:
            object.__setattr__(self, "cipher", None)
            object.__setattr__(self, "compression", "NONE")
        object.__setattr__(self, "checksums", tuple(name.lower() for name in self.checksums))
        _check_choice("cipher", self.cipher, CIPHERS)
        _check_choice("compression", self.compression, COMPRESSIONS)
        _check_choice("listing", self.listing, get_args(ListingShape))
        _check_choice("key_size", self.key_size, get_args(KeySize))
        _check_choice("checksum_type", self.checksum_type, (None, *get_args(ChecksumType)))
        for name in self.checksums:
            _check_choice("checksums", name, get_args(ChecksumHeader))
        self._check_sizes()
        self._check_listing()

    def _check_sizes(self) -> None:
        sizes = [self.block_size] if isinstance(self.block_size, int) else list(self.block_size)
        if not sizes or min(sizes) < 0 or max(sizes) < 1:
            raise ValueError(f"block_size must hold a positive length, not {self.block_size!r}")
        if self.snappy_chunk < 1 or self.gzip_members < 1:
            raise ValueError("snappy_chunk and gzip_members must be 1 or more")
        if not 0 <= self.gzip_level <= 9:
            raise ValueError(f"gzip_level must be 0 to 9, not {self.gzip_level!r}")

    def _check_listing(self) -> None:
        if self.listing == "pre-8.3" and self.cipher != "AES-CBC":
            raise ValueError("a 'pre-8.3' listing can only say AES-CBC")
        if self.listing in ("pre-8.3", "untyped") and self.compression == "LZ4":
            raise ValueError(f"a {self.listing!r} listing cannot say LZ4")
        if self.listing == "untyped" and self.compression == "NONE":
            raise ValueError("an 'untyped' listing cannot say that nothing is compressed")
        if self.listed_range is not None and self.listing != "ranged":
            raise ValueError("listed_range needs listing='ranged'")

    @property
    def compression_type(self) -> str:
        """The word for the compression in the block list."""
        if self.declared_compression is not None:
            return self.declared_compression
        return "SNAPPY" if self.compression == "SNAPPY-RAW" else self.compression

    @property
    def plain(self) -> bool:
        """Whether the bytes of a stored object are the bytes of the file."""
        return self.cipher is None and self.compression == "NONE"


class FileOptionsGiven(TypedDict, total=False):
    """Some of the options of a file, as keyword arguments. `FileOptions` describes them."""

    cipher: Cipher | None
    compression: Compression
    block_size: int | Sequence[int]
    listing: ListingShape
    listed_range: tuple[int, int] | None
    native: bool
    azure_md5: bool
    checksums: Sequence[ChecksumHeader]
    checksum_type: ChecksumType | None
    etag_md5: bool
    key_size: KeySize
    snappy_chunk: int
    gzip_members: int
    gzip_level: int
    lz4: Mapping[str, Any]
    declared_compression: str | None
    direct: bool


def check_option(
    name: str,
    value: object,
    choices: Mapping[str, Sequence[object]],
    positive: Collection[str],
) -> None:
    """Check the value of an option that is set while the emulator runs.

    Args:
        name: The name of the option.
        value: Its value.
        choices: What some options are one of.
        positive: The options that are 1 or more, or None.

    Raises:
        ValueError: The option cannot have this value.
    """
    if name in choices:
        _check_choice(name, value, choices[name])
    if name in positive and isinstance(value, int) and value < 1:
        raise ValueError(f"{name} must be 1 or more, or None, not {value!r}")


def _check_choice(name: str, value: object, allowed: Sequence[object]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")
