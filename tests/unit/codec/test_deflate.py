"""DEFLATE that breaks RFC 1951: refused, or decoded to what CRC-32 and length confirm.

A decoder that goes on may run over the listed length, and then says so instead.
"""

from __future__ import annotations

import zlib
from types import ModuleType

import pytest

from tests.vectors import deflate
from tests.vectors.outcomes import outcome

INVALID = deflate.invalid()
REFUSALS = [(None, "DecompressBlockError"), (None, "BlockValidationException")]


def test_the_maker(codec: ModuleType) -> None:
    """What keeps the rules is decoded, so it is the broken rule that the other tests try."""
    member, plaintext = deflate.valid()
    assert plaintext is not None
    assert codec.decode_bytes(member, length=len(plaintext)) == plaintext
    assert zlib.decompress(member, 31) == plaintext


@pytest.mark.parametrize("name", INVALID)
def test_invalid_deflate(codec: ModuleType, name: str) -> None:
    """Whether it is accepted is the library's choice; its meaning, and the error, are not."""
    member, plaintext = INVALID[name]
    found = outcome(codec.decode, member, length=len(plaintext or b""))
    allowed: list[tuple[bytes | None, str | None]] = [*REFUSALS]
    if plaintext is not None:
        allowed.append((plaintext, None))
    assert (found.data, found.error) in allowed


@pytest.mark.parametrize("name", INVALID)
def test_invalid_deflate_with_a_wrong_checksum(codec: ModuleType, name: str) -> None:
    """Nothing passes that the member's CRC-32 does not confirm."""
    member, plaintext = INVALID[name]
    damaged = member[:-8] + bytes([member[-8] ^ 1]) + member[-7:]
    found = outcome(codec.decode, damaged, length=len(plaintext or b""))
    assert (found.data, found.error) in REFUSALS
