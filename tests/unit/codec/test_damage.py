"""Damaged and hostile payloads: an error of the right class, or what the format can promise.

What is claimed of a payload with one flipped bit: never a wrong byte without an error where the
payload carries a checksum over its plaintext (gzip, LZ4 with content checksum) or the object is
authenticated (AES-GCM). Raw snappy, snappy-java streams, LZ4 without checksums and bare bytes have
no such thing: there the result is an error or plaintext of exactly the listed length.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from ctera_direct_sync.exceptions import BlockError, BlockValidationException
from tests.vectors import hostile, payloads
from tests.vectors.envelopes import KEY, cbc, gcm
from tests.vectors.outcomes import outcome
from tests.vectors.plaintexts import plaintext

SMALL = plaintext("text", 90)
HOSTILE = hostile.cases()
ENVELOPES: dict[str, dict[str, Any]] = {
    "bare": {},
    "AES-CBC": {"key": KEY},
    "AES-GCM": {"key": KEY, "cipher": "AES-GCM", "number": 5},
}


def stored_object(recipe: payloads.Recipe, envelope: str) -> bytes:
    """SMALL in that payload in that envelope."""
    payload = recipe.make(SMALL)
    if envelope == "AES-CBC":
        return cbc(payload)
    return gcm(payload, 5) if envelope == "AES-GCM" else payload


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_payloads(codec: ModuleType, name: str) -> None:
    """Each decodes to the plaintext, or raises the exception that its description says."""
    case = HOSTILE[name]
    arguments = {"compression": case.compression, "length": case.length}
    found = outcome(codec.decode, case.payload, **arguments)
    assert found.error == case.error
    if case.error is None:
        assert found.data == hostile.DATA
    enveloped = outcome(codec.decode, cbc(case.payload), key=KEY, **arguments)
    assert enveloped == found

    def unsummed(stored: bytes, **options: Any) -> tuple[bytes, int]:
        data = codec.decode_bytes(stored, **options)
        return data, codec.crc32c(data)

    assert outcome(unsummed, case.payload, **arguments) == found


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("name", payloads.RECIPES)
def test_truncated_at_every_byte(codec: ModuleType, name: str, envelope: str) -> None:
    """No cut object decodes; a cut that leaves a valid shorter payload is too short by length."""
    recipe = payloads.RECIPES[name]
    stored = stored_object(recipe, envelope)
    for size in range(len(stored)):
        found = outcome(
            codec.decode,
            stored[:size],
            compression=recipe.compression,
            length=len(SMALL),
            **ENVELOPES[envelope],
        )
        assert found.error is not None, size
        if envelope == "AES-GCM":
            assert found.error == "DecryptBlockError"


@pytest.mark.parametrize("envelope", ["bare", "AES-CBC"])
@pytest.mark.parametrize("name", payloads.RECIPES)
def test_every_bit_flipped(codec: ModuleType, name: str, envelope: str) -> None:
    """One flipped bit is an error, or harmless, or - without a checksum - of the right length."""
    recipe = payloads.RECIPES[name]
    stored = stored_object(recipe, envelope)
    refused = 0
    for bit in range(8 * len(stored)):
        damaged = bytearray(stored)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        found = outcome(
            codec.decode,
            damaged,
            compression=recipe.compression,
            length=len(SMALL),
            **ENVELOPES[envelope],
        )
        if found.data is None:
            refused += 1
        elif recipe.checked:
            assert found.data == SMALL, bit
        else:
            assert len(found.data) == len(SMALL), bit
            assert found.crc32c == codec.crc32c(found.data)
    if name != "none":
        assert refused > 0
    if recipe.checked:
        assert refused > 7 * (len(stored) - 40)


@pytest.mark.parametrize("name", payloads.RECIPES)
def test_trailing_garbage(codec: ModuleType, name: str) -> None:
    """Bytes behind a payload are never ignored, whatever they are; gzip may be padded with zeros."""
    recipe = payloads.RECIPES[name]
    payload = recipe.make(SMALL)
    for garbage in (b"\0", bytes(16), b"garbage", b"\x1f", b"\x1f\x8b", b"\xff" * 3, payload):
        if name.startswith("gzip") and not garbage.strip(b"\0"):
            continue
        with pytest.raises(BlockError):
            codec.decode(
                cbc(payload + garbage), key=KEY, compression=recipe.compression, length=len(SMALL)
            )


@pytest.mark.parametrize("name", payloads.RECIPES)
@pytest.mark.parametrize("kind", ["text", "zeros", "random"])
def test_lengths_that_lie(codec: ModuleType, name: str, kind: str) -> None:
    """Any other length is refused as such, and decode_into stays in its bounds."""
    recipe = payloads.RECIPES[name]
    size = 70_000
    payload = recipe.make(plaintext(kind, size))
    for length in (0, 1, 32767, 32768, 65535, 65536, size - 1, size + 1, 2 * size, 2**31, 2**33):
        with pytest.raises(BlockValidationException):
            codec.decode(payload, compression=recipe.compression, length=length)
    arena = bytearray(b"\xa5" * (size + 512))
    for length in (0, 1, 100, 32768, size - 1):
        with memoryview(arena)[256 : 256 + length] as out, pytest.raises(BlockValidationException):
            codec.decode_into(payload, out, compression=recipe.compression)
        assert arena[:256] == b"\xa5" * 256
        assert arena[256 + length :] == b"\xa5" * (len(arena) - 256 - length)


def test_errors_say_which_block(codec: ModuleType) -> None:
    """Number and length are on the exception; what the codec does not know is None."""
    with pytest.raises(BlockError) as caught:
        codec.decode(b"", length=77, number=12)
    assert caught.value.block == (None, 12, None, 77)
    with pytest.raises(BlockError) as caught:
        codec.decode_into(b"", bytearray(78))
    assert caught.value.block == (None, None, None, 78)
