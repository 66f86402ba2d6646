"""Who decodes: ours, the vendor's client, the best packages of PyPI glued together, the stock C libraries.

Each contender is a function of (combination, block) that gives the plaintext, or None where it cannot do
that combination.
"""

from __future__ import annotations

import ctypes
import functools
import pathlib
import subprocess
import threading
from typing import Any, Callable

import cramjam
import deflate
import google_crc32c
from blocks import KEY, Combination, Stored
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cterasdk.direct.crypto import decrypt_block
from cterasdk.direct.decompressor import decompress

from ctera_direct_sync.codec import native
from ctera_direct_sync.codec.options import DecodeOptions

HERE = pathlib.Path(__file__).parent
LIBRARIES = ("-lcrypto", "-lsnappy", "-ldeflate", "-llz4")
Decoder = Callable[[Combination, Stored], Any]


@functools.cache
def _options(combination: Combination) -> DecodeOptions:
    """Return what a client makes once for each file."""
    key = KEY if combination.cipher else None
    return DecodeOptions.create(key, combination.cipher or "AES-CBC", combination.compression)


def ours(combination: Combination, block: Stored) -> bytes:
    """One call; the result is a new bytes object. The CRC32C of the plaintext is included."""
    return native.decode(
        block.object,
        _options(combination),
        length=len(block.plain),
        number=block.number,
    )[0]


def ours_unsummed(combination: Combination, block: Stored) -> bytes:
    """The same without the CRC32C, as blocks and streams have it."""
    return native.decode(
        block.object,
        _options(combination),
        length=len(block.plain),
        number=block.number,
        checksum=False,
    )[0]


_kept = threading.local()


def _buffer(name: str, size: int) -> bytearray:
    """The calling thread's buffer of that name and size."""
    buffer = getattr(_kept, name, None)
    if buffer is None or len(buffer) != size:
        buffer = bytearray(size)
        setattr(_kept, name, buffer)
    return buffer


def ours_into(combination: Combination, block: Stored) -> bytearray:
    """With the CRC32C, into a buffer that is used again."""
    out = _buffer("out", len(block.plain))
    native.decode_into(
        block.object,
        out,
        _options(combination),
        number=block.number,
    )
    return out


def peer(combination: Combination, block: Stored) -> bytes | None:
    """cterasdk.direct: its decrypt_block, then its decompress."""
    if combination.cipher != "AES-CBC" or combination.recipe == "snappy raw":
        return None
    data = decrypt_block(block.object, KEY)
    return data if combination.recipe == "none" else decompress(data)


def glued(combination: Combination, block: Stored) -> Any:
    """cryptography, cramjam, deflate, google-crc32c in turn, with as few copies as they allow."""
    data = _glued_decrypt(combination, block)
    if combination.recipe == "none":
        plain = bytes(data)
    elif combination.recipe == "gzip":
        plain = bytes(deflate.gzip_decompress(data, len(block.plain)))
    elif combination.recipe == "snappy raw":
        plain = bytes(cramjam.snappy.decompress_raw(data))
    elif combination.recipe == "snappy stream":
        plain = _glued_stream(data, len(block.plain))
    else:
        plain = bytes(cramjam.lz4.decompress(data, output_len=len(block.plain)))
    google_crc32c.value(plain)
    return plain


def _glued_decrypt(combination: Combination, block: Stored) -> Any:
    if combination.cipher is None:
        return block.object
    view = memoryview(block.object)
    if combination.cipher == "AES-GCM":
        return AESGCM(KEY).decrypt(view[1:13], view[13:], block.number.to_bytes(8, "big"))
    decryptor = Cipher(algorithms.AES(KEY), modes.CBC(bytes(view[1:17]))).decryptor()
    out = bytearray(len(view) - 17 + 15)
    size = decryptor.update_into(view[17:], out)
    decryptor.finalize()
    unpadder = padding.PKCS7(128).unpadder()
    whole = size - 16
    tail = unpadder.update(bytes(out[whole:size])) + unpadder.finalize()
    out[whole : whole + len(tail)] = tail
    return memoryview(out)[: whole + len(tail)]


def _glued_stream(data: Any, length: int) -> bytes:
    out = bytearray(length)
    view, room = memoryview(data), memoryview(out)
    at, done = 16, 0
    while at < len(view):
        size = int.from_bytes(view[at : at + 4], "big")
        done += cramjam.snappy.decompress_raw_into(
            view[at + 4 : at + 4 + size], room[done : done + (32 << 10)]
        )
        at += 4 + size
    return bytes(out)


def stock() -> Decoder:
    """stock.c, compiled now."""
    library = HERE / "build" / "stock.so"
    library.parent.mkdir(exist_ok=True)
    subprocess.run(
        ["gcc", "-O3", "-fPIC", "-shared", "-o", library, HERE / "stock.c", *LIBRARIES],
        check=True,
    )
    decode = ctypes.CDLL(str(library)).stock_decode
    decode.restype = ctypes.c_size_t
    decode.argtypes = [
        ctypes.c_int, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p,
        ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
    ]  # fmt: skip
    ciphers = {None: 0, "AES-CBC": 1, "AES-GCM": 2}
    recipes = {
        "none": 0,
        "snappy raw": 1,
        "snappy stream": 2,
        "gzip": 3,
        "lz4": 4,
        "lz4 checksum": 4,
    }

    def run(combination: Combination, block: Stored) -> bytearray:
        # Room for a whole AES block more: libcrypto writes it before it looks at the padding.
        size = len(block.plain)
        out, scratch = _buffer("stock_out", size + 16), _buffer("scratch", 6 << 20)
        written = decode(
            ciphers[combination.cipher], KEY, block.number, recipes[combination.recipe],
            block.object, len(block.object), (ctypes.c_char * len(scratch)).from_buffer(scratch),
            (ctypes.c_char * len(out)).from_buffer(out),
            size if combination.cipher is None or combination.recipe != "none" else len(out),
        )  # fmt: skip
        assert written == size, (combination, written, size)
        return out

    return run


def find(name: str) -> Decoder:
    """The contender of that name."""
    if name == "stock C":
        return stock()
    return {
        "ours": ours,
        "ours, unsummed": ours_unsummed,
        "ours, reused": ours_into,
        "cterasdk": peer,
        "PyPI": glued,
    }[name]
