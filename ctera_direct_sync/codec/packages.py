"""Load the packages that the portable codec uses, and replace those that fail to load.

An installed extension may still refuse to load: a second subinterpreter of one process (mod_wsgi with
two sites) cannot load cramjam or anycrc. Slower code in Python then replaces the package, and one
warning names it. isal and anycrc are optional: if they are missing, there is no warning.
"""

from __future__ import annotations

import functools
import importlib
import logging
import types
import warnings
import zlib as standard_zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "crc64nvme",
    "decompress_snappy",
    "extend_crc32c",
    "load_crc64nvme",
    "lz4_frame",
    "xxh32",
    "zlib",
]

_log = logging.getLogger("ctera_direct_sync.codec")

_CRC32C_POLYNOMIAL = 0x82F63B78  # reflected
_CRC64NVME_POLYNOMIAL = 0x9A6C9329AC4BC9B5  # reflected


def _load(name: str, consequence: str) -> Any:
    """Import the module `name`. If that fails, warn of `consequence` and return None."""
    try:
        with warnings.catch_warnings():
            # Without its C part google-crc32c warns on import that it is slow.
            warnings.simplefilter("ignore", RuntimeWarning)
            return importlib.import_module(name)
    except ImportError as error:
        _log.warning(
            "The package %s cannot be loaded here (%s). %s If this is not the second "
            "subinterpreter of a process, install the package again.",
            name.partition(".")[0],
            error,
            consequence,
        )
        return None


# DEFLATE: isal, else the standard library's zlib


def _load_zlib() -> types.ModuleType:
    """Return isal's zlib if it is installed and works, else the standard one.

    isal before 1.9 reports a wrong `unused_data` at the end of a DEFLATE stream. Members after
    the first are then refused, and surplus bytes before a trailer are accepted.
    """
    try:
        isal = importlib.import_module("isal.isal_zlib")
    except ImportError:
        return standard_zlib
    if _reports_unused_data(isal):
        return isal
    _log.info("The isal installed is too old, so zlib is used: pip install 'isal>=1.9'")
    return standard_zlib


def _reports_unused_data(module: Any) -> bool:
    """Return whether a decompressor of `module` says exactly what follows its DEFLATE stream."""
    compressor = standard_zlib.compressobj(wbits=-15)
    raw = compressor.compress(b"the end of a stream") + compressor.flush()
    for surplus in (b"", b"123", b"12345678", bytes(range(100))):
        stream = module.decompressobj(wbits=-15)
        stream.decompress(raw + surplus, 1000)
        if not stream.eof or stream.unused_data != surplus:
            return False
    return True


zlib: Any = _load_zlib()


# Snappy: cramjam, else Python


def decompress_snappy(block: memoryview, out: bytearray) -> bool:
    """Decompress a raw snappy block into `out`, which has the length that the block announces.

    Return whether the block is well-formed.
    """
    if _cramjam is None:
        return _decompress_snappy_by_python(bytes(block), out)
    try:
        _cramjam.snappy.decompress_raw_into(block, out)
    except _cramjam.DecompressionError:
        return False
    return True


def _decompress_snappy_by_python(block: bytes, out: bytearray) -> bool:
    """Do what `decompress_snappy` does (google/snappy, format_description.txt)."""
    position = next((i + 1 for i, byte in enumerate(block[:5]) if byte < 0x80), len(block))
    filled = 0
    while position < len(block):
        tag = block[position]
        position += 1
        if tag & 3:  # a copy of what was written before
            width = (1, 2, 4)[(tag & 3) - 1]
            offset = int.from_bytes(block[position : position + width], "little")
            length = (tag >> 2) + 1
            if width == 1:
                offset |= tag >> 5 << 8
                length = (tag >> 2 & 7) + 4
            position += width
            if position > len(block) or not 0 < offset <= filled:
                return False
            start = filled - offset
            piece = out[start : min(start + length, filled)]
            if offset < length:  # The copy repeats what it writes itself.
                piece = (piece * (length // offset + 1))[:length]
        else:
            length = (tag >> 2) + 1
            if length > 60:
                width = length - 60
                length = int.from_bytes(block[position : position + width], "little") + 1
                position += width
            piece = bytearray(block[position : position + length])
            position += length
            if position > len(block):
                return False
        if filled + length > len(out):
            return False
        out[filled : filled + length] = piece
        filled += length
    return filled == len(out)


_cramjam = _load("cramjam", "Snappy is decompressed in Python, which is about 50 times slower.")

# LZ4 frames: lz4, without a substitute

#: None: it cannot be loaded, and LZ4 payloads cannot be decoded.
lz4_frame = _load("lz4.frame", "Blocks that are compressed by LZ4 cannot be read.")


@functools.lru_cache(maxsize=64)
def xxh32(data: bytes) -> int:
    """Return the XXH32 (seed 0) of fewer than 16 bytes: it checks the descriptor of a frame."""
    prime1, prime2, prime3 = 2654435761, 2246822519, 3266489917
    prime4, prime5 = 668265263, 374761393
    digest = prime5 + len(data)
    words = len(data) // 4 * 4
    for start in range(0, words, 4):
        digest += int.from_bytes(data[start : start + 4], "little") * prime3
        digest = _rotate_left(digest, 17) * prime4
    for byte in data[words:]:
        digest = _rotate_left(digest + byte * prime5, 11) * prime1
    digest &= 0xFFFFFFFF
    digest = (digest ^ digest >> 15) * prime2 & 0xFFFFFFFF
    digest = (digest ^ digest >> 13) * prime3 & 0xFFFFFFFF
    return digest ^ digest >> 16


def _rotate_left(value: int, bits: int) -> int:
    value &= 0xFFFFFFFF
    return value << bits | value >> 32 - bits


# Checksums: google-crc32c and anycrc, else a table in Python


@functools.cache
def _table(polynomial: int) -> tuple[int, ...]:
    """Return the CRC of each byte, for a reflected polynomial."""

    def entry(crc: int) -> int:
        for _ in range(8):
            crc = crc >> 1 ^ (polynomial if crc & 1 else 0)
        return crc

    return tuple(entry(byte) for byte in range(256))


def _crc_by_table(data: Iterable[int], value: int, polynomial: int, mask: int) -> int:
    table = _table(polynomial)
    crc = value ^ mask
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ mask


def _extend_crc32c_by_table(value: int, data: bytes) -> int:
    return _crc_by_table(data, value, _CRC32C_POLYNOMIAL, 0xFFFFFFFF)


def _crc64nvme_by_table(data: Any, value: int) -> int:
    return _crc_by_table(data, value, _CRC64NVME_POLYNOMIAL, 0xFFFFFFFFFFFFFFFF)


_google_crc32c = _load("google_crc32c", "CRC32C is calculated in Python, at about 10 MB/s.")

#: CRC32C of the bytes `data`, continuing from the CRC32C `value`: `extend_crc32c(value, data)`.
extend_crc32c: Callable[[int, bytes], int] = (
    _extend_crc32c_by_table if _google_crc32c is None else _google_crc32c.extend
)


@functools.cache
def load_crc64nvme() -> Callable[[Any, int], int]:
    """Return the function that calculates CRC-64/NVME: of anycrc, or by a table in Python."""
    try:
        anycrc = importlib.import_module("anycrc")
    except ImportError as error:
        if not isinstance(error, ModuleNotFoundError):
            _log.warning(
                "The package anycrc cannot be loaded here (%s). CRC-64/NVME is calculated in "
                "Python, at about 10 MB/s.",
                error,
            )
        return _crc64nvme_by_table
    calculate: Callable[[Any, int], int] = anycrc.Model("CRC64-NVME").calc
    return calculate


def crc64nvme(data: Buffer, value: int) -> int:
    """Return the CRC-64/NVME of `data`, continuing from `value`."""
    return load_crc64nvme()(data, value)
