"""The two backends give the same bytes and the same exceptions, whatever they are given.

Two liberties are left to the libraries, both for payloads that are damaged. Where a gzip or LZ4 payload
is malformed and runs over the listed length as well, which of the two is met first:
DecompressBlockError or BlockValidationException. And whether DEFLATE that breaks a rule of RFC 1951
is accepted (test_deflate.py lists which), as long as CRC-32 and length confirm what it decodes to.
"""

from __future__ import annotations

import random
import zlib
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctera_direct_sync.exceptions import BlockError
from tests.vectors import hostile, payloads, snappy_elements
from tests.vectors.envelopes import KEY, cbc, gcm
from tests.vectors.outcomes import decode_by, outcome
from tests.vectors.plaintexts import KINDS, plaintext

Both = tuple[ModuleType, ModuleType]

BOUNDED = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
COMPRESSIONS = [None, "NONE", "LZ4"]


def compare(both: Both, payload: bytes, stored: bytes | None = None, **arguments: Any) -> None:
    """Same bytes, CRC32C and exception class, but for the liberties above.

    ``stored``: the payload in an envelope, where it has one.
    """
    stored = payload if stored is None else stored
    native, portable = (
        outcome(partial(decode_by, backend), stored, **arguments) for backend in both
    )
    gzip = arguments["compression"] not in ("NONE", "LZ4") and payload[:2] == b"\x1f\x8b"
    if native == portable:
        return
    if {native.error, portable.error} == {"DecompressBlockError", "BlockValidationException"}:
        assert gzip or arguments["compression"] == "LZ4", arguments
        return
    assert gzip and None in (native.error, portable.error), arguments
    (data,) = {native.data, portable.data} - {None}
    checksum = zlib.crc32(data).to_bytes(4, "little")
    assert checksum in payload or payload.count(b"\x1f\x8b") > 1


def test_hostile_payloads(both: Both) -> None:
    """Every payload that lies, under its own length and others."""
    for case in hostile.cases().values():
        for length in {0, 1, 299, case.length, 300, 301, 2**16}:
            compare(both, case.payload, compression=case.compression, length=length)


def test_hostile_payloads_in_the_same_words(both: Both) -> None:
    """Under its own length every payload that lies gets the same sentence from both."""
    for name, case in hostile.cases().items():
        sentences = set()
        for backend in both:
            try:
                decode_by(backend, case.payload, compression=case.compression, length=case.length)
            except BlockError as error:
                sentences.add(str(error))
        assert len(sentences) == (0 if case.error is None else 1), name


@pytest.mark.parametrize("name", payloads.RECIPES)
def test_truncated_and_flipped(both: Both, name: str) -> None:
    """Cut at every byte, every bit flipped, under the right length and neighbours."""
    recipe = payloads.RECIPES[name]
    for data in (plaintext("text", 90), plaintext("zeros", 200), plaintext("random", 40)):
        payload = recipe.make(data)
        for length in (len(data) - 1, len(data), len(data) + 1):
            arguments = {"compression": recipe.compression, "length": length}
            for size in range(len(payload)):
                compare(both, payload[:size], **arguments)
            for bit in range(8 * len(payload)):
                damaged = bytearray(payload)
                damaged[bit >> 3] ^= 1 << (bit & 7)
                compare(both, bytes(damaged), **arguments)


@BOUNDED
@given(
    payload=st.binary(max_size=200),
    head=st.sampled_from(
        [b"", b"\x1f\x8b\x08\0", payloads.SNAPPY_JAVA_HEADER, b"\x04\x22\x4d\x18"]
    ),
    compression=st.sampled_from(COMPRESSIONS),
    length=st.integers(0, 5000),
)
def test_arbitrary_bytes(
    both: Both, payload: bytes, head: bytes, compression: str, length: int
) -> None:
    """Anything at all behind each format's first bytes."""
    compare(both, head + payload, compression=compression, length=length)


@BOUNDED
@given(stored=st.binary(max_size=100), number=st.integers(0, 2**64 - 1))
def test_arbitrary_envelopes(both: Both, stored: bytes, number: int) -> None:
    """Anything at all as an encrypted object."""
    for cipher in ("AES-CBC", "AES-GCM"):
        compare(both, stored, key=KEY, cipher=cipher, number=number, compression="NONE", length=10)


@BOUNDED
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_mutated_payloads(both: Both, data: st.DataObject, seed: int) -> None:
    """Honest payloads with bytes changed, removed, doubled and put in, in every envelope."""
    recipe = payloads.RECIPES[data.draw(st.sampled_from(sorted(payloads.RECIPES)))]
    kind = data.draw(st.sampled_from(KINDS))
    size = data.draw(st.integers(0, 3000))
    payload = bytearray(recipe.make(plaintext(kind, size)))
    source = random.Random(seed)
    for _ in range(data.draw(st.integers(0, 4))):
        _mutate(payload, source)
    length = max(0, size + data.draw(st.sampled_from([0, 0, 0, 1, -1, 64, -64])))
    arguments: dict[str, Any] = {"compression": recipe.compression, "length": length}
    compare(both, bytes(payload), **arguments)
    compare(both, bytes(payload), cbc(bytes(payload)), key=KEY, **arguments)
    stored = gcm(bytes(payload), 3)
    compare(both, bytes(payload), stored, key=KEY, cipher="AES-GCM", number=3, **arguments)


def _mutate(payload: bytearray, source: random.Random) -> None:
    """One change in place, somewhere."""
    start = source.randrange(len(payload) + 1)
    end = min(len(payload), start + source.choice((1, 1, 2, 4, 50)))
    way = source.randrange(5)
    if way == 0:
        payload[start:end] = source.randbytes(end - start)
    elif way == 1:
        del payload[start:end]
    elif way == 2:
        payload[start:start] = payload[start:end]
    elif way == 3:
        payload[start:start] = source.randbytes(source.choice((1, 4, 20)))
    elif start < end:
        payload[start] ^= 1 << source.randrange(8)


@BOUNDED
@given(data=st.data())
def test_snappy_programs(both: Both, data: st.DataObject) -> None:
    """Valid element programs decode to what the model says; with one element wrong, both agree."""
    program = snappy_elements.Program()
    program.literal(data.draw(st.binary(min_size=1, max_size=100)))
    for _ in range(data.draw(st.integers(0, 30))):
        kind = data.draw(st.sampled_from([0, 1, 2, 4]))
        if kind == 0:
            program.literal(data.draw(st.binary(min_size=1, max_size=80)))
            continue
        longest = min(len(program.plaintext), 2047 if kind == 1 else 65535)
        offset = data.draw(st.integers(1, longest))
        length = data.draw(st.integers(4, 11) if kind == 1 else st.integers(1, 64))
        program.copy(offset, length, kind)
    plain = bytes(program.plaintext)
    for backend in both:
        found = decode_by(backend, program.block, compression="SNAPPY", length=len(plain))
        assert found[0] == plain
    broken = bytearray(program.block)
    broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    compare(both, bytes(broken), compression="SNAPPY", length=len(plain))


@BOUNDED
@given(st.binary(max_size=500), st.binary(max_size=500), st.integers(0, 2**32 - 1))
def test_checksums(both: Both, first: bytes, second: bytes, value: int) -> None:
    """All three checksum functions agree."""
    native, portable = both
    assert native.crc32c(first, value) == portable.crc32c(first, value)
    assert native.crc64nvme(first, value) == portable.crc64nvme(first, value)
    crcs = native.crc32c(first), native.crc32c(second)
    for length in (0, 1, len(second), value, value << 31):
        combined = native.crc32c_combine(*crcs, length)
        assert combined == portable.crc32c_combine(*crcs, length)
