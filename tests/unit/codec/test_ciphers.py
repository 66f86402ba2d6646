"""AES-CBC and AES-GCM by NIST's and Wycheproof's vectors, and envelopes wrong in every way."""

from __future__ import annotations

from types import ModuleType

import pytest

from ctera_direct_sync.exceptions import BlockError, DecryptBlockError
from tests.vectors import nist
from tests.vectors.envelopes import KEY, OTHER_KEY, cbc, cbc_blocks, gcm, pkcs7
from tests.vectors.plaintexts import plaintext

PLAIN = {"compression": "NONE"}
GCM = {"compression": "NONE", "cipher": "AES-GCM"}


@pytest.mark.parametrize("name", nist.CBC_FILES)
def test_nist_cbc(codec: ModuleType, name: str) -> None:
    """NIST's AES-CBC ciphertexts decrypt to NIST's plaintexts."""
    count = 0
    for vector in nist.cbc_vectors(name):
        block = codec.decode(vector.object, key=vector.key, length=len(vector.plaintext), **PLAIN)
        assert block.data == vector.plaintext
        count += 1
    assert count >= 10


@pytest.mark.parametrize("name", nist.ECB_FILES)
def test_nist_ecb(codec: ModuleType, name: str) -> None:
    """NIST's AES-ECB ciphertexts decrypt to NIST's plaintexts."""
    vectors = list(nist.ecb_vectors(name))
    for key, ciphertext, expected in vectors:
        assert codec.decrypt_ecb(ciphertext, key=key) == expected
    assert len(vectors) >= 10


@pytest.mark.parametrize("size", range(40))
def test_ecb_refuses(codec: ModuleType, size: int) -> None:
    """A key of no AES size, and data of a broken number of blocks, are told by name."""
    data = bytes(16)
    if size in (16, 24, 32):
        assert len(codec.decrypt_ecb(data, key=bytes(size))) == 16
        assert codec.decrypt_ecb(b"", key=bytes(size)) == b""
    else:
        with pytest.raises(ValueError, match=r"^key must be"):
            codec.decrypt_ecb(data, key=bytes(size))
    if size % 16:
        with pytest.raises(ValueError, match=r"^data must be"):
            codec.decrypt_ecb(bytes(size), key=data)


@pytest.mark.parametrize("name", nist.GCM_FILES)
def test_nist_gcm(codec: ModuleType, name: str) -> None:
    """NIST's AES-GCM ciphertexts decrypt, and those that NIST says fail are refused."""
    verdicts = []
    for vector in nist.gcm_vectors(name):
        arguments = {"key": vector.key, "number": vector.number, **GCM}
        if vector.valid:
            block = codec.decode(vector.object, length=len(vector.plaintext), **arguments)
            assert block.data == vector.plaintext
        else:
            with pytest.raises(DecryptBlockError):
                codec.decode(vector.object, length=len(vector.object) - 29, **arguments)
        verdicts.append(vector.valid)
    assert verdicts.count(True) > 150
    assert verdicts.count(False) > 150


def test_wycheproof_gcm(codec: ModuleType) -> None:
    """Wycheproof's vectors with 8 bytes of additional data: the number's byte order is right."""
    vectors = list(nist.wycheproof_vectors())
    for vector in vectors:
        block = codec.decode(
            vector.object,
            key=vector.key,
            number=vector.number,
            length=len(vector.plaintext),
            **GCM,
        )
        assert block.data == vector.plaintext
    assert len(vectors) == 5


@pytest.mark.parametrize("size", [16, 24, 32])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_keys_of_every_size_and_type(codec: ModuleType, size: int, kind: type) -> None:
    """AES-128, -192 and -256, the key given in any buffer."""
    key = bytes(range(size))
    data = plaintext("text", 1000)
    assert codec.decode(cbc(data, key), key=kind(key), length=1000, **PLAIN).data == data
    stored = gcm(data, 2**64 - 1, key)
    block = codec.decode(stored, key=kind(key), number=2**64 - 1, length=1000, **GCM)
    assert block.data == data


def test_cbc_format_byte_is_ignored(codec: ModuleType) -> None:
    """Any first byte will do, as for both peers."""
    for first in range(256):
        stored = cbc_blocks(pkcs7(b"data"), first=first)
        assert codec.decode(stored, key=KEY, length=4, **PLAIN).data == b"data"


def test_gcm_format_byte_is_required(codec: ModuleType) -> None:
    """Only 0x02 names the authenticated format."""
    for first in range(256):
        stored = gcm(b"data", 1, first=first)
        if first == 2:
            assert codec.decode(stored, key=KEY, number=1, length=4, **GCM).data == b"data"
        else:
            with pytest.raises(DecryptBlockError, match="format"):
                codec.decode(stored, key=KEY, number=1, length=4, **GCM)


def test_every_right_padding(codec: ModuleType) -> None:
    """Paddings of 1 to 16 bytes come off."""
    for size in range(33):
        data = plaintext("random", size)
        assert codec.decode(cbc(data), key=KEY, length=size, **PLAIN).data == data


def test_every_wrong_padding(codec: ModuleType) -> None:
    """A last byte outside 1..16 and any wrong byte inside the padding are one and the same error."""
    sentences = set()
    wrong = [bytes(15) + bytes([last]) for last in range(256) if last != 1]
    for size in range(2, 17):
        for position in range(16 - size, 15):
            block = bytearray(b"\x55" * (16 - size) + bytes([size]) * size)
            block[position] ^= 1
            wrong.append(bytes(block))
    for blocks in (*wrong, *(b"earlier block..." + block for block in wrong)):
        for length in (0, 1, 15, len(blocks) - blocks[-1] if blocks[-1] <= 16 else 16):
            with pytest.raises(DecryptBlockError) as caught:
                codec.decode(cbc_blocks(blocks), key=KEY, length=length, **PLAIN)
            sentences.add(caught.value.strerror)
    assert len(sentences) == 1
    assert "padding" in sentences.pop()


def test_cbc_objects_of_every_short_size(codec: ModuleType) -> None:
    """An envelope without one whole ciphertext block, or with part of one, is refused."""
    stored = cbc(bytes(100))
    for size in range(len(stored)):
        if size < 33 or (size - 17) % 16:
            with pytest.raises(DecryptBlockError, match="format"):
                codec.decode(stored[:size], key=KEY, length=100, **PLAIN)


def test_gcm_objects_of_every_short_size(codec: ModuleType) -> None:
    """Data too short for nonce and tag is refused; longer, the tag does not match."""
    stored = gcm(bytes(100), 1)
    for size in range(len(stored)):
        sentence = "format" if size < 29 else "tag"
        with pytest.raises(DecryptBlockError, match=sentence):
            codec.decode(stored[:size], key=KEY, number=1, length=100, **GCM)


def test_every_bit_of_a_gcm_object_counts(codec: ModuleType) -> None:
    """Whatever bit is flipped, in format byte, nonce, ciphertext or tag: refused."""
    stored = gcm(plaintext("text", 50), 3)
    for bit in range(8 * len(stored)):
        damaged = bytearray(stored)
        damaged[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(DecryptBlockError):
            codec.decode(damaged, key=KEY, number=3, length=50, **GCM)


def test_gcm_of_nothing(codec: ModuleType) -> None:
    """An empty ciphertext is authenticated like any other."""
    stored = gcm(b"", 9)
    assert codec.decode(stored, key=KEY, number=9, length=0, **GCM).data == b""
    with pytest.raises(DecryptBlockError):
        codec.decode(stored, key=KEY, number=8, length=0, **GCM)


def test_blocks_cannot_be_swapped(codec: ModuleType) -> None:
    """An authenticated block under another block's number is refused, though key and length fit."""
    stored = {number: gcm(plaintext("text", 64, number), number) for number in range(1, 5)}
    for number in stored:
        for other, block in stored.items():
            if number == other:
                codec.decode(block, key=KEY, number=number, length=64, **GCM)
            else:
                with pytest.raises(DecryptBlockError, match="another block"):
                    codec.decode(block, key=KEY, number=number, length=64, **GCM)


@pytest.mark.parametrize("bit", range(64))
def test_every_bit_of_the_number_counts(codec: ModuleType, bit: int) -> None:
    """All 64 bits of the block number are authenticated."""
    number = 0x0123456789ABCDEF
    with pytest.raises(DecryptBlockError, match="tag"):
        codec.decode(gcm(b"x", number), key=KEY, number=number ^ 1 << bit, length=1, **GCM)


def test_wrong_key(codec: ModuleType) -> None:
    """The sentence names the key as a cause, and shows none."""
    for stored, arguments in ((cbc(bytes(99)), PLAIN), (gcm(bytes(99), 1), {**GCM, "number": 1})):
        with pytest.raises(DecryptBlockError, match="secret access key") as caught:
            codec.decode(stored, key=OTHER_KEY, length=99, **arguments)
        assert OTHER_KEY.hex() not in repr(caught.value)
        assert repr(OTHER_KEY) not in str(caught.value)


def test_the_other_cipher(codec: ModuleType) -> None:
    """Objects of one cipher read as the other never decode."""
    with pytest.raises(DecryptBlockError):
        codec.decode(gcm(bytes(100), 1), key=KEY, length=100, compression="NONE")
    for seed in range(4):
        with pytest.raises(DecryptBlockError):
            codec.decode(cbc(bytes(100), seed=seed), key=KEY, number=1, length=100, **GCM)


def test_wrong_tag_before_wrong_length(codec: ModuleType) -> None:
    """Authentication is judged first: no length and no payload is believed before it."""
    stored = gcm(b"not snappy at all", 1)[:-1] + b"\0"
    for length in (0, 1, 17, 10**6):
        with pytest.raises(DecryptBlockError, match="tag"):
            codec.decode(stored, key=KEY, cipher="AES-GCM", number=1, length=length)


@pytest.mark.parametrize("length", [0, 4096, 4 << 20, 64 << 20])
def test_the_envelope_is_judged_before_the_length(codec: ModuleType, length: int) -> None:
    """An empty body or an error page is not an encrypted block, however long the block should be."""
    for stored in (b"", b"x" * 16, b"<Error><Code>SlowDown</Code></Error>"):
        with pytest.raises(DecryptBlockError, match="format"):
            codec.decode(stored, key=KEY, length=length)
        with pytest.raises(DecryptBlockError, match="format"):
            codec.decode(stored, key=KEY, cipher="AES-GCM", number=1, length=length)


def test_plaintext_taken_for_an_encrypted_object(codec: ModuleType) -> None:
    """An error page of the storage instead of the block is refused, whatever its size."""
    page = b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>" * 20
    for size in range(len(page)):
        with pytest.raises(BlockError):
            codec.decode(page[:size], key=KEY, length=4096)
