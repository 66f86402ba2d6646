"""Decode stored objects: decrypt, decompress, check the length, and calculate a checksum.

PROTOCOL, sections 3 and 5, describes the formats. Two backends give the same bytes and raise the same
errors. `native` is a library in C, called once per object, during which other threads run. `portable`
uses packages from PyPI.

The backends may differ in two ways, which their libraries decide. A damaged gzip or LZ4 payload that
also exceeds its length may be refused for either reason. DEFLATE that breaks a rule of RFC 1951 without
being ambiguous may be accepted if CRC-32 and length confirm the result. `csrc/ctera_codec.h` lists
these rules.

After a failure no local variable of this package holds a key or plaintext.

`backend` is the name of the backend in use. The environment variable `CTERA_DIRECT_CODEC` (`native` or
`portable`) forces one. It is read once, at import. The import then raises ImportError if the native
backend was forced and cannot be loaded, and ValueError for another name.
"""

from __future__ import annotations

import importlib
import logging
import operator
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple

from ctera_direct_sync.codec.errors import DecodeStatus
from ctera_direct_sync.codec.options import KEY_LENGTHS, DecodeOptions, is_readonly

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "DecodeStatus",
    "DecodedBlock",
    "backend",
    "crc32c",
    "crc32c_combine",
    "crc64nvme",
    "decode",
    "decode_bytes",
    "decode_into",
    "decrypt_ecb",
    "prepare",
]

_HOW_TO_BUILD = (
    "To build it, install a C compiler and the libraries' headers (Debian: apt-get install gcc "
    "python3-dev libssl-dev libdeflate-dev liblz4-dev libxxhash-dev), then, in the source tree: "
    "pip install -e ."
)


def _choose() -> tuple[str, Any]:
    """Return the name and the module of the backend that the environment asks for."""
    wanted = os.environ.get("CTERA_DIRECT_CODEC", "")
    if wanted not in ("", "native", "portable"):
        raise ValueError(
            f"CTERA_DIRECT_CODEC is {wanted!r}: set it to native or portable, or leave it unset"
        )
    if wanted != "portable":
        try:
            return "native", importlib.import_module(f"{__name__}.native")
        except ImportError as error:
            if wanted == "native":
                raise ImportError(
                    f"CTERA_DIRECT_CODEC=native, but the native codec cannot be loaded ({error}). "
                    f"{_advice(error)}"
                ) from error
            logging.getLogger(__name__).warning(
                "The native codec cannot be loaded (%s). The portable one is used instead: it "
                "gives the same results, but takes several times as much CPU time for each "
                "block. %s Set CTERA_DIRECT_CODEC=portable to silence this warning.",
                error,
                _advice(error),
            )
    return "portable", importlib.import_module(f"{__name__}.portable")


def _advice(error: ImportError) -> str:
    """Return what to do about a native codec that cannot be loaded."""
    # Its extension is for CPython alone, and it needs ctypes, which some builds of Python lack.
    if sys.implementation.name != "cpython" or error.name in ("ctypes", "_ctypes"):
        return "Use CPython for it."
    if error.name in ("cffi", "_cffi_backend"):
        return "It needs the package cffi: pip install cffi."
    return _HOW_TO_BUILD


if TYPE_CHECKING:
    from ctera_direct_sync.codec import portable as _backend

    backend: str
else:
    backend, _backend = _choose()


def prepare() -> None:
    """Import all that decoding needs, before there are threads.

    If a process forks while another thread imports a module, the child can never import that module:
    it would wait for a lock whose holder does not exist there.
    """
    _backend.prepare()


class DecodedBlock(NamedTuple):
    """A decoded block."""

    data: bytes
    """The plaintext."""
    crc32c: int
    """The CRC32C of the plaintext (RFC 3720), an unsigned 32-bit integer."""

    def __repr__(self) -> str:
        return f"DecodedBlock(length={len(self.data)}, crc32c={self.crc32c:#010x})"


#: Decode one stored object, without checking the arguments: for callers that made the options once.
#: `decode_stored(object, options, *, length, number, overwrite_input=False, checksum=True)` returns the
#: plaintext and its CRC32C, or 0 without `checksum`. With `overwrite_input` the object must be writable.
#: `decode_stored_into(object, out, options, *, number, overwrite_input=False)` returns the CRC32C.
decode_stored = _backend.decode
decode_stored_into = _backend.decode_into


def decode(
    object: Buffer,
    *,
    key: Buffer | None = None,
    cipher: str = "AES-CBC",
    compression: str | None = "SNAPPY",
    length: int,
    number: int | None = None,
    overwrite_input: bool = False,
) -> DecodedBlock:
    """Decode one stored object to its plaintext of exactly `length` bytes.

    Args:
        object: The stored object, in any contiguous buffer.
        key: The file key, 16, 24 or 32 bytes. None if the object has no envelope.
        cipher: The cipher of the envelope: AES-CBC or AES-GCM.
        compression: NONE and LZ4 are taken at their word.
            With SNAPPY, GZIP and None the payload's first bytes tell the format.
        length: The length of the plaintext in bytes, as the portal lists it.
        number: The block's number, which AES-GCM authenticates.
        overwrite_input: Whether the codec may overwrite `object` where that saves memory.
            A read-only buffer is never overwritten.

    Returns:
        The plaintext and its CRC32C.

    Raises:
        DecryptBlockError: The key or the envelope is wrong.
        DecompressBlockError: The payload is malformed.
        BlockValidationException: The plaintext has another length.
        TypeError: An argument has the wrong type.
        ValueError: An argument has a wrong value.

    Example:
        >>> decode(b"hello", compression="NONE", length=5).data
        b'hello'
    """
    options = None
    try:
        options = DecodeOptions.create(key, cipher, compression)
        overwrite_input = _check(object, options, length, number, overwrite_input)
        return DecodedBlock(
            *_backend.decode(
                object, options, length=length, number=number, overwrite_input=overwrite_input
            )
        )
    except BaseException as error:
        _forget_locals(error)
        raise
    finally:
        del object, key, options


def decode_bytes(
    object: Buffer,
    *,
    key: Buffer | None = None,
    cipher: str = "AES-CBC",
    compression: str | None = "SNAPPY",
    length: int,
    number: int | None = None,
    overwrite_input: bool = False,
) -> bytes:
    """Decode like `decode`, but calculate no CRC32C, which saves 2 to 15% of the time.

    Everything that the object itself carries is still verified: padding, tag, and the checksums
    of the compressed formats.

    Args:
        object: The stored object.
        key: The file key: 16, 24 or 32 bytes. None: the object is not encrypted.
        cipher: "AES-CBC" or "AES-GCM".
        compression: "SNAPPY", "GZIP", "LZ4" or "NONE". None: found out from the object.
        length: The length of the plaintext in bytes.
        number: The block's number, which AES-GCM authenticates.
        overwrite_input: Whether the object's memory may be overwritten, which saves a copy.

    Returns:
        The plaintext.

    Raises:
        DecryptBlockError: The object does not decrypt by this key.
        DecompressBlockError: The object does not decompress.
        BlockValidationException: The plaintext has another length.
    """
    options = None
    try:
        options = DecodeOptions.create(key, cipher, compression)
        overwrite_input = _check(object, options, length, number, overwrite_input)
        return _backend.decode(
            object,
            options,
            length=length,
            number=number,
            overwrite_input=overwrite_input,
            checksum=False,
        )[0]
    except BaseException as error:
        _forget_locals(error)
        raise
    finally:
        del object, key, options


def decode_into(
    object: Buffer,
    out: Buffer,
    *,
    key: Buffer | None = None,
    cipher: str = "AES-CBC",
    compression: str | None = "SNAPPY",
    number: int | None = None,
    overwrite_input: bool = False,
) -> int:
    """Decode like `decode` into the writable buffer `out`, which the plaintext must fill exactly.

    After an exception the content of `out` is unspecified. `object` and `out` must not overlap.

    Args:
        object: The stored object.
        out: The writable buffer for the plaintext.
        key: The file key: 16, 24 or 32 bytes. None: the object is not encrypted.
        cipher: "AES-CBC" or "AES-GCM".
        compression: "SNAPPY", "GZIP", "LZ4" or "NONE". None: found out from the object.
        number: The block's number, which AES-GCM authenticates.
        overwrite_input: Whether the object's memory may be overwritten, which saves a copy.

    Returns:
        The CRC32C of the plaintext.
    """
    options = None
    try:
        options = DecodeOptions.create(key, cipher, compression)
        overwrite_input = _check(object, options, 0, number, overwrite_input)
        if is_readonly(out, "out"):
            raise TypeError("out is read-only: give a writable buffer, such as a bytearray")
        return _backend.decode_into(
            object, out, options, number=number, overwrite_input=overwrite_input
        )
    except BaseException as error:
        _forget_locals(error)
        raise
    finally:
        del object, out, key, options


def _forget_locals(error: BaseException) -> None:
    """Clear the local variables of the frames that `error` came through, the caller's excepted.

    They hold the file key, decrypted data, and memory that an earlier block may have filled.
    Some programs log tracebacks with local variables, and must not show any of these.
    """
    traceback.clear_frames(error.__traceback__)


def decrypt_ecb(data: bytes, *, key: bytes) -> bytes:
    """Decrypt AES-ECB without padding (NIST SP 800-38A, section 6.1).

    File keys are wrapped by it (PROTOCOL, section 2).

    Args:
        data: Whole AES blocks.
        key: The key, 16, 24 or 32 bytes.

    Raises:
        ValueError: `key` has another length, or the length of `data` is not a multiple of 16.
        DecryptBlockError: The cryptographic library refuses to work.
    """
    try:
        if len(key) not in KEY_LENGTHS:
            raise ValueError("key must be 16, 24 or 32 bytes long")
        if len(data) % 16:
            raise ValueError("data must be whole AES blocks, a multiple of 16 bytes")
        return _backend.decrypt_ecb(data, key=key)
    except BaseException as error:
        _forget_locals(error)
        raise
    finally:
        del data, key


def crc32c(data: Buffer, value: int = 0) -> int:
    """Return a CRC32C (RFC 3720, section 12.1).

    Args:
        data: The bytes.
        value: The CRC32C of the bytes before them, to continue from.
    """
    if type(data) is not bytes:
        is_readonly(data, "data")
    return _backend.crc32c(data, _checksum(value, 32))


def crc32c_combine(crc1: int, crc2: int, length2: int) -> int:
    """Return the CRC32C of two pieces in a row.

    Args:
        crc1: The CRC32C of the first piece.
        crc2: The CRC32C of the second piece.
        length2: The length of the second piece in bytes.
    """
    if not 0 <= operator.index(length2) < 1 << 64:
        raise ValueError(f"length2 is {length2}: give the second piece's length in bytes")
    return _backend.crc32c_combine(_checksum(crc1, 32), _checksum(crc2, 32), length2)


def crc64nvme(data: Buffer, value: int = 0) -> int:
    """Return a CRC-64/NVME, which storages declare as `x-amz-checksum-crc64nvme`.

    Args:
        data: The bytes.
        value: The CRC-64/NVME of the bytes before them, to continue from.
    """
    if type(data) is not bytes:
        is_readonly(data, "data")
    return _backend.crc64nvme(data, _checksum(value, 64))


def _check(
    object: Buffer,
    options: DecodeOptions,
    length: int,
    number: int | None,
    overwrite_input: bool,
) -> bool:
    """Refuse wrong arguments. Return whether the object may really be overwritten."""
    if type(object) is bytes:
        overwrite_input = False
    else:
        overwrite_input = not is_readonly(object, "object") and overwrite_input
    if not 0 <= operator.index(length) <= sys.maxsize:
        raise ValueError(f"length is {length}: give the block's plaintext length in bytes")
    if number is not None:
        if not 0 <= operator.index(number) < 1 << 64:
            raise ValueError(f"number is {number}: a block number lies in 0..2^64-1")
    elif options.cipher == "AES-GCM" and options.key is not None:
        raise ValueError("AES-GCM authenticates the block's number: pass number")
    return overwrite_input


def _checksum(value: int, bits: int) -> int:
    if not 0 <= operator.index(value) < 1 << bits:
        raise ValueError(f"a CRC of {bits} bits lies in 0..2^{bits}-1")
    return value
