"""How one file is stored and listed: every choice that PROTOCOL.md leaves to the portal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

CIPHERS = ("AES-CBC", "AES-GCM", None)
COMPRESSIONS = ("SNAPPY", "SNAPPY-RAW", "GZIP", "LZ4", "NONE")
LISTINGS = ("8.3", "pre-8.3", "ranged", "untyped")
CHECKSUMS = (
    "x-goog-hash",
    "content-md5",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha256",
    "x-amz-checksum-sha1",
)

MIB = 1024 * 1024


@dataclasses.dataclass(frozen=True)
class FileOptions:
    """
    How one file is cut into blocks, stored and listed.

    :ivar cipher: ``AES-CBC`` (PROTOCOL section 3), ``AES-GCM`` (section 5) or None.
    :ivar compression: ``SNAPPY`` (snappy-java stream), ``SNAPPY-RAW``, ``GZIP``, ``LZ4`` or
     ``NONE``.
    :ivar block_size: plaintext bytes of a block, or a sequence of lengths that is used in turn,
     and again from its start, until the file ends.
    :ivar listing: ``8.3``; ``pre-8.3`` (``wrapped_key`` at top level); ``ranged``
     (``actual_blocks_range``); ``untyped`` (8.3 without ``compression_type``).
    :ivar listed_range: for ``ranged``: (start, end) in bytes, end not included; the blocks of
     this part of the file are all that is listed. None: the whole file.
    :ivar native: one plaintext chunk that is the whole object; overrules cipher, compression and
     block_size.
    :ivar azure_md5: the MD5 of the rest in front of each object.
    :ivar checksums: the headers of PROTOCOL section 4 that declare a checksum, lower case.
    :ivar checksum_type: ``FULL_OBJECT`` or ``COMPOSITE``, sent as ``x-amz-checksum-type``.
    :ivar etag_md5: the ETag is the object's MD5, as after a simple upload to S3.
    :ivar key_size: bytes of the file key: 16, 24 or 32.
    :ivar snappy_chunk: plaintext bytes of a chunk of a snappy-java stream.
    :ivar gzip_members: members of a gzip payload.
    :ivar gzip_level: 0 to 9.
    :ivar lz4: arguments for ``lz4.frame.compress``, such as ``{'content_checksum': True}``.
    :ivar declared_compression: what the listing's ``compression_type`` says, when not the truth.
    :ivar direct: False: a block is on a storage node that is not in direct mode (status 422).
    """

    cipher: Optional[str] = "AES-CBC"
    compression: str = "SNAPPY"
    block_size: Union[int, Sequence[int]] = 4 * MIB
    listing: str = "8.3"
    listed_range: Optional[tuple[int, int]] = None
    native: bool = False
    azure_md5: bool = False
    checksums: Sequence[str] = ()
    checksum_type: Optional[str] = None
    etag_md5: bool = False
    key_size: int = 32
    snappy_chunk: int = 32 * 1024
    gzip_members: int = 1
    gzip_level: int = 1
    lz4: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    declared_compression: Optional[str] = None
    direct: bool = True

    def __post_init__(self) -> None:
        if self.native:
            object.__setattr__(self, "cipher", None)
            object.__setattr__(self, "compression", "NONE")
        object.__setattr__(self, "checksums", tuple(name.lower() for name in self.checksums))
        _one_of("cipher", self.cipher, CIPHERS)
        _one_of("compression", self.compression, COMPRESSIONS)
        _one_of("listing", self.listing, LISTINGS)
        _one_of("key_size", self.key_size, (16, 24, 32))
        _one_of("checksum_type", self.checksum_type, (None, "FULL_OBJECT", "COMPOSITE"))
        for name in self.checksums:
            _one_of("checksums", name, CHECKSUMS)
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
        """The listing's word for the compression."""
        if self.declared_compression is not None:
            return self.declared_compression
        return "SNAPPY" if self.compression == "SNAPPY-RAW" else self.compression

    @property
    def plain(self) -> bool:
        """Whether a stored object's bytes are the file's bytes."""
        return self.cipher is None and self.compression == "NONE"


def _one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")
