"""Run the codec in C (`csrc/`): one call per object, during which other threads run.

This is the only module that imports the extension. Callers check the arguments. If a wrong one reaches
this module, it may raise another exception than documented, but it never crashes.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import TYPE_CHECKING, Any

from ctera_direct_sync.codec._native import ffi, lib
from ctera_direct_sync.codec.errors import DecodeStatus, raise_status
from ctera_direct_sync.codec.options import SLACK_BYTES

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ctera_direct_sync.codec.options import DecodeOptions

__all__ = [
    "crc32c",
    "crc32c_combine",
    "crc64nvme",
    "decode",
    "decode_into",
    "decrypt_ecb",
    "prepare",
]

_CIPHERS = {"AES-CBC": lib.CTERA_CIPHER_AES_CBC, "AES-GCM": lib.CTERA_CIPHER_AES_GCM}
_COMPRESSIONS = {
    None: lib.CTERA_COMPRESSION_AUTO,
    "SNAPPY": lib.CTERA_COMPRESSION_AUTO,
    "GZIP": lib.CTERA_COMPRESSION_AUTO,
    "LZ4": lib.CTERA_COMPRESSION_LZ4,
    "NONE": lib.CTERA_COMPRESSION_NONE,
}

# ffi.from_buffer(type, buffer, require_writable) makes a buffer's memory a C array that knows its
# size. The memory stays locked until the context is left. Types are looked up once, which is faster.
_from_buffer: Any = ffi.from_buffer
_BYTES: Any = ffi.typeof("uint8_t[]")
_DECODE_CALL: Any = ffi.typeof("struct ctera_decode_call *")
_NO_BYTES: Any = ffi.NULL
_new: Any = ffi.new
_NO_CIPHER: int = lib.CTERA_CIPHER_NONE
_run_decode: Any = lib.ctera_decode

# Make a bytes object without content. bytes(n) fills it with zeros first, which costs an uncompressed
# block 8% of its speed. The function is part of the stable ABI. It has a prototype of its own, because
# argument types set on the function of ctypes.pythonapi would affect the whole process.
try:
    _new_bytes: Any = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
        ("PyBytes_FromStringAndSize", ctypes.pythonapi)
    )
except AttributeError:  # PyPy
    raise ImportError(
        "this Python has no ctypes.pythonapi, which CPython alone provides", name="ctypes"
    ) from None


def prepare() -> None:
    """Do nothing: this backend imports everything at once."""


def decode(
    object: Buffer,
    options: DecodeOptions,
    *,
    length: int,
    number: int | None,
    overwrite_input: bool = False,
    checksum: bool = True,
) -> tuple[bytes, int]:
    """Return the plaintext of one object and its CRC32C, or 0 without `checksum`.

    See `ctera_direct_sync.codec.decode_stored`.
    """
    with _from_buffer(_BYTES, object, overwrite_input) as source:
        # The system provides the pages of a large buffer when they are written, so a buffer that
        # stays empty costs little. A length that no object of this size can have is not allocated.
        possible = length <= options.expansion * (len(source) + SLACK_BYTES)
        data: bytes = _new_bytes(None, length if possible else 0)
        # Bytes are never resized, so their memory needs no lock that a context would release.
        target = _from_buffer(_BYTES, data)
        status, crc = _decode(source, target, options, number, overwrite_input, checksum)
    if not possible and not 0 < status < DecodeStatus.CORRUPT:
        status = DecodeStatus.TOO_SHORT
    if status:
        # A traceback may show local variables, and these may hold a part of the plaintext.
        del data, target
        raise_status(status, number, length)
    return data, crc


def decode_into(
    object: Buffer,
    out: Buffer,
    options: DecodeOptions,
    *,
    number: int | None,
    overwrite_input: bool = False,
) -> int:
    """Return the CRC32C of the plaintext in `out`.

    See `ctera_direct_sync.codec.decode_stored_into`.
    """
    with (
        _from_buffer(_BYTES, object, overwrite_input) as source,
        _from_buffer(_BYTES, out, True) as target,
    ):
        length = len(target)
        status, crc = _decode(source, target, options, number, overwrite_input, True)
    if status:
        raise_status(status, number, length)
    return crc


def _decode(
    source: Any,
    target: Any,
    options: DecodeOptions,
    number: int | None,
    overwrite_input: bool,
    checksum: bool,
) -> tuple[int, int]:
    """Return the `DecodeStatus` of ctera_decode() as a number, and the CRC32C."""
    if not hasattr(_thread, "ready"):
        _prepare_thread()
    key, cipher, compression, _ = options
    secret = _NO_BYTES
    secret_size = 0
    if key is not None:
        # The array keeps the key alive. Its repr, which a traceback may show, is an address.
        secret = _from_buffer(_BYTES, key)
        secret_size = len(secret)
    # By position, which is faster than by name. The order is that of the struct in ctera_codec.h.
    call = _new(
        _DECODE_CALL,
        (
            _NO_CIPHER if key is None else _CIPHERS[cipher],
            _COMPRESSIONS[compression],
            secret,
            secret_size,
            number or 0,
            source,
            len(source),
            source if overwrite_input else _NO_BYTES,
            target,
            len(target),
            checksum,
        ),
    )
    status: int = _run_decode(call)
    return status, call.crc32c


def decrypt_ecb(data: bytes, *, key: bytes) -> bytes:
    """Decrypt AES-ECB without padding; see `ctera_direct_sync.codec.decrypt_ecb`."""
    if not hasattr(_thread, "ready"):
        _prepare_thread()
    text: bytes = _new_bytes(None, len(data))
    with _from_buffer(_BYTES, text) as target:
        status: int = lib.ctera_decrypt_ecb(key, len(key), data, len(data), target)
    if status:
        raise_status(status, None, len(data))
    return text


_thread = threading.local()
_preparing = threading.Lock()


def _prepare_thread() -> None:
    """Make OpenSSL set up this thread's state, which it does under a lock of the process.

    A fork at that moment would copy the held lock into the child, where no thread could ever release
    it. Therefore forks wait for `_preparing`.
    """
    with _preparing:
        # This object is not a valid block. Its decoding serves only to use libcrypto once.
        secret, source = _from_buffer(_BYTES, bytes(16)), _from_buffer(_BYTES, bytes(33))
        call = ffi.new(
            _DECODE_CALL,
            {
                "cipher": lib.CTERA_CIPHER_AES_CBC,
                "compression": lib.CTERA_COMPRESSION_NONE,
                "key": secret,
                "key_size": len(secret),
                "object": source,
                "object_size": len(source),
            },
        )
        lib.ctera_decode(call)
    _thread.ready = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_preparing.acquire,
        after_in_parent=_preparing.release,
        after_in_child=_preparing.release,
    )


def crc32c(data: Buffer, value: int = 0) -> int:
    """Return the CRC32C; see `ctera_direct_sync.codec.crc32c`."""
    with _from_buffer(_BYTES, data) as source:
        crc: int = lib.ctera_crc32c(value, source, len(source))
    return crc


def crc32c_combine(crc1: int, crc2: int, length2: int) -> int:
    """Return the CRC32C of a concatenation; see `ctera_direct_sync.codec.crc32c_combine`."""
    crc: int = lib.ctera_crc32c_combine(crc1, crc2, length2)
    return crc


def crc64nvme(data: Buffer, value: int = 0) -> int:
    """Return the CRC-64/NVME; see `ctera_direct_sync.codec.crc64nvme`."""
    with _from_buffer(_BYTES, data) as source:
        crc: int = lib.ctera_crc64nvme(value, source, len(source))
    return crc
