"""Lengths that no object can have are refused, and nothing is ever allocated by them."""

from __future__ import annotations

import sys
import tracemalloc
from types import ModuleType
from typing import Any

import pytest

from ctera_direct_sync.codec.options import SLACK_BYTES, DecodeOptions
from ctera_direct_sync.exceptions import BlockValidationException, DecryptBlockError
from tests.vectors import hostile, payloads
from tests.vectors.envelopes import KEY, cbc, gcm
from tests.vectors.outcomes import outcome
from tests.vectors.plaintexts import plaintext

DATA = plaintext("zeros", 100_000)
LENGTHS = [2**31 - 1, 2**32, 2**40, 2**62, sys.maxsize - 1, sys.maxsize]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", payloads.RECIPES)
def test_honest_payloads(codec: ModuleType, name: str, length: int) -> None:
    """Every format is too short for such a length, in every envelope."""
    recipe = payloads.RECIPES[name]
    payload = recipe.make(DATA[:1000])
    arguments: dict[str, Any] = {"compression": recipe.compression, "length": length}
    for stored, more in (
        (payload, {}),
        (cbc(payload), {"key": KEY}),
        (gcm(payload, 1), {"key": KEY, "cipher": "AES-GCM", "number": 1}),
    ):
        with pytest.raises(BlockValidationException, match="fewer bytes"):
            codec.decode(stored, **arguments, **more)


@pytest.mark.parametrize("length", LENGTHS)
def test_hostile_payloads(codec: ModuleType, length: int) -> None:
    """Whatever else is wrong with a payload, the length is what both backends name."""
    for name, case in hostile.cases().items():
        found = outcome(codec.decode, case.payload, compression=case.compression, length=length)
        if len(case.payload) < 20_000:  # not the bomb, which could fill 2 GiB
            assert found.error == "BlockValidationException", name
        assert found.data is None


def test_the_envelope_is_judged_first(codec: ModuleType) -> None:
    """A wrong key is still told as a wrong key."""
    with pytest.raises(DecryptBlockError, match="padding"):
        codec.decode(cbc(DATA)[:-16], key=KEY, length=sys.maxsize)
    with pytest.raises(DecryptBlockError, match="tag"):
        codec.decode(gcm(DATA, 1), key=KEY, cipher="AES-GCM", number=2, length=sys.maxsize)


def test_a_snappy_block_that_announces_what_was_listed(codec: ModuleType) -> None:
    """Portal and object may tell the same lie: 4 GiB in 12 bytes."""
    block = b"\xff\xff\xff\xff\x0f" + payloads.snappy_raw(b"0123456789")[1:]
    with pytest.raises(BlockValidationException, match="fewer bytes"):
        codec.decode(block, length=2**32 - 1)


@pytest.mark.parametrize("name", payloads.RECIPES)
def test_the_densest_payloads_are_within_the_bound(codec: ModuleType, name: str) -> None:
    """No honest payload is refused by it: zeros of megabytes, by every writer."""
    recipe = payloads.RECIPES[name]
    data = bytes(2 << 20)
    payload = recipe.make(data)
    expansion = DecodeOptions.create(None, "AES-CBC", recipe.compression).expansion
    assert len(data) <= expansion * (len(payload) + SLACK_BYTES)
    assert codec.decode_bytes(payload, compression=recipe.compression, length=len(data)) == data


@pytest.mark.parametrize("compression", ["NONE", "LZ4", None])
def test_memory_follows_the_object(codec: ModuleType, compression: str) -> None:
    """A listed length just possible for the object makes no more memory than that."""
    stored = b"\x04\x22\x4d\x18" + plaintext("random", 100)
    tracemalloc.start()
    try:
        for length in (200, 10**5, 10**6, 10**9, 10**12, sys.maxsize):
            tracemalloc.reset_peak()
            assert outcome(codec.decode, stored, compression=compression, length=length).error
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
