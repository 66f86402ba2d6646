"""NIST's AES vectors out of the PyPI package cryptography-vectors, put into our envelopes.

AES-CBC vectors have no padding: one block of it is chained on. AES-GCM vectors have no additional
data of 8 bytes, so the tag is carried over to ours: a tag is E(K, counter 0) XOR GHASH(additional
data, ciphertext) (NIST SP 800-38D, section 7.1), and GHASH is short enough to be written down here.
The known answer of NIST thus still decides: a tag that NIST says fails gives a tag that fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import NamedTuple

from Crypto.Cipher import AES

CBC_FILES = [
    f"CBC{name}{bits}.rsp"
    for name in ("GFSbox", "KeySbox", "VarKey", "VarTxt", "MMT")
    for bits in (128, 192, 256)
]
ECB_FILES = [name.replace("CBC", "ECB") for name in CBC_FILES]
GCM_FILES = [f"gcmDecrypt{bits}.rsp" for bits in (128, 192, 256)]


class Vector(NamedTuple):
    """A stored object, its key, block number and plaintext; ``valid`` is NIST's verdict."""

    object: bytes
    key: bytes
    number: int
    plaintext: bytes
    valid: bool


def _records(folder: str, name: str) -> Iterator[dict[str, str]]:
    """The blocks of a .rsp file, each with the [sections] that it stands under."""
    root = resources.files("cryptography_vectors")
    text = (root / "ciphers" / "AES" / folder / name).read_text("ascii")
    section: dict[str, str] = {}
    for block in text.replace("\r\n", "\n").split("\n\n"):
        record: dict[str, str] = {}
        for line in block.splitlines():
            field, _, value = line.strip("[]").partition("=")
            target = section if line.startswith("[") else record
            if not line.startswith("#"):
                target[field.strip().upper()] = value.strip()
        if "KEY" in record:
            yield {**section, **record}


def cbc_vectors(name: str) -> Iterator[Vector]:
    """Every vector of one file, encryption and decryption alike."""
    for record in _records("CBC", name):
        key, iv = bytes.fromhex(record["KEY"]), bytes.fromhex(record["IV"])
        ciphertext = bytes.fromhex(record["CIPHERTEXT"])
        padding = AES.new(key, AES.MODE_CBC, iv=ciphertext[-16:]).encrypt(b"\x10" * 16)
        plaintext = bytes.fromhex(record["PLAINTEXT"])
        yield Vector(b"\x00" + iv + ciphertext + padding, key, 1, plaintext, True)


def ecb_vectors(name: str) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Key, ciphertext and plaintext of every vector of one file."""
    for record in _records("ECB", name):
        yield (
            bytes.fromhex(record["KEY"]),
            bytes.fromhex(record["CIPHERTEXT"]),
            bytes.fromhex(record["PLAINTEXT"]),
        )


def gcm_vectors(name: str) -> Iterator[Vector]:
    """Those of one file with a nonce of 96 bits and a tag of 128 bits."""
    for index, record in enumerate(_records("GCM", name)):
        if (record["IVLEN"], record["TAGLEN"]) != ("96", "128"):
            continue
        key, nonce = bytes.fromhex(record["KEY"]), bytes.fromhex(record["IV"])
        ciphertext, tag = bytes.fromhex(record["CT"]), int(record["TAG"], 16)
        block = AES.new(key, AES.MODE_ECB)
        hash_key = int.from_bytes(block.encrypt(bytes(16)), "big")
        mask = tag ^ _ghash(hash_key, bytes.fromhex(record["AAD"]), ciphertext)
        valid = "FAIL" not in record
        first_counter = int.from_bytes(block.encrypt(nonce + b"\x00\x00\x00\x01"), "big")
        assert (mask == first_counter) is valid, "the GHASH of this module is wrong"
        number = index << 32 | index
        ours = mask ^ _ghash(hash_key, number.to_bytes(8, "big"), ciphertext)
        stored = b"\x02" + nonce + ciphertext + ours.to_bytes(16, "big")
        yield Vector(stored, key, number, bytes.fromhex(record.get("PT", "")), valid)


def _ghash(hash_key: int, additional: bytes, ciphertext: bytes) -> int:
    """GHASH (SP 800-38D, section 6.4) of the two, each filled up with zeros, and their lengths."""
    blocks = b"".join(part + bytes(-len(part) % 16) for part in (additional, ciphertext))
    blocks += (8 * len(additional)).to_bytes(8, "big") + (8 * len(ciphertext)).to_bytes(8, "big")
    digest = 0
    for start in range(0, len(blocks), 16):
        digest = _multiply(digest ^ int.from_bytes(blocks[start : start + 16], "big"), hash_key)
    return digest


def _multiply(a: int, b: int) -> int:
    """Product in GF(2^128) as GCM orders its bits (SP 800-38D, section 6.3)."""
    product = 0
    for bit in range(127, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ (0xE1 << 120 if b & 1 else 0)
    return product


# The vectors of Wycheproof's aes_gcm_test.json (tcId 3, 12, 91, 101, 186) whose nonce has 96 bits,
# whose tag has 128, and whose additional data has 8 bytes, as ours: key, nonce, additional data,
# plaintext, ciphertext, tag.
WYCHEPROOF = (
    (
        "aa023d0478dcb2b2312498293d9a9129", "0432bc49ac34412081288127", "aac39231129872a2",
        "2035af313d1346ab00154fea78322105", "eea945f3d0f98cc0fbab472a0cf24e87",
        "4bb9b4812519dadf9e1232016d068133",
    ),
    (
        "e63a43216c08867210e248859eb5e99c", "9c3a4263d983456658aad4b1", "834afdc5c737186b",
        "b14da56b0462dc05b871fc815273ff4810f92f4b", "bf864616c2347509ca9b10446379b9bdbb3b8f64",
        "a97d25b490390b53c5db91f6ee2a15b8",
    ),
    (
        "92ace3e348cd821092cd921aa3546374299ab46209691bc28b8752d17f123c20",
        "00112233445566778899aabb", "00000000ffffffff",
        "00010203040506070809", "e27abdd2d2a53d2f136b", "9a4a2579529301bcfb71c78d4060f52c",
    ),
    (
        "cdccfe3f46d782ef47df4e72f0c02d9c7f774def970d23486f11a57f54247f17",
        "376187894605a8d45e30de51", "956846a209e087ed",
        "e28e0e9f9d22463ac0e42639b530f42102fded75", "feca44952447015b5df1f456df8ca4bb4eee2ce2",
        "082e91924deeb77880e1b1c84f9b8d30",
    ),
    (
        "fa5b9b41f93f8b682c04ba816c3fecc24eec095b04dd7497", "62b9cf1e923bc1138d05d205",
        "2ed8487153e21b12", "18159841813a69fc0f8f4229e1678da7c9016711",
        "c7c1cbb85ce2a0a3f32cb9ef01ad45ec1118b66d", "253317f98bdab87531ece20475cd9ebb",
    ),
)  # fmt: skip


def wycheproof_vectors() -> Iterator[Vector]:
    """WYCHEPROOF as stored objects."""
    for row in WYCHEPROOF:
        key, nonce, additional, plaintext, ciphertext, tag = map(bytes.fromhex, row)
        number = int.from_bytes(additional, "big")
        yield Vector(b"\x02" + nonce + ciphertext + tag, key, number, plaintext, True)
