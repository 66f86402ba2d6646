"""The ways in which decoding can fail, and the exception for each: one table for both backends."""

from __future__ import annotations

from enum import IntEnum
from typing import NoReturn

from ctera_direct_sync.exceptions import (
    BlockError,
    BlockInfo,
    BlockValidationException,
    DecompressBlockError,
    DecryptBlockError,
)

__all__ = ["DecodeStatus", "raise_status"]


class DecodeStatus(IntEnum):
    """The outcome of decoding one object. The numbers never change: `csrc/ctera_codec.h` has the same."""

    OK = 0
    ARGUMENT = 1
    MEMORY = 2
    CRYPTO = 3
    ENVELOPE = 4
    PADDING = 5
    TAG = 6
    CORRUPT = 7
    CHECKSUM = 8
    TRAILING = 9
    UNSUPPORTED = 10
    TOO_LONG = 11
    TOO_SHORT = 12


_SENTENCES: dict[DecodeStatus, tuple[type[BlockError], str]] = {
    DecodeStatus.CRYPTO: (
        DecryptBlockError,
        "the cryptographic library refused to work: check that this process may use AES "
        "(a FIPS policy or a lack of memory can forbid it), or set CTERA_DIRECT_CODEC=portable",
    ),
    DecodeStatus.ENVELOPE: (
        DecryptBlockError,
        "the stored object is not an encrypted block: it is cut short, or was written in another "
        "format; download it again, and if that does not help, the object in the storage is "
        "damaged or of a newer format than this version reads",
    ),
    DecodeStatus.PADDING: (
        DecryptBlockError,
        "the padding is wrong after decryption: either the file key belongs to another file "
        "(check the secret access key) or the stored object is corrupt (download it again)",
    ),
    DecodeStatus.TAG: (
        DecryptBlockError,
        "the authentication tag does not match: the file key belongs to another file (check the "
        "secret access key), the object belongs to another block number, or it was altered",
    ),
    DecodeStatus.CORRUPT: (
        DecompressBlockError,
        "the compressed data is malformed or ends too early: the download was cut short or the "
        "stored object is corrupt; download it again, and check the secret access key if every "
        "block of the file fails like this",
    ),
    DecodeStatus.CHECKSUM: (
        DecompressBlockError,
        "a checksum inside the compressed data does not match: the data was damaged in transit "
        "or in the storage; download it again",
    ),
    DecodeStatus.TRAILING: (
        DecompressBlockError,
        "there are bytes after the end of the compressed data: the stored object is corrupt or "
        "of a format that this version does not read; download it again",
    ),
    DecodeStatus.UNSUPPORTED: (
        DecompressBlockError,
        "the compressed data uses a feature that is not supported (such as an LZ4 "
        "dictionary or a legacy LZ4 frame): "
        "a newer version of ctera-direct-sync may read it",
    ),
    DecodeStatus.TOO_LONG: (
        BlockValidationException,
        "the block decodes to more bytes than the portal listed: the file changed since it was "
        "listed (list it again), or the object belongs to another block",
    ),
    DecodeStatus.TOO_SHORT: (
        BlockValidationException,
        "the block decodes to fewer bytes than the portal listed: the file changed since it was "
        "listed (list it again), the download was cut short, or the object belongs to another "
        "block",
    ),
}


def raise_status(code: int, number: int | None, length: int | None) -> NoReturn:
    """Raise the exception for a status.

    Args:
        code: A `DecodeStatus` other than OK, or its number.
        number: The number of the block, or None if it is not known.
        length: The length in bytes that the plaintext should have.

    Raises:
        DecryptBlockError: The key or the envelope is wrong, or AES is not available.
        DecompressBlockError: The payload is malformed.
        BlockValidationException: The plaintext has another length.
        ValueError: The status is ARGUMENT.
        MemoryError: The status is MEMORY.
    """
    status = DecodeStatus(code)
    if status is DecodeStatus.ARGUMENT:
        raise ValueError("the codec was called with an argument that it does not take")
    if status is DecodeStatus.MEMORY:
        raise MemoryError(f"no memory to decode a block of {length} bytes: use fewer workers")
    exception, sentence = _SENTENCES[status]
    raise exception(sentence, BlockInfo(file_id=None, number=number, offset=None, length=length))
