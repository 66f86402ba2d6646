"""Decode with packages from PyPI: the same contract as the native codec, without an extension.

pycryptodome does AES, cramjam snappy, and python-lz4 LZ4 (by liblz4's frame decoder). isal inflates
gzip if it is installed, else zlib. google-crc32c calculates CRC32C. anycrc calculates CRC-64/NVME if it
is installed, else a table in Python does (about 10 MB/s). `packages.py` has the substitutes for packages
that cannot be loaded.

Errors are judged in the order of `csrc/ctera_codec.h`. No decompressor gets memory for more than the
block's length and one byte, nor for more than the payload can possibly hold. A private exception carries
each refusal up to `decode`, which releases all buffers before it raises the real one. So an exception
that a program keeps never pins a bytearray or mmap of its caller.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Union

from Crypto.Cipher import AES

from ctera_direct_sync.codec import packages
from ctera_direct_sync.codec.errors import DecodeStatus, raise_status
from ctera_direct_sync.codec.options import (
    LZ4_EXPANSION,
    SLACK_BYTES,
    SNAPPY_EXPANSION,
    DecodeOptions,
)
from ctera_direct_sync.codec.packages import extend_crc32c, zlib
from ctera_direct_sync.exceptions import BlockInfo, DecompressBlockError

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

_SNAPPY_JAVA_MAGIC = b"\x82SNAPPY\x00"
_GZIP_MAGIC = b"\x1f\x8b"
_LZ4_MAGIC = b"\x04\x22\x4d\x18"
_LZ4_MAGIC_LEGACY = b"\x02\x21\x4c\x18"
_LZ4_MAGIC_SKIPPABLE = b"\x2a\x4d\x18"  # behind a byte 50 to 5F


class _Refused(Exception):
    """The object cannot be decoded. It never leaves this module."""

    def __init__(self, status: DecodeStatus) -> None:
        self.status = status


_Data = Union[bytes, bytearray, memoryview]


def prepare() -> None:
    """Import what would otherwise be imported late.

    pycryptodome imports each mode when its first cipher is made.
    """
    packages.load_crc64nvme()
    AES.new(bytes(16), AES.MODE_ECB)
    AES.new(bytes(16), AES.MODE_CBC, iv=bytes(16))
    AES.new(bytes(16), AES.MODE_GCM, nonce=bytes(12), mac_len=16)


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

    See `ctera_direct_sync.codec.decode_stored`. `overwrite_input` is a permission that this backend
    does not use.
    """
    key, cipher, compression, expansion = options
    _require_lz4(compression, number, length)
    status = DecodeStatus.OK
    data = b""
    try:
        with _view_bytes(object) as stored:
            payload = stored if key is None else _decrypt(stored, _view_bytes(key), cipher, number)
            if length > expansion * (len(stored) + SLACK_BYTES):
                raise _Refused(DecodeStatus.TOO_SHORT)
            data = bytes(_decompress(payload, compression, length))
    except _Refused as refused:
        status = refused.status
    # A traceback may show local variables: let go of the key, and of what was decrypted.
    del key, options
    payload = stored = memoryview(b"")
    if status:
        raise_status(status, number, length)
    return data, crc32c(data) if checksum else 0


def _require_lz4(compression: str | None, number: int | None, length: int) -> None:
    if compression == "LZ4" and packages.lz4_frame is None:
        raise DecompressBlockError(
            "the block is compressed by LZ4, and the package lz4 cannot be loaded here: install "
            "it again, or build the native codec",
            BlockInfo(file_id=None, number=number, offset=None, length=length),
        )


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
    with memoryview(out) as view:
        length = view.nbytes
    data, crc = decode(object, options, length=length, number=number)
    with _view_bytes(out) as target:
        target[:] = data
    return crc


def decrypt_ecb(data: bytes, *, key: bytes) -> bytes:
    """Decrypt AES-ECB without padding; see `ctera_direct_sync.codec.decrypt_ecb`."""
    return bytes(AES.new(key, AES.MODE_ECB).decrypt(data))


def _view_bytes(buffer: Buffer) -> memoryview:
    """Return a view of the bytes of a contiguous buffer, whatever its items and shape."""
    view = memoryview(buffer)
    return view.cast("B") if view.nbytes else memoryview(bytearray())


# Envelopes (PROTOCOL sections 3 and 5)


def _decrypt(stored: memoryview, key: memoryview, cipher: str, number: int | None) -> memoryview:
    if cipher == "AES-CBC":
        return _decrypt_cbc(stored, key)
    assert number is not None
    return _decrypt_gcm(stored, key, number)


def _decrypt_cbc(stored: memoryview, key: memoryview) -> memoryview:
    """Decrypt an AES-CBC envelope.

    It has a format byte (ignored), an IV, and ciphertext with PKCS#7 padding (RFC 5652, section 6.3).
    """
    ciphertext = stored[17:]
    if not ciphertext or len(ciphertext) % 16:
        raise _Refused(DecodeStatus.ENVELOPE)
    plaintext = bytearray(len(ciphertext))
    AES.new(key, AES.MODE_CBC, iv=stored[1:17]).decrypt(ciphertext, output=plaintext)
    padding = plaintext[-1]
    if not 1 <= padding <= 16 or plaintext[-padding:].count(padding) != padding:
        raise _Refused(DecodeStatus.PADDING)
    return memoryview(plaintext)[:-padding]


def _decrypt_gcm(stored: memoryview, key: memoryview, number: int) -> memoryview:
    """Decrypt an AES-GCM envelope.

    It has the format byte 2, a nonce, ciphertext and a tag. The block number is the additional data.
    """
    if len(stored) < 29 or stored[0] != 2:
        raise _Refused(DecodeStatus.ENVELOPE)
    ciphertext = stored[13:-16]
    plaintext = bytearray(len(ciphertext))
    aead = AES.new(key, AES.MODE_GCM, nonce=stored[1:13], mac_len=16)
    aead.update(number.to_bytes(8, "big"))
    try:
        aead.decrypt_and_verify(ciphertext, stored[-16:], output=plaintext)
    except ValueError:
        raise _Refused(DecodeStatus.TAG) from None
    return memoryview(plaintext)


# Payloads: each function returns exactly `length` bytes, or refuses


def _decompress(payload: memoryview, compression: str | None, length: int) -> _Data:
    if compression == "NONE":
        _require_length(len(payload), length)
        return payload
    if compression == "LZ4":
        return _lz4_frames(payload, length)
    if payload[:8] == _SNAPPY_JAVA_MAGIC:
        return _snappy_stream(payload, length)
    if payload[:2] == _GZIP_MAGIC:
        return _gunzip(payload, length)
    _require_length(_snappy_length(payload), length)
    return _snappy_elements(payload, length)


def _require_length(found: int, wanted: int) -> None:
    if found != wanted:
        raise _Refused(DecodeStatus.TOO_LONG if found > wanted else DecodeStatus.TOO_SHORT)


def _snappy_length(block: memoryview) -> int:
    """Return the plaintext length that a raw block announces, a varint of at most 32 bits."""
    length = 0
    for index, byte in enumerate(block[:5]):
        length |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if length >= 1 << 32:
                break
            return length
    raise _Refused(DecodeStatus.CORRUPT)


def _snappy_elements(block: memoryview, length: int) -> bytearray:
    """Decompress a raw block, whose announced `length` was judged before."""
    if length > SNAPPY_EXPANSION * len(block):
        raise _Refused(DecodeStatus.CORRUPT)
    out = bytearray(length)
    if not packages.decompress_snappy(block, out):
        raise _Refused(DecodeStatus.CORRUPT)
    return out


def _snappy_stream(payload: memoryview, length: int) -> bytearray:
    """Decompress a snappy-java stream: magic, two versions, then raw blocks, each after its length.

    The whole header may recur instead of a length: snappy-java's own reader accepts that. That reader
    ignores the compatible version. Here it only decides how a defect is reported.
    """
    out = bytearray()
    position = 0
    newer = False
    try:
        while position < len(payload):
            if payload[position : position + 8] == _SNAPPY_JAVA_MAGIC:
                newer |= _check_snappy_versions(payload[position + 8 : position + 16]) > 1
                position += 16
                continue
            end = position + 4 + int.from_bytes(payload[position : position + 4], "big")
            if end > len(payload):
                raise _Refused(DecodeStatus.CORRUPT)
            chunk = payload[position + 4 : end]
            announced = _snappy_length(chunk)
            if announced > length - len(out):
                raise _Refused(DecodeStatus.TOO_LONG)
            out += _snappy_elements(chunk, announced)
            position = end
    except _Refused as refused:
        if newer and refused.status is DecodeStatus.CORRUPT:
            raise _Refused(DecodeStatus.UNSUPPORTED) from None
        raise
    _require_length(len(out), length)
    return out


def _check_snappy_versions(versions: memoryview) -> int:
    """Return the compatible version of a header, after checking both versions."""
    if len(versions) < 8:
        raise _Refused(DecodeStatus.CORRUPT)
    if int.from_bytes(versions[:4], "big") < 1:
        raise _Refused(DecodeStatus.UNSUPPORTED)
    return int.from_bytes(versions[4:], "big")


def _gunzip(payload: memoryview, length: int) -> bytes:
    """Decompress one gzip member or several (RFC 1952).

    Zero padding may follow, which gzip(1) accepts.
    """
    pieces: list[bytes] = []
    produced = position = 0
    while position < len(payload):
        if payload[position : position + 2] != _GZIP_MAGIC:
            if payload[position] or bytes(payload[position:]).strip(b"\0"):
                raise _Refused(DecodeStatus.TRAILING)
            break
        start = position + _gzip_header_size(payload[position:])
        position, crc, size = _inflate(payload, start, length - produced, pieces)
        trailer = crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
        found = payload[position : position + 8]
        if found != trailer:
            raise _Refused(DecodeStatus.CHECKSUM if len(found) == 8 else DecodeStatus.CORRUPT)
        position += 8
        produced += size
    _require_length(produced, length)
    return b"".join(pieces)


def _gzip_header_size(member: memoryview) -> int:
    """Return the size of a member's header with its optional fields (RFC 1952, section 2.3)."""
    if len(member) < 10:
        raise _Refused(DecodeStatus.CORRUPT)
    method, flags, size = member[2], member[3], 10
    if method != 8 or flags & 0xE0:
        raise _Refused(DecodeStatus.UNSUPPORTED)
    if flags & 4:  # FEXTRA
        size += 2 + int.from_bytes(member[10:12], "little")
    for flag in (8, 16):  # FNAME, FCOMMENT
        if flags & flag:
            size = _after_zero(member, size)
    if flags & 2:  # FHCRC
        size += 2
        crc = zlib.crc32(member[: size - 2]) & 0xFFFF
        if size <= len(member) and member[size - 2 : size] != crc.to_bytes(2, "little"):
            raise _Refused(DecodeStatus.CHECKSUM)
    if size > len(member):
        raise _Refused(DecodeStatus.CORRUPT)
    return size


def _after_zero(member: memoryview, start: int) -> int:
    for position in range(start, len(member), 4096):
        index = bytes(member[position : position + 4096]).find(0)
        if index >= 0:
            return position + index + 1
    raise _Refused(DecodeStatus.CORRUPT)


def _inflate(
    payload: memoryview, start: int, room: int, pieces: list[bytes]
) -> tuple[int, int, int]:
    """Inflate one member into `pieces`.

    The input is fed in steps that double. So the unused input that zlib copies stays in proportion, and
    many tiny members take linear time. The payload's last 8 bytes belong to a trailer, whatever they are.

    Args:
        payload: All members.
        start: Where the member's DEFLATE stream begins.
        room: The most bytes that the member may become.
        pieces: Gets the plaintext.

    Returns:
        Where the trailer begins, and the CRC-32 and size of the plaintext.
    """
    source = payload[start : max(start, len(payload) - 8)]
    stream = zlib.decompressobj(wbits=-15)
    consumed = crc = size = 0
    while not stream.eof:
        step = source[consumed : consumed + max(consumed, 4096)]
        if not step:
            raise _Refused(DecodeStatus.CORRUPT)
        try:
            piece = stream.decompress(step, room - size + 1)
        except zlib.error:
            raise _Refused(DecodeStatus.CORRUPT) from None
        consumed += len(step)
        size += len(piece)
        if size > room:
            raise _Refused(DecodeStatus.TOO_LONG)
        crc = zlib.crc32(piece, crc)
        pieces.append(piece)
    return start + consumed - len(stream.unused_data), crc, size


def _lz4_frames(payload: memoryview, length: int) -> bytes:
    """Decompress LZ4 frames, and pass over skippable ones (LZ4 Frame Format 1.6.4)."""
    context = packages.lz4_frame.create_decompression_context()
    pieces: list[bytes] = []
    produced = position = 0
    while position < len(payload) or not position:
        magic = bytes(payload[position : position + 4])
        if magic == _LZ4_MAGIC:
            piece, size = _lz4_frame(context, payload[position:], length - produced)
            pieces.append(piece)
            produced += len(piece)
            position += size
        elif magic[1:] == _LZ4_MAGIC_SKIPPABLE and magic[0] & 0xF0 == 0x50:
            start = position + 8
            position = start + int.from_bytes(payload[position + 4 : start], "little")
            if max(start, position) > len(payload):
                raise _Refused(DecodeStatus.CORRUPT)
        elif magic == _LZ4_MAGIC_LEGACY:
            raise _Refused(DecodeStatus.UNSUPPORTED)
        else:
            raise _Refused(DecodeStatus.TRAILING if position else DecodeStatus.CORRUPT)
    _require_length(produced, length)
    return b"".join(pieces)


def _lz4_frame(context: Any, frame: memoryview, room: int) -> tuple[bytes, int]:
    """Return the plaintext and size of the frame that `frame` begins with. liblz4 verifies checksums."""
    declared = _read_lz4_descriptor(frame[4:23])
    if declared is not None and declared > room:
        raise _Refused(DecodeStatus.TOO_LONG)
    try:
        data, consumed = _lz4_blocks(context, frame, room)
    except RuntimeError as error:
        raise _Refused(
            DecodeStatus.CHECKSUM if "hecksum" in str(error) else DecodeStatus.CORRUPT
        ) from None
    if declared not in (None, len(data)):
        raise _Refused(DecodeStatus.CORRUPT)
    return data, consumed


def _read_lz4_descriptor(descriptor: memoryview) -> int | None:
    """Judge a frame descriptor; return the content size that it declares, or None."""
    if len(descriptor) < 3:
        raise _Refused(DecodeStatus.CORRUPT)
    flags, block_descriptor = descriptor[0], descriptor[1]
    if flags & 0xC0 != 0x40:  # the version
        raise _Refused(DecodeStatus.UNSUPPORTED)
    size = 2 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
    if len(descriptor) <= size:
        raise _Refused(DecodeStatus.CORRUPT)
    if descriptor[size] != packages.xxh32(bytes(descriptor[:size])) >> 8 & 0xFF:
        raise _Refused(DecodeStatus.CHECKSUM)
    # A dictionary or a reserved bit; other reserved bits; a block size code below 4.
    if flags & 0x03 or block_descriptor & 0x8F or block_descriptor < 0x40:
        raise _Refused(DecodeStatus.UNSUPPORTED)
    return int.from_bytes(descriptor[2:10], "little") if flags & 8 else None


def _lz4_blocks(context: Any, frame: memoryview, room: int) -> tuple[bytes, int]:
    """Return a whole frame's plaintext and size.

    If the frame may hold more than `room` bytes, one more byte is asked for, at first without new input:
    so a defect behind that byte is not met before it.
    """
    decompress = packages.lz4_frame.decompress_chunk
    room = min(room, LZ4_EXPANSION * len(frame))
    data, consumed, ended = decompress(context, frame, max_length=room)
    for rest in (b"", frame[consumed:]):
        if not ended:
            more, used, ended = decompress(context, rest, max_length=1)
            consumed += used
            if more:
                raise _Refused(DecodeStatus.TOO_LONG)
    if not ended:
        raise _Refused(DecodeStatus.CORRUPT)
    return bytes(data), consumed


# Checksums

_CRC32C_POLYNOMIAL = 0x82F63B78  # reflected
_COPY_LIMIT = 1 << 18


def crc32c(data: Buffer, value: int = 0) -> int:
    """Return the CRC32C; see `ctera_direct_sync.codec.crc32c`."""
    if isinstance(data, bytes):
        return extend_crc32c(value, data)
    with _view_bytes(data) as view:
        # google-crc32c takes bytes alone: copy in pieces that stay in the cache.
        for start in range(0, len(view), _COPY_LIMIT):
            value = extend_crc32c(value, bytes(view[start : start + _COPY_LIMIT]))
    return value


def crc32c_combine(crc1: int, crc2: int, length2: int) -> int:
    """Return the CRC32C of a concatenation; see `ctera_direct_sync.codec.crc32c_combine`."""
    return _multiply(_shift(length2), crc1) ^ crc2


def _multiply(a: int, b: int) -> int:
    """Return the product of two polynomials over GF(2), modulo CRC32C's. Bit 31 is the coefficient of 1."""
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ (_CRC32C_POLYNOMIAL if b & 1 else 0)
    return product


@functools.lru_cache(maxsize=64)
def _square(power: int) -> int:
    """Return x^(8 * 2^power) modulo CRC32C's polynomial."""
    return _multiply(_square(power - 1), _square(power - 1)) if power else 1 << 31 - 8


@functools.lru_cache(maxsize=1024)
def _shift(nbytes: int) -> int:
    """Return what `nbytes` zero bytes multiply a CRC by: x^(8 * nbytes)."""
    powers = (_square(power) for power in range(nbytes.bit_length()) if nbytes >> power & 1)
    return functools.reduce(_multiply, powers, 1 << 31)


def crc64nvme(data: Buffer, value: int = 0) -> int:
    """Return the CRC-64/NVME; see `ctera_direct_sync.codec.crc64nvme`."""
    with _view_bytes(data) as view:
        return packages.crc64nvme(view, value)
