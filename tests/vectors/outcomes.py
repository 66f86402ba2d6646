"""What became of a decode, in a shape that two backends' results can be compared in."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Optional

from ctera_direct_sync.exceptions import BlockError


class Outcome(NamedTuple):
    """The plaintext and its CRC32C, or the name of the exception's class."""

    data: Optional[bytes]
    crc32c: Optional[int]
    error: Optional[str]


def outcome(decode: Callable[..., tuple[bytes, int]], stored: Any, **arguments: Any) -> Outcome:
    """Call ``decode``; anything but a result and a BlockError is a bug and passes through."""
    try:
        data, crc = decode(stored, **arguments)
    except BlockError as error:
        return Outcome(None, None, type(error).__name__)
    return Outcome(data, crc, None)
