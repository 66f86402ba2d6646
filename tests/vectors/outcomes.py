"""What became of a decode, in a shape that two backends' results can be compared in."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

from ctera_direct_sync.codec.options import DecodeOptions
from ctera_direct_sync.exceptions import BlockError


class Outcome(NamedTuple):
    """The plaintext and its CRC32C, or the name of the exception's class."""

    data: bytes | None
    crc32c: int | None
    error: str | None


def outcome(decode: Callable[..., tuple[bytes, int]], stored: Any, **arguments: Any) -> Outcome:
    """Call ``decode``; anything but a result and a BlockError is a bug and passes through."""
    try:
        data, crc = decode(stored, **arguments)
    except BlockError as error:
        return Outcome(None, None, type(error).__name__)
    return Outcome(data, crc, None)


def decode_by(
    backend: Any,
    stored: Any,
    *,
    key: bytes | None = None,
    cipher: str = "AES-CBC",
    compression: str | None,
    length: int,
    number: int | None = None,
) -> tuple[bytes, int]:
    """Decode by one backend's module, with the arguments of the public function."""
    options = DecodeOptions.create(key, cipher, compression)
    data, crc = backend.decode(stored, options, length=length, number=number)
    return data, crc
