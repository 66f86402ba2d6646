"""The stored objects, taken apart by other means than those that made them."""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import struct
import zlib

import google_crc32c
import lz4.frame
import pytest
from Crypto.Cipher import AES

snappy = pytest.importorskip("snappy")


def unwrap(wrapped_key: str, secret_access_key: str) -> bytes:
    """Return a file key, by the letter of PROTOCOL section 2."""
    secret = base64.b64decode(secret_access_key)[:32].ljust(32, b"\0")
    text = AES.new(secret, AES.MODE_ECB).decrypt(base64.b64decode(wrapped_key))
    quoted, padding = text[: -text[-1]], text[-text[-1] :]
    assert padding == bytes([len(padding)]) * len(padding)
    assert quoted[:1] == quoted[-1:] == b'"'
    return base64.b64decode(quoted[1:-1], validate=True)


def unsnap(stream: bytes) -> tuple[bytes, list[int]]:
    """Return a snappy-java stream's plaintext, and the length of each chunk's plaintext."""
    assert stream[:8] == bytes.fromhex("82534e4150505900")
    assert struct.unpack(">II", stream[8:16]) == (1, 1)
    rest, chunks = stream[16:], []
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        chunks.append(snappy.uncompress(rest[4 : 4 + length]))
        rest = rest[4 + length :]
    return b"".join(chunks), [len(chunk) for chunk in chunks]


@pytest.mark.parametrize("key_size", [16, 24, 32])
@pytest.mark.parametrize("secret", [bytes(range(32)), b"short", bytes(range(40))])
def test_wrapped_key(key_size, secret):
    """The file key comes out of wrapped_key, whatever the secret's and the key's length."""
    from ctera_direct_sync.emulator import Emulator

    encoded = base64.b64encode(secret).decode()
    with Emulator(secret_access_key=encoded, key_size=key_size) as emulator:
        file_id = emulator.add(b"x")
        key = unwrap(emulator.listing(file_id)["encrypt_info"]["wrapped_key"], encoded)
        assert key == emulator.file_key(file_id)
        assert len(key) == key_size


def test_wrapped_key_has_the_length_of_a_real_one(emulator):
    """A 32-byte key is wrapped into 48 bytes, as in the sample of PROTOCOL section 2."""
    listing = emulator.listing(emulator.add(b"x"))
    assert len(base64.b64decode(listing["encrypt_info"]["wrapped_key"])) == 48


def test_cbc_envelope(emulator, data):
    """A format byte, the IV, then AES-CBC with PKCS#7."""
    file_id = emulator.add(data, compression="NONE", block_size=30_000)
    stored = emulator.stored(file_id, 2)
    plain = AES.new(emulator.file_key(file_id), AES.MODE_CBC, iv=stored[1:17]).decrypt(stored[17:])
    assert plain[-1] == 16 - 30_000 % 16
    assert plain[: -plain[-1]] == data[30_000:60_000]


def test_gcm_envelope(emulator, data):
    """Format byte 2, nonce, ciphertext, tag; the block's number is authenticated."""
    file_id = emulator.add(data, cipher="AES-GCM", compression="NONE", block_size=30_000)
    stored = emulator.stored(file_id, 3)
    assert stored[0] == 2
    cipher = AES.new(emulator.file_key(file_id), AES.MODE_GCM, nonce=stored[1:13])
    cipher.update((3).to_bytes(8, "big"))
    assert cipher.decrypt_and_verify(stored[13:-16], stored[-16:]) == data[60_000:90_000]


def test_no_nonce_serves_twice(emulator, data):
    """Blocks, files and versions of a file all differ in their nonce, and keep it."""
    first, second = (emulator.add(data, cipher="AES-GCM", block_size=30_000) for _ in range(2))
    nonces = [
        emulator.stored(file_id, block)[1:13]
        for file_id in (first, second)
        for block in (1, 2, 3, 4)
    ]
    assert emulator.stored(first, 1)[1:13] == nonces[0]
    emulator.replace(first, data[::-1])
    nonces.append(emulator.stored(first, 1)[1:13])
    assert len(set(nonces)) == len(nonces)


@pytest.mark.parametrize("chunk", [1, 1000, 32 * 1024, 1 << 20])
def test_snappy_stream(emulator, data, chunk):
    """The chunks of a snappy-java stream give the plaintext, each of the size asked for."""
    file_id = emulator.add(data[:5000], cipher=None, snappy_chunk=chunk)
    plain, lengths = unsnap(emulator.stored(file_id, 1))
    assert plain == data[:5000]
    assert set(lengths[:-1]) <= {chunk}


def test_snappy_raw(emulator, data):
    """A raw snappy block is decoded by another implementation."""
    file_id = emulator.add(data, cipher=None, compression="SNAPPY-RAW")
    assert snappy.uncompress(emulator.stored(file_id, 1)) == data


@pytest.mark.parametrize("members", [1, 2, 7])
def test_gzip_members(emulator, data, members):
    """A gzip payload has the members asked for."""
    file_id = emulator.add(data, cipher=None, compression="GZIP", gzip_members=members)
    rest, count = emulator.stored(file_id, 1), 0
    assert gzip.decompress(rest) == data
    while rest:
        member = zlib.decompressobj(wbits=31)
        member.decompress(rest)
        assert member.eof
        rest, count = member.unused_data, count + 1
    assert count == members


@pytest.mark.parametrize(
    "options", [{}, {"content_checksum": True, "block_checksum": True}, {"store_size": False}]
)
def test_lz4_frame(emulator, data, options):
    """An LZ4 payload is a frame with the options asked for."""
    file_id = emulator.add(data, cipher=None, compression="LZ4", lz4=options)
    stored = emulator.stored(file_id, 1)
    info = lz4.frame.get_frame_info(stored)
    assert lz4.frame.decompress(stored) == data
    assert info["content_size"] == (len(data) if options.get("store_size", True) else 0)
    assert info["content_checksum"] == options.get("content_checksum", False)
    assert info["block_checksum"] == options.get("block_checksum", False)


def test_azure_prefix(emulator, data):
    """The MD5 of the rest stands in front of an object, encrypted or native."""
    for options in ({}, {"native": True}):
        stored = emulator.stored(emulator.add(data, azure_md5=True, **options), 1)
        assert stored[:16] == hashlib.md5(stored[16:]).digest()
    assert stored[16:] == data


def crc64nvme(data: bytes) -> int:
    """Return the CRC-64/NVME by its definition, a bit at a time."""
    crc = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x9A6C9329AC4BC9B5 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFFFFFFFFFF


CHECKSUMS = {
    "content-md5": lambda data: hashlib.md5(data).digest(),
    "x-amz-checksum-crc32c": lambda data: google_crc32c.value(data).to_bytes(4, "big"),
    "x-amz-checksum-crc32": lambda data: binascii.crc32(data).to_bytes(4, "big"),
    "x-amz-checksum-crc64nvme": lambda data: crc64nvme(data).to_bytes(8, "big"),
    "x-amz-checksum-sha256": lambda data: hashlib.sha256(data).digest(),
    "x-amz-checksum-sha1": lambda data: hashlib.sha1(data).digest(),
}


@pytest.mark.parametrize("name", CHECKSUMS)
def test_declared_checksums(emulator, session, block_url, name):
    """Each declared checksum is that of the object as sent."""
    file_id = emulator.add(b"The quick brown fox", checksums=[name])
    reply = session.get(block_url(emulator, file_id))
    assert base64.b64decode(reply.headers[name]) == CHECKSUMS[name](reply.content)


def test_declared_google_hash(emulator, session, block_url):
    """Google's header holds both of its checksums, and comes with parts too."""
    file_id = emulator.add(b"The quick brown fox", native=True, checksums=["x-goog-hash"])
    url = block_url(emulator, file_id)
    reply = session.get(url)
    values = dict(each.split("=", 1) for each in reply.headers["x-goog-hash"].split(","))
    assert base64.b64decode(values["crc32c"]) == CHECKSUMS["x-amz-checksum-crc32c"](reply.content)
    assert base64.b64decode(values["md5"]) == hashlib.md5(reply.content).digest()
    part = session.get(url, headers={"Range": "bytes=0-3"})
    assert part.headers["x-goog-hash"] == reply.headers["x-goog-hash"]


def test_parts_declare_no_whole_checksum(emulator, session, block_url):
    """The headers of S3 and Azure come with the whole object only."""
    file_id = emulator.add(
        b"The quick brown fox", native=True, checksums=["content-md5", "x-amz-checksum-crc32"]
    )
    part = session.get(block_url(emulator, file_id), headers={"Range": "bytes=0-3"})
    assert not {"content-md5", "x-amz-checksum-crc32"} & {name.lower() for name in part.headers}


def test_composite_checksum(emulator, session, block_url):
    """A composite checksum is the checksum of the parts' checksums, with their number."""
    file_id = emulator.add(
        b"fox", native=True, checksums=["x-amz-checksum-sha256"], checksum_type="COMPOSITE"
    )
    headers = session.get(block_url(emulator, file_id)).headers
    twice = hashlib.sha256(hashlib.sha256(b"fox").digest()).digest()
    assert headers["x-amz-checksum-type"] == "COMPOSITE"
    assert headers["x-amz-checksum-sha256"] == base64.b64encode(twice).decode() + "-1"


def test_etag_is_an_md5_on_request_only(emulator, session, block_url):
    """An ETag is the object's MD5 where asked for, else the kind that is none."""
    plain = session.get(block_url(emulator, emulator.add(b"fox", native=True)))
    simple = session.get(block_url(emulator, emulator.add(b"fox", native=True, etag_md5=True)))
    assert simple.headers["ETag"] == f'"{hashlib.md5(b"fox").hexdigest()}"'
    assert plain.headers["ETag"].endswith('-1"')


@pytest.mark.parametrize(
    "options",
    [
        {"cipher": "DES"},
        {"compression": "ZIP"},
        {"block_size": 0},
        {"block_size": []},
        {"block_size": [0, 0]},
        {"block_size": [5, -1]},
        {"listing": "9"},
        {"key_size": 8},
        {"gzip_level": 10},
        {"gzip_members": 0},
        {"snappy_chunk": 0},
        {"checksums": ["crc"]},
        {"checksum_type": "SOME"},
        {"listing": "pre-8.3", "cipher": "AES-GCM"},
        {"listing": "pre-8.3", "compression": "LZ4"},
        {"listing": "untyped", "compression": "NONE"},
        {"listing": "untyped", "compression": "LZ4"},
        {"listed_range": (0, 1)},
        {"listing": "ranged", "listed_range": (0, 9)},
        {"listing": "ranged", "listed_range": (2, 1)},
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(emulator, options):
    """What no portal could list is refused when the file is added."""
    with pytest.raises(ValueError, match=r"."):
        emulator.add(b"abc", **options)


def test_unknown_options_are_refused(emulator):
    """A misspelt option is an error, not silence."""
    with pytest.raises(TypeError, match="colour"):
        emulator.add(b"abc", colour="red")
