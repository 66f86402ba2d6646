"""How long a plaintext can be, given the size of the stored object: one bound for both backends."""

from __future__ import annotations

from typing import Optional

__all__ = ["DEFLATE_EXPANSION", "LZ4_EXPANSION", "SNAPPY_EXPANSION", "longest_plaintext"]

#: The most bytes that a format can make of one. DEFLATE: 258 bytes from 2 bits, and less for headers.
DEFLATE_EXPANSION = 1032
LZ4_EXPANSION = 255
SNAPPY_EXPANSION = 64

#: Allowed on top, so that a damaged tiny object is reported as damaged, not as too short.
_SLACK_BYTES = 64


def longest_plaintext(stored_size: int, compression: Optional[str]) -> int:
    """Return a length in bytes that no object of ``stored_size`` bytes can exceed.

    A listed length beyond it is wrong, so it is never used to allocate memory.
    """
    if compression == "NONE":
        return stored_size
    expansion = LZ4_EXPANSION if compression == "LZ4" else DEFLATE_EXPANSION
    return expansion * (stored_size + _SLACK_BYTES)
