"""The codec in C (``csrc/``): one call per object, during which other threads run.

The only importer of the extension. Arguments are checked by the package's ``__init__``; what a
wrong one would do here is raise another exception, never crash.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import TYPE_CHECKING, Any, Optional

from ctera_direct_sync.codec._native import ffi, lib
from ctera_direct_sync.codec.errors import Fault, raise_fault
from ctera_direct_sync.codec.limits import longest_plaintext
from ctera_direct_sync.types import FileKey

if TYPE_CHECKING:
    from typing_extensions import Buffer

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

# A buffer's memory as a C array that knows its size, held until the context is left: of its type, the
# buffer, and whether it must be writable.
_from_buffer: Any = ffi.from_buffer
_BYTES = "uint8_t[]"

# A bytes object without content: bytes(n) would fill it with zeros first, which costs an uncompressed
# block 8% of its speed. Part of the stable ABI. A prototype of its own, since types set on
# ctypes.pythonapi's function would hold for the whole process.
try:
    _new_bytes: Any = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
        ("PyBytes_FromStringAndSize", ctypes.pythonapi)
    )
except AttributeError:  # PyPy
    raise ImportError(
        "this Python has no ctypes.pythonapi, which CPython alone provides", name="ctypes"
    ) from None


def prepare() -> None:
    """Nothing is imported late here."""


def decode(
    object: Buffer,
    *,
    key: Optional[Buffer],
    cipher: str,
    compression: Optional[str],
    length: int,
    number: Optional[int],
    spoil: bool = False,
    checksum: bool = True,
) -> tuple[bytes, int]:
    """Plaintext and CRC32C of one object; see :func:`ctera_direct_sync.codec.decode`.

    Without ``checksum`` 0 stands for the CRC32C, which is not calculated.
    """
    with _from_buffer(_BYTES, object, spoil) as source:
        # The system lends a large buffer page by page, so one that is not filled costs little. A
        # length that no object of this size can have is not asked for at all.
        possible = length <= longest_plaintext(len(source), compression)
        data: bytes = _new_bytes(None, length if possible else 0)
        with _from_buffer(_BYTES, data) as target:
            result = _decode(source, target, key, cipher, compression, number, spoil, checksum)
    if not possible and not 0 < -result < Fault.CORRUPT:
        result = -Fault.TOO_SHORT
    if result < 0:
        raise_fault(-result, number, length)
    return data, result


def decode_into(
    object: Buffer,
    out: Buffer,
    *,
    key: Optional[Buffer],
    cipher: str,
    compression: Optional[str],
    number: Optional[int],
    spoil: bool = False,
) -> int:
    """CRC32C of the plaintext put into ``out``; see :func:`ctera_direct_sync.codec.decode_into`."""
    with _from_buffer(_BYTES, object, spoil) as source, _from_buffer(_BYTES, out, True) as target:
        length = len(target)
        result = _decode(source, target, key, cipher, compression, number, spoil, True)
    if result < 0:
        raise_fault(-result, number, length)
    return result


def _decode(
    source: Any,
    target: Any,
    key: Optional[Buffer],
    cipher: str,
    compression: Optional[str],
    number: Optional[int],
    spoil: bool,
    checksum: bool,
) -> int:
    """What ctera_decode() returns: the CRC32C, 0 without checksum, or a negated Fault."""
    if not hasattr(_thread, "ready"):
        _prepare_thread()
    secret = b"" if key is None else key if type(key) is FileKey else FileKey(key)
    result: int = lib.ctera_decode(
        lib.CTERA_CIPHER_NONE if key is None else _CIPHERS[cipher],
        secret,
        len(secret),
        number or 0,
        _COMPRESSIONS[compression],
        source,
        len(source),
        source if spoil else ffi.NULL,
        checksum,
        target,
        len(target),
    )
    return result


def decrypt_ecb(data: bytes, *, key: bytes) -> bytes:
    """AES-ECB without padding; see :func:`ctera_direct_sync.codec.decrypt_ecb`."""
    if not hasattr(_thread, "ready"):
        _prepare_thread()
    text: bytes = _new_bytes(None, len(data))
    with _from_buffer(_BYTES, text) as target:
        error: int = lib.ctera_decrypt_ecb(key, len(key), data, len(data), target)
    if error:
        raise_fault(error, None, len(data))
    return text


_thread = threading.local()
_preparing = threading.Lock()


def _prepare_thread() -> None:
    """Have OpenSSL set up what it keeps for this thread, which it does under a lock of the process.

    A fork at that very moment would leave the lock held for ever in the child: so it waits.
    """
    with _preparing:
        # Not a block: what comes of it does not matter, but that libcrypto was used.
        lib.ctera_decode(
            lib.CTERA_CIPHER_AES_CBC, bytes(16), 16, 0, lib.CTERA_COMPRESSION_NONE,
            bytes(33), 33, ffi.NULL, False, ffi.NULL, 0,
        )  # fmt: skip
    _thread.ready = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_preparing.acquire,
        after_in_parent=_preparing.release,
        after_in_child=_preparing.release,
    )


def crc32c(data: Buffer, value: int = 0) -> int:
    """CRC32C; see :func:`ctera_direct_sync.codec.crc32c`."""
    with _from_buffer(_BYTES, data) as source:
        crc: int = lib.ctera_crc32c(value, source, len(source))
    return crc


def crc32c_combine(crc1: int, crc2: int, length2: int) -> int:
    """CRC32C of a concatenation; see :func:`ctera_direct_sync.codec.crc32c_combine`."""
    crc: int = lib.ctera_crc32c_combine(crc1, crc2, length2)
    return crc


def crc64nvme(data: Buffer, value: int = 0) -> int:
    """CRC-64/NVME; see :func:`ctera_direct_sync.codec.crc64nvme`."""
    with _from_buffer(_BYTES, data) as source:
        crc: int = lib.ctera_crc64nvme(value, source, len(source))
    return crc
